/* conv_tile.inc.h: a tile of outputs in registers, the heart of every convolution.
 *
 *   sum(p, k) = sum over runs r, elements l of
 *               x[offset[r] + p * step + l] * kernel[kernel_offset[r] + l * kernel_step + k]
 *
 * conv_tile broadcasts x and vectorises over k: no sum is ever split over lanes, so the bits do not
 * depend on the vector width. lane_tile (depthwise, narrow groups) has one channel of x a lane.
 *
 * The tile is TILE_PIXELS x TILE_VECTORS accumulators, chosen where the vocabulary is defined. For
 * AVX-512's 14 x 2, each step of l takes 2 loads of the kernel and 14 broadcasts for 28 multiply-
 * adds: 16 loads in the 14 cycles in which two ports issue 28 FMAs and two more 28 loads, so the FMA
 * ports are the limit; 28 chains cover the latency of 4 cycles on 2 ports three times over. The
 * kernel streams 128 bytes in 14 cycles, 9 a cycle, which the second-level cache sustains. Its rows are
 * asked for 512 bytes ahead all the same: 1 to 4 % of the time (3x3 of strides 2, tiles of 9 to 12 pixels, 728
 * channels), nothing where runs have 16 terms. To ask for the next run's x as well made no difference.
 *
 * A pixel's address is one of five base pointers plus 0, 1 or 2 steps, all of which x86 folds into
 * the load: with a pointer a pixel the 14 would spill, one more load each.
 *
 * A sum of many terms is several chains. A tile for each chain takes 100 to 270 cycles more than its
 * arithmetic, where a chain takes 1800: 85 % of the peak; inside of one tile, whose total waits in the nearest
 * cache, 28 loads, additions and stores a chain, 60 to 100, and 95 %. Where chains are several, AVX-512 takes
 * tiles of 7 x 2, whose totals stay in registers: 9 loads for 14 multiply-adds, on 14 chains, and the kernel
 * streams twice as fast, 18 bytes a cycle. On Zen 4 1x1 layers of 4 to 16 chains take 2 to 5 % less so.
 * Stores to lines that lie in memory cost as much as a tile's start and end again (555 cycles for 64 terms), unless
 * the lines are asked for when the last chain begins (271).
 *
 * Where a row has half as many pixels as a tile, or so many that the last tile would be half empty,
 * a tile takes the same columns of two rows, each with three base pointers. A 7 x 2 tile would keep
 * the ports as busy, but each tile pays some 60 cycles in which they are not, for its start and its
 * end, and reads the kernel anew: 7 x 7 maps reach 91 % of the peak with two rows, 85 % with one. */
#include "conv_end.inc.h"

enum { TOTALS_IN_REGISTERS = CHAIN_PIXELS < TILE_PIXELS, NEAR_BYTES = 512 };
_Static_assert((TILE_PIXELS)*TILE_UNITS <= FC_TILE_UNITS, "the total of a tile has room");

/* The next run's, or row's, share. Each is where the one before ended: with the address of run r anew from r, for
 * which no register is left, a tile of 27 terms took 6 cycles more of 198 on Zen 4. */
FC_INLINE void fetch_lines(struct fc_fetch ahead[2])
{
    for (int i = 0; i < 2; i++) {
        int64_t lines = ahead[i].lines;
        if (lines <= 0)
            continue;
        const char *at = ahead[i].at;
        const ptrdiff_t step = ahead[i].step;
        for (; lines > 0; lines--, at += step)
            __builtin_prefetch(at, 0, 2);
        ahead[i].at = at;
    }
}

/* The lines of y are asked for while the sums are made, so that its stores need not wait for them. */
FC_INLINE void fetch_y(const struct fc_tile *tile, const int pixels, const int half,
                       const int vectors)
{
    const ptrdiff_t step = tile->y_step;
    const real *y = tile->y, *second = y + tile->y_second;
    FC_UNROLL (p, pixels) {
        if (p == half)
            y = second;
        for (int unit = 0; unit < vectors; unit += UNIT_VECTORS)
            __builtin_prefetch(y + unit * LANES, 1);
        y += step;
    }
}

/* What follows in the kernel, four rows of a panel on, into the nearest cache. */
FC_INLINE void fetch_kernel(const real *kernel, const int vectors)
{
    for (int unit = 0; unit < vectors; unit += UNIT_VECTORS)
        __builtin_prefetch((const char *)(kernel + unit * LANES) + NEAR_BYTES);
}

FC_INLINE void add_partial(const struct fc_tile *tile, const int pixels, const int half,
                           const int vectors, vreal sum[SUM_PIXELS][TILE_VECTORS])
{
    const ptrdiff_t step = tile->partial_step;
    const real *partial = tile->partial, *second = partial + tile->partial_second;
    FC_UNROLL (p, pixels) {
        if (p == half)
            partial = second;
        FC_UNROLL (v, vectors)
            sum[p][v] = vadd(sum[p][v], vload(partial + v * LANES));
        partial += step;
    }
}

/* Where the totals of chains have registers: what they begin with, so that every chain is added alike. */
FC_INLINE void begin_totals(const struct fc_tile *tile, const int pixels, const int half,
                            const int vectors, vreal total[SUM_PIXELS][TILE_VECTORS])
{
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            total[p][v] = vset1((real)-0.0);
    if (tile->partial)
        add_partial(tile, pixels, half, vectors, total);
}

/* The total of the chains so far, in the nearest cache while the next one is summed. */
FC_INLINE void add_total(const real *total, const int pixels, const int vectors,
                         vreal sum[SUM_PIXELS][TILE_VECTORS])
{
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            sum[p][v] = vadd(sum[p][v], vload(total + (p * vectors + v) * LANES));
}

/* The sums of a chain and of those before it, in registers or near memory; partial sums come to those of the first,
 * or where totals have registers before it. */
FC_INLINE void join_chains(const struct fc_tile *tile, const bool kept, const bool first,
                           const bool last, const int pixels, const int half, const int vectors,
                           vreal sum[SUM_PIXELS][TILE_VECTORS],
                           vreal kept_total[SUM_PIXELS][TILE_VECTORS])
{
    real *total = tile->total;
    if (kept && (!first || !last || tile->partial))
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                sum[p][v] = kept_total[p][v] = vadd(sum[p][v], kept_total[p][v]);
    else if (!kept && !first)
        add_total(total, pixels, vectors, sum);
    else if (!kept && tile->partial)
        add_partial(tile, pixels, half, vectors, sum);
    if (!kept && !last)
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                vstore(total + (p * vectors + v) * LANES, sum[p][v]);
}

/* half: the pixels of the first row, all of them where there is no second. */
FC_INLINE void conv_sums(struct fc_tile *tile, const bool lanes, const int pixels, const int half,
                         const int vectors, const bool narrow)
{
    const int whole = narrow ? vectors - 1 : vectors; /* vectors, and half of one */
    const bool kept = TOTALS_IN_REGISTERS && pixels * vectors <= CHAIN_PIXELS * TILE_VECTORS;
    const bool streams = !lanes && !narrow && streams_tile(pixels, vectors);
    vreal sum[SUM_PIXELS][TILE_VECTORS], kept_total[SUM_PIXELS][TILE_VECTORS];
    vhalf low[SUM_PIXELS];
    const struct fc_chain *chain = tile->chains;
    if (kept)
        begin_totals(tile, pixels, half, vectors, kept_total);
    for (int64_t r = 0;; chain++) {
        FC_AGAIN(tile);
        if ((lanes || chain == tile->chains + tile->chain_count - 1) && !(streams && tile->stream))
            fetch_y(tile, pixels, half, vectors);
        const int64_t length = lanes ? 1 : chain->length;
        FC_UNROLL (p, pixels) {
            FC_UNROLL (v, whole)
                sum[p][v] = vzero();
            low[p] = vlow(vzero());
        }
        for (; r < (lanes ? tile->runs.count : chain->end); r++) {
            FC_AGAIN(tile);
            if (!lanes)
                fetch_lines(tile->ahead);
            const ptrdiff_t step = tile->runs.step;
            const real *x = (const real *)tile->x + tile->runs.offset[r];
            const real *second = half < pixels ? x + tile->x_second : x + 9 * step;
            const real *base[6] = {x,      x + 3 * step,      x + 6 * step,
                                   second, second + 3 * step, second + 6 * step};
            FC_AGAIN(tile);
            const ptrdiff_t kernel_step = tile->kernel_step;
            const real *kernel = (const real *)tile->kernel + tile->runs.kernel_offset[r];
            for (int64_t l = 0; l < length; l++, kernel += kernel_step) {
                if (!lanes)
                    fetch_kernel(kernel, vectors);
                vreal k[TILE_VECTORS];
                FC_UNROLL (v, whole)
                    k[v] = vload(kernel + v * LANES);
                const vhalf rest = narrow ? vload_half(kernel + whole * LANES) : vlow(vzero());
                FC_UNROLL (p, pixels) {
                    const int q = half < pixels && p >= half ? p - half + 9 : p;
                    const real *pixel = base[q / 3] + q % 3 * step + l;
                    FC_UNROLL (v, whole)
                        sum[p][v] =
                            vfma(lanes ? vload(pixel + v * LANES) : vset1(*pixel), k[v], sum[p][v]);
                    if (narrow)
                        low[p] = vfma_half(whole ? vlow(vset1(*pixel)) : vset1_half(*pixel), rest,
                                           low[p]);
                }
            }
        }
        if (narrow)
            FC_UNROLL (p, pixels)
                sum[p][whole] = vwiden(low[p]);
        FC_AGAIN(tile);
        const bool last = lanes || chain == tile->chains + tile->chain_count - 1;
        join_chains(tile, kept, lanes || chain == tile->chains, last, pixels, half, vectors, sum,
                    kept_total);
        if (last)
            break;
    }
    finish_tile(tile, streams && tile->stream, narrow, pixels, half, vectors, sum);
}

/* What row r of x adds to the first row of outputs, to the second, or to both: `vectors` of the sums, from
 * `first` on. */
FC_INLINE void shared_run(struct fc_tile *tile, int64_t r, const int first, const int vectors,
                          const int pixels, vreal sum[SUM_PIXELS][TILE_VECTORS])
{
    const struct fc_runs *runs = &tile->runs;
    const int64_t length = tile->chains->length;
    const int64_t of_first = r < runs->count ? r : r - 1, of_second = r > 0 ? r - 1 : 0;
    const ptrdiff_t step = runs->step, kernel_step = tile->kernel_step;
    const real *x = (const real *)tile->x + runs->offset[of_first];
    if (of_first < r)
        x += tile->x_second;
    const real *base[5] = {x, x + 3 * step, x + 6 * step, x + 9 * step, x + 12 * step};
    const real *kernel = tile->kernel;
    const real *rows[2] = {kernel + runs->kernel_offset[of_first],
                           kernel + runs->kernel_offset[of_second]};
    if (of_first == r)
        fetch_lines(tile->ahead);
    for (int64_t l = 0; l < length; l++) {
        vreal k[TILE_VECTORS];
        FC_UNROLL (v, vectors)
            k[v] = vload(rows[(first + v) / UNIT_VECTORS] + (first + v) % UNIT_VECTORS * LANES +
                         l * kernel_step);
        FC_UNROLL (p, pixels) {
            const vreal a = vset1(base[p / 3][p % 3 * step + l]);
            FC_UNROLL (v, vectors)
                sum[p][first + v] = vfma(a, k[v], sum[p][first + v]);
        }
    }
}

/* Two rows of one unit: each number of a row of x that both read is loaded once for two multiply-adds, P + 2
 * loads for 2 x P, where a row alone takes P + 1 for P and is bound by them. */
FC_INLINE void shared_sums(struct fc_tile *tile, const int pixels)
{
    enum { BOTH = TILE_UNITS > 1 ? 2 * UNIT_VECTORS : UNIT_VECTORS };
    vreal both[SUM_PIXELS][TILE_VECTORS], sum[SUM_PIXELS][TILE_VECTORS];
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, BOTH)
            both[p][v] = vzero();
    fetch_y(tile, 2 * pixels, pixels, UNIT_VECTORS);
    shared_run(tile, 0, 0, UNIT_VECTORS, pixels, both);
    for (int64_t r = 1; r < tile->runs.count; r++)
        shared_run(tile, r, 0, BOTH, pixels, both);
    shared_run(tile, tile->runs.count, BOTH - UNIT_VECTORS, UNIT_VECTORS, pixels, both);
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, UNIT_VECTORS) {
            sum[p][v] = both[p][v];
            sum[pixels + p][v] = both[p][BOTH - UNIT_VECTORS + v];
        }
    if (tile->partial)
        add_partial(tile, 2 * pixels, pixels, UNIT_VECTORS, sum);
    finish_tile(tile, false, false, 2 * pixels, pixels, UNIT_VECTORS, sum);
}

/* The same body for each number of pixels, so that a ragged row costs no more than its pixels. */
#define FC_TILE_CASE(lanes, key, pixels)                              \
    case key:                                                         \
        if (TILE_UNITS > 1 && tile->units == 1)                       \
            conv_sums(tile, lanes, pixels, key, UNIT_VECTORS, false); \
        else                                                          \
            conv_sums(tile, lanes, pixels, key, TILE_VECTORS, false); \
        return;
#define FC_CONV_CASE(pixels) FC_TILE_CASE(false, pixels, pixels)
#define FC_PAIR_CASE(half) FC_TILE_CASE(false, half, 2 * (half))
#define FC_LANE_CASE(pixels) FC_TILE_CASE(true, pixels, pixels)

enum {
    NARROW = HALVES || UNIT_VECTORS > 1,
    NARROW_VECTORS = HALVES ? TILE_VECTORS : TILE_VECTORS - UNIT_VECTORS / 2
};

/* Whether there is a body that leaves out half of the last unit: of whole tiles alone, as most are. 512 to 24 channels
 * at 14x14 took 0.45 ms on Zen 4 and take 0.39, 240 to 40 at 28x28 1.31 and 1.15. */
FC_INLINE bool is_narrow(const struct fc_tile *tile)
{
    const int pixels = tile->pixels;
    return NARROW && tile->narrow &&
           (pixels == TILE_PIXELS || (pixels == CHAIN_PIXELS && tile->units == TILE_UNITS));
}

FC_SPILL_TO_STACK static __attribute__((noinline)) void conv_narrow(struct fc_tile *tile)
{
    if (TILE_UNITS > 1 && tile->units == 1)
        conv_sums(tile, false, TILE_PIXELS, TILE_PIXELS, UNIT_VECTORS, HALVES);
    else if (CHAIN_PIXELS == TILE_PIXELS || tile->pixels == TILE_PIXELS)
        conv_sums(tile, false, TILE_PIXELS, TILE_PIXELS, NARROW_VECTORS, HALVES);
    else
        conv_sums(tile, false, CHAIN_PIXELS, CHAIN_PIXELS, NARROW_VECTORS, HALVES);
}

FC_SPILL_TO_STACK static void conv_tile(struct fc_tile *tile)
{
    if (is_narrow(tile)) {
        conv_narrow(tile);
        return;
    }
    switch (tile->pixels) {
        TILE_CASES(FC_CONV_CASE)
    }
}

FC_SPILL_TO_STACK static void conv_pair(struct fc_tile *tile)
{
    switch (tile->pixels / 2) {
        PAIR_CASES(FC_PAIR_CASE)
    }
}

#define FC_SHARED_CASE(pixels)     \
    case pixels:                   \
        shared_sums(tile, pixels); \
        return;

FC_SPILL_TO_STACK static void conv_shared(struct fc_tile *tile)
{
    if (TILE_UNITS > 1)
        switch (tile->pixels / 2) {
            TILE_CASES(FC_SHARED_CASE)
        }
}

FC_SPILL_TO_STACK static void lane_tile(struct fc_tile *tile)
{
    switch (tile->pixels) {
        TILE_CASES(FC_LANE_CASE)
    }
}
