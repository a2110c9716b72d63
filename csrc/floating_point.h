/* floating_point.h: the calling thread's floating-point state, set for a loop and then put back.
 *
 * Rounding goes to nearest, no exception traps, denormals are flushed or kept; what the caller had,
 * sticky exception flags included, comes back unchanged. */
#ifndef FC_FLOATING_POINT_H
#define FC_FLOATING_POINT_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__)

#include <xmmintrin.h>

typedef uint32_t fc_float_state; /* MXCSR */

enum {
    FC_MXCSR_FLAGS = 0x3f,         /* what has happened since they were cleared */
    FC_MXCSR_DEFAULT = 0x1f80,     /* all exceptions masked, round to nearest */
    FC_MXCSR_FLUSH = 0x8000 | 0x40 /* results (FTZ) and operands (DAZ) */
};

/* What a switch costs is the flags: to enter with the caller's own, and to write on leaving without
 * a look at what is there, takes 6 ns (30 where a flag was raised); to enter with none and compare
 * before writing took 40 to 200, since a read after the flags have changed drains the pipeline. */
static inline fc_float_state fc_float_enter(bool flush)
{
    const uint32_t before = _mm_getcsr();
    const uint32_t flags = before & FC_MXCSR_FLAGS;
    const uint32_t wanted = FC_MXCSR_DEFAULT | flags | (flush ? FC_MXCSR_FLUSH : 0);
    if (before != wanted)
        _mm_setcsr(wanted);
    return before;
}

static inline void fc_float_leave(fc_float_state before) { _mm_setcsr(before); }

#elif defined(__aarch64__)

typedef struct {
    uint64_t control, flags; /* FPCR, FPSR */
} fc_float_state;

#define FC_FPCR_FLUSH (UINT64_C(1) << 24) /* results and operands, as FTZ and DAZ together */

/* All else zero: round to nearest, no traps, NaN propagated as IEEE 754 has it. */
static inline fc_float_state fc_float_enter(bool flush)
{
    fc_float_state before;
    const uint64_t wanted = flush ? FC_FPCR_FLUSH : 0;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(before.control), "=r"(before.flags));
    if (before.control != wanted)
        __asm__ volatile("msr fpcr, %0" : : "r"(wanted) : "memory");
    return before;
}

static inline void fc_float_leave(fc_float_state before)
{
    uint64_t control, flags;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(flags) : : "memory");
    if (control != before.control)
        __asm__ volatile("msr fpcr, %0" : : "r"(before.control) : "memory");
    if (flags != before.flags)
        __asm__ volatile("msr fpsr, %0" : : "r"(before.flags) : "memory");
}

#else /* what C alone knows: denormals stay as they are */

#include <fenv.h>

typedef fenv_t fc_float_state;

static inline fc_float_state fc_float_enter(bool flush)
{
    fenv_t before;
    fegetenv(&before);
    fesetenv(FE_DFL_ENV);
    (void)flush;
    return before;
}

static inline void fc_float_leave(fc_float_state before) { fesetenv(&before); }

#endif

#endif
