/* convolve_groups.h: convolutions in groups of few channels, several groups in the lanes. */
#ifndef FC_CONVOLVE_GROUPS_H
#define FC_CONVOLVE_GROUPS_H

#include "convolve.h"

/* Whether it is the cheapest way, from the shape of one sample and the dtype. */
bool fc_fits_groups(const struct fc_convolution *convolution);

fc_status fc_convolve_groups(const struct fc_convolution *convolution);

/* Convolutions of one x that make up y, of the same channels: part i * step[1] + j every step[0]-th row and
 * step[1]-th column from (i, j) on. The bits are those of one by one; y is the whole image in each. */
bool fc_fits_group_parts(const struct fc_convolution *parts, int64_t count);
fc_status fc_convolve_group_parts(const struct fc_convolution *parts, const int64_t step[2]);

#endif
