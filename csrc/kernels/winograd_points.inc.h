/* winograd_points.inc.h: a Winograd transform of one line, for any number of points.
 *
 * The products of a form are taken at the points 0, if their number is even, +-p for each of
 * (points - 1) / 2 values p, and infinity:
 *     outputs = sums^T [ (factors * evaluate taps) . (input of x) ]
 * evaluate() gives the values of a polynomial at the points, sums() is its transpose, and input() is
 * the matrix of the polynomials that vanish at all points but one. At +p and -p a polynomial's even
 * part is the same and its odd part the negative, so each pair is computed at once.
 *
 * The points: with 6, 2/3 and 3/2 have 0.4 of the error of the usual 1 and 2 for F(4x4,3x3) in
 * float32, since their powers spread less, and were the best of twelve pairs tried (1/sqrt(2) and
 * sqrt(2): 5 % more); with 8, 1/2, 1 and 2 were the best of nine sets. With 7, 5/16, 7/8 and 7/4 have
 * 1.6 times the error of 6 points for 5 taps and 1.9 times for 4; with 0 and an odd point out, {0,
 * +-1/2, +-7/4, -1}, it was 3 times. With 5, 1/2 and 3/2 were the best of eighteen sets for F(4, 2), 0.9
 * times the error of F(4, 3); with 0 among them 1.3 times at least, and F(5, 2) of 6 points 1.5 times.
 *
 * A tile at the end of a row or column of 14 or 7 outputs needs 2 or 3 of the 4 that F(4, 3) makes. It
 * takes 4 or 5 of the 6 points, with the same transformed kernel: 484 products instead of 576 for a
 * map of 14 x 14, 121 instead of 144 for 7 x 7. F(4, 2) takes 3 or 4 of its 5. What a point left out, q,
 * takes from the factor of a point p, p - q, is in the constants of such a tile's inputs. Of 6 points a tile
 * takes 0 alone where its one output reads one input, by the first tap, and zeros beyond.
 *
 * A kernel in pieces of 1 or 2 taps leaves its factors to the outputs, which multiply by them first: what a
 * piece of one tap then has at each of the points is the tap. */
enum { WINOGRAD_MOST_POINTS = 8, WINOGRAD_MOST_PAIRS = 3 };

/* A body for each number of points that tiles along rows have. */
#define FC_ALONG_ROWS(body, argument, points) \
    ((points) == 6 ? body(argument, 6) : (points) == 7 ? body(argument, 7) : body(argument, 8))

/* Of 5, 6, 7 and 8 points. */
FC_INLINE int winograd_set(const int points) { return points - 5; }

static const double winograd_point[4][WINOGRAD_MOST_PAIRS] = {
    {0.5, 1.5}, {2.0 / 3, 3.0 / 2}, {5.0 / 16, 7.0 / 8, 7.0 / 4}, {0.5, 1, 2}};
static const double winograd_square[4][WINOGRAD_MOST_PAIRS] = {
    {0.25, 2.25}, {4.0 / 9, 9.0 / 4}, {25.0 / 256, 49.0 / 64, 49.0 / 16}, {0.25, 1, 4}};

/* The product of X - p^2 over all pairs, and over all but one, lowest power first. */
static const double winograd_product_of_all[4][WINOGRAD_MOST_PAIRS + 1] = {
    {0.5625, -2.5, 1},
    {1, -97.0 / 36, 1},
    {-60025.0 / 262144, 44541.0 / 16384, -1005.0 / 256, 1},
    {-1, 5.25, -5.25, 1}};
static const double winograd_product_but[4][WINOGRAD_MOST_PAIRS][WINOGRAD_MOST_PAIRS] = {
    {{-2.25, 1}, {-0.25, 1}},
    {{-9.0 / 4, 1}, {-4.0 / 9, 1}},
    {{2401.0 / 1024, -245.0 / 64, 1},
     {1225.0 / 4096, -809.0 / 256, 1},
     {1225.0 / 16384, -221.0 / 256, 1}},
    {{4, -5, 1}, {1, -4.25, 1}, {0.25, -1.25, 1}}};

/* One over the product of a point's distances from the others: of 0, and of each pair, where without 0
 * the negative point has the negative. */
static const double winograd_factor[4][1 + WINOGRAD_MOST_PAIRS] = {
    {0, -1.0 / 2, 1.0 / 6},
    {1, -81.0 / 130, 8.0 / 65},
    {0, 524288.0 / 648945, -262144.0 / 703836, 131072.0 / 3124044},
    {-1, 32.0 / 45, -2.0 / 9, 1.0 / 90}};

/* Of all of 5 x 5 points, as outputs take them. */
#define FC_FACTORS_OF_ROW(f) \
    (real)((f) / -2), (real)((f) / 2), (real)((f) / 6), (real)((f) / -6), (real)(f)
static const real winograd_factors_of_two[25] = {
    FC_FACTORS_OF_ROW(-1.0 / 2), FC_FACTORS_OF_ROW(1.0 / 2), FC_FACTORS_OF_ROW(1.0 / 6),
    FC_FACTORS_OF_ROW(-1.0 / 6), FC_FACTORS_OF_ROW(1.0)};

FC_INLINE vreal winograd_scaled(vreal a, const double factor)
{
    return factor == 1 ? a : vmul(vset1((real)factor), a);
}

/* points values to points values. */
FC_INLINE void winograd_input(const int points, const vreal *x, vreal *y)
{
    const int pairs = (points - 1) / 2, set = winograd_set(points), zero = 1 - points % 2;
    vreal first = x[2 * pairs], last = x[2 * pairs + zero];
    FC_UNROLL (i, pairs) {
        const vreal c = vset1((real)winograd_product_of_all[set][pairs - 1 - i]);
        first = vfma(c, x[2 * (pairs - 1 - i)], first);
        last = vfma(c, x[2 * (pairs - 1 - i) + zero], last);
    }
    if (zero)
        y[0] = first;
    y[points - 1] = last;
    FC_UNROLL (j, pairs) {
        vreal even = x[2 * (pairs - 1 + zero)], odd = x[2 * pairs - 1];
        FC_UNROLL (i, pairs - 1) {
            const vreal c = vset1((real)winograd_product_but[set][j][pairs - 2 - i]);
            even = vfma(c, x[2 * (pairs - 2 - i + zero)], even);
            odd = vfma(c, x[2 * (pairs - 2 - i) + 1], odd);
        }
        const vreal whole = zero ? even : odd, part = zero ? odd : even;
        y[zero + 2 * j] = vfma(vset1((real)winograd_point[set][j]), part, whole);
        y[zero + 1 + 2 * j] = vfma(vset1((real)-winograd_point[set][j]), part, whole);
    }
}

/* The polynomial with `count` coefficients x at the points, times the factors where `scaled`. */
FC_INLINE void winograd_evaluate(const int points, const int count, const bool scaled,
                                 const vreal *x, vreal *y)
{
    const int pairs = (points - 1) / 2, set = winograd_set(points), zero = 1 - points % 2;
    const int evens = (count + 1) / 2, odds = count / 2;
    if (zero)
        y[0] = scaled ? winograd_scaled(x[0], winograd_factor[set][0]) : x[0];
    y[points - 1] = x[count - 1];
    FC_UNROLL (j, pairs) {
        const vreal square = vset1((real)winograd_square[set][j]);
        vreal even = x[2 * (evens - 1)], odd = x[2 * odds - 1];
        FC_UNROLL (i, evens - 1)
            even = vfma(square, even, x[2 * (evens - 2 - i)]);
        FC_UNROLL (i, odds - 1)
            odd = vfma(square, odd, x[2 * (odds - 2 - i) + 1]);
        const double factor = scaled ? winograd_factor[set][1 + j] : 1;
        even = winograd_scaled(even, factor);
        odd = winograd_scaled(odd, factor * winograd_point[set][j]);
        y[zero + 2 * j] = vadd(even, odd);
        y[zero + 1 + 2 * j] = scaled && !zero ? vsub(odd, even) : vsub(even, odd);
    }
}

/* The transpose of winograd_evaluate: points values to `count`. */
FC_INLINE void winograd_sums(const int points, const int count, const bool scaled, const vreal *x,
                             vreal *y)
{
    const int pairs = (points - 1) / 2, set = winograd_set(points), zero = 1 - points % 2;
    vreal even[WINOGRAD_MOST_PAIRS], odd[WINOGRAD_MOST_PAIRS];
    FC_UNROLL (j, pairs) {
        const double factor = scaled ? winograd_factor[set][1 + j] : 1;
        const vreal sum = vadd(x[zero + 2 * j], x[zero + 1 + 2 * j]);
        const vreal difference = vsub(x[zero + 2 * j], x[zero + 1 + 2 * j]);
        const bool turned = scaled && !zero;
        even[j] = winograd_scaled(turned ? difference : sum, factor);
        odd[j] = winograd_scaled(turned ? sum : difference, factor * winograd_point[set][j]);
    }
    FC_UNROLL (i, count) {
        const vreal *part = i % 2 ? odd : even;
        vreal sum = vzero();
        if (i == 0 && zero)
            sum = scaled ? winograd_scaled(x[0], winograd_factor[set][0]) : x[0];
        FC_UNROLL (j, pairs) {
            double power = 1;
            FC_UNROLL (e, i / 2)
                power *= winograd_square[set][j];
            if ((i > 0 || !zero) && j == 0)
                sum = winograd_scaled(part[j], power);
            else
                sum = power == 1 ? vadd(sum, part[j]) : vfma(vset1((real)power), part[j], sum);
        }
        y[i] = i == count - 1 ? vadd(sum, x[points - 1]) : sum;
    }
}

/* -------------------------------------------------------- some of 5 or 6 points */

/* The finite points of a tile that takes one or two fewer: the first of these; and infinity. */
static const double winograd_some_point[2][4] = {{0.5, -0.5, 1.5}, {0, 2.0 / 3, -2.0 / 3, 3.0 / 2}};

/* Of 5 or 6 points, without two and without one: what a value takes of each x. */
static const double winograd_some_input[2][2][5][5] = {{{{-1, -2, 0}, {1, -2, 0}, {-1.0 / 4, 0, 1}},
                                                        {{-3.0 / 2, -2, 2, 0},
                                                         {3.0 / 4, -2, 1, 0},
                                                         {-3.0 / 4, 0, 3, 0},
                                                         {3.0 / 8, -1.0 / 4, -3.0 / 2, 1}}},
                                                       {{{1, 0, -9.0 / 4, 0},
                                                         {0, -65.0 / 54, -65.0 / 36, 0},
                                                         {0, 65.0 / 54, -65.0 / 36, 0},
                                                         {0, -4.0 / 9, 0, 1}},
                                                        {{1, -2.0 / 3, -9.0 / 4, 3.0 / 2, 0},
                                                         {0, -13.0 / 6, -65.0 / 36, 13.0 / 6, 0},
                                                         {0, 5.0 / 6, -65.0 / 36, 5.0 / 6, 0},
                                                         {0, -4.0 / 3, 0, 3, 0},
                                                         {0, 2.0 / 3, -4.0 / 9, -3.0 / 2, 1}}}};

/* Adds c * x to a sum that `begun` says exists. */
FC_INLINE vreal winograd_term(const double c, vreal x, const bool begun, vreal sum)
{
    if (!begun)
        return winograd_scaled(x, c);
    return c == 1 ? vadd(sum, x) : vfma(vset1((real)c), x, sum);
}

FC_INLINE void winograd_some_inputs(const int points, const int some, const vreal *x, vreal *y)
{
    FC_UNROLL (i, some) {
        bool begun = false;
        vreal sum = vzero();
        FC_UNROLL (j, some) {
            const double c = winograd_some_input[points - 5][some - (points - 2)][i][j];
            if (c == 0)
                continue;
            sum = winograd_term(c, x[j], begun, sum);
            begun = true;
        }
        y[i] = sum;
    }
}

FC_INLINE void winograd_some_values(const int points, const int some, const int count,
                                    const vreal *x, vreal *y)
{
    FC_UNROLL (i, some - 1) {
        const double point = winograd_some_point[points - 5][i];
        vreal sum = x[point == 0 ? 0 : count - 1];
        if (point != 0)
            FC_UNROLL (j, count - 1)
                sum = vfma(vset1((real)point), sum, x[count - 2 - j]);
        y[i] = sum;
    }
    y[some - 1] = x[count - 1];
}

FC_INLINE void winograd_some_sums(const int points, const int some, const int count, const vreal *x,
                                  vreal *y)
{
    FC_UNROLL (i, count) {
        bool begun = false;
        vreal sum = vzero();
        FC_UNROLL (j, some - 1) {
            double power = 1;
            FC_UNROLL (e, i)
                power *= winograd_some_point[points - 5][j];
            if (power == 0)
                continue;
            sum = winograd_term(power, x[j], begun, sum);
            begun = true;
        }
        y[i] = i == count - 1 ? vadd(sum, x[some - 1]) : sum;
    }
}

/* ------------------------------------------------------------ interpolation */

/* The transpose of winograd_input: the coefficients of the product of two polynomials, from its values at the points
 * times the factors; at infinity it has its highest one. */
FC_INLINE void winograd_interpolate(const int points, const vreal *x, vreal *y)
{
    const int pairs = (points - 1) / 2, set = winograd_set(points), zero = 1 - points % 2;
    vreal sum[WINOGRAD_MOST_PAIRS], difference[WINOGRAD_MOST_PAIRS];
    FC_UNROLL (j, pairs) {
        sum[j] = vadd(x[zero + 2 * j], x[zero + 1 + 2 * j]);
        difference[j] =
            vmul(vset1((real)winograd_point[set][j]), vsub(x[zero + 2 * j], x[zero + 1 + 2 * j]));
    }
    FC_UNROLL (i, points) {
        const int of_pairs = i - zero * (2 - i % 2), of_last = i - zero;
        const vreal *part = i % 2 == zero ? difference : sum;
        bool begun = false;
        vreal coefficient = vzero();
        if (of_pairs >= 0 && of_pairs / 2 < pairs)
            FC_UNROLL (j, pairs) {
                coefficient = winograd_term(winograd_product_but[set][j][of_pairs / 2], part[j],
                                            begun, coefficient);
                begun = true;
            }
        if (zero && i % 2 == 0) {
            coefficient =
                winograd_term(winograd_product_of_all[set][i / 2], x[0], begun, coefficient);
            begun = true;
        }
        if (of_last >= 0 && of_last % 2 == 0)
            coefficient = winograd_term(winograd_product_of_all[set][of_last / 2], x[points - 1],
                                        begun, coefficient);
        y[i] = coefficient;
    }
}
