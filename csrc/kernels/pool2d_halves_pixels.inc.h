/* pool2d_halves_pixels.inc.h: the search for the winners of windows of 3 x 3 that step by two, and their way back, in
 * one walk, where channels lie together.
 *
 * A vector of channels walks along a row of windows. Each window loads the four elements that neither the window
 * before it nor those above have seen, and gives its gradient to three rows of dx: the first is whole then, the
 * second belongs to no other row of windows, and what the third gets waits, with the winners of its columns, for the
 * row below. So a window takes 8 comparisons, 6 maxima, 9 additions and 17 selections, 6 loads and 6 stores: 20
 * cycles of Zen 4's ports, where numbers that are kept and compared took 60. 27 x 27 x 192 go back in 0.18 ms, not
 * 0.26, on Zen 5 those of float64 in 0.30, not 0.38. With AVX2, whose masks are vectors and which stores half a line
 * at a time, it took 1.2 times as long. */
#define PIXELS_KERNEL(function) (LANES * sizeof(real) == FC_UNIT_BYTES ? (function) : NULL)

/* Windows of all channels before those that follow in the row: stores past the caches, and what memory is asked
 * for, come near each other so, 112 x 112 x 64 in 1.7 ms where whole rows took 2.0. In the cache those are a tenth
 * faster. Of float64 half as many: on Zen 5 2.1 ms, not 3.4, 147 x 147 x 64 3.9, not 5.1. The next row of dy is asked
 * for as well: of float32 that takes 0.86 ms there and not 1.84, 147 x 147 x 64 1.6 and not 3.9. */
enum { PIXELS_CHUNK = 32 / (int)sizeof(real), PIXELS_AHEAD = 2 /* rows of x */ };

/* What waits below a window: the best of its last row of columns, and what that row is given. */
struct pixels_kept {
    _Alignas(64) real best[LANES], given[LANES];
};

/* What a window leaves to the next one: its third column of x, and the sums of that of dx, in the first row those of
 * the windows above and their own. */
struct pixels_carry {
    vreal left[2], above, beside[2];
};

/* A vector's state; struct fc_pool2d_halves_pixels tells how much there is of it. */
struct pixels_state {
    struct pixels_kept *kept;
    struct pixels_carry *carry;
    struct three_won *won;
};

/* A row of windows: the second row of x, from the column before the windows' second on, and two rows of dx. */
struct pixels_row {
    const real *x, *dy;
    real *dx[2];
    ptrdiff_t below, dx_pixel[2];
};

static struct pixels_state pixels_state(const struct fc_pool2d_halves_pixels *halves, int64_t v)
{
    const int64_t vectors = (halves->lanes + LANES - 1) / LANES, columns = halves->columns;
    struct pixels_kept *kept = halves->state;
    struct pixels_carry *carry = (void *)(kept + vectors * columns);
    struct three_won *won = (void *)(carry + vectors);
    return (struct pixels_state){kept + v * columns, carry + v, won + v * columns};
}

/* From a window's second column to its third, or again to the second, where that lies beyond the image: it wins
 * nothing that it has not won. */
FC_INLINE ptrdiff_t pixels_third(const struct fc_pool2d_halves_pixels *halves, int64_t w)
{
    return 2 * w + 2 - halves->before < halves->width ? halves->x_pixel : 0;
}

static bool pixels_has_row(const struct fc_pool2d_halves_pixels *halves, int64_t row)
{
    return row >= halves->top && row < halves->height;
}

/* Rows of dx that are another's or nobody's are `dropped`. */
FC_INLINE struct pixels_row pixels_row(const struct fc_pool2d_halves_pixels *halves, int64_t h,
                                       int64_t l, real *dropped)
{
    const int64_t row = 2 * h - halves->above;
    struct pixels_row of = {.x = (const real *)halves->x + (row + 1) * halves->x_row -
                                 halves->before * halves->x_pixel + l,
                            .dy = (const real *)halves->dy + h * halves->dy_row + l,
                            .below = row + 2 < halves->height ? halves->x_row : 0};
    FC_UNROLL (i, 2) {
        const bool has = pixels_has_row(halves, row + i);
        of.dx[i] = dropped;
        of.dx_pixel[i] = has ? halves->dx_pixel : 0;
        if (has)
            of.dx[i] = (real *)halves->dx + (row + i) * halves->dx_row -
                       halves->before * halves->dx_pixel + l;
    }
    return of;
}

/* Before the first row of windows nothing is given, and above the image nothing wins. */
static bool pixels_begin(const struct fc_pool2d_halves_pixels *halves, int64_t h, int64_t l,
                         struct pixels_state state, fc_pooling pooling)
{
    const int64_t top = 2 * h - halves->above;
    const real *x = (const real *)halves->x + (top > 0 ? top : 0) * halves->x_row + l;
    const vreal none = vset1(NAN);
    vreal left = halves->before ? none : vload(x);
    vmask nans = halves->before ? vgreater(left, left) : vnans_of(left, left);
    x += (1 - halves->before) * halves->x_pixel;
    for (int64_t w = 0; w < halves->columns; w++, x += 2 * halves->x_pixel) {
        const vreal middle = vload(x), right = vload(x + pixels_third(halves, w));
        const struct three row =
            top < 0 ? three_of(none, none, none, pooling) : three_of(left, middle, right, pooling);
        const struct three_won won = three_won(&row, pooling);
        nans = vmask_or(nans, vnans_of(middle, right));
        vstore(state.kept[w].best, row.best);
        vstore(state.kept[w].given, vzero());
        state.won[w].first = won.first;
        state.won[w].third = won.third;
        left = right;
    }
    return !vany(nans, nans);
}

/* The first row of dx beside a window, to which the windows above give first. */
FC_INLINE void pixels_first(struct three_won won, vreal above, vreal own,
                            struct pixels_carry *carry, vreal sum[2])
{
    vreal from[3], to[3];
    three_part(won, above, from);
    three_part(won, own, to);
    sum[0] = vadd(vadd(vadd(carry->above, from[0]), carry->beside[0]), to[0]);
    sum[1] = vadd(from[1], to[1]);
    carry->above = from[2];
    carry->beside[0] = to[2];
}

/* Column 2 * w - before of dx, if there is one, and the next. */
FC_INLINE void pixels_put(real *dx, ptrdiff_t pixel, const vreal sum[2], const bool left,
                          const bool stream)
{
    if (left)
        halves_store(dx, sum[0], stream);
    halves_store(dx + pixel, sum[1], stream);
}

/* Window w; x is its second column, and dx its first. Where x has NaNs. */
FC_INLINE vmask pixels_window(const struct fc_pool2d_halves_pixels *halves,
                              const struct pixels_row *row, int64_t w,
                              const struct pixels_state *state, struct pixels_carry *carry,
                              const bool stream, fc_pooling pooling)
{
    const bool left = w > 0 || !halves->before;
    const ptrdiff_t third = pixels_third(halves, w);
    struct pixels_kept *kept = state->kept + w;
    struct three_won *waits = state->won + w, won;
    struct three three[2];
    vreal to[3], part[3], sum[2];
    FC_UNROLL (i, 2) {
        const real *x = row->x + i * row->below;
        three[i] = three_of(carry->left[i], vload(x), vload(x + third), pooling);
        carry->left[i] = three[i].at[2];
    }
    const struct three of = three_of(vload(kept->best), three[0].best, three[1].best, pooling);
    vstore(kept->best, three[1].best);
    three_part(three_won(&of, pooling), vadd(vload(row->dy), vzero()), to);
    won.first = waits->first;
    won.third = waits->third;
    pixels_first(won, vload(kept->given), to[0], carry, sum);
    vstore(kept->given, to[2]);
    pixels_put(row->dx[0], row->dx_pixel[0], sum, left, stream);
    three_part(three_won(&three[0], pooling), to[1], part);
    sum[0] = vadd(carry->beside[1], part[0]);
    sum[1] = part[1];
    carry->beside[1] = part[2];
    pixels_put(row->dx[1], row->dx_pixel[1], sum, left, stream);
    won = three_won(&three[1], pooling);
    waits->first = won.first;
    waits->third = won.third;
    return vmask_or(vnans_of(three[0].at[1], three[1].at[1]),
                    vnans_of(carry->left[0], carry->left[1]));
}

/* What lies to the right of the last window: a column of its own, and one of nobody's. */
FC_INLINE void pixels_right(const struct fc_pool2d_halves_pixels *halves,
                            const struct pixels_row *row, const struct pixels_carry *carry)
{
    const int64_t rest = halves->width + halves->before - 2 * halves->columns;
    if (rest > 0) {
        vstore(row->dx[0], vadd(carry->above, carry->beside[0]));
        vstore(row->dx[1], carry->beside[1]);
    }
    if (rest > 1)
        FC_UNROLL (i, 2)
            vstore(row->dx[i] + row->dx_pixel[i], vzero());
}

/* Windows [begin, end) of row h. */
FC_INLINE bool pixels_windows(const struct fc_pool2d_halves_pixels *halves, int64_t h, int64_t l,
                              struct pixels_state state, int64_t begin, int64_t end,
                              const bool stream, fc_pooling pooling)
{
    real dropped[LANES];
    struct pixels_row row = pixels_row(halves, h, l, dropped);
    struct pixels_carry carry;
    vmask nans = vgreater(vzero(), vzero());
    FC_UNROLL (i, 2) {
        carry.left[i] = begin > 0 ? state.carry->left[i] : vset1(NAN);
        carry.beside[i] = begin > 0 ? state.carry->beside[i] : vzero();
        if (begin == 0 && !halves->before) {
            carry.left[i] = vload(row.x + i * row.below);
            nans = vmask_or(nans, vnans_of(carry.left[i], carry.left[i]));
        }
        row.dx[i] += 2 * begin * row.dx_pixel[i];
    }
    carry.above = begin > 0 ? state.carry->above : vzero();
    row.x += (2 * begin + 1) * halves->x_pixel;
    row.dy += begin * halves->dy_pixel;
    const real *ahead = row.x + PIXELS_AHEAD * halves->x_row;
    for (int64_t w = begin; w < end; w++) {
        FC_UNROLL (i, 2) {
            __builtin_prefetch(ahead + i * halves->x_row, 0, 2);
            __builtin_prefetch(ahead + i * halves->x_row + halves->x_pixel, 0, 2);
        }
        __builtin_prefetch(row.dy + halves->dy_row, 0, 2);
        nans = vmask_or(nans, pixels_window(halves, &row, w, &state, &carry, stream, pooling));
        row.x += 2 * halves->x_pixel;
        row.dy += halves->dy_pixel;
        ahead += 2 * halves->x_pixel;
        FC_UNROLL (i, 2)
            row.dx[i] += 2 * row.dx_pixel[i];
    }
    FC_UNROLL (i, 2) {
        state.carry->left[i] = carry.left[i];
        state.carry->beside[i] = carry.beside[i];
    }
    state.carry->above = carry.above;
    if (end == halves->columns)
        pixels_right(halves, &row, &carry);
    return !vany(nans, nans);
}

/* Below the last row of windows: what waits, and a row of nobody's. */
static void pixels_end(const struct fc_pool2d_halves_pixels *halves, int64_t h, int64_t l,
                       struct pixels_state state)
{
    real dropped[LANES];
    struct pixels_row row = pixels_row(halves, h, l, dropped);
    struct pixels_carry carry = {.above = vzero(), .beside = {vzero(), vzero()}};
    const vreal none[2] = {vzero(), vzero()};
    for (int64_t w = 0; w < halves->columns; w++) {
        const bool left = w > 0 || !halves->before;
        const struct three_won won = {state.won[w].first, state.won[w].third};
        vreal sum[2];
        pixels_first(won, vload(state.kept[w].given), vzero(), &carry, sum);
        pixels_put(row.dx[0], row.dx_pixel[0], sum, left, false);
        pixels_put(row.dx[1], row.dx_pixel[1], none, left, false);
        FC_UNROLL (i, 2)
            row.dx[i] += 2 * row.dx_pixel[i];
    }
    pixels_right(halves, &row, &carry);
}

/* A row of windows of all channels. A row that is dropped would go past the caches to a line that they hold, a
 * hundred times as slow. */
FC_INLINE bool pixels_of_row(const struct fc_pool2d_halves_pixels *halves, int64_t h,
                             fc_pooling pooling)
{
    const int64_t columns = halves->columns, last = halves->lanes - LANES;
    const int64_t row = 2 * h - halves->above;
    const bool stream =
        halves->stream && pixels_has_row(halves, row) && pixels_has_row(halves, row + 1);
    const int64_t chunk = halves->stream ? PIXELS_CHUNK : columns;
    bool fine = true;
    for (int64_t w = 0; w < columns; w += chunk)
        for (int64_t v = 0; v * LANES < halves->lanes; v++) {
            const int64_t l = v * LANES < last ? v * LANES : last;
            const int64_t end = w + chunk < columns ? w + chunk : columns;
            const struct pixels_state state = pixels_state(halves, v);
            if (w == 0 && h == halves->begin)
                fine &= pixels_begin(halves, h, l, state, pooling);
            if (h == halves->rows)
                pixels_end(halves, h, l, state);
            else if (stream)
                fine &= pixels_windows(halves, h, l, state, w, end, true, pooling);
            else
                fine &= pixels_windows(halves, h, l, state, w, end, false, pooling);
        }
    return fine;
}

FC_INLINE bool halves_pixels(const struct fc_pool2d_halves_pixels *given, fc_pooling pooling)
{
    const struct fc_pool2d_halves_pixels halves = *given;
    bool fine = true;
    for (int64_t h = halves.begin; h < halves.end && fine; h++)
        fine = pixels_of_row(&halves, h, pooling);
    return fine;
}

static bool halves_max_pixels(const struct fc_pool2d_halves_pixels *halves)
{
    return halves_pixels(halves, FC_MAX);
}

static bool halves_min_pixels(const struct fc_pool2d_halves_pixels *halves)
{
    return halves_pixels(halves, FC_MIN);
}
