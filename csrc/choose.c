/* choose.c: the cost model behind algorithm="auto".
 *
 * Costs are in multiply-adds of a direct convolution at its full speed, for one image. With T tiles of
 * p positions (T * p without those that short tiles lack), C channels in and K out:
 *     direct     outputs * taps * C * K
 *     winograd   T * p * (C * K * PRODUCT + C * INPUT + K * OUTPUT) + p * C * K * KERNEL / 8
 * PRODUCT is above 1 since the products of a position have less reuse than a direct sum; or it is
 * STREAM / B where the kernel, larger than the second-level cache, comes from beyond it for every B
 * tiles of a block (winograd_cut.h): 20 with 384 channels. INPUT and
 * OUTPUT are what a transform costs a value, and KERNEL what a transformed kernel's value costs where
 * it is made inside the call, shared by the images of a batch that is taken to be 8. The constants were
 * fitted to 78 shapes of 3x3, 5x5, 1x3, 1x7 and their transposes, 16 to 512 channels, maps of 3 to 56:
 * of those none that the model leaves to the wrong side was more than 10 % off, on AVX-512. To fit them
 * again: python -m benchmarks.choice --fit.
 *
 * A batch of one pays for what a batch needs where kernels are large and maps small: 512 x 512 channels
 * at 7 x 7 and below. */
#include "choose.h"

#include "convolve_groups.h"
#include "dispatch.h"
#include "floating_point.h"
#include "winograd_cut.h"

static const double PRODUCT = 1.15, INPUT = 6, OUTPUT = 13, KERNEL = 8, BATCH = 8, STREAM = 30;

/* A transform's work does not depend on the sums that follow, so few channels never pay for it. */
enum { FEWEST_CHANNELS = 16, MOST_CHANNELS = 4096, NEAR_BYTES = 1 << 20, FEW_PIXELS = 100 };

static bool form_fits(int form, const struct fc_convolution *convolution)
{
    const struct fc_winograd_form shape = fc_winograd_form_at(form);
    for (int a = 0; a < 2; a++) {
        const struct fc_axis *axis = &convolution->axis[a];
        if (axis->taps != shape.kernel[a] || axis->stride != 1)
            return false;
        /* Each phase of a dilated kernel is padded on its own, which constants alone allow. */
        if (axis->taps > 1 && axis->dilation > 1 && convolution->padding_mode != FC_CONSTANT)
            return false;
    }
    /* 8 points each way cost 8 times the rounding of a direct sum in float32. */
    return convolution->dtype == FC_FLOAT64 || shape.points[0] <= 7 || shape.points[1] <= 7;
}

/* Whether a form of 7 points rounds too much where one of 6 will do. The direct sums of a kernel
 * gradient are as long as there are pixels: of 8 images of 7 x 7, so short that 5 x 5 has 2.4 times
 * their error with 6 points, and 3 times with 7 one way. */
static bool rounds_much(int form, enum fc_pass pass, const struct fc_convolution *convolution)
{
    const struct fc_winograd_form shape = fc_winograd_form_at(form);
    const struct fc_axis *axis = convolution->axis;
    return pass == FC_PASS_DKERNEL && shape.pieces == 1 && shape.points[0] != shape.points[1] &&
           shape.points[0] > 1 && shape.points[1] > 1 && axis[0].out * axis[1].out < FEW_PIXELS;
}

/* The same for a convolution and its gradients, in which c_in and c_out change places. */
static bool channels_fit(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t least = fc_min(kernel->c_in, kernel->c_out);
    const int64_t unit = FC_UNIT_BYTES / (int64_t)fc_element_size(convolution->dtype);
    return least > 0 && (kernel->groups == 1 || least >= unit) &&
           fc_max(kernel->c_in, kernel->c_out) <= MOST_CHANNELS;
}

bool fc_winograd_possible(const struct fc_convolution *convolution)
{
    for (int form = 0; form < FC_WINOGRAD_FORM_COUNT; form++)
        if (form_fits(form, convolution))
            return channels_fit(convolution);
    return false;
}

/* What a product costs: its arithmetic, or its share of the kernel's way. */
static double product_cost(const struct fc_winograd_form *form, const struct fc_winograd_cut *cut,
                           enum fc_pass pass, const struct fc_convolution *convolution)
{
    const struct fc_channels channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const double tile =
        (double)(form->positions * form->pieces * convolution->kernel.c_in * element);
    const double tiles = BATCH * (double)(cut->tile_rows * cut->tile_columns);
    if (pass == FC_PASS_DKERNEL || tile * (double)convolution->kernel.c_out <= NEAR_BYTES)
        return PRODUCT;
    const double block = (double)fc_winograd_depth_of(form, cut, &channels, element).tiles;
    const double together = tiles * tile <= FC_WINOGRAD_MOST_V_BYTES ? tiles : block;
    return STREAM / together > PRODUCT ? STREAM / together : PRODUCT;
}

static double winograd_cost(int form, enum fc_pass pass, const struct fc_convolution *convolution)
{
    const struct fc_winograd_form shape = fc_winograd_form_at(form);
    const double c_in = (double)(shape.pieces * convolution->kernel.c_in);
    const double c_out = (double)convolution->kernel.c_out;
    const struct fc_winograd_cut cut = fc_winograd_find_images(&shape, convolution);
    const double products = (double)fc_winograd_products(&cut);
    const double product = product_cost(&shape, &cut, pass, convolution);
    const double kernel = pass == FC_PASS_PACKED ? 0 : KERNEL / BATCH * c_in * c_out;
    return products * (c_in * c_out * product + c_in * INPUT + c_out * OUTPUT) +
           shape.positions * kernel;
}

/* Rows of taps that lie in zero padding are left out. */
static double direct_cost(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = convolution->axis;
    int64_t rows = 0;
    for (int64_t tap = 0; tap < axis[0].taps; tap++) {
        int64_t begin, end;
        fc_axis_outputs(&axis[0], tap, &begin, &end);
        rows += end - begin;
    }
    return (double)rows * (double)axis[1].out * (double)axis[1].taps *
           (double)convolution->kernel.c_in * (double)convolution->kernel.c_out;
}

/* Not inlined: its arithmetic must stay between the changes of the floating-point state. */
__attribute__((noinline)) static int cheapest(fc_algorithm algorithm, enum fc_pass pass,
                                              const struct fc_convolution *convolution)
{
    int best = FC_DIRECT_FORM;
    double least = 0;
    for (int form = 0; form < FC_WINOGRAD_FORM_COUNT; form++) {
        if (!form_fits(form, convolution) || rounds_much(form, pass, convolution))
            continue;
        const double cost = winograd_cost(form, pass, convolution);
        if (best == FC_DIRECT_FORM || cost < least) {
            least = cost;
            best = form;
        }
    }
    if (best != FC_DIRECT_FORM && algorithm == FC_AUTO && direct_cost(convolution) <= least)
        return FC_DIRECT_FORM;
    return best;
}

/* In the library's floating-point state, so that the caller's rounding cannot choose, nor its sticky
 * flags change. */
int fc_choose_form(fc_algorithm algorithm, enum fc_pass pass,
                   const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const bool few = fc_min(kernel->c_in, kernel->c_out) < FEWEST_CHANNELS ||
                     fc_fits_groups(convolution); /* a kernel of their own, and long transforms */
    if (algorithm == FC_DIRECT || (algorithm == FC_AUTO && few) || !channels_fit(convolution))
        return FC_DIRECT_FORM;
    const fc_float_state before = fc_float_enter(false);
    const int form = cheapest(algorithm, pass, convolution);
    fc_float_leave(before);
    return form;
}

fc_status fc_convolve_by(fc_algorithm algorithm, const struct fc_convolution *convolution)
{
    const int form = fc_choose_form(algorithm, FC_PASS_CALLED, convolution);
    return form == FC_DIRECT_FORM ? fc_convolve(convolution)
                                  : fc_winograd_convolve(form, convolution, NULL);
}
