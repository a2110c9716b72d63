/* pool2d_halves_planes.inc.h: the way back of windows of 3 x 3 that step by two over planes: columns are lanes.
 *
 * A row of x comes apart into even and odd columns as it is loaded, and the winners of three columns of a row
 * that two rows of windows have in common are kept. For two rows of x, 16 windows take 10 loads and
 * permutations and 6 comparisons with selections, and their four classes of dx 9 comparisons with additions and
 * 4 permutations: less than memory takes to bring and to take away their 576 bytes. */

/* The winners of three columns of a row, for windows from w on, numbered from `tap` on. A column beyond the
 * image is its neighbour again, which wins nothing that it has not won. */
FC_INLINE void halves_three(const struct fc_pool2d_halves_search *search, const real *x, int64_t w,
                            int tap, vreal *best, vint *number, fc_pooling pooling)
{
    const int64_t column = 2 * w - search->before, end = column + 2 * LANES;
    const vreal b = vload(x + column + LANES);
    vreal a;
    *number = viset1((integer)tap);
    if (column < 0) {
        a = vbefore(vset1(x[0]), vload(x));
        *number = vas_int(vbefore(vas_real(viset1((integer)(tap + 1))), vas_real(*number)));
    } else {
        a = vload(x + column);
    }
    *best = vevens(a, b);
    const vreal third = vafter(*best, vset1(x[end < search->width ? end : end - 1]));
    pool_wins(vodds(a, b), viset1((integer)(tap + 1)), best, number, pooling);
    pool_wins(third, viset1((integer)(tap + 2)), best, number, pooling);
}

FC_INLINE void halves_search(const struct fc_pool2d_halves_search *given, fc_pooling pooling)
{
    const struct fc_pool2d_halves_search search = *given;
    const real *x[3] = {search.x[0], search.x[1], search.x[2]};
    for (int64_t at = 0; at < search.columns; at += LANES) {
        const int64_t w = at + LANES <= search.columns ? at : search.columns - LANES;
        vreal best, other;
        vint number, winner;
        if (x[0]) {
            halves_three(&search, x[0], w, search.first, &best, &number, pooling);
        } else {
            best = vload((const real *)search.best[0] + w);
            number = viload((const integer *)search.columns_won[0] + w);
        }
        halves_three(&search, x[1], w, 3, &other, &winner, pooling);
        pool_wins(other, winner, &best, &number, pooling);
        halves_three(&search, x[2], w, 0, &other, &winner, pooling);
        vstore((real *)search.best[1] + w, other);
        vistore((integer *)search.columns_won[1] + w, winner);
        pool_wins(other, viadd(winner, viset1(6)), &best, &number, pooling);
        vistore((integer *)search.numbers + w, number);
        FC_UNROLL (i, 2)
            FC_UNROLL (v, LANES * (int)sizeof(real) / 32)
                __builtin_prefetch((const char *)(x[1 + i] + 2 * w) + search.ahead + 64 * v, 0, 2);
    }
}

static void halves_max_search(const struct fc_pool2d_halves_search *search)
{
    halves_search(search, FC_MAX);
}

static void halves_min_search(const struct fc_pool2d_halves_search *search)
{
    halves_search(search, FC_MIN);
}

/* ---------------------------------------------------------------------- dx */

/* Column `column` of window row i, where it won: the row of dx that lies in both rows of windows, and the other. */
FC_INLINE void halves_claim(vint number, vreal gradient, const int i, const int column,
                            vreal sum[2])
{
    FC_UNROLL (r, i + 1) {
        const int tap = (i == 1 ? r : 2) * 3 + column;
        sum[r] = vadd_where(viequal(number, viset1((integer)tap)), sum[r], gradient);
    }
}

/* Pairs of columns of two rows of dx from pair k on, of which the first is around a window, or the second: the
 * other is beside two. Of what is stored already only the second half is. What `halves` holds is asked at each
 * pair, since a body for each case takes 3 KB more. */
FC_INLINE void halves_pairs(const struct fc_pool2d_halves *halves, int64_t k, const bool whole,
                            const bool stream)
{
    const int64_t p = halves->before ? k : k - 1, inner = halves->before ? 0 : 1;
    vreal beside[2] = {vzero(), vzero()}, around[2] = {vzero(), vzero()};
    FC_UNROLL (i, 2) {
        const integer *numbers = (const integer *)halves->numbers[i] + p;
        const real *dy = (const real *)halves->dy[i] + p;
        halves_claim(viload(numbers), vload(dy), i, 2, beside);
        halves_claim(viload(numbers + 1), vload(dy + 1), i, 0, beside);
        halves_claim(viload(numbers + inner), vload(dy + inner), i, 1, around);
    }
    FC_UNROLL (r, 2) {
        real *dx = (real *)halves->dx[r] + 2 * k;
        vreal low = vzip_low(beside[r], around[r]), high = vzip_high(beside[r], around[r]);
        if (halves->before) {
            low = vzip_low(around[r], beside[r]);
            high = vzip_high(around[r], beside[r]);
        }
        if (whole)
            halves_store(dx, low, stream);
        halves_store(dx + LANES, high, stream);
    }
}

/* The last column of an odd width, in the first lane. */
FC_INLINE void halves_last(const struct fc_pool2d_halves *halves)
{
    const int64_t k = halves->width / 2, p = halves->before ? k : k - 1;
    vreal sum[2] = {vzero(), vzero()};
    FC_UNROLL (i, 2) {
        const integer *numbers = (const integer *)halves->numbers[i] + p;
        const real *dy = (const real *)halves->dy[i] + p;
        halves_claim(viload(numbers), vload(dy), i, halves->before ? 1 : 2, sum);
        if (!halves->before)
            halves_claim(viload(numbers + 1), vload(dy + 1), i, 0, sum);
    }
    FC_UNROLL (r, 2)
        vstore_first((real *)halves->dx[r] + 2 * k, sum[r], 1);
}

static void halve_planes(const struct fc_pool2d_halves *given)
{
    const struct fc_pool2d_halves halves = *given;
    const int64_t pairs = halves.width / 2;
    for (int64_t k = 0; k < pairs; k += LANES) {
        const int64_t left = pairs - k, from = left < LANES ? pairs - LANES : k;
        const bool whole = left > LANES / 2;
        halves_pairs(&halves, from, whole, halves.stream && (left >= LANES || !whole));
    }
    if (halves.width % 2)
        halves_last(&halves);
}

static void put_lines(const void *from, void *to, int64_t lines)
{
    enum { LINE_ELEMENTS = 64 / (int)sizeof(real) };
    const real *line = from;
    real *y = to;
    for (int64_t i = 0; i < lines * LINE_ELEMENTS; i += LANES)
        vstream(y + i, vload(line + i));
}
