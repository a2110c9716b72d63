/* dense_dkernel.h: the kernel gradient of a dense layer of few rows, written row by row. */
#ifndef FC_DENSE_DKERNEL_H
#define FC_DENSE_DKERNEL_H

#include "convolve.h"

/* Of a convolution whose rows are columns of one image; y stands for dy, kernel for dkernel. */
bool fc_fits_dense_dkernel(const struct fc_convolution *convolution);
fc_status fc_dense_dkernel(const struct fc_convolution *convolution);

#endif
