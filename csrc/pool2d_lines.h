/* pool2d_lines.h: maxima over windows of 3 x 3 that slide by one, of planes of short rows: forward, and
 * the way back. */
#ifndef FC_POOL2D_LINES_H
#define FC_POOL2D_LINES_H

#include "pool2d_pass.h"

/* *done is false where windows or images are others. */
fc_status fc_pool2d_lines_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done);

/* dx of a maximum or minimum, whose winners are those of indices or, where they are NULL, found in x.
 * *done is false too where an index lies outside its window: dx then holds anything. */
fc_status fc_pool2d_lines_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *indices, const fc_image *dx, bool *done);

#endif
