/* winograd.inc.h: tiles to positions and back, and the products between, channels in lanes.
 *
 * A transform takes a tile's columns first, then its rows, through a buffer in the first-level cache:
 * the 36 vectors of F(4x4,3x3) would not fit the registers. Of x, a tile of 36 vectors takes 144
 * operations, 72 loads and 72 stores; its products with 64 outputs take 4 * 36 * 16 multiply-adds of
 * vectors for 16 channels: the transform is a tenth of that.
 *
 * The product is conv_tile's: 14 x 2 accumulators in AVX-512, 2 + 14 loads for 28 multiply-adds. Its
 * rounding is most of that of the whole, so sums are short: a slab of 16 channels, a chunk of 8 slabs,
 * and those. That costs 28 additions for 448 multiply-adds (87 % of the peak from the second-level
 * cache; a tile's start and end take 5 of the rest), and takes the rms error of F(4x4,3x3) over
 * 64 (512) channels from 7.6 (11) to 4.8 (5.6) units of 1e-7, where PyTorch's direct sum has 2.1. */
#include "winograd_points.inc.h"

enum winograd_kind { WINOGRAD_INPUT, WINOGRAD_KERNEL, WINOGRAD_DY };

/* One line: of x, of `count` taps, or of `count` gradients of outputs. */
FC_INLINE void winograd_spread_line(const enum winograd_kind kind, const int points,
                                    const int count, const vreal *x, vreal *y)
{
    if (points == 1)
        y[0] = x[0];
    else if (kind == WINOGRAD_INPUT)
        winograd_input(points, x, y);
    else
        winograd_evaluate(points, count, kind == WINOGRAD_KERNEL, x, y);
}

/* One vector of channels of one tile. The numbers of points and of elements taken are constants. */
FC_INLINE void winograd_spread_tile(const struct fc_winograd_spread *spread,
                                    const enum winograd_kind kind, const int points_h,
                                    const int points_w, const int count_h, const int count_w,
                                    const real *x, int64_t c, real *y)
{
    real half[WINOGRAD_MOST_POINTS * WINOGRAD_MOST_POINTS * LANES];
    vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    for (int j = 0; j < count_w; j++) {
        FC_UNROLL (i, count_h)
            from[i] = vload(x ? x + i * spread->x_row + j * spread->x_column
                              : (const real *)spread->at[i * count_w + j] + c);
        winograd_spread_line(kind, points_h, count_h, from, to);
        FC_UNROLL (i, points_h)
            vstore(half + (i * count_w + j) * LANES, to[i]);
    }
    for (int i = 0; i < points_h; i++) {
        FC_UNROLL (j, count_w)
            from[j] = vload(half + (i * count_w + j) * LANES);
        winograd_spread_line(kind, points_w, count_w, from, to);
        FC_UNROLL (j, points_w)
            vstore(y + (i * points_w + j) * spread->y_position, to[j]);
    }
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

/* Stores one output with what is done to it: the arithmetic of finish_vector, in the same order. */
FC_INLINE void winograd_store(const struct fc_winograd_gather *gather, vreal sum, int64_t i,
                              int64_t j, int64_t t, int64_t c, int lanes)
{
    if (gather->bias)
        sum = vadd(sum, vload_first((const real *)gather->bias + c, lanes));
    if (gather->residual)
        sum = vadd(sum, vload_first((const real *)gather->residual + i * gather->residual_row +
                                        j * gather->residual_column + t * gather->residual_tile + c,
                                    lanes));
    sum = activate(sum, gather->activation);
    real *y = (real *)gather->y + i * gather->y_row + j * gather->y_column + t * gather->y_tile + c;
    if (lanes == LANES)
        vstore(y, sum);
    else
        vstore_first(y, sum, lanes);
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

/* One vector of channels of one tile; returns `check` plus zero times every sum. */
FC_INLINE vreal winograd_gather_tile(const struct fc_winograd_gather *gather, const bool scaled,
                                     const int points_h, const int points_w, const int count_h,
                                     const int count_w, int64_t t, int64_t c, vreal check)
{
    const real *x = (const real *)gather->x + t * gather->x_tile + c;
    const int64_t left = gather->channels - c, columns = gather->columns - t * count_w;
    const int lanes = (int)(left < LANES ? left : LANES);
    real half[WINOGRAD_MOST_POINTS * WINOGRAD_MOST_POINTS * LANES];
    vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    for (int j = 0; j < points_w; j++) {
        FC_UNROLL (i, points_h)
            from[i] = vload(x + (i * points_w + j) * gather->x_position);
        if (points_h == 1)
            to[0] = from[0];
        else
            winograd_sums(points_h, count_h, scaled, from, to);
        FC_UNROLL (i, count_h)
            vstore(half + (i * points_w + j) * LANES, to[i]);
    }
    for (int i = 0; i < count_h && i < gather->rows; i++) {
        FC_UNROLL (j, points_w)
            from[j] = vload(half + (i * points_w + j) * LANES);
        if (points_w == 1)
            to[0] = from[0];
        else
            winograd_sums(points_w, count_w, scaled, from, to);
        FC_UNROLL (j, count_w) {
            check = vfma(vzero(), winograd_real_lanes(to[j], lanes), check);
            if (j < columns)
                winograd_store(gather, to[j], i, j, t, c, lanes);
        }
    }
    return check;
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

/* ----------------------------------------------------------------- product */

/* Into the first-level cache, and into the second. */
FC_INLINE void fetch_near(const void *p) { __builtin_prefetch(p, 0, 3); }
FC_INLINE void fetch_far(const void *p) { __builtin_prefetch(p, 0, 2); }

/* The sums of the slabs before are kept in the tile's own memory, at constant distances: 28 addresses
 * would not fit the registers. The compiler must not move some of them to registers, at the price of
 * sums that it spills. */
FC_INLINE void winograd_keep(const int tiles, const int vectors, const bool begin,
                             vreal sum[TILE_PIXELS][TILE_VECTORS], real *kept)
{
    FC_UNROLL (t, tiles)
        FC_UNROLL (v, vectors) {
            real *at = kept + (t * vectors + v) * LANES;
            vstore(at, begin ? sum[t][v] : vadd(vload(at), sum[t][v]));
        }
    __asm__ volatile("" ::: "memory");
}

/* To m, or added to it: the last slab with those before it. */
FC_INLINE void winograd_finish(const struct fc_winograd_product *product, const int tiles,
                               const int vectors, vreal sum[TILE_PIXELS][TILE_VECTORS],
                               const real *kept, real *m)
{
    if (product->channels > FC_SLAB)
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, vectors)
                sum[t][v] = vadd(vload(kept + (t * vectors + v) * LANES), sum[t][v]);
    if (product->add)
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, vectors)
                sum[t][v] = vadd(vload(m + t * product->m_tile + v * LANES), sum[t][v]);
    FC_UNROLL (t, tiles)
        FC_UNROLL (v, vectors)
            vstore(m + t * product->m_tile + v * LANES, sum[t][v]);
}

/* One group of tiles. Each channel fetches a line of their next slab and one of `next`. Two of those
 * cost 3 to 7 %: fetches from the third-level cache hold the buffers that x needs on its way from the
 * second. */
FC_INLINE void winograd_group(const struct fc_winograd_product *product, const int tiles,
                              const int vectors, const real *x, const char *next, real *m)
{
    _Alignas(FC_UNIT_BYTES) real kept[TILE_PIXELS * TILE_VECTORS * LANES];
    const real *u = product->u;
    const ptrdiff_t u_row = product->u_row, v_slab = product->v_slab, row = product->next_row;
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    __asm__("" : "=m"(kept)); /* gcc does not see that what is read was written */
    for (int64_t c = 0;; x += v_slab) {
        const int64_t left = product->channels - c, end = left < FC_SLAB ? left : FC_SLAB;
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, vectors)
                sum[t][v] = vzero();
        for (int64_t l = 0; l < end; l++, u += u_row, next += row) {
            fetch_near(x + v_slab + l * FC_SLAB);
            fetch_far(next);
            vreal k[TILE_VECTORS];
            FC_UNROLL (v, vectors)
                k[v] = vload(u + v * LANES);
            FC_UNROLL (t, tiles)
                FC_UNROLL (v, vectors)
                    sum[t][v] = vfma(vset1(x[t * FC_SLAB + l]), k[v], sum[t][v]);
        }
        c += FC_SLAB;
        if (c >= product->channels)
            break;
        if (c == FC_SLAB)
            winograd_keep(tiles, vectors, true, sum, kept);
        else
            winograd_keep(tiles, vectors, false, sum, kept);
    }
    winograd_finish(product, tiles, vectors, sum, kept, m);
}

FC_INLINE void winograd_products(const struct fc_winograd_product *product, const int tiles,
                                 const int vectors)
{
    const char *next = product->next;
    for (int64_t i = 0; i < product->groups; i++, next += product->channels * product->next_row)
        winograd_group(product, tiles, vectors, (const real *)product->v + i * product->v_few, next,
                       (real *)product->m + i * tiles * product->m_tile);
}

#define FC_PRODUCT_CASE(tiles)                               \
    case tiles:                                              \
        if (TILE_UNITS > 1 && product->units == 1)           \
            winograd_products(product, tiles, UNIT_VECTORS); \
        else                                                 \
            winograd_products(product, tiles, TILE_VECTORS); \
        return;

static void winograd_product(const struct fc_winograd_product *product)
{
    switch (product->tiles) {
        TILE_CASES(FC_PRODUCT_CASE)
    }
}

/* ------------------------------------------------------------------- outer */

/* Adds sums to those before them, or begins with them. */
FC_INLINE void winograd_add(const int channels, const int vectors, const bool begin,
                            vreal sum[TILE_PIXELS][TILE_VECTORS], real *to, ptrdiff_t step)
{
    FC_UNROLL (c, channels)
        FC_UNROLL (v, vectors) {
            real *at = to + c * step + v * LANES;
            vstore(at, begin ? sum[c][v] : vadd(vload(at), sum[c][v]));
        }
}

FC_INLINE void winograd_outers(const struct fc_winograd_outer *outer, const int channels,
                               const int vectors)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    FC_UNROLL (c, channels)
        FC_UNROLL (v, vectors)
            sum[c][v] = vzero();
    const real *x = outer->v, *d = outer->d;
    const real *next = (const real *)outer->s + channels * outer->s_row;
    for (int64_t t = 0; t < outer->tiles; t++, x += outer->v_tile, d += outer->d_tile) {
        if (t < channels) {
            fetch_near(next + t * outer->s_row);
            fetch_near(next + t * outer->s_row + FC_UNIT_BYTES / sizeof(real));
        }
        fetch_near(x + FC_UNIT_BYTES / sizeof(real));
        vreal k[TILE_VECTORS];
        FC_UNROLL (v, vectors)
            k[v] = vload(d + v * LANES);
        FC_UNROLL (c, channels)
            FC_UNROLL (v, vectors)
                sum[c][v] = vfma(vset1(x[c]), k[v], sum[c][v]);
    }
    if (outer->begin)
        winograd_add(channels, vectors, true, sum, outer->s, outer->s_row);
    else
        winograd_add(channels, vectors, false, sum, outer->s, outer->s_row);
}

#define FC_OUTER_CASE(channels)                             \
    case channels:                                          \
        if (TILE_UNITS > 1 && outer->units == 1)            \
            winograd_outers(outer, channels, UNIT_VECTORS); \
        else                                                \
            winograd_outers(outer, channels, TILE_VECTORS); \
        return;

static void winograd_outer(const struct fc_winograd_outer *outer)
{
    switch (outer->channels) {
        TILE_CASES(FC_OUTER_CASE)
    }
}

/* ------------------------------------------------------------------- forms */

#define FC_NAMED(name, mh, rh, mw, rw) name##_##mh##_##rh##_##mw##_##rw

#define FC_WINOGRAD_BODIES(mh, rh, mw, rw)                                                      \
    static void FC_NAMED(winograd_input, mh, rh, mw, rw)(const struct fc_winograd_spread *s)    \
    {                                                                                           \
        winograd_spread(s, WINOGRAD_INPUT, mh + rh - 1, mw + rw - 1, mh + rh - 1, mw + rw - 1); \
    }                                                                                           \
    static void FC_NAMED(winograd_kernel, mh, rh, mw, rw)(const struct fc_winograd_spread *s)   \
    {                                                                                           \
        winograd_spread(s, WINOGRAD_KERNEL, mh + rh - 1, mw + rw - 1, rh, rw);                  \
    }                                                                                           \
    static void FC_NAMED(winograd_dy, mh, rh, mw, rw)(const struct fc_winograd_spread *s)       \
    {                                                                                           \
        winograd_spread(s, WINOGRAD_DY, mh + rh - 1, mw + rw - 1, mh, mw);                      \
    }                                                                                           \
    static bool FC_NAMED(winograd_output, mh, rh, mw, rw)(const struct fc_winograd_gather *g)   \
    {                                                                                           \
        return winograd_gather(g, false, mh + rh - 1, mw + rw - 1, mh, mw);                     \
    }                                                                                           \
    static bool FC_NAMED(winograd_dkernel, mh, rh, mw, rw)(const struct fc_winograd_gather *g)  \
    {                                                                                           \
        return winograd_gather(g, true, mh + rh - 1, mw + rw - 1, rh, rw);                      \
    }
FC_WINOGRAD_FORMS(FC_WINOGRAD_BODIES)

#define FC_WINOGRAD_ENTRY(mh, rh, mw, rw)                 \
    {.input = FC_NAMED(winograd_input, mh, rh, mw, rw),   \
     .kernel = FC_NAMED(winograd_kernel, mh, rh, mw, rw), \
     .dy = FC_NAMED(winograd_dy, mh, rh, mw, rw),         \
     .output = FC_NAMED(winograd_output, mh, rh, mw, rw), \
     .dkernel = FC_NAMED(winograd_dkernel, mh, rh, mw, rw)},
