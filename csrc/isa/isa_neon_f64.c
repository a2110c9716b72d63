/* isa_neon_f64.c: the kernels in NEON for float64. */
#define FC_REAL 64
#define FC_TABLE fc_kernels_neon_f64
#include "isa_neon.inc.h"
