/* pool2d_halves_planes.inc.h: the way back of windows of 3 x 3 that step by two over planes: columns are lanes.
 *
 * Columns come apart into even and odd ones as they are loaded, and dx comes together as it is stored. A row of
 * windows is searched, or told from indices, and then gives its gradients to three rows of dx at once: the first of
 * them is whole, the second belongs to no other, and the third waits in registers, with the winners of its columns,
 * for the next row of windows. 16 windows of AVX-512 take 6 comparisons with selections, 9 with additions and 12
 * permutations. Rows of a vector or less come from two planes at once, side by side, so that 13 x 13 has 12
 * windows in 16 lanes and not 6. What waits for what takes 60 cycles a row: the next row is searched before a row
 * gives, and two rows of x are searched step by step. */

/* A vector of windows, from w on, and of pairs of columns, from 2 * w on. */
struct halves_strip {
    int64_t w;
    int first, second, windows;    /* columns in either half of them, and windows */
    ptrdiff_t x_second, dx_second; /* from one half to the other */
    ptrdiff_t edge; /* to the column beside them that belongs to one of the windows */
    vmask left, right,
        unused;     /* whose first column, or third, lies beyond the image; that do not exist */
    vint origin;    /* 2 * w - before */
    vint tap[3][3]; /* numbers of taps, those of rows a row of the image apart */
};

/* What waits for the next row of windows: the winners of its first row of columns, and sums of columns that two
 * windows share and of those that none do. */
struct halves_state {
    vreal best;
    vint column;
    vreal shared, alone;
};

/* The windows beside a strip in a row, for the strip that comes next. */
struct halves_beside {
    vint number;
    vreal dy;
};

FC_INLINE int halves_count(int64_t n) { return (int)(n < 0 ? 0 : n < LANES ? n : LANES); }

FC_INLINE struct halves_strip halves_strip(const struct fc_pool2d_halves_planes *halves, int64_t w)
{
    const int64_t columns = halves->width - 2 * w, last = halves->columns - 1;
    const bool beyond = 2 * last + 2 - halves->before >= halves->width;
    integer lane[LANES];
    for (int i = 0; i < LANES; i++)
        lane[i] = (integer)(halves->two ? i % (LANES / 2) : w + i);
    const vint place = viload(lane);
    struct halves_strip strip = {.w = w,
                                 .first = halves_count(columns),
                                 .second = halves_count(halves->two ? columns : columns - LANES),
                                 .windows = halves_count(halves->columns - w),
                                 .x_second = halves->two ? halves->x_plane : LANES,
                                 .dx_second = halves->two ? halves->dx_plane : LANES,
                                 .left = viequal(place, viset1(halves->before ? 0 : -1)),
                                 .right = viequal(place, viset1(beyond ? (integer)last : -1)),
                                 .unused = vigreater(place, viset1((integer)last)),
                                 .origin =
                                     visub(viadd(place, place), viset1((integer)halves->before))};
    if (halves->before)
        strip.edge = w ? -1 : 0;
    else
        strip.edge = !halves->two && 2 * LANES < columns ? 2 * LANES : 0;
    FC_UNROLL (i, 3)
        FC_UNROLL (j, 3)
            strip.tap[i][j] = viset1((integer)(i * halves->width + j));
    return strip;
}

FC_INLINE void halves_put(real *y, vreal a, int n, const bool stream)
{
    if (n < LANES)
        vstore_first(y, a, n);
    else
        halves_store(y, a, stream);
}

/* Columns of rows of x as windows have them: first, second and third. A column beyond the image is its neighbour,
 * which wins nothing that it has not won. */
FC_INLINE void halves_columns(const struct fc_pool2d_halves_planes *halves,
                              const struct halves_strip *strip, const real *const x[2],
                              vreal columns[2][3], const int rows)
{
    vreal even[2], odd[2], edge[2];
    FC_UNROLL (r, rows) {
        const vreal a = vload_first(x[r], strip->first);
        const vreal b = vload_first(x[r] + strip->x_second, strip->second);
        even[r] = vevens(a, b);
        odd[r] = vodds(a, b);
        edge[r] = vset1(x[r][strip->edge]);
        __builtin_prefetch((const char *)x[r] + halves->ahead, 0, 2);
        __builtin_prefetch((const char *)(x[r] + strip->x_second) + halves->ahead, 0, 2);
    }
    if (halves->before)
        FC_UNROLL (r, rows) {
            columns[r][0] = vselect(strip->left, even[r], vbefore(edge[r], odd[r]));
            columns[r][1] = even[r];
            columns[r][2] = odd[r];
        }
    else
        FC_UNROLL (r, rows) {
            columns[r][0] = even[r];
            columns[r][1] = odd[r];
            columns[r][2] = vafter(even[r], edge[r]);
        }
    FC_UNROLL (r, rows)
        columns[r][2] = vselect(strip->right, columns[r][1], columns[r][2]);
}

/* The winners of three columns of rows, of which the second is numbered from `tap` on: row by row at each step, since
 * a comparison and the selection that waits for it take 6 cycles. */
FC_INLINE void halves_three(const struct halves_strip *strip, vreal columns[2][3], vreal best[2],
                            vint number[2], const int rows, fc_pooling pooling)
{
    vmask numbers[2];
    FC_UNROLL (r, rows) {
        best[r] = columns[r][0];
        number[r] = viselect(strip->left, strip->tap[1 - r][1], strip->tap[1 - r][0]);
        numbers[r] = visnumber(best[r]);
    }
    FC_UNROLL (j, 2)
        FC_UNROLL (r, rows)
            pool_wins_next(columns[r][j + 1], strip->tap[1 - r][j + 1], &best[r], &number[r],
                           &numbers[r], pooling);
}

/* The winners of row h of windows, of whose rows the first is known. */
FC_INLINE vint halves_search(const struct fc_pool2d_halves_planes *halves,
                             const struct halves_strip *strip, int64_t h,
                             struct halves_state *state, fc_pooling pooling)
{
    const int64_t row = 2 * h - halves->above + 1;
    const real *x = (const real *)halves->x + row * halves->x_row + 2 * strip->w;
    vreal columns[2][3], best[2];
    vint number[2];
    halves_columns(halves, strip,
                   (const real *[]){x, row + 1 < halves->height ? x + halves->x_row : x}, columns,
                   2);
    halves_three(strip, columns, best, number, 2, pooling);
    vmask numbers = visnumber(state->best);
    pool_wins_next(best[0], number[0], &state->best, &state->column, &numbers, pooling);
    pool_wins_next(best[1], viadd(number[1], strip->tap[2][0]), &state->best, &state->column,
                   &numbers, pooling);
    const vint winner = state->column;
    state->best = best[1];
    state->column = number[1];
    return winner;
}

/* What stored indices tell of row h of windows. *stray gets lanes below zero where one is none of its window's. */
FC_INLINE vint halves_told(const struct fc_pool2d_halves_planes *halves,
                           const struct halves_strip *strip, int64_t h, vint *stray)
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
    vmask among[3];
    FC_UNROLL (j, 3) {
        among[j] = viequal(number, strip->tap[0][j]);
        among[j] = vmask_or(among[j], viequal(number, strip->tap[1][j]));
        among[j] = vmask_or(among[j], viequal(number, strip->tap[2][j]));
    }
    const vmask edges =
        vmask_or(vmask_andnot(among[0], strip->left), vmask_andnot(among[2], strip->right));
    const vmask no_matter = vmask_or(strip->unused, viequal(given, none));
    const vint outside = viselect(vmask_or(vmask_or(edges, among[1]), no_matter), viset1(0), none);
    const vint place = visub(given, none);
    *stray = vior(vior(*stray, outside), vior(place, visub(viset1(all), place)));
    return number;
}

/* ---------------------------------------------------------------------- dx */

/* Windows and their gradients that share a column, and those around one that is none other's. */
struct halves_claims {
    struct halves_beside earlier, later, around;
};

/* A tap row of them. */
FC_INLINE void halves_claim(const struct halves_claims *claims, const vint tap[3], vreal *shared,
                            vreal *alone)
{
    *shared = vadd_where(viequal(claims->earlier.number, tap[2]), *shared, claims->earlier.dy);
    *shared = vadd_where(viequal(claims->later.number, tap[0]), *shared, claims->later.dy);
    *alone = vadd_where(viequal(claims->around.number, tap[1]), *alone, claims->around.dy);
}

FC_INLINE void halves_row(const struct fc_pool2d_halves_planes *halves,
                          const struct halves_strip *strip, int64_t row, vreal shared, vreal alone)
{
    if (row < halves->top || row >= halves->height)
        return;
    real *dx = (real *)halves->dx + (row - halves->top) * halves->dx_row + 2 * strip->w;
    const vreal even = halves->before ? alone : shared, odd = halves->before ? shared : alone;
    halves_put(dx, vzip_low(even, odd), strip->first, halves->stream);
    if (halves->fetch) {
        const char *ahead = (const char *)(dx + 2 * FC_POOL2D_HALVES * halves->dx_row);
        FC_UNROLL (l, 2)
            __builtin_prefetch(ahead + 64 * l, 1, 3);
    }
    if (strip->second)
        halves_put(dx + strip->dx_second, vzip_high(even, odd), strip->second, halves->stream);
}

/* Row h of windows, beside those of the strip before, or after it. */
FC_INLINE void halves_give(const struct fc_pool2d_halves_planes *halves,
                           const struct halves_strip *strip, int64_t h,
                           const struct halves_beside *own, const struct halves_beside *beside,
                           struct halves_state *state)
{
    struct halves_claims claims = {*own, *own, *own};
    if (halves->before) {
        claims.later.number = vas_int(vafter(vas_real(own->number), vas_real(beside->number)));
        claims.later.dy = vafter(own->dy, beside->dy);
    } else {
        claims.earlier.number = vas_int(vbefore(vas_real(beside->number), vas_real(own->number)));
        claims.earlier.dy = vbefore(beside->dy, own->dy);
    }
    vreal shared = vzero(), alone = vzero();
    halves_claim(&claims, strip->tap[0], &state->shared, &state->alone);
    halves_claim(&claims, strip->tap[1], &shared, &alone);
    halves_row(halves, strip, 2 * h - halves->above, state->shared, state->alone);
    halves_row(halves, strip, 2 * h + 1 - halves->above, shared, alone);
    state->shared = state->alone = vzero();
    halves_claim(&claims, strip->tap[2], &state->shared, &state->alone);
}

FC_INLINE vreal halves_dy(const struct fc_pool2d_halves_planes *halves,
                          const struct halves_strip *strip, int64_t h)
{
    const real *dy = (const real *)halves->dy + h * halves->dy_row + strip->w;
    const vreal a = vload_first(dy, strip->windows);
    __builtin_prefetch(dy + FC_POOL2D_HALVES * halves->dy_row, 0, 2);
    return halves->two ? vhalves(a, vload_first(dy + halves->dy_plane, strip->windows)) : a;
}

/* Nothing waits but the winners of the first row of windows h. */
FC_INLINE struct halves_state halves_begin(const struct fc_pool2d_halves_planes *halves,
                                           const struct halves_strip *strip, int64_t h,
                                           fc_pooling pooling)
{
    struct halves_state state = {vzero(), viset1(0), vzero(), vzero()};
    const int64_t top = 2 * h - halves->above;
    const real *x = (const real *)halves->x + (top < 0 ? 0 : top) * halves->x_row + 2 * strip->w;
    if (pooling == FC_AVG)
        return state;
    vreal columns[2][3], best[2];
    vint number[2];
    halves_columns(halves, strip, (const real *[]){x, x}, columns, 2);
    halves_three(strip, columns, best, number, 2, pooling);
    state.best = best[0];
    state.column = number[top >= 0];
    return state;
}

/* Rows [begin, end) of windows of a strip. */
FC_INLINE void halves_rows_of(const struct fc_pool2d_halves_planes *halves, int64_t w,
                              int64_t begin, int64_t end, const bool fresh, const bool alone,
                              struct halves_beside *beside, vint *stray, fc_pooling pooling)
{
    const struct halves_strip strip = halves_strip(halves, w);
    struct halves_state *kept = (struct halves_state *)halves->state + w / LANES;
    struct halves_state state = fresh ? halves_begin(halves, &strip, begin, pooling) : *kept;
    const struct halves_beside none = {viset1(0), vzero()};
    struct halves_beside own = none;
    for (int64_t h = begin; h <= end; h++) {
        if (h > begin) {
            halves_give(halves, &strip, h - 1, &own, alone ? &none : &beside[h - 1 - begin],
                        &state);
            if (!alone)
                beside[h - 1 - begin] = own;
        }
        own = none;
        if (h < end && h < halves->rows) {
            own.number = pooling == FC_AVG ? halves_told(halves, &strip, h, stray)
                                           : halves_search(halves, &strip, h, &state, pooling);
            own.dy = halves_dy(halves, &strip, h);
        }
    }
    *kept = state;
}

/* Some rows at a time stay in the first-level cache while strips of them are walked, to the side on which their
 * columns are shared. An average stands for indices. */
FC_INLINE bool halves_planes(const struct fc_pool2d_halves_planes *given, fc_pooling pooling)
{
    enum { ROWS = FC_POOL2D_HALVES };
    const struct fc_pool2d_halves_planes halves = *given;
    const int64_t strips = (halves.width + 2 * LANES - 1) / (2 * LANES);
    struct halves_beside beside[ROWS];
    vint stray = viset1(0);
    bool fresh = halves.fresh;
    int64_t h = fresh && halves.begin > 0 ? halves.begin - 1 : halves.begin;
    for (int64_t end; h < halves.end; h = end, fresh = false) {
        end = strips > 1 && h + ROWS < halves.end ? h + ROWS : halves.end;
        for (int i = 0; i < ROWS; i++)
            beside[i] = (struct halves_beside){viset1(0), vzero()};
        for (int64_t s = 0; s < strips; s++)
            halves_rows_of(&halves, (halves.before ? strips - 1 - s : s) * LANES, h, end, fresh,
                           strips == 1, beside, &stray, pooling);
    }
    integer lane[LANES];
    vistore(lane, stray);
    for (int l = 1; l < LANES; l++)
        lane[0] |= lane[l];
    return lane[0] >= 0;
}

static bool halves_max_planes(const struct fc_pool2d_halves_planes *halves)
{
    return halves_planes(halves, FC_MAX);
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
