/* pool2d_whole_dx.c: the gradient of a maximum or minimum over whole planes.
 *
 * One element of each plane takes dy, so that reading x and writing dx is all there is to wait for. Planes
 * that are runs are searched twice, the second time in the first-level cache, and cleared meanwhile
 * (struct fc_pool2d_fold_dx). Where channels lie together, an image's winners are numbered, and every pixel of
 * dx is dy where its own number has won: 10 x 10 x 2048, copied in 0.46 ms,
 * takes 0.47 so, and 0.50 where dx is cleared and each channel's gradient written to a line of its own. */
#include "pool2d_whole_dx.h"

#include "parallel.h"
#include "pool2d_fold.h"
#include "workspace.h"

enum {
    ITEM = 1 << 15,          /* elements of x that an item reads, where planes are runs */
    MOST_PIXELS = 1 << 24,   /* numbers of them are exact in float32 */
    ENOUGH_CHANNELS = 8,     /* fewer channels leave most of a vector empty */
    MOST_CHANNELS = 1 << 11, /* of an item: numbers and dy, 16 KB, stay in the first-level cache */
    LEAST_CHANNELS = 1 << 8, /* shorter runs of dx cost a tenth of the time */
    SEARCHED = 1 << 14,      /* elements of x that are searched at once, where there are more */
    ENOUGH_ITEMS = 8
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *dy, *dx;
    int64_t channels, blocks; /* of an item, and items of an image */
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
        &(struct fc_pool2d_fold_dx){.x = fc_pool2d_at(&pass->x, work->size, n, 0, 0, c),
                                    .dy = fc_pool2d_at(dy, work->size, n, 0, 0, c),
                                    .dx = fc_pool2d_at(dx, work->size, n, 0, 0, c),
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
            &(struct fc_pool2d_tile){.x = fc_pool2d_at(x, work->size, n, row, 0, c),
                                     .y = numbers + work->line_bytes,
                                     .numbers = numbers,
                                     .columns = 1,
                                     .lanes = channels,
                                     .rows = fc_min(rows, x->h - row),
                                     .taps = x->w,
                                     .x_row = x->stride_h,
                                     .x_tap = x->stride_w,
                                     .phases = 1,
                                     .number = row * x->w,
                                     .number_row = x->w,
                                     .number_tap = 1,
                                     .divisor = 1,
                                     .resume = row > 0});
}

static void award_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const fc_image *dx = work->dx;
    const int64_t n = item / work->blocks, c = item % work->blocks * work->channels;
    const int64_t channels = fc_min(work->channels, dx->c - c);
    char *numbers = work->scratch + (size_t)worker * work->worker_bytes;
    number_winners(work, n, c, channels, numbers);
    const int64_t rows = dx->stride_h == dx->w * dx->stride_w ? dx->h : 1;
    for (int64_t row = 0; row < dx->h; row += rows)
        work->pass->kernels->pool2d.award(
            &(struct fc_pool2d_award){.numbers = numbers,
                                      .dy = fc_pool2d_at(work->dy, work->size, n, 0, 0, c),
                                      .dx = fc_pool2d_at(dx, work->size, n, row, 0, c),
                                      .columns = rows * dx->w,
                                      .lanes = channels,
                                      .rows = 1,
                                      .taps = 1,
                                      .dx_column = dx->stride_w,
                                      .first = row * dx->w,
                                      .first_column = 1});
}

static fc_status award_pixels(struct work *work)
{
    int64_t channels = fc_min(work->dx->c, MOST_CHANNELS), items;
    while ((items = start(work, channels)) < ENOUGH_ITEMS && channels > LEAST_CHANNELS)
        channels = fc_ceil_div(channels, 2);
    work->line_bytes = fc_round_to_line((size_t)channels * work->size + FC_UNIT_BYTES);
    work->worker_bytes = 2 * work->line_bytes;
    const int width = width_of(work->dx, items);
    const fc_status status = fc_workspace_divide(0, work->worker_bytes, width, &work->scratch);
    if (status != FC_OK)
        return status;
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, award_item, work);
    fc_workspace_release(work->scratch);
    return FC_OK;
}

fc_status fc_pool2d_whole_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *dx, bool *done)
{
    const fc_image *x = &pass->x;
    struct work work = {.pass = pass, .dy = dy, .dx = dx, .size = fc_element_size(pass->dtype)};
    const bool whole = fc_pool2d_is_whole(pass) && dx->h <= MOST_PIXELS / dx->w;
    const bool runs =
        fc_pool2d_is_run(x) && fc_pool2d_is_run(dx) && dx->h * dx->w >= FC_POOL2D_CHAINS;
    const bool lanes =
        dx->c >= ENOUGH_CHANNELS && x->stride_c == 1 && dx->stride_c == 1 && dy->stride_c == 1;
    *done = whole && (runs || lanes);
    if (!*done)
        return FC_OK;
    if (lanes)
        return award_pixels(&work);
    fold_planes(&work);
    return FC_OK;
}
