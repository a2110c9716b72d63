/* pool2d_five.inc.h: the winners of windows of 5 x 5 that slide by one, for a unit of channels of a plane.
 *
 * The best of two neighbours, of four, and of five move through registers as a row is walked, and then a column of
 * what rows gave, three comparisons a direction that wait for no memory. On Zen 4 a vector takes 15 cycles, where
 * sweeps (pool2d_sweep.inc.h), which keep half of a window's winner in memory, took 28: two stores are 4 cycles, and
 * what several vectors of a plane keep comes from the second-level cache. Of a unit it stays in the first one.
 *
 * Beyond an edge its pixel comes again, which wins nothing that it has not won. A NaN is left to others, so that one
 * comparison is enough. */
struct five_pixel {
    vreal value;
    vint place;
};

/* Of equals the one before. */
FC_INLINE struct five_pixel five_best(struct five_pixel a, struct five_pixel b, fc_pooling pooling)
{
    const vmask wins = pooling == FC_MAX ? vgreater(b.value, a.value) : vgreater(a.value, b.value);
    return (struct five_pixel){vselect(wins, b.value, a.value), viselect(wins, b.place, a.place)};
}

/* A walk along a line: its last pixel, the best of two that end there and one before, and of four that end there. */
struct five_walk {
    struct five_pixel last, two[2], four;
};

FC_INLINE struct five_walk five_begins(struct five_pixel first, struct five_pixel second,
                                       fc_pooling pooling)
{
    const struct five_pixel two = five_best(first, second, pooling);
    return (struct five_walk){.last = second, .two = {first, two}, .four = two};
}

/* The best of five that end with the next pixel. */
FC_INLINE struct five_pixel five_step(struct five_walk *walk, struct five_pixel next,
                                      fc_pooling pooling)
{
    const struct five_pixel five = five_best(walk->four, next, pooling);
    const struct five_pixel two = five_best(walk->last, next, pooling);
    walk->four = five_best(walk->two[0], two, pooling);
    walk->two[0] = walk->two[1];
    walk->two[1] = two;
    walk->last = next;
    return five;
}

/* A row of x, of which `place` is the first pixel's number: of each window of five the best to where a column is
 * walked, and of all pixels which lanes have met no NaN. */
FC_INLINE void five_row(const struct fc_pool2d_five *five, const real *x, vint place,
                        const char *const ahead[2], real *best, integer *number, vmask *numbers,
                        fc_pooling pooling)
{
    const vint step = viset1((integer)five->number_pixel);
    const struct five_pixel first = {vload(x), place};
    struct five_pixel next = {vload(x += five->x_pixel), place = viadd(place, step)};
    struct five_walk walk = five_begins(first, next, pooling);
    *numbers = visnumber_too(visnumber_too(*numbers, first.value), next.value);
    for (int64_t w = 0; w < five->columns; w++) {
        FC_UNROLL (i, 2)
            __builtin_prefetch(ahead[i] + w * five->ahead_pixel[i], 0, 2);
        if (w + 2 < five->columns) {
            next = (struct five_pixel){vload(x += five->x_pixel), place = viadd(place, step)};
            *numbers = visnumber_too(*numbers, next.value);
        }
        const struct five_pixel won = five_step(&walk, next, pooling);
        vstore(best, won.value);
        vistore(number, won.place);
        best += UNIT;
        number += UNIT;
    }
}

/* A column of what rows gave: numbers alone are left of it. */
FC_INLINE void five_column(const struct fc_pool2d_five *five, const real *best, integer *number,
                           fc_pooling pooling)
{
    const ptrdiff_t row = five->columns * UNIT;
    const integer *from = number + row;
    const struct five_pixel first = {vload(best), viload(number)};
    struct five_pixel next = {vload(best += row), viload(from)};
    struct five_walk walk = five_begins(first, next, pooling);
    for (int64_t h = 0; h < five->rows; h++, number += row) {
        if (h + 2 < five->rows)
            next = (struct five_pixel){vload(best += row), viload(from += row)};
        vistore(number, five_step(&walk, next, pooling).place);
    }
}

FC_INLINE bool five_winners(const struct fc_pool2d_five *given, fc_pooling pooling)
{
    const struct fc_pool2d_five five = *given;
    const vmask all = visnumber(vzero());
    vmask numbers = all;
    for (int64_t h = 0; h < five.rows; h++)
        for (int l = 0; l < UNIT; l += LANES) {
            const char *const ahead[] = {five.ahead[0] + h * five.ahead_row[0],
                                         five.ahead[1] + h * five.ahead_row[1]};
            const ptrdiff_t to = h * five.columns * UNIT + l;
            five_row(&five, (const real *)five.x + h * five.x_row + l,
                     viset1((integer)(h * five.number_row)), ahead, (real *)five.best + to,
                     (integer *)five.numbers + to, &numbers, pooling);
        }
    for (int64_t at = 0; at < five.columns * UNIT; at += LANES)
        five_column(&five, (const real *)five.best + at, (integer *)five.numbers + at, pooling);
    const vmask nans = vmask_andnot(all, numbers);
    return !vany(nans, nans);
}

static bool five_max(const struct fc_pool2d_five *five) { return five_winners(five, FC_MAX); }

static bool five_min(const struct fc_pool2d_five *five) { return five_winners(five, FC_MIN); }
