/* isa_avx512.inc.h: the kernels in AVX-512 (F, BW, DQ, VL) for the float type FC_REAL. */
#include "isa_begin.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
/* Addresses for which integer registers are lacking gcc keeps in vector registers, of which AVX-512 has 32.
 * From there they come behind the multiply-adds that wait: 17 cycles a run of terms in tiles of up to 12
 * pixels, 92 % of the peak where it is 98 so. */
#define FC_SPILL_TO_STACK __attribute__((target("tune=skylake-avx512")))
#endif
#include "../simd/simd_avx512.h"
#include "../kernels/table.inc.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
