/* convolve_crossed.c: input gradients of dense layers, with rows in the lanes.
 *
 * There the terms of an output lie together in the kernel: what others broadcast. So outputs and rows change places:
 * the rows of dy, turned once, are few and stay near, each number of the kernel is broadcast from where it lies, and
 * the outputs are turned on their way to dx. 32 rows of 100 to 1600 took 110 us on Zen 4, of which 640 KB of kernel to
 * turn, and take 100 (AVX2 117 and 104), 16 rows 63 and 50, 32 of 1000 to 2048 1.38 ms and 1.17. 128 rows gain nothing,
 * nor do rows that leave lanes empty (of 31 in AVX2 0.93), or rows of the kernel 4 KB apart, which share a set. */
#include "convolve_crossed.h"

#include "dispatch.h"
#include "kernels.h"
#include "parallel.h"
#include "workspace.h"

enum { ITEM_OUTPUTS = 64, FEWEST_ROWS = 16, MOST_ROWS = 64, WAY_BYTES = 4096 };

struct job {
    const struct fc_convolution *convolution;
    const struct fc_kernels *kernels;
    struct fc_channels channels;
    ptrdiff_t element;
    int64_t pitch; /* elements of a turned row of dy, or of an item's outputs */
    char *turned, *scratch;
};

bool fc_fits_crossed(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t rows = convolution->y.w;
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(convolution->dtype);
    return kernel->stride_c_out != 1 && rows >= FEWEST_ROWS && rows <= MOST_ROWS &&
           rows % fc_unit(convolution->dtype) == 0 &&
           kernel->stride_c_out * element % WAY_BYTES != 0 && !convolution->bias &&
           !convolution->residual.data && convolution->activation == FC_LINEAR;
}

/* A tile's outputs, [output][row], chain by chain as compute_range of convolve_rows.c has them. */
static void add_chains(const struct job *job, struct fc_dense_tile *tile, const char *kernel)
{
    const int64_t c_in = job->channels.c_in;
    tile->partial = NULL;
    for (int64_t c = 0, end; c < c_in; c = end + tile->rest) {
        end = fc_chain_end(&job->channels, c);
        tile->terms = end - c;
        tile->rest = c_in - end < FC_SLAB ? c_in - end : 0;
        tile->x = kernel + c * job->element;
        tile->kernel = job->turned + c * job->pitch * job->element;
        job->kernels->dense.tile(tile);
        tile->partial = tile->y;
    }
}

/* Item: some outputs. */
static void compute_outputs(void *context, int64_t item, int worker)
{
    const struct job *job = context;
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t first = item * ITEM_OUTPUTS;
    const int64_t outputs = fc_min(kernel->c_out - first, ITEM_OUTPUTS);
    const int64_t tiles = fc_ceil_div(outputs, job->kernels->conv2d.tile_pixels);
    char *made = job->scratch + worker * ITEM_OUTPUTS * job->pitch * job->element;
    struct fc_dense_tile tile = {
        .x_step = kernel->stride_c_out,
        .kernel_step = job->pitch,
        .partial_step = job->pitch,
        .y_step = job->pitch,
        .columns = y->w,
        .begins = true,
        .ends = true,
    };
    for (int64_t t = 0, k = 0, next; t < tiles; t++, k = next) {
        next = outputs * (t + 1) / tiles;
        tile.pixels = (int)(next - k);
        tile.y = made + k * job->pitch * job->element;
        add_chains(job, &tile,
                   (const char *)kernel->data + (first + k) * kernel->stride_c_out * job->element);
    }
    job->kernels->conv2d.copy_block(&(struct fc_block){
        .x = made,
        .y = (char *)y->data + first * job->element,
        .x_pixel = job->pitch,
        .x_channel = 1,
        .y_pixel = 1,
        .y_channel = y->stride_w,
        .pixels = outputs,
        .channels = y->w,
    });
}

fc_status fc_convolve_crossed(const struct fc_convolution *convolution)
{
    const fc_image *x = &convolution->x;
    struct job job = {
        .convolution = convolution,
        .kernels = fc_current_kernels(convolution->dtype),
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .pitch = fc_whole_units(x->w, fc_unit(convolution->dtype)),
    };
    const int64_t items = fc_ceil_div(job.channels.c_out, ITEM_OUTPUTS);
    const int width = fc_parallel_width(items, 2.0 * (double)x->w * (double)job.channels.c_in *
                                                   (double)job.channels.c_out);
    const int64_t row = job.pitch * job.element;
    job.turned = fc_workspace_acquire((size_t)((job.channels.c_in + width * ITEM_OUTPUTS) * row));
    if (!job.turned)
        return FC_NO_MEMORY;
    job.scratch = job.turned + job.channels.c_in * row;
    job.kernels->conv2d.copy_block(&(struct fc_block){
        .x = x->data,
        .y = job.turned,
        .x_pixel = x->stride_w,
        .x_channel = 1,
        .y_pixel = 1,
        .y_channel = job.pitch,
        .pixels = x->w,
        .channels = x->c,
    });
    fc_parallel_for(items, width, FC_FLUSH_DENORMALS, compute_outputs, &job);
    fc_workspace_release(job.turned);
    return FC_OK;
}
