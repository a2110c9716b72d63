/* pool2d_pixel_strips.inc.h: windows of 3 x 3 that slide by one, and the way back of their averages, also of those that
 * step by two, where channels lie together.
 *
 * Rows of a strip are walked a vector of channels at a time: an element is read, and on the way back divided, once,
 * where windows by themselves read it nine times. The sum, or the best, of three elements of a row waits in the nearest
 * cache for the two rows of windows below that have them too. Of 35x35x192 and a batch of 8, 7.5 MB each way, averages
 * take 0.32 ms, where memory takes 0.18 to copy it and windows by themselves took 0.55, and 0.84 back; 0.35 where the
 * row below is not asked for meanwhile. A multiplication in place of the division gains nothing. A maximum takes four
 * operations for it and three comparisons for NaN, where windows by themselves took fourteen: 14x14x480 in
 * 0.13 ms, not 0.21.
 *
 * Windows that step by two keep a row of what they give: 28x28x240 back takes 0.115 ms, where three passes took
 * 0.286. */

/* Of an average a sum; else the better of two, of equal ones the first, or a NaN if there is one. */
FC_INLINE vreal pixel_both(vreal first, vreal second, fc_pooling pooling)
{
    if (pooling == FC_AVG)
        return vadd(first, second);
    return vselect(visnumber(second), pool_of(second, first, pooling), second);
}

/* What a pixel gives to each of its windows. */
FC_INLINE vreal pixel_given(const struct fc_pool2d_pixel_strip *strip, const real *x, int64_t w,
                            vreal row_divisor, const bool back)
{
    const vreal a = vload(x + w * strip->x_pixel);
    return back ? vdiv(a, vmul(row_divisor, vset1(((const real *)strip->divisors)[w]))) : a;
}

/* A vector of a row of the strip: what its threes come to goes where that of the row two before it was, and the row of
 * windows that it completes to y, if there is one. x is NULL for the row after the last, which is padding. */
FC_INLINE void pixel_row(const struct fc_pool2d_pixel_strip *strip, const real *x, real *y,
                         vreal row_divisor, const real *above, real *kept, fc_pooling pooling,
                         const bool back)
{
    const vreal none = pool_identity(pooling);
    const int64_t inside = x ? strip->columns - !strip->right : 0;
    vreal before = none, at = none;
    if (x && strip->left)
        before = pixel_given(strip, x, -1, row_divisor, back);
    if (x)
        at = pixel_given(strip, x, 0, row_divisor, back);
    for (int64_t w = 0; w < strip->columns; w++) {
        vreal after = none;
        if (w < inside) {
            __builtin_prefetch(x + strip->x_row + (w + 1) * strip->x_pixel);
            after = pixel_given(strip, x, w + 1, row_divisor, back);
        }
        const vreal row = pixel_both(pixel_both(before, at, pooling), after, pooling);
        vreal window = vload(kept + w * LANES);
        if (pooling == FC_AVG)
            window = vadd(vzero(), window);
        window = pixel_both(window, vload(above + w * LANES), pooling);
        window = pixel_both(window, row, pooling);
        vstore(kept + w * LANES, row);
        before = at;
        at = after;
        if (!y)
            continue;
        if (pooling == FC_AVG && !back)
            window = vdiv(window, vmul(row_divisor, vset1(((const real *)strip->divisors)[w])));
        if (strip->stream)
            vstream(y + w * strip->y_pixel, window);
        else
            vstore(y + w * strip->y_pixel, window);
    }
}

FC_INLINE void pixel_rows(const struct fc_pool2d_pixel_strip *given, fc_pooling pooling,
                          const bool back)
{
    const struct fc_pool2d_pixel_strip strip = *given;
    const real *row_divisors = strip.row_divisors;
    const ptrdiff_t row_elements = strip.columns * ((strip.lanes + LANES - 1) / LANES * LANES);
    real *rows[2] = {strip.kept, (real *)strip.kept + row_elements};
    for (ptrdiff_t i = 0; i < 2 * row_elements; i += LANES)
        vstore(rows[0] + i, pool_identity(pooling));
    for (int64_t h = 0; h <= strip.rows; h++) {
        const real *x = h < strip.rows ? (const real *)strip.x + h * strip.x_row : NULL;
        real *y = h > 0 ? (real *)strip.y + (h - 1) * strip.y_row : NULL;
        real *kept = rows[h % 2];
        const real *above = rows[(h + 1) % 2];
        const vreal divisor = pooling == FC_AVG ? vset1(row_divisors[back ? h : h - 1]) : vzero();
        for (int64_t l = 0; l < strip.lanes; l += LANES) {
            const int64_t lane = l + LANES <= strip.lanes ? l : strip.lanes - LANES;
            pixel_row(&strip, x ? x + lane : NULL, y ? y + lane : NULL, divisor, above, kept,
                      pooling, back);
            above += strip.columns * LANES;
            kept += strip.columns * LANES;
        }
    }
}

static void slide_pixels_max(const struct fc_pool2d_pixel_strip *strip)
{
    pixel_rows(strip, FC_MAX, false);
}

static void slide_pixels_min(const struct fc_pool2d_pixel_strip *strip)
{
    pixel_rows(strip, FC_MIN, false);
}

static void slide_pixels_avg(const struct fc_pool2d_pixel_strip *strip)
{
    pixel_rows(strip, FC_AVG, false);
}

static void slide_pixels_dx(const struct fc_pool2d_pixel_strip *strip)
{
    pixel_rows(strip, FC_AVG, true);
}

/* Two elements of a row of dx, of which column c is the first, that windows give `even` and `odd`. */
FC_INLINE void pixel_put_pair(const struct fc_pool2d_pixel_strip *strip, real *dx, int64_t c,
                              vreal even, vreal odd)
{
    real *to = dx + c * strip->y_pixel;
    if (c >= 0 && c < strip->width)
        vstore(to, even);
    if (c + 1 < strip->width)
        vstore(to + strip->y_pixel, odd);
}

/* What a row of windows gives to a vector of the row of dx that the windows before it have too, and to that of its
 * middle: either may be NULL. dy is NULL after the last row. */
FC_INLINE void pixel_pairs(const struct fc_pool2d_pixel_strip *strip, const real *dy, real *shared,
                           real *middle, vreal row_divisor, real *kept)
{
    vreal last = vzero(), last_above = vzero();
    for (int64_t w = 0; w <= strip->columns; w++) {
        vreal at = vzero();
        if (dy && w < strip->columns)
            at = pixel_given(strip, dy, w, row_divisor, true);
        const vreal above = vload(kept + w * LANES);
        const vreal even = vadd(last, at), even_above = vadd(last_above, above);
        if (shared)
            pixel_put_pair(strip, shared, 2 * w - strip->before,
                           vadd(vadd(vzero(), even_above), even), vadd(vadd(vzero(), above), at));
        if (middle)
            pixel_put_pair(strip, middle, 2 * w - strip->before, vadd(vzero(), even),
                           vadd(vzero(), at));
        vstore(kept + w * LANES, at);
        last = at;
        last_above = above;
    }
}

static void step_pixels_dx(const struct fc_pool2d_pixel_strip *given)
{
    const struct fc_pool2d_pixel_strip strip = *given;
    for (int64_t i = 0; i < (strip.columns + 1) * ((strip.lanes + LANES - 1) / LANES); i++)
        vstore((real *)strip.kept + i * LANES, vzero());
    for (int64_t h = 0; h <= strip.rows; h++) {
        const int64_t row = 2 * h - strip.above;
        const real *dy = h < strip.rows ? (const real *)strip.x + h * strip.x_row : NULL;
        real *dx = (real *)strip.y + row * strip.y_row, *kept = strip.kept;
        const vreal divisor = vset1(((const real *)strip.row_divisors)[h]);
        for (int64_t l = 0; l < strip.lanes; l += LANES) {
            const int64_t lane = l + LANES <= strip.lanes ? l : strip.lanes - LANES;
            pixel_pairs(&strip, dy ? dy + lane : NULL,
                        row >= 0 && row < strip.height ? dx + lane : NULL,
                        row + 1 < strip.height ? dx + strip.y_row + lane : NULL, divisor, kept);
            kept += (strip.columns + 1) * LANES;
        }
    }
}
