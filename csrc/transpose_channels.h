/* transpose_channels.h: channels of an image to scratch where they lie together, and back. */
#ifndef FC_TRANSPOSE_CHANNELS_H
#define FC_TRANSPOSE_CHANNELS_H

#include "geometry.h"
#include "kernels.h"

/* An image of some channels that lie together. */
fc_image fc_packed_image(void *data, const fc_image *like, int64_t channels);

/* Channels from `channel` on of image n, to or from the packed ones, pixels of stride_w elements, of which there are
 * as many as packed->c; those that go to memory past the caches, where all begin with a line and end with one. */
void fc_transpose_channels(const struct fc_kernels *kernels, ptrdiff_t element,
                           const fc_image *image, int64_t n, int64_t channel,
                           const fc_image *packed, bool pack, bool stream);

#endif
