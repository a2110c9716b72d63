/* convolve_columns.h: convolutions of few outputs, with a row of taps in the lanes. */
#ifndef FC_CONVOLVE_COLUMNS_H
#define FC_CONVOLVE_COLUMNS_H

#include "convolve.h"

/* Whether it is the cheapest way, from the shape of one sample and the dtype. */
bool fc_fits_columns(const struct fc_convolution *convolution);

fc_status fc_convolve_columns(const struct fc_convolution *convolution);

#endif
