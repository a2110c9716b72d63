/* pool2d_five_dx.h: the gradient of a maximum or minimum over windows of 5 x 5 that slide by one. */
#ifndef FC_POOL2D_FIVE_DX_H
#define FC_POOL2D_FIVE_DX_H

#include "pool2d_pass.h"

/* *done is false where windows or images are none for it, or x has a NaN: dx then holds anything. */
fc_status fc_pool2d_five_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                            const fc_image *dx, bool *done);

#endif
