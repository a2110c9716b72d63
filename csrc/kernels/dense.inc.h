/* dense.inc.h: a few terms of a dense layer's sums, for few pixels and many columns.
 *
 * Few pixels read the kernel once, in as many streams as there are terms, each from left to right, which
 * the prefetcher follows. A step takes TILE_VECTORS loads of the kernel and a broadcast a pixel: with 8
 * pixels in AVX-512 10 loads for 16 multiply-adds, 8 cycles for 128 bytes, twice what memory gives
 * one core. The chains wait in memory between the terms: 16 terms a call make that a load and a
 * store for 16 multiply-adds. A full tile is conv_tile's, with the same base pointers; through the
 * elaborate end alone partial sums and a bias cost 8 % of the time, and columns that fill no vector 8 % of
 * 400 -> 120 and a fifth of 84 -> 10. */

/* The elaborate end, activation(sum + bias + residual) as finish_vector has it: from memory, so that it is
 * one body instead of one for each size of tile. Of the vectors `columns` columns are there. */
static __attribute__((noinline)) void dense_end(const struct fc_dense_tile *tile, const real *sums,
                                                int64_t k, int vectors, int columns)
{
    for (int p = 0; p < tile->pixels; p++)
        for (int v = 0; v < vectors; v++, sums += LANES) {
            const int left = columns - v * LANES, lanes = left < LANES ? left : LANES;
            const int64_t at = k + v * LANES;
            vreal sum = vload(sums);
            if (tile->bias)
                sum = vadd(sum, vload_first((const real *)tile->bias + at, lanes));
            if (tile->residual) {
                const real *residual = (const real *)tile->residual + p * tile->residual_step;
                sum = vadd(sum, vload_first(residual + at, lanes));
            }
            vstore_first((real *)tile->y + p * tile->y_step + at, activate(sum, tile->activation),
                         lanes);
        }
}

/* sum + partial, and the bias where nothing else is left to do, of which the last vector has `last` lanes. */
FC_INLINE void dense_add(const struct fc_dense_tile *tile, int64_t k, const int pixels,
                         const int vectors, bool bias, int last,
                         vreal sum[TILE_PIXELS][TILE_VECTORS])
{
    const real *partial = (const real *)tile->partial + (tile->partial ? k : 0);
    if (tile->partial)
        FC_UNROLL (p, pixels) {
            FC_UNROLL (v, vectors)
                sum[p][v] = vadd(sum[p][v], vload(partial + v * LANES));
            partial += tile->partial_step;
        }
    if (bias)
        FC_UNROLL (v, vectors) {
            const vreal row = vload_first((const real *)tile->bias + k + v * LANES,
                                          v + 1 < vectors ? LANES : last);
            FC_UNROLL (p, pixels)
                sum[p][v] = vadd(sum[p][v], row);
        }
}

/* Columns from k on, `columns` of the vectors'. */
FC_INLINE void dense_sums(const struct fc_dense_tile *tile, int64_t k, const int pixels,
                          const int vectors, const bool whole, int columns)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    real *chain = (real *)tile->chain + k;
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            sum[p][v] = tile->begins ? vzero() : vload(chain + p * tile->chain_step + v * LANES);

    const real *x = tile->x, *kernel = (const real *)tile->kernel + k;
    const ptrdiff_t x_step = tile->x_step, kernel_step = tile->kernel_step;
    const real *base[5] = {x, x + 3 * x_step, x + 6 * x_step, x + 9 * x_step, x + 12 * x_step};
    const int last = columns - (vectors - 1) * LANES;
    for (int64_t l = 0; l < tile->terms; l++, kernel += kernel_step) {
        vreal row[TILE_VECTORS];
        FC_UNROLL (v, vectors)
            row[v] = whole || v + 1 < vectors ? vload(kernel + v * LANES)
                                              : vload_first(kernel + v * LANES, last);
        FC_UNROLL (p, pixels) {
            const vreal a = vset1(base[p / 3][p % 3 * x_step + l]);
            FC_UNROLL (v, vectors)
                sum[p][v] = vfma(a, row[v], sum[p][v]);
        }
    }

    /* To the chain, to y, or to the elaborate end: by the same stores. */
    real sums[TILE_PIXELS * TILE_VECTORS * LANES], *to = chain;
    ptrdiff_t step = tile->chain_step;
    const bool ends = tile->ends;
    const bool elaborate = ends && (tile->residual || tile->activation != FC_LINEAR);
    if (ends) {
        dense_add(tile, k, pixels, vectors, tile->bias && !elaborate, last, sum);
        to = elaborate ? sums : (real *)tile->y + k;
        step = elaborate ? vectors * LANES : tile->y_step;
    }
    const int stored = ends && !elaborate ? last : LANES;
    FC_UNROLL (p, pixels) {
        FC_UNROLL (v, vectors)
            if (whole || v + 1 < vectors)
                vstore(to + v * LANES, sum[p][v]);
            else
                vstore_first(to + v * LANES, sum[p][v], stored);
        to += step;
    }
    if (elaborate)
        dense_end(tile, sums, k, vectors, columns);
}

FC_INLINE void dense_columns(const struct fc_dense_tile *tile, const int pixels)
{
    enum { MOST = TILE_VECTORS * LANES };
    int64_t k = 0;
    for (; k + MOST <= tile->columns; k += MOST)
        dense_sums(tile, k, pixels, TILE_VECTORS, true, MOST);
    const int left = (int)(tile->columns - k);
    if (left > MOST - LANES)
        dense_sums(tile, k, pixels, TILE_VECTORS, false, left);
    else
        for (; k < tile->columns; k += LANES) {
            const int64_t rest = tile->columns - k;
            dense_sums(tile, k, pixels, 1, false, (int)(rest < LANES ? rest : LANES));
        }
}

#define FC_DENSE_CASE(pixels)        \
    case pixels:                     \
        dense_columns(tile, pixels); \
        return;

static void dense_tile(const struct fc_dense_tile *tile)
{
    switch (tile->pixels) {
        TILE_CASES(FC_DENSE_CASE)
    }
}

/* How far ahead of a square lines are asked for: those of the next columns where rows are shorter than a page,
 * and end before a prefetcher has caught up with them. 8 rows of 1000 to 2048 took 0.51 ms and take 0.48, of
 * 256 to 8192 0.61 and 0.47. From a page on it would cost 3 to 6 %. Two bodies, each with its distance, were
 * no faster. */
FC_INLINE ptrdiff_t turned_ahead(ptrdiff_t kernel_step)
{
    enum { AHEAD = 512 / (int)sizeof(real), PAGE = 4096 / (int)sizeof(real) };
    return (size_t)kernel_step < PAGE ? LANES * kernel_step : AHEAD;
}

/* Terms [l, l + count) of the columns from k on, a vector each. Beyond the columns they are the last
 * one's again, for lanes that are not stored. */
FC_INLINE void turn_square(const struct fc_dense_tile *tile, int64_t k, int64_t l, int lanes,
                           int count, vreal a[LANES])
{
    const ptrdiff_t ahead = turned_ahead(tile->kernel_step);
    const real *row = (const real *)tile->kernel + l + k * tile->kernel_step;
    FC_UNROLL (i, LANES) {
        __builtin_prefetch(row + ahead);
        a[i] = count == LANES ? vload(row) : vload_first(row, count);
        row += i + 1 < lanes ? tile->kernel_step : 0;
    }
    transpose(a);
}

/* The last terms, fewer than a square has, in memory. */
static __attribute__((noinline)) void turn_rest(const struct fc_dense_tile *tile, int64_t k,
                                                int64_t l, int lanes, real *square)
{
    vreal a[LANES];
    turn_square(tile, k, l, lanes, (int)(tile->terms - l), a);
    FC_UNROLL (j, LANES)
        vstore(square + j * LANES, a[j]);
}

/* A vector of columns, whose terms lie together: LANES x LANES squares of the kernel are transposed on
 * their way. With 8 pixels in AVX-512 a square of 1 KB takes 64 shuffles on one port and 128 multiply-
 * adds on two, 96 cycles: 40 GB/s of kernel, beyond what memory gives. Transposed panels in memory gave
 * 15, and squares turned in the nearest cache for dense_tile took 0.54 ms where this takes 0.44 (8 x 1000
 * to 2048).
 *
 * Up to 4 pixels take no longer than the shuffles, so three sizes of tile serve all: what is missing of
 * one repeats the last pixel. */
FC_INLINE void turned_sums(const struct fc_dense_tile *tile, int64_t k, const int pixels)
{
    const int64_t left = tile->columns - k;
    const int lanes = left < LANES ? (int)left : LANES;
    const real *x[TILE_PIXELS];
    vreal sum[TILE_PIXELS];
    FC_UNROLL (p, pixels) {
        sum[p] = vzero();
        x[p] = (const real *)tile->x + (p < tile->pixels ? p : tile->pixels - 1) * tile->x_step;
    }
    int64_t l = 0;
    for (; l + LANES <= tile->terms; l += LANES) {
        vreal a[LANES];
        turn_square(tile, k, l, lanes, LANES, a);
        FC_UNROLL (j, LANES)
            FC_UNROLL (p, pixels)
                sum[p] = vfma(vset1(x[p][l + j]), a[j], sum[p]);
    }
    real rest[LANES * LANES], sums[TILE_PIXELS * LANES];
    if (l < tile->terms)
        turn_rest(tile, k, l, lanes, rest);
    for (const real *row = rest; l < tile->terms; l++, row += LANES)
        FC_UNROLL (p, pixels)
            sum[p] = vfma(vset1(x[p][l]), vload(row), sum[p]);
    const real *partial = tile->partial;
    FC_UNROLL (p, pixels)
        vstore(sums + p * LANES, sum[p]);
    for (int p = 0; p < tile->pixels && partial; p++, partial += tile->partial_step)
        vstore(sums + p * LANES, vadd(vload(sums + p * LANES), vload(partial + k)));
    dense_end(tile, sums, k, 1, lanes);
}

static void turned_dense_tile(const struct fc_dense_tile *tile)
{
    enum { FEW = (TILE_PIXELS + 3) / 4, HALF = TILE_PIXELS / 2 + 1 };
    for (int64_t k = 0; k < tile->columns; k += LANES)
        if (tile->pixels <= FEW)
            turned_sums(tile, k, FEW);
        else if (tile->pixels <= HALF)
            turned_sums(tile, k, HALF);
        else
            turned_sums(tile, k, TILE_PIXELS);
}
