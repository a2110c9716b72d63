/* pool2d_fold.inc.h: windows that are whole planes: one number of each.
 *
 * A plane is 16 chains, of every sixteenth pixel, whose results are folded in halves: so a plane is read in
 * vectors where it lies, and LANES planes fold together, two interleavings and an operation a pair of vectors.
 * 1024 planes of 7 x 7, eight times, take 0.041 ms, where transposing them took 0.058. Channels that lie
 * together are lanes, and walk the chains one by one: all 16 at once, kept in memory, took 0.034 ms where this
 * takes 0.027. Pixels are far apart, so that of each 256 bytes are read before the next: 128, which are four
 * vectors in AVX2, took 1.7 times as long. Chains of a sum begin anew every FC_POOL2D_FOLDED pixels. */
enum {
    CHAINS = FC_POOL2D_CHAINS,
    CHAIN_VECTORS = CHAINS / LANES,
    CHAIN_CHANNELS = FC_POOL2D_CHAIN_BYTES / (int)sizeof(real),
    CHAIN_BLOCK = LANES < 16 ? 8 : 4 /* vectors of channels that walk together: registers hold 8 */
};

/* Two numbers of which the first is kept where they are equal; a NaN is. */
FC_INLINE vreal fold_two(vreal a, vreal b, fc_pooling pooling)
{
    if (pooling == FC_AVG)
        return vadd(a, b);
    const vmask numbers = visnumber_too(visnumber(a), b);
    return vselect(numbers, pooling == FC_MAX ? vgreater_of(b, a) : vlesser_of(b, a), vset1(NAN));
}

/* The chains of a plane in a vector. Of a maximum the last 16 pixels may be seen twice. */
FC_INLINE vreal fold_plane(const real *x, int64_t elements, fc_pooling pooling)
{
    struct pool_state chain[CHAIN_VECTORS];
    FC_UNROLL (v, CHAIN_VECTORS)
        chain[v] = pool_begins(pooling);
    for (int64_t done = 0; done < elements; done += FC_POOL2D_FOLDED) {
        const int64_t left = elements - done;
        const int64_t count = left < FC_POOL2D_FOLDED ? left : FC_POOL2D_FOLDED;
        const int64_t whole = count - count % CHAINS, rest = count - whole;
        const real *at = x + done, *last = at + whole;
        pool_row_begins(chain, CHAIN_VECTORS, pooling);
        for (; at < last; at += CHAINS)
            FC_UNROLL (v, CHAIN_VECTORS)
                pool_tap(&chain[v], vload(at + v * LANES), viset1(0), pooling, false);
        if (rest)
            FC_UNROLL (v, CHAIN_VECTORS) {
                const int64_t beyond = rest - v * LANES;
                const int lanes = (int)(beyond < 0 ? 0 : beyond < LANES ? beyond : LANES);
                pool_tap(&chain[v],
                         pooling == FC_AVG ? vload_first(at + v * LANES, lanes)
                                           : vload(x + elements - CHAINS + v * LANES),
                         viset1(0), pooling, false);
            }
        pool_row_ends(chain, CHAIN_VECTORS, pooling);
    }
    vreal part[CHAIN_VECTORS];
    FC_UNROLL (v, CHAIN_VECTORS)
        part[v] = pool_result(&chain[v], 1, pooling, false);
    FC_UNROLLED for (int half = CHAIN_VECTORS / 2; half > 0; half /= 2) FC_UNROLL (v, half)
        part[v] = fold_two(part[v], part[v + half], pooling);
    return part[0];
}

/* Which of two zeros a maximum is, is told by the first of them. */
FC_INLINE real first_zero(const real *x)
{
    while (*x != 0)
        x++;
    return *x;
}

/* Parts of LANES planes to one number of each, side by side. */
FC_INLINE vreal fold_parts(vreal *part, fc_pooling pooling)
{
    FC_UNROLLED for (int half = LANES / 2; half > 0; half /= 2) FC_UNROLL (i, half) part[i] =
        fold_two(vzip_low(part[i], part[i + half]), vzip_high(part[i], part[i + half]), pooling);
    return part[0];
}

/* The numbers of up to LANES planes. */
FC_INLINE vreal fold_some(const real *x, ptrdiff_t x_plane, int planes, int64_t elements,
                          fc_pooling pooling)
{
    vreal part[LANES];
    for (int i = 0; i < LANES; i++)
        part[i] = i < planes ? fold_plane(x + i * x_plane, elements, pooling) : vzero();
    return fold_parts(part, pooling);
}

/* Where in a plane a value lies first, chain by chain: pixels as numbers, or infinity. dx, if there is one, is
 * cleared meanwhile. The last 16 pixels may be seen twice. */
FC_INLINE vreal find_value(const real *x, real *dx, int64_t elements, vreal value,
                           fc_pooling pooling)
{
    const vreal none = vset1(INFINITY);
    real pixel[CHAINS];
    vreal chain[CHAIN_VECTORS], first[CHAIN_VECTORS];
    for (int k = 0; k < CHAINS; k++)
        pixel[k] = (real)k;
    FC_UNROLL (v, CHAIN_VECTORS) {
        chain[v] = vload(pixel + v * LANES);
        first[v] = none;
    }
    for (int64_t i = 0; i < elements; i += CHAINS) {
        const int64_t from = i + CHAINS <= elements ? i : elements - CHAINS;
        const vreal at = vset1((real)from);
        FC_UNROLL (v, CHAIN_VECTORS) {
            const vreal one = vload(x + from + v * LANES);
            const vmask beaten = pooling == FC_MAX ? vgreater(value, one) : vgreater(one, value);
            first[v] = vlesser_of(vselect(beaten, none, vadd(chain[v], at)), first[v]);
            if (dx)
                vstore(dx + from + v * LANES, vzero());
        }
    }
    FC_UNROLLED for (int half = CHAIN_VECTORS / 2; half > 0; half /= 2) FC_UNROLL (v, half)
        first[v] = vlesser_of(first[v], first[v + half]);
    return first[0];
}

/* Nothing compares with a maximum that is NaN: its first pixel is looked for alone. */
FC_INLINE int64_t first_nan(const real *x)
{
    int64_t i = 0;
    while (x[i] == x[i])
        i++;
    return i;
}

/* Where the numbers of up to LANES planes lie first; dx, if there is one, is cleared meanwhile. */
FC_INLINE void find_some(const real *x, ptrdiff_t x_plane, real *dx, ptrdiff_t dx_plane, int planes,
                         int64_t elements, fc_pooling pooling, int64_t *at)
{
    real value[LANES], pixel[LANES];
    vreal part[LANES];
    vstore(value, fold_some(x, x_plane, planes, elements, pooling));
    for (int i = 0; i < LANES; i++)
        part[i] = i < planes ? find_value(x + i * x_plane, dx ? dx + i * dx_plane : NULL, elements,
                                          vset1(value[i]), pooling)
                             : vzero();
    vstore(pixel, fold_parts(part, FC_MIN));
    for (int i = 0; i < planes; i++)
        at[i] = value[i] == value[i] ? (int64_t)pixel[i] : first_nan(x + i * x_plane);
}

/* One body each, which both ways share. */
static __attribute__((noinline)) void find_max(const real *x, ptrdiff_t x_plane, real *dx,
                                               ptrdiff_t dx_plane, int planes, int64_t elements,
                                               int64_t *at)
{
    find_some(x, x_plane, dx, dx_plane, planes, elements, FC_MAX, at);
}

static __attribute__((noinline)) void find_min(const real *x, ptrdiff_t x_plane, real *dx,
                                               ptrdiff_t dx_plane, int planes, int64_t elements,
                                               int64_t *at)
{
    find_some(x, x_plane, dx, dx_plane, planes, elements, FC_MIN, at);
}

/* Planes that stay in the first-level cache are searched LANES at a time, larger ones each alone. */
FC_INLINE int64_t searched_planes(int64_t elements)
{
    return elements <= FC_POOL2D_FOLDED ? LANES : 1;
}

/* The numbers of planes, and where they lie. */
FC_INLINE void find_planes(const struct fc_pool2d_fold *fold, fc_pooling pooling)
{
    const int64_t most = searched_planes(fold->elements);
    for (int64_t p = 0; p < fold->planes; p += most) {
        const real *x = (const real *)fold->x + p * fold->x_plane;
        const int planes = (int)(fold->planes - p < most ? fold->planes - p : most);
        int64_t at[LANES];
        (pooling == FC_MAX ? find_max : find_min)(x, fold->x_plane, NULL, 0, planes, fold->elements,
                                                  at);
        for (int i = 0; i < planes; i++) {
            fold->index[(p + i) * fold->index_plane] = at[i];
            ((real *)fold->y)[(p + i) * fold->y_plane] = x[i * fold->x_plane + at[i]];
        }
    }
}

FC_INLINE void fold_planes(const struct fc_pool2d_fold *fold, fc_pooling pooling)
{
    if (pooling != FC_AVG && fold->index) {
        find_planes(fold, pooling);
        return;
    }
    for (int64_t p = 0; p < fold->planes; p += LANES) {
        const real *x = (const real *)fold->x + p * fold->x_plane;
        const int planes = (int)(fold->planes - p < LANES ? fold->planes - p : LANES);
        const vreal folded = fold_some(x, fold->x_plane, planes, fold->elements, pooling);
        real result[LANES];
        vstore(result, pooling == FC_AVG ? vdiv(folded, vset1((real)fold->divisor)) : folded);
        real *y = (real *)fold->y + p * fold->y_plane;
        for (int i = 0; i < planes; i++)
            y[i * fold->y_plane] =
                pooling != FC_AVG && result[i] == 0 ? first_zero(x + i * fold->x_plane) : result[i];
    }
}

static void fold_max(const struct fc_pool2d_fold *fold) { fold_planes(fold, FC_MAX); }
static void fold_min(const struct fc_pool2d_fold *fold) { fold_planes(fold, FC_MIN); }
static void fold_avg(const struct fc_pool2d_fold *fold) { fold_planes(fold, FC_AVG); }

/* ----------------------------------------------------------------- way back */

FC_INLINE void fold_planes_dx(const struct fc_pool2d_fold_dx *fold, fc_pooling pooling)
{
    const int64_t most = searched_planes(fold->elements);
    for (int64_t p = 0; p < fold->planes; p += most) {
        const real *x = (const real *)fold->x + p * fold->x_plane;
        const real *dy = (const real *)fold->dy + p * fold->dy_plane;
        real *dx = (real *)fold->dx + p * fold->dx_plane;
        const int planes = (int)(fold->planes - p < most ? fold->planes - p : most);
        int64_t at[LANES];
        (pooling == FC_MAX ? find_max : find_min)(x, fold->x_plane, dx, fold->dx_plane, planes,
                                                  fold->elements, at);
        for (int i = 0; i < planes; i++)
            dx[i * fold->dx_plane + at[i]] = 0 + dy[i * fold->dy_plane]; /* no -0, as in a sum */
    }
}

static void fold_max_dx(const struct fc_pool2d_fold_dx *fold) { fold_planes_dx(fold, FC_MAX); }
static void fold_min_dx(const struct fc_pool2d_fold_dx *fold) { fold_planes_dx(fold, FC_MIN); }

/* ---------------------------------------------------------- channels as lanes */

FC_INLINE void chain_block(const struct fc_pool2d_chains *chains, int64_t k, int64_t l,
                           const int vectors, const bool partial, int first)
{
    const real *x = (const real *)chains->x + l;
    real *sums = (real *)chains->sums + k * CHAIN_CHANNELS + l;
    vreal chain[CHAIN_BLOCK];
    FC_UNROLL (v, vectors)
        chain[v] = vzero();
    for (int64_t i = k; i < chains->pixels; i += CHAINS)
        FC_UNROLL (v, vectors)
            chain[v] =
                vadd(chain[v], pool_load(x + i * chains->x_pixel, v, vectors, partial, first));
    FC_UNROLL (v, vectors)
        vstore(sums + v * LANES,
               chains->begins ? chain[v] : vadd(vload(sums + v * LANES), chain[v]));
}

static void add_chains(const struct fc_pool2d_chains *chains)
{
    const int64_t channels = chains->channels, whole = channels - channels % (CHAIN_BLOCK * LANES);
    for (int64_t k = 0; k < CHAINS; k++) {
        for (int64_t l = 0; l < whole; l += CHAIN_BLOCK * LANES)
            chain_block(chains, k, l, CHAIN_BLOCK, false, 0);
        for (int64_t l = whole; l < channels; l += LANES)
            chain_block(chains, k, l, 1, true, (int)(channels - l < LANES ? channels - l : LANES));
    }
    if (!chains->y)
        return;
    for (int64_t l = 0; l < channels; l += LANES) {
        const real *sums = (const real *)chains->sums + l;
        vreal part[CHAINS];
        FC_UNROLL (k, CHAINS)
            part[k] = vload(sums + k * CHAIN_CHANNELS);
        FC_UNROLLED for (int half = CHAINS / 2; half > 0; half /= 2) FC_UNROLL (k, half) part[k] =
            vadd(part[k], part[k + half]);
        vstore((real *)chains->y + l, vdiv(part[0], vset1((real)chains->divisor)));
    }
}
