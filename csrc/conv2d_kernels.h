/* conv2d_kernels.h: the contracts of the kernels under every convolution. */
#ifndef FC_CONV2D_KERNELS_H
#define FC_CONV2D_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"

enum {
    FC_UNIT_BYTES = 64,   /* outputs are counted in units: one AVX-512 vector */
    FC_PANEL_UNITS = 2,   /* the kernel is packed in panels of two units of c_out */
    FC_SLAB = 16,         /* x is packed in slabs of at most 16 channels */
    FC_BLOCK_TERMS = 128, /* terms that are summed before the sum is added to the total */
    FC_TILE_UNITS = 28,   /* the most units that a tile holds, of all its pixels */
    FC_TILE_ROWS = 3,     /* rows of a kernel that one tile of its gradient takes together, */
    FC_ROWS_AHEAD = 4     /* and lines of memory that it fetches with every two pixels */
};

/* Where the terms of a sum are found: element l of run r is x[offset[r] + p * step + l] for pixel p,
 * and the kernel's row for it begins at kernel[kernel_offset[r] + l * kernel_step]. A run is what
 * lies together in memory: the channels of a tap, or of a whole row of taps. */
struct fc_runs {
    const ptrdiff_t *offset, *kernel_offset;
    int64_t count;
    ptrdiff_t step;
};

/* Runs, from where the chain before ends to `end`, that are summed in one chain of multiply-adds; their
 * length stands here, since that of the last channels may be another. */
struct fc_chain {
    int64_t end, length;
};

/* Memory that something later needs: each run of a tile fetches so many lines more, step bytes apart,
 * into the second-level cache. */
struct fc_fetch {
    const char *at;
    ptrdiff_t step;
    int64_t lines;
};

/* A tile of outputs: pixels x columns, a sum of chains.
 *   conv_tile: sum(p, k) = sum over runs r and elements l of x(r, p, l) * kernel(r, l)[k]
 *   conv_pair: the same; the second half of an even number of pixels lies x_second, y_second and so
 *              on from the first
 *   conv_shared: conv_pair of one unit, one chain and twice the pixels, where run r of the second half is
 *              what run r + 1 of the first reads; only where tile_units are more than one
 *   lane_tile: sum(p, k) = sum over runs r of x(r, p, k) * kernel(r, 0)[k]     (one chain)
 *   y[p * y_step + k] = activation(partial + sums of chains + bias[k] + residual), what is NULL left
 *   out.
 * Every chain begins at zero and takes its multiply-adds in the order written; then the chains are
 * added in their order. Rows of kernel are kernel_step apart and hold whole units, as does partial,
 * which may be the same memory as y. lane_tile reads whole units of x. columns are those stored,
 * pixels at most tile_pixels, units (whole units that cover the columns) at most tile_units. `narrow` may be set where
 * half of the last unit, or more, is no columns: of conv_tile, which then may leave that half out. Where `stream`
 * is set, each pixel of y begins with a line, columns are whole units, and y may be stored past the caches. What
 * has been fetched of `ahead` is left behind: `at` moves on. */
struct fc_tile {
    const void *x, *kernel, *partial, *bias, *residual;
    void *y;
    void *total; /* room for FC_TILE_UNITS */
    struct fc_runs runs;
    const struct fc_chain *chains; /* not of lane_tile, whose runs are one */
    int64_t chain_count;
    ptrdiff_t kernel_step, partial_step, residual_step, y_step;
    ptrdiff_t x_second, partial_second, residual_second, y_second;
    int pixels, columns, units;
    bool stream, narrow;
    fc_activation activation;
    struct fc_fetch ahead[2];
};

/* A tile of a kernel gradient over images x rows x width pixels:
 *   dkernel_tile:       dkernel[l][k] = partial[l][k] + sum over pixels of x[l] * dy[k]
 *   plane_dkernel_tile: dkernel[l][k] = partial[l][k] + sum over pixels of x[l * x_element] * dy[k]
 *   rows_dkernel_tile:  the same for elements l of FC_TILE_ROWS rows, x_element apart, that lie together in each:
 *                       9 of all, or 18 or 27 of one unit; only where tile_units are more than one
 *   lane_dkernel_tile:  dkernel[r][k] = partial[r][k] + sum over pixels of x[offset[r] + k] * dy[k]
 *   group_dkernel_tile: of groups of `channels`, a power of two from FC_FEWEST_GROUPED to a unit, and
 *                       FC_FEWEST_GROUPED outputs of each from its `output` on,
 *                       dkernel[k * output_step + r * dkernel_step + l] =
 *                           partial + sum over pixels of x[offset[r] + l] * dy[l / channels * channels + output + k]
 *                       for r < elements (at most group_taps), l < a unit; partial is dkernel or NULL, images are 1
 * for l, r < elements, without partial where it is NULL; it may be the same memory as dkernel. The sum
 * is one chain over the pixels in row-major order, then added once. A pixel's x is x_image * image +
 * x_row * row + x_step * column further, its dy likewise. Whole units of dy, partial and dkernel (and
 * x of the lane form) are read and written; elements are at most dkernel_elements, units at most
 * tile_units. In dkernel_tile, two pixels after two, memory that is needed later is fetched: a line at ahead +
 * ahead_row * row + ahead_step * (column / 2), in bytes, rows of all images counted on, in rows_dkernel_tile
 * FC_ROWS_AHEAD of them, ahead_step apart, where `ahead_more` is set. Where asked,
 * *finite becomes false if something stored is not finite, and dkernel_tile leaves what it reads, pixel after
 * pixel: the elements of x at x_copy, the units of dy at dy_copy. */
struct fc_dkernel_tile {
    const void *x, *dy, *partial;
    void *dkernel, *x_copy, *dy_copy;
    const ptrdiff_t *offset;
    ptrdiff_t x_element, x_step, x_row, x_image, dy_step, dy_row, dy_image, partial_step,
        dkernel_step;
    int64_t images, rows, width;
    int64_t channels, output;
    ptrdiff_t output_step;
    int elements, units;
    bool *finite;
    const char *ahead;
    ptrdiff_t ahead_step, ahead_row;
    bool ahead_more;
};

/* y[p][c] for pixels x channels, laid out anyhow at both ends: a copy, a transposition, or both. Where `stream` is
 * set, pixels become planes, whose channels begin with a line and are whole units, as channels are, and may be stored
 * past the caches. */
struct fc_block {
    const void *x;
    void *y;
    ptrdiff_t x_pixel, x_channel, y_pixel, y_channel;
    int64_t pixels, channels;
    bool stream;
};

/* For each row in turn, sums[c] += sum over pixels of x[row * x_row + p * x_pixel + c], one chain, then added once. */
struct fc_channel_rows {
    const void *x;
    void *sums;
    ptrdiff_t x_row, x_pixel;
    int64_t rows, pixels, channels;
};

/* y[s * slab + p * FC_SLAB + c] = x[p * x_pixel + s * FC_SLAB + c] for pixels, slabs and the channels c
 * of a slab. */
struct fc_slabs {
    const void *x;
    void *y;
    ptrdiff_t x_pixel, slab;
    int64_t pixels, slabs;
};

/* y[p * y_pixel + i] = x[p * x_pixel + offset[i]] for pixels x lanes. */
struct fc_gather {
    const void *x;
    void *y;
    const ptrdiff_t *offset;
    ptrdiff_t x_pixel, y_pixel;
    int64_t pixels, lanes;
};

/* y = activation(x + bias + residual) of a block; in x channels lie together (x_channel is 1) or
 * pixels do (x_pixel is 1). bias holds one element a channel, residual has strides of its own. */
struct fc_finish {
    struct fc_block block;
    const void *bias, *residual;
    ptrdiff_t residual_pixel, residual_channel;
    fc_activation activation;
};

struct fc_conv2d_kernels {
    int tile_pixels, tile_units, dkernel_elements;
    int chain_pixels; /* of a tile whose sums are several chains, as all are between Winograd's transforms */
    void (*conv_tile)(struct fc_tile *tile);
    void (*conv_pair)(struct fc_tile *tile);
    void (*conv_shared)(struct fc_tile *tile);
    void (*lane_tile)(struct fc_tile *tile);
    void (*dkernel_tile)(const struct fc_dkernel_tile *tile);
    void (*plane_dkernel_tile)(const struct fc_dkernel_tile *tile);
    void (*rows_dkernel_tile)(const struct fc_dkernel_tile *tile);
    void (*lane_dkernel_tile)(const struct fc_dkernel_tile *tile);
    void (*copy_block)(const struct fc_block *block);
    void (*copy_slabs)(const struct fc_slabs *slabs);
    void (*gather_lanes)(const struct fc_gather *gather);
    void (*finish_block)(const struct fc_finish *finish);
    void (*channel_sums)(const struct fc_channel_rows *rows);
    /* Multiply-adds that nothing holds up, for the measured peak; returns how many it did. */
    double (*fma_burst)(int64_t rounds);
};

/* The most pixels of a tile whose sums are so many chains: two begin and end in more time than their totals save. */
static inline int64_t fc_tile_pixels(const struct fc_conv2d_kernels *kernels, int64_t chains)
{
    return chains > 2 ? kernels->chain_pixels : kernels->tile_pixels;
}

#endif
