/* isa_neon_f32.c: the kernels in NEON for float32. */
#define FC_REAL 32
#define FC_TABLE fc_kernels_neon_f32
#include "isa_neon.inc.h"
