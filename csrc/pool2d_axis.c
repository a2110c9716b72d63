/* pool2d_axis.c: which sources each target of a pooling pass reads, in one direction. */
#include "pool2d_axis.h"

static int64_t greatest_common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void fc_pool2d_axis_set(struct fc_pool2d_axis *self, const struct fc_axis *axis, bool adjoint)
{
    const int64_t extent = (axis->taps - 1) * axis->dilation;
    *self = (struct fc_pool2d_axis){.axis = *axis, .adjoint = adjoint};
    if (adjoint) {
        /* Outputs from the first that tap 0 may belong to, up to the last that the last tap may. */
        self->targets = axis->in;
        self->sources = axis->out;
        self->step = axis->dilation / greatest_common_divisor(axis->stride, axis->dilation);
        self->period = axis->stride;
        self->advance = 1;
        self->begin = extent - axis->stride + 1 - axis->before;
        self->end = axis->out * axis->stride - axis->before;
    } else {
        self->targets = axis->out;
        self->sources = axis->in;
        self->step = axis->dilation;
        self->period = 1;
        self->advance = axis->stride;
        self->begin = fc_ceil_div(axis->before, axis->stride);
        self->end = fc_floor_div(axis->in - 1 - extent + axis->before, axis->stride) + 1;
    }
    /* Distances beyond the other end are never walked; cut, their products with strides fit. */
    self->step = fc_min(self->step, fc_max(self->sources, 1));
    self->advance = fc_min(self->advance, fc_max(self->sources, 1));
    self->period = fc_min(self->period, fc_max(self->targets, 1));
    self->begin = fc_min(fc_max(self->begin, 0), self->targets);
    self->end = fc_max(fc_min(self->end, self->targets), self->begin);
}

static void forward_window(const struct fc_pool2d_axis *self, int64_t target, int64_t *first,
                           int64_t *count)
{
    const struct fc_axis *axis = &self->axis;
    int64_t begin = 0, end = axis->taps;
    if (target < self->begin || target >= self->end)
        fc_axis_taps(axis, target, &begin, &end);
    *first = target * axis->stride - axis->before + begin * axis->dilation;
    *count = end - begin;
}

/* Output o holds the target where target + before - o * stride is a multiple of dilation. */
static void adjoint_window(const struct fc_pool2d_axis *self, int64_t target, int64_t *first,
                           int64_t *count)
{
    const struct fc_axis *axis = &self->axis;
    int64_t begin, end;
    fc_pool2d_axis_reach(self, target, target + 1, &begin, &end);
    const int64_t cycle_end = fc_min(end, begin + self->step);
    while (begin < cycle_end &&
           (target + axis->before - begin * axis->stride) % axis->dilation != 0)
        begin++;
    *first = begin;
    *count = begin < cycle_end ? (end - begin - 1) / self->step + 1 : 0;
}

void fc_pool2d_axis_window(const struct fc_pool2d_axis *self, int64_t target, int64_t *first,
                           int64_t *count)
{
    if (self->adjoint)
        adjoint_window(self, target, first, count);
    else
        forward_window(self, target, first, count);
}

void fc_pool2d_axis_reach(const struct fc_pool2d_axis *self, int64_t first, int64_t last,
                          int64_t *begin, int64_t *end)
{
    const struct fc_axis *axis = &self->axis;
    const int64_t extent = (axis->taps - 1) * axis->dilation;
    if (self->adjoint) {
        *begin = fc_ceil_div(first + axis->before - extent, axis->stride);
        *end = fc_floor_div(last - 1 + axis->before, axis->stride) + 1;
    } else {
        *begin = first * axis->stride - axis->before;
        *end = (last - 1) * axis->stride - axis->before + extent + 1;
    }
    *begin = fc_min(fc_max(*begin, 0), self->sources);
    *end = fc_max(fc_min(*end, self->sources), *begin);
}

int64_t fc_pool2d_axis_span(const struct fc_pool2d_axis *self, int64_t targets)
{
    const struct fc_axis *axis = &self->axis;
    const int64_t extent = (axis->taps - 1) * axis->dilation;
    const int64_t span = self->adjoint ? (targets - 1 + extent) / axis->stride + 1
                                       : (targets - 1) * axis->stride + extent + 1;
    return fc_min(span, self->sources);
}

int64_t fc_pool2d_axis_divisor(const struct fc_axis *axis, int64_t output, bool include_pad)
{
    int64_t begin, end;
    if (include_pad) {
        const int64_t first = output * axis->stride - axis->before;
        return fc_min(axis->taps, fc_ceil_div(axis->in + axis->after - first, axis->dilation));
    }
    fc_axis_taps(axis, output, &begin, &end);
    return end - begin;
}

void fc_pool2d_put(size_t size, char *table, int64_t at, int64_t value)
{
    if (size == sizeof(float))
        ((float *)(void *)table)[at] = (float)value;
    else
        ((double *)(void *)table)[at] = (double)value;
}

void fc_pool2d_put_divisors(const struct fc_axis *axis, bool include_pad, int64_t times,
                            int64_t count, size_t size, char *table)
{
    for (int64_t i = 0; i < count; i++)
        fc_pool2d_put(size, table, i,
                      i < axis->out ? times * fc_pool2d_axis_divisor(axis, i, include_pad) : 1);
}

bool fc_pool2d_axis_slides(const struct fc_axis *axis)
{
    return axis->taps == 3 && axis->stride == 1 && axis->dilation == 1 && axis->before == 1 &&
           axis->out == axis->in;
}

bool fc_pool2d_axis_steps_by_two(const struct fc_axis *axis)
{
    return axis->taps == 3 && axis->stride == 2 && axis->dilation == 1 && axis->before <= 1 &&
           axis->out > 0 && axis->in + axis->before <= 2 * axis->out + 2;
}

bool fc_pool2d_axis_halves(const struct fc_axis *axis)
{
    return fc_pool2d_axis_steps_by_two(axis) && axis->in + axis->before >= 2 * axis->out;
}
