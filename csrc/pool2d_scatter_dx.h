/* pool2d_scatter_dx.h: the gradient of a maximum or minimum, scattered to the winners of the windows. */
#ifndef FC_POOL2D_SCATTER_DX_H
#define FC_POOL2D_SCATTER_DX_H

#include "pool2d_pass.h"

/* Winners are those of indices, or, where they are NULL, found in pass's x. FC_BAD_INDEX: one of them is no pixel's,
 * nor -1. vertical leads from rows of dx to rows of outputs. */
fc_status fc_pool2d_scatter_dx(const struct fc_pool2d_pass *pass,
                               const struct fc_pool2d_axis *vertical, const fc_image *dy,
                               const fc_image *indices, const fc_image *dx);

#endif
