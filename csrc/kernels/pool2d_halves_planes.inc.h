/* pool2d_halves_planes.inc.h: the way back of windows of 3 x 3 that step by two over planes: columns are lanes.
 *
 * Columns come apart into even and odd ones as they are loaded, and dx comes together as it is stored. A row of
 * windows is searched, or told from indices, and gives its gradients to three rows of dx at once: the first of them
 * is whole, the second belongs to no other, and the third waits in registers, with the winners of its columns, for
 * the next row of windows. 16 windows of AVX-512 take 8 comparisons, two of them a look for NaNs, 5 maxima, 7
 * additions, 13 permutations and 12 selections, 23 cycles of Zen 4's ports, and with some 150 instructions 48: rows
 * of few strips have their own walk. Rows of a vector or less come from two planes at once, side by side, so that 13
 * x 13 has 12 windows in 16 lanes and not 6. */

/* A vector of windows, from w on, and of pairs of columns, from 2 * w on. */
struct halves_strip {
    int64_t w;
    int first, second, windows;    /* columns in either half of them, and windows */
    ptrdiff_t x_second, dx_second; /* from one half to the other */
    ptrdiff_t edge;            /* to the column beside them that belongs to one of the windows */
    bool beyond;               /* a third column lies beyond the image */
    vmask left, right, unused; /* whose first column, or third, does; that do not exist */
    vint origin;               /* 2 * w - before */
};

/* Sums of columns of a row of dx that two windows share, and of those that none do. */
struct halves_sums {
    vreal shared, alone;
};

/* What waits for the next row of windows: the winners of its first row of columns, and sums. */
struct halves_state {
    vreal best;
    struct three_won won;
    struct halves_sums sums;
};

/* What windows beside a strip give to it, by tap rows, for the strip that comes next. */
struct halves_beside {
    vreal to[3];
};

FC_INLINE int halves_count(int64_t n) { return (int)(n < 0 ? 0 : n < LANES ? n : LANES); }

static struct halves_strip halves_strip(const struct fc_pool2d_halves_planes *halves, int64_t w)
{
    const int64_t columns = halves->width - 2 * w, last = halves->columns - 1;
    const bool beyond = 2 * last + 2 - halves->before >= halves->width;
    integer lanes[2][LANES];
    FC_UNROLL (i, LANES) {
        lanes[0][i] = i;
        lanes[1][i] = i % (LANES / 2);
    }
    const vint place = viadd(viload(lanes[halves->two]), viset1((integer)w));
    struct halves_strip strip = {.w = w,
                                 .first = halves_count(columns),
                                 .second = halves_count(halves->two ? columns : columns - LANES),
                                 .windows = halves_count(halves->columns - w),
                                 .x_second = halves->two ? halves->x_plane : LANES,
                                 .dx_second = halves->two ? halves->dx_plane : LANES,
                                 .beyond = beyond,
                                 .left = viequal(place, viset1(halves->before ? 0 : -1)),
                                 .right = viequal(place, viset1(beyond ? (integer)last : -1)),
                                 .unused = vigreater(place, viset1((integer)last)),
                                 .origin =
                                     visub(viadd(place, place), viset1((integer)halves->before))};
    if (halves->before)
        strip.edge = w ? -1 : 0;
    else
        strip.edge = !halves->two && 2 * LANES < columns ? 2 * LANES : 0;
    return strip;
}

FC_INLINE void halves_put(real *y, vreal a, int n, const bool stream)
{
    if (n < LANES)
        vstore_first(y, a, n);
    else
        halves_store(y, a, stream);
}

/* Three columns of each window of a row of x, from the strip's first column on. Beyond the image lies on the left
 * what never wins, a NaN, and on the right what never beats; the strip beside that is `last` on the way there. */
FC_INLINE struct three halves_three(const struct fc_pool2d_halves_planes *halves,
                                    const struct halves_strip *strip, vreal a, vreal b,
                                    const real *x, const bool last, const bool before,
                                    fc_pooling pooling)
{
    const vreal even = vevens(a, b), odd = vodds(a, b);
    const vreal none = before ? vset1(NAN) : pool_identity(pooling);
    const vreal edge = last ? none : vset1(x[strip->edge]);
    __builtin_prefetch((const char *)x + halves->ahead, 0, 2);
    __builtin_prefetch((const char *)(x + strip->x_second) + halves->ahead, 0, 2);
    vreal third = before ? odd : vafter(even, edge);
    if (strip->beyond)
        third = vselect(strip->right, pool_identity(pooling), third);
    if (!before)
        return three_of(even, odd, third, pooling);
    vreal first = vbefore(edge, odd);
    if (!last || halves->two)
        first = vselect(strip->left, none, first);
    return three_of(first, even, third, pooling);
}

/* What stored indices tell of row h of windows, of rows and of their columns. Not true: one is none of its
 * window's. */
FC_INLINE bool halves_told(const struct fc_pool2d_halves_planes *halves,
                           const struct halves_strip *strip, int64_t h, vreal *dy,
                           struct three_won *rows, struct three_won columns[3])
{
    const int64_t *index = halves->index + h * halves->index_row + strip->w;
    const integer width = (integer)halves->width, all = width * (integer)halves->height;
    int64_t some[LANES];
    const bool together = halves->index_row == halves->columns;
    FC_UNROLL (l, LANES / 8)
        __builtin_prefetch((const char *)(index + 8 * l) + halves->ahead, 0, 2);
    if (strip->windows < LANES &&
        !(together && (halves->rows - h) * halves->columns - strip->w >= LANES)) {
        for (int i = 0; i < LANES; i++)
            some[i] = i < strip->windows ? index[i] : -1;
        index = some;
    }
    const vint given = viload_index(index), none = viset1(-1);
    const vint number =
        visub(given, viadd(strip->origin, viset1((integer)(2 * h - halves->above) * width)));
    /* Columns of one row after the other: the masks of one do for all, since each gives what rows leave to it. */
    const vint zero = viset1(0), one = viset1(1), two = viset1(2);
    rows->first = vigreater(viset1(width), number);
    rows->third = vigreater(number, viset1(2 * width - 1));
    const vint row = viselect(rows->third, viset1(2 * width), viset1(width));
    const vint column = visub(number, viselect(rows->first, zero, row));
    FC_UNROLL (i, 3) {
        columns[i].first = viequal(column, zero);
        columns[i].third = viequal(column, two);
    }
    const vmask nobody = viequal(given, none);
    *dy = vdrop(nobody, *dy);
    const vint place = visub(given, none), last = viselect(strip->right, one, two);
    const vint before = visub(column, viselect(strip->left, one, zero));
    const vint outside =
        vior(vior(before, visub(last, column)), vior(place, visub(viset1(all), place)));
    const vmask stray = vmask_andnot(vigreater(zero, outside), vmask_or(strip->unused, nobody));
    return !vany(stray, stray);
}

/* ---------------------------------------------------------------------- dx */

/* A tap row of windows gives to columns that two of them share, the earlier one first, and to those of one alone. A
 * gradient is no -0, and so what begins a sum is what zero and it would be. */
FC_INLINE void halves_claim(struct three_won won, vreal gradient, vreal *beside,
                            struct halves_sums *sums, const bool begins, const bool before)
{
    const vreal rest = vdrop(won.third, gradient), other = beside ? *beside : vzero();
    const vreal moves = before ? vkeep(won.first, rest) : vkeep(won.third, gradient);
    const vreal alone = vdrop(won.first, rest);
    vreal shared;
    if (before) {
        shared =
            begins ? vkeep(won.third, gradient) : vadd_where(won.third, sums->shared, gradient);
        shared = vadd(shared, vafter(moves, other));
    } else {
        const vreal earlier = vbefore(other, moves);
        shared = begins ? earlier : vadd(sums->shared, earlier);
        shared = vadd_where(won.first, shared, rest);
    }
    sums->shared = shared;
    sums->alone = begins ? alone : vadd(sums->alone, alone);
    if (beside)
        *beside = moves;
}

FC_INLINE void halves_row(const struct fc_pool2d_halves_planes *halves,
                          const struct halves_strip *strip, int64_t row,
                          const struct halves_sums *sums, const bool before)
{
    if (row < halves->top || row >= halves->height)
        return;
    real *dx = (real *)halves->dx + (row - halves->top) * halves->dx_row + 2 * strip->w;
    const vreal even = before ? sums->alone : sums->shared;
    const vreal odd = before ? sums->shared : sums->alone;
    halves_put(dx, vzip_low(even, odd), strip->first, halves->stream);
    if (halves->fetch) {
        const char *ahead = (const char *)(dx + 2 * FC_POOL2D_HALVES * halves->dx_row);
        FC_UNROLL (l, 2)
            __builtin_prefetch(ahead + 64 * l, 1, 3);
    }
    if (strip->second)
        halves_put(dx + strip->dx_second, vzip_high(even, odd), strip->second, halves->stream);
}

FC_INLINE vreal halves_dy(const struct fc_pool2d_halves_planes *halves,
                          const struct halves_strip *strip, const real *dy)
{
    const vreal a = vload_first(dy, strip->windows);
    __builtin_prefetch(dy + FC_POOL2D_HALVES * halves->dy_row, 0, 2);
    const vreal both =
        halves->two ? vhalves(a, vload_first(dy + halves->dy_plane, strip->windows)) : a;
    return vadd(both, vzero());
}

FC_INLINE struct three halves_search(const struct fc_pool2d_halves_planes *halves,
                                     const struct halves_strip *strip, const real *x, vmask *nans,
                                     const bool before, fc_pooling pooling)
{
    const vreal a = vload_first(x, strip->first);
    const vreal b = vload_first(x + strip->x_second, strip->second);
    *nans = vnans_of(a, b);
    return halves_three(halves, strip, a, b, x, false, before, pooling);
}

/* Nothing waits but the winners of the first row of windows h: none, where that row lies above the image. */
static bool halves_begin(const struct fc_pool2d_halves_planes *halves,
                         const struct halves_strip *strip, int64_t h, struct halves_state *state,
                         fc_pooling pooling)
{
    const int64_t top = 2 * h - halves->above;
    vmask nans = vgreater(vzero(), vzero());
    state->best = vset1(NAN);
    state->sums.shared = state->sums.alone = vzero();
    state->won.first = state->won.third = nans;
    if (pooling == FC_AVG || top < 0)
        return true;
    const real *x = (const real *)halves->x + top * halves->x_row + 2 * strip->w;
    const struct three row = halves_search(halves, strip, x, &nans, halves->before, pooling);
    state->best = row.best;
    state->won = three_won(&row, pooling);
    return !vany(nans, nans);
}

/* What waits below the last row of windows, and zeros below that. */
static void halves_end(const struct fc_pool2d_halves_planes *halves,
                       const struct halves_strip *strip, const struct halves_state *state)
{
    const struct halves_sums none = {vzero(), vzero()};
    halves_row(halves, strip, 2 * halves->rows - halves->above, &state->sums, halves->before);
    halves_row(halves, strip, 2 * halves->rows + 1 - halves->above, &none, halves->before);
}

/* Row h of windows, beside those of the strip before, or after it. */
FC_INLINE bool halves_windows(const struct fc_pool2d_halves_planes *halves,
                              const struct halves_strip *strip, int64_t h,
                              struct halves_beside *beside, struct halves_state *state,
                              const bool before, fc_pooling pooling)
{
    const int64_t row = 2 * h - halves->above;
    struct three three[2];
    struct three_won rows, columns[3];
    struct halves_sums own;
    const real *given = (const real *)halves->dy + h * halves->dy_row + strip->w;
    vreal dy = halves_dy(halves, strip, given), to[3], *other[3];
    vmask nans[2];
    bool fine = true;
    FC_UNROLL (i, 3)
        other[i] = beside ? &beside->to[i] : NULL;
    columns[0].first = state->won.first;
    columns[0].third = state->won.third;
    if (pooling == FC_AVG) {
        fine = halves_told(halves, strip, h, &dy, &rows, columns);
    } else {
        const real *x = (const real *)halves->x + (row + 1) * halves->x_row + 2 * strip->w;
        const ptrdiff_t below = row + 2 < halves->height ? halves->x_row : 0;
        three[0] = halves_search(halves, strip, x, &nans[0], before, pooling);
        three[1] = halves_search(halves, strip, x + below, &nans[1], before, pooling);
        const struct three of = three_of(state->best, three[0].best, three[1].best, pooling);
        fine = !vany(nans[0], nans[1]);
        rows = three_won(&of, pooling);
        state->best = three[1].best;
    }
    three_part(rows, dy, to);
    halves_claim(columns[0], to[0], other[0], &state->sums, false, before);
    halves_row(halves, strip, row, &state->sums, before);
    if (pooling != FC_AVG)
        columns[1] = three_won(&three[0], pooling);
    halves_claim(columns[1], to[1], other[1], &own, true, before);
    halves_row(halves, strip, row + 1, &own, before);
    if (pooling != FC_AVG)
        columns[2] = three_won(&three[1], pooling);
    halves_claim(columns[2], to[2], other[2], &state->sums, true, before);
    state->won.first = columns[2].first;
    state->won.third = columns[2].third;
    return fine;
}

/* Member by member, else gcc copies by way of memory what would stay in registers. */
FC_INLINE void halves_copy(struct halves_state *to, const struct halves_state *from)
{
    to->best = from->best;
    to->won.first = from->won.first;
    to->won.third = from->won.third;
    to->sums.shared = from->sums.shared;
    to->sums.alone = from->sums.alone;
}

/* Rows [begin, end) of windows of a strip. */
FC_INLINE bool halves_rows_of(const struct fc_pool2d_halves_planes *halves,
                              const struct halves_strip *strip, int64_t begin, int64_t end,
                              const bool fresh, struct halves_beside *beside, const bool before,
                              fc_pooling pooling)
{
    struct halves_state *kept = (struct halves_state *)halves->state + strip->w / LANES;
    struct halves_state state;
    bool fine = !fresh || halves_begin(halves, strip, begin, kept, pooling);
    halves_copy(&state, kept);
    /* Copies that nobody else knows of: else each store of a vector may have changed them. */
    const struct fc_pool2d_halves_planes all = *halves;
    const struct halves_strip one = *strip;
    const int64_t windows = end < halves->rows ? end : halves->rows;
    for (int64_t h = begin; h < windows && fine; h++)
        fine = halves_windows(&all, &one, h, beside ? beside++ : NULL, &state, before, pooling);
    halves_copy(kept, &state);
    if (end > halves->rows)
        halves_end(halves, strip, kept);
    return fine;
}

/* A plane, or two. Some rows at a time stay in the first-level cache while strips of them are walked, to the side on
 * which their columns are shared. */
FC_INLINE bool halves_plane(const struct fc_pool2d_halves_planes *halves,
                            const struct halves_strip *one, int64_t strips, const bool before,
                            fc_pooling pooling)
{
    enum { ROWS = FC_POOL2D_HALVES };
    struct halves_beside beside[ROWS];
    struct halves_strip strip = *one;
    bool fresh = halves->fresh, fine = true;
    int64_t h = fresh && halves->begin > 0 ? halves->begin - 1 : halves->begin;
    for (int64_t end; h < halves->end && fine; h = end, fresh = false) {
        end = strips > 1 && h + ROWS < halves->end ? h + ROWS : halves->end;
        for (int i = 0; strips > 1 && i < ROWS; i++)
            beside[i] = (struct halves_beside){{vzero(), vzero(), vzero()}};
        for (int64_t s = 0; s < strips; s++) {
            if (strips > 1)
                strip = halves_strip(halves, (halves->before ? strips - 1 - s : s) * LANES);
            fine &= halves_rows_of(halves, &strip, h, end, fresh, strips > 1 ? beside : NULL,
                                   before, pooling);
        }
    }
    return fine;
}

/* The last of an odd number of planes has no other beside it. */
FC_INLINE void halves_part(struct fc_pool2d_halves_planes *halves, int64_t p,
                           struct halves_strip *strip)
{
    if (halves->two && p + 1 == halves->planes) {
        halves->two = false;
        *strip = halves_strip(halves, 0);
    }
}

/* An average stands for indices. */
FC_INLINE bool halves_planes(const struct fc_pool2d_halves_planes *given, fc_pooling pooling)
{
    struct fc_pool2d_halves_planes halves = *given;
    const int64_t strips = (halves.width + 2 * LANES - 1) / (2 * LANES);
    struct halves_strip strip = halves_strip(&halves, 0);
    const int64_t step = halves.two ? 2 : 1;
    for (int64_t p = 0; p < halves.planes; p += step) {
        halves_part(&halves, p, &strip);
        const bool before = halves.before;
        bool fine;
        if (pooling != FC_MAX) /* indices have fewer instructions, and minima are few */
            fine = halves_plane(&halves, &strip, strips, before, pooling);
        else
            fine = before ? halves_plane(&halves, &strip, strips, true, pooling)
                          : halves_plane(&halves, &strip, strips, false, pooling);
        if (!fine)
            return false;
        if (pooling == FC_AVG)
            halves.index += step * halves.index_plane;
        else
            halves.x = (const real *)halves.x + step * halves.x_plane;
        halves.dy = (const real *)halves.dy + step * halves.dy_plane;
        halves.dx = (real *)halves.dx + step * halves.dx_plane;
    }
    return true;
}

static bool halves_min_planes(const struct fc_pool2d_halves_planes *halves)
{
    return halves_planes(halves, FC_MIN);
}

static bool halves_told_planes(const struct fc_pool2d_halves_planes *halves)
{
    return halves_planes(halves, FC_AVG);
}

static void put_lines(const void *from, void *to, int64_t lines)
{
    enum { LINE_ELEMENTS = 64 / (int)sizeof(real) };
    const real *line = from;
    real *y = to;
    for (int64_t i = 0; i < lines * LINE_ELEMENTS; i += LANES)
        vstream(y + i, vload(line + i));
}
