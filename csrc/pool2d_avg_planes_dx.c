/* pool2d_avg_planes_dx.c: the gradient of an average over planes whose windows share columns.
 *
 * Channels are lanes then, some of which are transposed, undone in scratch that the second-level cache holds, and
 * transposed back. On Zen 4 17x17x768 with windows of 5x5 by strides of 3 takes 0.50 ms, where elements that read the
 * windows around them took 3.1, 35x35x192 with 5x5 by 2 0.95, not 2.3, 56x56x24 with 7x7 by 2 0.26, not 0.97. */
#include "pool2d_avg_dx.h"
#include "transpose_channels.h"
#include "workspace.h"

enum {
    MOST = 1 << 16, /* elements of dx and dy that are transposed at a time */
    TOGETHER = 8,   /* units of channels of those, at most */
    ENOUGH_ITEMS = 16
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *dy, *dx;
    ptrdiff_t size;
    int64_t channels, groups;             /* of an item, and items of an image */
    size_t dy_bytes, bytes, worker_bytes; /* of a block of dy, and of both */
    char *scratch;
};

static void run_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const struct fc_kernels *kernels = work->pass->kernels;
    const int64_t n = item / work->groups, channel = item % work->groups * work->channels;
    const int64_t channels = fc_min(work->channels, work->dx->c - channel);
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    const fc_image dy = fc_packed_image(scratch, work->dy, channels);
    const fc_image dx = fc_packed_image(scratch + work->dy_bytes, work->dx, channels);
    size_t bytes;
    fc_transpose_channels(kernels, work->size, work->dy, n, channel, &dy, true, false);
    fc_pool2d_avg_some_dx(work->pass, &dy, &dx, scratch + work->bytes, &bytes);
    fc_transpose_channels(kernels, work->size, work->dx, n, channel, &dx, false, false);
}

/* False where planes are too large, or too few for a unit of channels. */
static bool make_plan(struct work *work)
{
    const fc_image *dy = work->dy, *dx = work->dx;
    const int64_t unit = fc_unit(work->pass->dtype), most = MOST / unit;
    if (dx->c < unit || dx->stride_w != 1 || dx->h > most / dx->w ||
        dy->h > most / fc_max(dy->w, 1))
        return false;
    const int64_t units = most / (dx->h * dx->w + dy->h * dy->w);
    work->channels = fc_min(fc_max(fc_min(units, TOGETHER), 1) * unit, dx->c);
    const int threads = fc_pool2d_dx_width(ENOUGH_ITEMS, dy, dx);
    while (work->channels > unit && dx->n * fc_ceil_div(dx->c, work->channels) < threads)
        work->channels = fc_ceil_div(work->channels, 2 * unit) * unit;
    work->groups = fc_ceil_div(dx->c, work->channels);
    const size_t pixel = (size_t)(work->channels * work->size);
    const size_t dx_bytes = fc_round_to_line((size_t)(dx->h * dx->w) * pixel + FC_UNIT_BYTES);
    work->dy_bytes = fc_round_to_line((size_t)(dy->h * dy->w) * pixel + FC_UNIT_BYTES);
    work->bytes = work->dy_bytes + dx_bytes;
    const fc_image dy_block = fc_packed_image(NULL, dy, work->channels);
    const fc_image dx_block = fc_packed_image(NULL, dx, work->channels);
    size_t bytes;
    if (!fc_pool2d_avg_some_dx(work->pass, &dy_block, &dx_block, NULL, &bytes))
        return false;
    work->worker_bytes = work->bytes + fc_round_to_line(bytes);
    return true;
}

fc_status fc_pool2d_avg_planes_dx(const struct fc_pool2d_pass *pass, const fc_image *given_dy,
                                  const fc_image *given_dx, bool *done)
{
    fc_image dy = *given_dy, dx = *given_dx;
    fc_pool2d_merge_planes((fc_image *[]){&dy, &dx}, 2);
    struct work work = {
        .pass = pass, .dy = &dy, .dx = &dx, .size = (ptrdiff_t)fc_element_size(pass->dtype)};
    *done = make_plan(&work);
    return *done ? fc_pool2d_run_dx(dx.n * work.groups, &dy, &dx, work.worker_bytes, &work.scratch,
                                    run_item, &work)
                 : FC_OK;
}
