/* dense.inc.h: a few terms of a dense layer's sums, for few pixels and many columns.
 *
 * The kernel is read once, in as many streams as there are terms, each from left to right, which the
 * prefetcher follows. A step takes TILE_VECTORS loads of the kernel and a broadcast a pixel: with 8
 * pixels in AVX-512 10 loads for 16 multiply-adds, 8 cycles for 128 bytes, twice what memory gives
 * one core. The chains wait in memory between the terms: 16 terms a call make that a load and a
 * store for 16 multiply-adds. */

/* activation(sum + partial + bias + residual), as finish_vector has it. */
FC_INLINE vreal dense_end(const struct fc_dense_tile *tile, vreal sum, int64_t p, int64_t k,
                          int lanes)
{
    if (tile->partial)
        sum = vadd(sum, vload((const real *)tile->partial + p * tile->partial_step + k));
    if (tile->bias)
        sum = vadd(sum, vload_first((const real *)tile->bias + k, lanes));
    if (tile->residual)
        sum = vadd(sum,
                   vload_first((const real *)tile->residual + p * tile->residual_step + k, lanes));
    return activate(sum, tile->activation);
}

FC_INLINE void dense_store(const struct fc_dense_tile *tile, vreal sum, int64_t p, int64_t k,
                           int lanes)
{
    real *y = (real *)tile->y + p * tile->y_step + k;
    const vreal end = dense_end(tile, sum, p, k, lanes);
    if (lanes == LANES)
        vstore(y, end);
    else
        vstore_first(y, end, lanes);
}

/* Columns from k on: whole vectors, or one of which `lanes` are there. */
FC_INLINE void dense_sums(const struct fc_dense_tile *tile, int64_t k, const int pixels,
                          const int vectors, const bool whole, int lanes)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    real *chain = (real *)tile->chain + k;
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            sum[p][v] = tile->begins ? vzero() : vload(chain + p * tile->chain_step + v * LANES);

    const real *x = tile->x, *kernel = (const real *)tile->kernel + k;
    for (int64_t l = 0; l < tile->terms; l++, kernel += tile->kernel_step) {
        vreal row[TILE_VECTORS];
        FC_UNROLL (v, vectors)
            row[v] = whole ? vload(kernel + v * LANES) : vload_first(kernel, lanes);
        FC_UNROLL (p, pixels) {
            const vreal a = vset1(x[p * tile->x_step + l]);
            FC_UNROLL (v, vectors)
                sum[p][v] = vfma(a, row[v], sum[p][v]);
        }
    }
    if (!tile->ends) {
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                vstore(chain + p * tile->chain_step + v * LANES, sum[p][v]);
        return;
    }
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            dense_store(tile, sum[p][v], p, k + v * LANES, whole ? LANES : lanes);
}

FC_INLINE void dense_columns(const struct fc_dense_tile *tile, const int pixels)
{
    int64_t k = 0;
    for (; k + TILE_VECTORS * LANES <= tile->columns; k += TILE_VECTORS * LANES)
        dense_sums(tile, k, pixels, TILE_VECTORS, true, 0);
    for (; k + LANES <= tile->columns; k += LANES)
        dense_sums(tile, k, pixels, 1, true, 0);
    if (k < tile->columns)
        dense_sums(tile, k, pixels, 1, false, (int)(tile->columns - k));
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

/* A vector of columns, whose terms lie together: LANES x LANES squares of the kernel are transposed on
 * their way. With 8 pixels in AVX-512 a square of 1 KB takes 64 shuffles on one port and 128 multiply-
 * adds on two, 96 cycles: 40 GB/s of kernel, beyond what memory gives. Transposed panels in memory gave
 * 15. */
FC_INLINE void turned_sums(const struct fc_dense_tile *tile, int64_t k, const int pixels)
{
    enum { AHEAD = 512 / (int)sizeof(real) };
    const int64_t left = tile->columns - k;
    const int lanes = left < LANES ? (int)left : LANES;
    vreal sum[TILE_PIXELS];
    FC_UNROLL (p, pixels)
        sum[p] = vzero();
    for (int64_t l = 0; l < tile->terms; l += LANES) {
        const int count = tile->terms - l < LANES ? (int)(tile->terms - l) : LANES;
        const real *x = (const real *)tile->x + l;
        vreal a[LANES];
        FC_UNROLL (i, LANES) {
            /* Beyond the columns the last one again, for lanes that are not stored. */
            const real *row = (const real *)tile->kernel + l +
                              (k + (i < lanes ? i : lanes - 1)) * tile->kernel_step;
            __builtin_prefetch(row + AHEAD);
            a[i] = count == LANES ? vload(row) : vload_first(row, count);
        }
        transpose(a);
        FC_UNROLL (j, LANES)
            if (j < count)
                FC_UNROLL (p, pixels)
                    sum[p] = vfma(vset1(x[p * tile->x_step + j]), a[j], sum[p]);
    }
    FC_UNROLL (p, pixels)
        dense_store(tile, sum[p], p, k, lanes);
}

#define FC_TURNED_CASE(pixels)                             \
    case pixels:                                           \
        for (int64_t k = 0; k < tile->columns; k += LANES) \
            turned_sums(tile, k, pixels);                  \
        return;

static void turned_dense_tile(const struct fc_dense_tile *tile)
{
    switch (tile->pixels) {
        TILE_CASES(FC_TURNED_CASE)
    }
}
