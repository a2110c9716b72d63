/* convolve_spread_plan.c: when all taps of a kernel go into the lanes, and block sizes.
 *
 * None of the sizes changes a bit of the result. */
#include "convolve_spread_plan.h"

#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 384 * 1024, /* of the ring, to stay in the second-level cache */
    MOST_COLUMNS = 128,         /* pixels of x in an item, */
    FEWEST_COLUMNS = 16,        /* rather than more scratch */
    FEWEST_ROWS = 8,            /* of x, beside those computed again for the next item */
    ITEMS = 4,                  /* for each thread */
    FEWEST_CHANNELS = 8,
    MOST_CHANNELS = 2048, /* and strides of at most as much as taps, so that scratch is bounded */
    MOST_SUMS = 1024
};

bool fc_fits_spread(const struct fc_spread *spread)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t unit = fc_unit(spread->dtype);
    if (fc_chains_rows(spread))
        return true;
    if (kernel->groups != 1 || kernel->c_out >= unit || kernel->c_in < FEWEST_CHANNELS ||
        kernel->c_in > MOST_CHANNELS || spread->stride[0] > FC_MOST_SPREAD_TAPS ||
        spread->stride[1] > FC_MOST_SPREAD_TAPS || kernel->kh > FC_MOST_SPREAD_TAPS ||
        kernel->kw > FC_MOST_SPREAD_TAPS || kernel->kh * kernel->kw < 2 ||
        kernel->kh * kernel->kw * kernel->c_out > MOST_SUMS)
        return false;
    /* Multiply-adds of vectors for a pixel of x: here, where a load and addition of the second sum
     * takes three times as long, and with outputs in the lanes. */
    const int64_t taps = kernel->kh * kernel->kw, sums = taps * kernel->c_out;
    const int64_t here = kernel->c_in * fc_ceil_div(sums, unit) + 3 * taps;
    return here < kernel->c_in * taps;
}

bool fc_convolution_spreads(const struct fc_convolution *convolution, struct fc_spread *spread)
{
    const struct fc_axis *axis = convolution->axis;
    struct fc_kernel_view kernel = convolution->kernel;
    for (int a = 0; a < 2; a++)
        if (axis[a].stride != 1 || axis[a].dilation != 1)
            return false;
    if (!fc_pads_with_zero(convolution) || kernel.kh < 1 || kernel.kw < 1)
        return false;
    if (!convolution->packed) {
        kernel.data = (const char *)kernel.data +
                      ((kernel.kh - 1) * kernel.stride_kh + (kernel.kw - 1) * kernel.stride_kw) *
                          (ptrdiff_t)fc_element_size(convolution->dtype);
        kernel.stride_kh = -kernel.stride_kh;
        kernel.stride_kw = -kernel.stride_kw;
    }
    *spread = (struct fc_spread){
        .dtype = convolution->dtype,
        .x = convolution->x,
        .y = convolution->y,
        .kernel = kernel,
        .stride = {1, 1},
        .before = {kernel.kh - 1 - axis[0].before, kernel.kw - 1 - axis[1].before},
        .bias = convolution->bias,
        .residual = convolution->residual,
        .activation = convolution->activation,
        .packed = convolution->packed,
    };
    return fc_fits_spread(spread);
}

/* -------------------------------------------------------------------- plan */

/* Blocks change no bit: rows of t at their edges are computed twice. */
static void cut_blocks(const struct fc_spread *spread, struct fc_spread_plan *plan,
                       ptrdiff_t element)
{
    const fc_image *y = &spread->y;
    const int64_t stride = spread->stride[1];
    plan->first = fc_floor_div(spread->before[1], stride);
    plan->groups = fc_floor_div(y->w - 1 + spread->before[1], stride) + 1 - plan->first;
    const int64_t fit = SCRATCH_BYTES / (plan->reach[0] * plan->columns * element);
    const int64_t most = fc_max(fc_min(MOST_COLUMNS, fit - 2 * plan->reach[1]), FEWEST_COLUMNS);
    plan->blocks = fc_ceil_div(plan->groups, most);
    plan->width = fc_ceil_div(plan->groups, plan->blocks);

    const double work = 2.0 * (double)(y->n * spread->x.h * spread->x.w) *
                        (double)spread->kernel.c_in * (double)plan->columns;
    const int64_t least = FEWEST_ROWS * spread->stride[0];
    const int64_t most_blocks = fc_max(y->h / least, 1);
    const int64_t columns = y->n * plan->blocks;
    plan->workers = fc_parallel_width(columns * most_blocks, work);
    const int64_t wanted = plan->workers > 1 ? fc_ceil_div(ITEMS * plan->workers, columns) : 1;
    plan->height = fc_ceil_div(y->h, fc_min(wanted, most_blocks));
    plan->row_blocks = fc_ceil_div(y->h, plan->height);
    plan->items = columns * plan->row_blocks;
}

bool fc_plan_spread(const struct fc_spread *spread, struct fc_spread_plan *plan)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t element = (int64_t)fc_element_size(spread->dtype);
    plan->unit = fc_unit(spread->dtype);
    plan->panel = FC_PANEL_UNITS * plan->unit;
    plan->columns = fc_whole_units(kernel->kh * kernel->kw * kernel->c_out, plan->unit);
    plan->reach[0] = fc_ceil_div(kernel->kh, spread->stride[0]);
    plan->reach[1] = fc_ceil_div(kernel->kw, spread->stride[1]);
    cut_blocks(spread, plan, element);

    const int64_t pixels = plan->width + plan->reach[1] - 1;
    int64_t weights, line, group;
    if (__builtin_mul_overflow(plan->columns * element, kernel->c_in, &weights) ||
        __builtin_mul_overflow(spread->stride[1], kernel->c_out * element, &group) ||
        __builtin_mul_overflow(group, plan->width + FC_SUM_PIXELS, &line))
        return false;
    plan->weight_bytes = (size_t)weights;
    /* Sums are taken of FC_SUM_PIXELS at once, in whole vectors. */
    plan->pitch = (pixels + FC_SUM_PIXELS) * plan->columns;
    plan->t_bytes = (size_t)((plan->pitch * plan->reach[0] + plan->unit) * element);
    plan->x_bytes = spread->x.stride_c == 1
                        ? 0
                        : fc_round_to_line((size_t)(pixels * element) * (size_t)kernel->c_in);
    plan->worker_bytes = fc_round_to_line(plan->t_bytes) + plan->x_bytes +
                         fc_round_to_line((size_t)(line + plan->unit * element));
    return true;
}
