/* pool2d_halves_dx.h: the gradient of maxima over windows of 3 x 3 that step by two. */
#ifndef FC_POOL2D_HALVES_DX_H
#define FC_POOL2D_HALVES_DX_H

#include "pool2d_pass.h"

/* dx of a maximum or minimum where channels lie together, whose winners are those of indices or, where they
 * are NULL, found in x. *done is false where windows or images are others, or an index lies outside its
 * window: dx then holds anything. */
fc_status fc_pool2d_halves_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                              const fc_image *indices, const fc_image *dx, bool *done);

/* The same where columns lie together. */
fc_status fc_pool2d_halves_planes_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                     const fc_image *indices, const fc_image *dx, bool *done);

#endif
