/* depthwise.inc.h: depthwise convolution, with channels in the lanes or with columns.
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
 * Planes: the outputs of all rows as one long row, gaps included, so that narrow planes do not end in
 * ragged vectors: 19 columns of 21 are of use, where rows of 19 would fill 19 lanes of 32. A tap is a
 * shift of x: 36 loads, most of them across two cache lines, for 36 multiply-adds on 4 vectors. */
enum {
    DEPTHWISE_COLUMNS = TILE_PIXELS * TILE_VECTORS >= 20 ? 4 : 2,
    DEPTHWISE_WIDE = TILE_PIXELS * TILE_VECTORS >= 20 ? 7 : 2, /* with stride 1 */
    PLANE_VECTORS = 4
};

/* Sums of a vector of channels become y, with residuals: `columns` of each row, one after the other in
 * memory. */
static __attribute__((noinline)) void finish_depthwise(const struct fc_depthwise_pixels *strip,
                                                       const real *sums, int64_t row,
                                                       int64_t column, int rows, int columns,
                                                       int64_t c, int lanes)
{
    const vreal bias =
        strip->bias ? vload_first((const real *)strip->bias + c, lanes) : vset1((real)-0.0);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            vreal sum = vadd(vload(sums + (i * columns + j) * LANES), bias);
            sum = vadd(sum,
                       vload_first((const real *)strip->residual + (row + i) * strip->residual_row +
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
                             const bool partial, int lanes)
{
    if (strip->residual) {
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
    if (strip->activation == FC_RELU)
        FC_UNROLL (o, rows * columns)
            sum[o] = relu(sum[o]);
    else if (strip->activation == FC_RELU6)
        FC_UNROLL (o, rows * columns)
            sum[o] = relu6(sum[o]);
    real *y = (real *)strip->y + row * strip->y_row + column * strip->y_pixel + c;
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
            const real *p = (const real *)pixel[q] + c;
            const vreal x = partial ? vload_first(p, lanes) : vload(p);
            FC_UNROLL (i, rows)
                if (r - i * stride >= 0 && r - i * stride < kh)
                    FC_UNROLL (j, columns)
                        if (q - j * stride >= 0 && q - j * stride < kw)
                            sum[i * columns + j] =
                                vfma(x, w[i][q - j * stride], sum[i * columns + j]);
        }
    }
    put_depthwise(strip, sum, 0, column, rows, columns, c, partial, lanes);
}

FC_INLINE void depthwise_tile(const struct fc_depthwise_pixels *strip, int64_t column, const int kh,
                              const int kw, const int stride, const int rows, const int columns)
{
    struct fc_depthwise_ahead ahead = *strip->ahead;
    int64_t c = 0;
    for (; c + LANES <= strip->channels; c += LANES)
        depthwise_vector(strip, column, c, &ahead, false, LANES, kh, kw, stride, rows, columns);
    if (c < strip->channels)
        depthwise_vector(strip, column, c, &ahead, true, (int)(strip->channels - c), kh, kw, stride,
                         rows, columns);
    *strip->ahead = ahead;
}

/* The last tile of a row begins where it ends with the row: what it shares with the one before it is
 * computed twice. */
FC_INLINE void depthwise_row(const struct fc_depthwise_pixels *strip, const int kh, const int kw,
                             const int stride, const int rows)
{
    enum { FEW = DEPTHWISE_COLUMNS };
    const int wide = stride == 1 ? DEPTHWISE_WIDE : FEW;
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

FC_INLINE void depthwise_rows(const struct fc_depthwise_pixels *strip, const int kh, const int kw,
                              const int stride)
{
    if (strip->rows == 2)
        depthwise_row(strip, kh, kw, stride, 2);
    else
        depthwise_row(strip, kh, kw, stride, 1);
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
                const real *p = (const real *)pixel[j * strip->column_step] + c;
                sum[j] = vfma(partial ? vload_first(p, lanes) : vload(p), w, sum[j]);
            }
            weights += step;
            pixel += strip->column_tap;
        }
    }
    put_depthwise(strip, sum, i, column, 1, columns, c, partial, lanes);
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

static void depthwise_pixels(const struct fc_depthwise_pixels *strip)
{
    const bool dense = strip->row_tap == 1 && strip->column_tap == 1 &&
                       strip->row_step == strip->column_step && strip->kw < 10 &&
                       strip->row_step < 10;
    switch (dense ? strip->kh * 100 + strip->kw * 10 + strip->row_step : 0) {
#define DEPTHWISE_KIND(kh, kw, stride)         \
    case kh * 100 + kw * 10 + stride:          \
        depthwise_rows(strip, kh, kw, stride); \
        return;
        DEPTHWISE_KIND(3, 3, 1)
        DEPTHWISE_KIND(3, 3, 2)
        DEPTHWISE_KIND(5, 5, 1)
        DEPTHWISE_KIND(5, 5, 2)
        /* The phases of gradients of 3 x 3 taps and stride 2. */
        DEPTHWISE_KIND(1, 1, 1)
        DEPTHWISE_KIND(1, 2, 1)
        DEPTHWISE_KIND(2, 1, 1)
        DEPTHWISE_KIND(2, 2, 1)
#undef DEPTHWISE_KIND
    }
    for (int64_t i = 0; i < strip->rows; i++) {
        int64_t j = 0;
        for (; j + DEPTHWISE_COLUMNS <= strip->columns; j += DEPTHWISE_COLUMNS)
            depthwise_any_tile(strip, i, j, DEPTHWISE_COLUMNS);
        for (; j < strip->columns; j++)
            depthwise_any_tile(strip, i, j, 1);
    }
}

/* ------------------------------------------------------------------ planes */

/* Row i of outputs, from the strip to y. */
static void finish_plane_row(const struct fc_depthwise_plane *plane, int64_t i)
{
    const struct fc_finish finish = {
        .block = {.y = (real *)plane->y + i * plane->y_row, .y_pixel = plane->y_pixel},
        .bias = plane->bias,
        .residual =
            plane->residual ? (const real *)plane->residual + i * plane->residual_row : NULL,
        .residual_pixel = plane->residual_pixel,
        .activation = plane->activation,
    };
    finish_row(&finish, (const real *)plane->strip + i * plane->pitch, 0, plane->columns, 0);
}

/* Four vectors of the long row of outputs; taps is a constant where it is a usual number. */
FC_INLINE void plane_sums(const struct fc_depthwise_plane *plane, const int64_t taps)
{
    const real *x = plane->x, *kernel = plane->kernel;
    real *strip = plane->strip;
    for (int64_t o = 0; o < plane->rows * plane->pitch; o += PLANE_VECTORS * LANES) {
        vreal sum[PLANE_VECTORS];
        FC_UNROLL (v, PLANE_VECTORS)
            sum[v] = vzero();
        for (int64_t t = 0; t < taps; t++) {
            const vreal w = vset1(kernel[t * plane->kernel_step]);
            const real *shifted = x + plane->offset[t] + o;
            FC_UNROLL (v, PLANE_VECTORS)
                sum[v] = vfma(vload(shifted + v * LANES), w, sum[v]);
        }
        FC_UNROLL (v, PLANE_VECTORS)
            vstore(strip + o + v * LANES, sum[v]);
    }
}

static void depthwise_plane(const struct fc_depthwise_plane *plane)
{
    const bool plain =
        !plane->bias && !plane->residual && plane->activation == FC_LINEAR && plane->y_pixel == 1;
    plane_sums(plane, plane->taps);
    for (int64_t i = 0; i < plane->rows; i++)
        if (plain)
            copy_line((const real *)plane->strip + i * plane->pitch,
                      (real *)plane->y + i * plane->y_row, plane->columns);
        else
            finish_plane_row(plane, i);
}

static void pack_depthwise_band(const struct fc_depthwise_band *band)
{
    const vreal value = vset1((real)band->value);
    const int64_t phases = band->column_phases, left = band->left;
    real *all = band->to;
    int64_t e = 0;
    for (; e + LANES <= band->elements; e += LANES)
        vstore(all + e, value);
    if (e < band->elements)
        vstore_first(all + e, value, (int)(band->elements - e));
    for (int64_t r = 0; r < band->rows; r++) {
        const real *x = (const real *)band->x + r * band->x_row;
        const int64_t t = band->top + r;
        real *to = all + t % band->row_phases * phases * band->phase_elements +
                   t / band->row_phases * band->pitch;
        if (phases == 1) {
            copy_line(x, to + left, band->columns);
        } else if (phases == 2) {
            const int64_t odd = left % 2;
            if (odd)
                to[band->phase_elements + left / 2] = x[0];
            split_pairs(x + odd, to + (left + odd) / 2,
                        to + band->phase_elements + (left + odd) / 2, band->columns - odd);
        } else {
            for (int64_t j = 0; j < band->columns; j++)
                to[(left + j) % phases * band->phase_elements + (left + j) / phases] = x[j];
        }
    }
}
