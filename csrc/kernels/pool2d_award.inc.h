/* pool2d_award.inc.h: the gradient of a maximum, read by the elements from the windows they won.
 *
 * Two loads, a comparison and a masked addition a window: 3 x 3 windows of stride 2 lie 2.25 times
 * over each element, so that 16 of them take about 5 cycles, less than memory does to bring x and to
 * take dx away (128 bytes). Scattering each window's gradient to its winner took a scalar load, an
 * addition and a store an output, 5 to 20 cycles where outputs meet in one element. */

/* The window i rows and j taps on. */
FC_INLINE void award_window(const struct fc_pool2d_award *award, const integer *numbers,
                            const real *dy, int64_t p, int64_t i, int64_t j, vreal *sum,
                            const int vectors, const bool partial, int first)
{
    const vint number = viset1((integer)(award->first + p * award->first_column +
                                         i * award->first_row + j * award->first_tap));
    numbers += i * award->number_row + j * award->number_tap;
    dy += i * award->dy_row + j * award->dy_tap;
    FC_UNROLL (v, vectors) {
        const vmask won = viequal(viload(numbers + v * LANES), number);
        const vreal gradient = partial ? vload_first(dy, first) : vload(dy + v * LANES);
        sum[v] = vadd_where(won, sum[v], gradient);
    }
}

/* Vectors of lanes from l on, all of them whole or, where `partial` is set, one of `first` lanes; `square` windows
 * each way are a constant, up to MOST_AWARDS, or 0. */
enum { MOST_AWARDS = 2 };

FC_INLINE void award_block(const struct fc_pool2d_award *award, int64_t p, int64_t l,
                           const int vectors, const bool partial, int first, const int square)
{
    const integer *numbers = (const integer *)award->numbers + p * award->number_column + l;
    const real *dy = (const real *)award->dy + p * award->dy_column + l;
    vreal sum[POOL_VECTORS];
    FC_UNROLL (v, vectors)
        sum[v] = vzero();
    if (square)
        FC_UNROLL (i, MOST_AWARDS)
            FC_UNROLL (j, MOST_AWARDS)
                if (i < square && j < square)
                    award_window(award, numbers, dy, p, i, j, sum, vectors, partial, first);
    if (!square)
        for (int64_t i = 0; i < award->rows; i++)
            for (int64_t j = 0; j < award->taps; j++)
                award_window(award, numbers, dy, p, i, j, sum, vectors, partial, first);
    real *dx = (real *)award->dx + p * award->dx_column + l;
    FC_UNROLL (v, vectors)
        if (partial)
            vstore_first(dx, sum[v], first);
        else if (award->stream)
            vstream(dx + v * LANES, sum[v]);
        else
            vstore(dx + v * LANES, sum[v]);
}

FC_INLINE void award_windows(const struct fc_pool2d_award *award, const int square)
{
    const int rest = (int)(award->lanes % LANES);
    for (int64_t p = 0; p < award->columns; p++) {
        int64_t l = 0;
        for (; l + POOL_VECTORS * LANES <= award->lanes; l += POOL_VECTORS * LANES)
            award_block(award, p, l, POOL_VECTORS, false, 0, square);
        for (; l + LANES <= award->lanes; l += LANES)
            award_block(award, p, l, 1, false, 0, square);
        if (rest)
            award_block(award, p, l, 1, true, rest, square);
    }
}

/* Windows that share nothing, and those of 2 x 2 that slide by one, are constants: in loops they took 1.2 times as
 * long in planes. */
static void award_gradients(const struct fc_pool2d_award *award)
{
    if (award->rows == 1 && award->taps == 1)
        award_windows(award, 1);
    else if (award->rows == 2 && award->taps == 2)
        award_windows(award, 2);
    else
        award_windows(award, 0);
}
