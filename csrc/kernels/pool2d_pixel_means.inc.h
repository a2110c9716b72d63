/* pool2d_pixel_means.inc.h: averages over windows of 3 x 3 that slide by one, and the way back, also of those that
 * step by two, where channels lie together.
 *
 * Rows of a strip are walked a vector of channels at a time: an element is read, and on the way back divided, once,
 * where windows by themselves read it nine times. Sums of three elements of a row wait in the nearest cache for the
 * two rows of windows below that have them too. Of 35x35x192 and a batch of 8, 7.5 MB each way, that takes 0.32 ms,
 * where memory takes 0.18 to copy it and windows by themselves took 0.55, and 0.84 back; 0.35 where the row below is
 * not asked for meanwhile. A multiplication in place of the division gains nothing.
 *
 * Windows that step by two keep a row of what they give: 28x28x240 back takes 0.115 ms, where three passes took
 * 0.286. */

/* What a pixel gives to each of its windows. */
FC_INLINE vreal pixel_given(const struct fc_pool2d_pixel_means *means, const real *x, int64_t w,
                            vreal row_divisor, const bool back)
{
    const vreal a = vload(x + w * means->x_pixel);
    return back ? vdiv(a, vmul(row_divisor, vset1(((const real *)means->divisors)[w]))) : a;
}

/* A vector of a row of the strip: its sums go where those of the row two before it were, and the row of windows that
 * it completes to y, if there is one. x is NULL for the row after the last, which is one of zeros. */
FC_INLINE void pixel_row(const struct fc_pool2d_pixel_means *means, const real *x, real *y,
                         vreal row_divisor, const real *above, real *sums, const bool back)
{
    const int64_t inside = x ? means->columns - !means->right : 0;
    vreal before = vzero(), at = vzero();
    if (x && means->left)
        before = pixel_given(means, x, -1, row_divisor, back);
    if (x)
        at = pixel_given(means, x, 0, row_divisor, back);
    for (int64_t w = 0; w < means->columns; w++) {
        vreal after = vzero();
        if (w < inside) {
            __builtin_prefetch(x + means->x_row + (w + 1) * means->x_pixel);
            after = pixel_given(means, x, w + 1, row_divisor, back);
        }
        const vreal row = vadd(vadd(before, at), after);
        const vreal first = vadd(vzero(), vload(sums + w * LANES));
        const vreal sum = vadd(vadd(first, vload(above + w * LANES)), row);
        vstore(sums + w * LANES, row);
        before = at;
        at = after;
        if (!y)
            continue;
        const vreal divisor = vmul(row_divisor, vset1(((const real *)means->divisors)[w]));
        const vreal result = back ? sum : vdiv(sum, divisor);
        if (means->stream)
            vstream(y + w * means->y_pixel, result);
        else
            vstore(y + w * means->y_pixel, result);
    }
}

FC_INLINE void pixel_strip(const struct fc_pool2d_pixel_means *given, const bool back)
{
    const struct fc_pool2d_pixel_means means = *given;
    const real *row_divisors = means.row_divisors;
    const ptrdiff_t row_elements = means.columns * ((means.lanes + LANES - 1) / LANES * LANES);
    for (int64_t h = 0; h <= means.rows; h++) {
        const real *x = h < means.rows ? (const real *)means.x + h * means.x_row : NULL;
        real *y = h > 0 ? (real *)means.y + (h - 1) * means.y_row : NULL;
        real *sums = (real *)means.sums + h % 2 * row_elements;
        const real *above = (real *)means.sums + (h + 1) % 2 * row_elements;
        const vreal divisor = vset1(row_divisors[back ? h : h - 1]);
        for (int64_t l = 0; l < means.lanes; l += LANES) {
            const int64_t lane = l + LANES <= means.lanes ? l : means.lanes - LANES;
            pixel_row(&means, x ? x + lane : NULL, y ? y + lane : NULL, divisor, above, sums, back);
            above += means.columns * LANES;
            sums += means.columns * LANES;
        }
    }
}

static void slide_pixels(const struct fc_pool2d_pixel_means *means) { pixel_strip(means, false); }
static void slide_pixels_dx(const struct fc_pool2d_pixel_means *means) { pixel_strip(means, true); }

/* Two elements of a row of dx, of which column c is the first, that windows give `even` and `odd`. */
FC_INLINE void pixel_put_pair(const struct fc_pool2d_pixel_means *means, real *dx, int64_t c,
                              vreal even, vreal odd)
{
    real *to = dx + c * means->y_pixel;
    if (c >= 0 && c < means->width)
        vstore(to, even);
    if (c + 1 < means->width)
        vstore(to + means->y_pixel, odd);
}

/* What a row of windows gives to a vector of the row of dx that the windows before it have too, and to that of its
 * middle: either may be NULL. dy is NULL after the last row. */
FC_INLINE void pixel_pairs(const struct fc_pool2d_pixel_means *means, const real *dy, real *shared,
                           real *middle, vreal row_divisor, real *kept)
{
    vreal last = vzero(), last_above = vzero();
    for (int64_t w = 0; w <= means->columns; w++) {
        vreal at = vzero();
        if (dy && w < means->columns)
            at = pixel_given(means, dy, w, row_divisor, true);
        const vreal above = vload(kept + w * LANES);
        const vreal even = vadd(last, at), even_above = vadd(last_above, above);
        if (shared)
            pixel_put_pair(means, shared, 2 * w - means->before,
                           vadd(vadd(vzero(), even_above), even), vadd(vadd(vzero(), above), at));
        if (middle)
            pixel_put_pair(means, middle, 2 * w - means->before, vadd(vzero(), even),
                           vadd(vzero(), at));
        vstore(kept + w * LANES, at);
        last = at;
        last_above = above;
    }
}

static void step_pixels_dx(const struct fc_pool2d_pixel_means *given)
{
    const struct fc_pool2d_pixel_means means = *given;
    for (int64_t h = 0; h <= means.rows; h++) {
        const int64_t row = 2 * h - means.above;
        const real *dy = h < means.rows ? (const real *)means.x + h * means.x_row : NULL;
        real *dx = (real *)means.y + row * means.y_row, *kept = means.sums;
        const vreal divisor = vset1(((const real *)means.row_divisors)[h]);
        for (int64_t l = 0; l < means.lanes; l += LANES) {
            const int64_t lane = l + LANES <= means.lanes ? l : means.lanes - LANES;
            pixel_pairs(&means, dy ? dy + lane : NULL,
                        row >= 0 && row < means.height ? dx + lane : NULL,
                        row + 1 < means.height ? dx + means.y_row + lane : NULL, divisor, kept);
            kept += (means.columns + 1) * LANES;
        }
    }
}
