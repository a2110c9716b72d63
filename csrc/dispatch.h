/* dispatch.h: which kernels run on this CPU. */
#ifndef FC_DISPATCH_H
#define FC_DISPATCH_H

#include "fastconv.h"
#include "kernels.h"

/* The kernels of one instruction set, indexed by fc_dtype. */
struct fc_isa {
    const char *name;
    const struct fc_kernels *kernels[2];
};

/* The table of the calling thread: the one forced on it, else the one chosen at load; NULL where
 * FASTCONV_ISA asks for one that is not available. */
const struct fc_isa *fc_current_isa(void);

static inline const struct fc_kernels *fc_current_kernels(fc_dtype dtype)
{
    const struct fc_isa *isa = fc_current_isa();
    return isa ? isa->kernels[dtype] : NULL;
}

static inline size_t fc_element_size(fc_dtype dtype)
{
    return dtype == FC_FLOAT32 ? sizeof(float) : sizeof(double);
}

/* Elements of a unit. */
static inline int64_t fc_unit(fc_dtype dtype)
{
    return FC_UNIT_BYTES / (int64_t)fc_element_size(dtype);
}

#endif
