/* pool2d_max_dx.h: the gradient of a maximum or minimum, taken by those that won. */
#ifndef FC_POOL2D_MAX_DX_H
#define FC_POOL2D_MAX_DX_H

#include "pool2d_pass.h"

/* dx of a maximum, of which pass has what is wanted (pooling, dtype, axis, x, kernels) and the
 * windows that hold an element are those of adjoint. The winners are those that indices name; where
 * they are NULL, they are found again in x. Sets *done to false where a row of windows does not fit
 * into scratch memory, or an index lies outside its window: dx then holds anything. */
fc_status fc_pool2d_max_dx(const struct fc_pool2d_pass *pass,
                           const struct fc_pool2d_axis adjoint[2], const fc_image *dy,
                           const fc_image *indices, const fc_image *dx, bool *done);

#endif
