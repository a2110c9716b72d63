/* pool2d_search_dx.h: the gradient of a maximum or minimum, scattered to winners that are searched for. */
#ifndef FC_POOL2D_SEARCH_DX_H
#define FC_POOL2D_SEARCH_DX_H

#include "pool2d_pass.h"

/* *done is false where windows or images are none for it. */
fc_status fc_pool2d_search_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                              const fc_image *dx, bool *done);

#endif
