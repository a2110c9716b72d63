/* pool2d_pixel_strips.c: which windows are taken strip by strip, with what rows of theirs have in common.
 *
 * A strip is so wide that two rows of it stay in the nearest cache, and of 1 KB of channels, which memory hands out
 * fast: with 2 KB the gradient of an average of 35x35x192 in float64 took 1.4 ms, not 0.9. */
#include "pool2d_pixel_strips.h"

#include "stream.h"
#include "workspace.h"

enum {
    CHANNELS = 16,   /* units of a strip: long runs of memory */
    KEPT = 12 << 10, /* bytes of two rows of a strip: they stay in the nearest cache */
    FEWEST = 4,      /* columns of a strip that is there for threads */
    ENOUGH_ITEMS = 8,
    WIDEST = 64,            /* columns of windows that step by two */
    MOST_ELEMENTS = 1 << 14 /* of a row or a column: its divisors are kept */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *y; /* dy and dx on the way back */
    size_t size;
    bool back, stream, halves;
    int64_t columns, strips, channels, blocks; /* of an item, and how many of an image */
    size_t divisor_bytes, kept_bytes;          /* of a direction, and of a worker */
    char *scratch;
};

static bool fits(struct work *work)
{
    const fc_image *x = work->x, *y = work->y;
    const struct fc_axis *vertical = &work->pass->axis[0].axis;
    const struct fc_axis *horizontal = &work->pass->axis[1].axis;
    work->halves = work->back && fc_pool2d_axis_halves(vertical) &&
                   fc_pool2d_axis_halves(horizontal) && x->w < WIDEST;
    return !work->pass->numbered && x->stride_c == 1 && y->stride_c == 1 &&
           x->c >= fc_unit(work->pass->dtype) && x->w <= MOST_ELEMENTS && x->h <= MOST_ELEMENTS &&
           (work->halves || (fc_pool2d_axis_slides(vertical) && fc_pool2d_axis_slides(horizontal)));
}

static void make_plan(struct work *work)
{
    const fc_image *x = work->x;
    const int64_t unit = fc_unit(work->pass->dtype);
    const int64_t units = fc_ceil_div(x->c, unit);
    const int64_t most = work->halves ? 4 * CHANNELS / (x->w / 16 + 1) : CHANNELS;
    work->channels = fc_ceil_div(units, fc_ceil_div(units, fc_min(most, CHANNELS))) * unit;
    work->blocks = fc_ceil_div(x->c, work->channels);
    const int64_t room = KEPT / (2 * work->channels * (int64_t)work->size);
    const int64_t more = fc_ceil_div(ENOUGH_ITEMS, x->n * work->blocks);
    work->strips = work->halves ? 1 : fc_max(fc_ceil_div(x->w, room), fc_min(more, x->w / FEWEST));
    work->columns = fc_ceil_div(x->w, work->strips);
    work->strips = fc_ceil_div(x->w, work->columns);
    work->stream = fc_streams_image(work->y, false, (ptrdiff_t)work->size) && x->c % unit == 0;
    work->divisor_bytes = fc_round_to_line((size_t)(fc_max(x->h, x->w) + 2) * work->size);
    work->kept_bytes =
        fc_round_to_line((size_t)((2 * work->columns + 1) * work->channels) * work->size);
}

/* Of each direction, a one before the first. */
static void fill_tables(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct work *work = context;
    const struct fc_axis *axis = &work->pass->axis[item].axis;
    char *table = work->scratch + (size_t)item * work->divisor_bytes;
    fc_pool2d_put(work->size, table, 0, 1);
    fc_pool2d_put_divisors(axis, work->pass->include_pad, 1, axis->out + 1, work->size,
                           table + work->size);
}

/* Blocks are alike, so that none is less than a unit. */
static int64_t first_channel(const struct work *work, int64_t block)
{
    const int64_t unit = fc_unit(work->pass->dtype), units = fc_ceil_div(work->x->c, unit);
    return fc_min(units * block / work->blocks * unit, work->x->c);
}

static void run_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const struct fc_pool2d_kernels *kernels = &work->pass->kernels->pool2d;
    const fc_image *x = work->x, *y = work->y;
    const int64_t column = item % work->strips * work->columns;
    item /= work->strips;
    const int64_t block = item % work->blocks, n = item / work->blocks;
    const int64_t channel = first_channel(work, block);
    const int64_t end = fc_min(column + work->columns, x->w);
    const char *row_divisors = work->scratch + work->size;
    const struct fc_pool2d_pixel_strip strip = {
        .x = fc_image_at(x, work->size, n, 0, column, channel),
        .y = fc_image_at(y, work->size, n, 0, column, channel),
        .row_divisors = row_divisors,
        .divisors = row_divisors + work->divisor_bytes + (size_t)column * work->size,
        .kept = work->scratch + 2 * work->divisor_bytes + (size_t)worker * work->kept_bytes,
        .rows = x->h,
        .columns = end - column,
        .lanes = first_channel(work, block + 1) - channel,
        .height = y->h,
        .width = y->w,
        .above = work->pass->axis[0].axis.before,
        .before = work->pass->axis[1].axis.before,
        .x_row = x->stride_h,
        .x_pixel = x->stride_w,
        .y_row = y->stride_h,
        .y_pixel = y->stride_w,
        .left = column > 0,
        .right = end < x->w,
        .stream = work->stream};
    (work->back ? kernels->pixel_strip_dx[work->halves]
                : kernels->pixel_strip[work->pass->pooling])(&strip);
}

static fc_status run(struct work *work, bool *done)
{
    work->size = fc_element_size(work->pass->dtype);
    *done = fits(work);
    if (!*done)
        return FC_OK;
    make_plan(work);
    const int64_t items = work->x->n * work->blocks * work->strips;
    const int width = fc_pool2d_dx_width(items, work->x, work->y);
    const fc_status status =
        fc_workspace_divide(2 * work->divisor_bytes, work->kept_bytes, width, &work->scratch);
    if (status != FC_OK)
        return status;
    if (work->pass->pooling == FC_AVG)
        fc_parallel_for(2, 1, FC_KEEP_DENORMALS, fill_tables, work);
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, run_item, work);
    fc_workspace_release(work->scratch);
    return FC_OK;
}

fc_status fc_pool2d_pixel_strips_forward(const struct fc_pool2d_pass *pass, const fc_image *y,
                                         bool *done)
{
    struct work work = {.pass = pass, .x = &pass->x, .y = y};
    return run(&work, done);
}

fc_status fc_pool2d_pixel_strips_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                    const fc_image *dx, bool *done)
{
    struct work work = {.pass = pass, .x = dy, .y = dx, .back = true};
    return run(&work, done);
}
