/* simd_avx512.h: the vector vocabulary in AVX-512 (F, BW, DQ, VL), for the float type FC_REAL. */
#if FC_REAL == 32
typedef float real;
typedef int32_t integer;
typedef __m512 vreal;
typedef __mmask16 vmask;
enum { LANES = 16 };
#define FC_OP(op) _mm512_##op##_ps
#define FC_IOP(op) _mm512_##op##_epi32
#define FC_ICMP(op) _mm512_##op##_epi32_mask
#define FC_IMUL(a, b) _mm512_mullo_epi32(a, b)
#define FC_CMP(a, b, predicate) _mm512_cmp_ps_mask(a, b, predicate)
#define FC_MASK_CMP(m, a, b, predicate) _mm512_mask_cmp_ps_mask(m, a, b, predicate)
#define FC_FIRST(n) ((__mmask16)((1u << (n)) - 1u))
#else
typedef double real;
typedef int64_t integer;
typedef __m512d vreal;
typedef __mmask8 vmask;
enum { LANES = 8 };
#define FC_OP(op) _mm512_##op##_pd
#define FC_IOP(op) _mm512_##op##_epi64
#define FC_ICMP(op) _mm512_##op##_epi64_mask
#define FC_IMUL(a, b) _mm512_mul_epu32(a, b)
#define FC_CMP(a, b, predicate) _mm512_cmp_pd_mask(a, b, predicate)
#define FC_MASK_CMP(m, a, b, predicate) _mm512_mask_cmp_pd_mask(m, a, b, predicate)
#define FC_FIRST(n) ((__mmask8)((1u << (n)) - 1u))
#endif
typedef __m512i vint;

FC_INLINE vreal vzero(void) { return FC_OP(setzero)(); }
FC_INLINE vreal vset1(real a) { return FC_OP(set1)(a); }
FC_INLINE vreal vload(const real *p) { return FC_OP(loadu)(p); }
FC_INLINE vreal vload_first(const real *p, int n) { return FC_OP(maskz_loadu)(FC_FIRST(n), p); }
/* Where m; all other lanes are zero, and not touched. */
FC_INLINE vreal vload_where(vmask m, const real *p) { return FC_OP(maskz_loadu)(m, p); }
FC_INLINE void vstore(real *p, vreal a) { FC_OP(storeu)(p, a); }
/* Past the caches, to p, a multiple of a vector's bytes: the line need not be read first. fc_streams says when. */
FC_INLINE void vstream(real *p, vreal a) { FC_OP(stream)(p, a); }
FC_INLINE void vstore_first(real *p, vreal a, int n) { FC_OP(mask_storeu)(p, FC_FIRST(n), a); }
/* The first n lanes of the upper half. */
FC_INLINE void vstore_second(real *p, vreal a, int n)
{
    FC_OP(mask_storeu)(p - LANES / 2, (vmask)(FC_FIRST(n) << LANES / 2), a);
}
FC_INLINE vreal vadd(vreal a, vreal b) { return FC_OP(add)(a, b); }
FC_INLINE vreal vsub(vreal a, vreal b) { return FC_OP(sub)(a, b); }
FC_INLINE vreal vmul(vreal a, vreal b) { return FC_OP(mul)(a, b); }
FC_INLINE vreal vdiv(vreal a, vreal b) { return FC_OP(div)(a, b); }
FC_INLINE vreal vfma(vreal a, vreal b, vreal c) { return FC_OP(fmadd)(a, b, c); }

#if FC_REAL == 32
/* The lower half of a vector: CPUs that take two cycles for a whole one take one for it. */
enum { HALVES = 1 };
typedef __m256 vhalf;
FC_INLINE vhalf vlow(vreal a) { return _mm512_castps512_ps256(a); }
FC_INLINE vreal vwiden(vhalf a) { return _mm512_zextps256_ps512(a); }
FC_INLINE vhalf vload_half(const real *p) { return _mm256_loadu_ps(p); }
FC_INLINE vhalf vset1_half(real a) { return _mm256_set1_ps(a); }
FC_INLINE vhalf vfma_half(vhalf a, vhalf b, vhalf c) { return _mm256_fmadd_ps(a, b, c); }
#else
#include "simd_no_halves.h"
#endif

FC_INLINE vmask vgreater(vreal a, vreal b) { return FC_CMP(a, b, _CMP_GT_OQ); }
FC_INLINE vmask vat_least(vreal a, vreal b) { return FC_CMP(a, b, _CMP_GE_OQ); }
FC_INLINE vmask visnan(vreal a) { return FC_CMP(a, a, _CMP_UNORD_Q); }
FC_INLINE vmask vmask_or(vmask a, vmask b) { return (vmask)(a | b); }
FC_INLINE vmask vmask_andnot(vmask a, vmask b) { return (vmask)(a & ~b); }
FC_INLINE vreal vselect(vmask m, vreal a, vreal b) { return FC_OP(mask_blend)(m, b, a); }
/* a where m, zero elsewhere; and the other way about. */
FC_INLINE vreal vkeep(vmask m, vreal a) { return FC_OP(maskz_mov)(m, a); }
FC_INLINE vreal vdrop(vmask m, vreal a) { return FC_OP(mask_mov)(a, m, vzero()); }
/* sum + a where m, sum elsewhere; for a sum that began with zero, and so is not -0. */
FC_INLINE vreal vadd_where(vmask m, vreal sum, vreal a) { return FC_OP(mask_add)(sum, m, sum, a); }
/* a > b ? a : b and a < b ? a : b, which is what the instructions do to NaN and to zeros here. */
FC_INLINE vreal vgreater_of(vreal a, vreal b) { return FC_OP(max)(a, b); }
FC_INLINE vreal vlesser_of(vreal a, vreal b) { return FC_OP(min)(a, b); }
/* a is no NaN; nor was what m tells of: one instruction, where or-ing masks makes gcc move them all. */
FC_INLINE vmask visnumber(vreal a) { return FC_CMP(a, a, _CMP_ORD_Q); }
FC_INLINE vmask visnumber_too(vmask m, vreal a) { return FC_MASK_CMP(m, a, a, _CMP_ORD_Q); }
FC_INLINE vmask vnumbers_too(vmask m, vreal a, vreal b) { return FC_MASK_CMP(m, a, b, _CMP_ORD_Q); }
/* A NaN in a or in b, and whether there is a lane of m or of n. */
FC_INLINE vmask vnans_of(vreal a, vreal b) { return FC_CMP(a, b, _CMP_UNORD_Q); }
FC_INLINE bool vany(vmask m, vmask n) { return !_kortestz_mask16_u8(m, n); }
/* a is NaN, or greater; or less: where m, which tells where b is none. Known beforehand it is not waited for. */
FC_INLINE vmask vabove(vmask m, vreal a, vreal b) { return FC_MASK_CMP(m, a, b, _CMP_NLE_UQ); }
FC_INLINE vmask vbelow(vmask m, vreal a, vreal b) { return FC_MASK_CMP(m, a, b, _CMP_NGE_UQ); }

FC_INLINE vint viset1(integer a) { return FC_IOP(set1)(a); }
FC_INLINE vint viload(const integer *p) { return _mm512_loadu_si512(p); }
FC_INLINE void vistore(integer *p, vint a) { _mm512_storeu_si512(p, a); }
/* int64 in lanes of integer; what does not fit becomes the least or the greatest. */
FC_INLINE vint viload_index(const int64_t *p)
{
    const __m512i a = _mm512_loadu_si512(p);
#if FC_REAL == 32
    const __m512i b = _mm512_loadu_si512(p + 8);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi64_epi32(a)),
                              _mm512_cvtsepi64_epi32(b), 1);
#else
    return a;
#endif
}
FC_INLINE vmask viequal(vint a, vint b) { return FC_ICMP(cmpeq)(a, b); }
FC_INLINE vmask vigreater(vint a, vint b) { return FC_ICMP(cmpgt)(a, b); }
FC_INLINE vint viselect(vmask m, vint a, vint b) { return FC_IOP(mask_blend)(m, b, a); }
FC_INLINE vint viadd(vint a, vint b) { return FC_IOP(add)(a, b); }
FC_INLINE vint visub(vint a, vint b) { return FC_IOP(sub)(a, b); }
/* a * b of numbers that are not negative, of 31 bits, as their product is. */
FC_INLINE vint vimul(vint a, vint b) { return FC_IMUL(a, b); }
FC_INLINE vint viand(vint a, vint b) { return _mm512_and_si512(a, b); }
FC_INLINE vint vior(vint a, vint b) { return _mm512_or_si512(a, b); }
#if FC_REAL == 32
FC_INLINE vint vas_int(vreal a) { return _mm512_castps_si512(a); }
FC_INLINE vreal vas_real(vint a) { return _mm512_castsi512_ps(a); }
#else
FC_INLINE vint vas_int(vreal a) { return _mm512_castpd_si512(a); }
FC_INLINE vreal vas_real(vint a) { return _mm512_castsi512_pd(a); }
#endif
/* By a constant; zeros come in at both ends. */
#define vishift_left(a, n) FC_IOP(slli)(a, n)
#define vishift_right(a, n) FC_IOP(srli)(a, n)

/* The lanes before those of b, and those after a's: a's last and then b, a and then b's first. */
FC_INLINE vreal vbefore(vreal a, vreal b)
{
#if FC_REAL == 32
    return vas_real(_mm512_alignr_epi32(vas_int(b), vas_int(a), LANES - 1));
#else
    return vas_real(_mm512_alignr_epi64(vas_int(b), vas_int(a), LANES - 1));
#endif
}
FC_INLINE vreal vafter(vreal a, vreal b)
{
#if FC_REAL == 32
    return vas_real(_mm512_alignr_epi32(vas_int(b), vas_int(a), 1));
#else
    return vas_real(_mm512_alignr_epi64(vas_int(b), vas_int(a), 1));
#endif
}

/* a[order[i]] in lane i. */
FC_INLINE vreal vpermute(vreal a, vint order) { return FC_OP(permutexvar)(order, a); }
/* The same of a and then b: whether that is one instruction. */
enum { PERMUTES_TWO = 1 };
FC_INLINE vreal vpermute_two(vreal a, vreal b, vint order)
{
    return FC_OP(permutex2var)(a, order, b);
}

/* The lower and the upper halves of a and b, interleaved: a0 b0 a1 b1 ... */
#if FC_REAL == 32
FC_INLINE vreal vzip_low(vreal a, vreal b)
{
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}
FC_INLINE vreal vzip_high(vreal a, vreal b)
{
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
}
#else
FC_INLINE vreal vzip_low(vreal a, vreal b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
}
FC_INLINE vreal vzip_high(vreal a, vreal b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
}
#endif

/* Three vectors, element by element: a0 b0 c0 a1 b1 c1 ... */
enum { TRIPLES = 1 };
FC_INLINE void vtriple(vreal a[3])
{
    vreal b[3];
#if FC_REAL == 32
#define FC_TWO(a, b, ...) _mm512_permutex2var_ps(a, _mm512_setr_epi32(__VA_ARGS__), b)
    b[0] = FC_TWO(a[0], a[1], 0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5);
    b[1] = FC_TWO(a[0], a[1], 21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26);
    b[2] = FC_TWO(a[0], a[1], 0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0);
    a[0] = FC_TWO(b[0], a[2], 0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15);
    a[1] = FC_TWO(b[1], a[2], 0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15);
    a[2] = FC_TWO(b[2], a[2], 26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31);
#else
#define FC_TWO(a, b, ...) _mm512_permutex2var_pd(a, _mm512_setr_epi64(__VA_ARGS__), b)
    b[0] = FC_TWO(a[0], a[1], 0, 8, 0, 1, 9, 0, 2, 10);
    b[1] = FC_TWO(a[0], a[1], 0, 3, 11, 0, 4, 12, 0, 5);
    b[2] = FC_TWO(a[0], a[1], 13, 0, 6, 14, 0, 7, 15, 0);
    a[0] = FC_TWO(b[0], a[2], 0, 1, 8, 3, 4, 9, 6, 7);
    a[1] = FC_TWO(b[1], a[2], 10, 1, 2, 11, 4, 5, 12, 7);
    a[2] = FC_TWO(b[2], a[2], 0, 13, 2, 3, 14, 5, 6, 15);
#endif
}

/* The lower half of a, and then that of b; of what lies at p and q, where the lower half of m has lanes. */
#if FC_REAL == 32
FC_INLINE vreal vhalves(vreal a, vreal b) { return _mm512_shuffle_f32x4(a, b, 0x44); }
FC_INLINE vreal vload_halves(vmask m, const real *p, const real *q)
{
    const __m256 low = _mm256_maskz_loadu_ps((__mmask8)m, p);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), _mm256_maskz_loadu_ps((__mmask8)m, q),
                              1);
}
#else
FC_INLINE vreal vhalves(vreal a, vreal b) { return _mm512_shuffle_f64x2(a, b, 0x44); }
FC_INLINE vreal vload_halves(vmask m, const real *p, const real *q)
{
    const __m256d low = _mm256_maskz_loadu_pd(m, p);
    return _mm512_insertf64x4(_mm512_castpd256_pd512(low), _mm256_maskz_loadu_pd(m, q), 1);
}
#endif

/* 16 bytes from each row, by loads that the shuffles' port need not take part in. */
enum { PIECE = 16 / (int)sizeof(real) };
#if FC_REAL == 32
#define FC_INSERT(a, p, at) _mm512_insertf32x4(a, _mm_loadu_ps(p), at)
FC_INLINE vreal vload_piece(const real *p) { return _mm512_castps128_ps512(_mm_loadu_ps(p)); }
#else
#define FC_INSERT(a, p, at) _mm512_insertf64x2(a, _mm_loadu_pd(p), at)
FC_INLINE vreal vload_piece(const real *p) { return _mm512_castpd128_pd512(_mm_loadu_pd(p)); }
#endif
FC_INLINE vreal vload_pieces(const real *const row[4], ptrdiff_t at)
{
    const vreal a = FC_INSERT(vload_piece(row[0] + at), row[1] + at, 1);
    return FC_INSERT(FC_INSERT(a, row[2] + at, 2), row[3] + at, 3);
}

/* The lower and the upper halves of each piece of a and b, interleaved. */
FC_INLINE vreal vzip_pieces_low(vreal a, vreal b) { return FC_OP(unpacklo)(a, b); }
FC_INLINE vreal vzip_pieces_high(vreal a, vreal b) { return FC_OP(unpackhi)(a, b); }

/* Elements 0, 2, 4, ... of a and then b, and elements 1, 3, 5, ...: the inverse of the two above. */
#if FC_REAL == 32
FC_INLINE vreal vevens(vreal a, vreal b)
{
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
FC_INLINE vreal vodds(vreal a, vreal b)
{
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}
#else
FC_INLINE vreal vevens(vreal a, vreal b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
}
FC_INLINE vreal vodds(vreal a, vreal b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
}
#endif

/* p[2 * i] = a[i] for the first n lanes; what lies between may be another's, and is not touched. */
FC_INLINE void vstore_evens(real *p, vreal a, int n)
{
    const int low = 2 * n < LANES ? 2 * n : LANES;
    FC_OP(mask_storeu)(p, (vmask)(FC_FIRST(low) & 0x5555), vzip_low(a, a));
    if (2 * n > LANES)
        FC_OP(mask_storeu)(p + LANES, (vmask)(FC_FIRST(2 * n - LANES) & 0x5555), vzip_high(a, a));
}

/* The first `channels` of every `group` lanes, side by side; what follows is zero. */
FC_INLINE vreal vcompact(vreal a, int group, int channels)
{
    unsigned kept = (1u << channels) - 1;
    for (int lane = group; lane < LANES; lane *= 2)
        kept |= kept << lane;
    return FC_OP(maskz_compress)((vmask)kept, a);
}

/* 14 x 2 accumulators, 2 vectors of the kernel and one of x: 31 of 32 registers. */
#define TILE_PIXELS 14
#define TILE_VECTORS 2
#define TILE_CASES FC_CASES_14
#define PAIR_CASES FC_CASES_7
/* Of sums of several chains 7 x 2, so that there are registers for their totals. */
#define CHAIN_PIXELS 7
#define CHAIN_CASES FC_CASES_7

/* What inline assembly calls a vector register. */
#define VREGISTER "v"
