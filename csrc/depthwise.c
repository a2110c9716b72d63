/* depthwise.c: which convolutions are depthwise, and their kernel.
 *
 * Both layouts take every tap in order, padding too: one chain of multiply-adds an output, the same
 * bits whichever of them runs. */
#include "depthwise.h"

#include "depthwise_dkernel.h"
#include "dispatch.h"
#include "workspace.h"

/* A larger window goes to the tiles of fc_convolve, whose terms are found block by block. */
enum { MOST_TAPS = 128, MOST_REACH = 128, FEW_CHANNELS = 4 };

enum { BLOCK_BYTES = 512 * 1024 }; /* of x and y transposed */

bool fc_fits_depthwise(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    if (kernel->groups < 2 || kernel->c_in != 1 || kernel->c_out != 1 ||
        kernel->kh * kernel->kw < 1 || kernel->kh * kernel->kw > MOST_TAPS)
        return false;
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = &convolution->axis[d];
        if (axis->dilation > MOST_REACH || axis->stride > MOST_REACH ||
            fc_window_reach(axis, 2) > MOST_REACH)
            return false;
    }
    return true;
}

bool fc_channels_together(const struct fc_convolution *convolution)
{
    return convolution->x.stride_c == 1 && convolution->y.stride_c == 1 &&
           (!convolution->residual.data || convolution->residual.stride_c == 1) &&
           convolution->x.c >= FEW_CHANNELS;
}

/* Elements of x and y in a channel, or too many to be counted. */
static int64_t plane_elements(const struct fc_convolution *convolution)
{
    const fc_image *x = &convolution->x, *y = &convolution->y;
    if (x->h > BLOCK_BYTES || x->w > BLOCK_BYTES || y->h > BLOCK_BYTES || y->w > BLOCK_BYTES)
        return BLOCK_BYTES;
    return x->h * x->w + y->h * y->w;
}

bool fc_fits_transposed(const struct fc_convolution *convolution, int64_t channels)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    return convolution->x.c >= channels && !convolution->residual.data &&
           plane_elements(convolution) <= BLOCK_BYTES / element / channels;
}

fc_image fc_packed_image(void *data, const fc_image *like, int64_t channels)
{
    return (fc_image){.data = data,
                      .n = 1,
                      .h = like->h,
                      .w = like->w,
                      .c = channels,
                      .stride_n = like->h * like->w * channels,
                      .stride_h = like->w * channels,
                      .stride_w = channels,
                      .stride_c = 1};
}

void fc_transpose_channels(const struct fc_kernels *kernels, ptrdiff_t element,
                           const fc_image *image, int64_t n, int64_t channel,
                           const fc_image *packed, bool pack)
{
    const bool dense = image->stride_h == image->w * image->stride_w;
    const int64_t rows = dense ? 1 : image->h;
    for (int64_t row = 0; row < rows; row++) {
        char *plane =
            (char *)image->data +
            (n * image->stride_n + row * image->stride_h + channel * image->stride_c) * element;
        char *block = (char *)packed->data + row * packed->stride_h * element;
        kernels->conv2d.copy_block(
            &(struct fc_block){.x = pack ? plane : block,
                               .y = pack ? block : plane,
                               .x_pixel = pack ? image->stride_w : packed->c,
                               .x_channel = pack ? image->stride_c : 1,
                               .y_pixel = pack ? packed->c : image->stride_w,
                               .y_channel = pack ? 1 : image->stride_c,
                               .pixels = dense ? image->h * image->w : image->w,
                               .channels = packed->c});
    }
}

int64_t fc_transposed_dkernel(const struct fc_convolution *convolution)
{
    const int64_t unit = fc_unit(convolution->dtype), c = convolution->x.c;
    for (int64_t channels = 4 * unit; channels >= unit; channels /= 2)
        if (fc_fits_transposed(convolution, fc_min(channels, c)))
            return channels;
    return 0;
}

bool fc_fits_depthwise_dkernel(const struct fc_convolution *convolution)
{
    return fc_fits_depthwise(convolution) &&
           (fc_channels_together(convolution) ||
            (convolution->x.c >= FEW_CHANNELS && fc_transposed_dkernel(convolution) > 0));
}

fc_status fc_convolve_depthwise(const struct fc_convolution *convolution)
{
    struct fc_depthwise_job job = {
        .convolution = convolution,
        .kernels = fc_current_kernels(convolution->dtype),
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .packed = convolution->packed,
    };
    char *panels = NULL;
    if (!job.packed) {
        size_t bytes;
        if (!fc_packed_bytes(&job.channels, convolution->dtype, &bytes))
            return FC_OVERFLOW;
        panels = fc_workspace_acquire(bytes);
        if (!panels)
            return FC_NO_MEMORY;
        fc_pack_panels(&(struct fc_panels){&convolution->kernel, &job.channels,
                                           &job.kernels->conv2d, job.element},
                       panels);
        job.packed = panels;
    }
    const bool together = fc_channels_together(convolution);
    const fc_status status = together || fc_fits_transposed(convolution, job.channels.panel)
                                 ? fc_depthwise_pixels(&job, !together)
                                 : fc_depthwise_planes(&job);
    fc_workspace_release(panels);
    return status;
}
