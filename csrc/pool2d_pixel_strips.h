/* pool2d_pixel_strips.h: windows of 3 x 3 that slide by one, where channels lie together: forward, and the way back of
 * averages, also of those that step by two. */
#ifndef FC_POOL2D_PIXEL_STRIPS_H
#define FC_POOL2D_PIXEL_STRIPS_H

#include "pool2d_pass.h"

/* *done is false where windows or images are others. */
fc_status fc_pool2d_pixel_strips_forward(const struct fc_pool2d_pass *pass, const fc_image *y,
                                         bool *done);

fc_status fc_pool2d_pixel_strips_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                    const fc_image *dx, bool *done);

#endif
