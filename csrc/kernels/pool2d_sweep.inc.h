/* pool2d_sweep.inc.h: maxima of windows of any size, in one direction, by two sweeps.
 *
 * Windows that begin before the first of them ends have that end in common. From there a sweep goes back, which
 * leaves for each window the best of what lies before, and one goes on, whose best so far completes a window
 * after the other: two comparisons a pixel and one a window, whatever the window's size (van Herk, Gil and
 * Werman). What lies beyond the image is left out, and a line that fits one window is seen once. Four vectors
 * abreast: each comparison waits for the one before it. Two abreast alone took up to a quarter longer with AVX2 and
 * in float64, and a body for two besides would gain 10 to 25 % with 2 or 3 vectors of channels, for 6 KB. */
enum { SWEEP_VECTORS = 4 };

/* A pixel before those that have been seen: of equal ones it wins, as does its NaN. */
FC_INLINE void sweep_back(vreal value, vint place, struct pool_state *state, fc_pooling pooling,
                          const bool numbered)
{
    if (numbered) {
        const vmask stays = pool_beats(visnumber(value), state->best, value, pooling);
        state->best = vselect(stays, state->best, value);
        state->number = viselect(stays, state->number, place);
        return;
    }
    state->best =
        pooling == FC_MAX ? vgreater_of(state->best, value) : vlesser_of(state->best, value);
    state->numbers = visnumber_too(state->numbers, value);
}

/* A line at work: `first` lanes of the last vector are used where it is partial. */
struct sweep_line {
    const real *x;
    const integer *given; /* numbers of x */
    ptrdiff_t given_step;
    real *y;
    integer *numbers;
    int first;
};

FC_INLINE void sweep_begins(struct pool_state *state, const int vectors, fc_pooling pooling)
{
    FC_UNROLL (v, vectors) {
        state[v] = pool_begins(pooling);
        state[v].number = viset1(0);
    }
}

FC_INLINE void sweep_pixel(const struct fc_pool2d_sweep *sweep, const struct sweep_line *line,
                           int64_t p, struct pool_state *state, const int vectors,
                           const bool partial, const bool back, fc_pooling pooling,
                           const bool numbered)
{
    const real *x = line->x + p * sweep->x_step;
    const vint number = viset1((integer)(p * sweep->number_step));
    FC_UNROLL (v, vectors) {
        const vreal value = pool_load(x, v, vectors, partial, line->first);
        vint place = number;
        if (numbered)
            place = viadd(number, viload(line->given + p * line->given_step + v * LANES));
        if (back)
            sweep_back(value, place, &state[v], pooling, numbered);
        else if (numbered)
            pool_wins_next(value, place, &state[v].best, &state[v].number, &state[v].numbers,
                           pooling);
        else
            pool_tap(&state[v], value, place, pooling, false);
    }
}

/* The best of a window of which one part was kept, and the other is the state. */
FC_INLINE void sweep_window(const struct fc_pool2d_sweep *sweep, const struct sweep_line *line,
                            int64_t o, const real *kept, const struct pool_state *state,
                            const int vectors, const bool partial, fc_pooling pooling,
                            const bool numbered)
{
    const ptrdiff_t at = o * sweep->y_step;
    FC_UNROLL (v, vectors) {
        const vreal before = vload(kept + v * LANES);
        vreal best;
        if (numbered) {
            const vmask wins = pool_beats(visnumber(before), state[v].best, before, pooling);
            const vint first = viload((const integer *)kept + (vectors + v) * LANES);
            best = vselect(wins, state[v].best, before);
            vistore(line->numbers + at + v * LANES, viselect(wins, state[v].number, first));
        } else {
            best = pooling == FC_MAX ? vgreater_of(state[v].best, before)
                                     : vlesser_of(state[v].best, before);
            best = vselect(state[v].numbers, best, vset1(NAN));
        }
        if (numbered && !sweep->y)
            continue;
        if (partial && v == vectors - 1)
            vstore_first(line->y + at + v * LANES, best, line->first);
        else
            vstore(line->y + at + v * LANES, best);
    }
}

FC_INLINE void sweep_lanes(const struct fc_pool2d_sweep *sweep, const struct sweep_line *line,
                           const int vectors, const bool partial, fc_pooling pooling,
                           const bool numbered)
{
    const int64_t taps = sweep->taps, stride = sweep->stride, in = sweep->in;
    const int64_t many = (taps + stride - 1) / stride;
    const int width = vectors * LANES * (numbered ? 2 : 1);
    real *kept = sweep->kept;
    struct pool_state state[SWEEP_VECTORS];
    for (int64_t o = 0; o < sweep->out; o += many) {
        const int64_t left = sweep->out - o, count = left < many ? left : many;
        const int64_t begin = o * stride - sweep->before, end = begin + taps;
        const int64_t middle = end < in ? end : in;
        sweep_begins(state, vectors, pooling);
        for (int64_t k = count - 1, p = middle; k >= 0; k--) {
            const int64_t at = begin + k * stride, until = at > 0 ? at : 0;
            while (p > until)
                sweep_pixel(sweep, line, --p, state, vectors, partial, true, pooling, numbered);
            FC_UNROLL (v, vectors) {
                vstore(kept + k * width + v * LANES, pool_result(&state[v], 1, pooling, numbered));
                if (numbered)
                    vistore((integer *)kept + k * width + (vectors + v) * LANES, state[v].number);
            }
        }
        sweep_begins(state, vectors, pooling);
        for (int64_t k = 0, p = middle; k < count; k++) {
            const int64_t after = end + k * stride, until = after < in ? after : in;
            for (; p < until; p++)
                sweep_pixel(sweep, line, p, state, vectors, partial, false, pooling, numbered);
            sweep_window(sweep, line, o + k, kept + k * width, state, vectors, partial, pooling,
                         numbered);
        }
    }
}

FC_INLINE void sweep_lines(const struct fc_pool2d_sweep *given, fc_pooling pooling,
                           const bool numbered)
{
    static const integer zeros[SWEEP_VECTORS * LANES];
    const struct fc_pool2d_sweep sweep = *given;
    const bool given_numbers = numbered && sweep.given;
    for (int64_t c = 0; c < sweep.columns; c++) {
        struct sweep_line line = {.x = (const real *)sweep.x + c * sweep.x_column};
        if (!numbered || sweep.y)
            line.y = (real *)sweep.y + c * sweep.y_column;
        if (numbered) {
            line.numbers = (integer *)sweep.numbers + c * sweep.y_column;
            line.given = given_numbers ? (const integer *)sweep.given + c * sweep.x_column : zeros;
            line.given_step = given_numbers ? sweep.x_step : 0;
        }
        for (int64_t l = 0, step; l < sweep.lanes; l += step) {
            const int64_t left = sweep.lanes - l;
            step = left >= SWEEP_VECTORS * LANES ? SWEEP_VECTORS * LANES : LANES;
            line.first = (int)(left < LANES ? left : LANES);
            if (step > LANES)
                sweep_lanes(&sweep, &line, SWEEP_VECTORS, false, pooling, numbered);
            else
                sweep_lanes(&sweep, &line, 1, true, pooling, numbered);
            line.x += step;
            line.y = line.y ? line.y + step : NULL;
            if (numbered) {
                line.numbers += step;
                line.given += given_numbers ? step : 0;
            }
        }
    }
}

static void sweep_max(const struct fc_pool2d_sweep *sweep)
{
    if (sweep->numbers)
        sweep_lines(sweep, FC_MAX, true);
    else
        sweep_lines(sweep, FC_MAX, false);
}

static void sweep_min(const struct fc_pool2d_sweep *sweep)
{
    if (sweep->numbers)
        sweep_lines(sweep, FC_MIN, true);
    else
        sweep_lines(sweep, FC_MIN, false);
}
