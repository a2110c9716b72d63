/* convolve_spread_planes_plan.h: how a convolution with taps as planes is cut into items of work. */
#ifndef FC_CONVOLVE_SPREAD_PLANES_PLAN_H
#define FC_CONVOLVE_SPREAD_PLANES_PLAN_H

#include "convolve_spread.h"

struct fc_spread_planes_plan {
    int64_t unit, columns; /* taps, or rows of them, * outputs: planes of t */
    int64_t chained, taps; /* taps that one chain sums, those of a row or 1, and chains of a row */
    bool in_place;         /* planes are read where they lie, in whole units */
    int64_t block;         /* channels of a chain */
    int64_t zeros, pitch;  /* between rows, and from row to row */
    int64_t head, x_head;  /* before the first row of t, and of x */
    int64_t pixels;        /* of y in a phase of its columns, the most */
    int64_t width, blocks; /* pixels of a phase in an item, and items of a row, */
    bool cut;              /* which may be one that keeps no zeros between rows */
    /* Pixels [p, q) of all phases read columns [p + reach[0], q + reach[1]) of x. */
    int64_t reach[2];
    int64_t height, row_blocks; /* rows of y in an item, and items of an image */
    int64_t x_rows, slots;      /* rows of x at a time, and of t that are kept */
    int64_t x_plane, t_plane;
    int64_t phases; /* of columns of y: the stride */
    /* From tap to tap of t, of those of a phase, and of rows; and from a row of x to the next for the same row of y. */
    ptrdiff_t tap, phase_of_taps, row_of_taps, down;
    int64_t line; /* of y, in whole units */
    size_t bias_bytes, weight_bytes, x_bytes, t_bytes, worker_bytes;
    int64_t items;
    int workers;
};

void fc_plan_spread_planes(const struct fc_spread *spread, struct fc_spread_planes_plan *plan);

#endif
