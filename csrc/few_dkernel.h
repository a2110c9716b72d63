/* few_dkernel.h: kernel gradients of few outputs, with a row of taps in the lanes. */
#ifndef FC_FEW_DKERNEL_H
#define FC_FEW_DKERNEL_H

#include "convolve.h"

/* Whether a row of taps fills the lanes better than the outputs of one, from the shape of one sample
 * and the dtype. y stands for dy, kernel for dkernel. */
bool fc_fits_few_dkernel(const struct fc_convolution *convolution);

/* *done says whether all came out finite. An infinity in x meets the zeros around dy here, as it does
 * not in a sum over pixels, so such a gradient must be summed again another way. *dbias, if it is not NULL and
 * the blocks allow it, receives the sums of dy, and is NULL then. */
fc_status fc_few_dkernel(const struct fc_convolution *convolution, void **dbias, bool *done);

#endif
