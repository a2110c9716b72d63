/* pool2d_halves_forward.inc.h: maxima over windows of 3 x 3 that step by two over planes, forward: columns are lanes.
 *
 * A row of x comes apart into even and odd columns as it is loaded, and has one maximum for each window, the third row
 * of a window's being the first of the next one's: 16 windows of AVX-512 are 4 loads, most across two cache lines, 6
 * permutations, 6 maxima and two looks for NaNs, of which there are none: else another pass does it all again. */

/* The best of a row of x for each window of a strip; of equals the first. */
FC_INLINE vreal halves_best(const struct fc_pool2d_halves_planes *halves,
                            const struct halves_strip *strip, const real *x, vmask *numbers,
                            const bool before, fc_pooling pooling)
{
    const vreal a = vload_first(x, strip->first);
    const vreal b = vload_first(x + strip->x_second, strip->second);
    const vreal even = vevens(a, b), odd = vodds(a, b), edge = vset1(x[strip->edge]);
    __builtin_prefetch((const char *)x + halves->ahead, 0, 2);
    __builtin_prefetch((const char *)(x + strip->x_second) + halves->ahead, 0, 2);
    *numbers = vnumbers_too(*numbers, a, b);
    vreal third = before ? odd : vafter(even, edge);
    if (strip->beyond)
        third = vselect(strip->right, pool_identity(pooling), third);
    if (!before)
        return pool_of(third, pool_of(odd, even, pooling), pooling);
    const vreal first = vselect(strip->left, pool_identity(pooling), vbefore(edge, odd));
    return pool_of(third, pool_of(even, first, pooling), pooling);
}

/* Rows [begin, end) of windows of a strip. */
FC_INLINE bool halves_strip_forward(const struct fc_pool2d_halves_planes *given,
                                    const struct halves_strip *of, int64_t begin, int64_t end,
                                    const bool before, fc_pooling pooling)
{
    const struct fc_pool2d_halves_planes halves = *given;
    const struct halves_strip strip = *of;
    vmask numbers = visnumber(vzero());
    int64_t row = 2 * begin - halves.above;
    const real *x = (const real *)halves.x + row * halves.x_row + 2 * strip.w;
    real *y = (real *)halves.y + begin * halves.y_row + strip.w;
    vreal best = pool_identity(pooling);
    if (row >= 0)
        best = halves_best(&halves, &strip, x, &numbers, before, pooling);
    for (int64_t h = begin; h < end; h++, row += 2, y += halves.y_row) {
        const ptrdiff_t below = row + 2 < halves.height ? halves.x_row : 0;
        x += halves.x_row;
        const vreal second = halves_best(&halves, &strip, x, &numbers, before, pooling);
        x += below;
        const vreal third = halves_best(&halves, &strip, x, &numbers, before, pooling);
        __builtin_prefetch(y + FC_POOL2D_HALVES * halves.y_row, 1, 3);
        best = pool_of(third, pool_of(second, best, pooling), pooling);
        vstore_first(y, best, strip.windows);
        if (halves.two)
            vstore_second(y + halves.y_plane, best, strip.windows);
        best = third;
    }
    const vmask nans = vmask_andnot(visnumber(vzero()), numbers);
    return !vany(nans, nans);
}

/* A plane, or two: of several strips some rows at a time, in the order of memory. */
FC_INLINE bool halves_plane_forward(const struct fc_pool2d_halves_planes *halves,
                                    const struct halves_strip *one, fc_pooling pooling)
{
    const bool strips = halves->columns > LANES;
    struct halves_strip strip = *one;
    bool fine = true;
    for (int64_t h = halves->begin, end; h < halves->end && fine; h = end) {
        end = strips && h + FC_POOL2D_HALVES < halves->end ? h + FC_POOL2D_HALVES : halves->end;
        for (int64_t w = 0; w < halves->columns; w += LANES) {
            if (strips)
                strip = halves_strip(halves, w);
            fine &= halves->before ? halves_strip_forward(halves, &strip, h, end, true, pooling)
                                   : halves_strip_forward(halves, &strip, h, end, false, pooling);
        }
    }
    return fine;
}

FC_INLINE bool halves_planes_forward(const struct fc_pool2d_halves_planes *given,
                                     fc_pooling pooling)
{
    struct fc_pool2d_halves_planes halves = *given;
    struct halves_strip strip = halves_strip(&halves, 0);
    const int64_t step = halves.two ? 2 : 1;
    for (int64_t p = 0; p < halves.planes; p += step) {
        halves_part(&halves, p, &strip);
        if (!halves_plane_forward(&halves, &strip, pooling))
            return false;
        halves.x = (const real *)halves.x + step * halves.x_plane;
        halves.y = (real *)halves.y + step * halves.y_plane;
    }
    return true;
}

static bool halves_max_forward(const struct fc_pool2d_halves_planes *halves)
{
    return halves_planes_forward(halves, FC_MAX);
}

static bool halves_min_forward(const struct fc_pool2d_halves_planes *halves)
{
    return halves_planes_forward(halves, FC_MIN);
}
