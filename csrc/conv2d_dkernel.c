/* conv2d_dkernel.c: the kernel gradient, a sum over the pixels of the batch, part by part and block by
 * block as conv2d_dkernel_plan.c cuts it.
 *
 * An item is a chunk of the blocks of one part: for each block
 *     pack the x of the part's channels
 *     for each panel: pack dy, or find it in place
 *         for each slab of channels and each row of taps: tiles that sum over the block's pixels
 * Chunks of a part are added in order at the end.
 *
 * The tile keeps 92 % of the peak while x and dy are near; what is lost is lost around it. A line
 * packed costs some seven cycles, since neither end is in the first-level cache: with parts of 128 x
 * 128 channels of a 1x1 kernel 22 % of the time. There tiles read in place and pack as they go
 * (conv2d_dkernel_dense.c). */
#include <string.h>

#include "choose.h"
#include "conv2d.h"
#include "conv2d_dkernel_sums.h"
#include "convolve_one_tap.h"
#include "dense_dkernel.h"
#include "depthwise_dkernel.h"
#include "dispatch.h"
#include "few_dkernel.h"
#include "parallel.h"
#include "winograd.h"
#include "winograd_few.h"
#include "workspace.h"

enum { LEAST_SHARE = 6 }; /* of multiply-adds that swapping x and dy must save */

static struct fc_dkernel_part find_part(const struct fc_dkernel_job *job, int64_t index)
{
    const struct fc_dkernel_plan *plan = job->plan;
    const int64_t panel_part = index % plan->panel_parts;
    const int64_t rest = index / plan->panel_parts;
    struct fc_dkernel_part part = {
        .job = job,
        .group = rest / plan->channel_parts,
        .c = rest % plan->channel_parts * plan->part_channels,
        .panel = panel_part * plan->part_panels,
    };
    part.channels = fc_min(plan->part_channels, plan->channels.c_in - part.c);
    part.panels = fc_min(plan->part_panels, fc_panel_count(&plan->channels) - part.panel);
    return part;
}

/* What dkernel holds of a panel and is finite stays: it takes the place of the sums. */
static void keep_finite(const struct fc_dkernel_part *part, const struct fc_panels *panels,
                        int64_t tap, int64_t c, int64_t rows, int64_t p, char *sums)
{
    const int64_t outputs = fc_panel_outputs(panels->channels, p);
    const int64_t width = fc_panel_width(panels->channels, p);
    char row[FC_PANEL_UNITS * FC_UNIT_BYTES];
    for (int64_t r = 0; r < rows; r++, sums += width * panels->element) {
        fc_copy_tap(panels, tap, part->group, part->c + c + r, 1, p, row, true);
        for (int64_t k = 0; k < outputs; k++)
            if (fc_all_finite(row + k * panels->element, 1, panels->element))
                memcpy(sums + k * panels->element, row + k * panels->element,
                       (size_t)panels->element);
    }
}

/* The sums of a panel from where they were added up to dkernel. */
static void store_panel(const struct fc_dkernel_part *part, int64_t p, char *sums)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const struct fc_panels panels = {&job->convolution->kernel, channels, job->kernels,
                                     job->element};
    const int64_t width = fc_panel_width(channels, p);
    sums += fc_dkernel_panel(part, p) * job->element;
    for (int64_t c = 0; c < part->channels; c += channels->slab) {
        const int64_t slab = fc_min(channels->slab, part->channels - c);
        for (int64_t tap = 0; tap < channels->taps; tap++) {
            if (job->plan->exact)
                keep_finite(part, &panels, tap, c, slab, p, sums);
            fc_copy_tap(&panels, tap, part->group, part->c + c, slab, p, sums, false);
            sums += slab * width * job->element;
        }
    }
}

/* Item: a chunk of the blocks of one part, or all of them, then the part is done. */
static void sum_chunk(void *context, int64_t item, int worker)
{
    struct fc_dkernel_job *job = context;
    const struct fc_dkernel_plan *plan = job->plan;
    struct fc_dkernel_own own;
    const int64_t chunk = item % plan->chunks, blocks = fc_block_count(&plan->blocks);
    struct fc_dkernel_part part = find_part(job, item / plan->chunks);
    part.x = job->scratch + (size_t)worker * job->worker_bytes;
    part.dy = part.x + plan->x_bytes;
    part.offset = (ptrdiff_t *)(part.dy + plan->dy_bytes);
    part.sums = plan->chunks > 1 ? job->sums + (size_t)item * plan->sums_bytes
                                 : (char *)part.offset + plan->offset_bytes;
    part.first = part.finite = true;
    if (job->unpooled)
        fc_dkernel_own_dy(&part, part.x + plan->worker_bytes, &own);
    int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    const int64_t begin = plan->steps * chunk / plan->chunks;
    while (end > begin && !fc_block_at(plan->axis, &plan->blocks, (end - 1) % blocks).rows)
        end--;
    for (int64_t step = begin; step < end; step++) {
        part.patch = fc_block_at(plan->axis, &plan->blocks, step % blocks);
        part.last = step + 1 == end;
        if (job->unpooled)
            fc_dkernel_unpool(&own, step / blocks, &part.patch);
        fc_dkernel_look_ahead(&part, part.last ? begin : step + 1);
        if (part.patch.rows) {
            fc_dkernel_add(&part, step / blocks * plan->images);
            fc_dkernel_add_bias(&part, step / blocks * plan->images, worker);
            part.first = false;
        }
    }
    if (part.first) /* no block had a row */
        memset(part.sums, 0, plan->sums_bytes);
    if (!part.finite)
        atomic_store(job->not_finite, true);
    for (int64_t p = part.panel; plan->chunks == 1 && p < part.panel + part.panels; p++)
        if (part.first || !fc_dkernel_lands(job, p))
            store_panel(&part, p, part.sums);
}

/* Item: a part. Its chunks are added in order to the first. */
static void add_chunks(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct fc_dkernel_job *job = context;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_dkernel_part part = find_part(job, item);
    char *first = job->sums + (size_t)(item * plan->chunks) * plan->sums_bytes;
    fc_add_chunks(job->kernels, first, plan->chunks, plan->part_elements, job->element);
    for (int64_t p = part.panel; p < part.panel + part.panels; p++)
        store_panel(&part, p, first);
}

/* Images of one pixel, those of a dense layer, are the columns of one image. */
static void images_to_columns(struct fc_convolution *convolution)
{
    fc_image *x = &convolution->x, *y = &convolution->y;
    if (!fc_is_dense(convolution) || y->h * y->w != 1 || y->n == 0)
        return;
    x->stride_w = x->stride_n;
    y->stride_w = y->stride_n;
    x->w = y->w = convolution->axis[1].in = convolution->axis[1].out = y->n;
    x->n = y->n = 1;
}

/* The sums of dy that are wanted besides; NULL when there. */
struct bias {
    const fc_image *dy;
    void *sums;
    const struct fc_unpooled *unpooled; /* what dy is made of, or NULL */
};

/* Part by part, bias and unpooled beside unless they are NULL; *finite says whether nothing can have reached a tap
 * through padding that should not. */
static fc_status run_parts(const struct fc_convolution *convolution,
                           const struct fc_dkernel_plan *plan, const struct fc_unpooled *unpooled,
                           struct fc_channel_sums *bias, bool *finite)
{
    const size_t bias_bytes = bias ? fc_channel_sums_bytes(bias, plan->width) : 0;
    const size_t own = unpooled ? fc_unpooled_bytes(unpooled, plan->blocks.rows) : 0;
    const size_t each = plan->worker_bytes + own;
    size_t shared;
    char *scratch;
    if (__builtin_add_overflow(plan->all_sums_bytes, bias_bytes, &shared))
        return FC_OVERFLOW;
    const fc_status status = fc_workspace_divide(shared, each, plan->width, &scratch);
    if (status != FC_OK)
        return status;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct fc_convolution turned = *convolution;
    if (plan->grouped) {
        turned.kernel.stride_c_in = convolution->kernel.stride_c_out;
        turned.kernel.stride_c_out = convolution->kernel.stride_c_in;
    }
    const bool mixes = plan->channels.lanes || plan->merged;
    atomic_bool not_finite = false;
    struct fc_dkernel_job job = {
        .convolution = &turned,
        .plan = plan,
        .kernels = &kernels->conv2d,
        .few = &kernels->few,
        .padded = fc_padded_x(convolution, &kernels->conv2d, plan->skip),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .sums = scratch,
        .scratch = scratch + shared,
        .worker_bytes = each,
        .unpooled = unpooled,
        .in_place =
            plan->chunks == 1 && !mixes && !plan->exact && convolution->kernel.stride_c_out == 1,
        .bias = bias,
        .not_finite = &not_finite,
    };
    if (bias)
        fc_begin_channel_sums(bias, scratch + plan->all_sums_bytes);
    fc_parallel_for(plan->parts * plan->chunks, plan->width, FC_FLUSH_DENORMALS, sum_chunk, &job);
    if (plan->chunks > 1)
        fc_parallel_for(plan->parts, plan->width, FC_FLUSH_DENORMALS, add_chunks, &job);
    if (bias)
        fc_end_channel_sums(bias);
    fc_workspace_release(scratch);
    *finite = !mixes || !fc_pads_with_zero(convolution) || !not_finite;
    return FC_OK;
}

/* The same, by whoever takes it: channels with a kernel each have a driver of their own. */
static fc_status sum_parts(const struct fc_convolution *convolution,
                           const struct fc_dkernel_plan *plan, struct bias *bias, bool *finite)
{
    struct fc_channel_sums sums = fc_plan_channel_sums(convolution->dtype, bias->dy, bias->sums);
    const bool depthwise = !plan->exact && fc_fits_depthwise_dkernel(convolution);
    const bool fits = fc_dkernel_fits_bias(plan, &sums, &convolution->y, depthwise);
    if (fits)
        bias->sums = NULL;
    if (bias->unpooled && (bias->sums || depthwise || plan->images > 1 || plan->parts > 1 ||
                           plan->blocks.row_phases > 1)) {
        *finite = false; /* whoever asks has it another way */
        return FC_OK;
    }
    struct fc_channel_sums *beside = fits ? &sums : NULL;
    if (depthwise)
        return fc_depthwise_dkernel(convolution, &plan->blocks, plan->steps, plan->chunks, beside,
                                    finite);
    return run_parts(convolution, plan, bias->unpooled, beside, finite);
}

/* The same products with x and dy in each other's place, where dy has channels that fill a last vector badly and x
 * has not: of 64 channels and 2 outputs 8 multiply-adds a pixel in four vectors, not 64; on Zen 4 14x14 with 512
 * channels and 24 outputs took 0.56 ms, now 0.37, 28x28 with 256 and 18 1.0, now 0.65. The batch is cut alike, and so
 * sums are the same. */
static bool swap(const struct fc_convolution *convolution, const struct fc_dkernel_plan *plan,
                 struct fc_convolution *swapped, struct fc_dkernel_plan *swapped_plan)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t unit = fc_unit(convolution->dtype);
    const int64_t lanes = fc_whole_units(kernel->c_out, unit) * kernel->c_in;
    const int64_t swapped_lanes = fc_whole_units(kernel->c_in, unit) * kernel->c_out;
    if (!plan->direct || plan->exact || kernel->groups != 1 || kernel->c_in < unit ||
        lanes - lanes / LEAST_SHARE < swapped_lanes)
        return false;
    *swapped = *convolution;
    swapped->x = convolution->y;
    swapped->y = convolution->x;
    swapped->kernel.c_in = kernel->c_out;
    swapped->kernel.c_out = kernel->c_in;
    swapped->kernel.stride_c_in = kernel->stride_c_out;
    swapped->kernel.stride_c_out = kernel->stride_c_in;
    return fc_plan_dkernel(swapped, false, plan->chunks, swapped_plan) &&
           swapped_plan->steps == plan->steps && swapped_plan->images == plan->images;
}

/* Directly; *finite as in sum_parts, or false where dy, not there as a whole, is not read block by block. */
static fc_status sum_directly(const struct fc_convolution *convolution, bool exact,
                              struct bias *bias, bool *finite)
{
    struct fc_dkernel_plan plan, swapped_plan;
    struct fc_convolution swapped;
    struct bias none = {.dy = bias->dy};
    if (!fc_plan_dkernel(convolution, exact, 0, &plan))
        return FC_OVERFLOW;
    if (swap(convolution, &plan, &swapped, &swapped_plan))
        return sum_parts(&swapped, &swapped_plan, &none, finite);
    return sum_parts(convolution, &plan, bias, finite);
}

/* By the algorithm that is chosen; *finite as in sum_directly. */
static fc_status sum_fast(fc_algorithm algorithm, struct fc_convolution *convolution,
                          struct bias *bias, bool *finite)
{
    const int form = fc_choose_form(algorithm, FC_PASS_DKERNEL, convolution);
    const bool empty = convolution->y.n * convolution->y.h * convolution->y.w == 0;
    if (form == FC_FEW_FORM && !empty)
        return fc_winograd_few_dkernel(convolution, &bias->sums, finite);
    if (form != FC_DIRECT_FORM && !empty)
        return fc_winograd_dkernel(form, convolution, finite);
    if (!empty && fc_fits_few_dkernel(convolution))
        return fc_few_dkernel(convolution, NULL, &bias->sums, finite);
    fc_make_dense(convolution);
    images_to_columns(convolution);
    if (!empty && fc_fits_dense_dkernel(convolution))
        return fc_dense_dkernel(convolution);
    return sum_directly(convolution, false, bias, finite);
}

/* Tiles of several taps multiply what is not finite in one of x and dy by the zeros that pad the
 * other, or spread it to other taps: what comes out so is computed again, tap by tap. */
fc_status fc_conv2d_dkernel(const fc_conv2d_params *params, const struct fc_window *window,
                            const fc_image *dy, const fc_image *x, const fc_weights *dkernel,
                            void *dbias)
{
    struct fc_convolution convolution = fc_convolution_of(params, window, x, dkernel, NULL, dy);
    struct bias bias = {.dy = dy, .sums = dbias};
    fc_status status = FC_OK;
    if (dkernel->kh * dkernel->kw * dkernel->c_in * dkernel->c_out > 0) {
        bool finite = true;
        status = sum_fast(params->algorithm, &convolution, &bias, &finite);
        if (status == FC_OK && !finite)
            status = sum_directly(&convolution, true, &bias, &finite);
    }
    return status == FC_OK && bias.sums ? fc_sum_channels(params->dtype, dy, bias.sums) : status;
}

fc_status fc_conv2d_pooled_dkernel(const fc_conv2d_params *params, const struct fc_window *window,
                                   const struct fc_unpooled *dy, const fc_image *x,
                                   const fc_weights *dkernel, void *dbias, bool *done)
{
    const struct fc_convolution convolution =
        fc_convolution_of(params, window, x, dkernel, NULL, &dy->image);
    struct bias bias = {.dy = &dy->image, .sums = dbias, .unpooled = dy};
    *done = fc_choose_form(params->algorithm, FC_PASS_DKERNEL, &convolution) == FC_DIRECT_FORM;
    if (*done && fc_fits_few_dkernel(&convolution))
        return fc_few_dkernel(&convolution, dy, &bias.sums, done);
    *done = *done && convolution.kernel.kh * convolution.kernel.kw > 1 &&
            convolution.kernel.c_in * convolution.kernel.c_out > 0;
    return *done ? sum_directly(&convolution, false, &bias, done) : FC_OK;
}
