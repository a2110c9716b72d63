/* pool2d_search.inc.h: the winners of windows of any size, by searching widths that grow threefold.
 *
 * Numbers become whole numbers in the same order, with zeros of both signs equal and all NaN the greatest:
 * then the first of the greatest wins, and windows may overlap in those they are made of. A pass is two
 * comparisons with selections of keys and of numbers, 6 loads and 2 stores: three passes a direction find the
 * winner of 13 x 13, where each of its elements by itself would take 169 comparisons. */

/* `lowest` lanes, all or none, turn them round. */
FC_INLINE vint search_key(vreal x, vmask lowest)
{
    const vint zero = viset1(0), bits = vas_int(x);
    const vint least = vishift_left(viset1(-1), 8 * (int)sizeof(integer) - 1);
    const vint key = viselect(vigreater(zero, bits), visub(least, bits), bits);
    return viselect(visnumber(x), viselect(lowest, visub(zero, key), key),
                    visub(viset1(-1), least));
}

/* The keys of a run; whole vectors are written. */
FC_INLINE void search_run(const real *x, integer *keys, int64_t lanes, vmask lowest)
{
    int64_t l = 0;
    for (; l + LANES <= lanes; l += LANES)
        vistore(keys + l, search_key(vload(x + l), lowest));
    if (l < lanes)
        vistore(keys + l, search_key(vload_first(x + l, (int)(lanes - l)), lowest));
}

/* A pixel again and again. */
FC_INLINE integer *search_edge(const struct fc_pool2d_keys *given, const real *x, integer *keys,
                               int64_t pixels, vmask lowest)
{
    integer *end = keys + pixels * given->pixel;
    if (given->pixel == 1)
        for (; keys < end; keys += LANES)
            vistore(keys, search_key(vset1(*x), lowest));
    else
        for (; keys < end; keys += given->pixel)
            search_run(x, keys, given->lanes, lowest);
    return end;
}

static void search_keys(const struct fc_pool2d_keys *given)
{
    const vmask lowest = viequal(viset1(given->pooling == FC_MIN), viset1(1));
    const bool run = given->x_pixel == given->pixel;
    const int64_t columns = run ? 1 : given->columns;
    const int64_t lanes = run ? (given->columns - 1) * given->pixel + given->lanes : given->lanes;
    for (int64_t r = 0; r < given->rows; r++) {
        const real *x = (const real *)given->x + r * given->x_row;
        integer *keys = search_edge(given, x, (integer *)given->keys + r * given->key_row,
                                    given->before, lowest);
        for (int64_t c = 0; c < columns; c++)
            search_run(x + c * given->x_pixel, keys + c * given->pixel, lanes, lowest);
        search_edge(given, x + (given->columns - 1) * given->x_pixel,
                    keys + given->columns * given->pixel, given->after, lowest);
    }
}

FC_INLINE void duel_with(const integer *keys, const integer *numbers, ptrdiff_t at, vint *key,
                         vint *number)
{
    const vint other = viload(keys + at);
    const vmask wins = vigreater(other, *key);
    *key = viselect(wins, other, *key);
    *number = viselect(wins, viload(numbers + at), *number);
}

FC_INLINE void duel_rows(const struct fc_pool2d_duel *duel, const bool three)
{
    for (int64_t r = 0; r < duel->rows; r++) {
        integer *keys = (integer *)duel->keys + r * duel->row;
        integer *numbers = (integer *)duel->numbers + r * duel->row;
        const integer *from =
            duel->table ? (const integer *)duel->table + r * duel->table_row : numbers;
        for (int64_t l = 0; l < duel->lanes; l += LANES) {
            vint key = viload(keys + l), number = viload(from + l);
            if (three)
                duel_with(keys + l, from + l, duel->middle, &key, &number);
            duel_with(keys + l, from + l, duel->last, &key, &number);
            vistore(keys + l, key);
            vistore(numbers + l, number);
        }
    }
}

static void duel(const struct fc_pool2d_duel *given)
{
    const struct fc_pool2d_duel local = *given;
    if (local.middle)
        duel_rows(&local, true);
    else
        duel_rows(&local, false);
}
