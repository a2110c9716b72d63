/* depthwise_kernels.h: the contracts of the kernels under depthwise convolution. */
#ifndef FC_DEPTHWISE_KERNELS_H
#define FC_DEPTHWISE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"
#include "lines_ahead.h"

enum { FC_DEPTHWISE_ROWS = 2 }; /* output rows of a strip, at most */

/* Memory that is needed later: of x, to be read, lines with each row of a tile's window, and of y, to be
 * written, with each tile. */
struct fc_depthwise_ahead {
    struct fc_lines_ahead x, y;
};

/* One or two rows of outputs whose channels lie together; x is read through a table of its pixels,
 * which knows of padding.
 *   y[i * y_row + j * y_pixel + c] = activation(bias[c] + residual[i, j, c] + sum over taps (a, b) of
 *       pixel[i * row_step + a * row_tap][j * column_step + b * column_tap][c] * weight(a, b, c))
 * for i < rows, j < columns, c < channels. Every sum is one chain of multiply-adds that begins with
 * zero, row by row of the taps. The weights of channel c and tap t are at
 *   kernel[c / panel * panel * taps + t * w + c % panel], w = min(panel, units - c / panel * panel)
 * where units are the channels rounded up to whole units. What is NULL is left out, `ahead` moves
 * on; windows whose taps lie apart fetch nothing. Rows of x before `begin` and from `end` on are zero
 * padding, and may be left out. Where `stream` is set, pixels of y begin with a line and are whole units, and y may
 * be stored past the caches. */
struct fc_depthwise_pixels {
    const void *const *const *pixel;
    const void *kernel, *bias, *residual;
    void *y;
    int64_t rows, columns, channels, kh, kw;
    int64_t row_step, row_tap, column_step, column_tap;
    int64_t begin, end;
    int64_t panel, units;
    ptrdiff_t y_row, y_pixel, residual_row, residual_pixel;
    bool stream;
    fc_activation activation;
    struct fc_depthwise_ahead *ahead;
};

/* Rows of outputs of one channel whose columns lie together, from a packed plane of x in which all
 * rows of outputs are `pitch` apart, so that they are one long row with gaps:
 *   strip[o] = sum over taps t of x[offset[t] + o] * kernel[t], o < rows * pitch, in one chain
 *   y[i * y_row + j * y_pixel] = activation(bias + residual[i, j] + strip[i * pitch + j])
 * for i < rows, j < columns. Up to 4 vectors of x and strip behind the end are touched. */
struct fc_depthwise_plane {
    const void *x, *kernel, *bias, *residual;
    void *strip, *y;
    const ptrdiff_t *offset;
    int64_t taps, rows, columns, pitch, kernel_step;
    ptrdiff_t y_row, y_pixel, residual_row, residual_pixel;
    fc_activation activation;
};

/* Planes whose columns lie together, under taps x taps windows, 3 or 5, that slide by one, amid zeros:
 *   y[n * y_image + p * y_plane + i * y_row + j] = activation(bias[p] + sum over taps (a, b) of
 *       x[n * x_image + p * x_plane + (i - above + a) * x_row + j - before + b] *
 *       kernel[(a * taps + b) * kernel_step + p])
 * for n < images, first <= p < planes, i < rows, j < columns, in one chain; x is height x width, above and before are
 * less than taps, and so are the rows of zeros under the last one. Planes are those of a unit of weights, which is read
 * whole, and first is even; the plane that follows each in its image is fetched. With `stream` rows of y begin
 * with a line and are whole units, and y may be stored past the caches; with `skips` rows of zeros are left out where
 * the kernel for pixels does so. */
struct fc_depthwise_walk {
    const void *x, *kernel, *bias;
    void *y;
    int64_t images, first, planes, rows, columns, height, width, above, before, taps;
    ptrdiff_t x_image, x_plane, x_row, y_image, y_plane, y_row, kernel_step;
    bool stream, skips;
    fc_activation activation;
};

/* Rows of a plane into a band of phases, of which the rest is filled with a value:
 *   to[p * phase_elements + t / row_phases * pitch + (left + j) / column_phases] = x[r * x_row + j]
 *       for r < rows, j < columns, t = top + r,
 *       p = t % row_phases * column_phases + (left + j) % column_phases
 * and value in all other of `elements` elements. */
struct fc_depthwise_band {
    const void *x;
    void *to;
    int64_t rows, columns, top, left, elements;
    int64_t row_phases, column_phases, phase_elements, pitch;
    ptrdiff_t x_row;
    double value;
};

/* Rows of outputs of a kernel gradient, added to the sums of taps (a, b) and channels c:
 *   sums[c / unit * unit * taps + (a * kw + b) * unit + c % unit] +=
 *       pixel[i * row_step + a * row_tap][j * column_step + b * column_tap][c] * dy[i * dy_row + j * dy_pixel + c]
 * for i < rows, j < columns, begin <= c < end, row by row, one multiply-add after the other; begin is a whole unit. A
 * unit of channels is 64 bytes; whole units of sums are written.
 *
 * dkernel_walk takes all rows of a block under 3 x 3 taps that lie together, row_step = column_step at most
 * walk_strides, with room in `ring` for a unit of three rows of x as wide as the block reads, and asks for what lies
 * x_next elements after each pixel of x and dy_next after each of dy, unless that is 0. dkernel takes one row, along
 * which it asks for all lines of x_ahead and dy_ahead. */
struct fc_depthwise_dkernel {
    const void *const *const *pixel;
    const void *dy;
    void *sums, *ring;
    int64_t rows, columns, begin, end, kh, kw, row_step, row_tap, column_step, column_tap;
    ptrdiff_t dy_row, dy_pixel, x_next, dy_next;
    struct fc_lines_ahead x_ahead, dy_ahead;
};

/* The columns of a tile of fc_depthwise_pixels, with strides of 1 and with others, the bytes of its channels, and the
 * most that windows of dkernel_walk slide by. */
struct fc_depthwise_kernels {
    int64_t wide_columns, strided_columns, vector_bytes, walk_strides;
    void (*pixels)(const struct fc_depthwise_pixels *strip);
    void (*plane)(const struct fc_depthwise_plane *plane);
    void (*walk)(const struct fc_depthwise_walk *walk); /* NULL where a vector has 16 bytes */
    void (*dkernel)(const struct fc_depthwise_dkernel *row);
    void (*dkernel_walk)(const struct fc_depthwise_dkernel *block);
    void (*pack_band)(const struct fc_depthwise_band *band);
};

#endif
