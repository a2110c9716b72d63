/* convolve_spread_plan.h: how a convolution with all taps in the lanes is cut into items of work. */
#ifndef FC_CONVOLVE_SPREAD_PLAN_H
#define FC_CONVOLVE_SPREAD_PLAN_H

#include "convolve_spread.h"

enum { FC_MOST_SPREAD_TAPS = 16 }; /* in one direction */

struct fc_spread_plan {
    int64_t unit, panel;   /* outputs in 64 bytes, and in a panel of the kernel */
    int64_t columns;       /* sums of a pixel of x, in whole units */
    int64_t reach[2];      /* pixels of x that a row, or a group of `stride` columns, of y meets */
    int64_t first, groups; /* groups of columns of y */
    int64_t width, blocks; /* groups in an item, and items of a row */
    int64_t height, row_blocks; /* rows of y in an item, and items of a column */
    int64_t pitch;              /* of rows of t */
    size_t weight_bytes, t_bytes, x_bytes, worker_bytes;
    int64_t items;
    int workers;
};

/* False where a count of bytes overflows. */
bool fc_plan_spread(const struct fc_spread *spread, struct fc_spread_plan *plan);

#endif
