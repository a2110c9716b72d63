/* pool2d_lines.inc.h: windows of 3 x 3 that slide by one over planes whose rows fit 16 lanes, or on the way
 * back one or two vectors: 28 x 28 x 192 in planes 0.76 ms of Zen 4, where a search of keys and a scatter took 2.4.
 *
 * A row of a plane is loaded once, with its neighbours a lane to either side by shifts, and searched for
 * the winners of three columns; a window takes the winner of three such rows, and on the way back gives
 * its gradient to three rows of dx that wait in registers. Nothing is copied or transposed, and planes
 * stream by one after the other: a row takes 4 comparisons with selections, 6 shifts and 9 comparisons
 * with additions, 28 cycles in AVX-512. 14 x 14 x 480 takes 0.21 ms forward and 0.41 back, where
 * transposing planes into channels took 0.62 and 1.2.
 *
 * The first of equal ones is the first of its row in the first such row, as row by row. A row that is
 * missing above or below is its neighbour again, which wins nothing that it has not won. */
enum { LINE = 16, LINE_VECTORS = LINE / LANES, LINE_MOST = LINE_VECTORS > 2 ? LINE_VECTORS : 2 };
#define LINE_EACH(v) FC_UNROLLED for (int v = 0; v < vectors; v++)
/* Rows of four vectors spill them all: 4 doubles in AVX2 took 4.3 ms where transposing takes 3.5. */
#define LINE_KERNEL(function) (LINE_VECTORS <= 2 ? (function) : NULL)

/* What the rows of a plane have in common. */
struct line {
    int first[LINE_MOST];
    vmask inside[LINE_MOST];
    vint column[LINE_MOST], left[LINE_MOST], low[LINE_MOST], high[LINE_MOST];
};
struct line_row {
    vreal best[LINE_MOST];
    vint number[LINE_MOST]; /* h * columns + w of the winner */
};

FC_INLINE struct line line_of(const int vectors, int64_t columns)
{
    struct line line;
    LINE_EACH(v)
    {
        integer column[LANES], left[LANES], low[LANES], high[LANES];
        real inside[LANES];
        for (int i = 0; i < LANES; i++) {
            const int w = v * LANES + i;
            inside[i] = w < columns;
            column[i] = w;
            left[i] = w > 0 ? w - 1 : 0;
            low[i] = w > 0 ? -1 : 0;
            high[i] = w < columns - 1;
        }
        const int64_t left_over = columns - v * LANES;
        line.first[v] = (int)(left_over < 0 ? 0 : left_over < LANES ? left_over : LANES);
        line.inside[v] = vgreater(vload(inside), vzero());
        line.column[v] = viload(column);
        line.left[v] = viload(left);
        line.low[v] = viload(low);
        line.high[v] = viload(high);
    }
    return line;
}

/* A row with what is to either side of it; `padding` fills the rest. */
struct line_lanes {
    vreal at[LINE_MOST + 2];
};

FC_INLINE struct line_lanes line_load(const int vectors, const struct line *line, const real *x,
                                      vreal padding)
{
    struct line_lanes lanes;
    lanes.at[0] = lanes.at[vectors + 1] = padding;
    LINE_EACH(v)
    lanes.at[v + 1] = vselect(line->inside[v], vload_first(x + v * LANES, line->first[v]), padding);
    return lanes;
}

/* Lanes [v * LANES - 1, ...) + i, for i = 0, 1, 2. */
FC_INLINE vreal line_lane(const struct line_lanes *lanes, int v, const int i)
{
    return i == 0   ? vbefore(lanes->at[v], lanes->at[v + 1])
           : i == 1 ? lanes->at[v + 1]
                    : vafter(lanes->at[v + 1], lanes->at[v + 2]);
}

/* The winners of three columns of row h. */
FC_INLINE struct line_row line_search(const int vectors, const struct line *line, const real *x,
                                      integer origin, fc_pooling pooling)
{
    const struct line_lanes lanes = line_load(vectors, line, x, pool_identity(pooling));
    const vint from = viset1(origin), one = viset1(1);
    struct line_row row;
    LINE_EACH(v)
    {
        const vint place = viadd(line->column[v], from);
        row.best[v] = line_lane(&lanes, v, 0);
        row.number[v] = viadd(line->left[v], from);
        vmask numbers = visnumber(row.best[v]);
        pool_wins_next(line_lane(&lanes, v, 1), place, &row.best[v], &row.number[v], &numbers,
                       pooling);
        pool_wins_next(line_lane(&lanes, v, 2), viadd(place, one), &row.best[v], &row.number[v],
                       &numbers, pooling);
    }
    return row;
}

/* Stored indices of row h; *stray gets lanes below zero where one is none of its window's. */
FC_INLINE void line_indices(const int vectors, const struct fc_pool2d_lines *lines,
                            const struct line *line, const int64_t *index, int64_t h, vint *number,
                            vint *stray)
{
    const integer width = (integer)lines->columns;
    const vint none = viset1(-1), last = viset1((integer)(lines->rows * width - 1));
    /* Rows that follow each other may be read into the next one. */
    const int64_t readable = lines->index_row == width ? (lines->rows - h) * width : width;
    LINE_EACH(v)
    {
        int64_t some[LANES];
        const int64_t *from = index + v * LANES;
        if (readable < (v + 1) * LANES) {
            for (int i = 0; i < LANES; i++)
                some[i] = i < line->first[v] ? from[i] : -1;
            from = some;
        }
        const vint given = viselect(line->inside[v], viload_index(from), none);
        vint outside = none;
        FC_UNROLL (i, 3) {
            const vint place = viadd(line->column[v], viset1((integer)(h - 1 + i) * width));
            const vint apart = visub(given, place);
            outside = viand(outside, vior(visub(apart, line->low[v]), visub(line->high[v], apart)));
        }
        outside = vior(outside, vior(given, visub(last, given)));
        *stray = vior(*stray, viselect(viequal(given, none), viset1(0), outside));
        number[v] = given;
    }
}

/* The gradients of a row of windows, to rows of dx above, beside and below it. */
FC_INLINE void line_claims(const int vectors, const struct line *line, const vint *number,
                           const real *dy, integer above, integer width, vreal sum[3][LINE_MOST])
{
    const struct line_lanes gradients = line_load(vectors, line, dy, vzero());
    struct line_lanes winners;
    winners.at[0] = winners.at[vectors + 1] = vas_real(viset1(-1));
    LINE_EACH(v)
    winners.at[v + 1] = vas_real(number[v]);
    LINE_EACH(v)
    {
        vint place = viadd(line->column[v], viset1(above));
        vreal gradient[3];
        vint winner[3];
        FC_UNROLL (j, 3) {
            gradient[j] = line_lane(&gradients, v, j);
            winner[j] = vas_int(line_lane(&winners, v, j));
        }
        FC_UNROLL (i, 3) {
            FC_UNROLL (j, 3)
                sum[i][v] = vadd_where(viequal(winner[j], place), sum[i][v], gradient[j]);
            place = viadd(place, viset1(width));
        }
    }
}

FC_INLINE void line_store(const int vectors, const struct line *line, real *y, const vreal *row)
{
    LINE_EACH(v)
    vstore_first(y + v * LANES, row[v], line->first[v]);
}

FC_INLINE void plane_dx(const int vectors, const struct fc_pool2d_lines *lines,
                        const struct line *line, int64_t p, vint *stray, fc_pooling pooling,
                        const bool indexed)
{
    const real *x = indexed ? NULL : (const real *)lines->x + p * lines->x_plane;
    const real *dy = (const real *)lines->dy + p * lines->dy_plane;
    const int64_t *index = indexed ? lines->index + p * lines->index_plane : NULL;
    real *dx = (real *)lines->y + p * lines->y_plane;
    const integer width = (integer)lines->columns;
    struct line_row above, beside, below;
    vreal sum[3][LINE_MOST];
    LINE_EACH(v)
    sum[0][v] = sum[1][v] = sum[2][v] = vzero();
    if (!indexed)
        above = beside = line_search(vectors, line, x, 0, pooling);
    for (int64_t h = 0; h < lines->rows; h++) {
        vint number[LINE_MOST];
        if (indexed) {
            line_indices(vectors, lines, line, index + h * lines->index_row, h, number, stray);
        } else {
            below = beside;
            if (h + 1 < lines->rows)
                below = line_search(vectors, line, x + (h + 1) * lines->x_row,
                                    (integer)(h + 1) * width, pooling);
            LINE_EACH(v)
            {
                vmask numbers = visnumber(above.best[v]);
                pool_wins_next(beside.best[v], beside.number[v], &above.best[v], &above.number[v],
                               &numbers, pooling);
                pool_wins_next(below.best[v], below.number[v], &above.best[v], &above.number[v],
                               &numbers, pooling);
                number[v] = above.number[v];
            }
            above = beside;
            beside = below;
        }
        line_claims(vectors, line, number, dy + h * lines->dy_row, (integer)(h - 1) * width, width,
                    sum);
        if (h > 0)
            line_store(vectors, line, dx + (h - 1) * lines->y_row, sum[0]);
        LINE_EACH(v)
        {
            sum[0][v] = sum[1][v];
            sum[1][v] = sum[2][v];
            sum[2][v] = vzero();
        }
    }
    line_store(vectors, line, dx + (lines->rows - 1) * lines->y_row, sum[0]);
}

FC_INLINE bool planes_dx(const int vectors, const struct fc_pool2d_lines *given, fc_pooling pooling,
                         const bool indexed)
{
    const struct fc_pool2d_lines lines = *given;
    const struct line line = line_of(vectors, lines.columns);
    vint stray = viset1(0);
    for (int64_t p = 0; p < lines.planes; p++)
        plane_dx(vectors, &lines, &line, p, &stray, pooling, indexed);
    integer lane[LANES];
    vistore(lane, stray);
    for (int i = 0; i < LANES; i++)
        if (lane[i] < 0)
            return false;
    return true;
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
    const struct line_lanes lanes = line_load(vectors, line, x, pool_identity(pooling));
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
            line_store(vectors, &line, y, row);
        }
    }
}

static void lines_max(const struct fc_pool2d_lines *lines) { planes_forward(lines, FC_MAX); }
static void lines_min(const struct fc_pool2d_lines *lines) { planes_forward(lines, FC_MIN); }
