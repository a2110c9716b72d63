/* winograd_few.inc.h: Winograd's algorithm along rows, outputs in the lanes and a tile's points in registers.
 *
 * Where registers are 32 and a unit of outputs is one vector, the sums are points x tiles accumulators, 6 x 5: for
 * each channel a vector of the kernel is loaded for a point and meets that point of 5 tiles, 6 loads and 30
 * broadcasts, which multiply-adds take from memory, for 30 of these. Elsewhere they are two points x 3 tiles x the
 * vectors of a unit, 2 loads and 3 broadcasts for 6 multiply-adds in AVX2, 4 and 3 for 12 in NEON, and the sums
 * of the other points wait in the nearest cache: with all points of 2 tiles in 12 accumulators there are 3 loads for
 * 2 multiply-adds, and AVX2 took 1.1 to 1.35 times as long as direct sums. What follows is 13 additions and 4
 * stores a tile and vector. */

enum {
    FEW_WHOLE = UNIT_VECTORS == 1,
    FEW_SUMS = TILE_PIXELS * TILE_VECTORS + 2 * FEW_WHOLE /* of the registers */
};
/* Points that are summed at once, and tiles side by side. */
#define FEW_POINTS(points) (FEW_WHOLE ? (points) : 2)
#define FEW_TILES(points) (FEW_SUMS / (FEW_POINTS(points) * UNIT_VECTORS))
_Static_assert(FEW_TILES(6) <= FC_WINOGRAD_FEW_MOST_TILES, "places are listed for as many");

/* ------------------------------------------------------------------ kernel */

FC_INLINE void few_kernel(const struct fc_winograd_few_taps *taps, const int points,
                          const int count)
{
    real staged[5 * UNIT] = {0};
    for (int i = 0; i < count - taps->lacks; i++)
        for (int64_t k = 0; k < taps->outputs; k++)
            staged[i * UNIT + k] = ((const real *)taps->kernel)[i * taps->tap + k * taps->output];
    vreal from[5], to[WINOGRAD_MOST_POINTS];
    for (int v = 0; v < UNIT; v += LANES) {
        FC_UNROLL (i, count)
            from[i] = vload(staged + i * UNIT + v);
        winograd_evaluate(points, count, true, from, to);
        for (int i = 0; i < points - taps->lacks; i++)
            vstore((real *)taps->u + i * UNIT + v, to[i]);
    }
}

static void winograd_few_kernel(const struct fc_winograd_few_taps *taps)
{
    if (taps->taps == 3)
        few_kernel(taps, 6, 3);
    else if (taps->taps == 4)
        few_kernel(taps, 7, 4);
    else if (taps->points == 6)
        few_kernel(taps, 6, 5);
    else
        few_kernel(taps, 8, 5);
}

/* --------------------------------------------------------------------- row */

#define FEW_ROW_BYTES 16
#include "winograd_few_row.inc.h"
#define FEW_ROW_BYTES 32
#include "winograd_few_row.inc.h"

FC_INLINE void few_row(const struct fc_winograd_few_row *row, const int points)
{
    const int64_t last = (row->run - 1) % (32 / (int64_t)sizeof(real));
    if (last >= 16 / (int64_t)sizeof(real))
        few_row_32(row, points);
    else
        few_row_16(row, points);
}

static void winograd_few_row(const struct fc_winograd_few_row *row)
{
    FC_ALONG_ROWS(few_row, row, row->points);
}

/* ------------------------------------------------------------------- tiles */

/* The sums of a point, tile and vector. */
typedef vreal few_sum[FC_WINOGRAD_FEW_MOST_TILES][UNIT_VECTORS];

/* One term of `count` points from `first` on. */
FC_INLINE void few_term(const real *u, const int first, const int count, const int tiles,
                        ptrdiff_t v_point, const real *v[FC_WINOGRAD_FEW_MOST_TILES], few_sum *sum)
{
    FC_UNROLL (i, count) {
        vreal k[UNIT_VECTORS];
        FC_UNROLL (j, UNIT_VECTORS)
            k[j] = vload(u + ((first + i) * UNIT_VECTORS + j) * LANES);
        FC_UNROLL (t, tiles) {
            const vreal a = vset1(v[t][(first + i) * v_point]);
            FC_UNROLL (j, UNIT_VECTORS)
                sum[i][t][j] = vfma(a, k[j], sum[i][t][j]);
        }
    }
    FC_UNROLL (t, tiles)
        v[t]++;
}

/* The sums of `count` points from `first` on. */
FC_INLINE void few_sums(const struct fc_winograd_few_tiles *few,
                        const struct fc_winograd_few_place *places, const int points,
                        const int first, const int count, few_sum *sum)
{
    const int tiles = FEW_TILES(points);
    const int rest = first + count < points ? count : count - 1; /* of those that lack the last */
    const real *v[FC_WINOGRAD_FEW_MOST_TILES], *u = few->u;
    FC_UNROLL (i, count)
        FC_UNROLL (t, tiles)
            FC_UNROLL (j, UNIT_VECTORS)
                sum[i][t][j] = vzero();
    for (int64_t row = 0; row < few->rows; row++) {
        FC_UNROLL (t, tiles)
            v[t] = (const real *)places[t].v + row * few->v_row;
        for (int64_t l = few->full; l > 0; l--, u += points * UNIT)
            few_term(u, first, count, tiles, few->v_point, v, sum);
        for (int64_t l = few->run - few->full; l > 0; l--, u += (points - 1) * UNIT)
            few_term(u, first, rest, tiles, few->v_point, v, sum);
    }
}

/* A tile's outputs, from the sums at its points: in registers, or those that wait. Both halves of a line are stored
 * one after the other, past the caches too. */
FC_INLINE void few_outputs(const struct fc_winograd_few_tiles *few, const int points,
                           const int count, const int t, const few_sum *sum, const real *waiting,
                           const struct fc_winograd_few_place *place,
                           const struct winograd_end end[UNIT_VECTORS])
{
    vreal from[WINOGRAD_MOST_POINTS], to[UNIT_VECTORS][WINOGRAD_MOST_POINTS], check = vzero();
    FC_UNROLL (j, UNIT_VECTORS) {
        FC_UNROLL (i, points)
            from[i] =
                sum ? sum[i][t][j]
                    : vload(waiting + ((i * FEW_TILES(points) + t) * UNIT_VECTORS + j) * LANES);
        winograd_sums(points, count, false, from, to[j]);
    }
    real *y = (real *)place->y + few->first;
    FC_UNROLL (i, count)
        FC_UNROLL (j, UNIT_VECTORS) {
            check = vfma(vzero(), to[j][i], check);
            const vreal out = winograd_bounded(&end[j], vadd(to[j][i], end[j].bias));
            if (few->stream)
                vstream(y + i * few->y_column + j * LANES, out);
            else
                vstore(y + i * few->y_column + j * LANES, out);
        }
    const vmask bad = visnan(check);
    if (vany(bad, bad))
        __atomic_store_n(place->bad, 1, __ATOMIC_RELAXED); /* blocks of a row have the same */
}

/* The sums that wait for those of other points. */
FC_INLINE void few_store(const int count, const int tiles, const few_sum *sum, real *to)
{
    FC_UNROLL (i, count)
        FC_UNROLL (t, tiles)
            FC_UNROLL (j, UNIT_VECTORS)
                vstore(to + ((i * tiles + t) * UNIT_VECTORS + j) * LANES, sum[i][t][j]);
}

/* All outputs of a few tiles. */
FC_INLINE void few_finish(const struct fc_winograd_few_tiles *few,
                          const struct fc_winograd_few_place *places, const int points,
                          const int count, const few_sum *sum, const real *waiting)
{
    const bool linear = few->activation == FC_LINEAR, six = few->activation == FC_RELU6;
    struct winograd_end end[UNIT_VECTORS];
    FC_UNROLL (j, UNIT_VECTORS) {
        end[j].bias = few->bias ? vload((const real *)few->bias + j * LANES) : vset1((real)-0.0);
        end[j].least = vset1(linear ? -(real)INFINITY : 0);
        end[j].most = vset1(six ? 6 : (real)INFINITY);
    }
    FC_UNROLL (t, FEW_TILES(points))
        few_outputs(few, points, count, t, sum, waiting, places + t, end);
}

/* Called, so that its constants leave the registers to the sums: else AVX2 loaded the kernel for each of them. */
static __attribute__((noinline)) void few_finish_waiting(const struct fc_winograd_few_tiles *few,
                                                         const struct fc_winograd_few_place *places,
                                                         const real *waiting)
{
    if (few->taps == 3)
        few_finish(few, places, 6, 4, NULL, waiting);
    else if (few->taps == 4)
        few_finish(few, places, 7, 4, NULL, waiting);
    else
        few_finish(few, places, 6, 2, NULL, waiting);
}

FC_INLINE void few_tiles(const struct fc_winograd_few_tiles *few, const int points, const int count)
{
    const int tiles = FEW_TILES(points);
    few_sum sum[WINOGRAD_MOST_POINTS];
    real waiting[WINOGRAD_MOST_POINTS * FC_WINOGRAD_FEW_MOST_TILES * UNIT];
    for (int64_t p = 0; p < few->count; p += tiles) {
        const struct fc_winograd_few_place *places = few->places + p;
        FC_UNROLL (g, (points + FEW_POINTS(points) - 1) / FEW_POINTS(points)) {
            const int first = g * FEW_POINTS(points), left = points - first;
            const int some = left < FEW_POINTS(points) ? left : FEW_POINTS(points);
            few_sums(few, places, points, first, some, sum);
            if (!FEW_WHOLE)
                few_store(some, tiles, sum, waiting + first * tiles * UNIT);
        }
        if (FEW_WHOLE)
            few_finish(few, places, points, count, sum, NULL);
        else
            few_finish_waiting(few, places, waiting);
    }
}

FC_SPILL_TO_STACK static void winograd_few_tile(const struct fc_winograd_few_tiles *few)
{
    if (few->taps == 3)
        few_tiles(few, 6, 4);
    else if (few->taps == 4)
        few_tiles(few, 7, 4);
    else
        few_tiles(few, 6, 2);
}
