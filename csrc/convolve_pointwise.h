/* convolve_pointwise.h: 1x1 from planes to planes. */
#ifndef FC_CONVOLVE_POINTWISE_H
#define FC_CONVOLVE_POINTWISE_H

#include "convolve.h"

/* Whether one tap meets rows of pixels that lie together in x and in y; the bits are those of
 * fc_convolve's panels. */
bool fc_fits_pointwise(const struct fc_convolution *convolution);

fc_status fc_convolve_pointwise(const struct fc_convolution *convolution);

/* An image that y's pixels are every so many rows and columns of, from the first on; the others become zero. */
struct fc_gaps {
    fc_image image;
    int64_t rows, columns;
};

bool fc_fits_gaps(const struct fc_convolution *convolution, const struct fc_gaps *gaps);
fc_status fc_convolve_with_gaps(const struct fc_convolution *convolution,
                                const struct fc_gaps *gaps);

#endif
