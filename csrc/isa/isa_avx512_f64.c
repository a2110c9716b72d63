/* isa_avx512_f64.c: the kernels in AVX-512 for float64. */
#define FC_REAL 64
#define FC_TABLE fc_kernels_avx512_f64
#include "isa_avx512.inc.h"
