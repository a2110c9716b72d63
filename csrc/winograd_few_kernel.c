/* winograd_few_kernel.c: which kernels of few channels Winograd's algorithm takes along rows, and how they lie. */
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "winograd_few.h"

enum {
    MOST_CHANNELS =
        8,         /* of 9 and more tiles in two dimensions are as fast, of 16 1.1 to 1.4 times */
    MOST_RUN = 16, /* channels of all phases */
    LEAST_TERMS = 8,
    MOST_TERMS = 256, /* of a sum, which is one chain */
    /* Of kernel gradients: rows of taps times channels, to pay for dy's way to the points; pixels, since direct sums
     * of fewer are so short that they round a third as much; channels of 3 taps of stride 1. */
    DKERNEL_TERMS = 9,
    DKERNEL_PIXELS = 100,
    DKERNEL_CHANNELS = 5
};

/* The outputs of a tile for so many taps of a phase, at the 6 or 7 points of winograd_points.inc.h. */
static const int OUTPUTS[] = {[3] = 4, [4] = 4, [5] = 2};

bool fc_winograd_few_of(const struct fc_convolution *convolution, struct fc_winograd_few *few)
{
    const struct fc_axis *axis = &convolution->axis[1];
    const int64_t c_in = convolution->kernel.c_in, kh = convolution->kernel.kh;
    const int64_t taps = fc_ceil_div(axis->taps, axis->stride);
    if (taps < 3 || taps > 5 || c_in < 1 || c_in > MOST_CHANNELS || axis->stride > MOST_RUN / c_in)
        return false;
    *few = (struct fc_winograd_few){
        .outputs = OUTPUTS[taps],
        .taps = (int)taps,
        .points = OUTPUTS[taps] + (int)taps - 1,
        .full = (axis->taps - (taps - 1) * axis->stride) * c_in,
        .run = axis->stride * c_in,
        .unit = fc_unit(convolution->dtype),
    };
    return kh >= fc_ceil_div(LEAST_TERMS, few->run) && kh <= MOST_TERMS / few->run;
}

/* Not where more than a fifth of the lanes, or a quarter of the rows' tiles, are for nothing, which costs direct sums
 * less. Against these, with AVX-512 on maps of 10 to 64, 16 to 64 outputs: 3x3 of 3 channels take 0.66 to 0.85 of the
 * time (planes 0.87 to 1.06), of 8 0.6 to 0.8, 5x5 0.65 to 0.9, 7x7 of strides 2 0.52 to 0.9, 11x11 of strides 4 0.6
 * to 0.9. 3x3 of one channel, 3 terms, in planes 1.4 to 2 times as long, of two 1.0 to 1.3. */
bool fc_fits_winograd_few(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = convolution->axis;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    struct fc_winograd_few few;
    return kernel->groups == 1 && axis[0].dilation == 1 && axis[1].dilation == 1 &&
           fc_winograd_few_of(convolution, &few) &&
           fc_whole_units(kernel->c_out, few.unit) - kernel->c_out <= kernel->c_out / 5 &&
           fc_whole_units(axis[1].out, few.outputs) - axis[1].out <= axis[1].out / 4;
}

bool fc_winograd_few_dkernel_of(const struct fc_convolution *convolution,
                                struct fc_winograd_few *few)
{
    if (!fc_winograd_few_of(convolution, few))
        return false;
    few->outputs = FC_WINOGRAD_COLUMNS;
    few->points = FC_WINOGRAD_COLUMNS + few->taps - 1;
    return true;
}

/* On Zen 4, against direct sums, on maps of 12 to 112: 3x3 of 3 channels takes 0.7 to 1.0 of the time (in VGG's planes
 * 1.09), 5x5 0.5 to 0.99, 7x7 of strides 2 0.6 to 1.0, 9x9 0.53 to 0.8, 11x11 of strides 4 0.65 to 0.72, 4x4
 * 0.65 to 0.85. 3x3 of 6 to 8 channels are as fast in tiles of two dimensions, or up to 1.3 times. */
bool fc_fits_winograd_few_dkernel(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = convolution->axis;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t h = axis[0].out, w = axis[1].out;
    struct fc_winograd_few few;
    return kernel->groups == 1 && axis[0].dilation == 1 && axis[1].dilation == 1 &&
           (fc_max(h, w) >= DKERNEL_PIXELS || h * w >= DKERNEL_PIXELS) &&
           fc_pads_with_zero(convolution) && fc_winograd_few_dkernel_of(convolution, &few) &&
           kernel->kh * few.run >= DKERNEL_TERMS &&
           (few.taps > 3 || axis[1].stride > 1 || kernel->c_in <= DKERNEL_CHANNELS) &&
           fc_whole_units(kernel->c_out, few.unit) - kernel->c_out <= kernel->c_out / 5 &&
           fc_whole_units(axis[1].out, FC_WINOGRAD_COLUMNS) - axis[1].out <= axis[1].out / 4;
}

int64_t fc_winograd_few_unit(const struct fc_winograd_few *few, const struct fc_kernel_view *kernel)
{
    return kernel->kh * (few->run * few->points - (few->run - few->full)) * few->unit;
}

bool fc_winograd_few_bytes(const struct fc_convolution *convolution, size_t *bytes)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    struct fc_winograd_few few;
    size_t unit;
    fc_winograd_few_of(convolution, &few);
    const size_t row =
        (size_t)(few.run * few.points * few.unit) * fc_element_size(convolution->dtype);
    return !__builtin_mul_overflow((size_t)kernel->kh, row, &unit) &&
           !__builtin_mul_overflow(unit, (size_t)fc_ceil_div(kernel->c_out, few.unit), bytes);
}

struct transform {
    const struct fc_convolution *convolution;
    const struct fc_winograd_kernels *kernels;
    struct fc_winograd_few few;
    char *to;
};

/* Item: a unit of outputs. */
static void transform_unit(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct transform *transform = context;
    const struct fc_winograd_few *few = &transform->few;
    const struct fc_kernel_view *kernel = &transform->convolution->kernel;
    const fc_dtype dtype = transform->convolution->dtype;
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(dtype);
    const int64_t stride = transform->convolution->axis[1].stride;
    char *to = transform->to + item * fc_winograd_few_unit(few, kernel) * element;
    struct fc_winograd_few_taps taps = {
        .tap = stride * kernel->stride_kw,
        .output = kernel->stride_c_out,
        .outputs = fc_min(kernel->c_out - item * few->unit, few->unit),
        .points = few->points,
        .taps = few->taps,
    };
    for (int64_t i = 0; i < kernel->kh; i++)
        for (int64_t l = 0; l < few->run; l++) {
            taps.kernel =
                (const char *)kernel->data +
                (i * kernel->stride_kh + l / kernel->c_in * kernel->stride_kw +
                 l % kernel->c_in * kernel->stride_c_in + item * few->unit * kernel->stride_c_out) *
                    element;
            taps.u = to;
            taps.lacks = l >= few->full;
            transform->kernels->few_kernel(&taps);
            to += (few->points - taps.lacks) * few->unit * element;
        }
}

void fc_winograd_few_transform(const struct fc_convolution *convolution, void *to)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    struct transform transform = {.convolution = convolution,
                                  .kernels = &fc_current_kernels(convolution->dtype)->winograd,
                                  .to = to};
    fc_winograd_few_of(convolution, &transform.few);
    const int64_t units = fc_ceil_div(kernel->c_out, transform.few.unit);
    const double work =
        FC_WORK_PER_ELEMENT * (double)units * (double)fc_winograd_few_unit(&transform.few, kernel);
    fc_parallel_for(units, fc_parallel_width(units, work), FC_FLUSH_DENORMALS, transform_unit,
                    &transform);
}
