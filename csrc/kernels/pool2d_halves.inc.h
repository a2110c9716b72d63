/* pool2d_halves.inc.h: the way back of windows of 3 x 3 that step by two, where channels lie together.
 *
 * Between a window, those above and to its left, and the one beyond both, lie four elements of dx: one in all
 * four windows, two in two and one in one. 4 loads of numbers and 4 of dy give 4 vectors, by 9 comparisons
 * with additions, where element by element takes 9 loads of each; and two rows are written from left to
 * right, not every second pixel of one. What comes next is fetched meanwhile. */

/* The elements of window (i, j) of the four take its gradient where they won. */
FC_INLINE void halves_window(const vint number, const vreal gradient, const int i, const int j,
                             vreal sum[4])
{
    FC_UNROLL (r, 2)
        FC_UNROLL (c, 2)
            if (r <= i && c <= j) {
                const int tap = (i == 1 ? r : 2) * 3 + (j == 1 ? c : 2);
                const vmask won = viequal(number, viset1((integer)tap));
                sum[2 * r + c] = vadd_where(won, sum[2 * r + c], gradient);
            }
}

FC_INLINE void halves_store(real *to, vreal a, const bool stream)
{
    if (stream)
        vstream(to, a);
    else
        vstore(to, a);
}

/* The elements beside window w, which lie from column 2 * w - before on. Pointers move together, since more of
 * them than there are registers would. */
FC_INLINE void halves_pixel(const struct fc_pool2d_halves *halves, int64_t w, const bool left,
                            const bool right, const bool stream, const bool fetch)
{
    const int64_t columns = halves->columns, lanes = halves->lanes;
    const ptrdiff_t pixel = halves->dx_column, at = (2 * w - halves->before) * pixel;
    const ptrdiff_t before = (w > 0 ? w - 1 : 0) * halves->dy_column;
    const ptrdiff_t beside = (w < columns ? w : columns - 1) * halves->dy_column - before;
    const integer *number[2];
    const real *dy[2];
    real *dx[2];
    FC_UNROLL (i, 2) {
        number[i] = (const integer *)halves->numbers[i] + w * lanes;
        dy[i] = (const real *)halves->dy[i] + before;
        dx[i] = (real *)halves->dx[i] + at;
    }
    const real *x = fetch ? (const real *)halves->x_ahead + at : NULL;
    const ptrdiff_t x_row = halves->x_row;
    for (int64_t given = 0; given < lanes; given += LANES) {
        const int64_t l = given + LANES <= lanes ? given : lanes - LANES;
        vreal sum[4] = {vzero(), vzero(), vzero(), vzero()};
        FC_UNROLL (i, 2) {
            halves_window(viload(number[i] + l), vload(dy[i] + l), i, 0, sum);
            halves_window(viload(number[i] + l + lanes), vload(dy[i] + l + beside), i, 1, sum);
        }
        FC_UNROLL (r, 2) {
            if (left)
                halves_store(dx[r] + l, sum[2 * r], stream);
            if (right)
                halves_store(dx[r] + l + pixel, sum[2 * r + 1], stream);
            if (fetch) {
                __builtin_prefetch(x + l + r * x_row, 0, 2);
                __builtin_prefetch(x + l + r * x_row + pixel, 0, 2);
            }
        }
    }
}

FC_INLINE void halves_rows(const struct fc_pool2d_halves *given, const bool stream,
                           const bool fetch)
{
    const struct fc_pool2d_halves halves = *given;
    int64_t w = 0;
    if (halves.before > 0)
        halves_pixel(&halves, w++, false, true, stream, fetch);
    for (; 2 * w - halves.before + 1 < halves.width; w++)
        halves_pixel(&halves, w, true, true, stream, fetch);
    if (2 * w - halves.before < halves.width)
        halves_pixel(&halves, w, true, false, stream, fetch);
}

static void halve_gradients(const struct fc_pool2d_halves *halves)
{
    if (halves->stream && halves->x_ahead)
        halves_rows(halves, true, true);
    else if (halves->stream)
        halves_rows(halves, true, false);
    else if (halves->x_ahead)
        halves_rows(halves, false, true);
    else
        halves_rows(halves, false, false);
}
