/* reduce.inc.h: sums over pixels, and the multiply-adds of the measured peak. */

/* Up to four vectors, of the channels of one row or of as many rows, the last of a row with `lanes` lanes alone: four
 * chains cover the latency of an addition. Rows of 28 pixels of 6 channels took 100 cycles one by one on Zen 4. */
FC_INLINE void add_channel_vectors(const real *x, ptrdiff_t x_row, ptrdiff_t x_pixel,
                                   int64_t pixels, real *total, const int rows, const int vectors,
                                   int lanes)
{
    vreal sum[4];
    FC_UNROLL (v, rows * vectors)
        sum[v] = vzero();
    for (int64_t p = 0; p < pixels; p++, x += x_pixel)
        FC_UNROLL (v, rows * vectors) {
            const real *from = x + v / vectors * x_row + v % vectors * LANES;
            sum[v] = vadd(sum[v], v % vectors < vectors - 1 || lanes == LANES
                                      ? vload(from)
                                      : vload_first(from, lanes));
        }
    FC_UNROLL (v, vectors) {
        const int count = v < vectors - 1 ? LANES : lanes;
        vreal all = vload_first(total + v * LANES, count);
        FC_UNROLL (r, rows)
            all = vadd(all, sum[r * vectors + v]);
        vstore_first(total + v * LANES, all, count);
    }
}

/* Rows in as large groups as four vectors allow. */
FC_INLINE void add_channel_rows(const struct fc_channel_rows *rows, int64_t c, const int vectors,
                                int lanes)
{
    const real *x = (const real *)rows->x + c;
    real *total = (real *)rows->sums + c;
    int64_t r = 0;
    for (; r + 4 / vectors <= rows->rows; r += 4 / vectors)
        add_channel_vectors(x + r * rows->x_row, rows->x_row, rows->x_pixel, rows->pixels, total,
                            4 / vectors, vectors, lanes);
    for (; 4 / vectors > 1 && r < rows->rows; r++)
        add_channel_vectors(x + r * rows->x_row, 0, rows->x_pixel, rows->pixels, total, 1, vectors,
                            lanes);
}

static void channel_sums(const struct fc_channel_rows *rows)
{
    int64_t c = 0;
    for (; c + 4 * LANES <= rows->channels; c += 4 * LANES)
        add_channel_rows(rows, c, 4, LANES);
    const int64_t left = rows->channels - c;
    const int lanes = left % LANES ? (int)(left % LANES) : LANES;
    switch ((left + LANES - 1) / LANES) {
    case 1:
        add_channel_rows(rows, c, 1, lanes);
        break;
    case 2:
        add_channel_rows(rows, c, 2, lanes);
        break;
    case 3:
        add_channel_rows(rows, c, 3, lanes);
        break;
    case 4:
        add_channel_rows(rows, c, 4, lanes);
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
