/* pool2d_winners.inc.h: stored indices become numbers of taps.
 *
 * An index less that of its window's first element is i * width + j: rows are subtracted while the
 * rest is not negative, which takes 5 operations a row of the window where a division would take
 * more. What is left over beyond the taps of a row, or below zero, shows in the sign bits that are
 * collected on the way. */
FC_INLINE vint winners_vector(const struct fc_pool2d_winners *winners, vint index, vint origin,
                              vint *stray)
{
    enum { SIGN = 8 * (int)sizeof(integer) - 1 };
    const vint zero = viset1(0), none = viset1(-1);
    const vint width = viset1((integer)winners->width);
    const vint step = viset1((integer)winners->first_row);
    vint rest = visub(index, origin), number = viset1((integer)winners->first);
    for (int64_t i = 1; i < winners->rows; i++) {
        const vint less = visub(rest, width);
        const vint negative = visub(zero, vishift_right(less, SIGN));
        rest = viadd(less, viand(width, negative));
        number = viadd(number, visub(step, viand(step, negative)));
    }
    const vmask no_winner = viequal(index, none);
    const vint outside = vior(rest, visub(viset1((integer)(winners->taps - 1)), rest));
    *stray = vior(*stray, viselect(no_winner, zero, outside));
    return viselect(no_winner, none, viadd(number, rest));
}

static bool take_winners(const struct fc_pool2d_winners *winners)
{
    integer lane[LANES];
    for (int l = 0; l < LANES; l++)
        lane[l] = (integer)(l * winners->origin_lane);
    const vint apart = viload(lane);
    vint stray = viset1(0);
    for (int64_t p = 0; p < winners->columns; p++) {
        const int64_t *index = winners->index + p * winners->index_column;
        integer *numbers = (integer *)winners->numbers + p * winners->number_column;
        int64_t origin = winners->origin + p * winners->origin_column;
        int64_t l = 0;
        for (; l + LANES <= winners->lanes; l += LANES) {
            const vint first = viadd(viset1((integer)origin), apart);
            vistore(numbers + l, winners_vector(winners, viload_index(index + l), first, &stray));
            origin += LANES * winners->origin_lane;
        }
        if (l < winners->lanes) {
            int64_t rest[LANES];
            for (int i = 0; i < LANES; i++)
                rest[i] = l + i < winners->lanes ? index[l + i] : -1;
            const vint first = viadd(viset1((integer)origin), apart);
            vistore(numbers + l, winners_vector(winners, viload_index(rest), first, &stray));
        }
    }
    return !some_negative(stray);
}
