/* winograd_lanes_kernel.c: which kernels of few outputs Winograd's algorithm takes along rows, and how they lie. */
#include <string.h>

#include "convolve_spread_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "winograd_lanes.h"
#include "workspace.h"

enum {
    MOST_POINTS = 8,
    MOST_CHANNELS = 2048,
    MOST_SUMS = 160,        /* of a pixel of x: their weights stay in the second-level cache */
    MOST_BYTES = 384 << 10, /* of the sums that a row of y reads, so that scratch is bounded */
    /* To pay for turning x and taking it to the points: columns and channels of x, and sums of a pixel. */
    FEWEST_COLUMNS = 8,
    STRIDED_COLUMNS = 24, /* of 3 taps a phase */
    FEWEST_CHANNELS = 16,
    FEWEST_SUMS = 14,
    FEWEST_OF_FOUR = 18, /* of 3 or 4 taps in all */
    WIDE_COLUMNS = 48,   /* or on wide rows */
    WIDE_CHANNELS = 32,
    WIDE_SUMS = 9
};

/* Those of a row of x. */
static int64_t sums_of(const struct fc_spread *spread, const struct fc_winograd_lanes *lanes)
{
    return lanes->lines * spread->kernel.kh;
}

/* A row of y reads sums of so many rows of x. */
static bool is_bounded(const struct fc_spread *spread, const struct fc_winograd_lanes *lanes)
{
    const int64_t rows = fc_ceil_div(spread->kernel.kh, spread->stride[0]);
    const int64_t tiles = fc_ceil_div(spread->x.w, FC_WINOGRAD_COLUMNS);
    return rows * lanes->points * sums_of(spread, lanes) * tiles *
               (int64_t)fc_element_size(spread->dtype) <=
           MOST_BYTES;
}

bool fc_winograd_lanes_of(const struct fc_spread *spread, struct fc_winograd_lanes *lanes)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t size[2] = {kernel->kh, kernel->kw};
    for (int a = 0; a < 2; a++)
        if (size[a] > FC_MOST_SPREAD_TAPS || spread->stride[a] > size[a] || spread->before[a] < 0 ||
            spread->before[a] >= size[a])
            return false;
    const int64_t stride = spread->stride[1], taps = fc_ceil_div(kernel->kw, stride);
    if (kernel->groups != 1 || taps < 3 || taps > 5 || kernel->c_in < 1 ||
        kernel->c_in > MOST_CHANNELS || kernel->c_out < 1 ||
        kernel->c_out >= fc_unit(spread->dtype) || spread->x.w < 1)
        return false;
    *lanes = (struct fc_winograd_lanes){
        .taps = (int)taps,
        .points = FC_WINOGRAD_COLUMNS + (int)taps - 1,
        .lines = stride * kernel->c_out,
        .full = (kernel->kw - (taps - 1) * stride) * kernel->c_out,
    };
    return sums_of(spread, lanes) <= MOST_SUMS && is_bounded(spread, lanes);
}

/* On Zen 4, against direct sums, on rows of 8 to 48 pixels in either layout: 5x5 to 3 to 10 channels takes 0.4 to 0.95
 * of the time, on 6 pixels 1.5 times, 3x3 to 6 to 10 0.6 to 1.08, to 3 channels up to 1.5 in planes, 4x4 to 4 up to
 * 1.2; 7x7 of strides 2 0.4 to 0.87, 5x5 of strides 2 0.73 to 1.0 from 24 pixels on. On rows of 48 and more 3x3 to 3
 * channels takes 0.83 to 0.98, with 16 channels more. Images of fewer tiles than a unit lose most lanes. Of more
 * outputs than two thirds of a unit tiles in two dimensions take half. */
bool fc_fits_winograd_lanes(const struct fc_spread *spread)
{
    struct fc_winograd_lanes lanes;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t columns = spread->x.w, unit = fc_unit(spread->dtype);
    const int64_t tiles = spread->x.h * fc_ceil_div(columns, FC_WINOGRAD_COLUMNS);
    if (tiles < unit || 3 * kernel->c_out > 2 * unit || !fc_winograd_lanes_of(spread, &lanes))
        return false;
    const int64_t sums = sums_of(spread, &lanes);
    const bool strided = spread->stride[1] > 1;
    return (sums >= (strided || lanes.taps > 4 ? FEWEST_SUMS : FEWEST_OF_FOUR) &&
            columns >= (strided && lanes.taps == 3 ? STRIDED_COLUMNS : FEWEST_COLUMNS) &&
            kernel->c_in >= fc_max(2 * kernel->c_out, FEWEST_CHANNELS)) ||
           (sums >= WIDE_SUMS && columns >= WIDE_COLUMNS && kernel->c_in >= WIDE_CHANNELS);
}

size_t fc_winograd_lanes_bytes(const struct fc_spread *spread,
                               const struct fc_winograd_lanes *lanes)
{
    return (size_t)(lanes->points * sums_of(spread, lanes) * spread->kernel.c_in) *
           fc_element_size(spread->dtype);
}

struct transform {
    const struct fc_spread *spread;
    const struct fc_winograd_lanes *lanes;
    const struct fc_winograd_kernels *kernels;
    char *to;
};

/* Item: an output of a phase, and a row of taps of it. */
static void transform_sum(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct transform *transform = context;
    const struct fc_winograd_lanes *lanes = transform->lanes;
    const struct fc_kernel_view *kernel = &transform->spread->kernel;
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(transform->spread->dtype);
    const int64_t unit = fc_unit(transform->spread->dtype), line = item / kernel->kh;
    const int64_t step = sums_of(transform->spread, lanes) * kernel->c_in;
    char staged[MOST_POINTS * FC_CACHE_LINE];
    struct fc_winograd_few_taps taps = {
        .u = staged,
        .tap = transform->spread->stride[1] * kernel->stride_kw,
        .output = kernel->stride_c_in,
        .points = lanes->points,
        .taps = lanes->taps,
        .lacks = line >= lanes->full,
    };
    for (int64_t c = 0; c < kernel->c_in; c += unit) {
        taps.outputs = fc_min(unit, kernel->c_in - c);
        taps.kernel =
            (const char *)kernel->data +
            (item % kernel->kh * kernel->stride_kh + line / kernel->c_out * kernel->stride_kw +
             line % kernel->c_out * kernel->stride_c_out + c * kernel->stride_c_in) *
                element;
        transform->kernels->few_kernel(&taps);
        for (int i = 0; i < lanes->points - taps.lacks; i++)
            memcpy(transform->to + (i * step + item * kernel->c_in + c) * element,
                   staged + i * FC_CACHE_LINE, (size_t)(taps.outputs * element));
    }
}

void fc_winograd_lanes_transform(const struct fc_spread *spread,
                                 const struct fc_winograd_lanes *lanes, void *to)
{
    struct transform transform = {spread, lanes, &fc_current_kernels(spread->dtype)->winograd, to};
    const int64_t items = sums_of(spread, lanes);
    const double work = FC_WORK_PER_ELEMENT * (double)(items * lanes->points * spread->kernel.c_in);
    fc_parallel_for(items, fc_parallel_width(items, work), FC_FLUSH_DENORMALS, transform_sum,
                    &transform);
}
