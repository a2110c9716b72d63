/* isa_neon.inc.h: the kernels in NEON for the float type FC_REAL. */
#include "isa_begin.h"
#if defined(__aarch64__)
#if !defined(__clang__)
/* Else gcc moves the loads of a step to its beginning, and has no registers left for 3 of 24 sums. */
#pragma GCC push_options
#pragma GCC optimize("no-schedule-insns")
#endif
#include <arm_neon.h>
#include "../simd/simd_neon.h"
#include "../kernels/table.inc.h"
#if !defined(__clang__)
#pragma GCC pop_options
#endif
#endif
