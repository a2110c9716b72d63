/* pool2d_means.inc.h: averages over windows of 3 x 3 of planes, and the way back, where columns lie together.
 *
 * Windows of a column have sums of three elements of a row in common, which are taken once. Windows that slide by one
 * walk a plane as one run, twice: its sums go to scratch in the nearest cache, and tables tell where rows end and
 * by what is divided, so that 17 columns fill as many lanes as 16. In one walk a vector of sums was read
 * again before it had left for the cache, in other pieces than it was stored: 17 x 17 took twice as long.
 *
 * Windows that step by two are walked row by row, two of x or dx with one of theirs, from even and odd columns. */

/* As many elements as are left, and then zeros: without a branch that would be many times in the code. */
FC_INLINE vreal mean_load(const real *x, int64_t left)
{
    const int64_t most = left < LANES ? left : LANES;
    return vload_first(x, most > 0 ? (int)most : 0);
}

/* ------------------------------------------------------------------- by one */

/* Elements of a plane from `at` on: the way back divides them. */
FC_INLINE vreal mean_given(const struct fc_pool2d_means *means, const real *x, int64_t at,
                           int64_t left, const bool back)
{
    const vreal a = mean_load(x + at, left);
    return back ? vdiv(a, vload((const real *)means->divisors + at)) : a;
}

/* A vector of a plane, with those beside it. */
struct mean_lanes {
    vreal before, at;
};

/* What each element and those to either side of it in its row add up to; `left` elements are left of the next
 * vector. */
FC_INLINE void mean_sums(const struct fc_pool2d_means *means, const real *x, int64_t at,
                         int64_t left, struct mean_lanes *lanes, const bool back)
{
    const integer *inside = (const integer *)means->inside + at;
    const vreal after = mean_given(means, x, at + LANES, left, back);
    const vint first = viand(vas_int(vbefore(lanes->before, lanes->at)), viload(inside));
    const vint last = viand(vas_int(vafter(lanes->at, after)), viload(inside + 1));
    vstore((real *)means->sums + means->columns + at,
           vadd(vadd(vas_real(first), lanes->at), vas_real(last)));
    lanes->before = lanes->at;
    lanes->at = after;
}

FC_INLINE vreal mean_window(const struct fc_pool2d_means *means, int64_t at, const bool back)
{
    const real *sums = (const real *)means->sums + at;
    const vreal above = vadd(vzero(), vload(sums)), beside = vload(sums + means->columns);
    const vreal sum = vadd(vadd(above, beside), vload(sums + 2 * means->columns));
    return back ? sum : vdiv(sum, vload((const real *)means->divisors + at));
}

FC_INLINE void slide_planes(const struct fc_pool2d_means *given, const bool back)
{
    const struct fc_pool2d_means means = *given;
    const int64_t elements = means.rows * means.columns;
    for (int64_t p = 0; p < means.planes; p++) {
        const real *x = (const real *)means.x + p * means.x_plane;
        real *y = (real *)means.y + p * means.y_plane;
        struct mean_lanes lanes = {.before = vzero(),
                                   .at = mean_given(&means, x, 0, elements, back)};
        int64_t at = 0;
        for (; at + 2 * LANES <= elements; at += LANES)
            mean_sums(&means, x, at, LANES, &lanes, back);
        for (; at < elements; at += LANES)
            mean_sums(&means, x, at, elements - at - LANES, &lanes, back);
        for (at = 0; at + LANES <= elements; at += LANES)
            vstore(y + at, mean_window(&means, at, back));
        if (at < elements)
            vstore_first(y + at, mean_window(&means, at, back), (int)(elements - at));
    }
}

static void slide_means(const struct fc_pool2d_means *means) { slide_planes(means, false); }
static void slide_means_dx(const struct fc_pool2d_means *means) { slide_planes(means, true); }

/* ------------------------------------------------------------------- by two */

/* Sums of three columns of windows from w on; *last is the third column of the window before lane 0. */
FC_INLINE vreal mean_pairs(const struct fc_pool2d_means *means, const real *x, int64_t w,
                           vreal *last)
{
    const int64_t at = 2 * w + 1 - means->before, left = means->width - at;
    const vreal a = mean_load(x + at, left), b = mean_load(x + at + LANES, left - LANES);
    const vreal third = vodds(a, b), first = vbefore(*last, third);
    *last = third;
    return vadd(vadd(first, vevens(a, b)), third);
}

/* Windows of a row divide by these; a product of two small numbers is exact. */
FC_INLINE vreal mean_divisor(const struct fc_pool2d_means *means, int64_t row, int64_t w)
{
    const vreal columns = vload((const real *)means->divisors + w);
    return vmul(columns, vset1(((const real *)means->row_divisors)[row]));
}

/* The sums of their first row wait in scratch, where they leave those of their last; a row that is not there is one of
 * zeros. Before the first row of windows there is one that is not stored. */
FC_INLINE void mean_row(const struct fc_pool2d_means *means, const real *x, real *y, int64_t row)
{
    const int64_t middle = 2 * row + 1 - means->above;
    real *sums = means->sums;
    const real *x_row[2];
    vreal last[2];
    FC_UNROLL (i, 2) {
        const bool there = middle + i >= 0 && middle + i < means->height;
        x_row[i] = there ? x + (middle + i) * means->x_row : sums + means->pitch;
        last[i] = means->before ? vzero() : vset1(x_row[i][0]);
    }
    for (int64_t w = 0; w < means->columns; w += LANES) {
        vreal sum = vadd(vzero(), vload(sums + w));
        sum = vadd(sum, mean_pairs(means, x_row[0], w, &last[0]));
        const vreal below = mean_pairs(means, x_row[1], w, &last[1]);
        vstore(sums + w, below);
        if (row < 0)
            continue;
        const int64_t left = means->columns - w;
        const vreal mean = vdiv(vadd(sum, below), mean_divisor(means, row, w));
        vstore_first(y + w, mean, left < LANES ? (int)left : LANES);
    }
}

static void step_means(const struct fc_pool2d_means *given)
{
    const struct fc_pool2d_means means = *given;
    for (int64_t p = 0; p < means.planes; p++) {
        const real *x = (const real *)means.x + p * means.x_plane;
        real *y = (real *)means.y + p * means.y_plane;
        for (int64_t row = -1; row < means.rows; row++)
            mean_row(&means, x, y + row * means.y_row, row);
    }
}

/* What windows from w on give each of their elements; those of the row after the last one nothing. */
FC_INLINE vreal mean_gradients(const struct fc_pool2d_means *means, const real *dy, int64_t row,
                               int64_t w)
{
    const int64_t columns = row < means->rows ? means->columns : 0;
    return vdiv(mean_load(dy + w, columns - w), mean_divisor(means, row, w));
}

/* Even and odd columns of a row from where they are stored, of which `left` are left. */
FC_INLINE void mean_store_pairs(real *dx, vreal even, vreal odd, int64_t left)
{
    const int most = left < 2 * LANES ? (int)left : 2 * LANES;
    vstore_first(dx, vzip_low(even, odd), most < LANES ? most : LANES);
    if (most > LANES)
        vstore_first(dx + LANES, vzip_high(even, odd), most - LANES);
}

/* The row of dx that windows of the row before have too, and that of their middle: one may be missing, or both. */
FC_INLINE void mean_row_dx(const struct fc_pool2d_means *means, const real *dy, real *dx,
                           int64_t row)
{
    const int64_t shared = 2 * row - means->above, width = means->width;
    const bool has_shared = shared >= 0 && shared < means->height;
    const bool has_middle = shared + 1 < means->height;
    real *to = dx + shared * means->y_row, *evens = means->sums, *odds = evens + means->pitch;
    vreal last = vzero(), at = mean_gradients(means, dy, row, 0);
    for (int64_t w = 0; 2 * w < width; w += LANES) {
        vreal next = vzero();
        if (w + LANES < means->columns)
            next = mean_gradients(means, dy, row, w + LANES);
        vreal even = at, odd = at;
        if (means->before)
            odd = vadd(at, vafter(at, next));
        else
            even = vadd(vbefore(last, at), at);
        const vreal above[2] = {vload(evens + w), vload(odds + w)};
        vstore(evens + w, even);
        vstore(odds + w, odd);
        if (has_shared)
            mean_store_pairs(to + 2 * w, vadd(vadd(vzero(), above[0]), even),
                             vadd(vadd(vzero(), above[1]), odd), width - 2 * w);
        if (has_middle)
            mean_store_pairs(to + means->y_row + 2 * w, vadd(vzero(), even), vadd(vzero(), odd),
                             width - 2 * w);
        last = at;
        at = next;
    }
}

static void step_means_dx(const struct fc_pool2d_means *given)
{
    const struct fc_pool2d_means means = *given;
    for (int64_t p = 0; p < means.planes; p++) {
        const real *dy = (const real *)means.x + p * means.x_plane;
        real *dx = (real *)means.y + p * means.y_plane, *sums = means.sums;
        for (int64_t w = 0; w < 2 * means.pitch; w += LANES)
            vstore(sums + w, vzero());
        for (int64_t row = 0; row <= means.rows; row++, dy += means.x_row)
            mean_row_dx(&means, dy, dx, row);
    }
}
