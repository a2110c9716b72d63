/* dense.inc.h: a few terms of a dense layer's sums, for few pixels and many columns.
 *
 * The kernel is read once, in as many streams as there are terms, each from left to right, which the
 * prefetcher follows. A step takes TILE_VECTORS loads of the kernel and a broadcast a pixel: with 8
 * pixels in AVX-512 10 loads for 16 multiply-adds, 8 cycles for 128 bytes, twice what memory gives
 * one core. The chains wait in memory between the terms: 16 terms a call make that a load and a
 * store for 16 multiply-adds. */

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
        FC_UNROLL (v, vectors) {
            const int64_t at = k + v * LANES;
            real *y = (real *)tile->y + p * tile->y_step + at;
            const vreal end = dense_end(tile, sum[p][v], p, at, whole ? LANES : lanes);
            if (whole)
                vstore(y, end);
            else
                vstore_first(y, end, lanes);
        }
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
