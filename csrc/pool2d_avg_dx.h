/* pool2d_avg_dx.h: the gradient of an average, a row of windows at a time. */
#ifndef FC_POOL2D_AVG_DX_H
#define FC_POOL2D_AVG_DX_H

#include "pool2d_pass.h"

/* *done is false where neither channels nor columns lie together, or windows are dilated or huge. */
fc_status fc_pool2d_avg_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                           const fc_image *dx, bool *done);

/* The same for planes whose windows share columns, by way of scratch. */
fc_status fc_pool2d_avg_planes_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                  const fc_image *dx, bool *done);

/* The same on this thread alone, with scratch of so many bytes, which are told; where it is NULL nothing is done. */
bool fc_pool2d_avg_some_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                           const fc_image *dx, void *scratch, size_t *bytes);

#endif
