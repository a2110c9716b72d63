/* pool2d_search_dx.c: the gradient of a maximum or minimum, scattered to winners that are searched for.
 *
 * Winners of large windows that overlap are found by sweeps, whatever the windows' size, or those of 5 x 5 by a walk of
 * their own, a unit of channels at a time, so that what takes their gradients stays in the nearest cache too. Each then
 * takes its gradient, a load, an addition and a store, in the order of the windows. */
#include "pool2d_search_dx.h"

#include <stdatomic.h>

#include "pool2d_five.h"
#include "pool2d_sums.h"
#include "transpose_channels.h"
#include "workspace.h"
#include "zero_image.h"

enum {
    ENOUGH_ITEMS = 16,
    TOGETHER = 8 /* units of an item of 5 x 5: lines of a pixel are read in one run, or planes */
};

struct work {
    const struct fc_pool2d_pass *pass;
    struct fc_pool2d_sweeps sweeps;
    struct fc_pool2d_fives fives;
    bool walks; /* fives */
    const fc_image *dy, *dx;
    int64_t channels, groups; /* of an item, and items of an image */
    int64_t rows, together;   /* of windows, and channels, that are searched at once */
    int64_t abreast;          /* channels that take their gradients row by row */
    ptrdiff_t sum; /* elements from pixel to pixel of sums in scratch, or 0 where dx has them */
    size_t size, search_bytes, worker_bytes;
    char *scratch;
    atomic_bool nan;
};

/* -------------------------------------------------------------------- plan */

/* Whether that is less than to look at every element of each window, and then of dx at every window that it lies
 * in: on Zen 4 windows of 3x3 that slide by one lose a quarter with channels together, and gain as much in
 * planes, and those of 4x4 that step by two gain everywhere. */
static bool is_worth(const struct fc_pool2d_pass *pass)
{
    enum { FEWER = 8, FEWER_OF_PLANES = 5 };
    const struct fc_axis *vertical = &pass->axis[0].axis, *horizontal = &pass->axis[1].axis;
    const int64_t rows = fc_min(vertical->taps, vertical->in);
    const int64_t taps = rows * fc_min(horizontal->taps, horizontal->in);
    const int64_t less = pass->x.stride_c == 1 ? FEWER : FEWER_OF_PLANES;
    return (taps - less) / vertical->stride > horizontal->stride;
}

/* Numbers of so many rows' pixels fit 31 bits. */
static bool numbers_fit(const fc_image *dx, int64_t rows)
{
    return dx->stride_h >= 0 && dx->stride_w >= 0 && dx->stride_h <= INT32_MAX / 2 / rows &&
           dx->stride_w <= INT32_MAX / 2 / dx->w;
}

/* Where numbers count: in dx, or in sums of so many channels. */
static void choose_sums(struct work *work, int64_t channels, ptrdiff_t number_step[2])
{
    const fc_image *dx = work->dx;
    work->channels = channels;
    work->groups = fc_ceil_div(dx->c, channels);
    work->sum = fc_pool2d_sum_pixel(work->pass, dx, channels);
    number_step[0] = work->sum ? work->sum * dx->w : dx->stride_h;
    number_step[1] = work->sum ? work->sum : dx->stride_w;
}

static bool plan_sweeps(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    struct fc_pool2d_sweeps *sweeps = &work->sweeps;
    *sweeps =
        (struct fc_pool2d_sweeps){.pass = pass,
                                  .x = &pass->x,
                                  .numbered = true,
                                  .whole_rows = true,
                                  .threads = fc_pool2d_dx_width(ENOUGH_ITEMS, work->dy, work->dx)};
    if (!is_worth(pass) || !fc_pool2d_sweep_plan(sweeps))
        return false;
    const struct fc_axis *vertical = sweeps->axis[0];
    const int64_t held = (sweeps->rows - 1) * vertical->stride + vertical->taps;
    work->walks = false;
    work->rows = sweeps->rows;
    work->together = sweeps->channels;
    work->abreast = sweeps->staged ? 2 * fc_unit(pass->dtype) : sweeps->channels;
    work->search_bytes = sweeps->bytes;
    choose_sums(work, sweeps->channels, sweeps->number_step);
    return numbers_fit(work->dx, fc_min(held, work->dx->h));
}

static bool plan_fives(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dy = work->dy, *dx = work->dx;
    struct fc_pool2d_fives *fives = &work->fives;
    *fives = (struct fc_pool2d_fives){.pass = pass, .x = &pass->x, .dy = dy};
    if (!fc_pool2d_five_plan(fives) || !numbers_fit(dx, dx->h))
        return false;
    const int64_t unit = fives->unit;
    const int threads = fc_pool2d_dx_width(ENOUGH_ITEMS, dy, dx);
    int64_t channels = fc_min(TOGETHER * unit, dx->c);
    while (channels > unit && dx->n * fc_ceil_div(dx->c, channels) < threads)
        channels = fc_ceil_div(channels, 2 * unit) * unit;
    const int64_t half = fc_ceil_div(channels, 2 * unit) * unit;
    if (half < channels && !fc_pool2d_sum_pixel(pass, dx, channels) &&
        fc_pool2d_sum_pixel(pass, dx, half))
        channels = half; /* their sums fit */
    work->walks = true;
    work->rows = dy->h;
    work->together = work->abreast = unit;
    work->search_bytes = fives->bytes;
    choose_sums(work, channels, fives->number_step);
    return true;
}

/* ---------------------------------------------------------------------- dx */

/* Numbers are where in dx, or in sums, a winner lies, but for its channel, which is `at` or more. Planes take turns row
 * by row, since windows that follow each other often have one winner and would wait for one another, as many as the
 * nearest cache holds: all at once those of 8x13x13x512 of float64 took 1.3 to 3.0 ms with 13x13, and take 1.3 to 2.2.
 */
static void toss(const struct work *work, const struct fc_pool2d_block *block,
                 const struct fc_pool2d_found *found, const fc_image *dx, int64_t at)
{
    const fc_image *dy = work->dy;
    struct fc_pool2d_toss toss = {.windows = dy->w,
                                  .number_window = found->numbers_column,
                                  .dy_window = dy->stride_w,
                                  .dy_lane = dy->stride_c,
                                  .dx_lane = dx->stride_c};
    for (int64_t c = 0; c < block->channels; c += work->abreast) {
        toss.lanes = fc_min(work->abreast, block->channels - c);
        toss.dx = fc_image_at(dx, work->size, 0, found->row, found->column, at + c);
        for (int64_t row = block->row; row < block->row_end; row++) {
            const ptrdiff_t number = (row - block->row) * found->numbers_row + c;
            toss.numbers = (const char *)found->numbers + number * (ptrdiff_t)work->size;
            toss.dy = fc_image_at(dy, work->size, block->image, row, 0, block->channel + c);
            work->pass->kernels->pool2d.toss(&toss);
        }
    }
}

/* Rows of windows of an item's channels from `first` on. */
static void search_rows(struct work *work, struct fc_pool2d_block *block, int64_t first,
                        const fc_image *to, char *scratch)
{
    for (int64_t c = 0; c < to->c; c += work->together) {
        block->channel = first + c;
        block->channels = fc_min(work->together, to->c - c);
        const struct fc_pool2d_found found =
            work->walks ? fc_pool2d_five_block(&work->fives, block, scratch)
                        : fc_pool2d_sweep_block(&work->sweeps, block, scratch);
        if (found.numbers)
            toss(work, block, &found, to, c);
        else
            atomic_store_explicit(&work->nan, true, memory_order_relaxed);
    }
}

static void run_item(void *context, int64_t item, int worker)
{
    struct work *work = context;
    const struct fc_axis *vertical = &work->pass->axis[0].axis;
    const int64_t size = (int64_t)work->size;
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    struct fc_pool2d_block block = {.image = item / work->groups, .column_end = work->dy->w};
    const int64_t first = item % work->groups * work->channels;
    const fc_image dx = fc_pool2d_channels(work->dx, work->size, block.image, first,
                                           fc_min(work->channels, work->dx->c - first));
    const fc_image to =
        work->sum ? fc_pool2d_sums(&dx, work->sum, scratch + work->search_bytes) : dx;
    int64_t cleared = 0;
    for (block.row = 0; block.row < vertical->out; block.row = block.row_end) {
        block.row_end = fc_min(block.row + work->rows, vertical->out);
        const int64_t begin = (block.row_end - 1) * vertical->stride - vertical->before;
        const int64_t end = fc_min(begin + vertical->taps, vertical->in);
        fc_zero_rows(&to, size, 0, cleared, end);
        cleared = fc_max(cleared, end);
        search_rows(work, &block, first, &to, scratch);
    }
    fc_zero_rows(&to, size, 0, cleared, vertical->in);
    if (work->sum)
        fc_transpose_channels(work->pass->kernels, size, &dx, 0, 0, &to, false, false);
}

static fc_status run(struct work *work, bool *done)
{
    const fc_image *dy = work->dy, *dx = work->dx;
    work->worker_bytes =
        work->search_bytes + fc_round_to_line(fc_pool2d_sum_bytes(dx, work->sum, work->size));
    const fc_status status = fc_pool2d_run_dx(dx->n * work->groups, dy, dx, work->worker_bytes,
                                              &work->scratch, run_item, work);
    *done = status != FC_OK || !atomic_load(&work->nan);
    return status;
}

fc_status fc_pool2d_search_dx(const struct fc_pool2d_pass *given, const fc_image *given_dy,
                              const fc_image *given_dx, bool *done)
{
    struct fc_pool2d_pass pass = *given;
    fc_image dy = *given_dy, dx = *given_dx;
    fc_pool2d_sweep_merge((fc_image *[]){&pass.x, &dy, &dx}, 3);
    struct work work = {.pass = &pass, .dy = &dy, .dx = &dx, .size = fc_element_size(pass.dtype)};
    *done = false;
    fc_status status = FC_OK;
    if (plan_fives(&work))
        status = run(&work, done);
    atomic_store(&work.nan, false);
    if (!*done && plan_sweeps(&work))
        status = run(&work, done);
    return status;
}
