/* conv2d_dkernel_unpooled.c: the gradient of a result that was pooled, made where the kernel's gradient reads it.
 *
 * 2.8 MB of it, of 32 images of 26x26 with 32 channels, went to memory and came back for the kernel gradient of a
 * first layer. Of a block, 9 rows of 3.3 KB, it stays near the first-level cache. */
#include "conv2d_dkernel_sums.h"

void fc_dkernel_own_dy(struct fc_dkernel_part *part, char *dy, struct fc_dkernel_own *own)
{
    own->job = *part->job;
    own->convolution = *part->job->convolution;
    own->job.convolution = &own->convolution;
    own->dy = dy;
    if (own->job.bias) {
        own->bias = *own->job.bias;
        own->job.bias = &own->bias;
    }
    part->job = &own->job;
}

void fc_dkernel_unpool(struct fc_dkernel_own *own, int64_t n, const struct fc_patch *patch)
{
    fc_image *y = &own->convolution.y;
    fc_unpool_rows(own->job.unpooled, n, patch->row, patch->rows, own->dy, y);
    own->bias.image.data = y->data;
    own->bias.image.stride_n = 0;
}
