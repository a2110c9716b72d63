/* convolve_groups.h: convolutions in groups of few channels, several groups in the lanes. */
#ifndef FC_CONVOLVE_GROUPS_H
#define FC_CONVOLVE_GROUPS_H

#include "convolve.h"

/* Whether it is the cheapest way, from the shape of one sample and the dtype. */
bool fc_fits_groups(const struct fc_convolution *convolution);

fc_status fc_convolve_groups(const struct fc_convolution *convolution);

#endif
