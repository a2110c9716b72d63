/* depthwise_walk.c: depthwise convolution of planes under square windows that slide by one: strips of columns are
 * walked down where they lie, without scratch.
 *
 * Turned, as pixels, and turned back, planes took twice the time of their sums. On Zen 4 3 x 3 taps took 0.35 ms for
 * 512 channels of 14 x 14, now 0.17, 1.01 for 728 of 19 x 19, now 0.55, and 1.53 for 32 of 112 x 112, now 0.64; 5 x 5
 * taps 0.75 for 672 of 14 x 14, now 0.55, and 0.39 for 1152 of 7 x 7, now 0.28. Held to AVX2 they took 0.67, 2.0,
 * 2.8, 1.18 and 0.55 ms, now 0.25, 0.73, 1.08, 0.83 and 0.42. */
#include "depthwise.h"
#include "dispatch.h"
#include "parallel.h"
#include "stream.h"

enum {
    MOST_COLUMNS = 1 << 20, /* lanes count them */
    SMALL_PLANE = 1024,     /* elements of y, of which all images are walked for the same weights */
    ITEMS_WANTED = 16
};

static bool fits_axis(const struct fc_axis *axis)
{
    const int64_t after = axis->out - 1 + axis->taps - axis->before - axis->in;
    return axis->stride == 1 && axis->dilation == 1 && axis->before >= 0 &&
           axis->before < axis->taps && axis->out > 0 && axis->in > 0 && after >= 0 &&
           after < axis->taps;
}

/* Rows of half a vector or less are walked where two planes fill it: held to AVX2, 4 x 4 took 8 % longer. */
static bool fills_vectors(const struct fc_convolution *convolution,
                          const struct fc_kernels *kernels)
{
    const int64_t bytes = convolution->y.w * (int64_t)fc_element_size(convolution->dtype);
    const int64_t vector = kernels->depthwise.vector_bytes;
    return vector == FC_UNIT_BYTES || 2 * bytes > vector;
}

bool fc_fits_walk(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = convolution->axis;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    return kernels->depthwise.walk && fills_vectors(convolution, kernels) &&
           (axis->taps == 3 || axis->taps == 5) && axis[0].taps == axis[1].taps &&
           fits_axis(&axis[0]) && fits_axis(&axis[1]) && convolution->x.stride_w == 1 &&
           convolution->y.stride_w == 1 && convolution->x.stride_c != 1 &&
           convolution->x.w <= MOST_COLUMNS && !convolution->residual.data &&
           convolution->padding_mode == FC_CONSTANT && convolution->padding_value == 0;
}

struct work {
    const struct fc_depthwise_job *job;
    int64_t unit, blocks;  /* channels of a block, and blocks */
    int64_t share, shares; /* channels of an item, and items of a block */
    int64_t images;        /* of an item */
    bool stream;
};

/* Some planes of a unit, of an image or of more. */
static void walk_item(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct work *work = context;
    const struct fc_depthwise_job *job = work->job;
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_channels *channels = &job->parts->channels;
    const struct fc_axis *axis = convolution->axis;
    const fc_image *x = &convolution->x, *y = &convolution->y;
    const int64_t first = item % work->shares * work->share;
    item /= work->shares;
    const int64_t n = item / work->blocks * work->images, c = item % work->blocks * work->unit;
    const int64_t panel = c / channels->panel;
    struct fc_depthwise_walk walk = {
        .x = fc_image_at(x, job->element, n, 0, 0, c),
        .kernel = job->parts->packed +
                  (fc_panel_offset(channels, 0, panel) + c % channels->panel) * job->element,
        .y = fc_image_at(y, job->element, n, 0, 0, c),
        .images = fc_min(work->images, y->n - n),
        .first = first,
        .planes = fc_min(first + work->share, fc_min(work->unit, y->c - c)),
        .rows = y->h,
        .columns = y->w,
        .height = x->h,
        .width = x->w,
        .above = axis[0].before,
        .before = axis[1].before,
        .taps = axis->taps,
        .x_image = x->stride_n,
        .x_plane = x->stride_c,
        .x_row = x->stride_h,
        .y_image = y->stride_n,
        .y_plane = y->stride_c,
        .y_row = y->stride_h,
        .kernel_step = fc_panel_width(channels, panel),
        .skips = fc_skips_padding(convolution),
        .stream = work->stream,
        .activation = convolution->activation,
    };
    if (convolution->bias)
        walk.bias = (const char *)convolution->bias + c * job->element;
    job->kernels->depthwise.walk(&walk);
}

fc_status fc_depthwise_walk(const struct fc_depthwise_job *job)
{
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y;
    struct work work = {.job = job, .unit = fc_unit(convolution->dtype)};
    work.blocks = fc_ceil_div(y->c, work.unit);
    work.stream = job->kernels->depthwise.vector_bytes == FC_CACHE_LINE && y->w % work.unit == 0 &&
                  fc_streams_image(y, true, job->element);
    const bool small = y->h * y->w <= SMALL_PLANE;
    work.images = small ? fc_max(fc_min(y->n, y->n * work.blocks / ITEMS_WANTED), 1) : 1;
    const int64_t all = fc_ceil_div(y->n, work.images) * work.blocks;
    work.share = fc_max(work.unit * all / ITEMS_WANTED / 2 * 2, 2);
    work.share = fc_min(work.share, work.unit);
    work.shares = fc_ceil_div(work.unit, work.share);
    const int64_t items = all * work.shares;
    const double outputs = (double)y->n * (double)y->h * (double)y->w * (double)y->c;
    const double taps = (double)job->parts->channels.taps;
    fc_parallel_for(items, fc_parallel_width(items, outputs * (2.0 * taps + FC_WORK_PER_ELEMENT)),
                    FC_FLUSH_DENORMALS, walk_item, &work);
    return FC_OK;
}
