/* pool2d_slide.inc.h: the way back of windows of 3 x 3 that slide by one, where channels lie together.
 *
 * A vector of channels walks the rows of windows. In one go the row of x below is searched for the winner of
 * three columns, of which neighbours share what they read, the window's winner is that of three such rows, and
 * its gradient goes to nine elements of dx, which move through registers; rows of dx that wait for more
 * windows, and the winners of two rows, stay in the first-level cache. That is 4 comparisons with selections
 * and, since three rows share the comparisons of columns, 3 more with 9 additions, 8 loads and 5 stores: 14 x
 * 14 x 480 takes 0.68 ms in float64 and 0.32 in float32 on Zen 4 with AVX-512. Where each element of dx read
 * the nine windows around it, 24 loads of one a cycle, it took 1.03 and 0.50; AVX2, which has two a cycle and
 * keeps sums on the stack, takes as long either way.
 *
 * A few vectors take turns row by row, so that lines fetched beside those of one are still there for the next.
 * The channels that come next are fetched meanwhile, all that their walk will read and write: pixels lie so far
 * apart that nothing else fetches them in time.
 *
 * Beyond an edge its pixel or row comes again, which wins nothing that it has not won; what falls there is
 * dropped. */
enum {
    SLIDE_VECTORS = 4,                  /* that take turns; half of them where rows have more */
    SLIDE_COLUMNS = 16,                 /* than so many columns */
    INDICES = 64 / (int)sizeof(int64_t) /* of a cache line */
};
_Static_assert(SLIDE_VECTORS / 2 * (FC_POOL2D_SLIDE + 2) <= SLIDE_VECTORS * (SLIDE_COLUMNS + 2),
               "half of the vectors have room for the longest rows");

/* Of a column: the winners of the last two rows, as -1, 0 or 1 columns, and what the rows of dx above and
 * beside the next windows have so far. Lines that are used together lie together: apart by 4096 bytes they
 * share a set. */
struct slide_column {
    _Alignas(64) real best[2][LANES];
    integer number[2][LANES];
    real sum[2][LANES];
};

/* How far away the channels lie that come next. */
struct slide_ahead {
    ptrdiff_t x, dy, index, dx;
};

/* A row of windows of one vector: below it x, beside it dy and the indices, above it dx. */
struct slide_row {
    const real *x, *dy;
    const int64_t *index;
    real *dx;
    ptrdiff_t dx_pixel;
    struct slide_column *columns;
    int beside;        /* which of two rows that is */
    integer place, up; /* the number of the first window's pixel, and how far the row above is */
};

/* A walk along a row of x: the last pixels, and of three of them the best and its column. */
struct slide_walk {
    const real *x;
    vreal left, here, best;
    vint before, number;
};

FC_INLINE struct slide_walk slide_begins(const real *x)
{
    const vreal here = vload(x);
    return (struct slide_walk){.x = x, .left = here, .here = here, .before = viset1(0)};
}

FC_INLINE void slide_step(struct slide_walk *walk, const struct fc_pool2d_lines *lines, int64_t w,
                          ptrdiff_t ahead, struct slide_column *to, int which, fc_pooling pooling)
{
    walk->x += w + 1 < lines->columns ? lines->x_pixel : 0;
    const vreal right = vload(walk->x);
    __builtin_prefetch(walk->x + ahead, 0, 2);
    vmask numbers = visnumber(walk->left);
    walk->best = walk->left;
    walk->number = walk->before;
    pool_wins_next(walk->here, viset1(0), &walk->best, &walk->number, &numbers, pooling);
    pool_wins_next(right, viset1(1), &walk->best, &walk->number, &numbers, pooling);
    walk->left = walk->here;
    walk->here = right;
    walk->before = viset1(-1);
    vstore(to->best[which], walk->best);
    vistore(to->number[which], walk->number);
}

/* Window w: what it gives to the rows above, beside and below it, by the winner of three rows, of which that
 * below is searched; returns the winner's column. */
FC_INLINE vint slide_window(const struct slide_row *row, const struct fc_pool2d_lines *lines,
                            struct slide_walk *walk, struct slide_column *column, int64_t w,
                            ptrdiff_t ahead, vreal gradient[3], fc_pooling pooling)
{
    const int above_at = row->up ? 1 - row->beside : row->beside;
    const vreal above = vload(column->best[above_at]), beside = vload(column->best[row->beside]);
    vmask numbers = visnumber(above);
    const vmask wins = pool_beats(numbers, beside, above, pooling);
    const vreal best = vselect(wins, beside, above);
    const vint number =
        viselect(wins, viload(column->number[row->beside]), viload(column->number[above_at]));
    numbers = visnumber_too(numbers, beside);
    slide_step(walk, lines, w, ahead, column, 1 - row->beside, pooling);
    const vmask below = pool_beats(numbers, walk->best, best, pooling);
    const vreal rest = vselect(below, vzero(), gradient[0]);
    gradient[2] = vselect(below, gradient[0], vzero());
    gradient[1] = vselect(wins, rest, vzero());
    gradient[0] = vselect(wins, vzero(), rest);
    return viselect(below, walk->number, number);
}

/* Lanes of *stray get below zero where an index, which is so many columns from the middles of three rows, is none
 * of its window's. */
FC_INLINE void slide_check(const struct fc_pool2d_lines *lines, vint given, const vint number[3],
                           int64_t w, vint *stray)
{
    const vint none = viset1(-1), one = viset1(1);
    const vint last = viset1((integer)(lines->rows * lines->columns - 1));
    vint outside = none;
    FC_UNROLL (i, 3)
        outside = viand(outside, vior(viadd(number[i], one), visub(one, number[i])));
    if (w == 0 || w + 1 == lines->columns)
        FC_UNROLL (i, 3)
            outside = viselect(viequal(number[i], w == 0 ? none : one), none, outside);
    outside = vior(outside, vior(given, visub(last, given)));
    *stray = vior(*stray, viselect(viequal(given, none), viset1(0), outside));
}

/* Three columns of three rows of dx, of which the first moves on: of the first row it is done, or, with no row
 * above, waits for the next windows. */
struct slide_sums {
    vreal sum[3][3];
};

FC_INLINE void slide_put(struct slide_sums *sums, struct slide_column *from, real *dx,
                         ptrdiff_t ahead, const int i)
{
    vreal *sum = sums->sum[i];
    if (i == 0) {
        vstore(dx, sum[0]);
        __builtin_prefetch(dx + ahead, 0, 2);
    } else {
        vstore(from->sum[i - 1], sum[0]);
    }
    sum[0] = sum[1];
    sum[1] = sum[2];
}

FC_INLINE void slide_windows(const struct slide_row *row, const struct fc_pool2d_lines *lines,
                             const struct slide_ahead *ahead, vint *stray, fc_pooling pooling,
                             const bool indexed)
{
    struct slide_walk walk;
    struct slide_sums sums;
    struct slide_column *column = row->columns;
    real dropped[LANES], *dx = dropped;
    vint place = viset1(row->place);
    if (!indexed)
        walk = slide_begins(row->x);
    FC_UNROLL (i, 3) {
        sums.sum[i][0] = vzero();
        sums.sum[i][1] = i < 2 ? vload(column->sum[i]) : vzero();
    }
    for (int64_t w = 0; w < lines->columns; w++, column++) {
        const real *dy = row->dy + w * lines->dy_pixel;
        vreal gradient[3] = {vload(dy)};
        vint number[3];
        __builtin_prefetch(dy + ahead->dy, 0, 2);
        if (indexed) {
            const int64_t *index = row->index + w * lines->index_pixel;
            FC_UNROLL (i, (LANES + INDICES - 1) / INDICES)
                __builtin_prefetch(index + ahead->index + i * INDICES, 0, 2);
            const vint given = viload_index(index);
            number[1] = visub(given, place);
            number[0] = viadd(number[1], viset1(row->up));
            number[2] = visub(number[1], viset1((integer)lines->columns));
            gradient[1] = gradient[2] = gradient[0];
            slide_check(lines, given, number, w, stray);
        } else {
            number[0] = slide_window(row, lines, &walk, column, w, ahead->x, gradient, pooling);
            number[1] = number[2] = number[0];
        }
        FC_UNROLL (k, 3) {
            const int i = 2 - k;
            vreal *sum = sums.sum[i];
            sum[2] = i < 2 ? vload(column[1].sum[i]) : vzero();
            FC_UNROLL (j, 3)
                sum[j] = vadd_where(viequal(number[i], viset1(j - 1)), sum[j], gradient[i]);
            slide_put(&sums, column - 1, dx, ahead->dx, i);
        }
        place = viadd(place, viset1(1));
        dx = w > 0 ? dx + row->dx_pixel : row->dx;
    }
    FC_UNROLL (k, 3)
        slide_put(&sums, column - 1, dx, ahead->dx, 2 - k);
}

/* Row h of windows, for channels from l on. Above the first row it comes again, and wins what it would beside. */
FC_INLINE struct slide_row slide_row_of(struct slide_column *columns,
                                        const struct fc_pool2d_lines *lines, int64_t h, int64_t l,
                                        const bool indexed)
{
    const int64_t below = h + 1 < lines->rows ? h + 1 : h;
    return (struct slide_row){
        .x = indexed ? NULL : (const real *)lines->x + below * lines->x_row + l,
        .dy = (const real *)lines->dy + h * lines->dy_row + l,
        .index = indexed ? lines->index + h * lines->index_row + l : NULL,
        .dx = h > 0 ? (real *)lines->y + (h - 1) * lines->y_row + l : columns->sum[0],
        .dx_pixel = h > 0 ? lines->y_pixel : (ptrdiff_t)(sizeof *columns / sizeof(real)),
        .columns = columns,
        .beside = (int)(h & 1),
        .place = (integer)(h * lines->columns),
        .up = h > 0 ? (integer)lines->columns : 0};
}

/* Before the first row of windows the first of x is searched, and nothing has been given. */
FC_INLINE void slide_first(struct slide_column *columns, const struct fc_pool2d_lines *lines,
                           int64_t l, ptrdiff_t ahead, fc_pooling pooling, const bool indexed)
{
    struct slide_walk walk;
    if (!indexed)
        walk = slide_begins((const real *)lines->x + l);
    for (int64_t w = 0; w <= lines->columns; w++)
        FC_UNROLL (i, 2)
            vstore(columns[w].sum[i], vzero());
    if (!indexed)
        for (int64_t w = 0; w < lines->columns; w++)
            slide_step(&walk, lines, w, ahead, columns + w, 0, pooling);
}

FC_INLINE bool slide_dx(const struct fc_pool2d_lines *given, fc_pooling pooling, const bool indexed)
{
    const struct fc_pool2d_lines lines = *given;
    const int64_t vectors = lines.columns > SLIDE_COLUMNS ? SLIDE_VECTORS / 2 : SLIDE_VECTORS;
    const int64_t last = lines.planes - LANES, step = vectors * LANES;
    struct slide_column each[SLIDE_VECTORS * (SLIDE_COLUMNS + 2)];
    vint stray = viset1(0);
    for (int64_t first = 0; first < lines.planes; first += step) {
        struct slide_ahead ahead = {step, step, step, step};
        if (first + step >= lines.planes)
            ahead = (struct slide_ahead){lines.x_ahead - first, lines.dy_ahead - first,
                                         lines.index_ahead - first, lines.y_ahead - first};
        for (int64_t h = -1; h <= lines.rows; h++)
            for (int64_t v = 0; v < vectors && first + v * LANES < lines.planes; v++) {
                struct slide_column *columns = each + v * (lines.columns + 2) + 1;
                const int64_t l = first + v * LANES < last ? first + v * LANES : last;
                if (h < 0) {
                    slide_first(columns, &lines, l, ahead.x, pooling, indexed);
                    continue;
                }
                const struct slide_row row = slide_row_of(columns, &lines, h, l, indexed);
                if (h < lines.rows)
                    slide_windows(&row, &lines, &ahead, &stray, pooling, indexed);
                else
                    for (int64_t w = 0; w < lines.columns; w++)
                        vstore(row.dx + w * row.dx_pixel, vload(row.columns[w].sum[0]));
            }
    }
    return !some_negative(stray);
}

static bool slide_max_dx(const struct fc_pool2d_lines *lines)
{
    return lines->index ? slide_dx(lines, FC_MAX, true) : slide_dx(lines, FC_MAX, false);
}

static bool slide_min_dx(const struct fc_pool2d_lines *lines)
{
    return lines->index ? slide_dx(lines, FC_MIN, true) : slide_dx(lines, FC_MIN, false);
}
