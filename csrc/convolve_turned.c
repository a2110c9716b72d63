/* convolve_turned.c: 1x1 to few outputs, from pixels whose channels lie together.
 *
 * Each number of x meets few weights, so that the layer is as fast as x is read. Pixels belong into the lanes, since
 * a sum keeps the order of its terms, and are turned there as they come (kernels/turned.inc.h); what is 16 KB further
 * is asked for meanwhile, or the next row, where strides leave out what is between (every other pixel of 112x112 took
 * 1.6 ms without, 0.8). The sums of an item wait in planes in the nearest cache, and are finished there. */
#include "convolve_turned.h"

#include "convolve_one_tap.h"
#include "convolve_planes.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    AHEAD_BYTES = 16 * 1024, /* or what a tile reads at once, if more */
    MOST_PIXELS = 256,       /* of an item, */
    X_BYTES = 128 * 1024     /* to stay in the second-level cache for more than a tile of outputs */
};

struct job {
    const struct fc_convolution *convolution;
    const struct fc_few_kernels *few;
    struct fc_kernel_view weights;
    ptrdiff_t element;
    int64_t pixels, items; /* of an item, whole units, and items of a row */
    char *scratch;
};

bool fc_fits_turned(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    return fc_is_dense(convolution) && convolution->x.stride_c == 1 && kernel->c_in > 1 &&
           kernel->c_out <= FC_FEW_OUTPUTS;
}

/* Pixels [p, p + pixels) of a row, tile by tile of outputs. */
static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *x = &convolution->x;
    const struct fc_kernel_view *weights = &job->weights;
    const int64_t p = index % job->items * job->pixels, row = index / job->items % x->h;
    const int64_t n = index / job->items / x->h;
    const int64_t pixels = fc_max(AHEAD_BYTES / job->element / x->c, fc_unit(convolution->dtype));
    char *sums = job->scratch + worker * convolution->y.c * job->pixels * job->element;
    struct fc_turned_tile tile = {
        .x = fc_image_at(x, job->element, n, row, p, 0),
        .x_pixel = x->stride_w,
        .weight_term = weights->stride_c_in,
        .weight_output = weights->stride_c_out,
        .y_step = job->pixels,
        .ahead = x->h > 1 && job->items == 1 ? x->stride_h : pixels * x->stride_w,
        .terms = x->c,
        .pixels = fc_min(job->pixels, x->w - p),
    };
    for (int64_t k = 0; k < convolution->y.c; k += tile.outputs, tile.ahead = 0) {
        tile.outputs = (int)fc_min(convolution->y.c - k, FC_TURNED_OUTPUTS);
        tile.weights = (const char *)weights->data + k * weights->stride_c_out * job->element;
        tile.y = sums + k * job->pixels * job->element;
        job->few->turned_tile(&tile);
    }
    fc_finish_few(convolution, sums, job->pixels, n, row, p, tile.pixels, false);
}

fc_status fc_convolve_turned(const struct fc_convolution *given)
{
    struct fc_convolution convolution = *given;
    const int64_t unit = fc_unit(given->dtype);
    struct job job = {
        .convolution = &convolution,
        .few = &fc_current_kernels(given->dtype)->few,
        .weights = given->kernel,
        .element = (ptrdiff_t)fc_element_size(given->dtype),
    };
    fc_merge_pixels(&convolution);
    if (given->packed) { /* one panel, a unit wide */
        job.weights.data = given->packed;
        job.weights.stride_c_in = unit;
        job.weights.stride_c_out = 1;
    }
    const fc_image *x = &convolution.x;
    const int64_t fit = X_BYTES / job.element / x->c / unit * unit;
    job.pixels = fc_max(fc_min(fit, MOST_PIXELS), unit);
    job.items = fc_ceil_div(x->w, job.pixels);
    const double work = 2.0 * (double)(x->n * x->h * x->w) * (double)x->c *
                        (double)fc_max(FC_WORK_PER_ELEMENT, convolution.y.c);
    const int64_t items = x->n * x->h * job.items;
    const int width = fc_parallel_width(items, work);
    job.scratch =
        fc_workspace_acquire((size_t)(width * convolution.y.c * job.pixels * job.element));
    if (!job.scratch)
        return FC_NO_MEMORY;
    fc_parallel_for(items, width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(job.scratch);
    return FC_OK;
}
