/* pool2d_marks.inc.h: maxima of windows of 2 x 2 that share nothing, with marks, and their way back from these. */

/* Whole vectors, past the caches where the result is large. */
FC_INLINE void quad_put(real *x, vreal a, bool stream)
{
    if (stream)
        vstream(x, a);
    else
        vstore(x, a);
}

/* The maximum too, and what the way back needs to know: a number of 4 bytes for 16 of x. */
FC_INLINE vreal quad_winner(const vreal tap[4], vint *number)
{
    vreal best = tap[0];
    vmask numbers = visnumber(best);
    *number = viset1(0);
    FC_UNROLL (t, 3)
        pool_wins_next(tap[t + 1], viset1(t + 1), &best, number, &numbers, FC_MAX);
    const vint above = viselect(vgreater(best, vzero()), viset1(0), viset1(FC_STOPPED_BY_RELU));
    const vint below = viselect(vgreater(vset1(6), best), viset1(0), viset1(FC_STOPPED_BY_RELU6));
    *number = vior(*number, vior(above, below));
    return vselect(numbers, best, vset1(NAN));
}

/* By itself: lines are no longer for marks that few ask for, nor others for a minimum, which never has any. */
static __attribute__((noinline)) vreal quad_mark(real *mark, int lanes, vreal a, vreal b, vreal c,
                                                 vreal d)
{
    vint number;
    const vreal best = quad_winner((vreal[]){a, b, c, d}, &number);
    if (lanes < LANES)
        vstore_first(mark, vas_real(number), lanes);
    else
        vstore(mark, vas_real(number));
    return best;
}

/* Marked windows of whole vectors: of 32 channels, in the second-level cache, 338 of them took 7700 cycles on Zen 4 by
 * the general way, each with a call of quad_mark and constants made anew, and the way back 6200; now 6200 and 5500. */
static __attribute__((noinline)) void quad_marks(const struct fc_pool2d_quads *quads)
{
    const ptrdiff_t x_row = quads->x_row, x_pixel = quads->x_pixel;
    const int64_t lanes = quads->lanes;
    const bool stream = quads->stream;
    for (int64_t line = 0; line < quads->lines; line++) {
        const real *x = (const real *)quads->x + 2 * line * x_row;
        real *y = (real *)quads->y + line * quads->y_row;
        real *mark = (real *)quads->mark + line * quads->index_row;
        for (int64_t p = 0; p < quads->columns; p++) {
            for (int64_t l = 0; l < lanes; l += LANES) {
                const real *from = x + l;
                const vreal tap[4] = {vload(from), vload(from + x_pixel), vload(from + x_row),
                                      vload(from + x_row + x_pixel)};
                vint number;
                quad_put(y + l, quad_winner(tap, &number), stream);
                vstore(mark + l, vas_real(number));
            }
            x += 2 * x_pixel;
            y += quads->y_pixel;
            mark += quads->index_pixel;
        }
    }
}

/* True, as the ways back of others have it. */
static __attribute__((noinline)) bool quad_marks_dx(const struct fc_pool2d_quads *quads)
{
    const ptrdiff_t dx_row = quads->dx_row, dx_pixel = quads->dx_pixel;
    const int64_t lanes = quads->lanes;
    const vint bits = viset1((integer)quads->stops | 3);
    const bool stream = quads->stream;
    for (int64_t line = 0; line < quads->lines; line++) {
        const real *dy = (const real *)quads->dy + line * quads->y_row;
        const real *mark = (const real *)quads->mark + line * quads->index_row;
        real *dx = (real *)quads->dx + 2 * line * dx_row;
        for (int64_t p = 0; p < quads->columns; p++) {
            for (int64_t l = 0; l < lanes; l += LANES) {
                const vreal gradient = vadd(vzero(), vload(dy + l));
                const vint number = viand(vas_int(vload(mark + l)), bits);
                FC_UNROLL (t, 4)
                    quad_put(dx + l + t / 2 * dx_row + t % 2 * dx_pixel,
                             vselect(viequal(number, viset1(t)), gradient, vzero()), stream);
            }
            dx += 2 * dx_pixel;
            dy += quads->y_pixel;
            mark += quads->index_pixel;
        }
    }
    return true;
}
