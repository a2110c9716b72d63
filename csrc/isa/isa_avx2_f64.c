/* isa_avx2_f64.c: the kernels in AVX2 and FMA for float64. */
#define FC_REAL 64
#define FC_TABLE fc_kernels_avx2_f64
#include "isa_avx2.inc.h"
