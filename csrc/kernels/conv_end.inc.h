/* conv_end.inc.h: the end of a convolution's tile: bias, residual, activation, and the stores.
 *
 * Outputs that are no whole vectors go through memory, 12 to 18 % of the time of 30 to 50 channels at 20x20. Masked
 * stores from the registers took 0.150 ms on Zen 4 to 0.135: narrow tiles have them, of few bodies. For all, both
 * ends are 11 KB of a wheel, and masks alone took the input gradients of first layers, whose sums are read at once, 2 %
 * longer; for two rows of one unit they are 6 KB, and a tenth of 7 to 13 channels. */
enum {
    UNIT_VECTORS = FC_UNIT_BYTES / (int)sizeof(vreal), /* that hold a unit of a tile's columns */
    TILE_UNITS = TILE_VECTORS / UNIT_VECTORS,
    SUM_PIXELS = TILE_PIXELS * TILE_UNITS /* of one unit */
};

/* NaN compares false and stays. */
FC_INLINE vreal relu(vreal a) { return vgreater_of(vzero(), a); }

FC_INLINE vreal relu6(vreal a) { return vlesser_of(vset1(6), relu(a)); }

FC_INLINE vreal activate(vreal a, fc_activation activation)
{
    return activation == FC_RELU ? relu(a) : activation == FC_RELU6 ? relu6(a) : a;
}

/* Where pixel p's y, or partial sum, or residual lies: in the first row of the tile or the second,
 * which begins at pixel `half`. */
FC_INLINE ptrdiff_t pixel_at(int p, int half, ptrdiff_t step, ptrdiff_t second)
{
    return p < half ? p * step : second + (p - half) * step;
}

/* y = activation(sum + bias + residual) for one vector of a tile. */
FC_INLINE vreal finish_vector(const struct fc_tile *tile, vreal sum, int p, int half, int v,
                              int lanes)
{
    if (tile->bias)
        sum = vadd(sum, vload_first((const real *)tile->bias + v * LANES, lanes));
    if (tile->residual)
        sum = vadd(sum,
                   vload_first((const real *)tile->residual +
                                   pixel_at(p, half, tile->residual_step, tile->residual_second) +
                                   v * LANES,
                               lanes));
    return activate(sum, tile->activation);
}

/* The elaborate end: through memory, once an output, so that it is one body instead of one a tile. */
static __attribute__((noinline)) void finish_sums(const struct fc_tile *tile, const real *sums,
                                                  int half, int vectors)
{
    for (int v = 0; v < vectors && v * LANES < tile->columns; v++) {
        const int left = tile->columns - v * LANES, lanes = left < LANES ? left : LANES;
        for (int p = 0; p < tile->pixels; p++) {
            real *y = (real *)tile->y + pixel_at(p, half, tile->y_step, tile->y_second) + v * LANES;
            const vreal sum = vload(sums + (p * vectors + v) * LANES);
            vstore_first(y, finish_vector(tile, sum, p, half, v, lanes), lanes);
        }
    }
}

/* Large tiles have a body that stores past the caches: of large results most are. From the registers, since
 * with a detour through memory, as finish_sums takes, VGG's first layer took 11.4 ms, not 8.6; with stores to
 * lines that must be read first 13.7. Pairs are large too: 3 to 64 channels of 128 images of 32x32, in pairs of 7
 * pixels, took 6.9 ms on Zen 4 while they did not, and take 5.1. */
FC_INLINE bool streams_tile(const int pixels, const int vectors)
{
    return pixels + 2 >= TILE_PIXELS && vectors == TILE_VECTORS;
}

/* What most ends ask for, whole vectors with or without a bias and a ReLU, is done in the registers:
 * through memory a bias took 280 cycles a tile, of 380 that 27 terms of a first layer take. All that is
 * read of the tile is read before the first store, which the compiler must take for a change of it. `masks`: so is what
 * ends within the last vector. */
FC_INLINE void finish_tile(const struct fc_tile *tile, const bool stream, const bool masks,
                           const int pixels, const int half, const int vectors,
                           vreal sum[SUM_PIXELS][TILE_VECTORS])
{
    const int last = tile->columns - (vectors - 1) * LANES;
    if (tile->residual || tile->activation == FC_RELU6 || (!masks && last != LANES)) {
        real sums[TILE_PIXELS * TILE_VECTORS * LANES];
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                vstore(sums + (p * vectors + v) * LANES, sum[p][v]);
        finish_sums(tile, sums, half, vectors);
        return;
    }
    if (tile->bias)
        FC_UNROLL (v, vectors) {
            const real *at = (const real *)tile->bias + v * LANES;
            const vreal bias = masks && v == vectors - 1 ? vload_first(at, last) : vload(at);
            FC_UNROLL (p, pixels)
                sum[p][v] = vadd(sum[p][v], bias);
        }
    if (tile->activation == FC_RELU)
        FC_UNROLL (p, pixels)
            FC_UNROLL (v, vectors)
                sum[p][v] = relu(sum[p][v]);
    const ptrdiff_t step = tile->y_step;
    real *y = tile->y, *second = y + tile->y_second;
    FC_UNROLL (p, pixels) {
        if (p == half)
            y = second;
        FC_UNROLL (v, vectors)
            if (stream)
                vstream(y + v * LANES, sum[p][v]);
            else if (masks && v == vectors - 1)
                vstore_first(y + v * LANES, sum[p][v], last);
            else
                vstore(y + v * LANES, sum[p][v]);
        y += step;
    }
}
