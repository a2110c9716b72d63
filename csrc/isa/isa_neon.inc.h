/* isa_neon.inc.h: the kernels in NEON for the float type FC_REAL. */
#include "isa_begin.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#include "../simd/simd_neon.h"
#include "../kernels/table.inc.h"
#endif
