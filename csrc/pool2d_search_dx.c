/* pool2d_search_dx.c: the gradient of a maximum or minimum, scattered to winners that are searched for.
 *
 * Winners of large windows that overlap are found by sweeps, whatever the windows' size. Each then takes its
 * gradient, a load, an addition and a store, in the order of the windows. */
#include "pool2d_search_dx.h"

#include "pool2d_sums.h"
#include "pool2d_sweep.h"
#include "workspace.h"
#include "zero_image.h"

enum { ENOUGH_ITEMS = 16 };

struct work {
    struct fc_pool2d_sweeps sweeps;
    const fc_image *dy, *dx;
    ptrdiff_t sum; /* elements from pixel to pixel of sums in scratch, or 0 where dx has them */
    size_t worker_bytes;
    char *scratch;
};

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

/* Numbers of a block's pixels fit 31 bits. */
static bool numbers_fit(const struct fc_pool2d_sweeps *sweeps, const fc_image *dx)
{
    const struct fc_axis *vertical = sweeps->axis[0];
    const int64_t rows = fc_min((sweeps->rows - 1) * vertical->stride + vertical->taps, dx->h);
    return dx->stride_h >= 0 && dx->stride_w >= 0 && dx->stride_h <= INT32_MAX / 2 / rows &&
           dx->stride_w <= INT32_MAX / 2 / dx->w;
}

/* Numbers are where in dx, or in sums, a winner lies, but for its channel. Planes take turns row by row, since windows
 * that follow each other often have one winner and would wait for one another, as many as the nearest cache holds: all
 * at once those of 8x13x13x512 of float64 took 1.3 to 3.0 ms with 13x13, and take 1.3 to 2.2. */
static void toss(const struct work *work, const struct fc_pool2d_block *block,
                 const struct fc_pool2d_swept *swept, const fc_image *dx)
{
    const struct fc_pool2d_sweeps *sweeps = &work->sweeps;
    const fc_image *dy = work->dy;
    const ptrdiff_t size = (ptrdiff_t)sweeps->size;
    const int64_t step = sweeps->staged ? 2 * fc_unit(sweeps->pass->dtype) : block->channels;
    struct fc_pool2d_toss toss = {.windows = dy->w,
                                  .number_window = sweeps->pixel,
                                  .dy_window = dy->stride_w,
                                  .dy_lane = dy->stride_c,
                                  .dx_lane = dx->stride_c};
    for (int64_t c = 0; c < block->channels; c += step) {
        toss.lanes = fc_min(step, block->channels - c);
        toss.dx = fc_image_at(dx, sweeps->size, 0, swept->row, swept->column, c);
        for (int64_t row = block->row; row < block->row_end; row++) {
            const ptrdiff_t at = (row - block->row) * swept->numbers_row + c;
            toss.numbers = (const char *)swept->numbers + at * size;
            toss.dy = fc_image_at(dy, sweeps->size, block->image, row, 0, block->channel + c);
            sweeps->pass->kernels->pool2d.toss(&toss);
        }
    }
}

static void run_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const struct fc_pool2d_sweeps *sweeps = &work->sweeps;
    const struct fc_axis *vertical = sweeps->axis[0];
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    struct fc_pool2d_block block = {.image = item / sweeps->groups,
                                    .channel = item % sweeps->groups * sweeps->channels,
                                    .column_end = sweeps->axis[1]->out};
    block.channels = fc_min(sweeps->channels, work->dx->c - block.channel);
    const fc_image dx =
        fc_pool2d_channels(work->dx, sweeps->size, block.image, block.channel, block.channels);
    const fc_image to = work->sum ? fc_pool2d_sums(&dx, work->sum, scratch + sweeps->bytes) : dx;
    int64_t cleared = 0;
    for (block.row = 0; block.row < vertical->out; block.row = block.row_end) {
        block.row_end = fc_min(block.row + sweeps->rows, vertical->out);
        const int64_t begin = (block.row_end - 1) * vertical->stride - vertical->before;
        const int64_t end = fc_min(begin + vertical->taps, vertical->in);
        fc_zero_rows(&to, (int64_t)sweeps->size, 0, cleared, end);
        cleared = fc_max(cleared, end);
        const struct fc_pool2d_swept swept = fc_pool2d_sweep_block(sweeps, &block, scratch);
        toss(work, &block, &swept, &to);
    }
    fc_zero_rows(&to, (int64_t)sweeps->size, 0, cleared, vertical->in);
    if (work->sum)
        fc_pool2d_put_sums(sweeps->pass, &to, &dx);
}

fc_status fc_pool2d_search_dx(const struct fc_pool2d_pass *given, const fc_image *given_dy,
                              const fc_image *given_dx, bool *done)
{
    struct fc_pool2d_pass planes = *given, *pass = &planes;
    fc_image dy_planes = *given_dy, dx_planes = *given_dx, *dy = &dy_planes, *dx = &dx_planes;
    fc_pool2d_sweep_merge((fc_image *[]){&pass->x, dy, dx}, 3);
    struct work work = {.sweeps = {.pass = pass,
                                   .x = &pass->x,
                                   .numbered = true,
                                   .whole_rows = true,
                                   .number_step = {dx->stride_h, dx->stride_w}},
                        .dy = dy,
                        .dx = dx};
    struct fc_pool2d_sweeps *sweeps = &work.sweeps;
    sweeps->threads = fc_pool2d_dx_width(ENOUGH_ITEMS, dy, dx);
    *done = is_worth(pass) && fc_pool2d_sweep_plan(sweeps) && numbers_fit(sweeps, dx);
    if (!*done)
        return FC_OK;
    work.sum = fc_pool2d_sum_pixel(pass, dx, sweeps->channels);
    if (work.sum) {
        sweeps->number_step[0] = work.sum * dx->w;
        sweeps->number_step[1] = work.sum;
    }
    work.worker_bytes =
        sweeps->bytes + fc_round_to_line(fc_pool2d_sum_bytes(dx, work.sum, sweeps->size));
    const int64_t items = dx->n * sweeps->groups;
    const int width = fc_pool2d_dx_width(items, dy, dx);
    const fc_status status = fc_workspace_divide(0, work.worker_bytes, width, &work.scratch);
    if (status != FC_OK)
        return status;
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, run_item, &work);
    fc_workspace_release(work.scratch);
    return FC_OK;
}
