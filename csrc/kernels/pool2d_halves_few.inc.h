/* pool2d_halves_few.inc.h: planes of windows of 3 x 3 that step by two, on their way back, where a row is one strip or
 * two.
 *
 * Then all that waits is in registers, and a row of windows is 110 instructions of AVX-512 where strips that know of
 * others are 150: since each row takes some 60 cycles from its loads to its stores, what counts is how many rows the
 * CPU has begun. 27 x 27 takes 40 cycles a row and not 48, and with two strips, of which the first is known to be full,
 * 55 x 55 takes 76 and not 115, doubles of 27 x 27 78 and not 125. NaNs are told when the plane is done. Vectors of
 * four fill a strip or two with 8 columns or 16, and gained a fifth of 13 for 14 KB. */
enum { HALVES_FEW = LANES >= 8 ? 2 : 0 };

/* A row of windows: where its second row of x lies, and the first of dx, which is row number `row`. */
struct halves_few_row {
    int64_t row;
    const real *x, *dy;
    real *dx;
    ptrdiff_t below; /* from the second row of x to the third, if there is one */
};

FC_INLINE struct three halves_few_three(const struct fc_pool2d_halves_planes *halves,
                                        const struct halves_strip *strip, const real *x,
                                        vmask *numbers, const bool last, const bool before)
{
    const vreal a = vload_first(x, strip->first);
    const vreal b = vload_first(x + strip->x_second, strip->second);
    *numbers = vnumbers_too(*numbers, a, b);
    return halves_three(halves, strip, a, b, x, last, before, FC_MAX);
}

FC_INLINE void halves_few_put(const struct halves_strip *strip, real *dx,
                              const struct halves_sums *sums, const bool before)
{
    const vreal even = before ? sums->alone : sums->shared;
    const vreal odd = before ? sums->shared : sums->alone;
    vstore_first(dx, vzip_low(even, odd), strip->first);
    if (strip->second)
        vstore_first(dx + strip->dx_second, vzip_high(even, odd), strip->second);
}

FC_INLINE void halves_few_begin(const struct fc_pool2d_halves_planes *halves,
                                const struct halves_strip *strip, const struct halves_few_row *row,
                                struct halves_state *state, vmask *numbers, const bool last,
                                const bool before)
{
    state->best = vset1(NAN);
    state->sums.shared = state->sums.alone = vzero();
    state->won.first = state->won.third = vgreater(vzero(), vzero());
    if (row->row < 0)
        return;
    const real *x = row->x - halves->x_row + 2 * strip->w;
    const struct three three = halves_few_three(halves, strip, x, numbers, last, before);
    state->best = three.best;
    state->won = three_won(&three, FC_MAX);
}

/* The windows of a strip; `beside` is what those of the strip before give to it, if there is one. */
FC_INLINE void halves_few_windows(const struct fc_pool2d_halves_planes *halves,
                                  const struct halves_strip *strip,
                                  const struct halves_few_row *row, struct halves_beside *beside,
                                  struct halves_state *state, vmask *numbers, const bool last,
                                  const bool before)
{
    const real *x = row->x + 2 * strip->w;
    real *dx = row->dx + 2 * strip->w;
    struct halves_sums own;
    struct three three[2];
    vreal to[3];
    const vreal dy = halves_dy(halves, strip, row->dy + strip->w);
    FC_UNROLL (i, 2)
        three[i] = halves_few_three(halves, strip, x + i * row->below, numbers, last, before);
    const struct three of = three_of(state->best, three[0].best, three[1].best, FC_MAX);
    state->best = three[1].best;
    three_part(three_won(&of, FC_MAX), dy, to);
    halves_claim(state->won, to[0], beside ? &beside->to[0] : NULL, &state->sums, false, before);
    if (row->row >= halves->top)
        halves_few_put(strip, dx, &state->sums, before);
    halves_claim(three_won(&three[0], FC_MAX), to[1], beside ? &beside->to[1] : NULL, &own, true,
                 before);
    if (row->row + 1 >= halves->top)
        halves_few_put(strip, dx + halves->dx_row, &own, before);
    state->won = three_won(&three[1], FC_MAX);
    halves_claim(state->won, to[2], beside ? &beside->to[2] : NULL, &state->sums, true, before);
}

/* Strip s of `strips`, with what is known of it: of two the first is full. */
FC_INLINE struct halves_strip halves_few_strip(const struct halves_strip *given, const int s,
                                               const int strips)
{
    struct halves_strip strip = *given;
    strip.w = s * LANES;
    if (strips > 1)
        strip.x_second = strip.dx_second = LANES;
    if (s + 1 < strips) {
        strip.first = strip.second = strip.windows = LANES;
        strip.beyond = false;
    }
    return strip;
}

/* A plane, or two. */
FC_INLINE bool halves_few_plane(const struct fc_pool2d_halves_planes *given,
                                const struct halves_strip *given_strips, const int strips,
                                const bool before)
{
    /* Copies that nobody else knows of: else each store of a vector may have changed them. */
    struct fc_pool2d_halves_planes halves = *given;
    struct halves_strip strip[2];
    struct halves_state *kept = halves.state, state[2];
    const int64_t h = halves.fresh && halves.begin > 0 ? halves.begin - 1 : halves.begin;
    const int64_t end = 2 * (halves.end < halves.rows ? halves.end : halves.rows) - halves.above;
    struct halves_few_row row = {.row = 2 * h - halves.above};
    row.x = (const real *)halves.x + (row.row + 1) * halves.x_row;
    row.dy = (const real *)halves.dy + h * halves.dy_row;
    row.dx = (real *)halves.dx + (row.row - halves.top) * halves.dx_row;
    vmask numbers = visnumber(vzero());
    halves.two = halves.two && strips == 1;
    FC_UNROLL (s, strips) {
        strip[s] = halves_few_strip(&given_strips[s], s, strips);
        if (halves.fresh)
            halves_few_begin(&halves, &strip[s], &row, &state[s], &numbers,
                             s == (before ? 0 : strips - 1), before);
        else
            halves_copy(&state[s], &kept[s]);
    }
    for (; row.row < end; row.row += 2) {
        struct halves_beside beside = {{vzero(), vzero(), vzero()}};
        row.below = row.row + 2 < halves.height ? halves.x_row : 0;
        FC_UNROLL (k, strips) {
            const int s = before ? strips - 1 - k : k;
            halves_few_windows(&halves, &strip[s], &row, strips > 1 ? &beside : NULL, &state[s],
                               &numbers, k == strips - 1, before);
        }
        row.x += 2 * halves.x_row;
        row.dy += halves.dy_row;
        row.dx += 2 * halves.dx_row;
    }
    FC_UNROLL (s, strips) {
        halves_copy(&kept[s], &state[s]);
        if (halves.end > halves.rows)
            halves_end(given, &given_strips[s], &kept[s]);
    }
    const vmask nans = vmask_andnot(visnumber(vzero()), numbers);
    return !vany(nans, nans);
}

FC_INLINE bool halves_few_planes(const struct fc_pool2d_halves_planes *given, const int strips,
                                 const bool before)
{
    struct fc_pool2d_halves_planes halves = *given;
    struct halves_strip strip[2];
    const int64_t step = halves.two ? 2 : 1;
    FC_UNROLL (s, strips)
        strip[s] = halves_strip(&halves, s * LANES);
    for (int64_t p = 0; p < halves.planes; p += step) {
        halves_part(&halves, p, strip);
        if (!halves_few_plane(&halves, strip, strips, before))
            return false;
        halves.x = (const real *)halves.x + step * halves.x_plane;
        halves.dy = (const real *)halves.dy + step * halves.dy_plane;
        halves.dx = (real *)halves.dx + step * halves.dx_plane;
    }
    return true;
}

FC_SPILL_TO_STACK static bool halves_few(const struct fc_pool2d_halves_planes *halves)
{
    if (halves->width <= 2 * LANES)
        return halves->before ? halves_few_planes(halves, 1, true)
                              : halves_few_planes(halves, 1, false);
    return halves->before ? halves_few_planes(halves, 2, true)
                          : halves_few_planes(halves, 2, false);
}

static bool halves_max_planes(const struct fc_pool2d_halves_planes *halves)
{
    if (halves->width <= HALVES_FEW * 2 * LANES && !halves->stream && !halves->fetch)
        return halves_few(halves);
    return halves_planes(halves, FC_MAX);
}
