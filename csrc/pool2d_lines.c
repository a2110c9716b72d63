/* pool2d_lines.c: which poolings by windows of 3 x 3 that slide are done row by row, where planes lie in registers or,
 * on the way back, where channels lie together, which of 2 x 2 are on the way back over planes, and who does them. */
#include "pool2d_lines.h"

#include <stdatomic.h>

#include "parallel.h"

enum {
    FEW_COLUMNS = 6,       /* fewer of them fill lanes less than channels would */
    FEW_LANES = 5,         /* of 8, which with indices take longer than to scatter, */
    FEW_OF_TWO = 13,       /* and of 16 in two vectors */
    ITEM = 1 << 14,        /* elements of x that an item reads */
    MOST_PIXELS = 1 << 30, /* of a plane: indices fit the lanes */
    TOGETHER = 64,         /* channels of an item, or more, where they lie together */
    TAPS = 3               /* so many columns tell the nine of a window apart */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *dy, *indices; /* NULL where there is none */
    const fc_image *y;                /* or dx */
    int64_t share, shares, items;     /* planes of an item, items of an image, and all */
    bool pixels;                      /* channels lie together */
    bool pairs;                       /* windows are of 2 x 2 */
    struct fc_pool2d_lines lines;
    atomic_bool stray; /* an index lies outside its window, or planes of x have a NaN */
};

static void set_planes(struct work *work)
{
    const fc_image *y = work->y;
    struct fc_pool2d_lines *lines = &work->lines;
    lines->rows = y->h;
    lines->columns = y->w;
    fc_pool2d_steps(y, &lines->y_row, &lines->y_pixel);
    fc_pool2d_steps(work->x, &lines->x_row, &lines->x_pixel);
    fc_pool2d_steps(work->dy, &lines->dy_row, &lines->dy_pixel);
    fc_pool2d_steps(work->indices, &lines->index_row, &lines->index_pixel);
    lines->y_plane = y->stride_c;
    lines->x_plane = work->x ? work->x->stride_c : 0;
    lines->dy_plane = work->dy ? work->dy->stride_c : 0;
    lines->index_plane = work->indices ? work->indices->stride_c : 0;
    work->share = fc_max(ITEM / (y->h * y->w), 1);
    if (work->pixels)
        work->share = fc_ceil_div(work->share, TOGETHER) * TOGETHER;
    work->share = fc_min(work->share, y->c);
    work->shares = work->pixels ? fc_max(y->c / work->share, 1) : fc_ceil_div(y->c, work->share);
}

static bool are_pairs(const struct fc_axis *axis)
{
    return axis->taps == 2 && axis->stride == 1 && axis->dilation == 1 && axis->before == 0 &&
           axis->out > 0 && (axis->out == axis->in || axis->out == axis->in - 1);
}

/* The way back of windows of 2 x 2, over planes. */
static bool plan_pairs(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dy = work->dy, *dx = work->y;
    const int64_t lanes =
        pass->kernels->depthwise.vector_bytes / (int64_t)fc_element_size(pass->dtype);
    if (!are_pairs(&pass->axis[0].axis) || !are_pairs(&pass->axis[1].axis) || work->indices ||
        !pass->kernels->pool2d.pairs_dx || dx->w < FEW_COLUMNS || dx->w > 2 * lanes ||
        dx->h > MOST_PIXELS / dx->w || dx->stride_w != 1 || dy->stride_w != 1 ||
        work->x->stride_w != 1)
        return false;
    work->pairs = true;
    set_planes(work);
    work->lines.dy_rows = dy->h;
    work->lines.dy_columns = dy->w;
    work->lines.sign = pass->pooling == FC_MAX ? 1 : -1;
    return true;
}

static bool make_plan(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *images[] = {work->x, work->dy, work->indices, work->y};
    const fc_image *y = work->y;
    if (pass->pooling == FC_AVG || !fc_pool2d_axis_slides(&pass->axis[0].axis) ||
        !fc_pool2d_axis_slides(&pass->axis[1].axis) || y->w > FC_POOL2D_SLIDE ||
        y->h > MOST_PIXELS / FC_POOL2D_SLIDE)
        return false;
    const int64_t lanes =
        pass->kernels->depthwise.vector_bytes / (int64_t)fc_element_size(pass->dtype);
    bool planes = y->w >= FEW_COLUMNS;
    if (work->dy)
        planes = planes && pass->kernels->pool2d.lines_dx[pass->pooling] && y->w <= 2 * lanes;
    else
        planes = planes && pass->kernels->pool2d.lines[pass->pooling] && y->w <= FC_POOL2D_LINE;
    bool pixels = work->dy && y->c >= fc_unit(pass->dtype) && y->w >= TAPS;
    for (int i = 0; i < 4; i++)
        if (images[i]) {
            planes = planes && images[i]->stride_w == 1;
            pixels = pixels && images[i]->stride_c == 1;
        }
    if (work->indices && (y->w * 8 <= fc_unit(pass->dtype) * FEW_LANES ||
                          (y->w > lanes && y->w * 8 <= lanes * FEW_OF_TWO)))
        planes = false;
    work->pixels = pixels;
    set_planes(work);
    return planes || pixels;
}

/* Where the planes of an item begin, in elements. */
static ptrdiff_t begins(const struct work *work, const fc_image *image, int64_t item)
{
    return item / work->shares * image->stride_n +
           item % work->shares * work->share * image->stride_c;
}

/* From the planes of an item to those of the next. */
static ptrdiff_t ahead(const struct work *work, const fc_image *image, int64_t item)
{
    return image && item + 1 < work->items
               ? begins(work, image, item + 1) - begins(work, image, item)
               : 0;
}

static void run_item(void *context, int64_t item, int worker)
{
    (void)worker;
    struct work *work = context;
    const struct fc_pool2d_pass *pass = work->pass;
    const size_t size = fc_element_size(pass->dtype);
    const int64_t n = item / work->shares, c = item % work->shares * work->share;
    struct fc_pool2d_lines lines = work->lines;
    const bool last = item % work->shares == work->shares - 1;
    lines.planes = last ? work->y->c - c : work->share;
    lines.y = fc_image_at(work->y, size, n, 0, 0, c);
    lines.x_ahead = ahead(work, work->x, item);
    lines.dy_ahead = ahead(work, work->dy, item);
    lines.index_ahead = ahead(work, work->indices, item);
    lines.y_ahead = ahead(work, work->y, item);
    if (work->x)
        lines.x = fc_image_at(work->x, size, n, 0, 0, c);
    if (!work->dy) {
        pass->kernels->pool2d.lines[pass->pooling](&lines);
        return;
    }
    lines.dy = fc_image_at(work->dy, size, n, 0, 0, c);
    if (work->indices)
        lines.index =
            (const int64_t *)(void *)fc_image_at(work->indices, sizeof(int64_t), n, 0, 0, c);
    const struct fc_pool2d_kernels *kernels = &pass->kernels->pool2d;
    if (!(work->pairs    ? kernels->pairs_dx
          : work->pixels ? kernels->slide_dx[pass->pooling]
                         : kernels->lines_dx[pass->pooling])(&lines))
        atomic_store_explicit(&work->stray, true, memory_order_relaxed);
}

static void run(struct work *work)
{
    const fc_image *y = work->y;
    work->items = y->n * work->shares;
    const double pixels = (double)y->n * (double)y->c * (double)y->h * (double)y->w;
    fc_parallel_for(work->items, fc_parallel_width(work->items, 9 * FC_WORK_PER_TAP * pixels),
                    FC_KEEP_DENORMALS, run_item, work);
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
    *done = plan_pairs(&work) || make_plan(&work);
    if (!*done)
        return FC_OK;
    run(&work);
    *done = !atomic_load(&work.stray);
    return FC_OK;
}
