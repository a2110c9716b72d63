/* pool2d_planes.inc.h: planes parted into classes of rows and columns, and joined again; winners and
 * gradients over parted planes.
 *
 * In a plane whose rows and columns are parted by the strides, and whose rows have one pitch, each tap
 * of all windows lies at one distance from them: a whole plane is one run of lanes, and neither the
 * ends of rows nor those of vectors are cases of their own. Parting 32 float32 takes two loads, two
 * permutations and two stores, half a cycle for 64 bytes each way more than a copy. */

FC_INLINE void move_pixel(const real *x, real *y, int64_t channels)
{
    if (channels <= LANES)
        vstore_first(y, vload_first(x, (int)channels), (int)channels);
    else
        copy_line(x, y, channels);
}

/* A row of an image, and the line where its column 0 would lie. */
FC_INLINE void part_row(const struct fc_pool2d_parts *parts, real *row, real *line, const bool join,
                        const bool pairs)
{
    const int64_t phases = parts->column_phases, channels = parts->channels;
    if (pairs) {
        const int64_t column = parts->column;
        real *even = line + column % 2 * parts->column_phase + column / 2;
        real *odd = line + (column + 1) % 2 * parts->column_phase + (column + 1) / 2;
        if (join)
            merge_row(even, odd, row, parts->columns);
        else
            split_row(row, even, odd, parts->columns);
        return;
    }
    if (phases == 1) {
        const int64_t count = parts->columns * channels;
        const int rest = (int)(count % LANES);
        const real *from = join ? line + parts->column * channels : row;
        real *to = join ? row : line + parts->column * channels;
        for (int64_t left = count; left >= LANES; left -= LANES, from += LANES, to += LANES)
            vstore(to, vload(from));
        if (rest)
            vstore_first(to, vload_first(from, rest), rest);
        return;
    }
    for (int64_t k = 0; k < phases; k++) {
        const int64_t column = parts->column + k;
        real *at = line + column % phases * parts->column_phase + column / phases * channels;
        for (int64_t w = k; w < parts->columns; w += phases, at += channels) {
            real *pixel = row + w * channels;
            move_pixel(join ? at : pixel, join ? pixel : at, channels);
        }
    }
}

/* Sizes in a copy, which no store can change: they stay in registers. */
FC_INLINE void walk_parts(const struct fc_pool2d_parts *given, const bool join, const bool pairs)
{
    const struct fc_pool2d_parts parts = *given;
    for (int64_t p = 0; p < parts.planes; p++) {
        real *row = (real *)parts.image + p * parts.image_plane;
        real *part = (real *)parts.parts + p * parts.parts_plane;
        int64_t phase = parts.row % parts.row_phases;
        part += phase * parts.row_phase + parts.row / parts.row_phases * parts.line;
        for (int64_t h = 0; h < parts.rows; h++, row += parts.image_row) {
            part_row(&parts, row, part, join, pairs);
            part += parts.row_phase;
            if (++phase == parts.row_phases) {
                phase = 0;
                part += parts.line - parts.row_phases * parts.row_phase;
            }
        }
    }
}

static void part_planes(const struct fc_pool2d_parts *parts)
{
    if (parts->column_phases == 2 && parts->channels == 1)
        walk_parts(parts, false, true);
    else
        walk_parts(parts, false, false);
}

static void join_planes(const struct fc_pool2d_parts *parts)
{
    if (parts->column_phases == 2 && parts->channels == 1)
        walk_parts(parts, true, true);
    else
        walk_parts(parts, true, false);
}

/* Two loads, a comparison and a masked addition a window: with 9 of them 9 cycles a vector of 16 in
 * AVX-512, where a scatter takes a cycle an element. */
FC_INLINE void claim_block(const struct fc_pool2d_claim *claim, int64_t p, int64_t l,
                           const int vectors)
{
    const integer *numbers = (const integer *)claim->numbers + p * claim->plane + l;
    const real *dy = (const real *)claim->dy + p * claim->plane + l;
    vreal sum[POOL_VECTORS];
    FC_UNROLL (v, vectors)
        sum[v] = vzero();
    for (int64_t t = 0; t < claim->taps; t++) {
        const ptrdiff_t at = claim->offset[t];
        const vint number = viset1((integer)claim->number[t]);
        FC_UNROLL (v, vectors) {
            const vmask won = viequal(viload(numbers + at + v * LANES), number);
            sum[v] = vadd_where(won, sum[v], vload(dy + at + v * LANES));
        }
    }
    real *dx = (real *)claim->dx + p * claim->dx_plane + l;
    FC_UNROLL (v, vectors)
        vstore(dx + v * LANES, sum[v]);
}

static void claim_gradients(const struct fc_pool2d_claim *claim)
{
    const char *ahead = claim->ahead.data;
    for (int64_t p = 0; p < claim->planes; p++) {
        int64_t l = 0;
        for (; l + POOL_VECTORS * LANES <= claim->lanes; l += POOL_VECTORS * LANES) {
            ahead = fetch_ahead(ahead, claim->ahead.lines);
            claim_block(claim, p, l, POOL_VECTORS);
        }
        for (; l < claim->lanes; l += LANES)
            claim_block(claim, p, l, 1);
    }
}

/* One row of windows of a plane, from indices to taps. */
FC_INLINE vint name_vector(const struct fc_pool2d_names *names, vint index, int64_t l,
                           integer origin, vint *stray)
{
    enum { SIGN = 8 * (int)sizeof(integer) - 1 };
    const vint zero = viset1(0), none = viset1(-1);
    const vint width = viset1((integer)names->width), step = viset1((integer)names->taps);
    const vint low = viload((const integer *)names->low + l);
    const vint high = viload((const integer *)names->high + l);
    vint rest = visub(visub(index, viset1(origin)), viload((const integer *)names->origins + l));
    vint number = viset1((integer)names->first);
    for (int64_t i = 1; i < names->rows; i++) {
        const vint less = visub(rest, width);
        const vint negative = visub(zero, vishift_right(less, SIGN));
        rest = viadd(less, viand(width, negative));
        number = viadd(number, visub(step, viand(step, negative)));
    }
    const vmask no_winner = viequal(index, none);
    const vint outside = vior(visub(rest, low), visub(high, rest));
    *stray = vior(*stray, viselect(no_winner, zero, outside));
    return viselect(no_winner, none, viadd(number, rest));
}

static bool name_winners(const struct fc_pool2d_names *given)
{
    const struct fc_pool2d_names names = *given;
    const integer origin = (integer)names.origin;
    vint stray = viset1(0);
    for (int64_t p = 0; p < names.planes; p++) {
        const int64_t *index = names.index + p * names.index_plane;
        integer *numbers = (integer *)names.numbers + p * names.number_plane;
        int64_t l = 0;
        for (; l + LANES <= names.lanes; l += LANES)
            vistore(numbers + l, name_vector(&names, viload_index(index + l), l, origin, &stray));
        if (l == names.lanes)
            continue;
        vint last, outside = viset1(0);
        if (names.more) {
            last = viload_index(index + l);
        } else {
            int64_t rest[LANES];
            for (int i = 0; i < LANES; i++)
                rest[i] = l + i < names.lanes ? index[l + i] : -1;
            last = viload_index(rest);
        }
        vistore(numbers + l, name_vector(&names, last, l, origin, &outside));
        stray = vior(stray, viand(outside, viload((const integer *)names.used + l)));
    }
    return !some_negative(stray);
}
