/* convolve_planes.h: convolutions of few outputs, with the pixels of a row in the lanes. */
#ifndef FC_CONVOLVE_PLANES_H
#define FC_CONVOLVE_PLANES_H

#include "convolve.h"

/* Whether pixels fill more lanes than outputs do, from the shape of one sample and the dtype. */
bool fc_fits_planes(const struct fc_convolution *convolution);

fc_status fc_convolve_planes(const struct fc_convolution *convolution);

/* Sums of `pixels` pixels of a row of y, from (n, row, column) on, to y: outputs are planes so far apart, of which
 * whole units are read and which may be changed. What is `ended` has its bias and activation already. */
void fc_finish_few(const struct fc_convolution *convolution, const void *sums, ptrdiff_t plane,
                   int64_t n, int64_t row, int64_t column, int64_t pixels, bool ended);

#endif
