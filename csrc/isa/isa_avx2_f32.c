/* isa_avx2_f32.c: the kernels in AVX2 and FMA for float32. */
#define FC_REAL 32
#define FC_TABLE fc_kernels_avx2_f32
#include "isa_avx2.inc.h"
