/* pool2d_rows.inc.h: what pooling does to whole rows: parting and joining their even and odd
 * elements, filling planes, and repeating columns. */

/* What is left after whole vectors depends on count alone, so that its masks leave a loop over rows. */
FC_INLINE void split_row(const real *x, real *even, real *odd, int64_t count)
{
    const int rest = (int)(count % (2 * LANES));
    for (int64_t left = count; left >= 2 * LANES; left -= 2 * LANES) {
        const vreal a = vload(x), b = vload(x + LANES);
        vstore(even, vevens(a, b));
        vstore(odd, vodds(a, b));
        x += 2 * LANES;
        even += LANES;
        odd += LANES;
    }
    if (rest == 0)
        return;
    const vreal a = vload_first(x, rest < LANES ? rest : LANES);
    const vreal b = rest > LANES ? vload_first(x + LANES, rest - LANES) : vzero();
    vstore_first(even, vevens(a, b), (rest + 1) / 2);
    if (rest > 1)
        vstore_first(odd, vodds(a, b), rest / 2);
}

FC_INLINE void merge_row(const real *even, const real *odd, real *y, int64_t count)
{
    const int rest = (int)(count % (2 * LANES));
    for (int64_t left = count; left >= 2 * LANES; left -= 2 * LANES) {
        const vreal a = vload(even), b = vload(odd);
        vstore(y, vzip_low(a, b));
        vstore(y + LANES, vzip_high(a, b));
        y += 2 * LANES;
        even += LANES;
        odd += LANES;
    }
    if (rest == 0)
        return;
    const vreal a = vload_first(even, (rest + 1) / 2);
    const vreal b = rest > 1 ? vload_first(odd, rest / 2) : vzero();
    vstore_first(y, vzip_low(a, b), rest < LANES ? rest : LANES);
    if (rest > LANES)
        vstore_first(y + LANES, vzip_high(a, b), rest - LANES);
}

static void split_pairs(const void *x, void *even, void *odd, int64_t count)
{
    split_row(x, even, odd, count);
}

static void merge_pairs(const void *even, const void *odd, void *y, int64_t count)
{
    merge_row(even, odd, y, count);
}

/* 7 x 7 planes take three stores and a masked one. */
static void spread_values(const void *values, int64_t planes, int64_t elements, void *target,
                          ptrdiff_t y_plane)
{
    const real *value = values;
    const int rest = (int)(elements % LANES);
    for (int64_t p = 0; p < planes; p++) {
        real *y = (real *)target + p * y_plane;
        const vreal all = vset1(value[p]);
        for (int64_t i = LANES; i <= elements; i += LANES, y += LANES)
            vstore(y, all);
        if (rest)
            vstore_first(y, all, rest);
    }
}

/* What a vector holds beyond its column is written over by the next one. */
FC_INLINE real *stretch_run(real *y, vreal all, int64_t elements)
{
    for (int64_t i = 0; i < elements; i += LANES)
        vstore(y + i, all);
    return y + elements;
}

FC_INLINE real *stretch_copy(real *y, const real *x, int64_t elements)
{
    for (int64_t i = 0; i < elements; i += LANES)
        vstore(y + i, vload(x + i));
    return y + elements;
}

static void stretch_columns(const struct fc_pool2d_stretch *stretch)
{
    const int64_t channels = stretch->channels, gap = stretch->times - stretch->kept;
    for (int64_t p = 0; p < stretch->planes; p++) {
        const real *x = (const real *)stretch->x + p * stretch->x_plane;
        real *y = (real *)stretch->y + p * stretch->y_plane;
        for (int64_t j = 0; j < stretch->columns; j++, x += channels) {
            if (channels == 1)
                y = stretch_run(y, vset1(*x), stretch->kept);
            else
                for (int64_t t = 0; t < stretch->kept; t++)
                    y = stretch_copy(y, x, channels);
            y = stretch_run(y, vzero(), gap * channels);
        }
    }
}
