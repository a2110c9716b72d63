/* pool2d_winner_kernels.h: the contracts of the kernels that find the winners of maxima, by sweeps or from stored
 * indices, and give them their gradients. */
#ifndef FC_POOL2D_WINNER_KERNELS_H
#define FC_POOL2D_WINNER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lines_ahead.h"

/* Windows along one direction of lines that lie side by side, for c < columns, o < out, l < lanes:
 *   y[c * y_column + o * y_step + l] = pool over p of x[c * x_column + p * x_step + l]
 * where p is in [o * stride - before, o * stride - before + taps) and in [0, in); each window has such a p. With
 * numbers, which lie as y does, and y, which may be NULL then, the first winner's is p * number_step, added to its
 * given[...], which lies as x does, or may be NULL. Whole vectors of numbers are written, and of given read. Kept has
 * room for FC_POOL2D_SWEPT units of each of `taps` windows. */
enum { FC_POOL2D_SWEPT = 8 };
struct fc_pool2d_sweep {
    const void *x, *given;
    void *y, *numbers, *kept;
    int64_t columns, lanes, in, out, taps, stride, before;
    ptrdiff_t x_column, x_step, y_column, y_step, number_step;
};

/* The winners of windows of 5 x 5 that slide by one, with two pixels of padding all around, for a unit of channels that
 * lie together, in planes of two rows and columns or more:
 *   numbers[(h * columns + w) * unit + l] = i * number_row + j * number_pixel
 * where pixel (i, j), at x + i * x_row + j * x_pixel, is the first winner of window (h, w). `best` has room for as many
 * elements. Lines at ahead[k] + h * ahead_row[k] + w * ahead_pixel[k] are fetched. False: x has a NaN. */
struct fc_pool2d_five {
    const void *x;
    void *best, *numbers;
    int64_t rows, columns;
    ptrdiff_t x_row, x_pixel, number_row, number_pixel;
    const char *ahead[2];
    ptrdiff_t ahead_row[2], ahead_pixel[2];
};

/* Stored indices to numbers of taps: for p < columns, l < lanes
 *   k = index[p * index_column + l] - (origin + p * origin_column + l * origin_lane)
 *   numbers[p * number_column + l] = first + i * first_row + j, where k is i * width + j
 * with i < rows and j < taps <= width, or -1 for index -1. False where an index is neither. Sums of
 * indices and widths fit 31 bits; whole vectors of numbers are written, in ascending order. */
struct fc_pool2d_winners {
    const int64_t *index;
    void *numbers;
    int64_t columns, lanes, rows, taps, width;
    ptrdiff_t index_column, number_column;
    int64_t origin, origin_column, origin_lane, first, first_row;
};

/* As struct fc_pool2d_winners, for a row of windows of each plane:
 *   k = index[p * index_plane + l] - (origin + origins[l]) is i * width + j
 *   numbers[p * number_plane + l] = first + i * taps + j
 * with i < rows and low[l] <= j <= high[l], or -1 for index -1. Whole vectors of tables are read, and
 * with `more` of indices, where used is -1 for the lanes that count, and 0 for the rest. */
struct fc_pool2d_names {
    const int64_t *index;
    const void *origins, *low, *high, *used;
    void *numbers;
    int64_t planes, lanes, rows, taps, width, origin, first;
    ptrdiff_t index_plane, number_plane;
    bool more;
};

/* dx[l * dx_lane + numbers[w * number_window + l]] += dy[w * dy_window + l * dy_lane], for windows and lanes, one
 * window after the other; or, where windows share no element, dx[w * dx_window + ...]. */
struct fc_pool2d_toss {
    const void *numbers, *dy;
    void *dx;
    int64_t windows, lanes;
    ptrdiff_t number_window, dy_window, dx_window, dy_lane, dx_lane;
};

/* dx[i] += dy for rows x lanes gradients, one after the other, where i is found from the index k of
 * each: dx_row * (k / width) + dx_pixel * (k % width), plus the offset of its row and lane. Lanes that are
 * planes come FC_POOL2D_ABREAST together. */
enum { FC_POOL2D_ABREAST = 4 };
struct fc_pool2d_scatter {
    const int64_t *index;
    const void *dy;
    void *dx;
    int64_t rows, lanes, width;
    int64_t begin, end; /* of the indices that may be used */
    ptrdiff_t index_row, index_lane, dy_row, dy_lane, dx_offset_row, dx_offset_lane;
    ptrdiff_t dx_row, dx_pixel;
};

/* The gradient of a maximum: of the windows that hold an element, those that it has won.
 *   dx[p * dx_column + l] = sum over i < rows, j < taps of dy[p * dy_column + i * dy_row + j * dy_tap + l]
 *       where numbers[p * number_column + i * number_row + j * number_tap + l] is
 *       first + p * first_column + i * first_row + j * first_tap, for p < columns, l < lanes
 * One chain of additions that begins with zero. Whole vectors of numbers are read. With `stream` whole vectors
 * of dx begin at multiples of their bytes, and may go past the caches. */
struct fc_pool2d_award {
    const void *numbers, *dy;
    void *dx;
    int64_t columns, lanes, rows, taps;
    ptrdiff_t number_column, number_row, number_tap, dy_column, dy_row, dy_tap, dx_column;
    int64_t first, first_column, first_row, first_tap;
    bool stream;
};

#endif
