/* groups.inc.h: groups of few channels, several groups in the lanes.
 *
 *   sum(p, k) = sum over c, i, j of
 *               x[i * x_row + (p * stride + j * dilation) * unit + group of k + c] * kernel[c, i, j, k]
 *
 * Lane k wants channel c of its own group: a permutation of the channels beside it, or, where a group
 * fills a vector, a broadcast. A permutation takes one of the two ports of AVX-512's multiply-adds. At
 * stride 1 three taps of a row share it: 16 permutations and 42 multiply-adds for 14 pixels, 29 cycles
 * instead of 21, 72 % of the peak; with 14 sums, 3 weights and an order 19 of 32 registers. At stride 2 two
 * of them do, 29 permutations; so do the two taps of a phase of dx. With a
 * permutation for each multiply-add, as other kernels have it, half of the peak is left. AVX2 has a
 * port for permutations and 16 registers: 7 pixels, bound by the multiply-adds; NEON only broadcasts.
 * So does AVX-512 with 16 channels: 19 loads for 42 multiply-adds, where conv_tile's 14 x 1 takes 45. */
#if TILE_PIXELS * TILE_VECTORS < 24
#define GROUP_PIXELS 7
#define GROUP_CASES FC_CASES_7
#define GROUP_TAPS 3
#define GROUP_TAP_CASES FC_CASES_3
#else
#define GROUP_PIXELS 14
#define GROUP_CASES FC_CASES_14
#define GROUP_TAPS 6
#define GROUP_TAP_CASES FC_CASES_6
#endif

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

/* One row of taps of one channel: so many that slide by a stride, or, where that is 0, any. */
FC_INLINE void add_taps(const struct fc_group_tile *tile, const real *x, const real *kernel,
                        vint order, const bool permuted, const int pixels, const int taps,
                        const int stride, vreal sum[GROUP_PIXELS])
{
    if (taps > 0) {
        const int all = stride * (pixels - 1) + taps;
        vreal k[3];
        FC_UNROLL (j, taps)
            k[j] = vload(kernel + j * tile->kernel_tap);
        FC_UNROLL (q, all) {
            if ((q == 0 && tile->left) || (q == all - 1 && tile->right))
                continue;
            const vreal a = spread_channel(x + q * UNIT, order, permuted);
            FC_UNROLL (j, taps)
                if (q >= j && (q - j) % stride == 0 && (q - j) / stride < pixels)
                    sum[(q - j) / stride] = vfma(a, k[j], sum[(q - j) / stride]);
        }
        return;
    }
    const ptrdiff_t step = tile->stride * UNIT;
    for (int64_t j = 0; j < tile->kw; j++) {
        const real *pixel = x + j * tile->dilation * UNIT;
        const vreal k = vload(kernel + j * tile->kernel_tap);
        FC_UNROLL (p, pixels)
            sum[p] = vfma(spread_channel(pixel + p * step, order, permuted), k, sum[p]);
    }
}

FC_INLINE void group_sums(const struct fc_group_tile *tile, const bool permuted, const int pixels,
                          const int taps, const int stride)
{
    for (int v = 0; v < UNIT_VECTORS; v++) {
        const int64_t channels = tile->channels;
        const int64_t first = permuted ? v * LANES : v * LANES & -channels;
        vreal sum[GROUP_PIXELS];
        FC_UNROLL (p, pixels)
            sum[p] = vzero();
        for (int64_t c = tile->begin; c < tile->end; c++) {
            const vint order = order_of(channels, c);
            const real *kernel = (const real *)tile->kernel + c * tile->kernel_channel + v * LANES;
            const real *x = (const real *)tile->x + first + (permuted ? 0 : c);
            for (int64_t i = 0; i < tile->kh; i++) {
                add_taps(tile, x, kernel, order, permuted, pixels, taps, stride, sum);
                kernel += tile->kw * tile->kernel_tap;
                x += tile->x_row;
            }
        }
        real *y = (real *)tile->y + v * LANES;
        if (tile->begin > 0)
            FC_UNROLL (p, pixels)
                sum[p] = vadd(vload(y + p * tile->y_step), sum[p]);
        if (tile->bias) {
            const vreal bias = vload((const real *)tile->bias + v * LANES);
            FC_UNROLL (p, pixels)
                sum[p] = vadd(sum[p], bias);
        }
        FC_UNROLL (p, pixels)
            sum[p] = activate(sum[p], tile->activation);
        if (tile->stream)
            FC_UNROLL (p, pixels)
                vstream(y + p * tile->y_step, sum[p]);
        else
            FC_UNROLL (p, pixels)
                vstore(y + p * tile->y_step, sum[p]);
    }
}

FC_INLINE void group_tile_of(const struct fc_group_tile *tile, const int pixels)
{
    const bool permuted = FC_FEWEST_GROUPED < (int)LANES && tile->channels < LANES;
    const int64_t taps = tile->dilation == 1 && tile->stride <= 2 ? tile->kw : 0;
    const bool often = pixels % 7 == 0; /* of what no network has, one body for all is less code */
    if (permuted && taps == 3 && tile->stride == 1)
        group_sums(tile, FC_FEWEST_GROUPED < (int)LANES, pixels, 3, 1);
    else if (often && permuted && taps == 3)
        group_sums(tile, often && FC_FEWEST_GROUPED < (int)LANES, pixels, 3, 2);
    else if (often && permuted && taps == 2 && tile->stride == 1)
        group_sums(tile, often && FC_FEWEST_GROUPED < (int)LANES, pixels, 2, 1);
    else if (permuted)
        group_sums(tile, FC_FEWEST_GROUPED < (int)LANES, pixels, 0, 1);
    else if (taps == 3 && tile->stride == 1)
        group_sums(tile, false, pixels, 3, 1);
    else
        group_sums(tile, false, pixels, 0, 1);
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

/* What is spread waits in registers, where there are enough: of 16 they hold 12 sums, x of 3 taps and one
 * channel of dy. */
FC_INLINE void add_group_pixel(const struct fc_dkernel_tile *tile, const real *x, const real *dy,
                               const vint order[FC_FEWEST_GROUPED], const bool permuted,
                               const int taps, vreal sum[GROUP_TAPS][FC_FEWEST_GROUPED])
{
    vreal d[FC_FEWEST_GROUPED], a[GROUP_TAPS];
    if (GROUP_TAPS > 3) {
        FC_UNROLL (k, FC_FEWEST_GROUPED)
            d[k] = spread_channel(permuted ? dy : dy + k, order[k], permuted);
        FC_UNROLL (t, taps) {
            a[0] = vload(x + tile->offset[t]);
            FC_UNROLL (k, FC_FEWEST_GROUPED)
                sum[t][k] = vfma(a[0], d[k], sum[t][k]);
        }
        return;
    }
    FC_UNROLL (t, taps) {
        a[t] = vload(x + tile->offset[t]);
        __asm__("" : "+" VREGISTER(a[t])); /* not read again for each channel */
    }
    FC_UNROLL (k, FC_FEWEST_GROUPED) {
        __asm__("" : "+r"(dy)); /* read again by a permutation: held, it sent a sum to the stack */
        d[0] = spread_channel(permuted ? dy : dy + k, order[k], permuted);
        FC_UNROLL (t, taps)
            sum[t][k] = vfma(a[t], d[0], sum[t][k]);
    }
}

/* group_dkernel_tile: x as it lies against channels of dy, each spread over the lanes of its group, so that what
 * is permuted serves all taps, whatever the stride: with 5 x 4 sums a pixel of two groups of 8 takes 5 loads of
 * x, 4 of dy, 4 permutations and 20 multiply-adds. */
FC_INLINE void group_dkernel_sums(const struct fc_dkernel_tile *tile, const bool permuted,
                                  const int taps, const int v)
{
    const int64_t output = tile->output + (permuted ? 0 : v * LANES & -tile->channels);
    vint order[FC_FEWEST_GROUPED];
    vreal sum[GROUP_TAPS][FC_FEWEST_GROUPED];
    FC_UNROLL (k, FC_FEWEST_GROUPED) {
        order[k] = order_of(tile->channels, output + k);
        FC_UNROLL (t, taps)
            sum[t][k] = vzero();
    }
    for (int64_t row = 0; row < tile->rows; row++) {
        const real *x = (const real *)tile->x + row * tile->x_row + v * LANES;
        const real *dy =
            (const real *)tile->dy + row * tile->dy_row + (permuted ? v * LANES : output);
        const char *ahead = tile->ahead + row * tile->ahead_row;
        for (int64_t p = 0; p < tile->width; p++, x += tile->x_step, dy += tile->dy_step) {
            __builtin_prefetch(ahead, 0, 2);
            ahead += tile->ahead_step;
            add_group_pixel(tile, x, dy, order, permuted, taps, sum);
        }
    }
    FC_UNROLL (k, FC_FEWEST_GROUPED) {
        struct fc_dkernel_tile one = *tile;
        real *to = (real *)tile->dkernel + k * tile->output_step + v * LANES;
        one.dkernel = to;
        FC_UNROLL (t, taps) {
            real *at = to + t * tile->dkernel_step;
            vstore(at, tile->partial ? vadd(vload(at), sum[t][k]) : sum[t][k]);
        }
        if (tile->finite)
            find_non_finite(&one, taps, 1);
    }
}

FC_INLINE void group_dkernel_of(const struct fc_dkernel_tile *tile, const int taps)
{
    for (int v = 0; v < UNIT_VECTORS; v++)
        if (FC_FEWEST_GROUPED < (int)LANES && (UNIT_VECTORS == 1 || tile->channels < LANES))
            group_dkernel_sums(tile, FC_FEWEST_GROUPED < (int)LANES, taps, v);
        else
            group_dkernel_sums(tile, false, taps, v);
}

#define FC_GROUP_DKERNEL_CASE(taps)   \
    case taps:                        \
        group_dkernel_of(tile, taps); \
        return;

FC_SPILL_TO_STACK static void group_dkernel_tile(const struct fc_dkernel_tile *tile)
{
    switch (tile->elements) {
        GROUP_TAP_CASES(FC_GROUP_DKERNEL_CASE)
    }
}
