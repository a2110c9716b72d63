/* convolve_one_tap.h: kernels of one tap, a product of two matrices where x is read as it lies. */
#ifndef FC_CONVOLVE_ONE_TAP_H
#define FC_CONVOLVE_ONE_TAP_H

#include "convolve.h"

/* The same convolution with fewer strides: a single channel lies together however it is stored, and
 * a one-tap direction that never reads padding becomes dense. */
void fc_make_dense(struct fc_convolution *convolution);

/* Whether one tap reads each pixel of x for the same pixel of y. */
bool fc_is_dense(const struct fc_convolution *convolution);

/* Makes directions of a dense convolution that follow each other in memory one. What is summed over
 * pixels must not be merged: its order would depend on strides. */
void fc_merge_pixels(struct fc_convolution *convolution);

/* Whether x of a dense convolution had better be packed than read where it lies by tiles of so many pixels. */
bool fc_crowds_cache(const struct fc_convolution *convolution, int64_t tile_pixels);

#endif
