/* pool2d_max_dx.h: the gradient of a maximum or minimum, from winners found again. */
#ifndef FC_POOL2D_MAX_DX_H
#define FC_POOL2D_MAX_DX_H

#include "pool2d_pass.h"

/* dx of a maximum, of which pass has what is wanted (pooling, dtype, axis, x, kernels) and the
 * windows that hold an element are those of adjoint. Sets *fits to false and does nothing where a row
 * of windows does not fit into scratch memory. */
fc_status fc_pool2d_max_dx(const struct fc_pool2d_pass *pass,
                           const struct fc_pool2d_axis adjoint[2], const fc_image *dy,
                           const fc_image *dx, bool *fits);

#endif
