/* turned.inc.h: one tap, few outputs, from pixels whose channels lie together.
 *
 * A square of LANES channels of LANES pixels is turned as it is read (transpose.inc.h) and meets the weights from
 * registers, so that nothing but x itself passes through the caches. For two outputs in AVX-512 it is 64 loads of 16
 * bytes, 32 shuffles, and 32 loads of a weight beside as many multiply-adds: on Zen 4 97 cycles for 1 KB of x, for
 * four outputs 120, where memory takes 170. One output is computed twice, and the last of three, so that there are
 * two bodies: with four of them one took 78 cycles, three 108, and the code twice the room. */

/* The outputs of a body. */
struct turned_outputs {
    const real *weights[FC_TURNED_OUTPUTS];
    vreal sum[FC_TURNED_OUTPUTS];
};

FC_INLINE void add_square(const struct fc_turned_tile *tile, const real *x, int64_t at,
                          const int outputs, struct turned_outputs *to)
{
    const struct turned turned = turned_at(x, tile->x_pixel);
    vreal a[LANES];
    load_square(&turned, tile->ahead, a);
    FC_UNROLL (t, LANES) {
        FC_UNROLL (k, outputs)
            to->sum[k] = vfma(vset1(to->weights[k][at]), a[t], to->sum[k]);
        at += tile->weight_term;
    }
}

/* Fewer pixels, or fewer terms. */
FC_INLINE void add_rest(const struct fc_turned_tile *tile, const real *x, int64_t at, int pixels,
                        int terms, const int outputs, struct turned_outputs *to)
{
    real square[LANES * LANES];
    transpose_ragged(x, tile->x_pixel, square, LANES, pixels, terms);
    FC_ROLLED for (int t = 0; t < terms; t++, at += tile->weight_term) FC_UNROLL (k, outputs)
        to->sum[k] = vfma(vset1(to->weights[k][at]), vload(square + t * LANES), to->sum[k]);
}

/* A chain of terms from c on, added to what y holds of those before. */
FC_INLINE void add_turned_chain(const struct fc_turned_tile *tile, const real *x, real *y,
                                int lanes, int64_t c, const int outputs, struct turned_outputs *to)
{
    const int64_t end = c + FC_BLOCK_TERMS < tile->terms ? c + FC_BLOCK_TERMS : tile->terms;
    const bool first = c == 0;
    FC_UNROLL (k, outputs)
        to->sum[k] = vzero();
    for (; c < end; c += LANES) {
        const int terms = (int)(end - c < LANES ? end - c : LANES);
        if (terms == LANES && lanes == LANES)
            add_square(tile, x + c, c * tile->weight_term, outputs, to);
        else
            add_rest(tile, x + c, c * tile->weight_term, lanes, terms, outputs, to);
    }
    if (!first)
        FC_UNROLL (k, outputs)
            to->sum[k] = vadd(
                to->sum[k], vload(y + (k < tile->outputs ? k : tile->outputs - 1) * tile->y_step));
    FC_UNROLL (k, outputs)
        vstore(y + (k < tile->outputs ? k : tile->outputs - 1) * tile->y_step, to->sum[k]);
}

FC_INLINE void turn_tile(const struct fc_turned_tile *tile, const int outputs)
{
    const int64_t pixels = tile->pixels, last = tile->outputs - 1;
    const int lanes = (int)(pixels < LANES ? pixels : LANES);
    struct turned_outputs to;
    FC_UNROLL (k, outputs)
        to.weights[k] = (const real *)tile->weights + (k < last ? k : last) * tile->weight_output;
    for (int64_t begin = 0; begin < pixels; begin += LANES) {
        /* The last pixels are summed with some that have been: the same sums again. */
        const int64_t p = begin + lanes <= pixels ? begin : pixels - lanes;
        const real *x = (const real *)tile->x + p * tile->x_pixel;
        for (int64_t c = 0; c < tile->terms; c += FC_BLOCK_TERMS)
            add_turned_chain(tile, x, (real *)tile->y + p, lanes, c, outputs, &to);
    }
}

static void turned_tile(const struct fc_turned_tile *tile)
{
    if (tile->outputs <= FC_TURNED_OUTPUTS / 2)
        turn_tile(tile, FC_TURNED_OUTPUTS / 2);
    else
        turn_tile(tile, FC_TURNED_OUTPUTS);
}
