/* isa_avx512_f32.c: the kernels in AVX-512 for float32. */
#define FC_REAL 32
#define FC_TABLE fc_kernels_avx512_f32
#include "isa_avx512.inc.h"
