/* math_kernels.h: the contracts of the elementwise functions.
 *
 * Nothing but additions, multiplications, divisions, multiply-adds and operations on bits, each of
 * which IEEE 754 defines to the last bit, so that every instruction set with fused multiply-add
 * gives the same results; what is left over at the end goes through the same vector code. */
#ifndef FC_MATH_KERNELS_H
#define FC_MATH_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "fastconv.h"

enum { FC_FUNCTIONS = FC_SIGMOID + 1 };

struct fc_math_kernels {
    /* y[i] = f(x[i]) for i < count, indexed by fc_function; x and y may be the same. */
    void (*function[FC_FUNCTIONS])(const void *x, void *y, int64_t count);
    /* dx[i] = dy[i] where y[i] > 0, and below 6 where limited, +0 elsewhere; dx may be dy or y. */
    void (*gate)(const void *dy, const void *y, void *dx, int64_t count, bool limited);
    /* y[r][:] = exp(x[r][:] - max) / sum(exp(x[r][:] - max)); columns >= 1. */
    void (*softmax)(const void *x, void *y, int64_t rows, int64_t columns);
};

#endif
