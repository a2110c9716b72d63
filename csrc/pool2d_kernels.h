/* pool2d_kernels.h: the contracts of the kernels under pooling. */
#ifndef FC_POOL2D_KERNELS_H
#define FC_POOL2D_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"
#include "lines_ahead.h"
#include "pool2d_winner_kernels.h"

/* Outputs that share the shape of their window, columns x lanes. Lanes lie together: channels, columns, or both.
 *   y[p * y_column + l] = pool over i < rows, j < taps of x[p * x_column + i * x_row + o(j) + l]
 * o(j) is j * x_tap where x has one phase; where it was split into phases, a tap that steps over
 * the last phase adds x_wrap: it is element 0 of the window that lies in phase `phase`, and each
 * tap lies phase_step phases after the one before it.
 *
 * Max and min: an element wins that is beyond the winner so far, or is the first NaN; no window
 * gives -inf or inf. Average: every row of the window is one chain of additions that begins with
 * zero, the rows are a chain too, and their sum is divided by divisor (which 1 leaves as it is).
 * resume goes on with the y of a call before it, as if its rows came after those.
 *
 * numbers is NULL, or receives (as int32_t for float32, int64_t for float64) for each lane
 * number + i * number_row + j * number_tap of its winner, at p * number_column + l. Whole vectors of it are written, in
 * ascending order, and where resume is set read. Max and min alone. y may be x where the window is a single element. */
struct fc_pool2d_tile {
    const void *x;
    void *y, *numbers;
    int64_t columns, lanes, rows, taps;
    ptrdiff_t x_column, x_row, x_tap, x_wrap, y_column;
    int64_t phases, phase, phase_step;
    int64_t number, number_row, number_tap, number_column;
    double divisor;
    bool resume;
    struct fc_lines_ahead ahead; /* of a window of few taps: see there */
};

/* The same for windows of few taps:
 *   y[p * y_column + l] = pool over i < rows, j < taps of x[p * x_column + offset[i * taps + j] + l]
 * with number[i * taps + j] of the winner, where numbers is not NULL; of a window that nothing wins,
 * number[0], or first[l] where first is not NULL. y may then be NULL. Lanes are computed in any
 * order, some of them twice: y is not x. Whole vectors of numbers are written, and of first read. */
enum { FC_POOL2D_TAPS = 32, FC_POOL2D_VECTORS = 4 /* of a block of lanes */ };
struct fc_pool2d_window {
    const void *x, *first;
    void *y, *numbers;
    int64_t columns, lanes, rows, taps;
    ptrdiff_t x_column, y_column, number_column;
    double divisor;
    struct fc_lines_ahead ahead; /* fetched, so many with each block of lanes */
    ptrdiff_t offset[FC_POOL2D_TAPS];
    int64_t number[FC_POOL2D_TAPS];
};

/* Two rows of dx of windows of 3 x 3 that step by two: dx[0], tap row 0 of the windows numbers[1] and tap row 2 of
 * numbers[0], those above, and dx[1], tap row 1 of numbers[1]. Windows of a row are `columns`,
 * between one at either end that nothing has won, and those of dx `width`, of which column c is in windows w with
 * 0 <= c + before - 2 * w < 3. `lanes` are a vector's or more. One chain of additions that begins with zero, in the
 * order of the windows. x_ahead, in the place of dx[0]'s column 0, is fetched. */
struct fc_pool2d_halves {
    const void *numbers[2], *dy[2];
    void *dx[2];
    int64_t columns, width, lanes, before;
    ptrdiff_t dy_column, dx_column;
    const void *x_ahead;
    ptrdiff_t x_row;
    bool stream;
};

/* The same windows, of rows [begin, end) of `rows` and one more that there is not, searched for in x: window w of row h
 * has rows 2 * h - above on and columns 2 * w - before on, two of which lie on the image at least. They give to rows of
 * dx from `top` on, which is 2 * begin - above or the row two below it, with what row `begin` gives to the third of its
 * rows. False: x has a NaN, and dx holds anything. `state` is a line's begin, and keeps 4 vectors for each column and 5
 * more, for each vector of lanes and one more. */
struct fc_pool2d_halves_pixels {
    const void *x, *dy;
    void *dx, *state;
    int64_t columns, rows, width, height, lanes, above, before;
    int64_t begin, end, top;
    ptrdiff_t x_row, x_pixel, dy_row, dy_pixel, dx_row, dx_pixel;
    bool stream;
};

/* The same windows over planes, where columns are lanes: rows [begin, end) of windows, of which there are `rows` and
 * one more that there is not, each giving two rows of dx, 2 * h - above and the next, to where dx is row `top`.
 * Window w of a row has columns 2 * w - before on, of `width`, and the last may have one beyond them, as the last
 * row may have one beyond `height`. Winners are searched for in x, or told from indices of a plane, which fit 31
 * bits; either is fetched `ahead` bytes ahead, and with `fetch` dx. False: one is none of its window's, or x has a
 * NaN. `state` keeps 3 * width elements of a row, and six vectors'; a call that is not `fresh` goes on with the one
 * before. With `two` planes come in pairs, of at most a vector's columns, searched. Forward y is written where a
 * window's maximum is that of its rows of x, in whole, and nothing else but x is read. */
enum { FC_POOL2D_HALVES = 8 }; /* rows of windows that are walked at a time */
struct fc_pool2d_halves_planes {
    const void *x, *dy;
    const int64_t *index;
    void *dx, *y, *state;
    int64_t planes, columns, rows, width, height, above, before;
    int64_t begin, end, top;
    ptrdiff_t x_row, y_row, dy_row, index_row, dx_row, x_plane, y_plane, dy_plane, index_plane,
        dx_plane, ahead;
    bool fresh, two, stream, fetch;
};

/* Planes and their parts. Pixel (h, w) of plane p, `channels` elements that lie together as those of a
 * row do, is at image + p * image_plane + h * image_row + w * channels, and in a plane of parts at
 *   parts + p * parts_plane + r % row_phases * row_phase + r / row_phases * line
 *         + c % column_phases * column_phase + c / column_phases * channels
 * where r is row + h, and c column + w. Nothing else is written. */
struct fc_pool2d_parts {
    void *image, *parts;
    int64_t planes, rows, columns, channels;
    ptrdiff_t image_plane, image_row, parts_plane;
    int64_t row, column, row_phases, column_phases;
    ptrdiff_t row_phase, column_phase, line;
};

/* The gradient of a maximum over parted planes, for whole vectors of lanes:
 *   dx[p * dx_plane + l] = sum over t < taps of dy[p * plane + offset[t] + l]
 *       where numbers[p * plane + offset[t] + l] is number[t], one chain of additions that begins with zero. */
struct fc_pool2d_claim {
    const void *numbers, *dy;
    void *dx;
    int64_t planes, lanes, taps;
    ptrdiff_t plane, dx_plane;
    struct fc_lines_ahead ahead; /* fetched, so many with each block of lanes */
    ptrdiff_t offset[FC_POOL2D_TAPS];
    int64_t number[FC_POOL2D_TAPS];
};

/* Windows of 2 x 2 that share nothing: lines x columns of them, `lanes` lie together. Window (r, p, l) has pixels
 * 2 * r * x_row + 2 * p * x_pixel + l, those a row and those a pixel on. So does dx. Its y and dy are at
 * r * y_row + p * y_pixel + l, its index at r * index_row + p * index_pixel + l, which is
 * 2 * (row + r) * width + 2 * p for its first tap: of the next plane, and from its row 0, after each row rows - 1.
 *
 * y is written, or dx: dy where the window's first winner or first NaN is, 0 elsewhere; an average gives
 * each tap a quarter. With index not NULL x is not read. Indices of `together` lines follow each other
 * without gaps, and may be read beyond those of a line. With `stream` every vector that is written
 * begins at a multiple of its bytes, and may go past the caches.
 *
 * With mark not NULL each window of a maximum has a whole number of an element's size at r * index_row +
 * p * index_pixel + l: forward that of its winner's tap, 0 to 3, and FC_STOPPED_BY_RELU where that is not above 0
 * or NaN, FC_STOPPED_BY_RELU6 where not below 6. On the way back x and index are not read, nor a window given
 * anything where its number has a bit of `stops`; what is returned tells nothing. */
enum { FC_STOPPED_BY_RELU = 4, FC_STOPPED_BY_RELU6 = 8 };
struct fc_pool2d_quads {
    const void *x, *dy;
    const int64_t *index;
    void *mark;
    int64_t stops;
    void *y, *dx;
    bool stream;
    int64_t lines, columns, lanes, width, together, row, rows;
    ptrdiff_t x_row, x_pixel, dx_row, dx_pixel, y_row, y_pixel, index_row, index_pixel;
};

/* Windows of 3 x 3 that slide by one, with a pixel of padding all around: planes of rows of up to
 * FC_POOL2D_LINE elements, or on the way back two vectors, that lie together.
 *   y[p * y_plane + h * y_row + w] = pool over the window around x[p * x_plane + h * x_row + w]
 * or, on the way back, y is dx, and dy and index are rows as those are; with index x is not read. An element
 * adds up the gradients of the windows it has won in their order, one chain that begins with zero. Indices
 * of a plane fit 31 bits. False: one is none of its window's, or x, where lines_dx searches it, has a NaN. */
enum { FC_POOL2D_LINE = 16 };
struct fc_pool2d_lines {
    const void *x, *dy;
    const int64_t *index;
    void *y;
    int64_t planes, rows, columns;
    ptrdiff_t x_plane, x_row, dy_plane, dy_row, index_plane, index_row, y_plane, y_row;
    ptrdiff_t x_pixel, dy_pixel, index_pixel, y_pixel; /* of the kernels below */
    ptrdiff_t x_ahead, dy_ahead, index_ahead, y_ahead; /* from planes to those of the next call */
    int64_t dy_rows, dy_columns;                       /* of windows of 2 x 2 */
    double sign;
};

/* The way back of windows of 2 x 2 that slide by one, from the first pixel on, dy_rows x dy_columns of them, as many as
 * pixels each way or one less. x times `sign`, 1 or -1, is searched for a maximum; there are no indices. */

/* The way back where channels lie together: planes are lanes, a vector or more of them, and rows have up to
 * FC_POOL2D_SLIDE pixels, which lie x_pixel and so on apart. */
enum { FC_POOL2D_SLIDE = 32 };

/* Planes that are pooled whole, of which the pixels lie in a run: y[p * y_plane] is the pool over i <
 * elements of x[p * x_plane + i]. Of an average chain k < FC_POOL2D_CHAINS is the sum of the pixels
 * k, k + FC_POOL2D_CHAINS, ... of FC_POOL2D_FOLDED pixels, added to those before; at the end chains k and
 * k + 8 are added, then k and k + 4, k + 2, k + 1. A maximum has FC_POOL2D_CHAINS elements or more. Where index is
 * not NULL, index[p * index_plane] is that of the first winner or first NaN, of at most FC_POOL2D_FOUND elements. */
enum {
    FC_POOL2D_CHAINS = 16,
    FC_POOL2D_FOLDED = 128 * FC_POOL2D_CHAINS,
    FC_POOL2D_FOUND = 1 << 24 /* numbers of elements are exact in float32 */
};
struct fc_pool2d_fold {
    const void *x;
    void *y;
    int64_t *index;
    int64_t planes, elements;
    ptrdiff_t x_plane, y_plane, index_plane;
    double divisor;
};

/* The way back of a maximum: dx[p * dx_plane + i] is dy[p * dy_plane] for the first winner or first NaN of
 * x, 0 for all other i < elements, of which there are FC_POOL2D_CHAINS to FC_POOL2D_FOUND. */
struct fc_pool2d_fold_dx {
    const void *x, *dy;
    void *dx;
    int64_t planes, elements;
    ptrdiff_t x_plane, dy_plane, dx_plane;
};

/* The same sums where channels, at most FC_POOL2D_CHAIN_BYTES of them, lie together: pixel i is at x + i * x_pixel.
 * sums are FC_POOL2D_CHAINS times FC_POOL2D_CHAIN_BYTES, which `begins` clears; y, if it is not NULL, receives the
 * average of what they hold then. Whole vectors of y are written. */
enum { FC_POOL2D_CHAIN_BYTES = 1024 };
struct fc_pool2d_chains {
    const void *x;
    void *sums, *y;
    int64_t pixels, channels; /* FC_POOL2D_FOLDED pixels, but for the last call */
    ptrdiff_t x_pixel;
    double divisor;
    bool begins;
};

/* Columns of `channels` elements, each of them `kept` times and then zeros, `times` in all:
 *   y[p * y_plane + (j * times + t) * channels + c] = t < kept ? x[p * x_plane + j * channels + c] : 0
 * for p < planes, j < columns. Whole vectors of x are read, and of y written, in ascending order. */
struct fc_pool2d_stretch {
    const void *x;
    void *y;
    int64_t planes, columns, channels, times, kept;
    ptrdiff_t x_plane, y_plane;
};

/* Averages over windows of 3 x 3 of planes of rows that lie together:
 *   y[p * y_plane + i * y_row + j] = (sum of rows of a window, each the sum of its elements) / its divisor
 * for i < rows, j < columns; or on the way back x is dy and y dx, which adds up what windows that hold an element give
 * it, dy over the divisor, rows of windows as rows of a window. What is not there is zero.
 *
 * Windows that slide by one have a pixel of padding all around, and rows of x and y are runs. divisors are those of a
 * plane, and two units of ones; inside[i] has all bits, but none where element i begins a row, nor beyond the
 * plane, and is a unit and one longer; sums hold the plane, 2 * columns and a unit more, all zero at first.
 *
 * Windows that step by two begin above rows and before columns ahead of x, 0 or 1 each, and leave at most
 * one more row and column of height x width beyond them. A window's divisor is row_divisors[i] * divisors[j]; of both
 * there are more than windows, columns two units more, none of them zero. pitch is half a row of height x width, in
 * whole units, and sums are thrice as many, all zero at first; the last two thirds stay so, forward. */
struct fc_pool2d_means {
    const void *x, *divisors, *row_divisors, *inside;
    void *y, *sums;
    int64_t planes, rows, columns, height, width, above, before;
    ptrdiff_t x_plane, x_row, y_plane, y_row, pitch;
};

/* Windows of 3 x 3 that slide by one where channels lie together: of strips of columns, of all rows, and of a vector of
 * lanes or more; or on the way back of averages, dy as x and dx as y. Pixel (i, j) is at x + i * x_row + j * x_pixel,
 * and averages divide by row_divisors[i] * divisors[j]; of those one before and one after rows are read. With `left`
 * there is a column before the strip, with `right` one after it. `kept` is room for two rows of the strip, of lanes in
 * whole units. With `stream` every vector of y begins at a multiple of its bytes, and may go past the caches.
 *
 * Back from windows that step by two, as above, whole rows of them: `left`, `right` and `stream` tell nothing, and
 * `kept` is room for a row of them and one more. */
struct fc_pool2d_pixel_strip {
    const void *x, *divisors, *row_divisors;
    void *y, *kept;
    int64_t rows, columns, lanes;
    int64_t height, width, above, before; /* of dx, where windows step by two */
    ptrdiff_t x_row, x_pixel, y_row, y_pixel;
    bool left, right, stream;
};

struct fc_pool2d_kernels {
    void (*pool[3])(const struct fc_pool2d_tile *tile); /* by fc_pooling */
    void (*window[3])(const struct fc_pool2d_window *window);
    /* even[i] = x[2 * i], odd[i] = x[2 * i + 1], for count elements of x; and the way back. */
    void (*split_pairs)(const void *x, void *even, void *odd, int64_t count);
    void (*merge_pairs)(const void *even, const void *odd, void *y, int64_t count);
    /* y[p * y_plane + i] = values[p], for p < planes, i < elements. */
    void (*spread)(const void *values, int64_t planes, int64_t elements, void *y,
                   ptrdiff_t y_plane);
    void (*stretch)(const struct fc_pool2d_stretch *stretch);
    void (*quads[3])(const struct fc_pool2d_quads *quads); /* by fc_pooling, forward */
    bool (*quads_dx[3])(
        const struct fc_pool2d_quads *quads); /* false: an index is no tap's, nor -1 */
    /* NULL where a vector is short of 8 elements; the way back is for rows of up to two vectors. */
    void (*lines[2])(const struct fc_pool2d_lines *lines); /* maximum and minimum */
    bool (*lines_dx[2])(
        const struct fc_pool2d_lines *lines); /* false: an index is none of its window's */
    bool (*pairs_dx)(const struct fc_pool2d_lines *lines);
    bool (*slide_dx[2])(const struct fc_pool2d_lines *lines);
    void (*fold[3])(const struct fc_pool2d_fold *fold);
    void (*fold_dx[2])(const struct fc_pool2d_fold_dx *fold); /* maximum and minimum */
    void (*chains)(const struct fc_pool2d_chains *chains);
    void (*means[2])(const struct fc_pool2d_means *means); /* by stride - 1 */
    void (*means_dx[2])(const struct fc_pool2d_means *means);
    void (*pixel_strip[3])(const struct fc_pool2d_pixel_strip *strip);    /* by fc_pooling */
    void (*pixel_strip_dx[2])(const struct fc_pool2d_pixel_strip *strip); /* by stride - 1 */
    void (*award)(const struct fc_pool2d_award *award);
    void (*halves)(const struct fc_pool2d_halves *halves);
    bool (*halves_planes[3])(
        const struct fc_pool2d_halves_planes *halves); /* maximum, minimum and indices */
    bool (*halves_forward[2])(
        const struct fc_pool2d_halves_planes *halves); /* maximum and minimum, forward */
    /* NULL where a vector is short of 16 elements. */
    bool (*halves_pixels[2])(
        const struct fc_pool2d_halves_pixels *halves); /* maximum and minimum */
    /* Whole cache lines, past the caches. */
    void (*put_lines)(const void *from, void *to, int64_t lines);
    void (*part)(const struct fc_pool2d_parts *parts); /* image to parts */
    void (*join)(const struct fc_pool2d_parts *parts); /* parts to image */
    void (*claim)(const struct fc_pool2d_claim *claim);
    bool (*name)(const struct fc_pool2d_names *names);
    bool (*winners)(const struct fc_pool2d_winners *winners);
    void (*sweep[2])(const struct fc_pool2d_sweep *sweep); /* maximum and minimum */
    bool (*five[2])(const struct fc_pool2d_five *five);    /* maximum and minimum */
    void (*toss)(const struct fc_pool2d_toss *toss);
    void (*toss_apart)(const struct fc_pool2d_toss *toss);
    /* Goes on with gradient number from (row * lanes + lane) and stops at the first whose index is
     * not in [begin, end); returns its number, or rows * lanes. */
    int64_t (*scatter)(const struct fc_pool2d_scatter *scatter, int64_t from);
};

#endif
