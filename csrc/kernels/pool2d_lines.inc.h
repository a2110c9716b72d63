/* pool2d_lines.inc.h: windows of 3 x 3 that slide by one over planes whose rows fit 16 lanes, or on the way
 * back one or two vectors: 28 x 28 x 192 in planes 0.64 ms of Zen 4, where a search of keys and a scatter took 2.4.
 *
 * A row of a plane is loaded once, with its neighbours a lane to either side by shifts, and searched for
 * the winners of three columns; a window takes the winner of three such rows, and on the way back gives
 * its gradient to three rows of dx that wait in registers. Nothing is copied or transposed, and planes
 * stream by one after the other. Winners are told as in pool2d_three.inc.h, and are numbers then, which are
 * shifted to the columns beside them: 4 maxima, 5 comparisons and 4 selections for the search, 4 shifts and 9
 * comparisons with additions for the gradients, 31 cycles a row in AVX-512, where a selection that waited for
 * each comparison took 35. 14 x 14 x 480 takes 0.21 ms forward and 0.44 back, where transposing planes into
 * channels took 0.62 and 1.2.
 *
 * The first of equal ones is the first of its row in the first such row, as row by row. Beside the first column,
 * and above the first row, lies a NaN that never wins, and beyond the last what never beats. NaNs in x are only
 * looked for, on the way back. */
enum { LINE = 16, LINE_VECTORS = LINE / LANES, LINE_MOST = LINE_VECTORS > 2 ? LINE_VECTORS : 2 };
#define LINE_EACH(v) FC_UNROLLED for (int v = 0; v < vectors; v++)
/* Rows of four vectors spill them all: 4 doubles in AVX2 took 4.3 ms where transposing takes 3.5. */
#define LINE_KERNEL(function) (LINE_VECTORS <= 2 ? (function) : NULL)

/* What the rows of a plane have in common. */
struct line {
    int first[LINE_MOST];
    vmask inside[LINE_MOST];
    vint before[LINE_MOST]; /* the column */
    vint low[LINE_MOST],
        high[LINE_MOST]; /* columns of the window, of three, that are on the image */
};
struct line_row {
    vreal best[LINE_MOST];
    vint column[LINE_MOST]; /* of the winner: 0, 1 or 2 */
};

FC_INLINE struct line line_of(const int vectors, int64_t columns)
{
    struct line line;
    LINE_EACH(v)
    {
        integer before[LANES], low[LANES], high[LANES];
        real inside[LANES];
        for (int i = 0; i < LANES; i++) {
            const int w = v * LANES + i;
            inside[i] = w < columns;
            before[i] = w - 1;
            low[i] = w == 0;
            high[i] = w < columns - 1 ? 2 : 1;
        }
        const int64_t left_over = columns - v * LANES;
        line.first[v] = (int)(left_over < 0 ? 0 : left_over < LANES ? left_over : LANES);
        line.inside[v] = vgreater(vload(inside), vzero());
        line.before[v] = viload(before);
        line.low[v] = viload(low);
        line.high[v] = viload(high);
    }
    return line;
}

/* A row with what is to either side of it; `padding` fills the rest. */
struct line_lanes {
    vreal at[LINE_MOST + 2];
};

/* The last vector, or each that is not known to be `full`, has lanes that are no columns. */
FC_INLINE struct line_lanes line_load(const int vectors, const struct line *line, const real *x,
                                      vreal padding, const int full)
{
    struct line_lanes lanes;
    lanes.at[0] = lanes.at[vectors + 1] = padding;
    LINE_EACH(v)
    lanes.at[v + 1] =
        v < full ? vload(x + v * LANES)
                 : vselect(line->inside[v], vload_first(x + v * LANES, line->first[v]), padding);
    return lanes;
}

/* Lanes [v * LANES - 1, ...) + i, for i = 0, 1, 2. */
FC_INLINE vreal line_lane(const struct line_lanes *lanes, int v, const int i)
{
    return i == 0   ? vbefore(lanes->at[v], lanes->at[v + 1])
           : i == 1 ? lanes->at[v + 1]
                    : vafter(lanes->at[v + 1], lanes->at[v + 2]);
}

/* The first of three columns that has the best. */
FC_INLINE struct line_row line_search(const int vectors, const struct line *line, const real *x,
                                      vmask *numbers, fc_pooling pooling)
{
    struct line_lanes lanes = line_load(vectors, line, x, pool_identity(pooling), vectors - 1);
    struct line_row row;
    LINE_EACH(v)
    *numbers = visnumber_too(*numbers, lanes.at[v + 1]);
    lanes.at[0] = vset1(NAN);
    LINE_EACH(v)
    {
        const struct three three = three_of(line_lane(&lanes, v, 0), line_lane(&lanes, v, 1),
                                            line_lane(&lanes, v, 2), pooling);
        const struct three_won won = three_won(&three, pooling);
        row.best[v] = three.best;
        row.column[v] = viselect(won.third, viset1(2), viselect(won.first, viset1(0), viset1(1)));
    }
    return row;
}

/* Stored indices of row h; *stray gets lanes below zero where one is none of its window's. */
FC_INLINE void line_indices(const int vectors, const struct fc_pool2d_lines *lines,
                            const struct line *line, const int64_t *index, int64_t h, int64_t after,
                            vint *winner, vint *stray)
{
    const integer width = (integer)lines->columns;
    const vint none = viset1(-1), last = viset1((integer)(lines->rows * width - 1));
    /* Rows that follow each other may be read into the next one, and planes. */
    const int64_t readable = lines->index_row == width ? (lines->rows - h) * width + after : width;
    LINE_EACH(v)
    {
        int64_t some[LANES];
        const int64_t *from = index + v * LANES;
        if (readable < (v + 1) * LANES) {
            for (int i = 0; i < LANES; i++)
                some[i] = i < line->first[v] ? from[i] : -1;
            from = some;
        }
        vint given = viload_index(from);
        if (v == vectors - 1)
            given = viselect(line->inside[v], given, none);
        /* From the column before in the row above; of one of the window's rows, what is left is a column. */
        const vint number = visub(given, viadd(line->before[v], viset1((integer)(h - 1) * width)));
        const vmask above = vigreater(viset1(width), number);
        const vmask below = vigreater(number, viset1(2 * width - 1));
        const vint row = viselect(above, viset1(0), viset1(width));
        const vint rest = visub(number, viselect(below, viset1(2 * width), row));
        vint outside = vior(visub(rest, line->low[v]), visub(line->high[v], rest));
        outside = vior(outside, vior(given, visub(last, given)));
        *stray = vior(*stray, viselect(viequal(given, none), viset1(0), outside));
        winner[v] = number;
    }
}

/* The gradients of a row of windows, to rows of dx above, beside and below it. Winners are i * step + j, for column j
 * of row i of the window. */
FC_INLINE void line_claims(const int vectors, const struct line *line, const vint *winner,
                           const real *dy, integer step, vreal sum[3][LINE_MOST])
{
    const struct line_lanes gradients = line_load(vectors, line, dy, vzero(), vectors - 1);
    struct line_lanes winners;
    winners.at[0] = winners.at[vectors + 1] = vas_real(viset1(-1));
    LINE_EACH(v)
    winners.at[v + 1] = vas_real(winner[v]);
    LINE_EACH(v)
    {
        vreal gradient[3];
        vint number[3];
        FC_UNROLL (j, 3) {
            gradient[j] = line_lane(&gradients, v, j);
            number[j] = vas_int(line_lane(&winners, v, j));
        }
        FC_UNROLL (i, 3)
            FC_UNROLL (j, 3) {
                const vmask won = viequal(number[j], viset1(i * step + 2 - j));
                sum[i][v] = vadd_where(won, sum[i][v], gradient[j]);
            }
    }
}

FC_INLINE void line_store(const int vectors, const struct line *line, real *y, const vreal *row,
                          const int full)
{
    LINE_EACH(v)
    if (v < full)
        vstore(y + v * LANES, row[v]);
    else
        vstore_first(y + v * LANES, row[v], line->first[v]);
}

FC_INLINE void plane_dx(const int vectors, const struct fc_pool2d_lines *lines,
                        const struct line *line, int64_t p, vint *stray, vmask *numbers,
                        fc_pooling pooling, const bool indexed)
{
    const real *x = indexed ? NULL : (const real *)lines->x + p * lines->x_plane;
    const real *dy = (const real *)lines->dy + p * lines->dy_plane;
    const int64_t *index = indexed ? lines->index + p * lines->index_plane : NULL;
    real *dx = (real *)lines->y + p * lines->y_plane;
    const integer width = (integer)lines->columns;
    const int64_t plane = lines->rows * lines->columns;
    const int64_t after = lines->index_plane == plane ? (lines->planes - 1 - p) * plane : 0;
    struct line_row above, beside, below;
    vreal sum[3][LINE_MOST];
    LINE_EACH(v)
    sum[0][v] = sum[1][v] = sum[2][v] = vzero();
    if (!indexed) {
        beside = line_search(vectors, line, x, numbers, pooling);
        LINE_EACH(v)
        {
            above.best[v] = vset1(NAN);
            above.column[v] = viset1(0);
        }
    }
    for (int64_t h = 0; h < lines->rows; h++) {
        vint number[LINE_MOST];
        if (indexed) {
            line_indices(vectors, lines, line, index + h * lines->index_row, h, after, number,
                         stray);
        } else {
            below = beside;
            if (h + 1 < lines->rows)
                below = line_search(vectors, line, x + (h + 1) * lines->x_row, numbers, pooling);
            LINE_EACH(v)
            {
                const struct three three =
                    three_of(above.best[v], beside.best[v], below.best[v], pooling);
                const struct three_won won = three_won(&three, pooling);
                number[v] = viselect(
                    won.third, viadd(below.column[v], viset1(6)),
                    viselect(won.first, above.column[v], viadd(beside.column[v], viset1(3))));
            }
            above = beside;
            beside = below;
        }
        line_claims(vectors, line, number, dy + h * lines->dy_row, indexed ? width : 3, sum);
        if (h > 0)
            line_store(vectors, line, dx + (h - 1) * lines->y_row, sum[0], vectors - 1);
        LINE_EACH(v)
        {
            sum[0][v] = sum[1][v];
            sum[1][v] = sum[2][v];
            sum[2][v] = vzero();
        }
    }
    line_store(vectors, line, dx + (lines->rows - 1) * lines->y_row, sum[0], vectors - 1);
}

FC_INLINE bool planes_dx(const int vectors, const struct fc_pool2d_lines *given, fc_pooling pooling,
                         const bool indexed)
{
    const struct fc_pool2d_lines lines = *given;
    const struct line line = line_of(vectors, lines.columns);
    vint stray = viset1(0);
    vmask numbers = visnumber(vzero());
    for (int64_t p = 0; p < lines.planes; p++)
        plane_dx(vectors, &lines, &line, p, &stray, &numbers, pooling, indexed);
    const vmask nans = vmask_andnot(visnumber(vzero()), numbers);
    if (vany(nans, nans))
        return false;
    return !some_negative(stray);
}

/* Rows of a vector or of two. */
static bool lines_told_dx(const struct fc_pool2d_lines *lines)
{
    return lines->columns <= LANES ? planes_dx(1, lines, FC_MAX, true)
                                   : planes_dx(2, lines, FC_MAX, true);
}

FC_INLINE bool lines_dx(const struct fc_pool2d_lines *lines, fc_pooling pooling)
{
    if (lines->index)
        return lines_told_dx(lines);
    return lines->columns <= LANES ? planes_dx(1, lines, pooling, false)
                                   : planes_dx(2, lines, pooling, false);
}

static bool lines_max_dx(const struct fc_pool2d_lines *lines) { return lines_dx(lines, FC_MAX); }
static bool lines_min_dx(const struct fc_pool2d_lines *lines) { return lines_dx(lines, FC_MIN); }

/* ----------------------------------------------------------------- forward */

FC_INLINE vreal best_of_three(vreal a, vreal b, vreal c, fc_pooling pooling)
{
    const vmask numbers = visnumber_too(visnumber_too(visnumber(a), b), c);
    const vreal best =
        pooling == FC_MAX ? vgreater_of(c, vgreater_of(b, a)) : vlesser_of(c, vlesser_of(b, a));
    return vselect(numbers, best, vset1(NAN));
}

FC_INLINE void line_best(const int vectors, const struct line *line, const real *x, vreal *best,
                         fc_pooling pooling)
{
    const struct line_lanes lanes = line_load(vectors, line, x, pool_identity(pooling), 0);
    LINE_EACH(v)
    best[v] = best_of_three(line_lane(&lanes, v, 0), line_lane(&lanes, v, 1),
                            line_lane(&lanes, v, 2), pooling);
}

FC_INLINE void planes_forward(const struct fc_pool2d_lines *given, fc_pooling pooling)
{
    enum { vectors = LINE_VECTORS };
    const struct fc_pool2d_lines lines = *given;
    const struct line line = line_of(vectors, lines.columns);
    for (int64_t p = 0; p < lines.planes; p++) {
        const real *x = (const real *)lines.x + p * lines.x_plane;
        real *y = (real *)lines.y + p * lines.y_plane;
        vreal best[3][LINE_MOST];
        line_best(vectors, &line, x, best[1], pooling);
        LINE_EACH(v)
        best[0][v] = best[1][v];
        for (int64_t h = 0; h < lines.rows; h++, y += lines.y_row) {
            LINE_EACH(v)
            best[2][v] = best[1][v];
            if (h + 1 < lines.rows)
                line_best(vectors, &line, x + (h + 1) * lines.x_row, best[2], pooling);
            vreal row[LINE_MOST];
            LINE_EACH(v)
            {
                row[v] = best_of_three(best[0][v], best[1][v], best[2][v], pooling);
                best[0][v] = best[1][v];
                best[1][v] = best[2][v];
            }
            line_store(vectors, &line, y, row, 0);
        }
    }
}

static void lines_max(const struct fc_pool2d_lines *lines) { planes_forward(lines, FC_MAX); }
static void lines_min(const struct fc_pool2d_lines *lines) { planes_forward(lines, FC_MIN); }
