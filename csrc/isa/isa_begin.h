/* isa_begin.h: what every isa file includes before its target region opens: functions that a system
 * header defines must not be compiled for a CPU that may not be there. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../kernels.h"
#include "../simd/unroll.h"
