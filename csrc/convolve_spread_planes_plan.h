/* convolve_spread_planes_plan.h: how a convolution with rows of taps as planes is cut into items of work. */
#ifndef FC_CONVOLVE_SPREAD_PLANES_PLAN_H
#define FC_CONVOLVE_SPREAD_PLANES_PLAN_H

#include "convolve_spread.h"

struct fc_spread_planes_plan {
    int64_t unit, columns;      /* rows of taps * outputs */
    int64_t block;              /* channels of a chain */
    int64_t zeros, pitch;       /* between rows, and from row to row */
    int64_t height, row_blocks; /* rows of y in an item, and items of an image */
    int64_t rows, x_rows;       /* of y, and of x, at a time */
    int64_t x_plane, t_plane;
    int64_t line; /* of y, in whole units */
    size_t weight_bytes, x_bytes, t_bytes, line_bytes, worker_bytes;
    int64_t items;
    int workers;
};

void fc_plan_spread_planes(const struct fc_spread *spread, struct fc_spread_planes_plan *plan);

#endif
