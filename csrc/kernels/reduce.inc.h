/* reduce.inc.h: sums over pixels, and the multiply-adds of the measured peak. */

/* Up to four vectors of channels at once, the last of which may have `lanes` lanes alone: four chains
 * cover the latency of an addition, and each pixel is visited once. */
FC_INLINE void add_channel_vectors(const real *x, ptrdiff_t x_pixel, int64_t pixels, real *total,
                                   const int vectors, int lanes)
{
    vreal sum[4];
    FC_UNROLL (v, vectors)
        sum[v] = vzero();
    for (int64_t p = 0; p < pixels; p++, x += x_pixel)
        FC_UNROLL (v, vectors)
            sum[v] =
                vadd(sum[v], v < vectors - 1 || lanes == LANES ? vload(x + v * LANES)
                                                               : vload_first(x + v * LANES, lanes));
    FC_UNROLL (v, vectors) {
        const int count = v < vectors - 1 ? LANES : lanes;
        real *to = total + v * LANES;
        vstore_first(to, vadd(vload_first(to, count), sum[v]), count);
    }
}

static void channel_sums(const void *x, ptrdiff_t x_pixel, int64_t pixels, int64_t channels,
                         void *sums)
{
    const real *first = x;
    real *total = sums;
    int64_t c = 0;
    for (; c + 4 * LANES <= channels; c += 4 * LANES)
        add_channel_vectors(first + c, x_pixel, pixels, total + c, 4, LANES);
    const int64_t left = channels - c;
    const int lanes = left % LANES ? (int)(left % LANES) : LANES;
    switch ((left + LANES - 1) / LANES) {
    case 1:
        add_channel_vectors(first + c, x_pixel, pixels, total + c, 1, lanes);
        break;
    case 2:
        add_channel_vectors(first + c, x_pixel, pixels, total + c, 2, lanes);
        break;
    case 3:
        add_channel_vectors(first + c, x_pixel, pixels, total + c, 3, lanes);
        break;
    case 4:
        add_channel_vectors(first + c, x_pixel, pixels, total + c, 4, lanes);
        break;
    }
}

/* 12 chains: more than the 8 that a latency of 4 cycles on 2 ports asks for, and within 16
 * registers. The empty asm keeps the compiler from seeing that nothing is done with them. */
static double fma_burst(int64_t rounds)
{
    enum { CHAINS = 12 };
    vreal sum[CHAINS], a = vset1(1), b = vset1(0);
    FC_UNROLL (i, CHAINS)
        sum[i] = vset1((real)i);
    for (int64_t round = 0; round < rounds; round++)
        FC_UNROLL (i, CHAINS) {
            sum[i] = vfma(sum[i], a, b);
            __asm__ volatile("" : "+" VREGISTER(sum[i]));
        }
    return (double)rounds * CHAINS * LANES;
}
