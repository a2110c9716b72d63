/* pool2d_whole_dx.h: the gradient of a maximum or minimum over whole planes. */
#ifndef FC_POOL2D_WHOLE_DX_H
#define FC_POOL2D_WHOLE_DX_H

#include "pool2d_pass.h"

/* *done is false where windows are no planes, or pixels lie so that others do it. */
fc_status fc_pool2d_whole_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *dx, bool *done);

#endif
