/* pool2d_sweep.h: maxima and minima of large windows that overlap, block by block, and where they are.
 *
 * Windows are first those of rows, and then windows of their results: a search of each takes two sweeps, whatever
 * its size. Lanes are channels, transposed where they do not lie together, or, where they are few, rows of the
 * image in the first step, for which they are transposed, and columns in the second. */
#ifndef FC_POOL2D_SWEEP_H
#define FC_POOL2D_SWEEP_H

#include "pool2d_pass.h"

/* Winners of a block of windows. Their numbers count from `origin`, a pixel of x, and lie in scratch,
 * [row][column][channel]. */
struct fc_pool2d_found {
    int64_t row, column; /* the origin */
    const void *numbers;
    ptrdiff_t numbers_row, numbers_column;
};

struct fc_pool2d_sweeps {
    /* What is wanted. */
    const struct fc_pool2d_pass *pass;
    const struct fc_axis *axis[2];
    const fc_image *x, *y; /* y is NULL where numbers alone are wanted */
    bool numbered;
    bool whole_rows; /* of windows are in a block, and rows of an image one after the other */
    int threads;     /* that it is worth */
    ptrdiff_t number_step[2]; /* between rows, and between pixels of x */

    /* How it is done: filled by fc_pool2d_sweep_plan. */
    size_t size;
    bool wide, staged, direct_y;
    int64_t channels, rows, columns;     /* of a block, at most */
    int64_t groups, bands, column_bands; /* blocks of an image */
    int64_t abreast;                     /* rows that are lanes */
    ptrdiff_t pixel, row;                /* elements from one to the next, of windows of rows */
    ptrdiff_t result_row;                /* of windows */
    int64_t elements[4];                 /* of arrays in scratch: staged, of rows, results, kept */
    size_t bytes;                        /* of scratch */
};

/* Planes of a batch, of few channels each, as those of one image: channels as lanes take them side by side. */
void fc_pool2d_sweep_merge(fc_image *const *images, int count);

/* False where windows are not of that kind, or others do them faster. */
bool fc_pool2d_sweep_plan(struct fc_pool2d_sweeps *self);

/* A block of windows: y, if it is wanted, is written. */
struct fc_pool2d_found fc_pool2d_sweep_block(const struct fc_pool2d_sweeps *self,
                                             const struct fc_pool2d_block *block, char *scratch);

/* A maximum or minimum; *done is false where there are no such windows. */
fc_status fc_pool2d_sweep_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done);

#endif
