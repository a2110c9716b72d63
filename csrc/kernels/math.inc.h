/* math.inc.h: exp, log, tanh, sigmoid, softmax, gates, with the same bits wherever multiply-add is fused.
 *
 * Largest errors found, in units in the last place, with fused multiply-add (else up to 0.2 more):
 *              exp   log   tanh  sigmoid
 *   float32    0.98  0.84  1.42  1.64    all numbers there are, against float64
 *   float64    0.98  0.84  1.45  1.62    10 million, against 80-bit long double
 * Overflow, denormal results, zeros, infinities and NaN are as IEEE 754 recommends: log(0) is
 * -infinity, of less than 0 NaN. Reductions are Cody and Waite's and fdlibm's; the coefficients are
 * minimax fits of our own (Remez exchange in 50 digits). */

#if FC_REAL == 32
enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };
static const real ROUND = 0x1.8p23f; /* plus a number: rounded to whole, in the lowest bits */
static const integer ROUND_BITS = INT32_C(0x4b400000);
static const integer SIGN_BIT = INT32_MIN, ABS_BITS = INT32_MAX;
static const integer SQRT_HALF_BITS = INT32_C(0x3f3504f3), ONE_BITS = INT32_C(0x3f800000);
static const integer WHOLE_BITS = INT32_C(0x4b000000); /* of 2^23: or'ed with n it is 2^23 + n */
static const real WHOLE = 0x1p23f;
static const real SMALLEST_NORMAL = 0x1p-126f, LARGEST = 0x1.fffffep127f;
static const real EXP_LOWEST = -104, EXP_HIGHEST = 89; /* beyond: 0 and infinity */
static const real TANH_HIGHEST = 10;                   /* beyond: 1 */
static const real LOG2_E = 0x1.715476p+0f;
/* The first has 15 bits: its product with an exponent is exact without fused multiply-add too. */
static const real LN2_HIGH = 0x1.62e4p-1f, LN2_LOW = 0x1.7f7d1cp-20f;
/* (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; the error of e^r - 1 is 2^-31.9 of it */
static const real EXPM1[] = {0x1p-1f,        0x1.555554p-3f,  0x1.5554bp-5f,
                             0x1.11118ap-7f, 0x1.6d723ep-10f, 0x1.a032c4p-13f};
/* (log((1 + s) / (1 - s)) / s - 2) / s^2 in s^2, |s| <= (sqrt(2) - 1) / (sqrt(2) + 1): 2^-30.2 */
static const real LOG1P[] = {0x1.55557ap-1f, 0x1.995eaap-2f, 0x1.31e4b4p-2f};
/* (tanh(x) / x - 1) / x^2 in x^2, |x| <= TANH_SMALL: 2^-29.4 of tanh(x) */
static const real TANH[] = {-0x1.555548p-2f, 0x1.110c72p-3f, -0x1.b90946p-5f, 0x1.582fbp-6f,
                            -0x1.95001cp-8f};
#else
enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };
static const real ROUND = 0x1.8p52;
static const integer ROUND_BITS = INT64_C(0x4338000000000000);
static const integer SIGN_BIT = INT64_MIN, ABS_BITS = INT64_MAX;
static const integer SQRT_HALF_BITS = INT64_C(0x3fe6a09e667f3bcd);
static const integer ONE_BITS = INT64_C(0x3ff0000000000000);
static const integer WHOLE_BITS = INT64_C(0x4330000000000000);
static const real WHOLE = 0x1p52;
static const real SMALLEST_NORMAL = 0x1p-1022, LARGEST = 0x1.fffffffffffffp1023;
static const real EXP_LOWEST = -746, EXP_HIGHEST = 710;
static const real TANH_HIGHEST = 20;
static const real LOG2_E = 0x1.71547652b82fep+0;
static const real LN2_HIGH = 0x1.62e42fefa38p-1, LN2_LOW = 0x1.ef35793c7673p-45; /* 42 bits */
/* As above, of higher orders: 2^-61.7, 2^-59.4 and 2^-59.8 */
static const real EXPM1[] = {0x1p-1,
                             0x1.5555555555559p-3,
                             0x1.555555555553ep-5,
                             0x1.111111110f6c5p-7,
                             0x1.6c16c16c1f0e4p-10,
                             0x1.a01a01afdd8c7p-13,
                             0x1.a01a017bb06dep-16,
                             0x1.71ddf863bf115p-19,
                             0x1.27e53643b4a8dp-22,
                             0x1.af5ea845398cep-26,
                             0x1.1ee8876a5d3c3p-29};
static const real LOG1P[] = {0x1.5555555555593p-1, 0x1.999999997fc74p-2, 0x1.2492494204662p-2,
                             0x1.c71c51f8a804dp-3, 0x1.7466428b0012cp-3, 0x1.39a157cc84319p-3,
                             0x1.2f0979df9dd21p-3};
static const real TANH[] = {-0x1.555555555554bp-2,  0x1.11111111102b6p-3,  -0x1.ba1ba1b935e3cp-5,
                            0x1.664f4849566acp-6,   -0x1.226e2d025ffb7p-7, 0x1.d6d24793bd11ep-9,
                            -0x1.7d8b95da98a03p-10, 0x1.3460ac53e3d46p-11, -0x1.e80a91de7b2ebp-13,
                            0x1.5972605d0a815p-14,  -0x1.3d27e7ee789cap-16};
#endif
static const real TANH_SMALL = (real)0.5625;
#define POLYNOMIAL(x, c) polynomial(x, c, (int)(sizeof c / sizeof c[0]))

/* ---------------------------------------------------------------- pieces */

/* c[0] + c[1] x + ... by Horner's rule: the last steps, which matter, round once each. */
FC_INLINE vreal polynomial(vreal x, const real *c, int terms)
{
    vreal sum = vset1(c[terms - 1]);
    FC_UNROLLED for (int i = terms - 2; i >= 0; i--) sum = vfma(sum, x, vset1(c[i]));
    return sum;
}

/* A NaN stays what it is, in both. */
FC_INLINE vreal at_most(vreal x, real limit)
{
    return vselect(vgreater(x, vset1(limit)), vset1(limit), x);
}
FC_INLINE vreal at_least(vreal x, real limit)
{
    return vselect(vgreater(vset1(limit), x), vset1(limit), x);
}

/* e^x = 2^exponent * mantissa: x = exponent * ln(2) + r with |r| <= ln(2) / 2 (Cody and Waite). */
struct power {
    vint exponent;
    vreal mantissa;
};

FC_INLINE struct power power_of(vreal x)
{
    const vreal rounded = vfma(x, vset1(LOG2_E), vset1(ROUND));
    const vreal n = vsub(rounded, vset1(ROUND));
    const vreal r = vfma(n, vset1(-LN2_LOW), vfma(n, vset1(-LN2_HIGH), x));
    const vreal expm1 = vfma(vmul(r, r), POLYNOMIAL(r, EXPM1), r);
    return (struct power){visub(vas_int(rounded), viset1(ROUND_BITS)), vadd(expm1, vset1(1))};
}

/* 2^exponent where that is a normal number. */
FC_INLINE vreal power_of_two(vint exponent)
{
    return vas_real(vishift_left(viadd(exponent, viset1(EXPONENT_BIAS)), MANTISSA_BITS));
}

/* ------------------------------------------------------------- functions */

/* 2^n e^r. Two halves of n scale one after the other, since neither 2^128 nor a denormal power is a
 * factor; the second product alone can round. n is made positive to be halved: AVX2 has no
 * arithmetic shift of 64 bits. */
FC_INLINE vreal exp_of(vreal x)
{
    const struct power power = power_of(at_least(at_most(x, EXP_HIGHEST), EXP_LOWEST));
    const vint biased = viadd(power.exponent, viset1(2 * EXPONENT_BIAS));
    const vint half = vishift_right(biased, 1);
    const vint rest = visub(biased, half);
    return vmul(vmul(power.mantissa, vas_real(vishift_left(half, MANTISSA_BITS))),
                vas_real(vishift_left(rest, MANTISSA_BITS)));
}

/* x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); log(1 + f) by the series in s = f / (2 + f), put
 * together as in fdlibm's e_log.c: f - f^2/2 + s (f^2/2 + R), which rounds f^2/2 alone. */
FC_INLINE vreal log_of(vreal x)
{
    const vmask small = vgreater(vset1(SMALLEST_NORMAL), x);
    const vreal scaled = vselect(small, vmul(x, vset1(WHOLE)), x); /* denormals made normal */
    const vint bits = vas_int(scaled);
    const vint exponent = /* biased */
        vishift_right(viadd(bits, viset1(ONE_BITS - SQRT_HALF_BITS)), MANTISSA_BITS);
    const vreal biased = vsub(vas_real(vior(exponent, viset1(WHOLE_BITS))), vset1(WHOLE));
    const vreal k =
        vsub(biased, vselect(small, vset1(EXPONENT_BIAS + MANTISSA_BITS), vset1(EXPONENT_BIAS)));
    const vint shift = visub(viset1(EXPONENT_BIAS), exponent);
    const vreal f = vsub(vas_real(viadd(bits, vishift_left(shift, MANTISSA_BITS))), vset1(1));

    const vreal s = vdiv(f, vadd(f, vset1(2)));
    const vreal z = vmul(s, s);
    const vreal half_square = vmul(vset1((real)0.5), vmul(f, f));
    const vreal series = vfma(z, POLYNOMIAL(z, LOG1P), half_square);
    const vreal low = vfma(s, series, vmul(k, vset1(LN2_LOW)));
    const vreal log = vfma(k, vset1(LN2_HIGH), vsub(f, vsub(half_square, low)));

    const vmask invalid = vmask_or(vgreater(vzero(), x), visnan(x));
    const vreal special = vselect(invalid, vset1((real)NAN), vset1(-(real)INFINITY));
    const vreal finite = vselect(vgreater(x, vzero()), log, special);
    return vselect(vgreater(x, vset1(LARGEST)), x, finite);
}

/* Near 0 an odd polynomial, beyond it 1 - 2 / (e^2|x| + 1), where the fraction is below 1/2 and its
 * error counts half. (E / (E + 2) of E = e^2|x| - 1 serves everywhere, with 2.5 ulp.) */
FC_INLINE vreal tanh_of(vreal x)
{
    const vint sign = viand(vas_int(x), viset1(SIGN_BIT));
    const vreal size = vas_real(viand(vas_int(x), viset1(ABS_BITS)));
    const vreal square = vmul(size, size);
    const vreal near = vfma(vmul(square, POLYNOMIAL(square, TANH)), size, size);

    const vreal limited = at_most(size, TANH_HIGHEST);
    const struct power power = power_of(vadd(limited, limited));
    const vreal e = vmul(power.mantissa, power_of_two(power.exponent));
    const vreal far = vsub(vset1(1), vdiv(vset1(2), vadd(e, vset1(1))));
    const vreal tanh = vselect(vgreater(vset1(TANH_SMALL), size), near, far);
    return vas_real(vior(vas_int(tanh), sign));
}

/* a - a q of q = e / (1 + e), e = e^-|x|, where a is 1 for x > 0 and e for the others: nothing
 * overflows, small results keep their bits, and the rounding of 1 + e shrinks with q (1 / (1 + e)
 * and e / (1 + e) themselves have 2.3 ulp). */
FC_INLINE vreal sigmoid_of(vreal x)
{
    const vreal e = exp_of(vas_real(vior(vas_int(x), viset1(SIGN_BIT))));
    const vreal minus_q = vdiv(e, vsub(vset1(-1), e));
    const vreal a = vselect(vgreater(x, vzero()), vset1(1), e);
    return vfma(a, minus_q, a);
}

/* ---------------------------------------------------------------- arrays */

FC_INLINE void map(vreal (*f)(vreal), const real *x, real *y, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        vstore(y + i, f(vload(x + i)));
    if (i < count)
        vstore_first(y + i, f(vload_first(x + i, (int)(count - i))), (int)(count - i));
}

static void exp_array(const void *x, void *y, int64_t count) { map(exp_of, x, y, count); }
static void log_array(const void *x, void *y, int64_t count) { map(log_of, x, y, count); }
static void tanh_array(const void *x, void *y, int64_t count) { map(tanh_of, x, y, count); }
static void sigmoid_array(const void *x, void *y, int64_t count) { map(sigmoid_of, x, y, count); }

FC_INLINE vreal gated(vreal dy, vreal y, const bool limited)
{
    const vreal passed = vselect(vgreater(y, vzero()), dy, vzero());
    return limited ? vselect(vgreater(vset1(6), y), passed, vzero()) : passed;
}

FC_INLINE void gate_all(const real *dy, const real *y, real *dx, int64_t count, const bool limited)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        vstore(dx + i, gated(vload(dy + i), vload(y + i), limited));
    const int rest = (int)(count - i);
    if (rest > 0)
        vstore_first(dx + i, gated(vload_first(dy + i, rest), vload_first(y + i, rest), limited),
                     rest);
}

static void gate(const void *dy, const void *y, void *dx, int64_t count, bool limited)
{
    if (limited)
        gate_all(dy, y, dx, count, true);
    else
        gate_all(dy, y, dx, count, false);
}

/* Column c is summed in lane c % UNIT, whatever a vector holds: first SUM_UNITS units, then these
 * sums, so that a million columns cost 500 roundings and not 60,000. */
enum { SUM_UNITS = 256 };

/* The largest of the units and the last columns, NaN left out: NaN comes back through the sum. */
FC_INLINE real row_max(const real *x, int64_t units, const real *last)
{
    vreal best = vset1(-(real)INFINITY);
    for (int64_t i = 0; i < units * UNIT; i += LANES)
        best = vselect(vgreater(vload(x + i), best), vload(x + i), best);
    FC_UNROLLED for (int i = 0; i < UNIT; i += LANES) best =
        vselect(vgreater(vload(last + i), best), vload(last + i), best);
    real lanes[LANES];
    vstore(lanes, best);
    for (int i = 1; i < LANES; i++)
        lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    return lanes[0];
}

FC_INLINE void exp_unit(const real *x, real *y, vreal max, vreal sum[UNIT_VECTORS])
{
    FC_UNROLL (v, UNIT_VECTORS) {
        const vreal e = exp_of(vsub(vload(x + v * LANES), max));
        vstore(y + v * LANES, e);
        sum[v] = vadd(sum[v], e);
    }
}

/* y = exp(x - max), last in place; the sum of all. */
FC_INLINE real exp_row(const real *x, real *y, int64_t units, real *last, vreal max)
{
    vreal total[UNIT_VECTORS], sum[UNIT_VECTORS];
    FC_UNROLL (v, UNIT_VECTORS)
        total[v] = vzero();
    exp_unit(last, last, max, total);
    for (int64_t u = 0; u < units;) {
        const int64_t end = u + SUM_UNITS < units ? u + SUM_UNITS : units;
        FC_UNROLL (v, UNIT_VECTORS)
            sum[v] = vzero();
        for (; u < end; u++)
            exp_unit(x + u * UNIT, y + u * UNIT, max, sum);
        FC_UNROLL (v, UNIT_VECTORS)
            total[v] = vadd(total[v], sum[v]);
    }
    real lanes[UNIT];
    FC_UNROLL (v, UNIT_VECTORS)
        vstore(lanes + v * LANES, total[v]);
    for (int width = UNIT / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

static void softmax(const void *x, void *y, int64_t rows, int64_t columns)
{
    const int64_t units = columns / UNIT, whole = units * UNIT;
    const size_t last_bytes = (size_t)(columns - whole) * sizeof(real);
    for (int64_t r = 0; r < rows; r++) {
        const real *from = (const real *)x + r * columns;
        real *to = (real *)y + r * columns;
        real last[UNIT]; /* the columns after the last whole unit; the rest adds exp(-inf) = 0 */
        FC_UNROLLED for (int i = 0; i < UNIT; i += LANES) vstore(last + i, vset1(-(real)INFINITY));
        memcpy(last, from + whole, last_bytes);
        const vreal max = vset1(row_max(from, units, last));
        const vreal sum = vset1(exp_row(from, to, units, last, max));
        for (int64_t i = 0; i < whole; i += LANES)
            vstore(to + i, vdiv(vload(to + i), sum));
        FC_UNROLLED for (int i = 0; i < UNIT; i += LANES)
            vstore(last + i, vdiv(vload(last + i), sum));
        memcpy(to + whole, last, last_bytes);
    }
}
