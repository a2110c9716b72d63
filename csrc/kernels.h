/* kernels.h: the table of kernels that each instruction set fills for each float type.
 *
 * Kernels know arrays and tiles, never problems: no padding, no threads, no allocation, no failure.
 * Data pointers are void * here, since one driver serves both float types; strides and counts are in
 * elements. "Unit" below is 64 bytes of outputs: 16 float32 or 8 float64, on every instruction set,
 * so that block sizes, and with them the order of sums, are the same everywhere. */
#ifndef FC_KERNELS_H
#define FC_KERNELS_H

#include "conv2d_kernels.h"
#include "dense_kernels.h"
#include "depthwise_kernels.h"
#include "few_kernels.h"
#include "math_kernels.h"
#include "pool2d_kernels.h"
#include "winograd_kernels.h"

struct fc_kernels {
    struct fc_conv2d_kernels conv2d;
    struct fc_dense_kernels dense;
    struct fc_depthwise_kernels depthwise;
    struct fc_few_kernels few;
    struct fc_winograd_kernels winograd;
    struct fc_pool2d_kernels pool2d;
    struct fc_math_kernels math;
};

#endif
