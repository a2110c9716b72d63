/* depthwise_dkernel.h: the kernel gradient of a depthwise convolution. */
#ifndef FC_DEPTHWISE_DKERNEL_H
#define FC_DEPTHWISE_DKERNEL_H

#include "blocks.h"
#include "convolve.h"
#include "sum_channels.h"

/* How many channels are transposed at once where they do not lie together: four vectors, or fewer of
 * larger planes, or 0, as x and dy of them stay in the second-level cache, and how many rows of dy. */
int64_t fc_transposed_dkernel(const struct fc_convolution *convolution, int64_t *rows);

/* Whether fc_depthwise_dkernel takes it: depthwise, channels together in x and in dy, or planes to transpose.
 * Here y of a convolution is dy and its kernel dkernel. */
bool fc_fits_depthwise_dkernel(const struct fc_convolution *convolution);

/* The sum over the blocks of the batch, image after image, divided into chunks: the bits that any
 * other layout gets from fc_conv2d_dkernel. *finite: whether all of it came out so. */
fc_status fc_depthwise_dkernel(const struct fc_convolution *convolution,
                               const struct fc_blocks *blocks, int64_t steps, int64_t chunks,
                               struct fc_channel_sums *bias, bool *finite);

#endif
