/* reduce.inc.h: sums over pixels, and the multiply-adds of the measured peak. */

/* Four vectors of channels at once: four chains cover the latency of an addition. */
static void channel_sums(const void *x, ptrdiff_t x_pixel, int64_t pixels, int64_t channels,
                         void *sums)
{
    const real *first = x;
    real *total = sums;
    int64_t c = 0;
    for (; c + 4 * LANES <= channels; c += 4 * LANES) {
        vreal sum[4] = {vzero(), vzero(), vzero(), vzero()};
        for (int64_t p = 0; p < pixels; p++)
            FC_UNROLL (v, 4)
                sum[v] = vadd(sum[v], vload(first + p * x_pixel + c + v * LANES));
        FC_UNROLL (v, 4)
            vstore(total + c + v * LANES, vadd(vload(total + c + v * LANES), sum[v]));
    }
    for (; c < channels; c += LANES) {
        const int lanes = (int)(channels - c < LANES ? channels - c : LANES);
        vreal sum = vzero();
        for (int64_t p = 0; p < pixels; p++)
            sum = vadd(sum, vload_first(first + p * x_pixel + c, lanes));
        vstore_first(total + c, vadd(vload_first(total + c, lanes), sum), lanes);
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
