/* depthwise_dkernel.inc.h: the kernel gradient of a depthwise convolution, channels in the lanes, where no walk
 * (depthwise_dkernel_walk.inc.h) takes it.
 *
 * Seven outputs of a row and one vector of channels: their dy is held in 7 registers, the sums of a
 * row of taps in kw more, and each pixel of x, loaded once, serves all taps that read it. For 3 x 3
 * taps 27 loads of x and as many of the table, 9 of sums and 7 of dy, 9 stores, 63 multiply-adds.
 * Sums come from memory and go back, so that the channels can be the inner loop and each pixel a
 * stream of its own. Seven, since rows of 7, 14, 28, 56 and 112 leave no rest; the same on every
 * instruction set, though the order of the sum does not depend on it. */
enum { DKERNEL_COLUMNS = 7 };

/* What is read later, of x and of dy: so many lines of each a step. The row after this one comes to the
 * second-level cache meanwhile: a vector of channels of each pixel at a time is nothing that a
 * prefetcher follows. On Zen 4 64 channels of 112 x 112 with strides 2 took 3.9 ms, now 1.15. */
struct dkernel_ahead {
    struct fc_lines_ahead x, dy;
};

/* Shared out among the steps of a row. */
FC_INLINE struct dkernel_ahead share_ahead(const struct fc_depthwise_dkernel *row)
{
    const int64_t tiles = (row->columns + DKERNEL_COLUMNS - 1) / DKERNEL_COLUMNS;
    const int64_t steps = tiles * ((row->end - row->begin + LANES - 1) / LANES);
    return (struct dkernel_ahead){{row->x_ahead.data, (row->x_ahead.lines + steps - 1) / steps},
                                  {row->dy_ahead.data, (row->dy_ahead.lines + steps - 1) / steps}};
}

FC_INLINE void fetch_dkernel_ahead(struct dkernel_ahead *ahead)
{
    ahead->x.data = fetch_ahead(ahead->x.data, ahead->x.lines);
    ahead->dy.data = fetch_ahead(ahead->dy.data, ahead->dy.lines);
}

/* A row of taps and one vector of channels; kw and stride are constants. */
FC_INLINE void dkernel_taps(const void *const *pixel, const vreal *dy, int64_t c,
                            const bool partial, int lanes, int count, real *sums, const int kw,
                            const int stride)
{
    vreal sum[5];
    FC_UNROLL (b, kw)
        sum[b] = vload(sums + b * UNIT);
    FC_UNROLL (q, (DKERNEL_COLUMNS - 1) * stride + kw)
        if (q < (count - 1) * stride + kw) {
            const vreal x = depthwise_x(pixel[q], c, partial, lanes);
            FC_UNROLL (j, DKERNEL_COLUMNS)
                if (j < count && q - j * stride >= 0 && q - j * stride < kw)
                    sum[q - j * stride] = vfma(x, dy[j], sum[q - j * stride]);
        }
    FC_UNROLL (b, kw)
        vstore(sums + b * UNIT, sum[b]);
}

/* Any row of taps. */
FC_INLINE void dkernel_any_taps(const struct fc_depthwise_dkernel *row, const void *const *pixel,
                                const vreal *dy, int64_t c, const bool partial, int lanes,
                                int count, real *sums)
{
    for (int64_t b = 0; b < row->kw; b++) {
        vreal sum = vload(sums + b * UNIT);
        FC_UNROLL (j, DKERNEL_COLUMNS)
            if (j < count) {
                const void *p = pixel[j * row->column_step + b * row->column_tap];
                sum = vfma(depthwise_x(p, c, partial, lanes), dy[j], sum);
            }
        vstore(sums + b * UNIT, sum);
    }
}

/* `count` outputs from column `column` on, and one vector of channels; kw 0 means any. */
FC_INLINE void dkernel_vector(const struct fc_depthwise_dkernel *row, int64_t column, int count,
                              int64_t c, const bool partial, int lanes, const int kw,
                              const int stride)
{
    const int64_t taps = row->kh * row->kw;
    real *sums = (real *)row->sums + c / UNIT * UNIT * taps + c % UNIT;
    vreal dy[DKERNEL_COLUMNS];
    FC_UNROLL (j, DKERNEL_COLUMNS) {
        const real *p = (const real *)row->dy + (column + j) * row->dy_pixel;
        dy[j] = j < count ? depthwise_x(p, c, partial, lanes) : vzero();
    }
    for (int64_t a = 0; a < row->kh; a++) {
        const void *const *pixel = row->pixel[a * row->row_tap] + column * row->column_step;
        real *tap_sums = sums + a * row->kw * UNIT;
        if (kw)
            dkernel_taps(pixel, dy, c, partial, lanes, count, tap_sums, kw, stride);
        else
            dkernel_any_taps(row, pixel, dy, c, partial, lanes, count, tap_sums);
    }
}

FC_INLINE void dkernel_row(const struct fc_depthwise_dkernel *row, const int kw, const int stride)
{
    struct dkernel_ahead ahead = share_ahead(row);
    for (int64_t column = 0; column < row->columns; column += DKERNEL_COLUMNS) {
        const int64_t left = row->columns - column;
        const int count = (int)(left < DKERNEL_COLUMNS ? left : DKERNEL_COLUMNS);
        int64_t c = row->begin;
        if (count == DKERNEL_COLUMNS)
            for (; c + LANES <= row->end; c += LANES) {
                fetch_dkernel_ahead(&ahead);
                dkernel_vector(row, column, DKERNEL_COLUMNS, c, false, LANES, kw, stride);
            }
        for (; c + LANES <= row->end; c += LANES) {
            fetch_dkernel_ahead(&ahead);
            dkernel_vector(row, column, count, c, false, LANES, kw, stride);
        }
        if (c < row->end)
            dkernel_vector(row, column, count, c, true, (int)(row->end - c), kw, stride);
    }
}

/* Three taps that slide by one, and where walks take strides of 2 by two, come here but seldom, as 1 x 3 or with unlike
 * strides: bodies of their own were 6 KB of a wheel. */
static void depthwise_dkernel(const struct fc_depthwise_dkernel *row)
{
    const int64_t kind = row->column_tap == 1 ? row->kw * 10 + row->column_step : 0;
    switch (kind) {
    case 32:
        if (DKERNEL_STRIDES == 1) {
            dkernel_row(row, 3, 2);
            return;
        }
        break;
    case 51:
        dkernel_row(row, 5, 1);
        return;
    case 52:
        dkernel_row(row, 5, 2);
        return;
    }
    dkernel_row(row, 0, 0);
}
