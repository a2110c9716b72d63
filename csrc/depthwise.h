/* depthwise.h: convolutions with one channel of x and one output a group, forward and dx. */
#ifndef FC_DEPTHWISE_H
#define FC_DEPTHWISE_H

#include "convolve.h"
#include "kernels.h"
#include "pixel_table.h"

/* Whether it is one, with a window that is small enough for the tables below. */
bool fc_fits_depthwise(const struct fc_convolution *convolution);

fc_status fc_convolve_depthwise(const struct fc_convolution *convolution);

/* Bytes of a pixel up to which the rows that come next are asked for. A tile or a walk reads one vector of
 * channels of many pixels, and longer pixels are streams that prefetchers follow: with 2 to 3 KB, to
 * ask took up to 8 % longer in AVX2, and in AVX-512 from 6 % less to 4 % more. */
enum { FC_SHORT_PIXEL = 1024 };

/* One call, for both layouts; packed is the kernel in panels. */
struct fc_depthwise_job {
    const struct fc_convolution *convolution;
    const struct fc_kernels *kernels;
    struct fc_channels channels;
    const char *packed;
    ptrdiff_t element;
};

bool fc_channels_together(const struct fc_convolution *convolution);

/* Whether planes of x and y are so small that `channels` at a time are transposed, and used so, in the
 * second-level cache. */
bool fc_fits_transposed(const struct fc_convolution *convolution, int64_t channels);

/* Whether planes follow each other in memory. */
static inline bool fc_planes_together(const fc_image *image)
{
    return image->stride_w == 1 && image->stride_h == image->w &&
           image->stride_c == image->h * image->w;
}

/* An image of some channels that lie together. */
fc_image fc_packed_image(void *data, const fc_image *like, int64_t channels);

/* Channels from `channel` on of image n, to or from the packed ones. */
void fc_transpose_channels(const struct fc_kernels *kernels, ptrdiff_t element,
                           const fc_image *image, int64_t n, int64_t channel,
                           const fc_image *packed, bool pack);

/* Where channels lie together or are small enough to be transposed (pixels), and where columns do or
 * nothing does (planes). */
fc_status fc_depthwise_pixels(const struct fc_depthwise_job *job, bool transposed);
fc_status fc_depthwise_planes(const struct fc_depthwise_job *job);

#endif
