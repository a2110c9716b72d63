/* groups.inc.h: groups of few channels, several groups in the lanes.
 *
 *   sum(p, k) = sum over c, i, j of
 *               x[i * x_row + (p * stride + j * dilation) * unit + group of k + c] * kernel[c, i, j, k]
 *
 * Lane k wants channel c of its own group: a permutation of the channels beside it, or, where a group
 * fills a vector, a broadcast. A permutation takes one of the two ports of AVX-512's multiply-adds. At
 * stride 1 three taps of a row share it: 16 permutations and 42 multiply-adds for 14 pixels, 29 cycles
 * instead of 21, 72 % of the peak; with 14 sums, 3 weights and an order 19 of 32 registers. With a
 * permutation for each multiply-add, as other kernels have it, half of the peak is left. AVX2 has a
 * port for permutations and 16 registers: 7 pixels, bound by the multiply-adds; NEON only broadcasts.
 * So does AVX-512 with 16 channels: 19 loads for 42 multiply-adds, where conv_tile's 14 x 1 takes 45. */
#if TILE_PIXELS * TILE_VECTORS < 24
#define GROUP_PIXELS 7
#define GROUP_CASES FC_CASES_7
#else
#define GROUP_PIXELS 14
#define GROUP_CASES FC_CASES_14
#endif

enum { UNIT_LANES = FC_UNIT_BYTES / (int)sizeof(real) };

/* One channel of each lane's group: x is the first channel of the vector's first group, or, to be
 * broadcast, the channel itself, so that pixels are constants apart from one pointer. */
FC_INLINE vreal spread_channel(const real *x, vint order, const bool permuted)
{
    return permuted ? vpermute(vload(x), order) : vset1(*x);
}

/* order[k] = the group's first lane + c, for a power of two of channels */
FC_INLINE vint order_of(int64_t channels, int64_t c)
{
    integer lanes[LANES];
    FC_UNROLL (k, LANES)
        lanes[k] = k;
    return viadd(viand(viload(lanes), viset1(-(integer)channels)), viset1((integer)c));
}

/* One row of taps of one channel. */
FC_INLINE void add_taps(const struct fc_group_tile *tile, const real *x, const real *kernel,
                        vint order, const bool permuted, const int pixels, const bool sliding,
                        vreal sum[GROUP_PIXELS])
{
    if (sliding) {
        const vreal k[3] = {vload(kernel), vload(kernel + tile->kernel_tap),
                            vload(kernel + 2 * tile->kernel_tap)};
        FC_UNROLL (q, pixels + 2) {
            if ((q == 0 && tile->left) || (q == pixels + 1 && tile->right))
                continue;
            const vreal a = spread_channel(x + q * UNIT_LANES, order, permuted);
            FC_UNROLL (j, 3)
                if (q >= j && q - j < pixels)
                    sum[q - j] = vfma(a, k[j], sum[q - j]);
        }
        return;
    }
    const ptrdiff_t step = tile->stride * UNIT_LANES;
    for (int64_t j = 0; j < tile->kw; j++) {
        const real *pixel = x + j * tile->dilation * UNIT_LANES;
        const vreal k = vload(kernel + j * tile->kernel_tap);
        FC_UNROLL (p, pixels)
            sum[p] = vfma(spread_channel(pixel + p * step, order, permuted), k, sum[p]);
    }
}

FC_INLINE void group_sums(const struct fc_group_tile *tile, const bool permuted, const int pixels,
                          const bool sliding)
{
    for (int v = 0; v < UNIT_VECTORS; v++) {
        const int64_t channels = tile->channels;
        const int64_t first = permuted ? v * LANES : v * LANES & -channels;
        vreal sum[GROUP_PIXELS];
        FC_UNROLL (p, pixels)
            sum[p] = vzero();
        for (int64_t c = 0; c < channels; c++) {
            const vint order = order_of(channels, c);
            const real *kernel = (const real *)tile->kernel + c * tile->kernel_channel + v * LANES;
            const real *x = (const real *)tile->x + first + (permuted ? 0 : c);
            for (int64_t i = 0; i < tile->kh; i++) {
                add_taps(tile, x, kernel, order, permuted, pixels, sliding, sum);
                kernel += tile->kw * tile->kernel_tap;
                x += tile->x_row;
            }
        }
        real *y = (real *)tile->y + v * LANES;
        if (tile->bias) {
            const vreal bias = vload((const real *)tile->bias + v * LANES);
            FC_UNROLL (p, pixels)
                sum[p] = vadd(sum[p], bias);
        }
        FC_UNROLL (p, pixels)
            vstore(y + p * tile->y_step, activate(sum[p], tile->activation));
    }
}

FC_INLINE void group_tile_of(const struct fc_group_tile *tile, const int pixels)
{
    const bool sliding = tile->kw == 3 && tile->stride == 1 && tile->dilation == 1;
    const bool permuted = FC_FEWEST_GROUPED < (int)LANES && tile->channels < LANES;
    if (permuted && sliding)
        group_sums(tile, FC_FEWEST_GROUPED < (int)LANES, pixels, true);
    else if (permuted)
        group_sums(tile, FC_FEWEST_GROUPED < (int)LANES, pixels, false);
    else if (sliding)
        group_sums(tile, false, pixels, true);
    else
        group_sums(tile, false, pixels, false);
}

#define FC_GROUP_CASE(pixels)        \
    case pixels:                     \
        group_tile_of(tile, pixels); \
        return;

FC_SPILL_TO_STACK static void group_tile(const struct fc_group_tile *tile)
{
    switch (tile->pixels) {
        GROUP_CASES(FC_GROUP_CASE)
    }
}
