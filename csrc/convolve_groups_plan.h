/* convolve_groups_plan.h: how convolutions in narrow groups are cut into blocks. */
#ifndef FC_CONVOLVE_GROUPS_PLAN_H
#define FC_CONVOLVE_GROUPS_PLAN_H

#include "blocks.h"
#include "convolve.h"

enum {
    FC_MOST_GROUP_UNITS = 8, /* of an item: 512 bytes of each pixel of x and y */
    FC_MOST_GROUP_PARTS = 16
};

struct fc_groups_part {
    struct fc_channels channels;
    size_t packed;    /* where its kernel lies */
    int64_t at[2];    /* its first output of y */
    int64_t shift[2]; /* from the first row and column of x that any part reads to its own */
    bool slides;      /* tiles at the edges leave out a column of taps */
};

/* Blocks are of positions: of a pixel of every part. */
struct fc_groups_plan {
    struct fc_groups_part part[FC_MOST_GROUP_PARTS];
    int64_t step[2], count; /* rows and columns from one output of a part to the next; of parts */
    struct fc_axis axis[2]; /* what all parts read */
    struct fc_blocks blocks;
    int64_t unit, units, shares; /* of outputs; units of an item; items that share a block */
    size_t packed_bytes, x_bytes, worker_bytes;
    int64_t items, rows; /* of a unit, before the next */
    int width;
    bool skip_rows; /* taps in zero padding are left out */
    bool inside;    /* and columns, nor are they packed */
};

/* False where a count of bytes overflows. */
bool fc_plan_groups(const struct fc_convolution *parts, const int64_t step[2],
                    struct fc_groups_plan *plan);

#endif
