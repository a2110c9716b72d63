/* convolve_rows.h: dense layers of few rows, with the kernel read where it lies. */
#ifndef FC_CONVOLVE_ROWS_H
#define FC_CONVOLVE_ROWS_H

#include "convolve.h"

/* Whether one tap, whose outputs or terms lie together in the kernel, makes few pixels in one row; the
 * bits are those of fc_convolve's panels. */
bool fc_fits_rows(const struct fc_convolution *convolution);

fc_status fc_convolve_rows(const struct fc_convolution *convolution);

#endif
