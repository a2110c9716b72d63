/* depthwise_dkernel.inc.h: the kernel gradient of a depthwise convolution, channels in the lanes.
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
 * prefetcher follows. On Zen 4 64 channels of 112 x 112 with strides 2 took 3.9 ms, now 1.15, 32
 * walked with strides 1 2.4, now 1.35. */
struct dkernel_ahead {
    struct fc_lines_ahead x, dy;
};

/* Shared out among the steps of a row. */
FC_INLINE struct dkernel_ahead share_ahead(const struct fc_depthwise_dkernel *row, int64_t columns)
{
    const int64_t steps =
        (row->columns + columns - 1) / columns * ((row->end - row->begin + LANES - 1) / LANES);
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
            const real *p = (const real *)pixel[q] + c;
            const vreal x = partial ? vload_first(p, lanes) : vload(p);
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
                const real *p = (const real *)pixel[j * row->column_step + b * row->column_tap] + c;
                sum = vfma(partial ? vload_first(p, lanes) : vload(p), dy[j], sum);
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
        const real *p = (const real *)row->dy + (column + j) * row->dy_pixel + c;
        dy[j] = j >= count ? vzero() : partial ? vload_first(p, lanes) : vload(p);
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
    struct dkernel_ahead ahead = share_ahead(row, DKERNEL_COLUMNS);
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

/* 3 x 3 taps and few channels: one vector of channels after the other, its nine sums in registers
 * along the row. With the channels innermost so few sums go to memory and come back so soon that
 * loads of x wait for them: 64 channels took 300 cycles a tile. (With stride 2, which does less with
 * each pixel, walking is the slower one: 1.8 ms against 1.35.) Where there are registers for the nine
 * pixels of x too, three of them are loaded for each output, not nine. */
enum { WALK_TAPS = 3, WALK_KEEPS_X = TILE_PIXELS * TILE_VECTORS >= 20 };

struct dkernel_walk {
    vreal sum[WALK_TAPS][WALK_TAPS], x[WALK_TAPS][WALK_TAPS];
    const void *const *pixel[WALK_TAPS];
};

FC_INLINE vreal walk_load(const void *p, int64_t c, const bool partial, int lanes)
{
    return partial ? vload_first((const real *)p + c, lanes) : vload((const real *)p + c);
}

/* Output u from the place on; column b of its window was kept in (u + b) % 3. */
FC_INLINE void walk_kept(struct dkernel_walk *walk, const int u, vreal dy, int64_t c,
                         const bool partial, int lanes)
{
    FC_UNROLL (a, WALK_TAPS) {
        walk->x[a][(u + 2) % WALK_TAPS] = walk_load(walk->pixel[a][u + 2], c, partial, lanes);
        FC_UNROLL (b, WALK_TAPS)
            walk->sum[a][b] = vfma(walk->x[a][(u + b) % WALK_TAPS], dy, walk->sum[a][b]);
    }
}

FC_INLINE void walk_loading(struct dkernel_walk *walk, vreal dy, int64_t c, const bool partial,
                            int lanes)
{
    FC_UNROLL (a, WALK_TAPS) {
        FC_UNROLL (b, WALK_TAPS)
            walk->sum[a][b] =
                vfma(walk_load(walk->pixel[a][b], c, partial, lanes), dy, walk->sum[a][b]);
        walk->pixel[a]++;
    }
}

FC_INLINE void dkernel_walk(const struct fc_depthwise_dkernel *row, int64_t c,
                            struct dkernel_ahead *ahead, const bool partial, int lanes)
{
    enum { K = WALK_TAPS };
    real *sums = (real *)row->sums + c / UNIT * UNIT * K * K + c % UNIT;
    const void *dy = row->dy;
    struct dkernel_walk walk;
    FC_UNROLL (a, K) {
        walk.pixel[a] = row->pixel[a * row->row_tap];
        FC_UNROLL (b, K)
            walk.sum[a][b] = vload(sums + (a * K + b) * UNIT);
    }
    int64_t j = 0;
    if (WALK_KEEPS_X && row->columns >= K) {
        FC_UNROLL (a, K)
            FC_UNROLL (b, K - 1)
                walk.x[a][b] = walk_load(walk.pixel[a][b], c, partial, lanes);
        for (; j + K <= row->columns; j += K) {
            fetch_dkernel_ahead(ahead);
            FC_UNROLL (u, K) {
                walk_kept(&walk, u, walk_load(dy, c, partial, lanes), c, partial, lanes);
                dy = (const real *)dy + row->dy_pixel;
            }
            FC_UNROLL (a, K)
                walk.pixel[a] += K;
        }
    }
    for (; j < row->columns; j++) {
        if (!WALK_KEEPS_X && j % K == 0)
            fetch_dkernel_ahead(ahead);
        walk_loading(&walk, walk_load(dy, c, partial, lanes), c, partial, lanes);
        dy = (const real *)dy + row->dy_pixel;
    }
    FC_UNROLL (a, K)
        FC_UNROLL (b, K)
            vstore(sums + (a * K + b) * UNIT, walk.sum[a][b]);
}

static void dkernel_few_channels(const struct fc_depthwise_dkernel *row)
{
    struct dkernel_ahead ahead = share_ahead(row, WALK_TAPS);
    int64_t c = row->begin;
    for (; c + LANES <= row->end; c += LANES)
        dkernel_walk(row, c, &ahead, false, LANES);
    if (c < row->end)
        dkernel_walk(row, c, &ahead, true, (int)(row->end - c));
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
