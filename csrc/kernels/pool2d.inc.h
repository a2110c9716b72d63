/* pool2d.inc.h: windows of a maximum, a minimum or a sum, for lanes of outputs at once.
 *
 * Four vectors of outputs a block: a comparison and the selection that waits for it take 5 to 6
 * cycles, so one window at a time would leave the ports idle; more than four spill the masks of the
 * NaNs. Nothing crosses lanes, so the bits do not know how many lanes a vector has.
 *
 * A comparison and a selection, not the max instruction: x86 and NEON differ in what theirs does to
 * NaN and to zeros of both signs. Where no number is asked for, the first NaN need not be told from
 * the others: they are collected in a mask, off the chain of the maximum. */
enum { POOL_VECTORS = 4 };

FC_INLINE vreal pool_identity(fc_pooling pooling)
{
    return pooling == FC_AVG ? vzero() : vset1(pooling == FC_MAX ? -INFINITY : INFINITY);
}

FC_INLINE vmask pool_beyond(fc_pooling pooling, vreal a, vreal b)
{
    return pooling == FC_MAX ? vgreater(a, b) : vgreater(b, a);
}

/* One vector of outputs while its window is walked. */
struct pool_state {
    vreal best, row; /* the winner, or the sum of the rows before; the sum of this row */
    vmask nan;
    vint number;
};

FC_INLINE void pool_tap(struct pool_state *state, vreal value, integer number, fc_pooling pooling,
                        bool numbered)
{
    if (pooling == FC_AVG) {
        state->row = vadd(state->row, value);
        return;
    }
    const vmask nan = visnan(value);
    vmask take = pool_beyond(pooling, value, state->best);
    if (numbered) {
        take = vmask_andnot(vmask_or(take, nan), state->nan);
        state->number = viselect(take, viset1(number), state->number);
    }
    state->best = vselect(take, value, state->best);
    state->nan = vmask_or(state->nan, nan);
}

/* vectors whole vectors, or one of which only the first `first` lanes count. */
FC_INLINE void pool_block(const struct fc_pool2d_tile *tile, const real *x, real *y,
                          integer *numbers, int vectors, int first, fc_pooling pooling,
                          bool numbered)
{
    struct pool_state state[POOL_VECTORS];
    FC_UNROLL for (int v = 0; v < vectors; v++) {
        state[v].best = pool_identity(pooling);
        if (tile->resume)
            state[v].best = first ? vload_first(y, first) : vload(y + v * LANES);
        if (pooling != FC_AVG)
            state[v].nan = visnan(state[v].best);
        if (numbered)
            state[v].number =
                tile->resume ? viload(numbers + v * LANES) : viset1((integer)tile->number);
    }
    for (int64_t i = 0; i < tile->rows; i++) {
        const real *tap = x + i * tile->x_row;
        integer number = (integer)(tile->number + i * tile->number_row);
        int64_t phase = tile->phase;
        FC_UNROLL for (int v = 0; v < vectors; v++) state[v].row = vzero();
        for (int64_t left = tile->taps; left > 0; left--) {
            FC_UNROLL for (int v = 0; v < vectors; v++)
                pool_tap(&state[v], first ? vload_first(tap, first) : vload(tap + v * LANES),
                         number, pooling, numbered);
            number += (integer)tile->number_tap;
            tap += tile->x_tap;
            phase += tile->phase_step;
            if (phase >= tile->phases) {
                phase -= tile->phases;
                tap += tile->x_wrap;
            }
        }
        if (pooling == FC_AVG)
            FC_UNROLL for (int v = 0; v < vectors; v++)
                state[v].best = vadd(state[v].best, state[v].row);
    }
    FC_UNROLL for (int v = 0; v < vectors; v++) {
        vreal result = state[v].best;
        if (pooling == FC_AVG && tile->divisor != 1)
            result = vdiv(result, vset1((real)tile->divisor));
        if (pooling != FC_AVG && !numbered)
            result = vselect(state[v].nan, vset1(NAN), result);
        if (first)
            vstore_first(y, result, first);
        else
            vstore(y + v * LANES, result);
        if (numbered)
            vistore(numbers + v * LANES, state[v].number);
    }
}

FC_INLINE void pool_tile(const struct fc_pool2d_tile *tile, fc_pooling pooling, bool numbered)
{
    for (int64_t p = 0; p < tile->columns; p++) {
        const real *x = (const real *)tile->x + p * tile->x_column;
        real *y = (real *)tile->y + p * tile->y_column;
        integer *numbers = numbered ? (integer *)tile->numbers + p * tile->number_column : NULL;
        int64_t left = tile->lanes;
        for (; left >= POOL_VECTORS * LANES; left -= POOL_VECTORS * LANES) {
            pool_block(tile, x, y, numbers, POOL_VECTORS, 0, pooling, numbered);
            x += POOL_VECTORS * LANES;
            y += POOL_VECTORS * LANES;
            numbers = numbered ? numbers + POOL_VECTORS * LANES : NULL;
        }
        for (; left >= LANES; left -= LANES) {
            pool_block(tile, x, y, numbers, 1, 0, pooling, numbered);
            x += LANES;
            y += LANES;
            numbers = numbered ? numbers + LANES : NULL;
        }
        if (left > 0)
            pool_block(tile, x, y, numbers, 1, (int)left, pooling, numbered);
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

static void pool_avg(const struct fc_pool2d_tile *tile)
{
    pool_tile(tile, FC_AVG, false);
}
