/* pool2d_slide.inc.h: the way back of windows of 3 x 3 that slide by one, where channels lie together.
 *
 * Two vectors of channels walk the plane: of each row the winners of three columns, of which neighbours share
 * what they read, and then those of three such rows, which wait in the first-level cache, as do the numbers of three
 * rows of windows for the row of dx between them. That is 4 comparisons with selections and 9 comparisons with
 * additions, 17 cycles a vector by the ports in AVX-512, where windows searched tap by tap take 18 and the
 * additions 9 more, with 18 loads that come from the second-level cache. All of a pixel's channels at a time would
 * not stay in the first.
 *
 * Beyond an edge its pixel or row comes again, which wins nothing that it has not won. */
enum {
    SLIDE_VECTORS = 2,
    SLIDE_STEP = SLIDE_VECTORS * LANES,
    SLIDE_ROW = FC_POOL2D_SLIDE * SLIDE_STEP
};

/* For each column, SLIDE_STEP elements: the winners of the last row that was searched, and of it and the one
 * before; those of windows, pixels as h * columns + w, of three rows and of one that has none, with a column more at
 * either end. */
struct slide {
    _Alignas(64) real beside[SLIDE_ROW], above[SLIDE_ROW];
    _Alignas(64) integer beside_number[SLIDE_ROW], above_number[SLIDE_ROW];
    _Alignas(64) integer windows[4][SLIDE_ROW + 2 * SLIDE_STEP];
};

/* Searches a row, of which pixel 0 is number `origin`, and puts the numbers of the windows around the row before
 * into `windows`. */
FC_INLINE void slide_search(struct slide *slide, const struct fc_pool2d_lines *lines, const real *x,
                            const real *ahead, integer origin, integer *windows, const bool first,
                            const int vectors, fc_pooling pooling)
{
    vreal left[SLIDE_VECTORS], here[SLIDE_VECTORS];
    FC_UNROLL (v, vectors)
        left[v] = here[v] = vload(x + v * LANES);
    vint before = viset1(origin), place = before, after = viset1(origin + 1);
    for (int64_t w = 0; w < lines->columns; w++) {
        const real *next = x + (w + 1 < lines->columns ? w + 1 : w) * lines->x_pixel;
        FC_UNROLL (v, vectors) {
            const int64_t at = w * SLIDE_STEP + v * LANES;
            const vreal right = vload(next + v * LANES);
            __builtin_prefetch(ahead + w * lines->x_pixel + v * LANES);
            vreal best = left[v], above;
            vint number = before, above_number;
            line_wins(here[v], place, &best, &number, pooling);
            line_wins(right, after, &best, &number, pooling);
            left[v] = here[v];
            here[v] = right;
            if (first) {
                above = best;
                above_number = number;
            } else {
                above = vload(slide->above + at);
                above_number = viload(slide->above_number + at);
                line_wins(best, number, &above, &above_number, pooling);
                vistore(windows + at, above_number);
                above = vload(slide->beside + at);
                above_number = viload(slide->beside_number + at);
                line_wins(best, number, &above, &above_number, pooling);
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
                             integer *windows, vint *stray, const int vectors)
{
    const int64_t columns = lines->columns;
    const vint none = viset1(-1), last = viset1((integer)(lines->rows * columns - 1));
    for (int64_t w = 0; w < columns; w++) {
        const vint low = viset1(w > 0 ? -1 : 0), high = viset1(w + 1 < columns ? 1 : 0);
        FC_UNROLL (v, vectors) {
            const vint given = viload_index(index + w * lines->index_pixel + v * LANES);
            vint outside = none;
            FC_UNROLL (i, 3) {
                const vint place = viset1((integer)((h - 1 + i) * columns + w));
                const vint apart = visub(given, place);
                outside = viand(outside, vior(visub(apart, low), visub(high, apart)));
            }
            outside = vior(outside, vior(given, visub(last, given)));
            *stray = vior(*stray, viselect(viequal(given, none), viset1(0), outside));
            vistore(windows + w * SLIDE_STEP + v * LANES, given);
        }
    }
}

/* Row h of dx takes the gradients of the windows, in their order, around rows h - 1, h, and h + 1. */
FC_INLINE void slide_award(const struct fc_pool2d_lines *lines, const real *const dy[3],
                           const integer *const windows[3], int64_t h, real *dx, const int vectors)
{
    const int64_t columns = lines->columns;
    vint place = viset1((integer)(h * columns));
    for (int64_t w = 0; w < columns; w++, place = viadd(place, viset1(1))) {
        const ptrdiff_t pixel[3] = {w > 0 ? w - 1 : 0, w, w + 1 < columns ? w + 1 : w};
        FC_UNROLL (v, vectors) {
            vreal sum = vzero();
            FC_UNROLL (i, 3)
                FC_UNROLL (j, 3) {
                    const integer *number = windows[i] + (w + j - 1) * SLIDE_STEP + v * LANES;
                    sum = vadd_where(viequal(viload(number), place), sum,
                                     vload(dy[i] + pixel[j] * lines->dy_pixel + v * LANES));
                }
            vstore(dx + w * lines->y_pixel + v * LANES, sum);
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
    if (!indexed)
        slide_search(slide, lines, x, rows > 1 ? x + lines->x_row : x, 0, NULL, true, vectors,
                     pooling);
    for (int64_t h = 0; h <= rows; h++) {
        integer *windows = slide->windows[h % 3] + SLIDE_STEP;
        if (h < rows && indexed)
            slide_indices(lines, lines->index + h * lines->index_row + l, h, windows, stray,
                          vectors);
        else if (h + 1 < rows)
            slide_search(slide, lines, x + (h + 1) * lines->x_row,
                         h + 2 < rows ? x + (h + 2) * lines->x_row : x + SLIDE_STEP,
                         (integer)((h + 1) * columns), windows, false, vectors, pooling);
        else if (h < rows)
            for (int64_t at = 0; at < columns * SLIDE_STEP; at += LANES)
                vistore(windows + at, viload(slide->above_number + at));
        if (h == 0)
            continue;
        const integer *none = slide->windows[3] + SLIDE_STEP;
        const integer *const around[3] = {h > 1 ? slide->windows[(h + 1) % 3] + SLIDE_STEP : none,
                                          slide->windows[(h + 2) % 3] + SLIDE_STEP,
                                          h < rows ? windows : none};
        const real *beside = dy + (h - 1) * lines->dy_row;
        const real *const gradients[3] = {h > 1 ? beside - lines->dy_row : beside, beside,
                                          h < rows ? beside + lines->dy_row : beside};
        slide_award(lines, gradients, around, h - 1, dx + (h - 1) * lines->y_row, vectors);
    }
}

/* The last vector ends with the channels, and computes some again. */
FC_INLINE bool slide_dx(const struct fc_pool2d_lines *given, fc_pooling pooling, const bool indexed)
{
    const struct fc_pool2d_lines lines = *given;
    struct slide slide;
    integer lane[LANES];
    vint stray = viset1(0);
    for (int i = 0; i < 4; i++)
        for (int64_t at = 0; at < (lines.columns + 2) * SLIDE_STEP; at += LANES)
            vistore(slide.windows[i] + at, viset1(-1));
    int64_t l = 0;
    for (; l + SLIDE_STEP <= lines.planes; l += SLIDE_STEP)
        slide_plane(&slide, &lines, l, &stray, SLIDE_VECTORS, pooling, indexed);
    for (; l < lines.planes; l += LANES)
        slide_plane(&slide, &lines, l + LANES <= lines.planes ? l : lines.planes - LANES, &stray, 1,
                    pooling, indexed);
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
