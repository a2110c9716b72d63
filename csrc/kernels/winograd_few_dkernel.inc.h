/* winograd_few_dkernel.inc.h: what Winograd's kernel gradients along rows do with dy and with the sums; these are
 * dkernel_tile's. Outputs in the lanes: 4 loads, 6 to 8 stores, a cycle or two each, for a dozen operations. */

FC_INLINE void few_dy(const struct fc_winograd_few_dy *row, const int points)
{
    real *d = row->d;
    for (int64_t p = 0; p < row->pixels; p += FC_WINOGRAD_COLUMNS, d += row->d_tile)
        for (int64_t k = 0; k < row->d_tile; k += LANES) {
            const real *dy = (const real *)row->dy + p * row->dy_pixel + k;
            const int64_t left = row->channels - k;
            vreal from[FC_WINOGRAD_COLUMNS], to[WINOGRAD_MOST_POINTS];
            FC_UNROLL (j, FC_WINOGRAD_COLUMNS)
                from[j] = p + j >= row->pixels || left <= 0 ? vzero()
                          : left >= LANES                   ? vload(dy + j * row->dy_pixel)
                                          : vload_first(dy + j * row->dy_pixel, (int)left);
            winograd_evaluate(points, FC_WINOGRAD_COLUMNS, false, from, to);
            FC_UNROLL (i, points)
                vstore(d + i * row->d_point + k, to[i]);
        }
}

static void winograd_few_dy(const struct fc_winograd_few_dy *row)
{
    FC_ALONG_ROWS(few_dy, row, row->points);
}

/* At infinity there is the last tap alone. */
FC_INLINE bool few_taps(const struct fc_winograd_few_sums *sums, const int points)
{
    const int taps = points - FC_WINOGRAD_COLUMNS + 1;
    vreal check = vzero();
    for (int64_t k = 0; k < sums->columns; k += LANES) {
        vreal from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
        FC_UNROLL (i, points)
            from[i] = vload((const real *)sums->s + i * sums->s_point + k);
        winograd_sums(points, taps, true, from, to);
        FC_UNROLL (i, taps)
            if (i < taps - sums->lacks) {
                check = vfma(vzero(), to[i], check);
                vstore((real *)sums->y + i * sums->columns + k, to[i]);
            }
    }
    const vmask bad = visnan(check);
    return !vany(bad, bad);
}

static bool winograd_few_sums(const struct fc_winograd_few_sums *sums)
{
    return FC_ALONG_ROWS(few_taps, sums, sums->taps + FC_WINOGRAD_COLUMNS - 1);
}
