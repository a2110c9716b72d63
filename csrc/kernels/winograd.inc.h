/* winograd.inc.h: the products between Winograd's transforms, channels in lanes.
 *
 * The product is conv_tile's, but for its rounding, which is most of that of the whole: sums are short, a slab of
 * 16 channels, a chunk of 8 slabs, and those. It takes the rms error of F(4x4,3x3) over 64 (512) channels from
 * 7.6 (11) to 4.8 (5.6) units of 1e-7, where PyTorch's direct sum has 2.1, and costs an addition for 16
 * multiply-adds. AVX-512's tile is 7 x 2, so that the totals of the slabs stay in registers beside the sums: 9 loads
 * for 14 multiply-adds, on 14 chains. With 14 x 2, whose 28 totals go to memory and come back for every slab, 3x3
 * layers took 5 to 8 % longer on Zen 4, which stores a vector in two cycles. A panel of one unit is met by two groups
 * of tiles abreast, 15 loads for 14 multiply-adds: one by itself has 7 chains, too few for a Zen 5's two units of
 * latency 4, and 14x14 with 32 groups of 16 channels took 0.90 ms and takes 0.87. */
#include "winograd_tiles.inc.h"

/* ----------------------------------------------------------------- product */

/* Into the first-level cache, and into the second. */
FC_INLINE void fetch_near(const void *p) { __builtin_prefetch(p, 0, 3); }
FC_INLINE void fetch_far(const void *p) { __builtin_prefetch(p, 0, 2); }

/* The totals of the slabs before: in registers where there are as many as there are sums, and else in the tile's own
 * memory, at constant distances, since so many addresses would not fit the registers. */
struct winograd_totals {
    vreal of[CHAIN_PIXELS][TILE_VECTORS];
};

/* In memory the first slab writes what others add to; in registers all add to -0, which changes nothing. */
FC_INLINE void winograd_begin(const int tiles, const int vectors, struct winograd_totals *total)
{
    if (TOTALS_IN_REGISTERS)
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, vectors)
                total->of[t][v] = vset1((real)-0.0);
    else
        __asm__("" : "=m"(*total)); /* gcc does not see that what is read was written */
}

FC_INLINE void winograd_keep(const int tiles, const int vectors, const bool begin,
                             vreal sum[CHAIN_PIXELS][TILE_VECTORS], struct winograd_totals *total)
{
    FC_UNROLL (t, tiles)
        FC_UNROLL (v, vectors)
            total->of[t][v] = begin ? sum[t][v] : vadd(total->of[t][v], sum[t][v]);
    /* The compiler must not move some of them to registers, at the price of sums that it spills. */
    if (!TOTALS_IN_REGISTERS)
        __asm__ volatile("" : "+m"(*total));
}

/* Where in m vector v of a tile's sums counts: of `vectors` for each group abreast. */
FC_INLINE real *winograd_sum_at(const struct fc_winograd_product *product, const int tiles,
                                const int vectors, real *m, int t, int v)
{
    return m + (v / vectors * tiles + t) * product->m_tile + v % vectors * LANES;
}

/* To m, or added to it: the last slab with those before it. */
FC_INLINE void winograd_finish(const struct fc_winograd_product *product, const int tiles,
                               const int vectors, const int abreast,
                               vreal sum[CHAIN_PIXELS][TILE_VECTORS],
                               const struct winograd_totals *total, real *m)
{
    if (product->channels > FC_SLAB)
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, abreast * vectors)
                sum[t][v] = vadd(total->of[t][v], sum[t][v]);
    if (product->add)
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, abreast * vectors)
                sum[t][v] =
                    vadd(vload(winograd_sum_at(product, tiles, vectors, m, t, v)), sum[t][v]);
    FC_UNROLL (t, tiles)
        FC_UNROLL (v, abreast * vectors)
            vstore(winograd_sum_at(product, tiles, vectors, m, t, v), sum[t][v]);
}

/* Groups of tiles abreast, which fetch their next slabs, and with each channel a line of `next`. Two of those
 * cost 3 to 7 %: fetches from the third-level cache hold the buffers that x needs on its way from the
 * second. What is added to is asked for before the first: 4 to 8 % of the time of 3x3 layers. */
FC_INLINE void winograd_groups(const struct fc_winograd_product *product, const int tiles,
                               const int vectors, const int abreast, const real *x,
                               const real *after, const char *next, real *m)
{
    struct winograd_totals total;
    const real *u = product->u;
    const ptrdiff_t u_row = product->u_row, v_slab = product->v_slab, row = product->next_row;
    const ptrdiff_t v_group = product->v_group;
    vreal sum[CHAIN_PIXELS][TILE_VECTORS];
    if (product->add)
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, abreast * vectors)
                fetch_near(winograd_sum_at(product, tiles, vectors, m, t, v));
    winograd_begin(tiles, abreast * vectors, &total);
    for (int64_t c = 0;; x += v_slab) {
        const int64_t left = product->channels - c, end = left < FC_SLAB ? left : FC_SLAB;
        FC_UNROLL (t, tiles)
            FC_UNROLL (v, abreast * vectors)
                sum[t][v] = vzero();
        const real *ahead = left > FC_SLAB ? x + v_slab : after;
        FC_UNROLL (g, abreast)
            FC_UNROLL (t, tiles)
                fetch_near(ahead + g * v_group + t * FC_SLAB);
        for (int64_t l = 0; l < end; l++, u += u_row, next += row) {
            fetch_far(next);
            vreal k[TILE_VECTORS];
            FC_UNROLL (v, vectors)
                k[v] = vload(u + v * LANES);
            FC_UNROLL (g, abreast)
                FC_UNROLL (t, tiles)
                    FC_UNROLL (v, vectors)
                        sum[t][g * vectors + v] = vfma(vset1(x[g * v_group + t * FC_SLAB + l]),
                                                       k[v], sum[t][g * vectors + v]);
        }
        c += FC_SLAB;
        if (c >= product->channels)
            break;
        if (c == FC_SLAB && !TOTALS_IN_REGISTERS)
            winograd_keep(tiles, abreast * vectors, true, sum, &total);
        else
            winograd_keep(tiles, abreast * vectors, false, sum, &total);
    }
    winograd_finish(product, tiles, vectors, abreast, sum, &total, m);
}

/* From group i on, as many abreast as there are; returns the first that is left. */
FC_INLINE int64_t winograd_run(const struct fc_winograd_product *product, const int tiles,
                               const int vectors, const int abreast, int64_t i)
{
    const int64_t lines = product->channels * product->next_row;
    for (; i + abreast <= product->groups; i += abreast) {
        const real *x = (const real *)product->v + i * product->v_group;
        const real *after = x + abreast * product->v_group;
        winograd_groups(product, tiles, vectors, abreast, x,
                        i + abreast < product->groups ? after : (const real *)product->after,
                        (const char *)product->next + i * lines,
                        (real *)product->m + i * tiles * product->m_tile);
    }
    return i;
}

/* Groups of fewer tiles than PAIRED gain 1 % by it, and float64 nothing, for 5 KB of a wheel. */
FC_INLINE void winograd_products(const struct fc_winograd_product *product, const int tiles)
{
    enum { PAIRED = 6 };
    int64_t i = 0;
    if (TILE_UNITS > 1 && product->units == 1) {
        if (FC_REAL == 32 && tiles >= PAIRED)
            i = winograd_run(product, tiles, UNIT_VECTORS, TILE_UNITS, i);
        winograd_run(product, tiles, UNIT_VECTORS, 1, i);
    } else {
        winograd_run(product, tiles, TILE_VECTORS, 1, i);
    }
}

#define FC_PRODUCT_CASE(tiles)             \
    case tiles:                            \
        winograd_products(product, tiles); \
        return;

FC_SPILL_TO_STACK static void winograd_product(const struct fc_winograd_product *product)
{
    switch (product->tiles) {
        CHAIN_CASES(FC_PRODUCT_CASE)
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
            fetch_near(next + t * outer->s_row + UNIT);
        }
        fetch_near(x + UNIT);
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

FC_SPILL_TO_STACK static void winograd_outer(const struct fc_winograd_outer *outer)
{
    switch (outer->channels) {
        TILE_CASES(FC_OUTER_CASE)
    }
}

/* -------------------------------------------------------------- transforms */

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
    static void FC_NAMED(winograd_unscaled, mh, rh, mw, rw)(const struct fc_winograd_spread *s) \
    {                                                                                           \
        winograd_spread(s, WINOGRAD_UNSCALED_KERNEL, mh + rh - 1, mw + rw - 1, rh, rw);         \
    }                                                                                           \
    static void FC_NAMED(winograd_line, mh, rh, mw, rw)(const struct fc_winograd_spread *s)     \
    {                                                                                           \
        winograd_spread(s, WINOGRAD_UNSCALED_KERNEL, 1, mw + rw - 1, 1, rw);                    \
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
FC_WINOGRAD_TRANSFORMS(FC_WINOGRAD_BODIES)

/* What no form takes is left out: 8 points both ways in float32, and of more than 2 taps what is for pieces of 1 or
 * 2. */
#define FC_TAKEN(mh, rh, mw, rw, name) \
    (FC_REAL == 64 || mh + rh < 9 || mw + rw < 9 ? FC_NAMED(name, mh, rh, mw, rw) : NULL)

#define FC_OF_TWO(rh, name) (rh == 2 ? name : NULL)

#define FC_WINOGRAD_ENTRY(mh, rh, mw, rw)                                    \
    {.input = FC_TAKEN(mh, rh, mw, rw, winograd_input),                      \
     .kernel = FC_TAKEN(mh, rh, mw, rw, winograd_kernel),                    \
     .unscaled = FC_OF_TWO(rh, FC_NAMED(winograd_unscaled, mh, rh, mw, rw)), \
     .line = FC_OF_TWO(rh, FC_NAMED(winograd_line, mh, rh, mw, rw)),         \
     .factors = FC_OF_TWO(rh, winograd_factors_of_two),                      \
     .dy = FC_TAKEN(mh, rh, mw, rw, winograd_dy),                            \
     .output = FC_TAKEN(mh, rh, mw, rw, winograd_output),                    \
     .dkernel = FC_TAKEN(mh, rh, mw, rw, winograd_dkernel)},
