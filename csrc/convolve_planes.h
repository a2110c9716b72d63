/* convolve_planes.h: convolutions of few outputs, with the pixels of a row in the lanes. */
#ifndef FC_CONVOLVE_PLANES_H
#define FC_CONVOLVE_PLANES_H

#include "convolve.h"

/* Whether pixels fill more lanes than outputs do, from the shape of one sample and the dtype. */
bool fc_fits_planes(const struct fc_convolution *convolution);

fc_status fc_convolve_planes(const struct fc_convolution *convolution);

#endif
