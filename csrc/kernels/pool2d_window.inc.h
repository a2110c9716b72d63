/* pool2d_window.inc.h: windows of few taps, whose distances and numbers are tables.
 *
 * Four vectors of outputs a block. A tap is a load, a maximum and a comparison with itself for NaN; a
 * numbered one takes two comparisons and two selections. What is left after whole blocks is taken by
 * one more block that ends with the lanes, and computes some of them again. A maximum begins with its
 * first tap, and taps go two by two: 3 x 3 over 28 x 28 x 64
 * in the cache takes 0.27 ns an element, where a loop with the bookkeeping of phases and the NaNs of
 * each tap or-ed into a mask took 0.45. Constant sizes are worth their bytes where that loop takes longer, 3 x 3 by
 * 3 % with 32 registers, an average of 2 x 2 by 13. 2 x 3, 3 x 2 and a maximum of 2 x 2 as constants gained nothing,
 * but were 40 KB of a wheel, and with 16 registers, which 36 loads do not fit, a constant of 3 x 3 took 1.3 times
 * as long. */

enum { WINDOW_TAPS = 2, MOST_SQUARE = 3 }; /* taps of a turn, and of a constant size each way */

/* Vectors of a block follow each other in a column, or are those of columns that do. */
struct window_steps {
    ptrdiff_t x, y, number, first;
};

FC_INLINE vreal window_load(const real *x, const bool partial, int first)
{
    return partial ? vload_first(x, first) : vload(x);
}

/* Numbers come from memory, where broadcasting is free. */
FC_INLINE void window_tap(const struct fc_pool2d_window *window, struct pool_state *state,
                          const real *x, ptrdiff_t step, int64_t tap, const int vectors,
                          const bool partial, int first, fc_pooling pooling, bool numbered)
{
    const real *at = x + window->offset[tap];
    const vint number = viset1((integer)(numbered ? window->number[tap] : 0));
    FC_UNROLL (v, vectors)
        pool_tap(&state[v], window_load(at + v * step, partial, first), number, pooling, numbered);
}

/* A row of taps, or for a maximum, which asks for no more than their order, all of them. */
FC_INLINE void window_taps(const struct fc_pool2d_window *window, struct pool_state *state,
                           const real *x, ptrdiff_t step, int64_t tap, int64_t taps,
                           const int vectors, const bool partial, int first, fc_pooling pooling,
                           bool numbered)
{
    const int64_t end = tap + taps;
    pool_row_begins(state, vectors, pooling);
    for (; tap + WINDOW_TAPS <= end; tap += WINDOW_TAPS)
        FC_UNROLL (j, WINDOW_TAPS)
            window_tap(window, state, x, step, tap + j, vectors, partial, first, pooling, numbered);
    for (; tap < end; tap++)
        window_tap(window, state, x, step, tap, vectors, partial, first, pooling, numbered);
    pool_row_ends(state, vectors, pooling);
}

/* A maximum begins with its first tap, which wins but where nothing does. */
FC_INLINE struct pool_state window_begins(const struct fc_pool2d_window *window, const real *x,
                                          int64_t l, const bool partial, int first,
                                          fc_pooling pooling, bool numbered)
{
    struct pool_state state = pool_begins(pooling);
    if (pooling == FC_AVG)
        return state;
    const vreal value = window_load(x + window->offset[0], partial, first);
    state.number = viset1((integer)window->number[0]);
    if (numbered && window->first) {
        const vmask wins = pool_beats(state.numbers, value, state.best, pooling);
        const vint none = viload((const integer *)window->first + l);
        state.number = viselect(wins, state.number, none);
    }
    state.best = value;
    state.numbers = visnumber(value);
    return state;
}

FC_INLINE void window_block(const struct fc_pool2d_window *window, int64_t p, int64_t l,
                            const struct window_steps step, const int vectors, const bool partial,
                            int first, const int square, fc_pooling pooling, bool numbered)
{
    const real *x = (const real *)window->x + p * window->x_column + l;
    struct pool_state state[POOL_VECTORS];
    FC_UNROLL (v, vectors)
        state[v] = window_begins(window, x + v * step.x, l + v * step.first, partial, first,
                                 pooling, numbered);
    const int64_t rows = pooling == FC_AVG ? window->rows : 1;
    const int64_t taps = pooling == FC_AVG ? window->taps : window->rows * window->taps;
    const int begun = pooling == FC_AVG ? 0 : 1;
    FC_UNROLL (i, MOST_SQUARE)
        if (i < square) {
            pool_row_begins(state, vectors, pooling);
            FC_UNROLL (j, MOST_SQUARE)
                if (j < square && i + j >= begun)
                    window_tap(window, state, x, step.x, i * square + j, vectors, partial, first,
                               pooling, numbered);
            pool_row_ends(state, vectors, pooling);
        }
    for (int64_t i = 0; !square && i < rows; i++)
        window_taps(window, state, x, step.x, i * taps + begun, taps - begun, vectors, partial,
                    first, pooling, numbered);
    if (numbered) {
        integer *numbers = (integer *)window->numbers + p * window->number_column + l;
        FC_UNROLL (v, vectors)
            vistore(numbers + v * step.number, state[v].number);
    }
    if (!window->y)
        return;
    real *y = (real *)window->y + p * window->y_column + l;
    FC_UNROLL (v, vectors) {
        const vreal result = pool_result(&state[v], window->divisor, pooling, numbered);
        if (partial)
            vstore_first(y + v * step.y, result, first);
        else
            vstore(y + v * step.y, result);
    }
}

/* All lanes of a column, which are as many as a block's or more, or whose last vector ends with them. */
FC_INLINE const char *window_blocks(const struct fc_pool2d_window *window, int64_t p,
                                    ptrdiff_t apart, const int vectors, const char *ahead,
                                    const int square, fc_pooling pooling, bool numbered)
{
    const struct window_steps step = {apart, apart, apart, apart};
    const int64_t block = (vectors - 1) * apart + LANES;
    for (int64_t l = 0; l < window->lanes; l += block) {
        ahead = fetch_ahead(ahead, window->ahead.lines);
        window_block(window, p, l + block <= window->lanes ? l : window->lanes - block, step,
                     vectors, false, 0, square, pooling, numbered);
    }
    return ahead;
}

/* Columns of a vector or less, as many side by side as a block has vectors: else each selection waits for the one
 * before. Of 8 channels windows of 4 x 4 take 0.6 of the time so on Zen 4. */
FC_INLINE void window_few(const struct fc_pool2d_window *window, fc_pooling pooling, bool numbered)
{
    const struct window_steps step = {window->x_column, window->y_column, window->number_column, 0};
    const int first = (int)window->lanes;
    int64_t p = 0;
    for (; p + POOL_VECTORS <= window->columns; p += POOL_VECTORS)
        window_block(window, p, 0, step, POOL_VECTORS, true, first, 0, pooling, numbered);
    for (; p < window->columns; p++)
        window_block(window, p, 0, step, 1, true, first, 0, pooling, numbered);
}

/* Fewer than 8 lanes are hardly ever as many as a column has, and columns side by side not worth 3 KB. */
enum { MANY_LANES = LANES >= 8 };

FC_INLINE void window_lanes(const struct fc_pool2d_window *window, fc_pooling pooling,
                            bool numbered)
{
    const char *ahead = window->ahead.data;
    const int64_t lanes = window->lanes;
    const int64_t apart = MANY_LANES && lanes < 2 * LANES ? lanes - LANES : LANES;
    for (int64_t p = 0; p < window->columns; p++) {
        if (lanes >= POOL_VECTORS * LANES)
            ahead = window_blocks(window, p, LANES, POOL_VECTORS, ahead, 0, pooling, numbered);
        else if (MANY_LANES || lanes >= 2 * LANES)
            ahead = window_blocks(window, p, apart, 2, ahead, 0, pooling, numbered);
        else
            for (int64_t l = 0; l < lanes; l += LANES)
                window_block(window, p, l, (struct window_steps){0}, 1, true,
                             (int)(lanes - l < LANES ? lanes - l : LANES), 0, pooling, numbered);
    }
}

/* The same for windows whose size is a constant, and lanes that are a block's or more. */
FC_INLINE void window_squares(const struct fc_pool2d_window *window, const int square,
                              fc_pooling pooling, bool numbered)
{
    const char *ahead = window->ahead.data;
    for (int64_t p = 0; p < window->columns; p++)
        ahead = window_blocks(window, p, LANES, POOL_VECTORS, ahead, square, pooling, numbered);
}

FC_INLINE void window_sizes(const struct fc_pool2d_window *window, fc_pooling pooling,
                            bool numbered)
{
    enum { MANY = TILE_PIXELS * TILE_VECTORS >= 20 }; /* registers: 32, not 16 */
    const int64_t square = window->rows == window->taps ? window->rows : 0;
    const bool many = window->lanes >= POOL_VECTORS * LANES;
    if (many && square == 3 && (MANY || pooling == FC_AVG))
        window_squares(window, 3, pooling, numbered);
    else if (many && square == 2 && pooling == FC_AVG)
        window_squares(window, 2, pooling, numbered);
    else
        window_lanes(window, pooling, numbered);
}

/* Functions of their own, or a loop above keeps where it asks ahead on the stack. */
static __attribute__((noinline)) void window_few_max(const struct fc_pool2d_window *window)
{
    if (window->numbers)
        window_few(window, FC_MAX, true);
    else
        window_few(window, FC_MAX, false);
}

static __attribute__((noinline)) void window_few_min(const struct fc_pool2d_window *window)
{
    if (window->numbers)
        window_few(window, FC_MIN, true);
    else
        window_few(window, FC_MIN, false);
}

static __attribute__((noinline)) void window_few_avg(const struct fc_pool2d_window *window)
{
    window_few(window, FC_AVG, false);
}

static void window_max(const struct fc_pool2d_window *window)
{
    if (MANY_LANES && window->lanes <= LANES)
        window_few_max(window);
    else if (window->numbers)
        window_sizes(window, FC_MAX, true);
    else
        window_sizes(window, FC_MAX, false);
}

static void window_min(const struct fc_pool2d_window *window)
{
    if (MANY_LANES && window->lanes <= LANES)
        window_few_min(window);
    else if (window->numbers)
        window_sizes(window, FC_MIN, true);
    else
        window_sizes(window, FC_MIN, false);
}

static void window_avg(const struct fc_pool2d_window *window)
{
    if (MANY_LANES && window->lanes <= LANES)
        window_few_avg(window);
    else
        window_sizes(window, FC_AVG, false);
}
