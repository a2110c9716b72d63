/* depthwise.inc.h: depthwise convolution with channels in the lanes.
 *
 * Channels last: two rows of 7 outputs (4 with stride 2, 2 where there are 16 registers) of one vector
 * of channels, over which the window slides in registers: for 5 x 5 taps 66 loads of x and as many of
 * the table, 50 of weights, 350 multiply-adds, on 14 chains. It takes 15.8 cycles an output in the
 * first-level cache, 79 % of the FMA peak (3 x 3: 6.6, 68 %); rows of 4 took 17.8, and rows of 7, 14
 * and 28 leave no rest. The channels are the inner loop: each pixel is a stream of its own, while
 * walking pixels, with the channels outside, takes a cache line and soon a page of each and is 2.5
 * times slower. Memory is the limit of 3 x 3: 8 bytes an output, which 18 operations outrun at 60
 * GFLOP/s and 27 GB/s. The rows of x that the next strip reads are asked for meanwhile. Keeping to
 * blocks of 64 to 256 channels gained nothing.
 *
 * Other windows pass x through a ring of registers, row by row of their taps. */
enum {
    DEPTHWISE_MANY = TILE_PIXELS * TILE_VECTORS >= 20, /* registers: 32, not 16 */
    DEPTHWISE_COLUMNS = DEPTHWISE_MANY ? 4 : 2,
    DEPTHWISE_WIDE = DEPTHWISE_MANY ? 7 : 2, /* with stride 1 */
    DEPTHWISE_RING = DEPTHWISE_MANY ? 7 : 4, /* the same with any window, and with stride 2 */
    DEPTHWISE_STRIDED = DEPTHWISE_MANY ? 4 : 3,
};

/* Sums of a vector of channels become y, with residuals or an activation of those that are rare where it is
 * called: `columns` of each row, one after the other in memory. */
static __attribute__((noinline)) void finish_depthwise(const struct fc_depthwise_pixels *strip,
                                                       const real *sums, int64_t row,
                                                       int64_t column, int rows, int columns,
                                                       int64_t c, int lanes)
{
    const real *residual = strip->residual;
    const vreal bias =
        strip->bias ? vload_first((const real *)strip->bias + c, lanes) : vset1((real)-0.0);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            vreal sum = vadd(vload(sums + (i * columns + j) * LANES), bias);
            if (residual)
                sum = vadd(sum, vload_first(residual + (row + i) * strip->residual_row +
                                                (column + j) * strip->residual_pixel + c,
                                            lanes));
            real *y = (real *)strip->y + (row + i) * strip->y_row + (column + j) * strip->y_pixel;
            vstore_first(y + c, activate(sum, strip->activation), lanes);
        }
}

/* Bias and activation are asked for once a tile and applied where the sums are; residuals, which few
 * have, go through memory: with every question within the tile, for every output, 3 x 3 taps took 9.7
 * cycles an output in rows of 4, not 7.9. But a bias that went through memory, too, took as long on Zen 4
 * as the sums: 728 channels at 19 x 19 1.07 ms, not 0.55. */
FC_INLINE void put_depthwise(const struct fc_depthwise_pixels *strip, vreal *sum, int64_t row,
                             int64_t column, const int rows, const int columns, int64_t c,
                             const bool partial, int lanes, const bool activates)
{
    if (strip->residual || (!activates && strip->activation != FC_LINEAR)) {
        real sums[FC_DEPTHWISE_ROWS * DEPTHWISE_WIDE * LANES];
        FC_UNROLL (o, rows * columns)
            vstore(sums + o * LANES, sum[o]);
        finish_depthwise(strip, sums, row, column, rows, columns, c, lanes);
        return;
    }
    if (strip->bias) {
        const real *from = (const real *)strip->bias + c;
        const vreal bias = partial ? vload_first(from, lanes) : vload(from);
        FC_UNROLL (o, rows * columns)
            sum[o] = vadd(sum[o], bias);
    }
    if (activates && strip->activation == FC_RELU)
        FC_UNROLL (o, rows * columns)
            sum[o] = relu(sum[o]);
    else if (activates && strip->activation == FC_RELU6)
        FC_UNROLL (o, rows * columns)
            sum[o] = relu6(sum[o]);
    real *y = (real *)strip->y + row * strip->y_row + column * strip->y_pixel + c;
    if (!partial && strip->stream) {
        FC_UNROLL (i, rows)
            FC_UNROLL (j, columns)
                vstream(y + i * strip->y_row + j * strip->y_pixel, sum[i * columns + j]);
        return;
    }
    FC_UNROLL (i, rows) {
        real *to = y + i * strip->y_row;
        FC_UNROLL (j, columns) {
            if (partial)
                vstore_first(to, sum[i * columns + j], lanes);
            else
                vstore(to, sum[i * columns + j]);
            to += strip->y_pixel;
        }
    }
}

/* Where the weights of a vector of channels begin, and how far apart its taps are. */
FC_INLINE const real *depthwise_weights(const struct fc_depthwise_pixels *strip, int64_t c,
                                        int64_t taps, ptrdiff_t *step)
{
    const int64_t first = c / strip->panel * strip->panel, left = strip->units - first;
    *step = left < strip->panel ? left : strip->panel;
    return (const real *)strip->kernel + first * taps + c % strip->panel;
}

FC_INLINE vreal depthwise_x(const void *pixel, int64_t c, const bool partial, int lanes)
{
    const real *p = (const real *)pixel + c;
    return partial ? vload_first(p, lanes) : vload(p);
}

/* Lines of y, once a tile: with a loop for them in each row, gcc kept twice as many of NEON's numbers on the
 * stack. */
FC_INLINE void fetch_depthwise_y(struct fc_lines_ahead *y)
{
    for (int64_t l = 0; l < y->lines; l++, y->data += FC_UNIT_BYTES)
        __builtin_prefetch(y->data, 1);
}

/* One vector of channels of a tile from column `column` on; all but the first four are constants. */
FC_INLINE void depthwise_vector(const struct fc_depthwise_pixels *strip, int64_t column, int64_t c,
                                struct fc_depthwise_ahead *ahead, const bool partial, int lanes,
                                const int kh, const int kw, const int stride, const int rows,
                                const int columns)
{
    ptrdiff_t step;
    const real *weights = depthwise_weights(strip, c, kh * kw, &step);
    vreal sum[FC_DEPTHWISE_ROWS * DEPTHWISE_WIDE];
    FC_UNROLL (o, rows * columns)
        sum[o] = vzero();
    fetch_depthwise_y(&ahead->y);
    FC_UNROLL (r, (rows - 1) * stride + kh) {
        const void *const *pixel = strip->pixel[r] + column * stride;
        ahead->x.data = fetch_ahead(ahead->x.data, ahead->x.lines);
        vreal w[FC_DEPTHWISE_ROWS][5];
        FC_UNROLL (i, rows)
            if (r - i * stride >= 0 && r - i * stride < kh)
                FC_UNROLL (b, kw)
                    w[i][b] = vload(weights + ((r - i * stride) * kw + b) * step);
        FC_UNROLL (q, (columns - 1) * stride + kw) {
            const vreal x = depthwise_x(pixel[q], c, partial, lanes);
            FC_UNROLL (i, rows)
                if (r - i * stride >= 0 && r - i * stride < kh)
                    FC_UNROLL (j, columns)
                        if (q - j * stride >= 0 && q - j * stride < kw)
                            sum[i * columns + j] =
                                vfma(x, w[i][q - j * stride], sum[i * columns + j]);
        }
    }
    put_depthwise(strip, sum, 0, column, rows, columns, c, partial, lanes, true);
}

/* A row of x under a row of taps of the first row of outputs, of the second, or under one of each. As taps
 * go on, x passes through a ring of registers: one load of it, and one of each row of weights, for all
 * outputs of the tile. Of 28 x 28 with 7 x 7 taps this takes 84 % of the peak on Zen 4; a load for each
 * multiply-add, and one row of 4 outputs at a time, took 44 %. */
FC_INLINE void depthwise_taps(const void *const *pixel, int64_t c, const real *w, ptrdiff_t step,
                              ptrdiff_t above, int64_t kw, vreal *sum, const bool first,
                              const bool second, const bool partial, int lanes, const int stride,
                              const int columns)
{
    const int ring = stride * columns;
    const void *const *last = pixel + ring - stride + kw;
    vreal x[2 * DEPTHWISE_RING];
    FC_UNROLL (e, ring - stride)
        x[e] = depthwise_x(*pixel++, c, partial, lanes);
    for (;;) {
#define DEPTHWISE_TAP(n)                                                              \
    if ((n) <= ring) {                                                                \
        x[((n)-1 + ring - stride) % ring] = depthwise_x(*pixel++, c, partial, lanes); \
        const vreal upper = first ? vload(w) : vzero();                               \
        const vreal lower = second ? vload(w - above) : vzero();                      \
        FC_UNROLL (j, columns) {                                                      \
            const vreal of_x = x[((n)-1 + j * stride) % ring];                        \
            if (first)                                                                \
                sum[j] = vfma(of_x, upper, sum[j]);                                   \
            if (second)                                                               \
                sum[columns + j] = vfma(of_x, lower, sum[columns + j]);               \
        }                                                                             \
        w += step;                                                                    \
        if (pixel == last)                                                            \
            return;                                                                   \
    }
        FC_CASES_14(DEPTHWISE_TAP)
#undef DEPTHWISE_TAP
    }
}

/* Any window whose taps lie together: one vector of channels of a tile from column `column` on; the last
 * three are constants. */
FC_INLINE void depthwise_ring(const struct fc_depthwise_pixels *strip, int64_t column, int64_t c,
                              struct fc_depthwise_ahead *ahead, int lanes, const bool partial,
                              const int stride, const int columns)
{
    const int64_t kh = strip->kh, kw = strip->kw, below = strip->row_step;
    const int64_t shared = strip->rows == 2 && below < kh ? below : kh;
    ptrdiff_t step;
    const real *weights = depthwise_weights(strip, c, kh * kw, &step);
    vreal sum[2 * DEPTHWISE_RING];
    FC_UNROLL (o, 2 * columns)
        sum[o] = vzero();
    fetch_depthwise_y(&ahead->y);
    int64_t r = strip->begin;
#define DEPTHWISE_TAPS(until, first, second)                                                \
    FC_ROLLED                                                                               \
    for (; r < (until) && r < strip->end; r++) {                                            \
        ahead->x.data = fetch_ahead(ahead->x.data, ahead->x.lines);                         \
        depthwise_taps(strip->pixel[r] + column * stride, c, weights + r * kw * step, step, \
                       below * kw * step, kw, sum, first, second, partial, lanes, stride,   \
                       columns);                                                            \
    }
    DEPTHWISE_TAPS(shared, true, false)
    DEPTHWISE_TAPS(kh, true, true)
    put_depthwise(strip, sum, 0, column, 1, columns, c, partial, lanes, !DEPTHWISE_MANY);
    if (strip->rows < 2)
        return;
    const int64_t later = below > kh ? below : kh;
    r = r > later ? r : later;
    DEPTHWISE_TAPS(below + kh, false, true)
#undef DEPTHWISE_TAPS
    put_depthwise(strip, sum + columns, 1, column, 1, columns, c, partial, lanes, !DEPTHWISE_MANY);
}

FC_INLINE void depthwise_ring_tile(const struct fc_depthwise_pixels *strip, int64_t column,
                                   const int stride, const int columns)
{
    struct fc_depthwise_ahead ahead = *strip->ahead;
    int64_t c = 0;
    for (; c + LANES <= strip->channels; c += LANES)
        depthwise_ring(strip, column, c, &ahead, LANES, false, stride, columns);
    if (c < strip->channels)
        depthwise_ring(strip, column, c, &ahead, (int)(strip->channels - c), true, stride, columns);
    *strip->ahead = ahead;
}

FC_INLINE void depthwise_tile(const struct fc_depthwise_pixels *strip, int64_t column, const int kh,
                              const int kw, const int stride, const int rows, const int columns)
{
    if (kh == 0) {
        depthwise_ring_tile(strip, column, stride, columns);
        return;
    }
    struct fc_depthwise_ahead ahead = *strip->ahead;
    int64_t c = 0;
    for (; c + LANES <= strip->channels; c += LANES)
        depthwise_vector(strip, column, c, &ahead, false, LANES, kh, kw, stride, rows, columns);
    if (c < strip->channels)
        depthwise_vector(strip, column, c, &ahead, true, (int)(strip->channels - c), kh, kw, stride,
                         rows, columns);
    *strip->ahead = ahead;
}

/* Tiles of `wide` columns, of fewer, or of single ones. The last tile of a row begins where it ends with the
 * row: what it shares with the one before it is computed twice. */
FC_INLINE void depthwise_row(const struct fc_depthwise_pixels *strip, const int kh, const int kw,
                             const int stride, const int rows, const int wide)
{
    enum { FEW = DEPTHWISE_COLUMNS };
    const int64_t columns = strip->columns;
    int64_t j = 0;
    if (wide > FEW && columns >= wide) {
        const int64_t rest = columns % wide, tiled = columns - (rest <= FEW ? rest : 0);
        for (; j < tiled; j += wide)
            depthwise_tile(strip, j + wide <= columns ? j : columns - wide, kh, kw, stride, rows,
                           wide);
    }
    if (columns < FEW) {
        for (; j < columns; j++)
            depthwise_tile(strip, j, kh, kw, stride, rows, 1);
        return;
    }
    for (; j < columns; j += FEW)
        depthwise_tile(strip, j + FEW <= columns ? j : columns - FEW, kh, kw, stride, rows, FEW);
}

/* Any window: `columns` outputs of a row and one vector of channels. */
FC_INLINE void depthwise_any(const struct fc_depthwise_pixels *strip, int64_t i, int64_t column,
                             const int columns, int64_t c, const bool partial, int lanes)
{
    ptrdiff_t step;
    const real *weights = depthwise_weights(strip, c, strip->kh * strip->kw, &step);
    vreal sum[DEPTHWISE_COLUMNS];
    FC_UNROLL (j, columns)
        sum[j] = vzero();
    for (int64_t a = 0; a < strip->kh; a++) {
        const void *const *pixel =
            strip->pixel[i * strip->row_step + a * strip->row_tap] + column * strip->column_step;
        for (int64_t b = 0; b < strip->kw; b++) {
            const vreal w = vload(weights);
            FC_UNROLL (j, columns) {
                const void *x = pixel[j * strip->column_step];
                sum[j] = vfma(depthwise_x(x, c, partial, lanes), w, sum[j]);
            }
            weights += step;
            pixel += strip->column_tap;
        }
    }
    put_depthwise(strip, sum, i, column, 1, columns, c, partial, lanes, false);
}

FC_INLINE void depthwise_any_tile(const struct fc_depthwise_pixels *strip, int64_t i,
                                  int64_t column, const int columns)
{
    int64_t c = 0;
    for (; c + LANES <= strip->channels; c += LANES)
        depthwise_any(strip, i, column, columns, c, false, LANES);
    if (c < strip->channels)
        depthwise_any(strip, i, column, columns, c, true, (int)(strip->channels - c));
}

static __attribute__((noinline)) void depthwise_ring_rows(const struct fc_depthwise_pixels *strip)
{
    depthwise_row(strip, 0, 0, 1, 0, DEPTHWISE_RING);
}

static __attribute__((noinline)) void
depthwise_ring_strided(const struct fc_depthwise_pixels *strip)
{
    depthwise_row(strip, 0, 0, 2, 0, DEPTHWISE_STRIDED);
}

static void depthwise_any_rows(const struct fc_depthwise_pixels *strip)
{
    for (int64_t i = 0; i < strip->rows; i++) {
        int64_t j = 0;
        for (; j + DEPTHWISE_COLUMNS <= strip->columns; j += DEPTHWISE_COLUMNS)
            depthwise_any_tile(strip, i, j, DEPTHWISE_COLUMNS);
        for (; j < strip->columns; j++)
            depthwise_any_tile(strip, i, j, 1);
    }
}

static void depthwise_pixels(const struct fc_depthwise_pixels *strip)
{
    const bool together = strip->row_tap == 1 && strip->column_tap == 1;
    const bool even =
        strip->row_step == strip->column_step && strip->kw < 10 && strip->row_step < 3;
    const int64_t kind = strip->kh * 100 + strip->kw * 10 + strip->row_step;
    const int64_t usual = together && even ? kind * 10 + strip->rows : 0;
    switch (usual) {
#define DEPTHWISE_KIND(kh, kw, stride, rows)                               \
    case kh * 1000 + kw * 100 + stride * 10 + rows:                        \
        depthwise_row(strip, kh, kw, stride, rows,                         \
                      (stride) == 1 ? DEPTHWISE_WIDE : DEPTHWISE_COLUMNS); \
        return;
        DEPTHWISE_KIND(3, 3, 1, 1)
        DEPTHWISE_KIND(3, 3, 1, 2)
        DEPTHWISE_KIND(3, 3, 2, 2)
        /* The phases of gradients of 3 x 3 taps and stride 2. */
        DEPTHWISE_KIND(1, 1, 1, 2)
        DEPTHWISE_KIND(1, 2, 1, 2)
        DEPTHWISE_KIND(2, 1, 1, 2)
        DEPTHWISE_KIND(2, 2, 1, 2)
    }
    /* With 16 registers the tile of 5 x 5 taps is one of 2 x 2, and a ring faster: on Zen 4, held to AVX2, 1152
     * channels of 7 x 7 took 0.48 ms, so 0.35. */
    if (DEPTHWISE_MANY)
        switch (usual) {
            DEPTHWISE_KIND(5, 5, 1, 2)
            DEPTHWISE_KIND(5, 5, 2, 2)
#undef DEPTHWISE_KIND
        }
    if (together && strip->column_step == 1)
        depthwise_ring_rows(strip);
    else if (together && strip->column_step == 2)
        depthwise_ring_strided(strip);
    else
        depthwise_any_rows(strip);
}
