/* pool2d_slide.inc.h: the way back of windows of 3 x 3 that slide by one, where channels lie together.
 *
 * Four vectors of channels walk the plane: of each row the winners of three columns, of which neighbours share
 * what they read, and then those of three such rows, which wait in the first-level cache, as do the numbers of three
 * rows of windows for the row of dx between them. That is 4 comparisons with selections and 9 comparisons with
 * additions, 17 cycles a vector by the ports in AVX-512, where windows searched tap by tap take 18 and the
 * additions 9 more, with 18 loads that come from the second-level cache. All of a pixel's channels at a time would
 * not stay in the first, nor do four vectors over more columns than SLIDE_ROW holds: there it is two.
 *
 * The channels that come next are fetched meanwhile, all that their walk will read and write: pixels lie so far
 * apart that nothing else fetches them in time. 14 x 14 x 480 in float64 took 2.5 to 3 ms from memory without, and
 * takes 1.2; bands of 7 rows, so that a pixel's other lines stay until it is their turn, gained a tenth of that.
 *
 * Beyond an edge its pixel or row comes again, which wins nothing that it has not won. */
enum {
    SLIDE_VECTORS = 4,
    SLIDE_ROW = 4096 / (int)sizeof(real),
    SLIDE_STEP = SLIDE_VECTORS * LANES,
    INDICES = 64 / (int)sizeof(int64_t) /* of a cache line */
};

/* For each column, so many vectors: the winners of the last row that was searched, and of it and the one
 * before; those of windows, pixels as h * columns + w, of three rows and of one that has none, with a column more at
 * either end. */
struct slide {
    _Alignas(64) real beside[SLIDE_ROW], above[SLIDE_ROW];
    _Alignas(64) integer beside_number[SLIDE_ROW], above_number[SLIDE_ROW];
    _Alignas(64) integer windows[4][SLIDE_ROW + 2 * SLIDE_STEP];
};

/* How far away the channels lie that come next. */
struct slide_ahead {
    ptrdiff_t x, dy, index, dx;
};

/* Searches a row, of which pixel 0 is number `origin`, and puts the numbers of the windows around the row before
 * into `windows`. */
FC_INLINE void slide_search(struct slide *slide, const struct fc_pool2d_lines *lines, const real *x,
                            ptrdiff_t ahead, integer origin, integer *windows, const bool first,
                            const int vectors, fc_pooling pooling)
{
    vreal left[SLIDE_VECTORS], here[SLIDE_VECTORS];
    FC_UNROLL (v, vectors)
        left[v] = here[v] = vload(x + v * LANES);
    vint before = viset1(origin), place = before, after = viset1(origin + 1);
    for (int64_t w = 0; w < lines->columns; w++) {
        const real *next = x + (w + 1 < lines->columns ? w + 1 : w) * lines->x_pixel;
        FC_UNROLL (v, vectors) {
            const int64_t at = (w * vectors + v) * LANES;
            const vreal right = vload(next + v * LANES);
            __builtin_prefetch(x + w * lines->x_pixel + v * LANES + ahead, 0, 2);
            vreal best = left[v], above;
            vint number = before, above_number;
            pool_wins(here[v], place, &best, &number, pooling);
            pool_wins(right, after, &best, &number, pooling);
            left[v] = here[v];
            here[v] = right;
            if (first) {
                above = best;
                above_number = number;
            } else {
                above = vload(slide->above + at);
                above_number = viload(slide->above_number + at);
                pool_wins(best, number, &above, &above_number, pooling);
                vistore(windows + at, above_number);
                above = vload(slide->beside + at);
                above_number = viload(slide->beside_number + at);
                pool_wins(best, number, &above, &above_number, pooling);
            }
            vstore(slide->above + at, above);
            vistore(slide->above_number + at, above_number);
            vstore(slide->beside + at, best);
            vistore(slide->beside_number + at, number);
        }
        before = place;
        place = after;
        after = viadd(after, viset1(1));
    }
}

/* Stored indices of row h; *stray gets lanes below zero where one is none of its window's. */
FC_INLINE void slide_indices(const struct fc_pool2d_lines *lines, const int64_t *index, int64_t h,
                             ptrdiff_t ahead, integer *windows, vint *stray, const int vectors)
{
    const int64_t columns = lines->columns;
    const vint none = viset1(-1), last = viset1((integer)(lines->rows * columns - 1));
    for (int64_t w = 0; w < columns; w++) {
        const vint low = viset1(w > 0 ? -1 : 0), high = viset1(w + 1 < columns ? 1 : 0);
        FC_UNROLL (v, vectors) {
            const int64_t *from = index + w * lines->index_pixel + v * LANES;
            const vint given = viload_index(from);
            FC_UNROLL (i, LANES)
                if (i % INDICES == 0)
                    __builtin_prefetch(from + ahead + i, 0, 2);
            vint outside = none;
            FC_UNROLL (i, 3) {
                const vint place = viset1((integer)((h - 1 + i) * columns + w));
                const vint apart = visub(given, place);
                outside = viand(outside, vior(visub(apart, low), visub(high, apart)));
            }
            outside = vior(outside, vior(given, visub(last, given)));
            *stray = vior(*stray, viselect(viequal(given, none), viset1(0), outside));
            vistore(windows + (w * vectors + v) * LANES, given);
        }
    }
}

/* Row h of dx takes the gradients of the windows, in their order, around rows h - 1, h, and h + 1. */
FC_INLINE void slide_award(const struct fc_pool2d_lines *lines, const real *const dy[3],
                           const integer *const windows[3], int64_t h, real *dx,
                           const struct slide_ahead *ahead, const int vectors)
{
    const int64_t columns = lines->columns;
    vint place = viset1((integer)(h * columns));
    for (int64_t w = 0; w < columns; w++, place = viadd(place, viset1(1))) {
        const ptrdiff_t pixel[3] = {w > 0 ? w - 1 : 0, w, w + 1 < columns ? w + 1 : w};
        FC_UNROLL (v, vectors) {
            vreal sum = vzero();
            FC_UNROLL (i, 3)
                FC_UNROLL (j, 3) {
                    const integer *number = windows[i] + ((w + j - 1) * vectors + v) * LANES;
                    sum = vadd_where(viequal(viload(number), place), sum,
                                     vload(dy[i] + pixel[j] * lines->dy_pixel + v * LANES));
                }
            real *to = dx + w * lines->y_pixel + v * LANES;
            vstore(to, sum);
            __builtin_prefetch(to + ahead->dx, 0, 2);
            __builtin_prefetch(dy[1] + pixel[1] * lines->dy_pixel + v * LANES + ahead->dy, 0, 2);
        }
    }
}

/* Channels from l on of a plane. */
FC_INLINE void slide_plane(struct slide *slide, const struct fc_pool2d_lines *lines, int64_t l,
                           vint *stray, const int vectors, fc_pooling pooling, const bool indexed)
{
    const int64_t rows = lines->rows, columns = lines->columns;
    const real *x = indexed ? NULL : (const real *)lines->x + l;
    const real *dy = (const real *)lines->dy + l;
    real *dx = (real *)lines->y + l;
    const int64_t step = vectors * LANES;
    struct slide_ahead ahead = {step, step, step, step};
    if (l + step >= lines->planes)
        ahead = (struct slide_ahead){lines->x_ahead - l, lines->dy_ahead - l,
                                     lines->index_ahead - l, lines->y_ahead - l};
    if (!indexed)
        slide_search(slide, lines, x, ahead.x, 0, NULL, true, vectors, pooling);
    for (int64_t h = 0; h <= rows; h++) {
        integer *windows = slide->windows[h % 3] + step;
        if (h < rows && indexed)
            slide_indices(lines, lines->index + h * lines->index_row + l, h, ahead.index, windows,
                          stray, vectors);
        else if (h + 1 < rows)
            slide_search(slide, lines, x + (h + 1) * lines->x_row, ahead.x,
                         (integer)((h + 1) * columns), windows, false, vectors, pooling);
        else if (h < rows)
            for (int64_t at = 0; at < columns * step; at += LANES)
                vistore(windows + at, viload(slide->above_number + at));
        if (h == 0)
            continue;
        const integer *none = slide->windows[3] + step;
        const integer *const around[3] = {h > 1 ? slide->windows[(h + 1) % 3] + step : none,
                                          slide->windows[(h + 2) % 3] + step,
                                          h < rows ? windows : none};
        const real *beside = dy + (h - 1) * lines->dy_row;
        const real *const gradients[3] = {h > 1 ? beside - lines->dy_row : beside, beside,
                                          h < rows ? beside + lines->dy_row : beside};
        slide_award(lines, gradients, around, h - 1, dx + (h - 1) * lines->y_row, &ahead, vectors);
    }
}

/* Windows beyond the ends of rows, and a row of them, which are nobody's. */
FC_INLINE void slide_clear(struct slide *slide, int64_t columns, const int vectors)
{
    for (int i = 0; i < 4; i++)
        for (int64_t at = 0; at < (columns + 2) * vectors * LANES; at += LANES)
            vistore(slide->windows[i] + at, viset1(-1));
}

/* Channels from l on, but for a rest that half of the vectors hold; returns where it begins. The last of them
 * end with the channels, and compute some again. */
FC_INLINE int64_t slide_planes(struct slide *slide, const struct fc_pool2d_lines *lines, int64_t l,
                               vint *stray, const int vectors, fc_pooling pooling,
                               const bool indexed)
{
    const int64_t step = vectors * LANES, rest = vectors / 2 * LANES;
    const int64_t planes = lines->planes;
    if (l >= planes || step > planes || lines->columns * step > SLIDE_ROW)
        return l;
    slide_clear(slide, lines->columns, vectors);
    for (; l + rest < planes; l += step)
        slide_plane(slide, lines, l + step <= planes ? l : planes - step, stray, vectors, pooling,
                    indexed);
    return l;
}

FC_INLINE bool slide_dx(const struct fc_pool2d_lines *given, fc_pooling pooling, const bool indexed)
{
    const struct fc_pool2d_lines lines = *given;
    struct slide slide;
    integer lane[LANES];
    vint stray = viset1(0);
    int64_t l = slide_planes(&slide, &lines, 0, &stray, SLIDE_VECTORS, pooling, indexed);
    l = slide_planes(&slide, &lines, l, &stray, 2, pooling, indexed);
    slide_planes(&slide, &lines, l, &stray, 1, pooling, indexed);
    vistore(lane, stray);
    for (int i = 0; i < LANES; i++)
        if (lane[i] < 0)
            return false;
    return true;
}

static bool slide_max_dx(const struct fc_pool2d_lines *lines)
{
    return lines->index ? slide_dx(lines, FC_MAX, true) : slide_dx(lines, FC_MAX, false);
}

static bool slide_min_dx(const struct fc_pool2d_lines *lines)
{
    return lines->index ? slide_dx(lines, FC_MIN, true) : slide_dx(lines, FC_MIN, false);
}
