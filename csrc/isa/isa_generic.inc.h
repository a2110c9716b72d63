/* isa_generic.inc.h: the kernels in plain C vectors for the float type FC_REAL. */
#include "isa_begin.h"
#include "../simd/simd_generic.h"
#include "../kernels/table.inc.h"
