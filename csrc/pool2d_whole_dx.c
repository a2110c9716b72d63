/* pool2d_whole_dx.c: the gradient of a maximum or minimum over whole planes.
 *
 * One element of each plane takes dy, so that reading x and writing dx is all there is to wait for. Planes
 * that are runs are searched twice, the second time in the first-level cache, and cleared meanwhile
 * (struct fc_pool2d_fold_dx). Where channels lie together, an image's winners are numbered, dx is cleared, and each
 * channel's gradient written to a line of its own: 10 x 10 x 2048, copied in 0.18 ms of Zen 4's caches, takes 0.22 so,
 * and 0.25 where every pixel of dx asks whether its own number has won, which is faster where there are few. */
#include "pool2d_whole_dx.h"

#include "parallel.h"
#include "pool2d_fold.h"
#include "workspace.h"
#include "zero_image.h"

enum {
    ITEM = 1 << 15,          /* elements of x that an item reads, where planes are runs */
    ENOUGH_CHANNELS = 8,     /* fewer channels leave most of a vector empty */
    MOST_CHANNELS = 1 << 11, /* of an item: numbers and dy, 16 KB, stay in the first-level cache */
    LEAST_CHANNELS = 1 << 8, /* shorter runs of dx cost a tenth of the time */
    MANY_PIXELS = 36,   /* 5 x 5 take as long either way, 4 x 4 1.3 times as long, 28 x 28 0.7 */
    SEARCHED = 1 << 14, /* elements of x that are searched at once, where there are more */
    ENOUGH_ITEMS = 8
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *dy, *dx;
    int64_t channels, blocks; /* of an item, and items of an image */
    ptrdiff_t step[2];        /* of winners' numbers, from row to row and from pixel to pixel */
    bool tosses;              /* numbers are where in dx a winner lies, but for its channel */
    size_t size, line_bytes, worker_bytes;
    char *scratch;
};

static int64_t start(struct work *work, int64_t channels)
{
    const fc_image *dx = work->dx;
    work->channels = channels;
    work->blocks = fc_ceil_div(dx->c, channels);
    return dx->n * work->blocks;
}

static int width_of(const fc_image *dx, int64_t items)
{
    return fc_parallel_width(items, 2 * FC_WORK_PER_TAP * (double)dx->n * (double)dx->c *
                                        (double)dx->h * (double)dx->w);
}

/* --------------------------------------------------------------------- runs */

static void fold_item(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct work *work = context;
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dy = work->dy, *dx = work->dx;
    const int64_t n = item / work->blocks, c = item % work->blocks * work->channels;
    pass->kernels->pool2d.fold_dx[pass->pooling](
        &(struct fc_pool2d_fold_dx){.x = fc_image_at(&pass->x, work->size, n, 0, 0, c),
                                    .dy = fc_image_at(dy, work->size, n, 0, 0, c),
                                    .dx = fc_image_at(dx, work->size, n, 0, 0, c),
                                    .planes = fc_min(work->channels, dx->c - c),
                                    .elements = dx->h * dx->w,
                                    .x_plane = pass->x.stride_c,
                                    .dy_plane = dy->stride_c,
                                    .dx_plane = dx->stride_c});
}

static void fold_planes(struct work *work)
{
    const int64_t sixteen = work->dx->h * work->dx->w * FC_POOL2D_CHAINS;
    const int64_t items = start(work, fc_ceil_div(ITEM, sixteen) * FC_POOL2D_CHAINS);
    fc_parallel_for(items, width_of(work->dx, items), FC_KEEP_DENORMALS, fold_item, work);
}

/* ---------------------------------------------------------- channels as lanes */

/* The numbers of the winners of `channels` channels from c on. Blocks of them take turns on a few rows, so
 * that lines fetched beside those of one are still there for the next. */
static void number_winners(const struct work *work, int64_t n, int64_t c, int64_t channels,
                           char *numbers)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *x = &pass->x;
    const int64_t rows = fc_max(SEARCHED / (x->w * channels), 1);
    for (int64_t row = 0; row < x->h; row += rows)
        pass->kernels->pool2d.pool[pass->pooling](
            &(struct fc_pool2d_tile){.x = fc_image_at(x, work->size, n, row, 0, c),
                                     .y = numbers + work->line_bytes,
                                     .numbers = numbers,
                                     .columns = 1,
                                     .lanes = channels,
                                     .rows = fc_min(rows, x->h - row),
                                     .taps = x->w,
                                     .x_row = x->stride_h,
                                     .x_tap = x->stride_w,
                                     .phases = 1,
                                     .number = row * work->step[0],
                                     .number_row = work->step[0],
                                     .number_tap = work->step[1],
                                     .divisor = 1,
                                     .resume = row > 0});
}

/* dx of so many channels from the numbers of their winners. */
static void toss(const struct work *work, int64_t n, int64_t c, int64_t channels,
                 const char *numbers)
{
    const fc_image dx = fc_pool2d_channels(work->dx, work->size, n, c, channels);
    fc_zero_rows(&dx, (int64_t)work->size, 0, 0, dx.h);
    work->pass->kernels->pool2d.toss(
        &(struct fc_pool2d_toss){.numbers = numbers,
                                 .dy = fc_image_at(work->dy, work->size, n, 0, 0, c),
                                 .dx = dx.data,
                                 .windows = 1,
                                 .lanes = channels,
                                 .dy_lane = 1,
                                 .dx_lane = 1});
}

static void award(const struct work *work, int64_t n, int64_t c, int64_t channels,
                  const char *numbers)
{
    const fc_image *dx = work->dx;
    const int64_t rows = fc_rows_together(dx, dx->w) ? dx->h : 1;
    for (int64_t row = 0; row < dx->h; row += rows)
        work->pass->kernels->pool2d.award(
            &(struct fc_pool2d_award){.numbers = numbers,
                                      .dy = fc_image_at(work->dy, work->size, n, 0, 0, c),
                                      .dx = fc_image_at(dx, work->size, n, row, 0, c),
                                      .columns = rows * dx->w,
                                      .lanes = channels,
                                      .rows = 1,
                                      .taps = 1,
                                      .dx_column = dx->stride_w,
                                      .first = row * dx->w,
                                      .first_column = 1});
}

static void search_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const fc_image *dx = work->dx;
    const int64_t n = item / work->blocks, c = item % work->blocks * work->channels;
    const int64_t channels = fc_min(work->channels, dx->c - c);
    char *numbers = work->scratch + (size_t)worker * work->worker_bytes;
    number_winners(work, n, c, channels, numbers);
    (work->tosses ? toss : award)(work, n, c, channels, numbers);
}

/* Whether dx is worth clearing, and where its pixels lie fits 31 bits. */
static bool tosses(const fc_image *dx)
{
    return dx->h * dx->w >= MANY_PIXELS && dx->stride_h >= 0 && dx->stride_w >= 0 &&
           dx->stride_h <= INT32_MAX / 2 / dx->h && dx->stride_w <= INT32_MAX / 2 / dx->w;
}

static fc_status search_pixels(struct work *work)
{
    work->tosses = tosses(work->dx);
    work->step[0] = work->tosses ? work->dx->stride_h : work->dx->w;
    work->step[1] = work->tosses ? work->dx->stride_w : 1;
    int64_t channels = fc_min(work->dx->c, MOST_CHANNELS), items;
    while ((items = start(work, channels)) < ENOUGH_ITEMS && channels > LEAST_CHANNELS)
        channels = fc_ceil_div(channels, 2);
    work->line_bytes = fc_round_to_line((size_t)channels * work->size + FC_UNIT_BYTES);
    work->worker_bytes = 2 * work->line_bytes;
    const int width = width_of(work->dx, items);
    const fc_status status = fc_workspace_divide(0, work->worker_bytes, width, &work->scratch);
    if (status != FC_OK)
        return status;
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, search_item, work);
    fc_workspace_release(work->scratch);
    return FC_OK;
}

fc_status fc_pool2d_whole_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *dx, bool *done)
{
    const fc_image *x = &pass->x;
    struct work work = {.pass = pass, .dy = dy, .dx = dx, .size = fc_element_size(pass->dtype)};
    const bool whole = fc_pool2d_is_whole(pass) && dx->h <= FC_POOL2D_FOUND / dx->w;
    const bool runs =
        fc_pool2d_is_run(x) && fc_pool2d_is_run(dx) && dx->h * dx->w >= FC_POOL2D_CHAINS;
    const bool lanes =
        dx->c >= ENOUGH_CHANNELS && x->stride_c == 1 && dx->stride_c == 1 && dy->stride_c == 1;
    *done = whole && (runs || lanes);
    if (!*done)
        return FC_OK;
    if (lanes)
        return search_pixels(&work);
    fold_planes(&work);
    return FC_OK;
}
