/* dense_kernels.h: the contract of the kernel under dense layers of few rows. */
#ifndef FC_DENSE_KERNELS_H
#define FC_DENSE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"

/* Some terms of a sum, for pixels x columns of it, with the kernel where it lies.
 *   sum(p, k) = chain(p, k), 0 where it begins, then for l < terms, in order, by a multiply-add:
 *               + x[p * x_step + l] * kernel[l * kernel_step + k]     tile
 *               + x[p * x_step + l] * kernel[k * kernel_step + l]     turned_tile
 * tile may take `rest` more terms where the chain ends, which are a chain of their own, added to the first.
 * Where the chain goes on, the sum becomes chain(p, k); where it ends,
 *   y[p * y_step + k] = activation(sum + partial + bias[k] + residual), what is NULL left out.
 * tile asks for lines of its rows ahead of time, and for those of a kernel `next` elements from its own, unless
 * that is 0: for the columns that follow in all rows, or, where there are `pieces`, for a row after the other, a piece
 * of it at each step along its own columns.
 * chain and partial hold whole units, chain_step and partial_step apart; of all else nothing beyond
 * the columns is touched. y may be the memory of partial. Pixels are at most tile_pixels, turned_tile's at most
 * FC_FEW_TURNED.
 * turned_tile reads turned_rows rows of the kernel together, a piece of each; where they are crowded, and more than a
 * set of the nearest cache has lines, by a copy. */
enum { FC_FEW_TURNED = 8, FC_CACHE_WAYS = 8 };

struct fc_dense_tile {
    const void *x, *kernel, *partial, *bias, *residual;
    void *chain, *y;
    ptrdiff_t x_step, kernel_step, chain_step, partial_step, residual_step, y_step, next;
    int64_t terms, rest, columns, pieces;
    int pixels;
    bool begins, ends, crowded;
    fc_activation activation;
};

struct fc_dense_kernels {
    int64_t turned_rows;
    void (*tile)(const struct fc_dense_tile *tile);
    void (*turned_tile)(const struct fc_dense_tile *tile); /* of whole chains: they begin and end */
};

#endif
