/* winograd_few_row.inc.h: a row of few channels to the points, in vectors of FEW_ROW_BYTES.
 *
 * The channels of all phases are so few that short vectors hold them best: of one to four 16 bytes, 8 cycles a tile on
 * Zen 4 where whole vectors of AVX-512 take 24, of five to eight 32, which spare LeNet's second layer 4 % of its time,
 * and cost three or four channels 2 to 4 %. What a store leaves beyond the channels is covered by the next point's,
 * or row's. Included once for each width, which it undefines. */
#define FEW_ROW_PASTE(name, bytes) name##_##bytes
#define FEW_ROW_OF(name, bytes) FEW_ROW_PASTE(name, bytes)
#define FEW_ROW(name) FEW_ROW_OF(name, FEW_ROW_BYTES)

typedef real FEW_ROW(few_vector) __attribute__((vector_size(FEW_ROW_BYTES)));

/* winograd_input, in short vectors, which have no multiply-add of one rounding on every instruction set. */
FC_INLINE void FEW_ROW(few_input)(const int points, const FEW_ROW(few_vector) * x,
                                  FEW_ROW(few_vector) * y)
{
    typedef FEW_ROW(few_vector) vector;
    const int pairs = (points - 1) / 2, set = winograd_set(points), zero = 1 - points % 2;
    vector first = x[2 * pairs], last = x[2 * pairs + zero];
    FC_UNROLL (i, pairs) {
        const real c = (real)winograd_product_of_all[set][pairs - 1 - i];
        first += c * x[2 * (pairs - 1 - i)];
        last += c * x[2 * (pairs - 1 - i) + zero];
    }
    if (zero)
        y[0] = first;
    y[points - 1] = last;
    FC_UNROLL (j, pairs) {
        vector even = x[2 * (pairs - 1 + zero)], odd = x[2 * pairs - 1];
        FC_UNROLL (i, pairs - 1) {
            const real c = (real)winograd_product_but[set][j][pairs - 2 - i];
            even += c * x[2 * (pairs - 2 - i + zero)];
            odd += c * x[2 * (pairs - 2 - i) + 1];
        }
        const vector whole = zero ? even : odd;
        const vector part = (real)winograd_point[set][j] * (zero ? odd : even);
        y[zero + 2 * j] = whole + part;
        y[zero + 1 + 2 * j] = whole - part;
    }
}

FC_INLINE void FEW_ROW(few_row)(const struct fc_winograd_few_row *row, const int points)
{
    enum { NARROW = FEW_ROW_BYTES / (int)sizeof(real) };
    FEW_ROW(few_vector) from[WINOGRAD_MOST_POINTS], to[WINOGRAD_MOST_POINTS];
    real *v = row->v;
    for (int64_t t = 0; t < row->tiles; t++, v += row->v_tile) {
        const real *x =
            (const real *)row->x + (t < row->tiles - 1 ? t * row->outputs * row->step : row->last);
        for (int64_t l = 0; l < row->run; l += NARROW) {
            FC_UNROLL (i, points)
                memcpy(&from[i], x + i * row->step + l, sizeof from[i]);
            FEW_ROW(few_input)(points, from, to);
            FC_UNROLL (i, points)
                memcpy(v + i * row->v_point + l, &to[i], sizeof to[i]);
        }
    }
}

#undef FEW_ROW
#undef FEW_ROW_OF
#undef FEW_ROW_PASTE
#undef FEW_ROW_BYTES
