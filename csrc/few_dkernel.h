/* few_dkernel.h: kernel gradients of few outputs, with a row of taps in the lanes. */
#ifndef FC_FEW_DKERNEL_H
#define FC_FEW_DKERNEL_H

#include "convolve.h"
#include "unpooled.h"

/* Whether a row of taps fills the lanes better than the outputs of one, from the shape of one sample
 * and the dtype. y stands for dy, kernel for dkernel. */
bool fc_fits_few_dkernel(const struct fc_convolution *convolution);

/* *done says whether all came out finite. An infinity in x meets the zeros around dy here, as it does
 * not in a sum over pixels, so such a gradient must be summed again another way. *dbias, if it is not NULL and
 * the blocks allow it, receives the sums of dy, and is NULL then. With `unpooled` not NULL dy is made of that, and
 * *done is false as well where these sums are wanted and not had. */
fc_status fc_few_dkernel(const struct fc_convolution *convolution,
                         const struct fc_unpooled *unpooled, void **dbias, bool *done);

#endif
