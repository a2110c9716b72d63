/* simd_generic.h: the vector vocabulary in the compiler's own 16-byte vectors, for the float type
 * FC_REAL: what any CPU has. Multiply-add rounds twice here. */
#if FC_REAL == 32
typedef float real;
typedef int32_t integer;
typedef float vreal __attribute__((vector_size(16)));
typedef int32_t vint __attribute__((vector_size(16)));
typedef uint32_t vuint __attribute__((vector_size(16)));
enum { LANES = 4 };
#else
typedef double real;
typedef int64_t integer;
typedef double vreal __attribute__((vector_size(16)));
typedef int64_t vint __attribute__((vector_size(16)));
typedef uint64_t vuint __attribute__((vector_size(16)));
enum { LANES = 2 };
#endif
typedef vint vmask; /* all bits of a lane, or none */

FC_INLINE vreal vset1(real a)
{
#if FC_REAL == 32
    return (vreal){a, a, a, a};
#else
    return (vreal){a, a};
#endif
}
FC_INLINE vint viset1(integer a)
{
#if FC_REAL == 32
    return (vint){a, a, a, a};
#else
    return (vint){a, a};
#endif
}
FC_INLINE vreal vzero(void) { return vset1(0); }
FC_INLINE vreal vload(const real *p)
{
    vreal a;
    memcpy(&a, p, sizeof a);
    return a;
}
FC_INLINE void vstore(real *p, vreal a) { memcpy(p, &a, sizeof a); }
FC_INLINE void vstream(real *p, vreal a) { vstore(p, a); } /* no such instruction in C */
FC_INLINE vreal vadd(vreal a, vreal b) { return a + b; }
FC_INLINE vreal vsub(vreal a, vreal b) { return a - b; }
FC_INLINE vreal vmul(vreal a, vreal b) { return a * b; }
FC_INLINE vreal vdiv(vreal a, vreal b) { return a / b; }
FC_INLINE vreal vfma(vreal a, vreal b, vreal c) { return a * b + c; }

FC_INLINE vint viload(const integer *p)
{
    vint a;
    memcpy(&a, p, sizeof a);
    return a;
}
FC_INLINE void vistore(integer *p, vint a) { memcpy(p, &a, sizeof a); }
/* int64 in lanes of integer; what does not fit becomes the least or the greatest. */
FC_INLINE vint viload_index(const int64_t *p)
{
    integer lanes[LANES];
    for (int i = 0; i < LANES; i++)
        lanes[i] = (integer)(sizeof(integer) == 8 ? p[i]
                             : p[i] < INT32_MIN   ? INT32_MIN
                             : p[i] > INT32_MAX   ? INT32_MAX
                                                  : p[i]);
    return viload(lanes);
}
FC_INLINE vmask viequal(vint a, vint b) { return a == b; }
FC_INLINE vmask vigreater(vint a, vint b) { return a > b; }
FC_INLINE vint viselect(vmask m, vint a, vint b) { return (m & a) | (~m & b); }
/* Unsigned, since these wrap. */
FC_INLINE vint viadd(vint a, vint b) { return (vint)((vuint)a + (vuint)b); }
FC_INLINE vint visub(vint a, vint b) { return (vint)((vuint)a - (vuint)b); }
FC_INLINE vint vimul(vint a, vint b) { return (vint)((vuint)a * (vuint)b); }
FC_INLINE vint viand(vint a, vint b) { return a & b; }
FC_INLINE vint vior(vint a, vint b) { return a | b; }
FC_INLINE vint vas_int(vreal a) { return (vint)a; }
FC_INLINE vreal vas_real(vint a) { return (vreal)a; }
/* By a constant; zeros come in at both ends. */
#define vishift_left(a, n) ((vint)((vuint)(a) << (n)))
#define vishift_right(a, n) ((vint)((vuint)(a) >> (n)))

FC_INLINE vmask vgreater(vreal a, vreal b) { return a > b; }
FC_INLINE vmask vat_least(vreal a, vreal b) { return a >= b; }
FC_INLINE vmask visnan(vreal a) { return a != a; }
FC_INLINE vmask vmask_or(vmask a, vmask b) { return a | b; }
FC_INLINE vmask vmask_andnot(vmask a, vmask b) { return a & ~b; }
FC_INLINE vreal vselect(vmask m, vreal a, vreal b) { return (vreal)viselect(m, (vint)a, (vint)b); }
/* sum + a where m, sum elsewhere; for a sum that began with zero, and so is not -0. */
FC_INLINE vreal vadd_where(vmask m, vreal sum, vreal a) { return sum + (vreal)(m & (vint)a); }
/* a > b ? a : b and a < b ? a : b. */
FC_INLINE vreal vgreater_of(vreal a, vreal b) { return vselect(a > b, a, b); }
FC_INLINE vreal vlesser_of(vreal a, vreal b) { return vselect(a < b, a, b); }
/* a is no NaN; nor was what m tells of. */
FC_INLINE vmask visnumber(vreal a) { return a == a; }
FC_INLINE vmask visnumber_too(vmask m, vreal a) { return m & (a == a); }
/* a is NaN, or greater; or less: where m, which tells where b is none. Known beforehand it is not waited for. */
FC_INLINE vmask vabove(vmask m, vreal a, vreal b) { return m & ~(a <= b); }
FC_INLINE vmask vbelow(vmask m, vreal a, vreal b) { return m & ~(a >= b); }

/* The lanes before those of b, and those after a's: a's last and then b, a and then b's first. */
#if FC_REAL == 32
FC_INLINE vreal vbefore(vreal a, vreal b) { return (vreal){a[3], b[0], b[1], b[2]}; }
FC_INLINE vreal vafter(vreal a, vreal b) { return (vreal){a[1], a[2], a[3], b[0]}; }
#else
FC_INLINE vreal vbefore(vreal a, vreal b) { return (vreal){a[1], b[0]}; }
FC_INLINE vreal vafter(vreal a, vreal b) { return (vreal){a[1], b[0]}; }
#endif

/* The lower and the upper halves of a and b, interleaved: a0 b0 a1 b1 ... */
#if FC_REAL == 32
FC_INLINE vreal vzip_low(vreal a, vreal b) { return (vreal){a[0], b[0], a[1], b[1]}; }
FC_INLINE vreal vzip_high(vreal a, vreal b) { return (vreal){a[2], b[2], a[3], b[3]}; }
#else
FC_INLINE vreal vzip_low(vreal a, vreal b) { return (vreal){a[0], b[0]}; }
FC_INLINE vreal vzip_high(vreal a, vreal b) { return (vreal){a[1], b[1]}; }
#endif

/* The lower half of a, and then that of b. */
#if FC_REAL == 32
FC_INLINE vreal vhalves(vreal a, vreal b) { return (vreal){a[0], a[1], b[0], b[1]}; }
#else
FC_INLINE vreal vhalves(vreal a, vreal b) { return (vreal){a[0], b[0]}; }
#endif

/* Elements 0, 2, 4, ... of a and then b, and elements 1, 3, 5, ...: the inverse of the two above. */
#if FC_REAL == 32
FC_INLINE vreal vevens(vreal a, vreal b) { return (vreal){a[0], a[2], b[0], b[2]}; }
FC_INLINE vreal vodds(vreal a, vreal b) { return (vreal){a[1], a[3], b[1], b[3]}; }
#else
FC_INLINE vreal vevens(vreal a, vreal b) { return (vreal){a[0], b[0]}; }
FC_INLINE vreal vodds(vreal a, vreal b) { return (vreal){a[1], b[1]}; }
#endif

#include "simd_16_bytes.h"

/* 2 x 4 accumulators, 4 vectors of the kernel and one of x: 13 of SSE2's 16 registers. */
#define TILE_PIXELS 2
#define TILE_VECTORS 4
#define TILE_CASES FC_CASES_2
#define CHAIN_PIXELS TILE_PIXELS
#define CHAIN_CASES TILE_CASES
#define PAIR_CASES FC_CASES_1

/* What inline assembly calls a vector register. */
#if defined(__x86_64__)
#define VREGISTER "x"
#elif defined(__aarch64__)
#define VREGISTER "w"
#else
#define VREGISTER "m"
#endif
