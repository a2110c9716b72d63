/* winograd_tiles.inc.h: tiles to positions and back, channels in lanes.
 *
 * A transform takes a tile's columns first, then its rows, through a buffer in the first-level cache:
 * the 36 vectors of F(4x4,3x3) would not fit the registers. Of x, a tile of 36 vectors takes 144
 * operations, 72 loads and 72 stores; its products with 64 outputs take 4 * 36 * 16 multiply-adds of
 * vectors for 16 channels: the transform is a tenth of that. */
#include "winograd_points.inc.h"

enum winograd_kind { WINOGRAD_INPUT, WINOGRAD_DY, WINOGRAD_KERNEL, WINOGRAD_UNSCALED_KERNEL };

FC_INLINE bool winograd_is_kernel(const enum winograd_kind kind) { return kind >= WINOGRAD_KERNEL; }

/* One line: of x, of `count` taps, or of `count` gradients of outputs, to `some` of the points. */
FC_INLINE void winograd_spread_line(const enum winograd_kind kind, const int points, const int some,
                                    const int count, const vreal *x, vreal *y)
{
    if (points == 1 || some == 1)
        y[0] = x[0];
    else if (some < points && kind == WINOGRAD_INPUT)
        winograd_some_inputs(points, some, x, y);
    else if (some < points)
        winograd_some_values(points, some, count, x, y);
    else if (kind == WINOGRAD_INPUT)
        winograd_input(points, x, y);
    else
        winograd_evaluate(points, count, kind == WINOGRAD_KERNEL, x, y);
}

/* Which of the points is one of some: infinity is the last of both, but 0 the only one. */
FC_INLINE int winograd_which(int i, int some, int points)
{
    return i == some - 1 && some > 1 ? points - 1 : i;
}

/* What is left of the numbers that belong to all points. */
FC_INLINE int winograd_left(const int count, const int fewer)
{
    return count > fewer ? count - fewer : 1;
}

/* Does `work` with a constant for how many of the points of a direction, 0 to 2 or all but one, a tile that
 * takes `some` of them does without; `count` numbers belong to all of them. */
#define WINOGRAD_WITHOUT(fewer, points, some, count, work)       \
    do {                                                         \
        const bool divides = points == 5 || points == 6;         \
        if (divides && count > 1 && some == points - 1) {        \
            enum { fewer = 1 };                                  \
            work;                                                \
        } else if (divides && count > 2 && some == points - 2) { \
            enum { fewer = 2 };                                  \
            work;                                                \
        } else if (points == 6 && some == 1) {                   \
            enum { fewer = 5 };                                  \
            work;                                                \
        } else {                                                 \
            enum { fewer = 0 };                                  \
            work;                                                \
        }                                                        \
    } while (0)

/* Columns to points, [point][column] in half: of x, or where that is NULL of spread->at. */
FC_INLINE void winograd_spread_columns(const struct fc_winograd_spread *spread,
                                       const enum winograd_kind kind, const int points,
                                       const int some, const int count, const int columns,
                                       const real *x, int64_t c, real *half)
{
    const ptrdiff_t x_row = spread->x_row, x_column = spread->x_column;
    vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    for (int j = 0; j < columns; j++) {
        FC_UNROLL (i, count)
            from[i] = vload(x ? x + i * x_row + j * x_column
                              : (const real *)spread->at[i * columns + j] + c);
        winograd_spread_line(kind, points, some, count, from, to);
        FC_UNROLL (i, some)
            vstore(half + (i * WINOGRAD_MOST_POINTS + j) * LANES, to[i]);
    }
}

/* Rows to points. */
FC_INLINE void winograd_spread_rows(const enum winograd_kind kind, const int points_h,
                                    const int some_h, const int points, const int some,
                                    const int count, const real *half, real *y,
                                    ptrdiff_t y_position)
{
    vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    for (int i = 0; i < some_h; i++) {
        FC_UNROLL (j, count)
            from[j] = vload(half + (i * WINOGRAD_MOST_POINTS + j) * LANES);
        winograd_spread_line(kind, points, some, count, from, to);
        real *row = y + winograd_which(i, some_h, points_h) * points * y_position;
        FC_UNROLL (j, some)
            vstore(row + winograd_which(j, some, points) * y_position, to[j]);
    }
}

/* One vector of channels of one tile. `count` is of all points, and a constant like those: one less a
 * point less, but of taps. */
FC_INLINE void winograd_spread_tile(const struct fc_winograd_spread *spread,
                                    const enum winograd_kind kind, const int points_h,
                                    const int points_w, const int count_h, const int count_w,
                                    const real *x, int64_t c, real *y)
{
    real half[WINOGRAD_MOST_POINTS * WINOGRAD_MOST_POINTS * LANES];
    const int some_h = winograd_is_kernel(kind) ? points_h : spread->points[0];
    const int some_w = winograd_is_kernel(kind) ? points_w : spread->points[1];
    const int columns = winograd_left(count_w, points_w - some_w);
    const ptrdiff_t step = spread->y_position;
    if (some_h == points_h && some_w == points_w) {
        winograd_spread_columns(spread, kind, points_h, points_h, count_h, count_w, x, c, half);
        winograd_spread_rows(kind, points_h, points_h, points_w, points_w, count_w, half, y, step);
        return;
    }
    WINOGRAD_WITHOUT(less, points_h, some_h, count_h,
                     winograd_spread_columns(spread, kind, points_h, points_h - less,
                                             winograd_left(count_h, less), columns, x, c, half));
    WINOGRAD_WITHOUT(less, points_w, some_w, count_w,
                     winograd_spread_rows(kind, points_h, some_h, points_w, points_w - less,
                                          winograd_left(count_w, less), half, y, step));
}

FC_INLINE void winograd_spread(const struct fc_winograd_spread *spread,
                               const enum winograd_kind kind, const int points_h,
                               const int points_w, const int count_h, const int count_w)
{
    for (int64_t t = 0; t < spread->tiles; t++)
        for (int64_t c = 0; c < spread->channels; c += LANES)
            winograd_spread_tile(
                spread, kind, points_h, points_w, count_h, count_w,
                spread->x ? (const real *)spread->x + t * spread->x_tile + c : NULL, c,
                (real *)spread->y + t * spread->y_tile + c / FC_SLAB * spread->y_slab +
                    c % FC_SLAB);
}

/* ------------------------------------------------------------------ gather */

/* Whether stores go past the caches. Vectors that are half a line would leave as many lines begun as a tile
 * has outputs, more than are held open. */
FC_INLINE bool winograd_streams(const struct fc_winograd_gather *gather)
{
    return LANES * sizeof(real) == FC_UNIT_BYTES && gather->stream;
}

/* The lanes that are channels; the others may hold anything. */
FC_INLINE vreal winograd_real_lanes(vreal a, int lanes)
{
    if (lanes == LANES)
        return a;
    real all[LANES];
    vstore(all, a);
    return vload_first(all, lanes);
}

/* What a sum meets on its way to y, without a question asked: -0 is added where there is no bias, and what no
 * number lies beyond is the bound where there is none. The bits are those of finish_vector. */
struct winograd_end {
    vreal bias, least, most;
};

FC_INLINE struct winograd_end winograd_end_of(const struct fc_winograd_gather *gather, int64_t c,
                                              int lanes)
{
    const bool linear = gather->activation == FC_LINEAR, six = gather->activation == FC_RELU6;
    return (struct winograd_end){
        .bias =
            gather->bias ? vload_first((const real *)gather->bias + c, lanes) : vset1((real)-0.0),
        .least = vset1(linear ? -(real)INFINITY : 0),
        .most = vset1(six ? 6 : (real)INFINITY),
    };
}

FC_INLINE vreal winograd_bounded(const struct winograd_end *end, vreal sum)
{
    return vlesser_of(end->most, vgreater_of(end->least, sum));
}

FC_INLINE real *winograd_output_at(const struct fc_winograd_gather *gather, int64_t i, int64_t t,
                                   int64_t c)
{
    return (real *)gather->y + i * gather->y_row + t * gather->y_tile + c;
}

FC_INLINE const real *winograd_residual_at(const struct fc_winograd_gather *gather, int64_t i,
                                           int64_t t, int64_t c)
{
    const real *residual = gather->residual;
    return residual ? residual + i * gather->residual_row + t * gather->residual_tile + c : NULL;
}

/* The elaborate end of a tile whose sums lie in `made`, [row][column]: one body for all forms. */
static __attribute__((noinline)) vreal winograd_end_tile(const struct fc_winograd_gather *gather,
                                                         const real *made, int64_t rows, int count,
                                                         int64_t columns, int64_t t, int64_t c,
                                                         vreal check)
{
    const int64_t left = gather->channels - c;
    const int lanes = (int)(left < LANES ? left : LANES);
    const struct winograd_end end = winograd_end_of(gather, c, lanes);
    for (int64_t i = 0; i < rows; i++) {
        real *y = winograd_output_at(gather, i, t, c);
        const real *residual = winograd_residual_at(gather, i, t, c);
        for (int64_t j = 0; j < count; j++) {
            vreal sum = vload(made + (i * WINOGRAD_MOST_POINTS + j) * LANES);
            check = vfma(vzero(), winograd_real_lanes(sum, lanes), check);
            if (j >= columns)
                continue;
            sum = vadd(sum, end.bias);
            if (residual)
                sum = vadd(sum, vload_first(residual + j * gather->residual_column, lanes));
            sum = winograd_bounded(&end, sum);
            if (winograd_streams(gather))
                vstream(y + j * gather->y_column, sum);
            else if (lanes == LANES)
                vstore(y + j * gather->y_column, sum);
            else
                vstore_first(y + j * gather->y_column, sum, lanes);
        }
    }
    return check;
}

FC_INLINE void winograd_gather_line(const bool scaled, const int points, const int some,
                                    const int count, const vreal *x, vreal *y)
{
    if (points == 1 || some == 1)
        y[0] = x[0];
    else if (some < points)
        winograd_some_sums(points, some, count, x, y);
    else
        winograd_sums(points, count, scaled, x, y);
}

/* Columns of points to rows of results: half is [row][column]. */
FC_INLINE void winograd_gather_columns(const struct fc_winograd_gather *gather, const bool scaled,
                                       const int points, const int some, const int count,
                                       const int points_w, const int some_w, const real *x,
                                       real *half)
{
    const ptrdiff_t step = gather->x_position;
    const real *factors = points == 5 ? gather->factors : NULL;
    vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    for (int j = 0; j < some_w; j++) {
        const real *column = x + winograd_which(j, some_w, points_w) * step;
        FC_UNROLL (i, some)
            from[i] =
                vload(column + winograd_which(i, some, points) * points_w * gather->x_position);
        if (factors)
            FC_UNROLL (i, some)
                from[i] = vmul(vset1(factors[winograd_which(i, some, points) * points_w +
                                             winograd_which(j, some_w, points_w)]),
                               from[i]);
        winograd_gather_line(scaled, points, some, count, from, to);
        FC_UNROLL (i, count)
            vstore(half + (i * WINOGRAD_MOST_POINTS + j) * LANES, to[i]);
    }
}

/* And each row, in place where the end is elaborate; returns `check` plus zero times every sum. What is asked for
 * each output costs as much as the transform: 36 points to 16 outputs took 228 cycles on Zen 4, 249 with a
 * rectifier, and take 165. */
FC_INLINE vreal winograd_gather_rows(const struct fc_winograd_gather *gather, const bool scaled,
                                     const int points, const int some, const int count,
                                     int64_t rows, int64_t columns, real *half, int64_t t,
                                     int64_t c, vreal check)
{
    const bool plain =
        gather->channels - c >= LANES && columns >= count && !winograd_streams(gather);
    const struct winograd_end end = winograd_end_of(gather, c, plain ? LANES : 0);
    const ptrdiff_t column = gather->y_column;
    vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    for (int64_t i = 0; i < rows; i++) {
        real *row = half + i * WINOGRAD_MOST_POINTS * LANES;
        FC_UNROLL (j, some)
            from[j] = vload(row + j * LANES);
        winograd_gather_line(scaled, points, some, count, from, to);
        if (!plain) {
            FC_UNROLL (j, count)
                vstore(row + j * LANES, to[j]);
            continue;
        }
        real *y = winograd_output_at(gather, i, t, c);
        const real *residual = winograd_residual_at(gather, i, t, c);
        FC_UNROLL (j, count) {
            check = vfma(vzero(), to[j], check);
            vreal sum = vadd(to[j], end.bias);
            if (residual)
                sum = vadd(sum, vload(residual + j * gather->residual_column));
            vstore(y + j * column, winograd_bounded(&end, sum));
        }
    }
    return plain ? check : winograd_end_tile(gather, half, rows, count, columns, t, c, check);
}

/* One vector of channels of one tile. */
FC_INLINE vreal winograd_gather_tile(const struct fc_winograd_gather *gather, const bool scaled,
                                     const int points_h, const int points_w, const int count_h,
                                     const int count_w, int64_t t, int64_t c, vreal check)
{
    real half[WINOGRAD_MOST_POINTS * WINOGRAD_MOST_POINTS * LANES];
    const real *x = (const real *)gather->x + t * gather->x_tile + c;
    const int some_h = scaled ? points_h : gather->points[0];
    const int some_w = scaled ? points_w : gather->points[1];
    const int64_t made = winograd_left(count_h, points_h - some_h),
                  columns = gather->columns - t * count_w;
    const int64_t rows = made < gather->rows ? made : gather->rows;
    if (some_h == points_h && some_w == points_w) {
        winograd_gather_columns(gather, scaled, points_h, points_h, count_h, points_w, points_w, x,
                                half);
        return winograd_gather_rows(gather, scaled, points_w, points_w, count_w, rows, columns,
                                    half, t, c, check);
    }
    WINOGRAD_WITHOUT(less, points_h, some_h, count_h,
                     winograd_gather_columns(gather, scaled, points_h, points_h - less,
                                             winograd_left(count_h, less), points_w, some_w, x,
                                             half));
    WINOGRAD_WITHOUT(less, points_w, some_w, count_w,
                     return winograd_gather_rows(gather, scaled, points_w, points_w - less,
                                                 winograd_left(count_w, less), rows, columns, half,
                                                 t, c, check));
}

FC_INLINE bool winograd_gather(const struct fc_winograd_gather *gather, const bool scaled,
                               const int points_h, const int points_w, const int count_h,
                               const int count_w)
{
    vreal check = vzero();
    for (int64_t t = 0; t < gather->tiles; t++)
        for (int64_t c = 0; c < gather->channels; c += LANES)
            check = winograd_gather_tile(gather, scaled, points_h, points_w, count_h, count_w, t, c,
                                         check);
    real zeros[LANES];
    vstore(zeros, check);
    for (int i = 0; i < LANES; i++)
        if (!(zeros[i] == 0))
            return false;
    return true;
}
