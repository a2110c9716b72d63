/* pool2d_means.c: which averages are taken plane by plane, with sums that windows have in common, and the tables that
 * planes have in common.
 *
 * On Zen 4 17x17x768 takes 0.4 ms each way, where planes that were transposed took 1.4 and 2.0, 28x28x240 by strides
 * of two 0.19 and 0.21, not 0.36 and 1.06. */
#include "pool2d_means.h"

#include <string.h>

#include "workspace.h"

enum {
    ITEM = 1 << 15,        /* elements of x and of y that an item has, or a plane's */
    MOST_PIXELS = 1 << 14, /* of a plane with tables: they stay in the second-level cache */
    MOST_COLUMNS = 1 << 14,
    UNITS = 2 /* of room beyond the elements of tables and sums */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *y; /* dy and dx on the way back */
    size_t size;
    bool back, halves;
    int64_t share, shares; /* planes of an item, and items of an image */
    struct fc_pool2d_means means;
    size_t table_bytes, sum_bytes; /* of each table, and of the sums of a worker */
    char *tables;
};

/* Whether rows of windows that step by two fill lanes enough: of four windows in AVX-512 and many channels channels are
 * filled in 0.93 times the time, and ends of rows are walked one by one where vectors have 16 bytes. */
static bool fills_lanes(const struct work *work)
{
    const int64_t bytes = work->pass->kernels->depthwise.vector_bytes;
    const int64_t lanes = bytes / (int64_t)work->size, columns = work->y->w;
    return work->back || (bytes > 16 ? 3 * columns >= lanes : columns >= 4 * lanes);
}

static bool fits(struct work *work)
{
    const struct fc_axis *vertical = &work->pass->axis[0].axis;
    const struct fc_axis *horizontal = &work->pass->axis[1].axis;
    const fc_image *x = work->x, *y = work->y;
    if (work->pass->pooling != FC_AVG || x->stride_w != 1 || y->stride_w != 1)
        return false;
    work->halves = fc_pool2d_axis_halves(vertical) && fc_pool2d_axis_halves(horizontal);
    if (work->halves)
        return horizontal->in <= MOST_COLUMNS && fills_lanes(work);
    return fc_pool2d_axis_slides(vertical) && fc_pool2d_axis_slides(horizontal) &&
           x->w <= MOST_PIXELS / x->h &&
           (x->h == 1 || (x->stride_h == x->w && y->stride_h == x->w));
}

/* Elements of a table and of sums. */
static void size_scratch(struct work *work)
{
    const struct fc_pool2d_means *means = &work->means;
    const int64_t room = UNITS * fc_unit(work->pass->dtype), pixels = means->rows * means->columns;
    const int64_t longest = fc_max(means->rows, means->columns);
    const int64_t table = (work->halves ? longest : pixels) + room;
    const int64_t sums = work->halves ? 3 * means->pitch : pixels + 2 * means->columns + room;
    work->table_bytes = fc_round_to_line((size_t)table * work->size);
    work->sum_bytes = fc_round_to_line((size_t)sums * work->size);
}

static bool make_plan(struct work *work)
{
    if (!fits(work))
        return false;
    const fc_image *x = work->x, *y = work->y;
    const fc_image *windows = work->back ? x : y, *elements = work->back ? y : x;
    const int64_t unit = fc_unit(work->pass->dtype), pixels = x->h * x->w + y->h * y->w;
    work->share = fc_min(fc_max(ITEM / pixels, 1), x->c);
    work->shares = fc_ceil_div(x->c, work->share);
    work->means = (struct fc_pool2d_means){
        .rows = windows->h,
        .columns = windows->w,
        .height = elements->h,
        .width = elements->w,
        .above = work->pass->axis[0].axis.before,
        .before = work->pass->axis[1].axis.before,
        .x_plane = x->stride_c,
        .x_row = x->stride_h,
        .y_plane = y->stride_c,
        .y_row = y->stride_h,
        .pitch = fc_whole_units(fc_ceil_div(elements->w, 2), unit),
    };
    size_scratch(work);
    return true;
}

static void put_divisors(const struct work *work, int axis, int64_t times, int64_t count,
                         char *table)
{
    fc_pool2d_put_divisors(&work->pass->axis[axis].axis, work->pass->include_pad, times, count,
                           work->size, table);
}

/* Rows of a plane: most are like the one before. */
static void fill_plane(const struct work *work, char *divisors, char *inside)
{
    const struct fc_axis *vertical = &work->pass->axis[0].axis;
    const size_t row_bytes = (size_t)work->means.columns * work->size;
    int64_t before = 0;
    for (int64_t row = 0; row < vertical->out; row++) {
        const int64_t times = fc_pool2d_axis_divisor(vertical, row, work->pass->include_pad);
        if (times == before)
            memcpy(divisors, divisors - row_bytes, row_bytes);
        else
            put_divisors(work, 1, times, work->means.columns, divisors);
        memset(inside, 0, work->size);
        memset(inside + work->size, 0xff, row_bytes - work->size);
        before = times;
        divisors += row_bytes;
        inside += row_bytes;
    }
    const int64_t room = UNITS * fc_unit(work->pass->dtype);
    for (int64_t i = 0; i < room; i++)
        fc_pool2d_put(work->size, divisors, i, 1);
    memset(inside, 0, (size_t)room * work->size);
}

static void fill_tables(void *context, int64_t item, int worker)
{
    (void)item, (void)worker;
    struct work *work = context;
    struct fc_pool2d_means *means = &work->means;
    char *second = work->tables + work->table_bytes;
    const int64_t count = (int64_t)(work->table_bytes / work->size);
    means->divisors = work->tables;
    means->row_divisors = means->inside = second;
    if (!work->halves) {
        fill_plane(work, work->tables, second);
        return;
    }
    put_divisors(work, 0, 1, count, second);
    put_divisors(work, 1, 1, count, work->tables);
}

static void run_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const struct fc_pool2d_kernels *kernels = &work->pass->kernels->pool2d;
    const int64_t n = item / work->shares, c = item % work->shares * work->share;
    struct fc_pool2d_means means = work->means;
    means.planes = fc_min(work->share, work->x->c - c);
    means.x = fc_image_at(work->x, work->size, n, 0, 0, c);
    means.y = fc_image_at(work->y, work->size, n, 0, 0, c);
    means.sums = work->tables + 2 * work->table_bytes + (size_t)worker * work->sum_bytes;
    memset(means.sums, 0, work->sum_bytes);
    (work->back ? kernels->means_dx : kernels->means)[work->halves](&means);
}

static fc_status run(struct work *work, bool *done)
{
    work->size = fc_element_size(work->pass->dtype);
    *done = make_plan(work);
    if (!*done)
        return FC_OK;
    const int64_t items = work->x->n * work->shares;
    const int width = fc_pool2d_dx_width(items, work->x, work->y);
    const fc_status status =
        fc_workspace_divide(2 * work->table_bytes, work->sum_bytes, width, &work->tables);
    if (status != FC_OK)
        return status;
    fc_parallel_for(1, 1, FC_KEEP_DENORMALS, fill_tables, work);
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, run_item, work);
    fc_workspace_release(work->tables);
    return FC_OK;
}

fc_status fc_pool2d_means_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done)
{
    struct work work = {.pass = pass, .x = &pass->x, .y = y};
    return run(&work, done);
}

fc_status fc_pool2d_means_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *dx, bool *done)
{
    struct work work = {.pass = pass, .x = dy, .y = dx, .back = true};
    return run(&work, done);
}
