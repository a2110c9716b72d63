/* pool2d_lines.c: which poolings are done row by row in registers, and who does which planes. */
#include "pool2d_lines.h"

#include <stdatomic.h>

#include "parallel.h"

enum {
    FEW_COLUMNS = 6,      /* fewer of them fill lanes less than channels would */
    ITEM = 1 << 14,       /* elements of x that an item reads */
    MOST_PIXELS = 1 << 30 /* of a plane: indices fit the lanes */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *dy, *indices; /* NULL where there is none */
    const fc_image *y;                /* or dx */
    int64_t share, shares;            /* planes of an item, and items of an image */
    struct fc_pool2d_lines lines;
    atomic_bool stray;
};

static bool slides(const struct fc_axis *axis)
{
    return axis->taps == 3 && axis->stride == 1 && axis->dilation == 1 && axis->before == 1 &&
           axis->out == axis->in;
}

static bool make_plan(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *images[] = {work->x, work->dy, work->indices, work->y};
    const fc_image *y = work->y;
    if (pass->pooling == FC_AVG || !pass->kernels->pool2d.lines[pass->pooling] ||
        !slides(&pass->axis[0].axis) || !slides(&pass->axis[1].axis) || y->w < FEW_COLUMNS ||
        y->w > FC_POOL2D_LINE || y->h > MOST_PIXELS / FC_POOL2D_LINE)
        return false;
    for (int i = 0; i < 4; i++)
        if (images[i] && images[i]->stride_w != 1)
            return false;
    struct fc_pool2d_lines *lines = &work->lines;
    lines->rows = y->h;
    lines->columns = y->w;
    lines->y_plane = y->stride_c;
    lines->y_row = y->stride_h;
    if (work->x) {
        lines->x_plane = work->x->stride_c;
        lines->x_row = work->x->stride_h;
    }
    if (work->dy) {
        lines->dy_plane = work->dy->stride_c;
        lines->dy_row = work->dy->stride_h;
    }
    if (work->indices) {
        lines->index_plane = work->indices->stride_c;
        lines->index_row = work->indices->stride_h;
    }
    work->share = fc_min(fc_max(ITEM / (y->h * y->w), 1), y->c);
    work->shares = fc_ceil_div(y->c, work->share);
    return true;
}

static void run_item(void *context, int64_t item, int worker)
{
    (void)worker;
    struct work *work = context;
    const struct fc_pool2d_pass *pass = work->pass;
    const size_t size = fc_element_size(pass->dtype);
    const int64_t n = item / work->shares, c = item % work->shares * work->share;
    struct fc_pool2d_lines lines = work->lines;
    lines.planes = fc_min(work->share, work->y->c - c);
    lines.y = fc_pool2d_at(work->y, size, n, 0, 0, c);
    if (work->x)
        lines.x = fc_pool2d_at(work->x, size, n, 0, 0, c);
    if (!work->dy) {
        pass->kernels->pool2d.lines[pass->pooling](&lines);
        return;
    }
    lines.dy = fc_pool2d_at(work->dy, size, n, 0, 0, c);
    if (work->indices)
        lines.index =
            (const int64_t *)(void *)fc_pool2d_at(work->indices, sizeof(int64_t), n, 0, 0, c);
    if (!pass->kernels->pool2d.lines_dx[pass->pooling](&lines))
        atomic_store_explicit(&work->stray, true, memory_order_relaxed);
}

static void run(struct work *work)
{
    const fc_image *y = work->y;
    const int64_t items = y->n * work->shares;
    const double pixels = (double)y->n * (double)y->c * (double)y->h * (double)y->w;
    fc_parallel_for(items, fc_parallel_width(items, 9 * pixels), FC_KEEP_DENORMALS, run_item, work);
}

fc_status fc_pool2d_lines_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done)
{
    struct work work = {.pass = pass, .x = &pass->x, .y = y};
    *done = !pass->numbered && make_plan(&work);
    if (*done)
        run(&work);
    return FC_OK;
}

fc_status fc_pool2d_lines_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *indices, const fc_image *dx, bool *done)
{
    struct work work = {
        .pass = pass, .x = indices ? NULL : &pass->x, .dy = dy, .indices = indices, .y = dx};
    *done = make_plan(&work);
    if (!*done)
        return FC_OK;
    run(&work);
    *done = !atomic_load(&work.stray);
    return FC_OK;
}
