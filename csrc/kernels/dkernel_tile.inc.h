/* dkernel_tile.inc.h: a tile of a kernel gradient in registers, summed over the pixels of a block.
 *
 *   dkernel[l][k] += sum over pixels p of x[l](p) * dy[k](p)
 *
 * dkernel_tile broadcasts TILE_PIXELS elements of x that lie together (channels, or channels of
 * neighbouring taps) against TILE_VECTORS vectors of dy. With 14 x 2 in AVX-512 a pixel takes 2 + 14
 * loads and 28 multiply-adds, the same balance as conv_tile. Three more loads and stores leave a copy
 * of what a pixel has read: where x and dy are pixels of 2 KB that is a tenth of the time less than
 * packing them first. They are a loop of their own, since AVX2's tile leaves no register for them: in
 * one loop half of its sums went to the stack and back with every pixel, and it ran at 75 % of the
 * peak in float32, 60 in float64, where it now reaches 95.
 * A vector of dy stays in its register: few elements read it again from memory otherwise, and where dy is not
 * aligned each read touches two lines, 9.6 cycles for 6 multiply-adds instead of 5.8.
 * plane_dkernel_tile takes each element from a plane of its own. rows_dkernel_tile takes all three rows of a
 * kernel at once: 3 taps of one channel make 6 chains of 32 outputs, which wait for each other's latency, and dy
 * is read three times, 15 cycles a pixel; 9 elements make 18 in 12, of 16 outputs in 7 instead of 14, and 27 in
 * 18 instead of 22. lane_dkernel_tile (depthwise, narrow groups) takes a vector of x a tap instead: 1 + 14 loads
 * for 14 multiply-adds, load-bound. */
enum dkernel_form { CHANNELS, PLANES, LANE, ROWS };

enum { PLANE_GROUPS = (TILE_PIXELS + 3) / 4 > FC_TILE_ROWS ? (TILE_PIXELS + 3) / 4 : FC_TILE_ROWS };

/* Where the elements of a pixel are: at x, or four by four in planes, or in three rows. Left to itself the
 * compiler computes an address for each pair of planes, on the ports of the multiply-adds: 5 to 10 % of the
 * time. */
struct elements {
    const real *x, *plane[PLANE_GROUPS];
    ptrdiff_t step, three;
};

FC_INLINE struct elements elements_at(const real *x, ptrdiff_t step, const enum dkernel_form form)
{
    struct elements at = {.x = x, .step = step, .three = 3 * step};
    if (form == ROWS)
        FC_UNROLL (g, FC_TILE_ROWS)
            at.plane[g] = x + g * step;
    if (form != PLANES)
        return at;
    FC_UNROLL (g, (TILE_PIXELS + 3) / 4) {
        at.plane[g] = x + 4 * g * step;
        __asm__("" : "+r"(at.plane[g]));
    }
    __asm__("" : "+r"(at.three));
    return at;
}

FC_INLINE void next_pixel(struct elements *at, ptrdiff_t step, const enum dkernel_form form)
{
    at->x += step;
    const int groups = form == PLANES ? (TILE_PIXELS + 3) / 4 : form == ROWS ? FC_TILE_ROWS : 0;
    FC_UNROLL (g, groups)
        at->plane[g] += step;
}

FC_INLINE vreal plane_element(const struct elements *at, const int e)
{
    return vset1(at->plane[e / 4][e % 4 == 3 ? at->three : e % 4 * at->step]);
}

FC_INLINE void add_pixel(const struct fc_dkernel_tile *tile, const struct elements *at,
                         const real *dy, const enum dkernel_form form, const int elements,
                         const int vectors, vreal sum[SUM_PIXELS][TILE_VECTORS])
{
    const int each = form == ROWS ? elements / FC_TILE_ROWS : 1;
    vreal d[TILE_VECTORS];
    FC_UNROLL (v, vectors) {
        d[v] = vload(dy + v * LANES);
        __asm__("" : "+" VREGISTER(d[v])); /* not read again for each element */
    }
    FC_UNROLL (e, elements)
        FC_UNROLL (v, vectors) {
            const vreal a = form == LANE     ? vload(at->x + tile->offset[e] + v * LANES)
                            : form == PLANES ? plane_element(at, e)
                            : form == ROWS   ? vset1(at->plane[e / each][e % each])
                                             : vset1(at->x[e]);
            sum[e][v] = vfma(a, d[v], sum[e][v]);
        }
}

/* What a pixel's multiply-adds have read, left for the tiles that read it again: in whole vectors that
 * overlap. Masked stores of a last vector cost AVX2 2 to 7 % of a kernel gradient of one tap. */
FC_INLINE void copy_pixel(const real *x, const real *dy, const int elements, const int vectors,
                          real **x_copy, real **dy_copy)
{
    if (*x_copy) {
        FC_UNROLL (v, elements / LANES)
            vstore(*x_copy + v * LANES, vload(x + v * LANES));
        if (elements > LANES && elements % LANES)
            vstore(*x_copy + elements - LANES, vload(x + elements - LANES));
        if (elements < LANES)
            memcpy(*x_copy, x, (size_t)elements * sizeof(real));
        *x_copy += elements;
    }
    if (*dy_copy) {
        FC_UNROLL (v, vectors)
            vstore(*dy_copy + v * LANES, vload(dy + v * LANES));
        *dy_copy += vectors * LANES;
    }
}

/* A line of each of some rows is asked for while the sums are made. */
FC_INLINE void fetch_rows(const void *at, ptrdiff_t step, const int elements, const int vectors)
{
    FC_UNROLL (e, elements)
        __builtin_prefetch((const real *)at + e * step);
    if (vectors * LANES * (int)sizeof(real) > FC_UNIT_BYTES)
        FC_UNROLL (e, elements)
            __builtin_prefetch((const char *)at + FC_UNIT_BYTES + e * step * (int)sizeof(real));
}

/* Zero times each: a NaN in a lane that has held something not finite. */
static void find_non_finite(const struct fc_dkernel_tile *tile, int elements, int vectors)
{
    vreal zeros = vzero();
    for (int e = 0; e < elements; e++)
        for (int v = 0; v < vectors; v++)
            zeros = vfma(vload((const real *)tile->dkernel + e * tile->dkernel_step + v * LANES),
                         vzero(), zeros);
    real lane[LANES];
    vstore(lane, zeros);
    for (int i = 0; i < LANES; i++)
        if (lane[i] != 0)
            *tile->finite = false;
}

/* The sum over the tile's pixels, two at a turn. */
FC_INLINE void add_pixels(const struct fc_dkernel_tile *tile, const enum dkernel_form form,
                          const bool copies, const int elements, const int vectors,
                          vreal sum[SUM_PIXELS][TILE_VECTORS])
{
    enum { PIXELS = 2 };
    const ptrdiff_t x_step = tile->x_step, dy_step = tile->dy_step, ahead_step = tile->ahead_step;
    const bool more = form == ROWS && tile->ahead_more;
    real *x_copy = tile->x_copy, *dy_copy = tile->dy_copy;
    for (int64_t all = 0; all < tile->images * tile->rows; all++) {
        const int64_t image = tile->images > 1 ? all / tile->rows : 0;
        const int64_t row = all - image * tile->rows;
        const char *ahead = tile->ahead + all * tile->ahead_row;
        struct elements at =
            elements_at((const real *)tile->x + image * tile->x_image + row * tile->x_row,
                        tile->x_element, form);
        const real *dy = (const real *)tile->dy + image * tile->dy_image + row * tile->dy_row;
        int64_t p = tile->width;
        for (; p >= PIXELS; p -= PIXELS) {
            if (form == CHANNELS || form == ROWS)
                __builtin_prefetch(ahead, 0, 2);
            ahead += ahead_step;
            if (more)
                FC_UNROLL (i, FC_ROWS_AHEAD - 1) {
                    __builtin_prefetch(ahead, 0, 2);
                    ahead += ahead_step;
                }
            FC_UNROLL (i, PIXELS) {
                add_pixel(tile, &at, dy, form, elements, vectors, sum);
                if (copies)
                    copy_pixel(at.x, dy, elements, vectors, &x_copy, &dy_copy);
                next_pixel(&at, x_step, form);
                dy += dy_step;
            }
        }
        if (p > 0) {
            add_pixel(tile, &at, dy, form, elements, vectors, sum);
            if (copies)
                copy_pixel(at.x, dy, elements, vectors, &x_copy, &dy_copy);
        }
    }
}

FC_INLINE void dkernel_sums(const struct fc_dkernel_tile *tile, const enum dkernel_form form,
                            const int elements, const int vectors)
{
    const bool lanes = form == LANE;
    vreal sum[SUM_PIXELS][TILE_VECTORS];
    FC_UNROLL (e, elements)
        FC_UNROLL (v, vectors)
            sum[e][v] = vzero();
    if (!lanes && tile->partial)
        fetch_rows(tile->partial, tile->partial_step, elements, vectors);
    if (!lanes && tile->partial != tile->dkernel)
        fetch_rows(tile->dkernel, tile->dkernel_step, elements, vectors);
    if (form == CHANNELS && (tile->x_copy || tile->dy_copy))
        add_pixels(tile, form, true, elements, vectors, sum);
    else
        add_pixels(tile, form, false, elements, vectors, sum);
    real *to = tile->dkernel;
    const ptrdiff_t to_step = tile->dkernel_step;
    if (tile->partial) {
        const real *from = tile->partial;
        const ptrdiff_t from_step = tile->partial_step;
        FC_UNROLL (e, elements) {
            FC_UNROLL (v, vectors)
                sum[e][v] = vadd(vload(from + v * LANES), sum[e][v]);
            from += from_step;
        }
    }
    FC_UNROLL (e, elements) {
        FC_UNROLL (v, vectors)
            vstore(to + v * LANES, sum[e][v]);
        to += to_step;
    }
    if (tile->finite)
        find_non_finite(tile, elements, vectors);
}

#define FC_DKERNEL_CASE_OF(form, elements)                    \
    case elements:                                            \
        if (TILE_UNITS > 1 && tile->units == 1)               \
            dkernel_sums(tile, form, elements, UNIT_VECTORS); \
        else                                                  \
            dkernel_sums(tile, form, elements, TILE_VECTORS); \
        return;
#define FC_DKERNEL_CASE(elements) FC_DKERNEL_CASE_OF(CHANNELS, elements)
#define FC_PLANE_DKERNEL_CASE(elements) FC_DKERNEL_CASE_OF(PLANES, elements)
#define FC_LANE_DKERNEL_CASE(elements) FC_DKERNEL_CASE_OF(LANE, elements)

FC_SPILL_TO_STACK static void dkernel_tile(const struct fc_dkernel_tile *tile)
{
    switch (tile->elements) {
        TILE_CASES(FC_DKERNEL_CASE)
    }
}

FC_SPILL_TO_STACK static void plane_dkernel_tile(const struct fc_dkernel_tile *tile)
{
    switch (tile->elements) {
        TILE_CASES(FC_PLANE_DKERNEL_CASE)
    }
}

FC_SPILL_TO_STACK static void rows_dkernel_tile(const struct fc_dkernel_tile *tile)
{
    if (TILE_UNITS < 2)
        return;
    if (tile->elements == 9 && tile->units > 1)
        dkernel_sums(tile, ROWS, 9, TILE_VECTORS);
    else if (tile->elements == 9)
        dkernel_sums(tile, ROWS, 9, UNIT_VECTORS);
    else if (tile->elements == 18)
        dkernel_sums(tile, ROWS, 18, UNIT_VECTORS);
    else
        dkernel_sums(tile, ROWS, 27, UNIT_VECTORS);
}

FC_SPILL_TO_STACK static void lane_dkernel_tile(const struct fc_dkernel_tile *tile)
{
    switch (tile->elements) {
        TILE_CASES(FC_LANE_DKERNEL_CASE)
    }
}
