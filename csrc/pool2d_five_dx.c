/* pool2d_five_dx.c: the gradient of a maximum or minimum over windows of 5 x 5 that slide by one, scattered to winners.
 *
 * A unit of channels at a time, whose numbers and sums the nearest cache holds: its winners are found, and take their
 * gradients in the order of the windows. What the next ones read is asked for meanwhile. */
#include "pool2d_five_dx.h"

#include <stdatomic.h>

#include "pool2d_sums.h"
#include "pool2d_sweep.h"
#include "workspace.h"
#include "zero_image.h"

enum {
    TAPS = 5,
    MOST_PIXELS = 1 << 11, /* of a plane, whose numbers the second-level cache holds */
    TOGETHER = 8,          /* units of an item: lines of a pixel are read in one run, or planes */
    ENOUGH_ITEMS = 16
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *dy, *dx;
    ptrdiff_t size;
    int64_t unit, channels, groups; /* of an item, and items of an image */
    bool staged;                    /* planes are transposed */
    ptrdiff_t sum; /* elements from pixel to pixel of sums in scratch, or 0 where dx has them */
    size_t plane_bytes, search_bytes, worker_bytes;
    char *scratch;
    atomic_bool nan;
};

static bool slides(const struct fc_axis *axis)
{
    return axis->taps == TAPS && axis->stride == 1 && axis->dilation == 1 &&
           axis->before == TAPS / 2 && axis->out == axis->in && axis->in > 1 &&
           axis->in <= MOST_PIXELS;
}

static bool make_plan(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *x = work->x, *dx = work->dx;
    work->size = (ptrdiff_t)fc_element_size(pass->dtype);
    work->unit = fc_unit(pass->dtype);
    work->staged = x->stride_c != 1;
    const ptrdiff_t most = INT32_MAX / 2 / MOST_PIXELS;
    if (!slides(&pass->axis[0].axis) || !slides(&pass->axis[1].axis) ||
        dx->h > MOST_PIXELS / dx->w || x->c < work->unit || (work->staged && x->stride_w != 1) ||
        dx->stride_h < -most || dx->stride_h > most || dx->stride_w < -most || dx->stride_w > most)
        return false;
    work->channels = fc_min(TOGETHER * work->unit, dx->c);
    const int threads = fc_pool2d_dx_width(ENOUGH_ITEMS, work->dy, dx);
    while (work->channels > work->unit && dx->n * fc_ceil_div(dx->c, work->channels) < threads)
        work->channels = fc_ceil_div(work->channels, 2 * work->unit) * work->unit;
    work->sum = fc_pool2d_sum_pixel(pass, dx, work->channels);
    const int64_t half = fc_ceil_div(work->channels, 2 * work->unit) * work->unit;
    if (!work->sum && half < work->channels) {
        work->sum = fc_pool2d_sum_pixel(pass, dx, half);
        work->channels = work->sum ? half : work->channels; /* their sums may fit */
    }
    work->groups = fc_ceil_div(dx->c, work->channels);
    work->plane_bytes = (size_t)(dx->h * dx->w) * FC_UNIT_BYTES;
    work->search_bytes = (work->staged ? 3 : 2) * work->plane_bytes;
    work->worker_bytes = work->search_bytes +
                         fc_round_to_line(fc_pool2d_sum_bytes(dx, work->sum, (size_t)work->size));
    return true;
}

/* The next unit of an image: line by line, of planes without gaps as many lines as they have pixels. It takes the way
 * back of 8x13x13x512 in planes of float64 from 1.45 ms to 1.05. */
static void ask_for(const struct work *work, const fc_image *image, int64_t n, int64_t channel,
                    struct fc_pool2d_five *five, int i)
{
    const bool planes = image->stride_w == 1 && fc_rows_together(image, image->w);
    five->ahead_row[i] = planes ? image->w * FC_CACHE_LINE : image->stride_h * work->size;
    five->ahead_pixel[i] = planes ? FC_CACHE_LINE : image->stride_w * work->size;
    if (channel + 2 * work->unit <= image->c) {
        channel += work->unit;
    } else if (n + 1 < image->n) {
        n++;
        channel = 0;
    }
    five->ahead[i] = fc_image_at(image, (size_t)work->size, n, 0, 0, channel);
}

/* Numbers are where in dx, or in sums, a winner lies, but for its channel. */
static void find_winners(struct work *work, int64_t n, int64_t channel, const fc_image *to,
                         char *scratch)
{
    const fc_image *x = work->x;
    struct fc_pool2d_five five = {.x = fc_image_at(x, (size_t)work->size, n, 0, 0, channel),
                                  .best = scratch + work->plane_bytes,
                                  .numbers = scratch,
                                  .rows = x->h,
                                  .columns = x->w,
                                  .x_row = x->stride_h,
                                  .x_pixel = x->stride_w,
                                  .number_row = to->stride_h,
                                  .number_pixel = to->stride_w};
    ask_for(work, x, n, channel, &five, 0);
    ask_for(work, work->dy, n, channel, &five, 1);
    if (work->staged) {
        char *staged = scratch + 2 * work->plane_bytes;
        const bool one = fc_rows_together(x, x->w);
        for (int64_t r = 0; r < (one ? 1 : x->h); r++)
            work->pass->kernels->conv2d.copy_block(
                &(struct fc_block){.x = fc_image_at(x, (size_t)work->size, n, r, 0, channel),
                                   .y = staged + r * x->w * FC_UNIT_BYTES,
                                   .x_pixel = 1,
                                   .x_channel = x->stride_c,
                                   .y_pixel = work->unit,
                                   .y_channel = 1,
                                   .pixels = one ? x->h * x->w : x->w,
                                   .channels = work->unit});
        five.x = staged;
        five.x_pixel = work->unit;
        five.x_row = x->w * work->unit;
    }
    if (!work->pass->kernels->pool2d.five[work->pass->pooling](&five))
        atomic_store_explicit(&work->nan, true, memory_order_relaxed);
}

/* Row by row: planes take turns then, as windows that follow each other often have one winner and would wait. */
static void toss(const struct work *work, int64_t n, int64_t channel, int64_t channels,
                 const fc_image *to, int64_t at, const char *numbers)
{
    const fc_image *dy = work->dy;
    struct fc_pool2d_toss toss = {.numbers = numbers,
                                  .dx = fc_image_at(to, (size_t)work->size, 0, 0, 0, at),
                                  .windows = dy->w,
                                  .lanes = channels,
                                  .number_window = work->unit,
                                  .dy_window = dy->stride_w,
                                  .dy_lane = dy->stride_c,
                                  .dx_lane = to->stride_c};
    for (int64_t row = 0; row < dy->h; row++) {
        toss.dy = fc_image_at(dy, (size_t)work->size, n, row, 0, channel);
        work->pass->kernels->pool2d.toss(&toss);
        toss.numbers = (const char *)toss.numbers + dy->w * FC_UNIT_BYTES;
    }
}

static void run_item(void *context, int64_t item, int worker)
{
    struct work *work = context;
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    const size_t size = (size_t)work->size;
    const int64_t n = item / work->groups, first = item % work->groups * work->channels;
    const fc_image dx =
        fc_pool2d_channels(work->dx, size, n, first, fc_min(work->channels, work->dx->c - first));
    const fc_image to =
        work->sum ? fc_pool2d_sums(&dx, work->sum, scratch + work->search_bytes) : dx;
    fc_zero_rows(&to, work->size, 0, 0, to.h);
    for (int64_t c = 0; c < dx.c; c += work->unit) {
        /* What is less than a unit is searched with channels before it. */
        const int64_t channel = fc_min(first + c, work->dx->c - work->unit);
        const int64_t before = first + c - channel;
        find_winners(work, n, channel, &to, scratch);
        toss(work, n, first + c, fc_min(work->unit - before, dx.c - c), &to, c,
             scratch + before * work->size);
    }
    if (work->sum)
        fc_pool2d_put_sums(work->pass, &to, &dx);
}

fc_status fc_pool2d_five_dx(const struct fc_pool2d_pass *pass, const fc_image *given_dy,
                            const fc_image *given_dx, bool *done)
{
    fc_image x = pass->x, dy = *given_dy, dx = *given_dx;
    fc_pool2d_sweep_merge((fc_image *[]){&x, &dy, &dx}, 3);
    struct work work = {.pass = pass, .x = &x, .dy = &dy, .dx = &dx};
    *done = make_plan(&work);
    if (!*done)
        return FC_OK;
    const fc_status status = fc_pool2d_run_dx(dx.n * work.groups, &dy, &dx, work.worker_bytes,
                                              &work.scratch, run_item, &work);
    *done = status != FC_OK || !atomic_load(&work.nan);
    return status;
}
