/* winograd_kernels.h: the contracts of the kernels under Winograd convolution.
 *
 * Transforms F(m x m', r x r') turn r x r' taps and m x m' outputs into products at `points` positions
 * in each direction, points = m + r - 1: one multiplication a position where the outputs of a tile take
 * m * r. One direction may be 1, 1: it is left as it is. */
#ifndef FC_WINOGRAD_KERNELS_H
#define FC_WINOGRAD_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"

/* Outputs and taps of each, vertical and horizontal. */
#define FC_WINOGRAD_TRANSFORMS(of)                                                            \
    of(4, 2, 4, 2) of(4, 3, 4, 3) of(6, 3, 6, 3) of(2, 5, 2, 5) of(2, 5, 3, 5) of(4, 4, 4, 4) \
        of(1, 1, 4, 3) of(4, 3, 1, 1) of(1, 1, 4, 5) of(4, 5, 1, 1) of(1, 1, 4, 4) of(4, 4, 1, 1)

#define FC_WINOGRAD_NAME(mh, rh, mw, rw) FC_WINOGRAD_##mh##_##rh##_##mw##_##rw
#define FC_WINOGRAD_NAMES(mh, rh, mw, rw) FC_WINOGRAD_NAME(mh, rh, mw, rw),

enum {
    FC_WINOGRAD_TRANSFORMS(FC_WINOGRAD_NAMES) FC_WINOGRAD_TRANSFORM_COUNT,
    FC_WINOGRAD_CHUNK = 128 /* channels that are summed before the sum is added to the total */
};

/* Lines of tiles on their way to positions, `channels` in lanes (whole vectors are read and written):
 *   y[position * y_position + t * y_tile + c / FC_SLAB * y_slab + c % FC_SLAB]
 *   from x[i * x_row + j * x_column + t * x_tile + c]
 * for the rows i and columns j that the transform takes; or, where `at` is given, one tile from
 * at[i * columns + j][c]: pixels anywhere. Tiles that end a row or column take `points` of the form's,
 * one or two fewer of 5 or 6, or 1 of 6, and as many fewer rows and columns, at least 1
 * (winograd_points.inc.h says which); of a kernel, all. */
struct fc_winograd_spread {
    const void *x, *const *at;
    void *y;
    ptrdiff_t x_row, x_column, x_tile, y_position, y_tile, y_slab;
    int64_t tiles, channels;
    int points[2];
};

/* And back: y[i * y_row + j * y_column + t * y_tile + c] = activation(sum + bias[c] + residual), from
 * x[position * x_position + t * x_tile + c]. Of the outputs of a tile `rows` are stored, of those of
 * the line, tiles side by side, `columns`. x is read in whole vectors, at the `points` that a tile has, and
 * multiplied by the factors of its positions, where these are given. */
struct fc_winograd_gather {
    const void *x, *factors, *bias, *residual;
    void *y;
    ptrdiff_t x_position, x_tile, y_row, y_column, y_tile;
    ptrdiff_t residual_row, residual_column, residual_tile;
    int64_t tiles, channels, rows, columns;
    int points[2];
    fc_activation activation;
    bool stream; /* past the caches (stream.h): channels fill lines */
};

/* One position of groups of `tiles` tiles: m[t * m_tile + k] = (add ? m : 0) + sum over channels c of
 *   v[g * v_group + c / FC_SLAB * v_slab + i * FC_SLAB + c % FC_SLAB] * u[c * u_row + k]
 * for tile t = g * tiles + i and k in whole units: one chain of multiply-adds for each slab, the slabs'
 * sums added in order, and that to m. Each channel of each group fetches the line next_row bytes
 * further, from `next` on, into the second-level cache, and the last group what begins at `after`, the
 * next v, into the first. */
struct fc_winograd_product {
    const void *v, *u, *next, *after;
    void *m;
    ptrdiff_t v_slab, v_group, u_row, m_tile, next_row;
    int64_t channels, groups;
    int tiles, units;
    bool add;
};

/* One position of a kernel gradient: s[c * s_row + k] += sum over tiles t of
 *   v[t * v_tile + c] * d[t * d_tile + k]
 * for `channels` channels c (at most TILE_PIXELS: fc_conv2d_kernels.dkernel_elements) and k in whole
 * units; one chain a sum, then added, or where s begins, stored. The next `channels` rows of s are
 * fetched ahead. */
struct fc_winograd_outer {
    const void *v, *d;
    void *s;
    ptrdiff_t v_tile, d_tile, s_row;
    int64_t tiles;
    int channels, units;
    bool begin;
};

/* Those of one F; NULL where no form takes them. Kernel and dkernel carry the factors of the points, so
 * that input and output are the same for both gradients. */
struct fc_winograd_transforms {
    void (*input)(const struct fc_winograd_spread *);  /* of x: points x points */
    void (*kernel)(const struct fc_winograd_spread *); /* of taps */
    /* Of taps whose factors are left to the output: of all, and of one row, in that direction alone. */
    void (*unscaled)(const struct fc_winograd_spread *);
    void (*line)(const struct fc_winograd_spread *);
    const void *factors;
    void (*dy)(const struct fc_winograd_spread *); /* of a tile of outputs' gradients */
    /* Whether every sum was finite. */
    bool (*output)(const struct fc_winograd_gather *);  /* to a tile of outputs */
    bool (*dkernel)(const struct fc_winograd_gather *); /* to taps */
};

/* Along rows alone, for few channels of x (winograd_few.c): the taps of a row, a phase of the stride and a channel,
 * `tap` elements apart, to u[point][output of a unit], with zeros for those beyond `outputs`. Where it lacks the last
 * of `taps` it has nothing at infinity, the last point. */
struct fc_winograd_few_taps {
    const void *kernel;
    void *u;
    ptrdiff_t tap, output;
    int64_t outputs;
    int points, taps;
    bool lacks;
};

enum { FC_WINOGRAD_FEW_BYTES = 32 };

/* A row of x to v[tile * v_tile + point * v_point + l] for l below run, from the numbers x[j * step + l] from a tile's
 * first output on; tiles are `outputs` * step apart, but for the last, which begins at `last`. Beyond the last number
 * fewer than FC_WINOGRAD_FEW_BYTES are read, and written; points or tiles, whichever are nearer, may lie that near. */
struct fc_winograd_few_row {
    const void *x;
    void *v;
    ptrdiff_t step, last, v_point, v_tile;
    int64_t tiles, run;
    int points, outputs;
};

/* A tile of outputs: its v in the first of its rows of x, where it is written, and what is set where a sum is not
 * finite. */
struct fc_winograd_few_place {
    const void *v;
    void *y;
    unsigned char *bad;
};

enum { FC_WINOGRAD_FEW_MOST_TILES = 5 };

/* A unit of outputs of `count` tiles, a multiple of those of few_tiles:
 *   y[first + j * y_column + k] = activation(sum + bias[k])
 * of the sums over `rows` rows of x, v_row apart, and `run` channels and phases, of which `full` have all taps. */
struct fc_winograd_few_tiles {
    const struct fc_winograd_few_place *places;
    const void *u, *bias;
    ptrdiff_t v_row, v_point, y_column, first;
    int64_t count, rows, full, run;
    int taps;
    fc_activation activation;
    bool stream; /* past the caches (stream.h) */
};

/* Pixels of a row whose polynomial goes to the points of `taps`, which are taps - 1 more: of dy in a tile of a kernel
 * gradient along rows, of x in one with tiles in the lanes. */
enum { FC_WINOGRAD_COLUMNS = 4 };

/* A row of dy to d[t * d_tile + i * d_point + k]: the polynomial of a tile's pixels, zeros beyond the last, at point
 * i; whole units of outputs, zeros beyond the channels, d_tile in all. */
struct fc_winograd_few_dy {
    const void *dy;
    void *d;
    ptrdiff_t dy_pixel, d_point, d_tile;
    int64_t pixels, channels;
    int points;
};

/* Sums over tiles at the points, s[i * s_point + k], to the gradients of taps, y[j * columns + k], of which the last
 * may be lacking, for k < columns, whole units. Whether all of these are finite. */
struct fc_winograd_few_sums {
    const void *s;
    void *y;
    ptrdiff_t s_point;
    int64_t columns;
    int taps;
    bool lacks;
};

/* Along rows with tiles in the lanes (winograd_lanes.c): planes of every 4th column of x to the points of 3 to 5 taps,
 * v[i * column + c * channel + t] from x[j * column + c * channel + t], whole vectors. */
struct fc_winograd_lanes_points {
    const void *x;
    void *v;
    ptrdiff_t column, channel;
    int64_t channels, tiles;
    int taps;
};

/* Products at the points to coefficients of y's rows of tiles: those that have
 *   sum over t < terms, in this order, of m[offset[t] + i * m_point + line * m_line + p]
 * at point i, to s[i * s_point + line * s_line + p], whole vectors. Lines from `full` on have nothing at infinity. */
struct fc_winograd_lanes_sums {
    const void *m;
    void *s;
    const ptrdiff_t *offset;
    ptrdiff_t m_point, m_line, s_point, s_line;
    int64_t terms, tiles, lines, full;
    int taps;
};

/* A row of y from its tiles' coefficients, x[(t * points + i) * run + k] for points i, k < run: those of i from
 * FC_WINOGRAD_COLUMNS on belong to the next tile's columns,
 *   y[(t * FC_WINOGRAD_COLUMNS + j) * run + k]
 * which are those of one tile more. A vector less one element beyond a tile is read, and a vector beyond the row
 * becomes zero. Whether all of the row is finite. */
struct fc_winograd_lanes_row {
    const void *x;
    void *y;
    int64_t tiles, run;
    int taps;
};

struct fc_winograd_kernels {
    struct fc_winograd_transforms transforms[FC_WINOGRAD_TRANSFORM_COUNT];
    void (*product)(const struct fc_winograd_product *);
    void (*outer)(const struct fc_winograd_outer *);
    int few_tiles[2]; /* that are summed side by side, of 6 points and of 7 */
    void (*few_kernel)(const struct fc_winograd_few_taps *);
    void (*few_row)(const struct fc_winograd_few_row *);
    void (*few_tile)(const struct fc_winograd_few_tiles *);
    void (*few_dy)(const struct fc_winograd_few_dy *);
    bool (*few_sums)(const struct fc_winograd_few_sums *);
    void (*lanes_points)(const struct fc_winograd_lanes_points *);
    void (*lanes_sums)(const struct fc_winograd_lanes_sums *);
    bool (*lanes_row)(const struct fc_winograd_lanes_row *);
};

#endif
