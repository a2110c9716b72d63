/* convolve_turned.h: 1x1 to few outputs, from pixels whose channels lie together. */
#ifndef FC_CONVOLVE_TURNED_H
#define FC_CONVOLVE_TURNED_H

#include "convolve.h"

/* Whether fc_convolve_planes would have to turn pixels; the bits are the same. */
bool fc_fits_turned(const struct fc_convolution *convolution);

fc_status fc_convolve_turned(const struct fc_convolution *convolution);

#endif
