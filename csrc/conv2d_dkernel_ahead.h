/* conv2d_dkernel_ahead.h: what the next block of a kernel gradient reads, fetched while tiles compute.
 *
 * Memory beyond the second-level cache gives a line in 300 cycles and more; the 16 fill buffers of the
 * first level then let one through every 20 to 25. Fetched in bursts, once in 64 pixels, they keep the
 * tile's own loads waiting: 8 x 56 x 56 x 64 to 256 ran at 155 GFLOP/s of 242. One line every second
 * pixel, in the order of memory where it lies together, 203. A tile of three rows that is the only one of its block
 * fetches FC_ROWS_AHEAD: with one, 128 of 474 lines, 320x320, 3 to 16 channels with strides 2, took 3.1 ms on Zen 4,
 * with two 2.8, and takes 2.5. */
#ifndef FC_CONV2D_DKERNEL_AHEAD_H
#define FC_CONV2D_DKERNEL_AHEAD_H

#include "conv2d_kernels.h"

/* A rectangle of an image: runs of lines, pitch apart, in rows. */
struct fc_dkernel_runs {
    const char *at;
    ptrdiff_t pitch, row;
    int64_t runs, lines;
    bool flat; /* rows follow each other, runs counts all of them */
};

struct fc_dkernel_ahead {
    struct fc_dkernel_runs image[2];
    int which; /* image; 2 when all has been fetched */
    int64_t run, line;
    int64_t pixels; /* of a turn of a tile, */
    int64_t each;   /* which fetches so many lines: 1 or FC_ROWS_AHEAD */
};

/* Part of a batch: rows `row_gap` apart and columns that lie in its images, and some channels. */
struct fc_dkernel_span {
    int64_t n, images, row, rows, row_gap, column, columns, c, channels;
};

struct fc_dkernel_runs fc_dkernel_runs_of(const fc_image *image, ptrdiff_t element,
                                          const struct fc_dkernel_span *span);

/* The share of a tile whose rows and width are set. */
void fc_dkernel_ahead_take(struct fc_dkernel_ahead *ahead, struct fc_dkernel_tile *tile);

#endif
