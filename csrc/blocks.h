/* blocks.h: the outputs of a convolution cut into blocks, and the rectangle of x that each needs. */
#ifndef FC_BLOCKS_H
#define FC_BLOCKS_H

#include "geometry.h"

/* A block is at most `rows` x `columns` outputs. Where the kernel is dilated it takes every
 * row_phases-th row, so that its taps read the same rows of x and none between them is packed:
 * output row phase + m * row_phases reads the packed rows m * row_stride + i. */
struct fc_blocks {
    int64_t rows, columns, row_phases, row_stride;
    int64_t row_blocks, column_blocks; /* row blocks of all phases */
};

/* One of them, and the rows and columns of x it reads, in the coordinates of x. */
struct fc_patch {
    int64_t phase, row, rows, column, columns;
    int64_t x_row, x_row_gap, x_rows, x_column, x_columns;
};

/* Near-equal blocks of at most so many columns, outputs and, if one row of outputs allows it, pixels
 * of x. */
void fc_cut_blocks(const struct fc_axis axis[2], int64_t most_columns, int64_t most_outputs,
                   int64_t most_pixels, struct fc_blocks *blocks);

static inline int64_t fc_block_count(const struct fc_blocks *blocks)
{
    return blocks->row_blocks * blocks->column_blocks;
}

/* The pixels of x that a whole block reads, or -1 where their number overflows. */
int64_t fc_block_pixels(const struct fc_axis axis[2], const struct fc_blocks *blocks);

/* Block `index`, columns first. It may have no rows, where phases have unequal numbers of them. */
struct fc_patch fc_block_at(const struct fc_axis axis[2], const struct fc_blocks *blocks,
                            int64_t index);

/* What of the rectangle of x that a patch reads lies in an image of that height and width, where rows have
 * no gaps. */
struct fc_inside {
    int64_t row, rows, column, columns;
};

struct fc_inside fc_patch_inside(const struct fc_patch *patch, int64_t h, int64_t w);

/* The output row of a patch's row r. */
static inline int64_t fc_patch_row(const struct fc_blocks *blocks, const struct fc_patch *patch,
                                   int64_t r)
{
    return patch->phase + (patch->row + r) * blocks->row_phases;
}

#endif
