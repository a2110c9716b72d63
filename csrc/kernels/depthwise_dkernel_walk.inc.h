/* depthwise_dkernel_walk.inc.h: the kernel gradient under 3 x 3 taps that slide by one or two, channels in the lanes.
 *
 * One line of channels after the other, its nine sums in registers through all rows of a block: 9 multiply-adds an
 * output, 4.5 cycles where two ports do them, for 1 load of dy and 3 of x, since windows keep the columns that they
 * share. What a row of x has for the next rows of outputs waits in a ring of three: each pixel is found once where it
 * lies, and near after that. On Zen 5 an output takes 5.7 cycles, 6.7 from the second-level cache; with strides of 2,
 * where 5 lines come from there, 11 to 15.
 *
 * Before, a tile of seven outputs loaded its pixels for each of three rows of taps, 43 lines for 63 multiply-adds, 16.7
 * cycles an output whatever it did: pixels 2 KB apart share two sets of the first-level cache, and nothing is found
 * there again. 8 images of 14x14x512 took 0.20 ms and take 0.15, in float64 0.57 and 0.35.
 *
 * Half lines are walked side by side, so that each line comes near once, and with 16 registers windows are read from
 * the ring again; strides of 2 lost by it (AVX2, 64 channels of 112x112: 1.26 ms, not 0.95). */
enum {
    DKERNEL_SIDE = 3,
    DKERNEL_LINE = (int)LANES == (int)UNIT, /* a vector is a whole line */
    DKERNEL_STRIDES = DKERNEL_LINE ? 2 : 1,
    DKERNEL_KEEPS_X = TILE_PIXELS * TILE_VECTORS >= 20 /* registers */
};

/* What is read later, where the caller knows it. To ask for what is there already took half as long again. */
FC_INLINE void dkernel_fetch(const void *p, int64_t c, ptrdiff_t next)
{
    if (next)
        __builtin_prefetch((const real *)p + c + next, 0, 2);
}

/* A row of x under a row of taps: its pixels, its place in the ring, and a window of it. */
struct dkernel_x {
    const void *const *pixel;
    real *ring;
    bool near, keep; /* its columns come from the ring, or are put there */
    vreal of[DKERNEL_SIDE];
};

/* Columns [begin, end) of a window. */
FC_INLINE void dkernel_window(struct dkernel_x *x, const int begin, const int end, int64_t c,
                              ptrdiff_t next, const bool partial, int lanes)
{
    FC_UNROLL (b, DKERNEL_SIDE)
        if (b >= begin && b < end) {
            if (x->near) {
                x->of[b] = vload(x->ring + b * LANES);
            } else {
                x->of[b] = depthwise_x(x->pixel[b], c, partial, lanes);
                dkernel_fetch(x->pixel[b], c, next);
            }
            if (x->keep)
                vstore(x->ring + b * LANES, x->of[b]);
        }
}

/* Row i of outputs and a vector of channels. `first`: no row of x is in the ring yet. */
FC_INLINE void dkernel_walk_row(const struct fc_depthwise_dkernel *block, int64_t i, int64_t c,
                                const bool partial, int lanes, const int stride, const bool first,
                                vreal sum[DKERNEL_SIDE][DKERNEL_SIDE])
{
    enum { K = DKERNEL_SIDE };
    const int shared = K - stride; /* rows, and columns, of windows that follow each other */
    const int64_t columns = block->columns, width = (columns - 1) * stride + K;
    const ptrdiff_t x_next = block->x_next, dy_next = block->dy_next, dy_pixel = block->dy_pixel;
    const real *dy = (const real *)block->dy + i * block->dy_row;
    real *ring = (real *)block->ring + c % UNIT * K * width;
    struct dkernel_x x[K];
    FC_UNROLL (a, K) {
        x[a].pixel = block->pixel[i * stride + a];
        x[a].ring = ring + (i * stride + a) % K * width * LANES;
        x[a].near = !first && a < shared;
        x[a].keep = DKERNEL_KEEPS_X ? a >= (first ? stride : K - 1) : !x[a].near;
        dkernel_window(&x[a], 0, shared, c, x_next, partial, lanes);
    }
    for (int64_t j = 0; j < columns; j++) {
        const vreal d = depthwise_x(dy, c, partial, lanes);
        dkernel_fetch(dy, c, dy_next);
        dy += dy_pixel;
        FC_UNROLL (a, K) {
            dkernel_window(&x[a], shared, K, c, x_next, partial, lanes);
            FC_UNROLL (b, K)
                sum[a][b] =
                    vfma(DKERNEL_KEEPS_X || b >= shared ? x[a].of[b] : vload(x[a].ring + b * LANES),
                         d, sum[a][b]);
            FC_UNROLL (b, shared)
                x[a].of[b] = x[a].of[b + stride];
            x[a].pixel += stride;
            x[a].ring += stride * LANES;
        }
    }
}

FC_INLINE void dkernel_load_sums(const real *sums, vreal sum[DKERNEL_SIDE][DKERNEL_SIDE])
{
    FC_UNROLL (t, DKERNEL_SIDE * DKERNEL_SIDE)
        sum[t / DKERNEL_SIDE][t % DKERNEL_SIDE] = vload(sums + t * UNIT);
}

FC_INLINE void dkernel_store_sums(real *sums, vreal sum[DKERNEL_SIDE][DKERNEL_SIDE])
{
    FC_UNROLL (t, DKERNEL_SIDE * DKERNEL_SIDE)
        vstore(sums + t * UNIT, sum[t / DKERNEL_SIDE][t % DKERNEL_SIDE]);
}

/* A unit of channels, a line: all its vectors while they are near, their sums in registers if it is one. */
FC_INLINE void dkernel_walk_unit(const struct fc_depthwise_dkernel *block, int64_t unit,
                                 const int stride)
{
    real *sums = (real *)block->sums + unit * DKERNEL_SIDE * DKERNEL_SIDE;
    vreal sum[DKERNEL_SIDE][DKERNEL_SIDE];
    dkernel_load_sums(sums, sum);
    for (int64_t i = 0; i < block->rows; i++)
        for (int64_t c = unit; c < unit + UNIT && c < block->end; c += LANES) {
            if (!DKERNEL_LINE)
                dkernel_load_sums(sums + c - unit, sum);
            if (block->end - c < LANES)
                dkernel_walk_row(block, i, c, true, (int)(block->end - c), stride, true, sum);
            else if (i == 0)
                dkernel_walk_row(block, i, c, false, LANES, stride, true, sum);
            else
                dkernel_walk_row(block, i, c, false, LANES, stride, false, sum);
            if (!DKERNEL_LINE)
                dkernel_store_sums(sums + c - unit, sum);
        }
    if (DKERNEL_LINE)
        dkernel_store_sums(sums, sum);
}

static void depthwise_dkernel_walk(const struct fc_depthwise_dkernel *block)
{
    for (int64_t unit = block->begin; unit < block->end; unit += UNIT)
        if (DKERNEL_STRIDES == 1 || block->row_step == 1)
            dkernel_walk_unit(block, unit, 1);
        else
            dkernel_walk_unit(block, unit, 2);
}
