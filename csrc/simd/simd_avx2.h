/* simd_avx2.h: the vector vocabulary in AVX2 and FMA, for the float type FC_REAL. */
#if FC_REAL == 32
typedef float real;
typedef int32_t integer;
typedef __m256 vreal;
enum { LANES = 8 };
#define FC_OP(op) _mm256_##op##_ps
#define FC_IOP(op) _mm256_##op##_epi32
#define FC_IMUL(a, b) _mm256_mullo_epi32(a, b)
#define FC_AS_INT(a) _mm256_castps_si256(a)
#define FC_AS_REAL(a) _mm256_castsi256_ps(a)
#else
typedef double real;
typedef int64_t integer;
typedef __m256d vreal;
enum { LANES = 4 };
#define FC_OP(op) _mm256_##op##_pd
#define FC_IOP(op) _mm256_##op##_epi64
#define FC_IMUL(a, b) _mm256_mul_epu32(a, b)
#define FC_AS_INT(a) _mm256_castpd_si256(a)
#define FC_AS_REAL(a) _mm256_castsi256_pd(a)
#endif
typedef __m256i vint;
typedef __m256i vmask; /* all bits of a lane, or none */

FC_INLINE vreal vzero(void) { return FC_OP(setzero)(); }
FC_INLINE vreal vset1(real a) { return FC_OP(set1)(a); }
FC_INLINE vreal vload(const real *p) { return FC_OP(loadu)(p); }
FC_INLINE void vstore(real *p, vreal a) { FC_OP(storeu)(p, a); }
/* Past the caches, to p, a multiple of a vector's bytes: the line need not be read first. fc_streams says when. */
FC_INLINE void vstream(real *p, vreal a) { FC_OP(stream)(p, a); }
FC_INLINE vreal vadd(vreal a, vreal b) { return FC_OP(add)(a, b); }
FC_INLINE vreal vsub(vreal a, vreal b) { return FC_OP(sub)(a, b); }
FC_INLINE vreal vmul(vreal a, vreal b) { return FC_OP(mul)(a, b); }
FC_INLINE vreal vdiv(vreal a, vreal b) { return FC_OP(div)(a, b); }
FC_INLINE vreal vfma(vreal a, vreal b, vreal c) { return FC_OP(fmadd)(a, b, c); }

#include "simd_no_halves.h"

FC_INLINE vint viset1(integer a)
{
#if FC_REAL == 32
    return _mm256_set1_epi32(a);
#else
    return _mm256_set1_epi64x(a);
#endif
}
FC_INLINE vint viload(const integer *p) { return _mm256_loadu_si256((const __m256i *)p); }
FC_INLINE void vistore(integer *p, vint a) { _mm256_storeu_si256((__m256i *)p, a); }
/* int64 in lanes of integer; what does not fit becomes the least. */
FC_INLINE vint viload_index(const int64_t *p)
{
    const __m256i a = _mm256_loadu_si256((const __m256i *)p);
#if FC_REAL == 32
    const __m256i b = _mm256_loadu_si256((const __m256i *)(p + 4));
    const __m256 low = _mm256_castsi256_ps(a), high = _mm256_castsi256_ps(b);
    const __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88));
    const __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xdd));
    const __m256i fits = _mm256_cmpeq_epi32(odd, _mm256_srai_epi32(even, 31));
    return _mm256_permute4x64_epi64(_mm256_blendv_epi8(_mm256_set1_epi32(INT32_MIN), even, fits),
                                    0xd8);
#else
    return a;
#endif
}
FC_INLINE vmask viequal(vint a, vint b) { return FC_IOP(cmpeq)(a, b); }
FC_INLINE vmask vigreater(vint a, vint b) { return FC_IOP(cmpgt)(a, b); }
FC_INLINE vint viselect(vmask m, vint a, vint b) { return _mm256_blendv_epi8(b, a, m); }
FC_INLINE vint viadd(vint a, vint b) { return FC_IOP(add)(a, b); }
FC_INLINE vint visub(vint a, vint b) { return FC_IOP(sub)(a, b); }
/* a * b of numbers that are not negative, of 31 bits, as their product is. */
FC_INLINE vint vimul(vint a, vint b) { return FC_IMUL(a, b); }
FC_INLINE vint viand(vint a, vint b) { return _mm256_and_si256(a, b); }
FC_INLINE vint vior(vint a, vint b) { return _mm256_or_si256(a, b); }
FC_INLINE vint vas_int(vreal a) { return FC_AS_INT(a); }
FC_INLINE vreal vas_real(vint a) { return FC_AS_REAL(a); }
/* By a constant; zeros come in at both ends. */
#define vishift_left(a, n) FC_IOP(slli)(a, n)
#define vishift_right(a, n) FC_IOP(srli)(a, n)

FC_INLINE vmask vgreater(vreal a, vreal b) { return FC_AS_INT(FC_OP(cmp)(a, b, _CMP_GT_OQ)); }
FC_INLINE vmask vat_least(vreal a, vreal b) { return FC_AS_INT(FC_OP(cmp)(a, b, _CMP_GE_OQ)); }
FC_INLINE vmask visnan(vreal a) { return FC_AS_INT(FC_OP(cmp)(a, a, _CMP_UNORD_Q)); }
FC_INLINE vmask vmask_or(vmask a, vmask b) { return _mm256_or_si256(a, b); }
FC_INLINE vmask vmask_andnot(vmask a, vmask b) { return _mm256_andnot_si256(b, a); }
FC_INLINE vreal vselect(vmask m, vreal a, vreal b) { return FC_OP(blendv)(b, a, FC_AS_REAL(m)); }
/* a where m, zero elsewhere; and the other way about. */
FC_INLINE vreal vkeep(vmask m, vreal a) { return FC_OP(and)(FC_AS_REAL(m), a); }
FC_INLINE vreal vdrop(vmask m, vreal a) { return FC_OP(andnot)(FC_AS_REAL(m), a); }

/* sum + a where m, sum elsewhere; for a sum that began with zero, and so is not -0. */
FC_INLINE vreal vadd_where(vmask m, vreal sum, vreal a)
{
    return vadd(sum, FC_OP(and)(FC_AS_REAL(m), a));
}
/* a > b ? a : b and a < b ? a : b, which is what the instructions do to NaN and to zeros here. */
FC_INLINE vreal vgreater_of(vreal a, vreal b) { return FC_OP(max)(a, b); }
FC_INLINE vreal vlesser_of(vreal a, vreal b) { return FC_OP(min)(a, b); }
/* a is no NaN; nor was what m tells of. */
FC_INLINE vmask visnumber(vreal a) { return FC_AS_INT(FC_OP(cmp)(a, a, _CMP_ORD_Q)); }
FC_INLINE vmask visnumber_too(vmask m, vreal a) { return _mm256_and_si256(m, visnumber(a)); }
FC_INLINE vmask vnumbers_too(vmask m, vreal a, vreal b)
{
    return _mm256_and_si256(m, FC_AS_INT(FC_OP(cmp)(a, b, _CMP_ORD_Q)));
}
/* A NaN in a or in b, and whether there is a lane of m or of n. */
FC_INLINE vmask vnans_of(vreal a, vreal b) { return FC_AS_INT(FC_OP(cmp)(a, b, _CMP_UNORD_Q)); }
FC_INLINE bool vany(vmask m, vmask n)
{
    const __m256i either = _mm256_or_si256(m, n);
    return !_mm256_testz_si256(either, either);
}
/* a is NaN, or greater; or less: where m, which tells where b is none. Known beforehand it is not waited for. */
FC_INLINE vmask vabove(vmask m, vreal a, vreal b)
{
    return _mm256_and_si256(m, FC_AS_INT(FC_OP(cmp)(a, b, _CMP_NLE_UQ)));
}
FC_INLINE vmask vbelow(vmask m, vreal a, vreal b)
{
    return _mm256_and_si256(m, FC_AS_INT(FC_OP(cmp)(a, b, _CMP_NGE_UQ)));
}

/* The first n lanes; the others are read as zero and not written, nor may they be touched. */
FC_INLINE vmask vfirst(int n)
{
#if FC_REAL == 32
    const vint lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
#else
    const vint lanes = _mm256_setr_epi64x(0, 1, 2, 3);
#endif
    return FC_IOP(cmpgt)(viset1(n), lanes);
}
FC_INLINE vreal vload_first(const real *p, int n) { return FC_OP(maskload)(p, vfirst(n)); }
/* Where m; all other lanes are zero, and not touched. */
FC_INLINE vreal vload_where(vmask m, const real *p) { return FC_OP(maskload)(p, m); }
/* One to three stores, a bit of n each: 2 cycles in a loop. A masked store takes 13 on Zen 4, 7 in float64, and one on
 * Intel's cores. */
FC_INLINE void vstore_first(real *p, vreal a, int n)
{
    if (n >= LANES) {
        vstore(p, a);
        return;
    }
#if FC_REAL == 32
    __m128 rest = _mm256_castps256_ps128(a);
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, rest);
#else
    __m128d rest = _mm256_castpd256_pd128(a);
    if (n & 2) {
        _mm_storeu_pd(p, rest);
        rest = _mm256_extractf128_pd(a, 1);
        p += 2;
    }
    if (n & 1)
        _mm_store_sd(p, rest);
#endif
}

/* The lanes before those of b, and those after a's: a's last and then b, a and then b's first. */
FC_INLINE vreal vbefore(vreal a, vreal b)
{
    const __m256i low = vas_int(a), high = vas_int(b);
    return vas_real(_mm256_alignr_epi8(high, _mm256_permute2x128_si256(low, high, 0x21),
                                       16 - (int)sizeof(real)));
}
FC_INLINE vreal vafter(vreal a, vreal b)
{
    const __m256i low = vas_int(a), high = vas_int(b);
    return vas_real(
        _mm256_alignr_epi8(_mm256_permute2x128_si256(low, high, 0x21), low, (int)sizeof(real)));
}

/* a[order[i]] in lane i; a double moves as two halves. */
FC_INLINE vreal vpermute(vreal a, vint order)
{
#if FC_REAL == 32
    return _mm256_permutevar8x32_ps(a, order);
#else
    const __m256i first = _mm256_slli_epi64(order, 1);
    const __m256i halves = _mm256_or_si256(
        first, _mm256_slli_epi64(_mm256_add_epi64(first, _mm256_set1_epi64x(1)), 32));
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(a), halves));
#endif
}
/* Of two vectors it is not one instruction, and not used. */
enum { PERMUTES_TWO = 0 };
FC_INLINE vreal vpermute_two(vreal a, vreal b, vint order)
{
    (void)b;
    return vpermute(a, order);
}

/* The lower and the upper halves of a and b, interleaved: a0 b0 a1 b1 ... */
#if FC_REAL == 32
#define FC_HALVES(a, b, which) _mm256_permute2f128_ps(a, b, which)
#else
#define FC_HALVES(a, b, which) _mm256_permute2f128_pd(a, b, which)
#endif
FC_INLINE vreal vzip_low(vreal a, vreal b)
{
    return FC_HALVES(FC_OP(unpacklo)(a, b), FC_OP(unpackhi)(a, b), 0x20);
}
FC_INLINE vreal vzip_high(vreal a, vreal b)
{
    return FC_HALVES(FC_OP(unpacklo)(a, b), FC_OP(unpackhi)(a, b), 0x31);
}

/* Three vectors, element by element: a0 b0 c0 a1 b1 c1 ... Each lane takes one of three lanes in the same place. */
enum { TRIPLES = 1 };
#if FC_REAL == 32
#define FC_SPREAD(a, ...) _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(__VA_ARGS__))
#define FC_BLEND(a, b, c, second, third) _mm256_blend_ps(_mm256_blend_ps(a, b, second), c, third)
#define FC_TRIPLE(a, second, third, ...)                                 \
    FC_BLEND(FC_SPREAD(a[0], __VA_ARGS__), FC_SPREAD(a[1], __VA_ARGS__), \
             FC_SPREAD(a[2], __VA_ARGS__), second, third)
#else
#define FC_TRIPLE(a, second, third, order)                                       \
    _mm256_blend_pd(_mm256_blend_pd(_mm256_permute4x64_pd(a[0], order),          \
                                    _mm256_permute4x64_pd(a[1], order), second), \
                    _mm256_permute4x64_pd(a[2], order), third)
#endif
FC_INLINE void vtriple(vreal a[3])
{
#if FC_REAL == 32
    const vreal first = FC_TRIPLE(a, 0x92, 0x24, 0, 0, 0, 1, 1, 1, 2, 2);
    const vreal second = FC_TRIPLE(a, 0x24, 0x49, 2, 3, 3, 3, 4, 4, 4, 5);
    a[2] = FC_TRIPLE(a, 0x49, 0x92, 5, 5, 6, 6, 6, 7, 7, 7);
#else
    const vreal first = FC_TRIPLE(a, 0x2, 0x4, _MM_SHUFFLE(1, 0, 0, 0));
    const vreal second = FC_TRIPLE(a, 0x9, 0x2, _MM_SHUFFLE(2, 2, 1, 1));
    a[2] = FC_TRIPLE(a, 0x4, 0x9, _MM_SHUFFLE(3, 3, 3, 2));
#endif
    a[0] = first;
    a[1] = second;
}

/* The lower half of a, and then that of b; of what lies at p and q, where the lower half of m has lanes. */
FC_INLINE vreal vhalves(vreal a, vreal b) { return FC_HALVES(a, b, 0x20); }
FC_INLINE vreal vload_halves(vmask m, const real *p, const real *q)
{
    const __m128i half = _mm256_castsi256_si128(m);
#if FC_REAL == 32
    return _mm256_set_m128(_mm_maskload_ps(q, half), _mm_maskload_ps(p, half));
#else
    return _mm256_set_m128d(_mm_maskload_pd(q, half), _mm_maskload_pd(p, half));
#endif
}
/* The first n lanes of the upper half. */
FC_INLINE void vstore_second(real *p, vreal a, int n) { vstore_first(p, FC_HALVES(a, a, 0x31), n); }

/* 16 bytes from each row. */
enum { PIECE = 16 / (int)sizeof(real) };
FC_INLINE vreal vload_pieces(const real *const row[2], ptrdiff_t at)
{
#if FC_REAL == 32
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[0] + at)),
                                _mm_loadu_ps(row[1] + at), 1);
#else
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(row[0] + at)),
                                _mm_loadu_pd(row[1] + at), 1);
#endif
}

/* The lower and the upper halves of each piece of a and b, interleaved. */
FC_INLINE vreal vzip_pieces_low(vreal a, vreal b) { return FC_OP(unpacklo)(a, b); }
FC_INLINE vreal vzip_pieces_high(vreal a, vreal b) { return FC_OP(unpackhi)(a, b); }

/* Elements 0, 2, 4, ... of a and then b, and elements 1, 3, 5, ...: the inverse of the two above. */
#if FC_REAL == 32
#define FC_QUARTERS(a) \
    _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), _MM_SHUFFLE(3, 1, 2, 0)))
FC_INLINE vreal vevens(vreal a, vreal b) { return FC_QUARTERS(_mm256_shuffle_ps(a, b, 0x88)); }
FC_INLINE vreal vodds(vreal a, vreal b) { return FC_QUARTERS(_mm256_shuffle_ps(a, b, 0xdd)); }
#else
#define FC_QUARTERS(a) _mm256_permute4x64_pd(a, _MM_SHUFFLE(3, 1, 2, 0))
FC_INLINE vreal vevens(vreal a, vreal b) { return FC_QUARTERS(_mm256_unpacklo_pd(a, b)); }
FC_INLINE vreal vodds(vreal a, vreal b) { return FC_QUARTERS(_mm256_unpackhi_pd(a, b)); }
#endif

/* p[2 * i] = a[i] for the first n lanes; what lies between may be another's, and is not touched. */
FC_INLINE void vstore_evens(real *p, vreal a, int n)
{
#if FC_REAL == 32
    const vmask evens = _mm256_setr_epi32(-1, 0, -1, 0, -1, 0, -1, 0);
#else
    const vmask evens = _mm256_setr_epi64x(-1, 0, -1, 0);
#endif
    const int low = 2 * n < LANES ? 2 * n : LANES;
    FC_OP(maskstore)(p, viand(evens, vfirst(low)), vzip_low(a, a));
    if (2 * n > LANES)
        FC_OP(maskstore)(p + LANES, viand(evens, vfirst(2 * n - LANES)), vzip_high(a, a));
}

/* The first `channels` of every `group` lanes, side by side; what follows is undefined. */
FC_INLINE vreal vcompact(vreal a, int group, int channels)
{
#if FC_REAL == 32
    const vint lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const vint second = FC_IOP(cmpgt)(lanes, viset1(channels - 1));
    return _mm256_permutevar8x32_ps(a, viadd(lanes, viand(second, viset1(group - channels))));
#else
    (void)group;
    (void)channels;
    return a;
#endif
}

/* 6 x 2 accumulators, 2 vectors of the kernel and one of x: 15 of 16 registers. */
#define TILE_PIXELS 6
#define TILE_VECTORS 2
#define TILE_CASES FC_CASES_6
#define CHAIN_PIXELS TILE_PIXELS
#define CHAIN_CASES TILE_CASES
#define PAIR_CASES FC_CASES_3

/* What inline assembly calls a vector register. */
#define VREGISTER "x"
