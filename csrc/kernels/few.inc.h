/* few.inc.h: sums of few outputs, where a row of taps shares the lanes.
 *
 * row_dkernel is dkernel_tile for a dy whose "outputs" are the outputs of a whole row of taps, read
 * from rows of dy at a pixel's pitch: vectors of neighbouring pixels overlap. For LeNet's first layer
 * a pixel of x takes 2 loads of dy (4 where they cross lines) and 5 broadcasts, one a kernel row, for
 * 10 multiply-adds: 9 reads on 2 ports in the 5 cycles that the multiply-adds take, and 10 chains for
 * the 8 that their latency asks for. */
FC_INLINE void row_dkernel_sums(const struct fc_row_dkernel *tile, const int elements,
                                const int vectors)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    FC_UNROLL (e, elements)
        FC_UNROLL (v, vectors)
            sum[e][v] = vzero();

    for (int64_t row = 0; row < tile->rows; row++) {
        const real *x = (const real *)tile->x + row * tile->x_row;
        const real *dy = (const real *)tile->dy + row * tile->dy_row;
        for (int64_t p = 0; p < tile->width; p++, x += tile->x_step, dy += tile->dy_step) {
            vreal d[TILE_VECTORS];
            FC_UNROLL (v, vectors)
                d[v] = vload(dy + v * LANES);
            FC_UNROLL (e, elements)
                FC_UNROLL (v, vectors)
                    sum[e][v] = vfma(vset1(x[e]), d[v], sum[e][v]);
        }
    }
    FC_UNROLL (e, elements)
        FC_UNROLL (v, vectors) {
            real *dkernel = (real *)tile->dkernel + e * tile->dkernel_step + v * LANES;
            vstore(dkernel, vadd(vload(dkernel), sum[e][v]));
        }
}

#define FC_ROW_DKERNEL_CASE(elements)                       \
    case elements:                                          \
        if (TILE_UNITS > 1 && tile->units == 1)             \
            row_dkernel_sums(tile, elements, UNIT_VECTORS); \
        else                                                \
            row_dkernel_sums(tile, elements, TILE_VECTORS); \
        return;

static void row_dkernel(const struct fc_row_dkernel *tile)
{
    switch (tile->elements) {
        TILE_CASES(FC_ROW_DKERNEL_CASE)
    }
}

/* Lanes beyond the outputs hold what belongs to other taps: the next pixel's store covers them, and
 * where there is no next pixel they are not stored. */
FC_INLINE void column_sum(const struct fc_column_sums *sums, const int pixels, int64_t o,
                          int64_t begin, int64_t end)
{
    const int64_t outputs = sums->outputs;
    for (int64_t k = 0; k < outputs; k += LANES) {
        const real *x = (const real *)sums->x + (o + begin - sums->before) * sums->x_pixel +
                        begin * outputs + k;
        vreal sum[4];
        FC_UNROLL (p, pixels)
            sum[p] = begin < end ? vload(x + p * sums->x_pixel) : vzero();
        for (int64_t j = begin + 1; j < end; j++) {
            x += sums->x_pixel + outputs;
            FC_UNROLL (p, pixels)
                sum[p] = vadd(sum[p], vload(x + p * sums->x_pixel));
        }
        FC_UNROLL (p, pixels) {
            real *y = (real *)sums->y + (o + p) * outputs + k;
            const int64_t left = sums->pixels * outputs - ((o + p) * outputs + k);
            const int64_t lanes = outputs > LANES ? outputs - k : left;
            if (lanes >= LANES)
                vstore(y, sum[p]);
            else
                vstore_first(y, sum[p], (int)lanes);
        }
    }
}

static void column_sums(const struct fc_column_sums *sums)
{
    const int64_t before = sums->before, taps = sums->taps;
    const int64_t last = sums->x_pixels - taps + before; /* of the outputs with all taps */
    for (int64_t o = 0; o < sums->pixels;) {
        if (o >= before && o + 3 <= last && o + 4 <= sums->pixels) {
            column_sum(sums, 4, o, 0, taps);
            o += 4;
            continue;
        }
        const int64_t begin = before > o ? before - o : 0, room = sums->x_pixels + before - o;
        column_sum(sums, 1, o, begin, taps < room ? taps : room);
        o++;
    }
}

/* Lanes [k, k + lanes) of FC_SUM_PIXELS pixels: as many chains as the additions' latency asks for, and
 * a load for each addition, two of which an addition of wide vectors may need. */
FC_INLINE void tap_sum(const struct fc_tap_sums *sums, int64_t o, int64_t k, int64_t lanes)
{
    const ptrdiff_t pixel = sums->x_pixel;
    const bool whole = sums->last == sums->outputs;
    const int64_t rest = sums->last - k, last = rest < lanes ? rest : lanes;
    vreal sum[FC_SUM_PIXELS];
    FC_UNROLL (p, FC_SUM_PIXELS)
        sum[p] = vzero();
    for (int64_t r = 0; r < sums->rows; r++) {
        const real *x = (const real *)sums->x + sums->row[r] + o * pixel + k;
        for (int64_t j = whole ? 0 : 1; j < sums->taps; j++, x += sums->outputs - pixel) {
            const real *base[3] = {x, x + 3 * pixel, x + 6 * pixel};
            FC_UNROLL (p, FC_SUM_PIXELS)
                sum[p] = vadd(sum[p], vload(base[p / 3] + p % 3 * pixel));
        }
        if (!whole && last > 0)
            FC_UNROLL (p, FC_SUM_PIXELS)
                sum[p] = vadd(sum[p], vload_first(x + p * pixel, (int)last));
    }
    real *y = (real *)sums->y + o * sums->outputs + k;
    if (sums->outputs <= LANES)
        FC_UNROLL (p, FC_SUM_PIXELS)
            vstore(y + p * sums->outputs, sum[p]); /* the next store covers what is not its own */
    else
        FC_UNROLL (p, FC_SUM_PIXELS)
            vstore_first(y + p * sums->outputs, sum[p], (int)lanes);
}

static void tap_sums(const struct fc_tap_sums *sums)
{
    for (int64_t o = 0; o < sums->pixels; o += FC_SUM_PIXELS)
        for (int64_t k = 0; k < sums->outputs; k += LANES)
            tap_sum(sums, o, k, sums->outputs - k < LANES ? sums->outputs - k : LANES);
}

/* A load for each addition, which crosses a line at most shifts, and chains for the additions' latency. */
FC_INLINE void shifted_sum(const struct fc_shifted_sums *sums, const int vectors, int64_t p)
{
    vreal sum[FC_SUM_UNITS];
    FC_UNROLL (v, vectors)
        sum[v] = vzero();
    for (int64_t t = 0; t < sums->terms; t++) {
        const real *x = (const real *)sums->x + sums->offset[t] + p;
        FC_UNROLL (v, vectors)
            sum[v] = vadd(sum[v], vload(x + v * LANES));
    }
    real *y = (real *)sums->y + p;
    FC_UNROLL (v, vectors) {
        const int64_t left = sums->pixels - p - v * LANES;
        if (left >= LANES)
            vstore(y + v * LANES, sum[v]);
        else if (left > 0)
            vstore_first(y + v * LANES, sum[v], (int)left);
    }
}

static void shifted_sums(const struct fc_shifted_sums *sums)
{
    int64_t p = 0;
    for (; p + FC_SUM_UNITS / 2 * LANES < sums->pixels; p += FC_SUM_UNITS * LANES)
        shifted_sum(sums, FC_SUM_UNITS, p);
    if (p < sums->pixels)
        shifted_sum(sums, FC_SUM_UNITS / 2, p);
}
