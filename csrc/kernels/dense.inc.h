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

FC_INLINE void dense_add(const real *partial, ptrdiff_t step, const int pixels, const int vectors,
                         vreal sum[TILE_PIXELS][TILE_VECTORS])
{
    FC_UNROLL (p, pixels) {
        FC_UNROLL (v, vectors)
            sum[p][v] = vadd(sum[p][v], vload(partial + v * LANES));
        partial += step;
    }
}

/* Of the bias' last vector there are `last` lanes. */
FC_INLINE void dense_bias(const real *bias, const int pixels, const int vectors, int last,
                          vreal sum[TILE_PIXELS][TILE_VECTORS])
{
    FC_UNROLL (v, vectors) {
        const vreal row = vload_first(bias + v * LANES, v + 1 < vectors ? LANES : last);
        FC_UNROLL (p, pixels)
            sum[p][v] = vadd(sum[p][v], row);
    }
}

/* What is asked for at column k with the first term, and *step further with each after it, into the second-level
 * cache: columns further on in the tile's rows, and near their end of the next tile's, or a piece of one of those. A
 * stream ends after 4 KB, where a prefetcher begins anew, and 16 of them take its notice from each other. On Zen 4 8
 * rows of 4096 to 4096 took 4.35 ms and take 3.2, to 4112, where rows begin amid lines, 8.4 and 3.6. As good with 2 or
 * 3 KB; to the nearest cache, which the lines of 16 rows do not fit where they are 4 KB apart, 5.1 ms. */
FC_INLINE const real *dense_next(const struct fc_dense_tile *tile, int64_t k, ptrdiff_t *step)
{
    enum { AHEAD = 1024 / (int)sizeof(real), MOST = TILE_VECTORS * LANES };
    const real *kernel = tile->kernel;
    *step = tile->kernel_step;
    if (tile->next == 0)
        return kernel + k;
    if (tile->pieces == 0)
        return kernel + k +
               (k + AHEAD < tile->columns ? AHEAD : tile->next + AHEAD - tile->columns);
    const uint32_t at = (uint32_t)k / MOST, pieces = (uint32_t)tile->pieces;
    *step = MOST;
    return kernel + tile->next + at / pieces * tile->kernel_step + at % pieces * tile->terms * MOST;
}

/* Terms [begin, begin + terms) of the columns from k on, to the sums; the last vector has `last` of them. */
FC_INLINE void dense_terms(const struct fc_dense_tile *tile, int64_t k, int64_t begin,
                           int64_t terms, const int pixels, const int vectors, const bool whole,
                           int last, vreal sum[][TILE_VECTORS])
{
    ptrdiff_t next_step;
    const real *next = dense_next(tile, k, &next_step);
    const ptrdiff_t x_step = tile->x_step, kernel_step = tile->kernel_step;
    const real *x = (const real *)tile->x + begin;
    const real *kernel = (const real *)tile->kernel + begin * kernel_step + k;
    const real *base[5] = {x, x + 3 * x_step, x + 6 * x_step, x + 9 * x_step, x + 12 * x_step};
    for (int64_t l = 0; l < terms; l++, kernel += kernel_step, next += next_step) {
        vreal row[TILE_VECTORS];
        FC_UNROLL (v, vectors)
            row[v] = whole || v + 1 < vectors ? vload(kernel + v * LANES)
                                              : vload_first(kernel + v * LANES, last);
        FC_UNROLL (v, vectors)
            __builtin_prefetch(next + v * LANES, 0, 2);
        FC_UNROLL (p, pixels) {
            const vreal a = vset1(base[p / 3][p % 3 * x_step + l]);
            FC_UNROLL (v, vectors)
                sum[p][v] = vfma(a, row[v], sum[p][v]);
        }
    }
}

/* Sums of columns from k on to the chain, to y, or by way of memory to the elaborate end: by the same stores. */
FC_INLINE void dense_put(const struct fc_dense_tile *tile, int64_t k, const int pixels,
                         const int vectors, const bool whole, int columns, real *sums,
                         vreal sum[][TILE_VECTORS])
{
    const int last = columns - (vectors - 1) * LANES;
    real *to = (real *)tile->chain + k;
    ptrdiff_t step = tile->chain_step;
    const bool ends = tile->ends;
    const bool elaborate = ends && (tile->residual || tile->activation != FC_LINEAR);
    if (ends) {
        if (tile->bias && !elaborate)
            dense_bias((const real *)tile->bias + k, pixels, vectors, last, sum);
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

/* Columns from k on, `columns` of the vectors'. The few channels of a last chain meet the pixels in the same call,
 * which is 26 loads, stores and additions less a tile: 128 x 120 to 400 took 4 % longer with a call of 8 terms for
 * each of 130 tiles, and 84 to 120 7 %. */
FC_INLINE void dense_sums(const struct fc_dense_tile *tile, int64_t k, const int pixels,
                          const int vectors, const bool whole, int columns)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    const real *chain = (const real *)tile->chain + k;
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            sum[p][v] = tile->begins ? vzero() : vload(chain + p * tile->chain_step + v * LANES);

    const int last = columns - (vectors - 1) * LANES;
    real sums[TILE_PIXELS * TILE_VECTORS * LANES];
    FC_ROLLED for (bool rest = false;; rest = true)
    {
        dense_terms(tile, k, rest ? tile->terms : 0, rest ? tile->rest : tile->terms, pixels,
                    vectors, whole, last, sum);
        if (rest)
            dense_add(sums, vectors * LANES, pixels, vectors, sum);
        else if (tile->ends && tile->partial)
            dense_add((const real *)tile->partial + k, tile->partial_step, pixels, vectors, sum);
        if (rest || tile->rest == 0)
            break;
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors) {
                vstore(sums + (p * vectors + v) * LANES, sum[p][v]);
                sum[p][v] = vzero();
            }
    }
    dense_put(tile, k, pixels, vectors, whole, columns, sums, sum);
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

FC_SPILL_TO_STACK static void dense_tile(const struct fc_dense_tile *tile)
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

/* `count` terms, or `lanes` columns, of which a square has more, in memory. Beyond the columns they are the last
 * one's again, for lanes that are not stored. */
static __attribute__((noinline)) void turn_rest(const struct fc_dense_tile *tile, int64_t k,
                                                int64_t l, int lanes, int count, real *square)
{
    const real *row = (const real *)tile->kernel + l + k * tile->kernel_step;
    vreal a[LANES];
    FC_UNROLL (i, LANES) {
        a[i] = vload_first(row, count);
        row += i + 1 < lanes ? tile->kernel_step : 0;
    }
    transpose(a);
    FC_UNROLL (j, LANES)
        vstore(square + j * LANES, a[j]);
}

/* Rows of the next square, which are asked for once more further on. Returns what follows. */
FC_INLINE const real *copy_rows(const real *x, ptrdiff_t step, const int rows, ptrdiff_t ahead,
                                real *to)
{
    FC_UNROLL (r, rows) {
        __builtin_prefetch(x + ahead, 0, 2);
        vstore(to + r * LANES, vload(x));
        x += step;
        __asm__("" : "+r"(x)); /* one address, not one for each row */
    }
    return x;
}

/* Whole squares of a vector of columns; returns the terms that met the pixels. Of rows that crowd each other's lines
 * those of the next square are copied meanwhile: 8 x 4096 to 4096 took 5.8 ms and takes 3.65, 1024 to 1024 0.33 and
 * 0.21. Other rows lose a tenth by it. */
FC_INLINE int64_t turned_squares(const struct fc_dense_tile *tile, const real *kernel,
                                 const real *const x[TILE_PIXELS], const int pixels,
                                 const bool copies, vreal sum[TILE_PIXELS])
{
    const ptrdiff_t kernel_step = tile->kernel_step, ahead = turned_ahead(kernel_step);
    real squares[2 * LANES * LANES], *square = squares;
    int64_t l = 0;
    if (copies && LANES <= tile->terms)
        copy_rows(kernel, kernel_step, LANES, ahead, square);
    for (; l + LANES <= tile->terms; l += LANES) {
        real *then = squares + (square == squares ? LANES * LANES : 0);
        const bool more = l + 2 * LANES <= tile->terms; /* or a copy of the copy */
        const real *from = more ? kernel + l + LANES : square;
        struct turned turned = {.step = LANES, .three = 3 * LANES};
        FC_UNROLL (i, LANES / PIECE)
            turned.row[i] = square + i * PIECE * LANES;
        if (!copies)
            turned = turned_at(kernel + l, kernel_step);
        FC_UNROLL (q, LANES / PIECE) {
            vreal a[PIECE];
            if (copies)
                from = copy_rows(from, more ? kernel_step : LANES, PIECE, ahead,
                                 then + q * PIECE * LANES);
            load_turned(&turned, q * PIECE, ahead, !copies, a);
            FC_UNROLL (j, PIECE)
                FC_UNROLL (p, pixels)
                    sum[p] = vfma(vset1(x[p][l + q * PIECE + j]), a[j], sum[p]);
        }
        square = then;
    }
    return l;
}

/* A vector of columns, whose terms lie together: LANES x LANES squares of the kernel are transposed on
 * their way. With 8 pixels in AVX-512 a square of 1 KB takes 32 shuffles on one port, 48 insertions and 128
 * multiply-adds on two, 104 cycles: 37 GB/s of kernel, beyond what memory gives. It takes 165, and took 188 with
 * 64 shuffles, all of them before the first multiply-add: four terms at a time the scheduler sees both.
 * 8 x 1000 to 2048 went from 0.48 ms to 0.43. Transposed panels in memory gave 15 GB/s, and squares turned in
 * the nearest cache for dense_tile took a quarter longer than whole squares here.
 *
 * Up to 4 pixels take no longer than the shuffles, so three sizes of tile serve all: what is missing of
 * one repeats the last pixel. */
FC_INLINE void turned_sums(const struct fc_dense_tile *tile, int64_t k, const int pixels,
                           const bool copies)
{
    const int64_t left = tile->columns - k;
    const int lanes = left < LANES ? (int)left : LANES;
    const real *x[TILE_PIXELS];
    vreal sum[TILE_PIXELS];
    FC_UNROLL (p, pixels) {
        sum[p] = vzero();
        x[p] = (const real *)tile->x + (p < tile->pixels ? p : tile->pixels - 1) * tile->x_step;
    }
    const real *kernel = (const real *)tile->kernel + k * tile->kernel_step;
    int64_t l = lanes == LANES ? turned_squares(tile, kernel, x, pixels, copies, sum) : 0;
    real rest[LANES * LANES], sums[TILE_PIXELS * LANES];
    while (l < tile->terms) {
        const int64_t count = tile->terms - l < LANES ? tile->terms - l : LANES;
        turn_rest(tile, k, l, lanes, (int)count, rest);
        for (const real *row = rest; row < rest + count * LANES; row += LANES, l++)
            FC_UNROLL (p, pixels)
                sum[p] = vfma(vset1(x[p][l]), vload(row), sum[p]);
    }
    const real *partial = tile->partial;
    FC_UNROLL (p, pixels)
        vstore(sums + p * LANES, sum[p]);
    for (int p = 0; p < tile->pixels && partial; p++, partial += tile->partial_step)
        vstore(sums + p * LANES, vadd(vload(sums + p * LANES), vload(partial + k)));
    dense_end(tile, sums, k, 1, lanes);
}

FC_INLINE void turned_columns(const struct fc_dense_tile *tile, int64_t k, const int pixels)
{
    const bool may_crowd = (int)LANES > (int)FC_CACHE_WAYS;
    if (may_crowd && tile->crowded)
        turned_sums(tile, k, pixels, may_crowd);
    else
        turned_sums(tile, k, pixels, false);
}

FC_SPILL_TO_STACK static void turned_dense_tile(const struct fc_dense_tile *tile)
{
    enum {
        MOST = TILE_PIXELS < FC_FEW_TURNED ? TILE_PIXELS : FC_FEW_TURNED,
        FEW = (TILE_PIXELS + 3) / 4,
        HALF = TILE_PIXELS / 2 + 1
    };
    for (int64_t k = 0; k < tile->columns; k += LANES)
        if (tile->pixels <= FEW)
            turned_columns(tile, k, FEW);
        else if (tile->pixels <= HALF || HALF >= MOST)
            turned_columns(tile, k, HALF);
        else
            turned_columns(tile, k, MOST);
}
