/* isa_avx2.inc.h: the kernels in AVX2 and FMA for the float type FC_REAL. */
#include "isa_begin.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "../simd/simd_avx2.h"
#include "../kernels/table.inc.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
