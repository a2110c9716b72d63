/* depthwise_dkernel.inc.h: the kernel gradient of a depthwise convolution, channels in the lanes.
 *
 * Seven outputs of a row and one vector of channels: their dy is held in 7 registers, the sums of a
 * row of taps in kw more, and each pixel of x, loaded once, serves all taps that read it. For 3 x 3
 * taps 27 loads of x and as many of the table, 9 of sums and 7 of dy, 9 stores, 63 multiply-adds.
 * Sums come from memory and go back, so that the channels can be the inner loop and each pixel a
 * stream of its own. Seven, since rows of 7, 14, 28, 56 and 112 leave no rest; the same on every
 * instruction set, though the order of the sum does not depend on it. */
enum { DKERNEL_COLUMNS = 7 };

/* A row of taps and one vector of channels; kw and stride are constants. */
FC_INLINE void dkernel_taps(const void *const *pixel, const vreal *dy, int64_t c,
                            const bool partial, int lanes, int count, real *sums, const int unit,
                            const int kw, const int stride)
{
    vreal sum[5];
    FC_UNROLL (b, kw)
        sum[b] = vload(sums + b * unit);
    FC_UNROLL (q, (DKERNEL_COLUMNS - 1) * stride + kw)
        if (q < (count - 1) * stride + kw) {
            const real *p = (const real *)pixel[q] + c;
            const vreal x = partial ? vload_first(p, lanes) : vload(p);
            FC_UNROLL (j, DKERNEL_COLUMNS)
                if (j < count && q - j * stride >= 0 && q - j * stride < kw)
                    sum[q - j * stride] = vfma(x, dy[j], sum[q - j * stride]);
        }
    FC_UNROLL (b, kw)
        vstore(sums + b * unit, sum[b]);
}

/* Any row of taps. */
FC_INLINE void dkernel_any_taps(const struct fc_depthwise_dkernel *row, const void *const *pixel,
                                const vreal *dy, int64_t c, const bool partial, int lanes,
                                int count, real *sums, const int unit)
{
    for (int64_t b = 0; b < row->kw; b++) {
        vreal sum = vload(sums + b * unit);
        FC_UNROLL (j, DKERNEL_COLUMNS)
            if (j < count) {
                const real *p = (const real *)pixel[j * row->column_step + b * row->column_tap] + c;
                sum = vfma(partial ? vload_first(p, lanes) : vload(p), dy[j], sum);
            }
        vstore(sums + b * unit, sum);
    }
}

/* `count` outputs from column `column` on, and one vector of channels; kw 0 means any. */
FC_INLINE void dkernel_vector(const struct fc_depthwise_dkernel *row, int64_t column, int count,
                              int64_t c, const bool partial, int lanes, const int kw,
                              const int stride)
{
    enum { UNIT = FC_UNIT_BYTES / (int)sizeof(real) };
    const int64_t taps = row->kh * row->kw;
    real *sums = (real *)row->sums + c / UNIT * UNIT * taps + c % UNIT;
    vreal dy[DKERNEL_COLUMNS];
    FC_UNROLL (j, DKERNEL_COLUMNS) {
        const real *p = (const real *)row->dy + (column + j) * row->dy_pixel + c;
        dy[j] = j >= count ? vzero() : partial ? vload_first(p, lanes) : vload(p);
    }
    for (int64_t a = 0; a < row->kh; a++) {
        const void *const *pixel = row->pixel[a * row->row_tap] + column * row->column_step;
        real *tap_sums = sums + a * row->kw * UNIT;
        if (kw)
            dkernel_taps(pixel, dy, c, partial, lanes, count, tap_sums, UNIT, kw, stride);
        else
            dkernel_any_taps(row, pixel, dy, c, partial, lanes, count, tap_sums, UNIT);
    }
}

FC_INLINE void dkernel_row(const struct fc_depthwise_dkernel *row, const int kw, const int stride)
{
    for (int64_t column = 0; column < row->columns; column += DKERNEL_COLUMNS) {
        const int64_t left = row->columns - column;
        const int count = (int)(left < DKERNEL_COLUMNS ? left : DKERNEL_COLUMNS);
        int64_t c = row->begin;
        if (count == DKERNEL_COLUMNS)
            for (; c + LANES <= row->end; c += LANES)
                dkernel_vector(row, column, DKERNEL_COLUMNS, c, false, LANES, kw, stride);
        for (; c + LANES <= row->end; c += LANES)
            dkernel_vector(row, column, count, c, false, LANES, kw, stride);
        if (c < row->end)
            dkernel_vector(row, column, count, c, true, (int)(row->end - c), kw, stride);
    }
}

/* 3 x 3 taps and few channels: one vector of channels after the other, its nine sums in registers
 * along the row. With the channels innermost so few sums go to memory and come back so soon that
 * loads of x wait for them: 64 channels took 300 cycles a tile. (With stride 2, which does less with
 * each pixel, walking is the slower one: 1.8 ms against 1.35.) */
FC_INLINE void dkernel_walk(const struct fc_depthwise_dkernel *row, int64_t c, const bool partial,
                            int lanes, const ptrdiff_t stride)
{
    enum { UNIT = FC_UNIT_BYTES / (int)sizeof(real), K = 3 };
    real *sums = (real *)row->sums + c / UNIT * UNIT * K * K + c % UNIT;
    vreal sum[K][K];
    FC_UNROLL (a, K)
        FC_UNROLL (b, K)
            sum[a][b] = vload(sums + (a * K + b) * UNIT);
    const void *const *pixel[K];
    FC_UNROLL (a, K)
        pixel[a] = row->pixel[a * row->row_tap];
    const real *p = (const real *)row->dy + c;
    for (int64_t j = 0; j < row->columns; j++, p += row->dy_pixel) {
        const vreal dy = partial ? vload_first(p, lanes) : vload(p);
        FC_UNROLL (a, K) {
            FC_UNROLL (b, K) {
                const real *x = (const real *)pixel[a][b] + c;
                sum[a][b] = vfma(partial ? vload_first(x, lanes) : vload(x), dy, sum[a][b]);
            }
            pixel[a] += stride;
        }
    }
    FC_UNROLL (a, K)
        FC_UNROLL (b, K)
            vstore(sums + (a * K + b) * UNIT, sum[a][b]);
}

static void dkernel_few_channels(const struct fc_depthwise_dkernel *row)
{
    int64_t c = row->begin;
    for (; c + LANES <= row->end; c += LANES)
        dkernel_walk(row, c, false, LANES, row->column_step);
    if (c < row->end)
        dkernel_walk(row, c, true, (int)(row->end - c), row->column_step);
}

static void depthwise_dkernel(const struct fc_depthwise_dkernel *row)
{
    enum { FEW_BYTES = 512 };
    if (row->kh == 3 && row->kw == 3 && row->column_tap == 1 && row->column_step == 1 &&
        (row->end - row->begin) * (int64_t)sizeof(real) <= FEW_BYTES) {
        dkernel_few_channels(row);
        return;
    }

    const int64_t kind = row->column_tap == 1 ? row->kw * 10 + row->column_step : 0;
    switch (kind) {
    case 31:
        dkernel_row(row, 3, 1);
        return;
    case 32:
        dkernel_row(row, 3, 2);
        return;
    case 51:
        dkernel_row(row, 5, 1);
        return;
    case 52:
        dkernel_row(row, 5, 2);
        return;
    }
    dkernel_row(row, 0, 0);
}
