/* pool2d_axis.h: which sources each target of a pooling pass reads, in one direction.
 *
 * Forward, the targets are outputs and the sources the inputs below their window. The gradient of
 * an average is the same thing seen from the other side: the targets are inputs, and the sources
 * the outputs whose windows hold them. In both, the sources of a target are evenly spaced. */
#ifndef FC_POOL2D_AXIS_H
#define FC_POOL2D_AXIS_H

#include <stddef.h>

#include "geometry.h"

/* Target t reads sources first, first + step, ...; target t + period reads as many, advance
 * further, as long as both lie in the regular range [begin, end): there no source is missing at an
 * end. */
struct fc_pool2d_axis {
    struct fc_axis axis;
    bool adjoint;
    int64_t targets, sources, step, period, advance, begin, end;
};

void fc_pool2d_axis_set(struct fc_pool2d_axis *self, const struct fc_axis *axis, bool adjoint);

/* The sources of a target: count may be 0. */
void fc_pool2d_axis_window(const struct fc_pool2d_axis *self, int64_t target, int64_t *first,
                           int64_t *count);

/* [*begin, *end) holds every source of the targets in [first, last). */
void fc_pool2d_axis_reach(const struct fc_pool2d_axis *self, int64_t first, int64_t last,
                          int64_t *begin, int64_t *end);

/* The most that fc_pool2d_axis_reach says for that many targets. */
int64_t fc_pool2d_axis_span(const struct fc_pool2d_axis *self, int64_t targets);

/* How many taps of an output count in an average: those on the image, or with padding those up to
 * the end of it, beyond which lies what ceil mode adds. */
int64_t fc_pool2d_axis_divisor(const struct fc_axis *axis, int64_t output, bool include_pad);

/* table[at] = value, in floating-point numbers of so many bytes. */
void fc_pool2d_put(size_t size, char *table, int64_t at, int64_t value);

/* By what the first `count` windows divide, times a number, and ones beyond the last. */
void fc_pool2d_put_divisors(const struct fc_axis *axis, bool include_pad, int64_t times,
                            int64_t count, size_t size, char *table);

/* Whether windows of three slide by one, with an element of padding at either end. */
bool fc_pool2d_axis_slides(const struct fc_axis *axis);

/* Whether windows of three step by two, from the first element or the one before it on, and leave at most one element
 * beyond the last; and whether that one has two elements at least. */
bool fc_pool2d_axis_steps_by_two(const struct fc_axis *axis);
bool fc_pool2d_axis_halves(const struct fc_axis *axis);

#endif
