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
            vreal from[FC_LANES_COLUMNS], to[WINOGRAD_MOST_POINTS];
            FC_UNROLL (i, FC_LANES_COLUMNS)
                from[i] = vload(x + i * column + t);
            winograd_evaluate(points, FC_LANES_COLUMNS, false, from, to);
            FC_UNROLL (i, points)
                vstore(v + i * column + t, to[i]);
        }
    }
}

static void winograd_lanes_points(const struct fc_winograd_lanes_points *lanes)
{
    if (lanes->taps == 3)
        lanes_points(lanes, 6);
    else
        lanes_points(lanes, 7);
}

enum { LANES_ROOM = FC_LANES_MOST_TILES + 3 * LANES };

/* The coefficients of a row of tiles, with zeros before and behind. */
FC_INLINE void lanes_coefficients(const struct fc_winograd_lanes_sums *lanes, const real *s,
                                  const int points, real (*to)[LANES_ROOM])
{
    FC_UNROLL (i, points)
        vstore(to[i], vzero());
    for (int64_t t = 0; t < lanes->tiles; t += LANES) {
        vreal from[WINOGRAD_MOST_POINTS], coefficient[WINOGRAD_MOST_POINTS];
        FC_UNROLL (i, points)
            from[i] = vload(s + i * lanes->s_point + t);
        winograd_interpolate(points, from, coefficient);
        FC_UNROLL (i, points)
            vstore(to[i] + LANES + t, coefficient[i]);
    }
    FC_UNROLL (i, points)
        vstore(to[i] + LANES + lanes->tiles, vzero());
}

/* Coefficients beyond a tile's own columns of y are added to the next tile's. */
FC_INLINE bool lanes_sums(const struct fc_winograd_lanes_sums *lanes, const int points)
{
    real coefficients[WINOGRAD_MOST_POINTS][LANES_ROOM];
    vreal check = vzero();
    for (int64_t line = 0; line < lanes->lines; line++) {
        real *y = (real *)lanes->y + line * lanes->y_line;
        lanes_coefficients(lanes, (const real *)lanes->s + line * lanes->s_line, points,
                           coefficients);
        FC_UNROLL (i, FC_LANES_COLUMNS)
            for (int64_t t = 0; t <= lanes->tiles; t += LANES) {
                vreal sum = vload(coefficients[i] + LANES + t);
                if (i + FC_LANES_COLUMNS < points)
                    sum = vadd(sum, vload(coefficients[i + FC_LANES_COLUMNS] + LANES + t - 1));
                check = vfma(vzero(), sum, check);
                vstore(y + i * lanes->y_column + t, sum);
            }
    }
    const vmask bad = visnan(check);
    return !vany(bad, bad);
}

static bool winograd_lanes_sums(const struct fc_winograd_lanes_sums *lanes)
{
    return lanes->taps == 3 ? lanes_sums(lanes, 6) : lanes_sums(lanes, 7);
}
