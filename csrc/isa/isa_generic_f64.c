/* isa_generic_f64.c: the kernels in plain C vectors for float64. */
#define FC_REAL 64
#define FC_TABLE fc_kernels_generic_f64
#include "isa_generic.inc.h"
