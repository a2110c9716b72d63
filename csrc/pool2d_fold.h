/* pool2d_fold.h: maxima of whole planes. */
#ifndef FC_POOL2D_FOLD_H
#define FC_POOL2D_FOLD_H

#include "pool2d_pass.h"

/* The pixels of a plane lie together; a window over all of them is a run. */
static inline bool fc_pool2d_is_run(const fc_image *x)
{
    return x->stride_w == 1 && x->stride_h == x->w;
}

/* One window, over the whole plane. */
static inline bool fc_pool2d_is_whole(const struct fc_pool2d_pass *pass)
{
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = &pass->axis[d].axis;
        if (axis->out != 1 || axis->before != 0 || axis->dilation != 1 || axis->taps != axis->in)
            return false;
    }
    return true;
}

/* *done is false where windows are no planes, or planes no runs. */
fc_status fc_pool2d_fold_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done);

/* Planes of x to one number of each. */
fc_status fc_pool2d_fold_planes(const struct fc_pool2d_pass *pass, const fc_image *y);

#endif
