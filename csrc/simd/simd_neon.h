/* simd_neon.h: the vector vocabulary in NEON (aarch64), for the float type FC_REAL. */
#if FC_REAL == 32
typedef float real;
typedef int32_t integer;
typedef float32x4_t vreal;
typedef int32x4_t vint;
typedef uint32x4_t vmask; /* all bits of a lane, or none */
enum { LANES = 4 };
#define FC_OP(op) v##op##q_f32
#define FC_IOP(op) v##op##q_s32
#define FC_IMUL(a, b) vmulq_s32(a, b)
#define FC_MOP(op) v##op##q_u32
#define FC_NOT_EQUAL(a) vmvnq_u32(a)
#else
typedef double real;
typedef int64_t integer;
typedef float64x2_t vreal;
typedef int64x2_t vint;
typedef uint64x2_t vmask;
enum { LANES = 2 };
#define FC_OP(op) v##op##q_f64
#define FC_IOP(op) v##op##q_s64
#define FC_IMUL(a, b) vmull_s32(vmovn_s64(a), vmovn_s64(b))
#define FC_MOP(op) v##op##q_u64
#define FC_NOT_EQUAL(a) veorq_u64(a, vdupq_n_u64(~UINT64_C(0)))
#endif

#if FC_REAL == 32
FC_INLINE vreal vset1(real a) { return vdupq_n_f32(a); }
FC_INLINE vint viset1(integer a) { return vdupq_n_s32(a); }
#else
FC_INLINE vreal vset1(real a) { return vdupq_n_f64(a); }
FC_INLINE vint viset1(integer a) { return vdupq_n_s64(a); }
#endif
FC_INLINE vreal vzero(void) { return vset1(0); }
FC_INLINE vreal vload(const real *p) { return FC_OP(ld1)(p); }
FC_INLINE void vstore(real *p, vreal a) { FC_OP(st1)(p, a); }
FC_INLINE void vstream(real *p, vreal a) { vstore(p, a); } /* no such instruction in C */
FC_INLINE vreal vadd(vreal a, vreal b) { return FC_OP(add)(a, b); }
FC_INLINE vreal vsub(vreal a, vreal b) { return FC_OP(sub)(a, b); }
FC_INLINE vreal vmul(vreal a, vreal b) { return FC_OP(mul)(a, b); }
FC_INLINE vreal vdiv(vreal a, vreal b) { return FC_OP(div)(a, b); }
FC_INLINE vreal vfma(vreal a, vreal b, vreal c) { return FC_OP(fma)(c, a, b); }

FC_INLINE vmask vgreater(vreal a, vreal b) { return FC_OP(cgt)(a, b); }
FC_INLINE vmask vat_least(vreal a, vreal b) { return FC_OP(cge)(a, b); }
FC_INLINE vmask visnan(vreal a) { return FC_NOT_EQUAL(FC_OP(ceq)(a, a)); }
FC_INLINE vmask vmask_or(vmask a, vmask b) { return FC_MOP(orr)(a, b); }
FC_INLINE vmask vmask_andnot(vmask a, vmask b) { return FC_MOP(bic)(a, b); }
FC_INLINE vreal vselect(vmask m, vreal a, vreal b) { return FC_OP(bsl)(m, a, b); }
/* sum + a where m, sum elsewhere; for a sum that began with zero, and so is not -0. */
FC_INLINE vreal vadd_where(vmask m, vreal sum, vreal a) { return vselect(m, vadd(sum, a), sum); }
/* a > b ? a : b and a < b ? a : b. */
FC_INLINE vreal vgreater_of(vreal a, vreal b) { return vselect(vgreater(a, b), a, b); }
FC_INLINE vreal vlesser_of(vreal a, vreal b) { return vselect(vgreater(b, a), a, b); }
/* a is no NaN; nor was what m tells of. */
FC_INLINE vmask visnumber(vreal a) { return FC_OP(ceq)(a, a); }
FC_INLINE vmask visnumber_too(vmask m, vreal a) { return FC_MOP(and)(m, visnumber(a)); }
/* a is NaN, or greater; or less: where m, which tells where b is none. Known beforehand it is not waited for. */
FC_INLINE vmask vabove(vmask m, vreal a, vreal b) { return vmask_andnot(m, FC_OP(cle)(a, b)); }
FC_INLINE vmask vbelow(vmask m, vreal a, vreal b) { return vmask_andnot(m, FC_OP(cge)(a, b)); }

FC_INLINE vint viload(const integer *p) { return FC_IOP(ld1)(p); }
FC_INLINE void vistore(integer *p, vint a) { FC_IOP(st1)(p, a); }
/* int64 in lanes of integer; what does not fit becomes the least or the greatest. */
FC_INLINE vint viload_index(const int64_t *p)
{
#if FC_REAL == 32
    return vcombine_s32(vqmovn_s64(vld1q_s64(p)), vqmovn_s64(vld1q_s64(p + 2)));
#else
    return vld1q_s64(p);
#endif
}
FC_INLINE vmask viequal(vint a, vint b) { return FC_IOP(ceq)(a, b); }
FC_INLINE vmask vigreater(vint a, vint b) { return FC_IOP(cgt)(a, b); }
FC_INLINE vint viselect(vmask m, vint a, vint b) { return FC_IOP(bsl)(m, a, b); }
FC_INLINE vint viadd(vint a, vint b) { return FC_IOP(add)(a, b); }
FC_INLINE vint visub(vint a, vint b) { return FC_IOP(sub)(a, b); }
/* a * b of numbers that are not negative, of 31 bits, as their product is. */
FC_INLINE vint vimul(vint a, vint b) { return FC_IMUL(a, b); }
FC_INLINE vint viand(vint a, vint b) { return FC_IOP(and)(a, b); }
FC_INLINE vint vior(vint a, vint b) { return FC_IOP(orr)(a, b); }
/* Shifts by a constant; zeros come in at both ends. */
#if FC_REAL == 32
FC_INLINE vint vas_int(vreal a) { return vreinterpretq_s32_f32(a); }
FC_INLINE vreal vas_real(vint a) { return vreinterpretq_f32_s32(a); }
#define vishift_left(a, n) vshlq_n_s32(a, n)
#define vishift_right(a, n) vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), n))
#else
FC_INLINE vint vas_int(vreal a) { return vreinterpretq_s64_f64(a); }
FC_INLINE vreal vas_real(vint a) { return vreinterpretq_f64_s64(a); }
#define vishift_left(a, n) vshlq_n_s64(a, n)
#define vishift_right(a, n) vreinterpretq_s64_u64(vshrq_n_u64(vreinterpretq_u64_s64(a), n))
#endif

/* The lanes before those of b, and those after a's: a's last and then b, a and then b's first. */
FC_INLINE vreal vbefore(vreal a, vreal b) { return FC_OP(ext)(a, b, LANES - 1); }
FC_INLINE vreal vafter(vreal a, vreal b) { return FC_OP(ext)(a, b, 1); }

/* The lower and the upper halves of a and b, interleaved: a0 b0 a1 b1 ... */
FC_INLINE vreal vzip_low(vreal a, vreal b) { return FC_OP(zip1)(a, b); }
FC_INLINE vreal vzip_high(vreal a, vreal b) { return FC_OP(zip2)(a, b); }

/* The lower half of a, and then that of b. */
#if FC_REAL == 32
FC_INLINE vreal vhalves(vreal a, vreal b) { return vcombine_f32(vget_low_f32(a), vget_low_f32(b)); }
#else
FC_INLINE vreal vhalves(vreal a, vreal b) { return vzip1q_f64(a, b); }
#endif

/* Elements 0, 2, 4, ... of a and then b, and elements 1, 3, 5, ...: the inverse of the two above. */
FC_INLINE vreal vevens(vreal a, vreal b) { return FC_OP(uzp1)(a, b); }
FC_INLINE vreal vodds(vreal a, vreal b) { return FC_OP(uzp2)(a, b); }

#include "simd_16_bytes.h"

/* 6 x 4 accumulators, 4 vectors of the kernel and one of x: 29 of 32 registers. */
#define TILE_PIXELS 6
#define TILE_VECTORS 4
#define TILE_CASES FC_CASES_6
#define CHAIN_PIXELS TILE_PIXELS
#define CHAIN_CASES TILE_CASES
#define PAIR_CASES FC_CASES_3

/* What inline assembly calls a vector register. */
#define VREGISTER "w"
