/* convolve_planes_plan.c: when pixels go into the lanes, and block sizes. */
#include "convolve_planes_plan.h"

#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "stream.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 512 * 1024, /* planes of one block, to stay in the second-level cache */
    BLOCK_COLUMNS = 256,
    BLOCK_OUTPUTS = 4096,
    STRIP_BYTES = 128 * 1024, /* sums of a block, to stay there too */
    MOST_UNITS = 4,           /* of a tile, on any instruction set */
    MOST_STEM_CHANNELS = 4,
    MOST_STEM_TAPS = 64,
    MOST_STEM_OUTPUTS = 128,
    MOST_SHIFTED = 64 /* planes, of which rows shorter than a tile are never cut */
};

/* Whether rows of y are as far apart as the rows of x they read, and few of these are padding. */
static bool is_flat(const struct fc_axis axis[2])
{
    return axis[0].stride == 1 && axis[0].dilation == 1 &&
           4 * (fc_max(axis[0].before, 0) + fc_max(axis[0].after, 0)) <= axis[0].in;
}

/* Few channels to planes of many: with outputs in the lanes, these would be transposed, which took two
 * thirds of the time of Xception's first layer. Their sums are one chain over taps and then channels
 * either way, so that the data format changes no bit. */
static bool fits_stem(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const struct fc_axis *axis = convolution->axis;
    const fc_image *x = &convolution->x, *y = &convolution->y;
    const int64_t pair = 2 * fc_unit(convolution->dtype);
    if (y->stride_c == 1 || y->stride_w != 1 || kernel->c_in > MOST_STEM_CHANNELS ||
        kernel->c_out > MOST_STEM_OUTPUTS || kernel->kh * kernel->kw > MOST_STEM_TAPS)
        return false;
    if (axis[1].stride == 1)
        return is_flat(axis);
    return axis[0].dilation == 1 && axis[1].dilation == 1 && fc_pads_with_zero(convolution) &&
           x->stride_w == 1 && 4 * axis[1].out >= 3 * fc_whole_units(axis[1].out, pair);
}

/* Rows shorter than a tile, of planes of y that lie as one, or of few channels whose pixels do: all of a tile's
 * vectors are full, whatever the length of a row, and those of a strip are turned to pixels together. That pays for
 * copies of x, but not for turning 2 to 6 channels once a column of taps, 0.6 to 0.9 of the speed. */
static bool can_shift(const struct fc_convolution *convolution, int64_t channels)
{
    const struct fc_axis *axis = convolution->axis;
    const fc_image *y = &convolution->y;
    const int64_t unit = fc_unit(convolution->dtype);
    const bool pixels =
        convolution->x.stride_w == 1 && fc_pixels_together(y) && y->c <= FC_FEW_OUTPUTS;
    return is_flat(axis) && axis[1].stride == 1 && axis[1].dilation == 1 &&
           (y->stride_w == 1 || pixels) && fc_rows_together(y, y->w) &&
           !convolution->residual.data && y->w < MOST_UNITS * unit &&
           fc_pads_with_zero(convolution) && axis[0].taps * axis[1].taps > 1 &&
           axis[0].taps * axis[1].taps <= MOST_STEM_TAPS && axis[1].taps * channels <= MOST_SHIFTED;
}

/* Whether more lanes are filled by w of whole units than by c_out of one. Half of a unit is worth it of few
 * inputs and several taps alone: 1 to 4 channels to 8 take half as long on Zen 4, and 64 of one tap to 8 in
 * planes 1.4 times as long. */
static bool fits_few(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t unit = fc_unit(convolution->dtype), w = convolution->axis[1].out;
    const bool few_in = kernel->c_in <= MOST_STEM_CHANNELS && kernel->kh * kernel->kw > 1;
    return convolution->axis[1].stride == 1 && 2 * kernel->c_out < unit + few_in &&
           kernel->c_out * fc_whole_units(w, unit) < unit * w;
}

bool fc_fits_planes(const struct fc_convolution *convolution)
{
    if (convolution->kernel.groups != 1 || convolution->axis[1].stride > 2 ||
        convolution->kernel.kh == 0 || convolution->kernel.kw == 0 || convolution->kernel.c_in == 0)
        return false;
    /* One row and one tap may be a dense layer's batch, whose length no sum may depend on. */
    if (convolution->axis[0].out == 1 && convolution->kernel.kh * convolution->kernel.kw == 1)
        return false;
    return fits_few(convolution) || fits_stem(convolution);
}

/* -------------------------------------------------------------------- plan */

/* Whether tiles of a row alone are nearly full. Rows of 26 pixels that follow each other fill more lanes,
 * but go through a strip: MNIST's first layer took 1.04 ms, row by row 0.80, ResNet-20's 0.71 and 0.56. */
static bool fills_units(int64_t pixels, int64_t unit)
{
    return pixels > unit && 4 * pixels >= 3 * fc_whole_units(pixels, unit);
}

bool fc_plan_planes(const struct fc_convolution *convolution, struct fc_planes_plan *plan)
{
    const struct fc_axis *axis = convolution->axis;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t c_in = convolution->kernel.c_in, c_out = convolution->kernel.c_out;
    plan->unit = fc_unit(convolution->dtype);
    plan->taps = axis[0].taps * axis[1].taps;
    plan->block =
        fits_few(convolution) ? fc_min(fc_max(FC_BLOCK_TERMS / plan->taps, 1), c_in) : c_in;
    const bool planes = convolution->y.stride_w == 1 && !convolution->residual.data;
    plan->shifted = can_shift(convolution, plan->block);
    plan->flat = plan->shifted || (is_flat(axis) && axis[1].stride == 1 &&
                                   !(planes && fills_units(axis[1].out, plan->unit)));
    plan->direct = planes && (plan->shifted || !plan->flat);
    plan->stream = plan->direct && fc_streams_image(&convolution->y, true, (ptrdiff_t)element);
    plan->skip_rows = !plan->flat && fc_pads_with_zero(convolution);
    const bool strip = !plan->direct || plan->block < c_in;
    const int64_t copies = plan->shifted ? axis[1].taps : 1;
    fc_cut_blocks(axis, BLOCK_COLUMNS,
                  strip ? fc_min(BLOCK_OUTPUTS, STRIP_BYTES / element / c_out) : BLOCK_OUTPUTS,
                  SCRATCH_BYTES / element / (plan->block * copies), &plan->blocks);
    /* At stride 2 a row is its even columns and then its odd ones, each with room for every tap. */
    plan->half = plan->blocks.columns + (axis[1].taps - 1) * axis[1].dilation;
    plan->pitch = plan->shifted ? axis[1].out : axis[1].stride * plan->half;
    plan->strip_pitch =
        plan->flat ? plan->pitch : fc_whole_units(plan->half, MOST_UNITS * plan->unit);
    /* Beyond it, whole vectors of the last row are read. */
    plan->strip_plane =
        (fc_ceil_div(plan->blocks.rows * plan->strip_pitch, MOST_UNITS * plan->unit) + 1) *
        MOST_UNITS * plan->unit;

    const int64_t rows = (plan->blocks.rows - 1) * plan->blocks.row_stride + axis[0].taps;
    int64_t x, weights;
    if (__builtin_mul_overflow(rows * plan->block * copies, plan->pitch * element, &x) ||
        __builtin_mul_overflow(plan->taps * c_out * element, c_in, &weights))
        return false;
    /* Tiles read whole units at every tap's shift. */
    plan->x_bytes =
        fc_round_to_line((size_t)(x + (plan->pitch + MOST_UNITS * plan->unit) * element));
    plan->weight_bytes = fc_round_to_line((size_t)weights);
    plan->strip_bytes = strip ? (size_t)(c_out * plan->strip_plane * element) : 0;
    plan->worker_bytes = plan->x_bytes + plan->strip_bytes +
                         fc_round_to_line((size_t)(plan->taps * plan->block) * sizeof(ptrdiff_t));
    const double work = 2.0 * (double)(convolution->y.n * convolution->y.h * convolution->y.w) *
                        (double)c_out * (double)c_in * (double)plan->taps;
    plan->width = fc_parallel_width(convolution->y.n * fc_block_count(&plan->blocks), work);
    return true;
}
