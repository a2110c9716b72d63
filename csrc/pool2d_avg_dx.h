/* pool2d_avg_dx.h: the gradient of an average, a row of windows at a time. */
#ifndef FC_POOL2D_AVG_DX_H
#define FC_POOL2D_AVG_DX_H

#include "pool2d_pass.h"

/* *done is false where neither channels nor columns lie together, or windows are dilated or huge. */
fc_status fc_pool2d_avg_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                           const fc_image *dx, bool *done);

#endif
