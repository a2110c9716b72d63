/* convolve_planes_plan.h: how a convolution with pixels in the lanes is cut into blocks. */
#ifndef FC_CONVOLVE_PLANES_PLAN_H
#define FC_CONVOLVE_PLANES_PLAN_H

#include "blocks.h"
#include "convolve.h"

struct fc_planes_plan {
    struct fc_blocks blocks;
    int64_t unit, taps, block; /* outputs in 64 bytes; taps; channels that one chain sums */
    /* Of a row of x: at stride 2 that of its even columns, then as many for the odd ones; of a row and a
     * plane of sums. */
    int64_t half, pitch, strip_pitch, strip_plane;
    size_t weight_bytes, x_bytes, strip_bytes, worker_bytes;
    bool flat, skip_rows; /* rows follow each other; taps in padding are left out */
    bool direct; /* tiles finish y, whose planes they make, and the last sums need no strip */
    bool stream; /* y goes past the caches */
    /* x is kept once a column of taps, shifted, in rows as long as those of y, which thus follow each other */
    bool shifted;
    int width;
};

/* False where a count of bytes overflows. */
bool fc_plan_planes(const struct fc_convolution *convolution, struct fc_planes_plan *plan);

#endif
