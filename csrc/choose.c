/* choose.c: the cost model behind algorithm="auto".
 *
 * Costs are in multiply-adds of a direct convolution at its full speed, for one image. With T tiles of
 * p positions (T * p without those that short tiles lack), C channels in and K out, in whole units:
 *     direct     outputs * taps * C * K
 *     winograd   T * p * (C * K * PRODUCT + C * INPUT + K * OUTPUT) + p * C * K * KERNEL / 8
 * PRODUCT is above 1 since the products of a position have less reuse than a direct sum; or it is
 * STREAM / B where the kernel, larger than the second-level cache, comes from beyond it for every B
 * tiles of a block (winograd_cut.h) or of the batch. INPUT and OUTPUT are what a transform costs a value,
 * and KERNEL what a transformed kernel's value costs where it is made inside the call, shared by the
 * images of a batch that is taken to be 8. A kernel gradient takes C to positions again for every part of
 * K, and K for every part of C. PRODUCT and KERNEL were fitted to 78 shapes of 16 to 512 channels on maps
 * of 3 to 56, INPUT and OUTPUT to 140 of 5 to 100 channels on maps of 7 to 32, 1x3 to 7x7: of 564 rows, of
 * either data format, 34 are left to the side that takes 10 % longer or more, 29 % at most, on AVX-512.
 * Where INPUT and OUTPUT were 6 and 13, 8 to 16 channels took tiles, and 20 % longer, and 16 to 32 of 1x7
 * 30 %. To fit them again: python -m benchmarks.choice --fit. STREAM was 30, and left 4x4 maps of 128
 * channels and more to direct sums, which take 1.5 to 2 times as long as tiles on Zen 4 (0.65 to 0.85
 * times for one image); of 3x3 maps, still left to them, 1.2 to 1.35 times, and half for one image.
 *
 * Where the taps of a dilated kernel lie so far apart that half of the columns lack one, tiles are phases
 * of 2 to 4 outputs and a product costs PHASES, fitted to 8 shapes of 10x10 to 33x33. A kernel that is
 * summed in pieces costs PIECES times as much, LINES times where it has one row or column, and EACH_PIECE for each
 * tile and position of a piece, fitted to 2x3 to 11x11 and 1x4 to 1x15 on maps of 8 to 28, 16 to 128 channels, on
 * Zen 5: of 1296 rows of these and of stride 2, 18 and 38 kernel gradients, most of them for their rounding, are left
 * to the side that takes 10 % longer or more; in AVX2, where tiles are worth more, a tenth.
 *
 * A kernel of stride 2 costs STRIDED times, fitted to 21 shapes of 3x3, 16 to 1024 channels to 3x3 to 28x28, on Zen 4:
 * direct sums take 1.25 to 1.45 times as long from 32 channels on, also beside other work, in float64 1.07 to 1.35
 * times, and 0.6 to 1.1 times where their outputs are one tile of 512 channels or more, for which the kernel is too
 * large.
 * Kernel gradients of stride 2 cost STRIDED_DKERNEL times as much, their transforms STRIDED_SPREAD, whose INPUT and
 * OUTPUT count all 25 positions of each piece, and the way back from a sum for each piece and position STRIDED_SUMS:
 * fitted to 27 shapes of 3x3 and 4x4, 16 to 512 channels to 4x4 to 56x56, on Zen 4. Where they choose tiles these take
 * 0.58 to 0.86 times as long, in planes 0.70 to 0.98, on AVX2 0.49 to 0.87 and up to 1.04; in float64 3x3 breaks even,
 * and is left to direct sums, where 4x4 takes 0.6 to 0.7 times as long, 5x5 to 8x8 0.4 to 0.7.
 *
 * Groups of 16 channels whose kernels have more than 9 taps cost WIDE_GROUPS times as much but in kernel gradients,
 * and maps of fewer pixels than FEW_OF_GROUPS are left to direct sums: of 8 images of 7x7 tiles take 0.84 times as long
 * in AVX-512, of one 1.4. Fitted to maps of 5 to 28 on Zen 5, where tiles of 3x3 take 0.75 times as long at 8x8, 0.97
 * at 10x10 and 13x13, 0.88 at 14x14, 0.65 to 0.85 from 16x16 on, of 5x5 0.75 at 8x8 and 0.57 to 0.75 above, in AVX2
 * 0.34 to 0.65 of both; of one image 1.2 at 8x8 and 10x10, 1.13 at 13x13. Before tiles asked for x ahead groups cost
 * 1.3 times as much, which left 5x5 at 28x28 to direct sums, and those take twice as long.
 *
 * Few channels of x take tiles along rows wherever these fit (winograd_few_kernel.c), in y, dx and dkernel; few
 * channels of dx take others, which are chosen apart (winograd_lanes_kernel.c), before its phases are convolutions.
 *
 * A batch of one pays for what a batch needs where kernels are large and maps small: 512 x 512 channels
 * at 7 x 7 and below. */
#include "choose.h"

#include "convolve_groups.h"
#include "convolve_plan.h"
#include "dispatch.h"
#include "few_dkernel.h"
#include "floating_point.h"
#include "winograd_cut.h"
#include "winograd_few.h"

static const double PRODUCT = 1.15, INPUT = 9, OUTPUT = 16, KERNEL = 8, BATCH = 8, STREAM = 15,
                    PHASES = 1.45, PHASES_DKERNEL = 1.9;
static const double PIECES[] = {[FC_FLOAT32] = 1.05, [FC_FLOAT64] = 1.15}, LINES = 1.05,
                    EACH_PIECE[] = {[FC_FLOAT32] = 130, [FC_FLOAT64] = 30}, WIDE_GROUPS = 0.75;
static const double STRIDED[] = {[FC_FLOAT32] = 1.1, [FC_FLOAT64] = 1.2};
static const double STRIDED_DKERNEL[] = {[FC_FLOAT32] = 1.12, [FC_FLOAT64] = 1.25},
                    STRIDED_SPREAD = 0.5, STRIDED_SUMS = 1.7;

/* Direct sums have kernels of their own for fewer outputs than a unit, with taps in the lanes. Up to two
 * thirds of one they hold their own: 3x3 to 8 channels they take 0.86 to 1.15 times as long as tiles, to 10
 * 0.91 to 1.15, but to 11 1.33 to 1.48 and to 12 1.16 to 1.57; in float64 to 5 channels 0.79 to 0.87, to 6
 * 1.08 to 1.33. Of fewer inputs than 8 transforms cost more than they spare: 6 to 16 channels take 1.15
 * times as long. */
enum { FEWEST_IN = 8 };

enum { MOST_CHANNELS = 4096, NEAR_BYTES = 1 << 20, FEW_SUMMED = 100, FEW_OF_GROUPS = 64 };

/* What a form is to have. Each phase of a dilated kernel is padded on its own, which constants alone allow, and so is
 * each of a stride. */
static struct fc_winograd_taps taps_of_form(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = convolution->axis;
    const bool strided = axis[0].stride > 1, dilated = axis[0].dilation > 1 || axis[1].dilation > 1;
    bool phases = strided;
    for (int a = 0; a < 2; a++)
        phases |= axis[a].taps > 1 && axis[a].dilation > 1;
    if (axis[0].stride != axis[1].stride || (strided && dilated) ||
        (phases && convolution->padding_mode != FC_CONSTANT))
        return (struct fc_winograd_taps){0};
    return fc_winograd_taps_of(&convolution->kernel, axis[0].stride, convolution->dtype);
}

/* Without an overflow: where there are no images, they may have any size. */
static bool has_fewer_pixels(const struct fc_convolution *convolution, int64_t than)
{
    const int64_t h = convolution->axis[0].out, w = convolution->axis[1].out;
    return h < than && w < than && h * w < than;
}

/* Whether a form of 7 points rounds too much in the kernel gradient of few pixels, whose direct sums are short: of 8
 * images of 7 x 7, 5 x 5 has 2.4 times their error with 6 points, and 3 times with 7 one way, and in float32 pieces
 * of 7 both ways, which have no other form, 3.1 to 3.8 times that of PyTorch's sums, of 8 x 8 and less. */
static bool rounds_much(const struct fc_winograd_form *form, fc_algorithm algorithm,
                        enum fc_pass pass, const struct fc_convolution *convolution)
{
    const int64_t least = fc_min(form->points[0], form->points[1]);
    const int64_t most = fc_max(form->points[0], form->points[1]);
    const bool only = least == 7 && algorithm == FC_AUTO && convolution->dtype == FC_FLOAT32;
    return pass == FC_PASS_DKERNEL && most == 7 && (least == 6 || only) &&
           has_fewer_pixels(convolution, FEW_SUMMED);
}

/* The same for a convolution and its gradients, in which c_in and c_out change places. */
static bool channels_fit(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t least = fc_min(kernel->c_in, kernel->c_out);
    return least > 0 && (kernel->groups == 1 || least >= fc_unit(convolution->dtype)) &&
           fc_max(kernel->c_in, kernel->c_out) <= MOST_CHANNELS;
}

bool fc_winograd_possible(const struct fc_convolution *convolution)
{
    const struct fc_winograd_taps taps = taps_of_form(convolution);
    for (int form = 0; form < FC_WINOGRAD_FORM_COUNT; form++)
        if (fc_winograd_has(form, &taps))
            return channels_fit(convolution);
    return fc_fits_winograd_few(convolution);
}

/* What a product costs: its arithmetic, or its share of the kernel's way. */
static double product_cost(const struct fc_winograd_form *form, const struct fc_winograd_cut *cut,
                           enum fc_pass pass, const struct fc_convolution *convolution)
{
    const struct fc_channels channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    if (fc_skips_columns(convolution))
        return pass == FC_PASS_DKERNEL ? PHASES_DKERNEL : PHASES;
    const double tile =
        (double)(form->positions * form->pieces * convolution->kernel.c_in * element);
    const double tiles = BATCH * (double)(cut->tile_rows * cut->tile_columns);
    if (pass == FC_PASS_DKERNEL || tile * (double)convolution->kernel.c_out <= NEAR_BYTES)
        return PRODUCT;
    const double block = (double)fc_winograd_depth_of(form, cut, &channels, element).tiles;
    const double together = tiles * tile <= FC_WINOGRAD_MOST_V_BYTES ? tiles : block;
    return STREAM / together > PRODUCT ? STREAM / together : PRODUCT;
}

/* Outputs as they are computed, in whole units. */
static double whole_outputs(const struct fc_convolution *convolution)
{
    return (double)fc_whole_units(convolution->kernel.c_out, fc_unit(convolution->dtype));
}

/* What the transforms of all channels cost, at one position of a tile. */
static double transforms_cost(const struct fc_winograd_form *form, enum fc_pass pass,
                              const struct fc_convolution *convolution)
{
    const double input = INPUT * (double)(form->pieces * convolution->kernel.c_in);
    const double output = OUTPUT * whole_outputs(convolution);
    if (pass != FC_PASS_DKERNEL)
        return input + output;
    const struct fc_channels channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    const int64_t of_inputs =
        form->pieces * fc_ceil_div(channels.c_in, fc_winograd_part_channels(form));
    const int64_t of_outputs =
        fc_ceil_div(fc_panel_count(&channels), fc_winograd_part_panels(form));
    const double cost = input * (double)of_outputs + output * (double)of_inputs;
    return form->stride > 1 ? STRIDED_SPREAD * cost : cost;
}

/* What the sums of pieces cost beside those of a whole kernel. */
static double pieces_cost(const struct fc_winograd_form *form, enum fc_pass pass, fc_dtype dtype)
{
    if (form->stride > 1)
        return pass == FC_PASS_DKERNEL ? STRIDED_DKERNEL[dtype] : STRIDED[dtype];
    if (form->pieces == 1 || pass == FC_PASS_DKERNEL)
        return 1;
    return fc_winograd_is_line(form) ? LINES : PIECES[dtype];
}

/* What groups that fill one slab cost beside others. */
static double groups_cost(enum fc_pass pass, const struct fc_convolution *convolution)
{
    enum { FEW_TAPS = 9 };
    const int64_t taps = convolution->axis[0].taps * convolution->axis[1].taps;
    const bool wide = pass != FC_PASS_DKERNEL && taps > FEW_TAPS && fc_fits_groups(convolution);
    return wide ? WIDE_GROUPS : 1;
}

static double winograd_cost(const struct fc_winograd_form *form, enum fc_pass pass,
                            const struct fc_convolution *convolution)
{
    const double channels = (double)convolution->kernel.c_in * whole_outputs(convolution);
    const struct fc_winograd_cut cut = fc_winograd_find_images(form, convolution);
    const double products = (double)fc_winograd_products(&cut);
    const double of_pieces = (double)fc_winograd_products_of_pieces(form, &cut);
    const double product = product_cost(form, &cut, pass, convolution);
    const double sums = pass == FC_PASS_DKERNEL && form->stride > 1 ? STRIDED_SUMS : 1;
    const double each =
        form->pieces > 1 && pass != FC_PASS_DKERNEL ? EACH_PIECE[convolution->dtype] : 0;
    const double kernel = pass == FC_PASS_PACKED ? 0 : KERNEL / BATCH * channels * sums;
    return (of_pieces * (channels * product + each) +
            products * transforms_cost(form, pass, convolution) +
            (double)fc_winograd_matrices_before(form, form->pieces) * kernel) *
           pieces_cost(form, pass, convolution->dtype) * groups_cost(pass, convolution);
}

/* Pairs of an output and a tap that reads the image, in one direction. */
static double pairs_inside(const struct fc_axis *axis)
{
    int64_t pairs = 0;
    for (int64_t tap = 0; tap < axis->taps; tap++) {
        int64_t begin, end;
        fc_axis_outputs(axis, tap, &begin, &end);
        pairs += end - begin;
    }
    return (double)pairs;
}

/* Rows of taps that lie in zero padding are left out, and columns in some sums over channels. */
static double direct_cost(const struct fc_convolution *convolution, enum fc_pass pass)
{
    const struct fc_axis *axis = convolution->axis;
    const double columns = pass != FC_PASS_DKERNEL && fc_skips_columns(convolution)
                               ? pairs_inside(&axis[1])
                               : (double)axis[1].out * (double)axis[1].taps;
    return pairs_inside(&axis[0]) * columns * (double)convolution->kernel.c_in *
           whole_outputs(convolution);
}

/* Whether direct sums have a kernel of their own, for few channels or narrow groups. */
static bool has_own_kernel(enum fc_pass pass, const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    if (fc_fits_groups(convolution))
        return kernel->c_out < FC_SLAB ||
               (pass != FC_PASS_DKERNEL && has_fewer_pixels(convolution, FEW_OF_GROUPS));
    if (pass == FC_PASS_DKERNEL)
        return fc_fits_few_dkernel(convolution);
    return kernel->c_in < FEWEST_IN || kernel->c_out <= fc_unit(convolution->dtype) * 2 / 3;
}

/* Not inlined: its arithmetic must stay between the changes of the floating-point state. */
__attribute__((noinline)) static int cheapest(fc_algorithm algorithm, enum fc_pass pass,
                                              const struct fc_convolution *convolution)
{
    const struct fc_winograd_taps taps = taps_of_form(convolution);
    int best = FC_DIRECT_FORM;
    double least = 0;
    for (int form = 0; form < FC_WINOGRAD_FORM_COUNT; form++) {
        if (!fc_winograd_has(form, &taps))
            continue;
        const struct fc_winograd_form shape = fc_winograd_form_of(form, &convolution->kernel);
        if (rounds_much(&shape, algorithm, pass, convolution))
            continue;
        const double cost = winograd_cost(&shape, pass, convolution);
        if (best == FC_DIRECT_FORM || cost < least) {
            least = cost;
            best = form;
        }
    }
    if (best != FC_DIRECT_FORM && algorithm == FC_AUTO && direct_cost(convolution, pass) <= least)
        return FC_DIRECT_FORM;
    return best;
}

/* In the library's floating-point state, so that the caller's rounding cannot choose, nor its sticky
 * flags change. */
int fc_choose_form(fc_algorithm algorithm, enum fc_pass pass,
                   const struct fc_convolution *convolution)
{
    if (algorithm != FC_DIRECT &&
        (pass == FC_PASS_DKERNEL ? fc_fits_winograd_few_dkernel(convolution)
                                 : fc_fits_winograd_few(convolution)))
        return FC_FEW_FORM;
    if (algorithm == FC_DIRECT || !channels_fit(convolution) ||
        (algorithm == FC_AUTO && has_own_kernel(pass, convolution)))
        return FC_DIRECT_FORM;
    const fc_float_state before = fc_float_enter(false);
    const int form = cheapest(algorithm, pass, convolution);
    fc_float_leave(before);
    return form;
}

fc_status fc_convolve_in_form(int form, const struct fc_convolution *convolution,
                              const void *transformed)
{
    if (form == FC_FEW_FORM)
        return fc_winograd_few_convolve(convolution, transformed);
    return form == FC_DIRECT_FORM ? fc_convolve(convolution)
                                  : fc_winograd_convolve(form, convolution, transformed);
}

fc_status fc_convolve_by(fc_algorithm algorithm, const struct fc_convolution *convolution)
{
    const int form = fc_choose_form(algorithm, FC_PASS_CALLED, convolution);
    return fc_convolve_in_form(form, convolution, NULL);
}
