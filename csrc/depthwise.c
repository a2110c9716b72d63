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

static bool channels_together(const struct fc_convolution *convolution)
{
    return convolution->x.stride_c == 1 && convolution->y.stride_c == 1 &&
           (!convolution->residual.data || convolution->residual.stride_c == 1) &&
           convolution->x.c >= FEW_CHANNELS;
}

bool fc_fits_depthwise_dkernel(const struct fc_convolution *convolution)
{
    return fc_fits_depthwise(convolution) && channels_together(convolution);
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
    const bool together = channels_together(convolution);
    const fc_status status = together || fc_fits_transposed_depthwise(&job)
                                 ? fc_depthwise_pixels(&job, !together)
                                 : fc_depthwise_planes(&job);
    fc_workspace_release(panels);
    return status;
}
