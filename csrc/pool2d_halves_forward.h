/* pool2d_halves_forward.h: maxima over windows of 3 x 3 that step by two, where columns lie together. */
#ifndef FC_POOL2D_HALVES_FORWARD_H
#define FC_POOL2D_HALVES_FORWARD_H

#include "pool2d_pass.h"

/* *done is false where windows or images are others, or x has a NaN: y then holds anything. */
fc_status fc_pool2d_halves_forward(const struct fc_pool2d_pass *pass, const fc_image *y,
                                   bool *done);

#endif
