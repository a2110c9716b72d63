/* isa_generic_f32.c: the kernels in plain C vectors for float32. */
#define FC_REAL 32
#define FC_TABLE fc_kernels_generic_f32
#include "isa_generic.inc.h"
