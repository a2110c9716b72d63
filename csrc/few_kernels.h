/* few_kernels.h: the contracts of the kernels for few channels. */
#ifndef FC_FEW_KERNELS_H
#define FC_FEW_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "conv2d_kernels.h"

enum {
    FC_FEW_OUTPUTS = 8,
    FC_FEWEST_GROUPED = 4,
    FC_SUM_PIXELS = 8, /* sums are taken of so many pixels at once, or of so many units */
    FC_SUM_UNITS = 4,
    FC_AHEAD_TERMS = 8,
    FC_TURNED_OUTPUTS = 4
};

/* A tile of a kernel gradient, added to dkernel in place:
 *   dkernel[e][k] += sum over rows x width pixels of x[e] * dy[k]   for e < elements, k < whole units
 * The sum is one chain over the pixels in row-major order, then added once. A pixel's x is
 * x_row * row + x_step * column further, its dy dy_row * row + dy_step * column, and what is read of
 * it may overlap its neighbours'. Elements are at most dkernel_elements, units at most tile_units. */
struct fc_row_dkernel {
    const void *x, *dy;
    void *dkernel;
    ptrdiff_t x_step, x_row, dy_step, dy_row, dkernel_step;
    int64_t rows, width;
    int elements, units;
};

/* y[o * outputs + k] = sum over j < taps with 0 <= o + j - before < x_pixels, in this order, of
 *     x[(o + j - before) * x_pixel + j * outputs + k]
 * for o < pixels, k < outputs. Whole vectors of x are read, beyond the outputs too. */
struct fc_column_sums {
    const void *x;
    void *y;
    ptrdiff_t x_pixel;
    int64_t pixels, x_pixels, outputs, taps, before;
};

/* y[o * outputs + k] = sum over r < rows and j < taps, in this order, of
 *     x[row[r] + (o - j) * x_pixel + j * outputs + k]
 * for o < pixels, k < outputs, and for the last tap only k < last. What is computed in vain is read and
 * written: up to FC_SUM_PIXELS - 1 pixels more, whole vectors of x, and a vector beyond the last y. */
struct fc_tap_sums {
    const void *x;
    void *y;
    const ptrdiff_t *row;
    ptrdiff_t x_pixel;
    int64_t rows, pixels, taps, outputs, last;
};

/* y[p] = sum over t < terms, in this order, of x[offset[t] + p] for p < pixels. FC_SUM_UNITS whole units
 * of x are read at once, what is beyond the pixels in vain. */
struct fc_shifted_sums {
    const void *x;
    void *y;
    const ptrdiff_t *offset;
    int64_t terms, pixels;
};

/* A tile of pixels x one unit of outputs in groups of `channels`, a power of two from
 * FC_FEWEST_GROUPED to a unit:
 *   sum(p, k) = sum over begin <= c < end, i < kh, j < kw, in this order, of
 *       x[i * x_row + (p * stride + j * dilation) * unit + k / channels * channels + c] *
 *       kernel[c * kernel_channel + (i * kw + j) * kernel_tap + k]
 *   y[p * y_step + k] = activation(sum + bias[k]); bias may be NULL. Where begin > 0 the sum is added to y first.
 * Pixels are at most group_pixels. Where three taps slide, stride and dilation 1, `left` leaves out tap 0 of
 * pixel 0, and `right` tap 2 of the last, whose x is not read. Where `stream` is set, pixels of y begin with a line,
 * and y may be stored past the caches. */
struct fc_group_tile {
    const void *x, *kernel, *bias;
    void *y;
    ptrdiff_t x_row, kernel_channel, kernel_tap, y_step;
    int64_t kh, kw, stride, dilation, channels, begin, end;
    int pixels;
    bool left, right, stream;
    fc_activation activation;
};

/* Rows of memory that something later needs: `each` lines with FC_AHEAD_TERMS terms, from `at` on, where `left`
 * are left of a row; rows have so many lines, and from the end of one to the next it is `gap` bytes. */
struct fc_rows_ahead {
    const char *at;
    ptrdiff_t gap;
    int64_t each, left, lines;
};

/* A tile of outputs x pixels, one chain of terms each:
 *   sum(k, p) = sum over t < terms, in this order, of weights[k * weight_step + t] * x[offset[t] + p]
 *   y[k * y_step + p] = activation(partial[k * partial_step + p] + sum + bias[k]), what is NULL left out
 * for k < outputs and p < pixels. Whole units of x are read; partial may be the same memory as y. Outputs
 * are at most plane_outputs, units (whole ones that cover the pixels) plane_units. Where
 * source is not NULL, whole units of term t's x are copied to where it is read, from source[t * source_step].
 * Where `stream` is set, outputs of y begin with a line, pixels are whole units, and y may be stored past the
 * caches. What has been asked for of `ahead` is left behind. */
struct fc_plane_tile {
    const void *x, *weights, *partial, *bias;
    void *y;
    const ptrdiff_t *offset;
    int64_t terms;
    ptrdiff_t weight_step, partial_step, y_step;
    int outputs, pixels, units;
    bool stream;
    fc_activation activation;
    const void *source;
    ptrdiff_t source_step;
    struct fc_rows_ahead ahead;
};

/* A tile of pixels x outputs, where the channels of a pixel lie together, in chains of FC_BLOCK_TERMS terms, the last
 * of what is left, which are added in this order:
 *   y[k * y_step + p] = sum over t < terms of x[p * x_pixel + t] * weights[t * weight_term + k * weight_output]
 * for k < outputs, at most FC_TURNED_OUTPUTS, and p < pixels, and of fewer than a whole unit those beyond it in vain.
 * Elements of x are asked for `ahead` of those that are read. */
struct fc_turned_tile {
    const void *x, *weights;
    void *y;
    ptrdiff_t x_pixel, weight_term, weight_output, y_step, ahead;
    int64_t terms, pixels;
    int outputs;
};

/* Planes twice as wide: every step-th of the rows of y, from the first on, takes the next row of x,
 *   y[2 * c] = x[c] for c < columns,
 * and all else of their width elements, 2 * columns - 1 or 2 * columns, becomes zero. */
struct fc_wide_rows {
    const void *x;
    void *y;
    ptrdiff_t x_row, y_row;
    int64_t columns, width, rows, step;
};

struct fc_few_kernels {
    int plane_outputs, plane_units; /* of a plane_tile, at most */
    void (*plane_tile)(struct fc_plane_tile *tile);
    void (*turned_tile)(const struct fc_turned_tile *tile);
    /* finish_block from planes to channels that lie together in pixels that do, for which x may be changed: y_pixel
     * is channels, at most FC_FEW_OUTPUTS; or to planes. No residual. */
    void (*finish_planes)(const struct fc_finish *finish);
    void (*row_dkernel)(const struct fc_row_dkernel *tile);
    void (*column_sums)(const struct fc_column_sums *sums);
    int group_pixels; /* of a group_tile, at most */
    void (*group_tile)(const struct fc_group_tile *tile);
    int group_taps; /* of a group_dkernel_tile, at most */
    void (*group_dkernel_tile)(const struct fc_dkernel_tile *tile);
    void (*tap_sums)(const struct fc_tap_sums *sums);
    void (*shifted_sums)(const struct fc_shifted_sums *sums);
    void (*widen_rows)(const struct fc_wide_rows *wide);
};

#endif
