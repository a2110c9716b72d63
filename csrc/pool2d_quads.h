/* pool2d_quads.h: pooling by windows of 2 x 2 that share nothing, of images whose channels or columns lie
 * together: forward, and the way back. */
#ifndef FC_POOL2D_QUADS_H
#define FC_POOL2D_QUADS_H

#include "pool2d_pass.h"

/* *done is false where windows or images are others. Where marks, of elements of y's size, are not NULL, they
 * receive what fc_pool2d_quads_marked_dx needs of a maximum. */
fc_status fc_pool2d_quads_forward(const struct fc_pool2d_pass *pass, const fc_image *y,
                                  const fc_image *marks, bool *done);

/* dx of a pass from x to y, of which a maximum has x or, where they are not NULL, indices. *done is false
 * too where an index lies outside its window: dx then holds anything. */
fc_status fc_pool2d_quads_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *indices, const fc_image *dx, bool *done);

/* dx of a maximum from its marks alone; windows whose mark has a bit of stops give nothing. */
fc_status fc_pool2d_quads_marked_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                    const fc_image *marks, int64_t stops, const fc_image *dx,
                                    bool *done);

#endif
