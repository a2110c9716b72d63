/* dkernel_tile.inc.h: a tile of a kernel gradient in registers, summed over the pixels of a block.
 *
 *   dkernel[l][k] += sum over pixels p of x[l](p) * dy[k](p)
 *
 * dkernel_tile broadcasts TILE_PIXELS elements of x that lie together (channels, or channels of
 * neighbouring taps) against TILE_VECTORS vectors of dy. With 14 x 2 in AVX-512 a pixel takes 2 + 14
 * loads and 28 multiply-adds, the same balance as conv_tile. lane_dkernel_tile (depthwise, narrow
 * groups) takes a vector of x a tap instead: 1 + 14 loads for 14 multiply-adds, load-bound. */
FC_INLINE void dkernel_sums(const struct fc_dkernel_tile *tile, const bool lanes,
                            const int elements, const int vectors)
{
    vreal sum[TILE_PIXELS][TILE_VECTORS];
    FC_UNROLL (e, elements)
        FC_UNROLL (v, vectors)
            sum[e][v] = vzero();

    for (int64_t row = 0; row < tile->rows; row++) {
        if (!lanes)
            fetch_lines(tile->ahead, row);
        const real *x = (const real *)tile->x + row * tile->x_row;
        const real *dy = (const real *)tile->dy + row * tile->dy_row;
        for (int64_t p = 0; p < tile->width; p++, x += tile->x_step, dy += tile->dy_step) {
            vreal d[TILE_VECTORS];
            FC_UNROLL (v, vectors)
                d[v] = vload(dy + v * LANES);
            FC_UNROLL (e, elements)
                FC_UNROLL (v, vectors) {
                    const vreal a = lanes ? vload(x + tile->offset[e] + v * LANES) : vset1(x[e]);
                    sum[e][v] = vfma(a, d[v], sum[e][v]);
                }
        }
    }
    FC_UNROLL (e, elements)
        FC_UNROLL (v, vectors) {
            real *dkernel = (real *)tile->dkernel + e * tile->dkernel_step + v * LANES;
            vstore(dkernel, tile->first ? sum[e][v] : vadd(vload(dkernel), sum[e][v]));
        }
}

#define FC_DKERNEL_CASE_OF(lanes, elements)                    \
    case elements:                                             \
        if (TILE_UNITS > 1 && tile->units == 1)                \
            dkernel_sums(tile, lanes, elements, UNIT_VECTORS); \
        else                                                   \
            dkernel_sums(tile, lanes, elements, TILE_VECTORS); \
        return;
#define FC_DKERNEL_CASE(elements) FC_DKERNEL_CASE_OF(false, elements)
#define FC_LANE_DKERNEL_CASE(elements) FC_DKERNEL_CASE_OF(true, elements)

static void dkernel_tile(const struct fc_dkernel_tile *tile)
{
    switch (tile->elements) {
        TILE_CASES(FC_DKERNEL_CASE)
    }
}

static void lane_dkernel_tile(const struct fc_dkernel_tile *tile)
{
    switch (tile->elements) {
        TILE_CASES(FC_LANE_DKERNEL_CASE)
    }
}
