/* pool2d_pairs.inc.h: the way back of windows of 2 x 2 that slide by one over planes whose rows fit one or two vectors.
 *
 * As windows of 3 x 3 go back (pool2d_lines.inc.h): a row of x is loaded once and compared with itself a lane on, then
 * with the row below; the windows of a row give their gradients to two rows of dx, to two columns each. A minimum is
 * the maximum of numbers of the other sign, so that there is one body. 18 operations a vector of a row: 13 x 13 x 512
 * takes 0.23 ms, where planes that were transposed there and back took 0.75. */
struct pair_row {
    vreal best[LINE_MOST];
    vmask second[LINE_MOST]; /* of two columns has won */
};

FC_INLINE struct pair_row pair_search(const int vectors, const struct line *line, const real *x,
                                      real sign, vmask *numbers)
{
    const vreal least = vset1(-INFINITY);
    struct line_lanes lanes = line_load(vectors, line, x, vset1(sign * -INFINITY), vectors - 1);
    struct pair_row row;
    lanes.at[vectors + 1] = least;
    LINE_EACH(v)
    {
        *numbers = visnumber_too(*numbers, lanes.at[v + 1]);
        lanes.at[v + 1] = vmul(lanes.at[v + 1], vset1(sign));
    }
    LINE_EACH(v)
    {
        const vreal next = line_lane(&lanes, v, 2);
        row.second[v] = vgreater(next, lanes.at[v + 1]);
        row.best[v] = vgreater_of(next, lanes.at[v + 1]);
    }
    return row;
}

/* What windows give to a row, added to the sums of their columns and of those beside them, in the windows' order. */
FC_INLINE void pair_give(const int vectors, const struct pair_row *row, const vreal *given,
                         vreal *sum)
{
    vreal before = vzero();
    LINE_EACH(v)
    {
        const vreal next = vkeep(row->second[v], given[v]);
        sum[v] = vadd(sum[v], vbefore(before, next));
        sum[v] = vadd(sum[v], vdrop(row->second[v], given[v]));
        before = next;
    }
}

FC_INLINE void pair_plane(const int vectors, const struct fc_pool2d_lines *lines,
                          const struct line *line, const int *dy_first, const real *x,
                          const real *dy, real *dx, vmask *numbers)
{
    const real sign = (real)lines->sign;
    vreal sum[LINE_MOST];
    LINE_EACH(v)
    sum[v] = vzero();
    struct pair_row row = pair_search(vectors, line, x, sign, numbers);
    for (int64_t h = 0; h < lines->rows; h++) {
        const bool last = h + 1 == lines->rows;
        struct pair_row below =
            pair_search(vectors, line, last ? x : x + lines->x_row, sign, numbers);
        vreal upper[LINE_MOST], lower[LINE_MOST];
        LINE_EACH(v)
        {
            const vreal given =
                h < lines->dy_rows ? vload_first(dy + v * LANES, dy_first[v]) : vzero();
            const vreal best = last ? row.best[v] : below.best[v];
            const vmask won = vgreater(best, row.best[v]);
            upper[v] = vdrop(won, given);
            lower[v] = vkeep(won, given);
        }
        pair_give(vectors, &row, upper, sum);
        LINE_EACH(v)
        {
            vstore_first(dx + v * LANES, sum[v], line->first[v]);
            sum[v] = vzero();
        }
        pair_give(vectors, &below, lower, sum);
        row = below;
        x += lines->x_row;
        dy += lines->dy_row;
        dx += lines->y_row;
    }
}

FC_INLINE bool pair_planes(const int vectors, const struct fc_pool2d_lines *lines)
{
    const struct line line = line_of(vectors, lines->columns);
    const struct line windows = line_of(vectors, lines->dy_columns);
    vmask numbers = visnumber(vzero());
    for (int64_t p = 0; p < lines->planes; p++)
        pair_plane(vectors, lines, &line, windows.first,
                   (const real *)lines->x + p * lines->x_plane,
                   (const real *)lines->dy + p * lines->dy_plane,
                   (real *)lines->y + p * lines->y_plane, &numbers);
    const vmask nans = vmask_andnot(visnumber(vzero()), numbers);
    return !vany(nans, nans);
}

static bool pairs_dx(const struct fc_pool2d_lines *lines)
{
    return lines->columns <= LANES ? pair_planes(1, lines) : pair_planes(2, lines);
}
