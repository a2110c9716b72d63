/* planes.inc.h: few outputs, with pixels in the lanes.
 *
 * A tile is 6 outputs x 4 vectors of pixels where there are 32 registers: 6 broadcasts and 4 loads (up
 * to 8 reads, where they cross lines) for 24 multiply-adds, 14 reads on 2 ports in 12 cycles. Terms are
 * one list, whatever they are taps or channels of: a loop over 3 channels within one over taps took a
 * tenth longer. What else is done goes between runs of 8 terms, since the integer instructions of a term take
 * turns with its multiply-adds: with 5 of them, and all of the tile in registers, 95 % of the peak, where 12
 * reached 83. */
enum {
    FLAT_OUTPUTS = TILE_PIXELS < 6 ? TILE_PIXELS : 6,
    FLAT_VECTORS = TILE_PIXELS > 6 ? 4 : TILE_VECTORS
};

/* What is asked for beside the sums, and as many pixels as are asked for. Tiles of many outputs have a body
 * that stores past the caches. */
FC_INLINE void finish_flat(const struct fc_plane_tile *tile, const int outputs, const int vectors,
                           vreal sum[FLAT_OUTPUTS][FLAT_VECTORS])
{
    const bool stream = outputs + 1 >= FLAT_OUTPUTS && tile->stream;
    const fc_activation activation = tile->activation;
    const int pixels = tile->pixels;
    if (tile->partial) {
        const real *partial = tile->partial;
        const ptrdiff_t step = tile->partial_step;
        FC_UNROLL (v, vectors) {
            if (pixels >= (v + 1) * LANES)
                FC_UNROLL (k, outputs)
                    sum[k][v] = vadd(sum[k][v], vload(partial + k * step + v * LANES));
            else if (pixels > v * LANES)
                FC_UNROLL (k, outputs)
                    sum[k][v] = vadd(
                        sum[k][v], vload_first(partial + k * step + v * LANES, pixels - v * LANES));
        }
    }
    if (tile->bias)
        FC_UNROLL (k, outputs) {
            const vreal bias = vset1(((const real *)tile->bias)[k]);
            FC_UNROLL (v, vectors)
                sum[k][v] = vadd(sum[k][v], bias);
        }
    if (activation != FC_LINEAR)
        FC_UNROLL (k, outputs)
            FC_UNROLL (v, vectors)
                sum[k][v] = activate(sum[k][v], activation);
    real *y = tile->y;
    const ptrdiff_t step = tile->y_step;
    FC_UNROLL (v, vectors) {
        if (pixels >= (v + 1) * LANES && stream)
            FC_UNROLL (k, outputs)
                vstream(y + k * step + v * LANES, sum[k][v]);
        else if (pixels >= (v + 1) * LANES)
            FC_UNROLL (k, outputs)
                vstore(y + k * step + v * LANES, sum[k][v]);
        else if (pixels > v * LANES)
            FC_UNROLL (k, outputs)
                vstore_first(y + k * step + v * LANES, sum[k][v], pixels - v * LANES);
    }
}

/* Asks for the next lines of rows that are needed later, whose places stay in the tile: from registers they go out at
 * once, and 64 planes of 128x128 to 2 outputs took a quarter longer on Zen 4. */
FC_INLINE void fetch_next_rows(struct fc_rows_ahead *ahead)
{
    for (int64_t line = 0; line < ahead->each; line++, ahead->at += FC_UNIT_BYTES) {
        if (ahead->left-- == 0) {
            ahead->at += ahead->gap;
            ahead->left = ahead->lines - 1;
        }
        __builtin_prefetch(ahead->at, 0, 2);
    }
}

/* Terms [t, end) of x, from where they come: whole units, beyond which nothing may be read there. */
FC_INLINE void copy_terms(const struct fc_plane_tile *tile, int64_t t, int64_t end,
                          const int vectors)
{
    const ptrdiff_t step = tile->source_step, *offset = tile->offset;
    const real *from = (const real *)tile->source + t * step;
    const int used = tile->units * UNIT_VECTORS;
    real *x = (real *)tile->x;
    for (; t < end; t++, from += step)
        FC_UNROLL (v, vectors)
            if (v < used)
                vstore(x + offset[t] + v * LANES, vload(from + v * LANES));
}

/* What the terms of a tile are read by. */
struct flat_reads {
    const ptrdiff_t *offset;
    const real *weights, *x;
    ptrdiff_t step;
};

FC_INLINE struct flat_reads flat_reads_of(const struct fc_plane_tile *tile)
{
    return (struct flat_reads){tile->offset, tile->weights, tile->x, tile->weight_step};
}

FC_INLINE void flat_sums(struct fc_plane_tile *tile, const int outputs, const int vectors)
{
    vreal sum[FLAT_OUTPUTS][FLAT_VECTORS];
    FC_UNROLL (k, outputs)
        FC_UNROLL (v, vectors)
            sum[k][v] = vzero();

    struct flat_reads reads = flat_reads_of(tile);
    for (int64_t t = 0; t < tile->terms;) {
        FC_AGAIN(tile);
        const int64_t terms = tile->terms,
                      stop = t + FC_AHEAD_TERMS < terms ? t + FC_AHEAD_TERMS : terms;
        fetch_next_rows(&tile->ahead);
        if (tile->source)
            copy_terms(tile, t, stop, vectors);
        FC_AGAIN(tile);
        if (FC_READS_AGAIN)
            reads = flat_reads_of(tile);
        const ptrdiff_t step = reads.step, *offset = reads.offset;
        const real *weights = reads.weights, *second = weights + 3 * step, *x = reads.x;
        for (; t < stop; t++) {
            const real *pixels = x + offset[t];
            vreal a[FLAT_VECTORS];
            FC_UNROLL (v, vectors)
                a[v] = vload(pixels + v * LANES);
            FC_UNROLL (k, outputs) {
                const vreal weight = vset1((k < 3 ? weights : second)[k % 3 * step + t]);
                FC_UNROLL (v, vectors)
                    sum[k][v] = vfma(weight, a[v], sum[k][v]);
            }
        }
    }
    FC_AGAIN(tile);
    finish_flat(tile, outputs, vectors, sum);
}

#define FC_PLANE_CASE(outputs)                                                   \
    case outputs:                                                                \
        if (FLAT_VECTORS >= 4 * UNIT_VECTORS && tile->units <= FLAT_VECTORS / 2) \
            flat_sums(tile, outputs, FLAT_VECTORS / 2);                          \
        else if (FLAT_VECTORS >= 4 * UNIT_VECTORS && tile->units == 3)           \
            flat_sums(tile, outputs, FLAT_VECTORS * 3 / 4);                      \
        else                                                                     \
            flat_sums(tile, outputs, FLAT_VECTORS);                              \
        return;

FC_SPILL_TO_STACK static void plane_tile(struct fc_plane_tile *tile)
{
    switch (tile->outputs) {
#if TILE_PIXELS < 6
        TILE_CASES(FC_PLANE_CASE)
#else
        FC_CASES_6(FC_PLANE_CASE)
#endif
    }
}

/* From planes to planes: what finish_row does, without what whole vectors do not need. */
static void finish_plane(const struct fc_finish *finish, int64_t c)
{
    const struct fc_block *block = &finish->block;
    const real *x = (const real *)block->x + c * block->x_channel;
    real *y = (real *)block->y + c * block->y_channel;
    const vreal bias = finish->bias ? vset1(((const real *)finish->bias)[c]) : vzero();
    int64_t p = 0;
    if (!finish->bias && finish->activation == FC_LINEAR)
        for (; p + LANES <= block->pixels; p += LANES)
            vstore(y + p, vload(x + p));
    else if (finish->bias)
        for (; p + LANES <= block->pixels; p += LANES)
            vstore(y + p, activate(vadd(vload(x + p), bias), finish->activation));
    for (; p < block->pixels; p += LANES) {
        const int left = (int)(block->pixels - p), lanes = left < LANES ? left : LANES;
        vreal a = vload_first(x + p, lanes);
        if (finish->bias)
            a = vadd(a, bias);
        vstore_first(y + p, activate(a, finish->activation), lanes);
    }
}

/* To pixels: finished in place, and then interleaved. */
static void finish_planes(const struct fc_finish *finish)
{
    struct fc_finish planes = *finish;
    const struct fc_block *block = &finish->block;
    const bool turned = block->y_pixel != 1 || block->channels == 1;
    if (turned) {
        planes.block.y = (void *)block->x;
        planes.block.y_channel = block->x_channel;
    }
    if (!turned || finish->bias || finish->activation != FC_LINEAR)
        for (int64_t c = 0; c < block->channels; c++)
            finish_plane(&planes, c);
    if (turned)
        transpose_block(block->x, block->x_channel, block->y, block->y_pixel, block->channels,
                        block->pixels, false);
}

/* y[2 * i] = a[i], zeros between, of as many elements as are left of a row. */
FC_INLINE void store_wide(real *y, vreal a, int64_t left)
{
    const vreal low = vzip_low(a, vzero()), high = vzip_high(a, vzero());
    if (left >= 2 * LANES) {
        vstore(y, low);
        vstore(y + LANES, high);
        return;
    }
    vstore_first(y, low, left < LANES ? (int)left : LANES);
    if (left > LANES)
        vstore_first(y + LANES, high, (int)(left - LANES));
}

static void widen_rows(const struct fc_wide_rows *wide)
{
    const int64_t columns = wide->columns, width = wide->width;
    const real *x = wide->x;
    real *y = wide->y;
    for (int64_t r = 0; r < wide->rows; r++, y += wide->y_row) {
        const bool zero = r % wide->step != 0;
        for (int64_t c = 0; c < columns; c += LANES) {
            const int lanes = (int)(columns - c < LANES ? columns - c : LANES);
            store_wide(y + 2 * c, zero ? vzero() : vload_first(x + c, lanes), width - 2 * c);
        }
        if (!zero)
            x += wide->x_row;
    }
}
