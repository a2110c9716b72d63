/* winograd_lanes.inc.h: Winograd's algorithm along rows, tiles in the lanes.
 *
 * What goes to the points is loaded and stored once, 4 loads and 6 stores of planes in the nearest cache for 11
 * operations; their products are plane_tile's. */

FC_INLINE void lanes_points(const struct fc_winograd_lanes_points *lanes, const int points)
{
    const ptrdiff_t column = lanes->column;
    const int64_t tiles = lanes->tiles;
    for (int64_t c = 0; c < lanes->channels; c++) {
        const real *x = (const real *)lanes->x + c * lanes->channel;
        real *v = (real *)lanes->v + c * lanes->channel;
        for (int64_t t = 0; t < tiles; t += LANES) {
            vreal from[FC_WINOGRAD_COLUMNS], to[WINOGRAD_MOST_POINTS];
            FC_UNROLL (i, FC_WINOGRAD_COLUMNS)
                from[i] = vload(x + i * column + t);
            winograd_evaluate(points, FC_WINOGRAD_COLUMNS, false, from, to);
            FC_UNROLL (i, points)
                vstore(v + i * column + t, to[i]);
        }
    }
}

static void winograd_lanes_points(const struct fc_winograd_lanes_points *lanes)
{
    FC_ALONG_ROWS(lanes_points, lanes, lanes->taps + FC_WINOGRAD_COLUMNS - 1);
}

/* Loads cross a line at most offsets; the sums of the points are chains for the additions' latency. */
FC_INLINE void lanes_sums(const struct fc_winograd_lanes_sums *sums, const int points)
{
    for (int64_t line = 0; line < sums->lines; line++) {
        const int some = points - (line >= sums->full);
        for (int64_t p = 0; p < sums->tiles; p += LANES) {
            const real *m = (const real *)sums->m + line * sums->m_line + p;
            real *s = (real *)sums->s + line * sums->s_line + p;
            vreal sum[WINOGRAD_MOST_POINTS], coefficient[WINOGRAD_MOST_POINTS];
            FC_UNROLL (i, points)
                sum[i] = vzero();
            for (int64_t t = 0; t < sums->terms; t++)
                FC_UNROLL (i, points)
                    if (i < some)
                        sum[i] = vadd(sum[i], vload(m + sums->offset[t] + i * sums->m_point));
            winograd_interpolate(points, sum, coefficient);
            FC_UNROLL (i, points)
                vstore(s + i * sums->s_point, coefficient[i]);
        }
    }
}

static void winograd_lanes_sums(const struct fc_winograd_lanes_sums *sums)
{
    FC_ALONG_ROWS(lanes_sums, sums, sums->taps + FC_WINOGRAD_COLUMNS - 1);
}

/* A tile's columns of y, of which the first `both` elements are the tile's before, too. What is stored beyond them the
 * next tile overwrites. */
FC_INLINE void lanes_tile(const real *x, int64_t both, int64_t all, const bool first,
                          const bool last, real *y)
{
    for (int64_t q = 0; q < both; q += LANES) {
        const vreal own = last ? vzero() : vload(x + q);
        vstore(y + q, vadd(own, first ? vzero() : vload(x - both + q)));
    }
    for (int64_t q = both; q < all; q += LANES)
        vstore(y + q, last ? vzero() : vload(x + q));
}

static bool winograd_lanes_row(const struct fc_winograd_lanes_row *row)
{
    const int64_t run = row->run, both = (row->taps - 1) * run, all = FC_WINOGRAD_COLUMNS * run;
    const real *x = row->x;
    real *y = row->y;
    lanes_tile(x, both, all, true, false, y);
    for (int64_t t = 1; t < row->tiles; t++)
        lanes_tile(x + t * (both + all), both, all, false, false, y + t * all);
    lanes_tile(x + row->tiles * (both + all), both, all, false, true, y + row->tiles * all);
    const int64_t count = (row->tiles + 1) * all;
    vstore(y + count, vzero());
    vreal check = vzero();
    for (int64_t q = 0; q < count; q += LANES)
        check = vfma(vzero(), vload(y + q), check);
    const vmask bad = visnan(check);
    return !vany(bad, bad);
}
