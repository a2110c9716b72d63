/* convolve_spread.h: convolutions of few outputs, with all taps of a kernel in the lanes: each pixel of
 * x is multiplied with the whole kernel and spread over the outputs that it reaches.
 *
 *   y[r * stride + i - before, k] = finish(sum over pixels r and taps i of
 *       sum over channels c of x[r, c] * kernel[i, c, k])
 *
 * This is the input gradient at any stride, and a convolution of stride 1 with the taps in reverse. */
#ifndef FC_CONVOLVE_SPREAD_H
#define FC_CONVOLVE_SPREAD_H

#include "convolve.h"

struct fc_spread {
    fc_dtype dtype;
    fc_image x, y;
    struct fc_kernel_view kernel;
    int64_t stride[2], before[2];
    const void *bias;
    fc_image residual; /* its data may be NULL */
    fc_activation activation;
    const void *packed; /* one panel with the taps in reverse, or NULL */
};

/* Whether it is the cheapest way, from the shape of one sample and the dtype. */
bool fc_fits_spread(const struct fc_spread *spread);

fc_status fc_spread(const struct fc_spread *spread);

/* Whether the taps of a row are one chain, where it is cheaper: at stride 1, in sums of another order. */
bool fc_chains_rows(const struct fc_spread *spread);
/* The same with pixels in the lanes, to the same bits; and whether it is cheaper. */
bool fc_prefers_planes(const struct fc_spread *spread);
fc_status fc_spread_planes(const struct fc_spread *spread);

/* A convolution as such; it fits only if its stride and dilation are 1 and it pads with zeros. */
bool fc_convolution_spreads(const struct fc_convolution *convolution, struct fc_spread *spread);

#endif
