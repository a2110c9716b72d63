/* gather_lanes.inc.h: lanes from wherever they lie, pixel by pixel of a row or channel by channel of planes. */

/* Lanes from planes: a transposition whose rows come from anywhere. */
static void gather_planes(const struct fc_gather *gather, int64_t first, int lanes)
{
    const ptrdiff_t *offset = gather->offset + first;
    for (int64_t p = 0; p < gather->pixels; p += LANES) {
        const int pixels = (int)(gather->pixels - p < LANES ? gather->pixels - p : LANES);
        const real *x = (const real *)gather->x + p;
        real *y = (real *)gather->y + p * gather->y_pixel + first;
        const bool whole = pixels == LANES && lanes == LANES;
        vreal a[LANES];
        FC_UNROLL (i, LANES)
            a[i] = whole       ? vload(x + offset[i])
                   : i < lanes ? vload_first(x + offset[i], pixels)
                               : vzero();
        transpose(a);
        FC_UNROLL (j, LANES)
            if (whole)
                vstore(y + j * gather->y_pixel, a[j]);
            else if (j < pixels)
                vstore_first(y + j * gather->y_pixel, a[j], lanes);
    }
}

/* Lanes from so few channels that one vector holds them: a permutation a pixel. */
static void gather_permuted(const struct fc_gather *gather, int64_t first, int lanes, int span)
{
    const ptrdiff_t *offset = gather->offset + first;
    integer number[LANES] = {0};
    for (int i = 0; i < lanes; i++)
        number[i] = (integer)(offset[i] - offset[0]);
    const vint order = viload(number);
    const real *x = (const real *)gather->x + offset[0];
    real *y = (real *)gather->y + first;
    for (int64_t p = 0; p < gather->pixels; p++) {
        const vreal lane = vpermute(vload_first(x + p * gather->x_pixel, span), order);
        if (lanes == LANES)
            vstore(y + p * gather->y_pixel, lane);
        else
            vstore_first(y + p * gather->y_pixel, lane, lanes);
    }
}

/* How many elements hold what all lanes read, from that of the first on, or 0 where one lies before it. The last alone
 * does not tell: lanes may read zeros from elsewhere, the last like the first and others not. */
static ptrdiff_t gather_span(const ptrdiff_t *offset, int lanes)
{
    ptrdiff_t span = 1;
    for (int i = 1; i < lanes; i++) {
        const ptrdiff_t distance = offset[i] - offset[0];
        if (distance < 0)
            return 0;
        span = distance < span ? span : distance + 1;
    }
    return span;
}

/* The lanes of narrow groups: of 4 channels, 4 of 16 lanes read the same one. Element by element it
 * takes a cycle each, more than the multiply-adds that follow. */
static void gather_lanes(const struct fc_gather *gather)
{
    for (int64_t first = 0; first < gather->lanes; first += LANES) {
        const int lanes = (int)(gather->lanes - first < LANES ? gather->lanes - first : LANES);
        const ptrdiff_t *offset = gather->offset + first;
        const bool planes = gather->x_pixel == 1 && gather->pixels > 1;
        const ptrdiff_t span = planes ? 0 : gather_span(offset, lanes);
        if (planes) {
            gather_planes(gather, first, lanes);
        } else if (span >= 1 && span <= LANES) {
            gather_permuted(gather, first, lanes, (int)span);
        } else {
            for (int64_t p = 0; p < gather->pixels; p++) {
                const real *x = (const real *)gather->x + p * gather->x_pixel;
                real *y = (real *)gather->y + p * gather->y_pixel + first;
                for (int i = 0; i < lanes; i++)
                    y[i] = x[offset[i]];
            }
        }
    }
}
