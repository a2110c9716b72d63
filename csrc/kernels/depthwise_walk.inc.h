/* depthwise_walk.inc.h: depthwise convolution of planes under square windows that slide by one, with columns in the
 * lanes.
 *
 * A strip of columns is walked down. A row of x is loaded once for each column of taps, with zeros beyond its ends, and
 * goes to the sums of all rows of outputs that it is under: of 3 x 3 taps 3 loads, most of them across two cache lines,
 * for 9 multiply-adds, and weights and sums stay in registers. 14 x 14 takes 152 cycles a plane of 126 multiply-adds.
 * In AVX-512 what is left of a row and fills half a vector or less comes from two planes side by side, each half with
 * its own weights: 7 x 7 fills 14 of 16 lanes. Spreading weights takes a third of that time, and so is done once for
 * all images: 5 x 5 taps on 1152 planes of it took 0.43 ms, now 0.28. */
#define WALK_KERNEL(function) (LANES * sizeof(real) > 16 ? (function) : NULL)

enum { MOST_WALK_TAPS = 5, WALK_PAIRS = LANES * sizeof(real) == FC_UNIT_BYTES };

/* Some columns of a plane, or of two side by side, from `column` on. */
struct walk_strip {
    const real *x, *kernel, *bias, *zeros; /* zeros: what rows of taps make of them, a unit apart */
    real *y;
    const char *ahead;
    int64_t column;
    int lanes; /* of a plane */
};

FC_INLINE vreal walk_set(const real *of, const bool two)
{
    return two ? vhalves(vset1(of[0]), vset1(of[1])) : vset1(of[0]);
}

FC_INLINE void walk_put(const struct fc_depthwise_walk *walk, const struct walk_strip *strip,
                        int64_t row, vreal sum, vreal bias, const bool two)
{
    real *y = strip->y + row * walk->y_row;
    sum = vadd(sum, bias);
    if (walk->activation != FC_LINEAR)
        sum = activate(sum, walk->activation);
    if (!two && walk->stream)
        vstream(y, sum);
    else
        vstore_first(y, sum, strip->lanes);
    if (two)
        vstore_second(y + walk->y_plane, sum, strip->lanes);
}

/* Where each column of taps lies on the image. */
FC_INLINE void walk_masks(const struct fc_depthwise_walk *walk, int64_t column, vmask *on,
                          const int k)
{
    integer lanes[LANES];
    FC_UNROLL (l, LANES)
        lanes[l] = l;
    const vint lane = viload(lanes);
    FC_UNROLL (b, k) {
        const integer left = (integer)(walk->before - column - b);
        const vmask before = vigreater(viset1(left), lane);
        const vmask within = vigreater(viset1(left + (integer)walk->width), lane);
        on[b] = vmask_andnot(within, before);
    }
}

/* A strip of one image. The sum of a row of outputs moves on by one with each row of x; rows of zeros above the image,
 * and below it, are added at once, but to a last row that has no other beside it and so is a ring of pixels. */
FC_INLINE void walk_image(const struct fc_depthwise_walk *walk, const struct walk_strip *strip,
                          const vreal *w, const vmask *on, vreal bias, const bool two, const int k)
{
    const real *x = strip->x;
    const char *ahead = strip->ahead;
    const int64_t ring = k == MOST_WALK_TAPS && walk->skips && walk->rows % 2 ? walk->rows - 1 : -1;
    vreal sum[MOST_WALK_TAPS];
    sum[0] = vzero();
    FC_UNROLL (a, k - 1)
        sum[a + 1] = vadd(sum[a], walk_set(strip->zeros + a * UNIT, two));
    FC_UNROLL (a, k)
        if (walk->above - a == ring)
            sum[a] = vzero();
    int64_t row = walk->above - (k - 1);
    for (int64_t r = 0; r < walk->height; r++, row++, x += walk->x_row) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += FC_UNIT_BYTES;
        FC_UNROLL (b, k) {
            const vreal of_x =
                two ? vload_halves(on[b], x + b, x + b + walk->x_plane) : vload_where(on[b], x + b);
            FC_UNROLL (a, k)
                sum[a] = vfma(of_x, w[a * k + b], sum[a]);
        }
        if (row >= 0)
            walk_put(walk, strip, row, sum[k - 1], bias, two);
        FC_UNROLL (a, k - 1)
            sum[k - 1 - a] = sum[k - 2 - a];
        sum[0] = vzero();
    }
    for (int f = 1; row < walk->rows; f++, row++) {
        FC_ROLLED
        for (int a = k - f; a < k && row != ring; a++)
            sum[k - 1] = vadd(sum[k - 1], walk_set(strip->zeros + a * UNIT, two));
        if (row >= 0)
            walk_put(walk, strip, row, sum[k - 1], bias, two);
        FC_UNROLL (a, k - 1)
            sum[k - 1 - a] = sum[k - 2 - a];
    }
}

/* A strip of all images, for which weights are spread once. */
FC_INLINE void walk_down(const struct fc_depthwise_walk *given, const struct walk_strip *of,
                         const bool two, const int k)
{
    const struct fc_depthwise_walk walk = *given;
    struct walk_strip strip = *of;
    const vreal bias = strip.bias ? walk_set(strip.bias, two) : vset1((real)-0.0);
    vreal w[MOST_WALK_TAPS * MOST_WALK_TAPS];
    vmask on[MOST_WALK_TAPS];
    walk_masks(&walk, strip.column, on, k);
    FC_UNROLL (t, k * k)
        w[t] = walk_set(strip.kernel + t * walk.kernel_step, two);
    for (int64_t n = 0; n < walk.images; n++) {
        walk_image(&walk, &strip, w, on, bias, two, k);
        strip.x += walk.x_image;
        strip.y += walk.y_image;
        strip.ahead += walk.x_image * (ptrdiff_t)sizeof(real);
    }
}

/* A body each: copied to where they are called they were 60 KB of four tables, and not 15. */
#define WALK_DOWN(k)                                                                          \
    static __attribute__((noinline)) void walk_down_##k(const struct fc_depthwise_walk *walk, \
                                                        const struct walk_strip *strip)       \
    {                                                                                         \
        walk_down(walk, strip, false, k);                                                     \
    }                                                                                         \
    static __attribute__((noinline)) void walk_pair_##k(const struct fc_depthwise_walk *walk, \
                                                        const struct walk_strip *strip)       \
    {                                                                                         \
        walk_down(walk, strip, WALK_PAIRS, k);                                                \
    }
WALK_DOWN(3)
WALK_DOWN(5)
#undef WALK_DOWN

FC_INLINE void walk_strip(const struct fc_depthwise_walk *walk, const struct walk_strip *strip,
                          bool two)
{
    if (walk->taps == 3 && two)
        walk_pair_3(walk, strip);
    else if (walk->taps == 3)
        walk_down_3(walk, strip);
    else if (two)
        walk_pair_5(walk, strip);
    else
        walk_down_5(walk, strip);
}

/* What rows of taps make of zeros: nothing but the sign of one, where no weight is infinite. A ring of pixels, which
 * 5 x 5 taps are with 16 registers, leaves them out. */
static void walk_zeros(const struct fc_depthwise_walk *walk, real *zeros)
{
    const int64_t k = walk->taps, step = walk->kernel_step;
    const bool none = walk->skips && k == MOST_WALK_TAPS && !DEPTHWISE_MANY;
    for (int l = 0; l < UNIT; l += LANES)
        for (int64_t a = 0; a < k; a++) {
            const real *w = (const real *)walk->kernel + a * k * step + l;
            vreal sum = vmul(vzero(), vload(w));
            for (int64_t b = 1; b < k; b++)
                sum = vfma(vzero(), vload(w + b * step), sum);
            vstore(zeros + a * UNIT + l, none ? vset1((real)-0.0) : sum);
        }
}

static void walk_depthwise(const struct fc_depthwise_walk *walk)
{
    const int64_t columns = walk->columns, rest = columns % LANES;
    const bool halves = WALK_PAIRS && rest > 0 && 2 * rest <= LANES;
    const int64_t lanes = halves ? LANES / 2 : LANES;
    real zeros[MOST_WALK_TAPS * UNIT];
    walk_zeros(walk, zeros);
    for (int64_t p = walk->first; p < walk->planes; p++)
        for (int64_t c = 0; c < columns; c += LANES) {
            const bool last = c + LANES > columns, two = last && halves && p % 2 == 1;
            if (last && halves && p % 2 == 0 && p + 1 < walk->planes)
                break; /* it comes with the next plane's */
            const int64_t column = !last ? c : columns > lanes ? columns - lanes : 0, q = p - two;
            const struct walk_strip strip = {
                .x = (const real *)walk->x + q * walk->x_plane + column - walk->before,
                .y = (real *)walk->y + q * walk->y_plane + column,
                .kernel = (const real *)walk->kernel + q,
                .bias = walk->bias ? (const real *)walk->bias + q : NULL,
                .zeros = zeros + q,
                .ahead = (const char *)((const real *)walk->x + (p + 1) * walk->x_plane) +
                         c / LANES * walk->height * FC_UNIT_BYTES,
                .column = column,
                .lanes = (int)(columns - column < LANES ? columns - column : LANES),
            };
            walk_strip(walk, &strip, two);
        }
}
