/* pool2d_quads.inc.h: windows of 2 x 2 that share nothing, pooled and undone where they lie.
 *
 * Nothing is parted, staged or kept: a vector of windows takes four loads of x and, on the way back, one of dy
 * and four stores of dx. A tap that wins is two comparisons (the second for NaN) and a selection, and what it
 * wins two more: 7 cycles a vector in AVX-512, less than memory takes for its 36 bytes a lane. Of few channels
 * a vector holds as many windows as fit, where one instruction permutes two vectors: two of 6 channels, with 4
 * stores where a window at a time takes 8. Without one (AVX2) a window is a vector, and where pixels lie side
 * by side is stored as one, into the windows after it: 0.117 ms back for 28 x 28 x 6 instead of 0.179, where
 * what is beyond its channels was left alone by two smaller stores. */

struct quad {
    vreal tap[4];
};

/* Windows side by side in one vector, of `channels` lanes each: how the pixels of two vectors part into those
 * of even and of odd columns and come together again, and how far its index is from the first window's. */
struct quad_order {
    vint left, right, low, high, apart;
    int windows, lanes; /* of a vector */
};

/* Without a division: planes are small, and each asks. */
FC_INLINE struct quad_order quad_order_of(int channels, int64_t columns)
{
    const int most = LANES / channels, windows = columns < most ? (int)columns : most;
    struct quad_order order = {.windows = windows, .lanes = windows * channels};
    integer left[LANES], right[LANES], apart[LANES], both[2 * LANES];
    for (int i = 0, channel = 0, window = 0; i < LANES; i++) {
        left[i] = i + window * channels;
        right[i] = left[i] + channels;
        apart[i] = 2 * window;
        if (++channel == channels) {
            channel = 0;
            window++;
        }
    }
    for (int i = 0, channel = 0, pixel = 0; i < 2 * LANES; i++) {
        both[i] = pixel / 2 * channels + channel + pixel % 2 * LANES;
        if (++channel == channels) {
            channel = 0;
            pixel++;
        }
    }
    order.left = viload(left);
    order.right = viload(right);
    order.low = viload(both);
    order.high = viload(both + LANES);
    order.apart = viload(apart);
    return order;
}

/* The taps of a row of windows: of pixels side by side, or, where columns are lanes, even and odd. */
FC_INLINE void quad_load(const real *x, ptrdiff_t pixel, const struct quad_order *pairs,
                         const bool partial, int lanes, vreal *left, vreal *right)
{
    if (!pairs) {
        *left = partial ? vload_first(x, lanes) : vload(x);
        *right = partial ? vload_first(x + pixel, lanes) : vload(x + pixel);
        return;
    }
    const int more = 2 * lanes - LANES;
    const vreal a = partial && more < 0 ? vload_first(x, 2 * lanes) : vload(x);
    const vreal b = !partial    ? vload(x + LANES)
                    : more <= 0 ? vzero()
                                : vload_first(x + LANES, more);
    *left = PERMUTES_TWO ? vpermute_two(a, b, pairs->left) : vevens(a, b);
    *right = PERMUTES_TWO ? vpermute_two(a, b, pairs->right) : vodds(a, b);
}

FC_INLINE void quad_store(real *x, ptrdiff_t pixel, const struct quad_order *pairs,
                          const bool partial, int lanes, vreal left, vreal right, bool stream)
{
    if (!pairs) {
        if (partial) {
            vstore_first(x, left, lanes);
            vstore_first(x + pixel, right, lanes);
        } else {
            quad_put(x, left, stream);
            quad_put(x + pixel, right, stream);
        }
        return;
    }
    const vreal low = PERMUTES_TWO ? vpermute_two(left, right, pairs->low) : vzip_low(left, right);
    const vreal high =
        PERMUTES_TWO ? vpermute_two(left, right, pairs->high) : vzip_high(left, right);
    const int more = 2 * lanes - LANES;
    if (!partial) {
        quad_put(x, low, stream);
        quad_put(x + LANES, high, stream);
        return;
    }
    if (more < 0)
        vstore_first(x, low, 2 * lanes);
    else
        vstore(x, low);
    if (more > 0)
        vstore_first(x + LANES, high, more);
}

/* What each tap takes of dy: from the last on, which has won of all that a later tap does not beat. */
FC_INLINE struct quad quad_search(const struct quad *x, vreal dy, fc_pooling pooling)
{
    vmask wins[3];
    vreal best = x->tap[0];
    vmask numbers = visnumber(best);
    struct quad dx;
    FC_UNROLL (i, 3) {
        wins[i] = pool_beats(numbers, x->tap[i + 1], best, pooling);
        numbers = visnumber_too(numbers, x->tap[i + 1]);
        best = vselect(wins[i], x->tap[i + 1], best);
    }
    FC_UNROLL (i, 3) {
        dx.tap[3 - i] = vselect(wins[2 - i], dy, vzero());
        dy = vselect(wins[2 - i], vzero(), dy);
    }
    dx.tap[0] = dy;
    return dx;
}

/* The same from what the indices are beyond the first tap's; sets lanes of stray that are no tap's. */
FC_INLINE struct quad quad_take(vint beyond, vmask none, integer width, vreal dy, vint *stray)
{
    struct quad dx;
    vint left = viselect(none, viset1(0), viset1(-1));
    FC_UNROLL (t, 4) {
        const vmask won = viequal(beyond, viset1((integer)(t / 2 * width + t % 2)));
        dx.tap[t] = vselect(won, dy, vzero());
        left = viselect(won, viset1(0), left);
    }
    *stray = left;
    return dx;
}

/* Windows of one vector: where it begins in each array, and its lanes. */
struct quad_at {
    const real *x, *dy;
    const int64_t *index;
    real *y, *dx, *mark;
    integer origin; /* index of the first window's first tap */
    int lanes;
    bool more; /* a whole vector of indices may be read */
};

FC_INLINE vint quad_indices(const struct quad_at *at, const bool partial)
{
    int64_t some[LANES];
    if (!partial || at->more)
        return viload_index(at->index);
    for (int i = 0; i < LANES; i++)
        some[i] = i < at->lanes ? at->index[i] : -1;
    return viload_index(some);
}

FC_INLINE vreal quad_pool(const vreal tap[4], fc_pooling pooling)
{
    struct pool_state state = pool_begins(pooling);
    FC_UNROLL (i, 2) {
        pool_row_begins(&state, 1, pooling);
        FC_UNROLL (j, 2)
            pool_tap(&state, tap[2 * i + j], viset1(0), pooling, false);
        pool_row_ends(&state, 1, pooling);
    }
    return pool_result(&state, 4, pooling, false);
}

FC_INLINE void quad_forward(const struct fc_pool2d_quads *quads, const struct quad_at *at,
                            const struct quad_order *pairs, const bool partial, fc_pooling pooling)
{
    vreal tap[4];
    FC_UNROLL (i, 2)
        quad_load(at->x + i * quads->x_row, quads->x_pixel, pairs, partial, at->lanes, &tap[2 * i],
                  &tap[2 * i + 1]);
    vreal y;
    if (pooling != FC_AVG && quads->mark)
        y = quad_mark(at->mark, partial ? at->lanes : LANES, tap[0], tap[1], tap[2], tap[3]);
    else
        y = quad_pool(tap, pooling);
    if (partial)
        vstore_first(at->y, y, at->lanes);
    else
        quad_put(at->y, y, quads->stream);
}

/* A sum that begins with zero holds no -0. */
FC_INLINE vint quad_backward(const struct fc_pool2d_quads *quads, const struct quad_at *at,
                             const struct quad_order *pairs, const bool partial, fc_pooling pooling,
                             const bool indexed)
{
    vreal dy = partial ? vload_first(at->dy, at->lanes) : vload(at->dy);
    struct quad x, dx;
    vint stray = viset1(0);
    if (pooling == FC_AVG)
        dy = vdiv(dy, vset1(4));
    dy = vadd(vzero(), dy);
    if (pooling == FC_AVG) {
        FC_UNROLL (t, 4)
            dx.tap[t] = dy;
    } else if (indexed && pooling != FC_AVG && quads->mark) {
        const vreal mark = partial ? vload_first(at->mark, at->lanes) : vload(at->mark);
        const vint number = viand(vas_int(mark), viset1((integer)quads->stops | 3));
        dx = quad_take(number, viequal(number, viset1(-1)), 2, dy, &stray);
    } else if (indexed) {
        const vint index = quad_indices(at, partial);
        vint beyond = visub(index, viset1(at->origin));
        if (pairs)
            beyond = visub(beyond, pairs->apart);
        dx = quad_take(beyond, viequal(index, viset1(-1)), (integer)quads->width, dy, &stray);
    } else {
        FC_UNROLL (i, 2)
            quad_load(at->x + i * quads->x_row, quads->x_pixel, pairs, partial, at->lanes,
                      &x.tap[2 * i], &x.tap[2 * i + 1]);
        dx = quad_search(&x, dy, pooling);
    }
    FC_UNROLL (i, 2)
        quad_store(at->dx + i * quads->dx_row, quads->dx_pixel, pairs, partial, at->lanes,
                   dx.tap[2 * i], dx.tap[2 * i + 1], quads->stream);
    return stray;
}

/* One vector, from lane l of window p on; with `forward` y is written, else dx. */
FC_INLINE vint quad_vector(const struct fc_pool2d_quads *quads, int64_t line, int64_t row,
                           int64_t p, int64_t l, int lanes, const bool forward,
                           const struct quad_order *pairs, const bool partial, fc_pooling pooling,
                           const bool indexed)
{
    struct quad_at at = {.lanes = lanes};
    const ptrdiff_t place = line * quads->index_row + p * quads->index_pixel + l;
    if (pooling != FC_AVG && quads->mark)
        at.mark = (real *)quads->mark + place;
    if (forward || !(indexed || pooling == FC_AVG))
        at.x = (const real *)quads->x + 2 * line * quads->x_row + 2 * p * quads->x_pixel + l;
    if (forward) {
        at.y = (real *)quads->y + line * quads->y_row + p * quads->y_pixel + l;
        quad_forward(quads, &at, pairs, partial, pooling);
        return viset1(0);
    }
    at.dy = (const real *)quads->dy + line * quads->y_row + p * quads->y_pixel + l;
    at.dx = (real *)quads->dx + 2 * line * quads->dx_row + 2 * p * quads->dx_pixel + l;
    if (indexed) {
        at.index = quads->index + place;
        at.origin = (integer)(2 * row * quads->width + 2 * p);
        at.more = ((quads->together - line) * quads->columns - p) * quads->lanes >= LANES;
    }
    return quad_backward(quads, &at, pairs, partial, pooling, indexed);
}

/* Vectors of windows side by side, of which the last ends with the line and computes some again. */
FC_INLINE vint quad_pairs(const struct fc_pool2d_quads *quads, int64_t line, int64_t row,
                          const bool forward, const struct quad_order *pairs, fc_pooling pooling,
                          const bool indexed)
{
    const int64_t windows = pairs->windows;
    const int lanes = pairs->lanes;
    vint stray = viset1(0);
    for (int64_t p = 0; p < quads->columns; p += windows) {
        const int64_t at = p + windows <= quads->columns ? p : quads->columns - windows;
        const vint outside = lanes < LANES ? quad_vector(quads, line, row, at, 0, lanes, forward,
                                                         pairs, true, pooling, indexed)
                                           : quad_vector(quads, line, row, at, 0, LANES, forward,
                                                         pairs, false, pooling, indexed);
        stray = vior(stray, outside);
    }
    return stray;
}

/* The last vector of a pixel ends with it, and computes some lanes again. With `reach` one of few lanes reaches
 * into the windows after its own, which are written later: AVX2 has no masked store that takes a cycle. */
FC_INLINE vint quad_pixels(const struct fc_pool2d_quads *quads, int64_t line, int64_t row,
                           const bool forward, const bool reach, fc_pooling pooling,
                           const bool indexed)
{
    vint stray = viset1(0);
    for (int64_t p = 0; p < quads->columns; p++) {
        if (reach && (quads->columns - p) * quads->lanes >= LANES) {
            stray = vior(stray, quad_vector(quads, line, row, p, 0, LANES, forward, NULL, false,
                                            pooling, indexed));
            continue;
        }
        if (reach || quads->lanes < LANES) {
            stray = vior(stray, quad_vector(quads, line, row, p, 0, (int)quads->lanes, forward,
                                            NULL, true, pooling, indexed));
            continue;
        }
        for (int64_t l = 0; l < quads->lanes; l += LANES) {
            const int64_t at = l + LANES <= quads->lanes ? l : quads->lanes - LANES;
            stray = vior(stray, quad_vector(quads, line, row, p, at, LANES, forward, NULL, false,
                                            pooling, indexed));
        }
    }
    return stray;
}

/* False where an index is no tap's: in a vector that is not full those beyond its windows do not count. */
FC_INLINE bool quad_lines(const struct fc_pool2d_quads *given, const bool forward, const bool pairs,
                          const bool reach, fc_pooling pooling, const bool indexed)
{
    const struct fc_pool2d_quads quads = *given;
    const struct quad_order order = quad_order_of(pairs ? (int)quads.lanes : 1, quads.columns);
    vint stray = viset1(0);
    for (int64_t line = 0, row = quads.row; line < quads.lines; line++, row++) {
        row = row == quads.rows ? 0 : row;
        stray =
            vior(stray, pairs ? quad_pairs(&quads, line, row, forward, &order, pooling, indexed)
                              : quad_pixels(&quads, line, row, forward, reach, pooling, indexed));
    }
    integer lane[LANES];
    vistore(lane, stray);
    const int64_t used = pairs ? order.lanes : quads.lanes;
    for (int i = 0; i < LANES && i < used; i++)
        if (lane[i] != 0)
            return false;
    return true;
}

/* Whether pixels lie side by side in every array. */
FC_INLINE bool quads_touch(const struct fc_pool2d_quads *quads, const bool forward, const bool x,
                           const bool indexed)
{
    const ptrdiff_t lanes = quads->lanes;
    return quads->y_pixel == lanes && (!x || quads->x_pixel == lanes) &&
           (forward || quads->dx_pixel == lanes) &&
           (!(indexed || quads->mark) || quads->index_pixel == lanes);
}

FC_INLINE bool quads_of(const struct fc_pool2d_quads *quads, const bool forward, fc_pooling pooling,
                        const bool indexed)
{
    const bool x = forward || !(indexed || pooling == FC_AVG);
    const bool touch = quads_touch(quads, forward, x, indexed);
    if (touch && (quads->lanes == 1 || (PERMUTES_TWO && 2 * quads->lanes <= LANES)))
        return quad_lines(quads, forward, true, false, pooling, indexed);
    if (touch && !PERMUTES_TWO && quads->lanes < LANES)
        return quad_lines(quads, forward, false, true, pooling, indexed);
    return quad_lines(quads, forward, false, false, pooling, indexed);
}

#define QUADS(pooling, POOLING)                                                  \
    static void quads_##pooling(const struct fc_pool2d_quads *quads)             \
    {                                                                            \
        if (POOLING != FC_AVG && quads->mark && quads->lanes % LANES == 0)       \
            quad_marks(quads);                                                   \
        else                                                                     \
            quads_of(quads, true, POOLING, false);                               \
    }                                                                            \
    static bool quads_##pooling##_dx(const struct fc_pool2d_quads *quads)        \
    {                                                                            \
        const bool indexed = POOLING != FC_AVG && (quads->index || quads->mark); \
        if (POOLING != FC_AVG && quads->mark && quads->lanes % LANES == 0)       \
            return quad_marks_dx(quads);                                         \
        return indexed ? quads_of(quads, false, POOLING, true)                   \
                       : quads_of(quads, false, POOLING, false);                 \
    }
QUADS(max, FC_MAX)
QUADS(min, FC_MIN)
QUADS(avg, FC_AVG)
#undef QUADS
