/* depthwise.h: convolutions with one channel of x and one output a group, forward and dx. */
#ifndef FC_DEPTHWISE_H
#define FC_DEPTHWISE_H

#include "convolve.h"
#include "kernels.h"

/* Whether it is one, with a window that is small enough for the tables below. */
bool fc_fits_depthwise(const struct fc_convolution *convolution);

fc_status fc_convolve_depthwise(const struct fc_convolution *convolution);

enum { FC_MOST_PARTS = 36 };

/* A convolution over every step-th row and column of x, from `at` on, to such ones of y. */
struct fc_depthwise_part {
    struct fc_axis axis[2];
    struct fc_kernel_view kernel;
    int64_t x_at[2], x_step[2], y_at[2], y_step[2];
    struct fc_channels channels;
    const char *packed; /* the kernel in panels */
    /* How it is cut (depthwise_pixels.c): rows of its ring, entries of a row, rows and columns of an item. */
    int64_t need, width, band, columns;
};

/* Parts that make up the convolution together, such as the phases of a gradient through a stride: all of them,
 * image after image, where fc_fits_parts says so. The axes, the kernel and its packed form are theirs. */
bool fc_fits_parts(const struct fc_convolution *whole, const struct fc_depthwise_part *parts,
                   int64_t count);
fc_status fc_convolve_parts(const struct fc_convolution *whole, struct fc_depthwise_part *parts,
                            int64_t count);

/* Whether the rows of an image that come next are asked for: a tile or a walk reads one vector of channels of many
 * pixels. Those of more than 1 KB are streams that prefetchers follow, and of 2 to 3 KB to ask took up to 8 % longer
 * in AVX2; but they do not keep up with memory. On Zen 4 16 images of 19 x 19 x 728 took 2.4 ms, dx 2.5 and dkernel
 * 3.5, and take 2.0, 1.5 and 1.8. */
bool fc_asks_for_rows(const fc_image *image, ptrdiff_t element);

/* One call, for both layouts. */
struct fc_depthwise_job {
    const struct fc_convolution *convolution;
    const struct fc_kernels *kernels;
    struct fc_depthwise_part *parts;
    int64_t count;
    ptrdiff_t element;
};

bool fc_channels_together(const struct fc_convolution *convolution);

/* Whether planes of x and y are so small that `channels` at a time are transposed, and used so, in the
 * second-level cache. */
bool fc_fits_transposed(const struct fc_convolution *convolution, int64_t channels);

/* Whether rows of zero padding may be left out of sums. */
bool fc_skips_padding(const struct fc_convolution *convolution);

/* Rows of y in a band of planes that a unit of channels at a time is transposed so: all where that fits, 0
 * where bands would be too low for the rows that they share. */
int64_t fc_transposed_rows(const struct fc_convolution *convolution);

/* Where channels lie together or are small enough to be transposed (pixels), and where columns do or
 * nothing does (planes, of one part). */
fc_status fc_depthwise_pixels(const struct fc_depthwise_job *job, bool transposed);
fc_status fc_depthwise_planes(const struct fc_depthwise_job *job);

/* Planes whose windows slide by one, where they lie (depthwise_walk.c). */
bool fc_fits_walk(const struct fc_convolution *convolution);
fc_status fc_depthwise_walk(const struct fc_depthwise_job *job);

#endif
