/* conv2d_dkernel.c: the kernel gradient, a sum over the pixels of the batch, part by part and block by
 * block as conv2d_dkernel_plan.c cuts it.
 *
 * An item is a chunk of the blocks of one part: for each block
 *     pack the x of the part's channels, or find it in place
 *     for each panel: pack dy, or find it in place
 *         for each slab of channels and each row of taps: tiles that sum over the block's pixels
 * Chunks of a part are added in order at the end.
 *
 * The tile keeps 96 % of the peak while x and dy are near; what is lost is lost around it. A line
 * packed costs some seven cycles, since neither end is in the first-level cache: with parts of 128 x
 * 128 channels of a 1x1 kernel 22 % of the time, hence reading in place. */
#include <string.h>

#include "choose.h"
#include "conv2d.h"
#include "conv2d_dkernel_sums.h"
#include "depthwise_dkernel.h"
#include "dispatch.h"
#include "few_dkernel.h"
#include "parallel.h"
#include "winograd.h"
#include "workspace.h"

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

/* Item: a chunk of the blocks of one part. */
static void sum_chunk(void *context, int64_t item, int worker)
{
    const struct fc_dkernel_job *job = context;
    const struct fc_dkernel_plan *plan = job->plan;
    const int64_t chunk = item % plan->chunks, blocks = fc_block_count(&plan->blocks);
    struct fc_dkernel_part part = find_part(job, item / plan->chunks);
    part.sums = job->sums + item * plan->part_elements * job->element;
    part.x = job->scratch + (size_t)worker * plan->worker_bytes;
    part.dy = part.x + plan->x_bytes;
    part.offset = (ptrdiff_t *)(part.dy + plan->dy_bytes);
    part.first = true;
    const int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    for (int64_t step = plan->steps * chunk / plan->chunks; step < end; step++) {
        part.patch = fc_block_at(job->convolution->axis, &plan->blocks, step % blocks);
        if (step + 1 < end)
            fc_dkernel_ahead(&part, step + 1);
        if (part.patch.rows) {
            fc_dkernel_add(&part, step / blocks * plan->images);
            part.first = false;
        }
    }
    if (part.first) /* no block had a row */
        memset(part.sums, 0, (size_t)(plan->part_elements * job->element));
}

/* ------------------------------------------------------------------ result */

/* Item: a part. Its chunks are added in order to the first. */
static void store_part(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct fc_dkernel_job *job = context;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    struct fc_dkernel_part part = find_part(job, item);
    char *first = job->sums + item * plan->chunks * plan->part_elements * job->element;
    if (plan->chunks > 1)
        job->kernels->channel_sums(first + plan->part_elements * job->element, plan->part_elements,
                                   plan->chunks - 1, plan->part_elements, first);
    const struct fc_panels panels = {&job->convolution->kernel, channels, job->kernels,
                                     job->element};
    for (int64_t p = part.panel; p < part.panel + part.panels; p++) {
        const int64_t width = fc_panel_width(channels, p);
        char *sums = first + fc_dkernel_panel(&part, p) * job->element;
        for (int64_t c = 0; c < part.channels; c += channels->slab) {
            const int64_t slab = fc_min(channels->slab, part.channels - c);
            for (int64_t tap = 0; tap < channels->taps; tap++) {
                fc_copy_tap(&panels, tap, part.group, part.c + c, slab, p, sums, false);
                sums += slab * width * job->element;
            }
        }
    }
}

/* By Winograd's tiles where they are chosen and all comes out finite; *done says whether. */
static fc_status try_winograd(fc_algorithm algorithm, const struct fc_convolution *convolution,
                              bool *done)
{
    *done = false;
    const int form = fc_choose_form(algorithm, FC_PASS_DKERNEL, convolution);
    if (form == FC_DIRECT_FORM || convolution->y.n * convolution->y.h * convolution->y.w == 0)
        return FC_OK;
    return fc_winograd_dkernel(form, convolution, done);
}

fc_status fc_conv2d_dkernel(const fc_conv2d_params *params, const struct fc_window *window,
                            const fc_image *dy, const fc_image *x, const fc_weights *dkernel)
{
    struct fc_convolution convolution = {
        .dtype = params->dtype,
        .x = *x,
        .y = *dy,
        .kernel = fc_view_kernel(dkernel, params->groups),
        .axis = {window->axis[0], window->axis[1]},
        .padding_mode = params->padding_mode,
        .padding_value = params->padding_value,
    };
    struct fc_dkernel_plan plan;
    size_t total;
    if (dkernel->kh * dkernel->kw * dkernel->c_in * dkernel->c_out == 0)
        return FC_OK;
    bool done;
    const fc_status status = try_winograd(params->algorithm, &convolution, &done);
    if (status != FC_OK || done)
        return status;
    if (convolution.y.n > 0 && fc_fits_few_dkernel(&convolution)) {
        const fc_status few = fc_few_dkernel(&convolution, &done);
        if (few != FC_OK || done)
            return few;
    }
    fc_make_dense(&convolution);
    if (!fc_plan_dkernel(&convolution, &plan, &total))
        return FC_OVERFLOW;
    if (fc_fits_depthwise_dkernel(&convolution))
        return fc_depthwise_dkernel(&convolution, &plan.blocks, plan.steps, plan.chunks);
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;

    const struct fc_conv2d_kernels *kernels = &fc_current_kernels(params->dtype)->conv2d;
    struct fc_dkernel_job job = {
        .convolution = &convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(&convolution, kernels,
                              !plan.channels.lanes && fc_pads_with_zero(&convolution)),
        .element = (ptrdiff_t)fc_element_size(params->dtype),
        .sums = scratch + plan.worker_bytes * (size_t)plan.width,
        .scratch = scratch,
    };
    fc_parallel_for(plan.parts * plan.chunks, plan.width, FC_FLUSH_DENORMALS, sum_chunk, &job);
    fc_parallel_for(plan.parts, plan.width, FC_FLUSH_DENORMALS, store_part, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
