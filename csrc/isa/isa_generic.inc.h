/* isa_generic.inc.h: the kernels in plain C vectors for the float type FC_REAL. */
#include "isa_begin.h"
#if !defined(__clang__)
/* A wheel is 8 % smaller for it; CPUs that have nothing better take 5 to 15 % more time. */
#pragma GCC push_options
#pragma GCC optimize("Os")
#endif
#include "../simd/simd_generic.h"
#include "../kernels/table.inc.h"
#if !defined(__clang__)
#pragma GCC pop_options
#endif
