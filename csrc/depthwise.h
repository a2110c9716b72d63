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

/* Where channels lie together or are small enough to be transposed (pixels), and where columns do or
 * nothing does (planes). */
bool fc_fits_transposed_depthwise(const struct fc_depthwise_job *job);
fc_status fc_depthwise_pixels(const struct fc_depthwise_job *job, bool transposed);
fc_status fc_depthwise_planes(const struct fc_depthwise_job *job);

#endif
