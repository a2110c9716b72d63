/* pool2d.inc.h: windows of a maximum, a minimum or a sum, for lanes of outputs at once.
 *
 * Four vectors of outputs a block: a comparison and the selection that waits for it take 5 to 6
 * cycles, so one window at a time would leave the ports idle; more than four spill the masks of the
 * NaNs. Nothing crosses lanes, so the bits do not know how many lanes a vector has.
 *
 * a > b ? a : b, which x86 has as its max instruction; NEON's does something else to NaN and to zeros
 * of both signs, and so compares and selects. Where no number is asked for, the first NaN need not be
 * told from the others: lanes without one are kept in a mask, off the chain of the maximum. */
enum { POOL_VECTORS = FC_POOL2D_VECTORS };

/* Whether a sign is set: of indices, and of what they are short of their bounds, that an index is stray. */
FC_INLINE bool some_negative(vint lanes)
{
    const vmask negative = vigreater(viset1(0), lanes);
    return vany(negative, negative);
}

FC_INLINE vreal pool_identity(fc_pooling pooling)
{
    return pooling == FC_AVG ? vzero() : vset1(pooling == FC_MAX ? -INFINITY : INFINITY);
}

/* One vector of outputs while its window is walked. */
struct pool_state {
    vreal best, row; /* the winner, or the sum of the rows before; the sum of this row */
    vmask numbers;   /* lanes that have met no NaN */
    vint number;
};

/* Whether a value is beyond the best, or the first NaN: `numbers` tells where the best is none. */
FC_INLINE vmask pool_beats(vmask numbers, vreal value, vreal best, fc_pooling pooling)
{
    return pooling == FC_MAX ? vabove(numbers, value, best) : vbelow(numbers, value, best);
}

/* Then it takes the place of the best; of equals the first keeps it. */
FC_INLINE void pool_wins_next(vreal value, vint place, vreal *best, vint *number, vmask *numbers,
                              fc_pooling pooling)
{
    const vmask wins = pool_beats(*numbers, value, *best, pooling);
    *best = vselect(wins, value, *best);
    *number = viselect(wins, place, *number);
    *numbers = visnumber_too(*numbers, value);
}

FC_INLINE void pool_wins(vreal value, vint place, vreal *best, vint *number, fc_pooling pooling)
{
    vmask numbers = visnumber(*best);
    pool_wins_next(value, place, best, number, &numbers, pooling);
}

/* Of two that are no NaN the better one, and of equals the one before. */
FC_INLINE vreal pool_of(vreal value, vreal best, fc_pooling pooling)
{
    return pooling == FC_MAX ? vgreater_of(value, best) : vlesser_of(value, best);
}

FC_INLINE void pool_tap(struct pool_state *state, vreal value, vint number, fc_pooling pooling,
                        bool numbered)
{
    if (pooling == FC_AVG) {
        state->row = vadd(state->row, value);
        return;
    }
    if (numbered) {
        pool_wins(value, number, &state->best, &state->number, pooling);
        return;
    }
    state->best = pool_of(value, state->best, pooling);
    state->numbers = visnumber_too(state->numbers, value);
}

FC_INLINE struct pool_state pool_begins(fc_pooling pooling)
{
    const vreal best = pool_identity(pooling);
    return (struct pool_state){.best = best, .row = vzero(), .numbers = visnumber(best)};
}

FC_INLINE void pool_row_begins(struct pool_state *state, const int vectors, fc_pooling pooling)
{
    if (pooling == FC_AVG)
        FC_UNROLL (v, vectors)
            state[v].row = vzero();
}

FC_INLINE void pool_row_ends(struct pool_state *state, const int vectors, fc_pooling pooling)
{
    if (pooling == FC_AVG)
        FC_UNROLL (v, vectors)
            state[v].best = vadd(state[v].best, state[v].row);
}

FC_INLINE vreal pool_result(const struct pool_state *state, double divisor, fc_pooling pooling,
                            bool numbered)
{
    if (pooling == FC_AVG)
        return divisor == 1 ? state->best : vdiv(state->best, vset1((real)divisor));
    return numbered ? state->best : vselect(state->numbers, state->best, vset1(NAN));
}

/* Vector v of a block of which, where `partial` is set, only the first `first` lanes of the last
 * vector may be touched. */
FC_INLINE vreal pool_load(const real *p, int v, int vectors, bool partial, int first)
{
    return partial && v == vectors - 1 ? vload_first(p + v * LANES, first) : vload(p + v * LANES);
}

FC_INLINE void pool_block(const struct fc_pool2d_tile *tile, const real *x, real *y,
                          integer *numbers, int vectors, bool partial, int first,
                          fc_pooling pooling, bool numbered)
{
    struct pool_state state[POOL_VECTORS];
    FC_UNROLL (v, vectors) {
        state[v] = pool_begins(pooling);
        if (tile->resume)
            state[v].best = pool_load(y, v, vectors, partial, first);
        if (tile->resume && pooling != FC_AVG && !numbered)
            state[v].numbers = visnumber(state[v].best);
        if (numbered)
            state[v].number =
                tile->resume ? viload(numbers + v * LANES) : viset1((integer)tile->number);
    }
    for (int64_t i = 0; i < tile->rows; i++) {
        const real *tap = x + i * tile->x_row;
        integer number = (integer)(tile->number + i * tile->number_row);
        int64_t phase = tile->phase;
        pool_row_begins(state, vectors, pooling);
        for (int64_t left = tile->taps; left > 0; left--) {
            FC_UNROLL (v, vectors)
                pool_tap(&state[v], pool_load(tap, v, vectors, partial, first), viset1(number),
                         pooling, numbered);
            number += (integer)tile->number_tap;
            tap += tile->x_tap;
            phase += tile->phase_step;
            if (phase >= tile->phases) {
                phase -= tile->phases;
                tap += tile->x_wrap;
            }
        }
        pool_row_ends(state, vectors, pooling);
    }
    FC_UNROLL (v, vectors) {
        const vreal result = pool_result(&state[v], tile->divisor, pooling, numbered);
        if (partial && v == vectors - 1)
            vstore_first(y + v * LANES, result, first);
        else
            vstore(y + v * LANES, result);
        if (numbered)
            vistore(numbers + v * LANES, state[v].number);
    }
}

/* What is left of a column after its whole blocks goes in one block too: rows of 56 columns, which
 * are three vectors and a half, would else be four lonely chains. Whole vectors have a body of their own where an
 * addition loads its number: of 40 channels an average of 6 x 6 took 15 % longer with AVX2 without. */
FC_INLINE void pool_rest(const struct fc_pool2d_tile *tile, const real *x, real *y,
                         integer *numbers, const int vectors, int first, fc_pooling pooling,
                         bool numbered)
{
    if (first == LANES && pooling == FC_AVG)
        pool_block(tile, x, y, numbers, vectors, false, 0, pooling, numbered);
    else
        pool_block(tile, x, y, numbers, vectors, true, first, pooling, numbered);
}

FC_INLINE void pool_tile(const struct fc_pool2d_tile *tile, fc_pooling pooling, bool numbered)
{
    const int64_t rest = tile->lanes % (POOL_VECTORS * LANES);
    const int first = (int)((rest + LANES - 1) % LANES) + 1;
    for (int64_t p = 0; p < tile->columns; p++) {
        const real *x = (const real *)tile->x + p * tile->x_column;
        real *y = (real *)tile->y + p * tile->y_column;
        integer *numbers = numbered ? (integer *)tile->numbers + p * tile->number_column : NULL;
        for (int64_t l = rest; l < tile->lanes; l += POOL_VECTORS * LANES) {
            pool_block(tile, x, y, numbers, POOL_VECTORS, false, 0, pooling, numbered);
            x += POOL_VECTORS * LANES;
            y += POOL_VECTORS * LANES;
            numbers = numbered ? numbers + POOL_VECTORS * LANES : NULL;
        }
        switch ((rest + LANES - 1) / LANES) {
        case 1:
            pool_rest(tile, x, y, numbers, 1, first, pooling, numbered);
            break;
        case 2:
            pool_rest(tile, x, y, numbers, 2, first, pooling, numbered);
            break;
        case 3:
            pool_rest(tile, x, y, numbers, 3, first, pooling, numbered);
            break;
        case 4:
            pool_rest(tile, x, y, numbers, 4, first, pooling, numbered);
            break;
        }
    }
}

static void pool_max(const struct fc_pool2d_tile *tile)
{
    if (tile->numbers)
        pool_tile(tile, FC_MAX, true);
    else
        pool_tile(tile, FC_MAX, false);
}

static void pool_min(const struct fc_pool2d_tile *tile)
{
    if (tile->numbers)
        pool_tile(tile, FC_MIN, true);
    else
        pool_tile(tile, FC_MIN, false);
}

static void pool_avg(const struct fc_pool2d_tile *tile) { pool_tile(tile, FC_AVG, false); }
