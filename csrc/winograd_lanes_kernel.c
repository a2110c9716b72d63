/* winograd_lanes_kernel.c: which kernels of few outputs Winograd's algorithm takes along rows, and how they lie. */
#include <string.h>

#include "convolve_spread_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "winograd_lanes.h"
#include "workspace.h"

enum {
    MOST_POINTS = 7,
    MOST_CHANNELS = 2048,
    MOST_SUMS = 160,        /* of a pixel of x: their weights stay in the second-level cache */
    MOST_BYTES = 384 << 10, /* of the sums that a row of y reads, so that scratch is bounded */
    /* To pay for turning x and taking it to the points: channels and columns of x, and sums of a pixel. */
    FEWEST_SUMS = 9,
    FEWEST_CHANNELS = 32,
    FEWEST_COLUMNS = 48,
    MANY_SUMS = 100, /* or of 4 taps */
    MANY_OF_FOUR = 24,
    FEWEST_OF_MANY = 16,
    COLUMNS_OF_MANY = 28
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
    const int64_t tiles = fc_ceil_div(spread->x.w, FC_LANES_COLUMNS);
    return tiles <= FC_LANES_MOST_TILES && rows * lanes->points * sums_of(spread, lanes) * tiles *
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
    if (kernel->groups != 1 || taps < 3 || taps > 4 || kernel->c_in < 1 ||
        kernel->c_in > MOST_CHANNELS || kernel->c_out < 1 ||
        kernel->c_out >= fc_unit(spread->dtype) || spread->x.w < 1)
        return false;
    *lanes = (struct fc_winograd_lanes){
        .taps = (int)taps,
        .points = FC_LANES_COLUMNS + (int)taps - 1,
        .lines = stride * kernel->c_out,
        .full = (kernel->kw - (taps - 1) * stride) * kernel->c_out,
    };
    return sums_of(spread, lanes) <= MOST_SUMS && is_bounded(spread, lanes);
}

/* On Zen 4, 7x7 of strides 2 to 2 or 3 channels takes 0.63 to 0.87 of direct sums' time on rows of 32 pixels and more,
 * 11x11 of strides 4 0.66 to 0.91, both 0.78 to 1.07 on 16. 3x3 to 3 channels takes 0.83 to 0.95 on 64 pixels, to 6 to
 * 10 0.62 to 0.9 on 56, but 0.9 to 1.8 times on fewer, with 16 channels at any width; 5x5 of strides 2 0.77 to 1.05 on
 * 56 and 112, and 1.05 to 1.8 times on fewer. Of more outputs than two thirds of a unit tiles in two dimensions take
 * half. */
bool fc_fits_winograd_lanes(const struct fc_spread *spread)
{
    struct fc_winograd_lanes lanes;
    if (3 * spread->kernel.c_out > 2 * fc_unit(spread->dtype) ||
        !fc_winograd_lanes_of(spread, &lanes))
        return false;
    const int64_t sums = sums_of(spread, &lanes), c_in = spread->kernel.c_in;
    const bool many = sums >= (lanes.taps == 4 ? MANY_OF_FOUR : MANY_SUMS);
    return (many && spread->x.w >= COLUMNS_OF_MANY && c_in >= FEWEST_OF_MANY) ||
           (sums >= FEWEST_SUMS && spread->x.w >= FEWEST_COLUMNS && c_in >= FEWEST_CHANNELS);
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
