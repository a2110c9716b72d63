/* pool2d_window.inc.h: windows of few taps, whose distances and numbers are tables.
 *
 * Four vectors of outputs a block. A tap is a load, a maximum and a comparison with itself for NaN; a
 * numbered one takes two comparisons and two selections. What is left after whole blocks is taken by
 * one more block that ends with the lanes, and computes some of them again. The windows of most
 * networks are constants, without loops: 3 x 3 over 28 x 28 x 64 in the cache takes 0.27 ns an
 * element, where a loop over taps in one over rows, with the bookkeeping of phases and the NaNs of
 * each tap or-ed into a mask, took 0.45. */

enum { WINDOW_TAPS = 3 }; /* rows and taps of a constant window, at most */

/* One row of the windows of a block; numbers come from memory, where broadcasting is free. */
FC_INLINE void window_tap(const struct fc_pool2d_window *window, struct pool_state *state,
                          const real *x, int64_t tap, const int vectors, const bool partial,
                          int first, fc_pooling pooling, bool numbered)
{
    const real *at = x + window->offset[tap];
    const vint number = viset1((integer)(numbered ? window->number[tap] : 0));
    FC_UNROLL (v, vectors)
        pool_tap(&state[v], pool_load(at, v, vectors, partial, first), number, pooling, numbered);
}

FC_INLINE void window_block(const struct fc_pool2d_window *window, int64_t p, int64_t l,
                            const int vectors, const bool partial, int first, const int rows,
                            const int taps, fc_pooling pooling, bool numbered)
{
    const real *x = (const real *)window->x + p * window->x_column + l;
    struct pool_state state[POOL_VECTORS];
    FC_UNROLL (v, vectors) {
        state[v] = pool_begins(pooling);
        if (numbered)
            state[v].number = window->first ? viload((const integer *)window->first + l + v * LANES)
                                            : viset1((integer)window->number[0]);
    }
    if (rows)
        FC_UNROLL (i, WINDOW_TAPS)
            if (i < rows) {
                pool_row_begins(state, vectors, pooling);
                FC_UNROLL (j, WINDOW_TAPS)
                    if (j < taps)
                        window_tap(window, state, x, i * taps + j, vectors, partial, first, pooling,
                                   numbered);
                pool_row_ends(state, vectors, pooling);
            }
    if (!rows)
        for (int64_t i = 0; i < window->rows; i++) {
            pool_row_begins(state, vectors, pooling);
            for (int64_t j = 0; j < window->taps; j++)
                window_tap(window, state, x, i * window->taps + j, vectors, partial, first, pooling,
                           numbered);
            pool_row_ends(state, vectors, pooling);
        }
    if (numbered) {
        integer *numbers = (integer *)window->numbers + p * window->number_column + l;
        FC_UNROLL (v, vectors)
            vistore(numbers + v * LANES, state[v].number);
    }
    if (!window->y)
        return;
    real *y = (real *)window->y + p * window->y_column + l;
    FC_UNROLL (v, vectors) {
        const vreal result = pool_result(&state[v], window->divisor, pooling, numbered);
        if (partial)
            vstore_first(y, result, first);
        else
            vstore(y + v * LANES, result);
    }
}

/* All lanes of a column, which are as many as a block's or more. */
FC_INLINE void window_blocks(const struct fc_pool2d_window *window, int64_t p, const int vectors,
                             const char **ahead, const int rows, const int taps, fc_pooling pooling,
                             bool numbered)
{
    const int64_t block = vectors * LANES;
    for (int64_t l = 0; l < window->lanes; l += block) {
        *ahead = fetch_ahead(*ahead, window->ahead.lines);
        window_block(window, p, l + block <= window->lanes ? l : window->lanes - block, vectors,
                     false, 0, rows, taps, pooling, numbered);
    }
}

FC_INLINE void window_lanes(const struct fc_pool2d_window *window, const int rows, const int taps,
                            fc_pooling pooling, bool numbered)
{
    const char *ahead = window->ahead.data;
    for (int64_t p = 0; p < window->columns; p++) {
        int64_t l = 0;
        if (window->lanes >= POOL_VECTORS * LANES) {
            window_blocks(window, p, POOL_VECTORS, &ahead, rows, taps, pooling, numbered);
            continue;
        }
        if (window->lanes >= 2 * LANES) {
            window_blocks(window, p, 2, &ahead, rows, taps, pooling, numbered);
            continue;
        }
        for (; l + LANES <= window->lanes; l += LANES)
            window_block(window, p, l, 1, false, 0, 0, 0, pooling, numbered);
        if (l < window->lanes)
            window_block(window, p, l, 1, true, (int)(window->lanes - l), 0, 0, pooling, numbered);
    }
}

FC_INLINE void window_sizes(const struct fc_pool2d_window *window, fc_pooling pooling,
                            bool numbered)
{
    if (window->rows == 2 && window->taps == 2)
        window_lanes(window, 2, 2, pooling, numbered);
    else if (window->rows == 2 && window->taps == 3)
        window_lanes(window, 2, 3, pooling, numbered);
    else if (window->rows == 3 && window->taps == 2)
        window_lanes(window, 3, 2, pooling, numbered);
    else if (window->rows == 3 && window->taps == 3)
        window_lanes(window, 3, 3, pooling, numbered);
    else
        window_lanes(window, 0, 0, pooling, numbered);
}

static void window_max(const struct fc_pool2d_window *window)
{
    if (window->numbers)
        window_sizes(window, FC_MAX, true);
    else
        window_sizes(window, FC_MAX, false);
}

static void window_min(const struct fc_pool2d_window *window)
{
    if (window->numbers)
        window_sizes(window, FC_MIN, true);
    else
        window_sizes(window, FC_MIN, false);
}

static void window_avg(const struct fc_pool2d_window *window)
{
    window_sizes(window, FC_AVG, false);
}
