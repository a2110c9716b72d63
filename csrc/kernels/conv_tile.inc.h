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
 * kernel streams 128 bytes in 14 cycles, 9 a cycle, which the second-level cache sustains.
 *
 * A pixel's address is one of five base pointers plus 0, 1 or 2 steps, all of which x86 folds into
 * the load: with a pointer a pixel the 14 would spill, one more load each. */

/* The number of vectors that hold a tile's columns. */
enum {
    UNIT_VECTORS = FC_UNIT_BYTES / (int)sizeof(vreal),
    TILE_UNITS = TILE_VECTORS / UNIT_VECTORS
};

FC_INLINE vreal relu(vreal a)
{
    return vselect(vgreater(vzero(), a), vzero(), a); /* NaN compares false and stays */
}

FC_INLINE vreal relu6(vreal a) { return vselect(vgreater(relu(a), vset1(6)), vset1(6), relu(a)); }

FC_INLINE vreal activate(vreal a, fc_activation activation)
{
    return activation == FC_RELU ? relu(a) : activation == FC_RELU6 ? relu6(a) : a;
}

/* y = activation(sum + partial + bias + residual) for one vector of a tile. */
FC_INLINE vreal finish_vector(const struct fc_tile *tile, vreal sum, int p, int v, int lanes)
{
    if (tile->partial)
        sum = vadd(sum, vload((const real *)tile->partial + p * tile->partial_step + v * LANES));
    if (tile->bias)
        sum = vadd(sum, vload_first((const real *)tile->bias + v * LANES, lanes));
    if (tile->residual)
        sum = vadd(
            sum,
            vload_first((const real *)tile->residual + p * tile->residual_step + v * LANES, lanes));
    return activate(sum, tile->activation);
}

/* The elaborate end: through memory, once an output, so that it is one body instead of one a tile. */
static __attribute__((noinline)) void finish_sums(const struct fc_tile *tile, const real *sums,
                                                  int vectors)
{
    for (int p = 0; p < tile->pixels; p++)
        for (int v = 0; v < vectors && v * LANES < tile->columns; v++) {
            const int left = tile->columns - v * LANES, lanes = left < LANES ? left : LANES;
            real *y = (real *)tile->y + p * tile->y_step + v * LANES;
            vstore_first(y,
                         finish_vector(tile, vload(sums + (p * vectors + v) * LANES), p, v, lanes),
                         lanes);
        }
}

/* The plain end, a partial sum or a finished one in whole vectors, straight from the registers. */
FC_INLINE void finish_tile(const struct fc_tile *tile, const int pixels, const int vectors,
                           vreal sum[TILE_PIXELS][TILE_VECTORS])
{
    if (tile->bias || tile->residual || tile->activation != FC_LINEAR ||
        tile->columns != vectors * LANES) {
        real sums[TILE_PIXELS * TILE_VECTORS * LANES];
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                vstore(sums + (p * vectors + v) * LANES, sum[p][v]);
        finish_sums(tile, sums, vectors);
        return;
    }
    if (tile->partial)
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                sum[p][v] = vadd(sum[p][v], vload((const real *)tile->partial +
                                                  p * tile->partial_step + v * LANES));
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            vstore((real *)tile->y + p * tile->y_step + v * LANES, sum[p][v]);
}

FC_INLINE void conv_sums(const struct fc_tile *tile, const bool lanes, const int pixels,
                         const int vectors)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    FC_UNROLL (p, pixels)
        FC_UNROLL (v, vectors)
            sum[p][v] = vzero();

    const ptrdiff_t step = tile->runs.step, kernel_step = tile->kernel_step;
    const int64_t length = lanes ? 1 : tile->runs.length;
    for (int64_t r = 0; r < tile->runs.count; r++) {
        const real *x = (const real *)tile->x + tile->runs.offset[r];
        const real *kernel = (const real *)tile->kernel + tile->runs.kernel_offset[r];
        const real *base[5] = {x, x + 3 * step, x + 6 * step, x + 9 * step, x + 12 * step};
        for (int64_t l = 0; l < length; l++, kernel += kernel_step) {
            vreal k[TILE_VECTORS];
            FC_UNROLL (v, vectors)
                k[v] = vload(kernel + v * LANES);
            FC_UNROLL (p, pixels) {
                const real *pixel = base[p / 3] + p % 3 * step + l;
                FC_UNROLL (v, vectors)
                    sum[p][v] =
                        vfma(lanes ? vload(pixel + v * LANES) : vset1(*pixel), k[v], sum[p][v]);
            }
        }
    }
    finish_tile(tile, pixels, vectors, sum);
}

/* The same body for each number of pixels, so that a ragged row costs no more than its pixels. */
#define FC_TILE_CASE(lanes, pixels)                       \
    case pixels:                                          \
        if (TILE_UNITS > 1 && tile->units == 1)           \
            conv_sums(tile, lanes, pixels, UNIT_VECTORS); \
        else                                              \
            conv_sums(tile, lanes, pixels, TILE_VECTORS); \
        return;
#define FC_CONV_CASE(pixels) FC_TILE_CASE(false, pixels)
#define FC_LANE_CASE(pixels) FC_TILE_CASE(true, pixels)

static void conv_tile(const struct fc_tile *tile)
{
    switch (tile->pixels) {
        TILE_CASES(FC_CONV_CASE)
    }
}

static void lane_tile(const struct fc_tile *tile)
{
    switch (tile->pixels) {
        TILE_CASES(FC_LANE_CASE)
    }
}
