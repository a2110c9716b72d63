/* convolve_crossed.h: input gradients of dense layers, with rows in the lanes. */
#ifndef FC_CONVOLVE_CROSSED_H
#define FC_CONVOLVE_CROSSED_H

#include "convolve.h"

/* Of what fc_fits_rows: whether the terms of an output lie together in the kernel, and rows fill lanes. The bits are
 * those of fc_convolve_rows. */
bool fc_fits_crossed(const struct fc_convolution *convolution);

fc_status fc_convolve_crossed(const struct fc_convolution *convolution);

#endif
