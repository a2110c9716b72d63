/* conv2d_dkernel.c: the kernel gradient, a sum over the pixels of the batch.
 *
 * The gradient is cut into parts of OWNER channels x a few panels, each small enough to stay in the
 * second-level cache while the blocks of the batch pass over it. A part has one owner, which adds
 * block after block in order: a chain of multiply-adds within a block of at most BLOCK_PIXELS
 * pixels, then one addition. Where there are fewer than PARTS_WANTED parts, the blocks are divided
 * into chunks with sums of their own, added in order at the end. Parts, blocks and chunks follow
 * from the sizes alone, so the bits do not depend on threads or instruction set.
 *
 * For a part of 64 x 64 channels a pixel is packed with 128 copies and used in 4096 multiply-adds a
 * tap. */
#include <string.h>

#include "choose.h"
#include "conv2d.h"
#include "convolve_plan.h"
#include "depthwise_dkernel.h"
#include "dispatch.h"
#include "parallel.h"
#include "winograd.h"
#include "workspace.h"

enum {
    BLOCK_PIXELS = 256,
    BLOCK_COLUMNS = 64,
    OWNER_ROWS = 1024,    /* rows of a packed kernel, channels * taps, that one part holds */
    OWNER_CHANNELS = 128, /* but no more channels than this */
    ONE_TAP_PANELS = 4,
    PARTS_WANTED = 16
};

struct plan {
    struct fc_channels channels;
    struct fc_blocks blocks;
    int64_t part_channels, channel_parts, part_panels, panel_parts, parts;
    int64_t steps, chunks; /* blocks of the whole batch; pieces they are divided into */
    int64_t most_rows, part_elements;
    size_t x_bytes, dy_bytes, offset_bytes, worker_bytes;
    int width;
};

struct job {
    const struct fc_convolution *convolution; /* y stands for dy, kernel for dkernel */
    const struct plan *plan;
    const struct fc_conv2d_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    char *sums, *scratch;
};

/* One part, and one worker's scratch. */
struct part {
    const struct job *job;
    int64_t group, c, channels, panel, panels;
    char *sums, *x, *dy;
    ptrdiff_t *offset;
    struct fc_patch patch;
    struct fc_dkernel_tile tile;
};

/* -------------------------------------------------------------------- plan */

static void plan_parts(const struct fc_convolution *convolution, struct plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const bool one_tap = channels->taps == 1;
    const int64_t fit = OWNER_ROWS / fc_max(channels->taps, 1) / channels->slab * channels->slab;
    plan->part_channels = fc_max(fc_min(fit, OWNER_CHANNELS), channels->slab);
    plan->part_channels = fc_min(plan->part_channels, fc_max(channels->c_in, 1));
    /* A run of 16 channels is cut into tiles of 8 x 2; with one tap a longer one costs nothing. */
    if (one_tap && !channels->lanes)
        plan->channels.slab = plan->part_channels;
    plan->channel_parts = fc_ceil_div(channels->c_in, plan->part_channels);
    plan->part_panels = channels->lanes ? 1 : one_tap ? ONE_TAP_PANELS : FC_PANEL_UNITS;
    plan->part_panels = fc_min(plan->part_panels, fc_panel_count(channels));
    plan->panel_parts = fc_ceil_div(fc_panel_count(channels), plan->part_panels);
    plan->parts = channels->groups * plan->channel_parts * plan->panel_parts;
    fc_cut_blocks(convolution->axis, one_tap ? BLOCK_PIXELS : BLOCK_COLUMNS, BLOCK_PIXELS,
                  INT64_MAX, &plan->blocks);
    plan->steps = convolution->y.n * fc_block_count(&plan->blocks);
    plan->chunks =
        fc_max(fc_min(fc_ceil_div(PARTS_WANTED, fc_max(plan->parts, 1)), plan->steps), 1);
}

/* False where a count of bytes overflows. */
static bool plan_scratch(const struct fc_convolution *convolution, struct plan *plan, size_t *total)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t pixels = fc_block_pixels(convolution->axis, &plan->blocks);
    const int64_t lanes = channels->lanes ? channels->panel : 1;
    int64_t x;
    if (pixels < 0 || __builtin_mul_overflow(pixels, plan->part_channels * lanes * element, &x))
        return false;
    plan->x_bytes = fc_round_to_line((size_t)x);
    plan->dy_bytes = (size_t)(plan->blocks.rows * plan->blocks.columns * channels->panel *
                              plan->part_panels * element);
    plan->offset_bytes = fc_round_to_line((size_t)channels->taps * sizeof(ptrdiff_t));
    plan->worker_bytes = plan->x_bytes + plan->dy_bytes + plan->offset_bytes;
    plan->part_elements =
        channels->taps * plan->part_channels * channels->panel * plan->part_panels;
    size_t sums;
    return !__builtin_mul_overflow((size_t)(plan->parts * plan->chunks),
                                   (size_t)(plan->part_elements * element), &sums) &&
           !__builtin_add_overflow(sums, plan->worker_bytes * (size_t)plan->width, total);
}

static bool make_plan(const struct fc_convolution *convolution, struct plan *plan, size_t *total)
{
    const fc_image *dy = &convolution->y;
    plan->channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    plan_parts(convolution, plan);
    const double work = 2.0 * (double)(dy->n * dy->h * dy->w) * (double)dy->c *
                        (double)convolution->kernel.c_in * (double)plan->channels.taps;
    plan->width = fc_parallel_width(plan->parts * plan->chunks, work);
    return plan_scratch(convolution, plan, total);
}

static struct part find_part(const struct job *job, int64_t index)
{
    const struct plan *plan = job->plan;
    const int64_t panel_part = index % plan->panel_parts;
    const int64_t rest = index / plan->panel_parts;
    struct part part = {
        .job = job,
        .group = rest / plan->channel_parts,
        .c = rest % plan->channel_parts * plan->part_channels,
        .panel = panel_part * plan->part_panels,
    };
    part.channels = fc_min(plan->part_channels, plan->channels.c_in - part.c);
    part.panels = fc_min(plan->part_panels, fc_panel_count(&plan->channels) - part.panel);
    return part;
}

/* Where a panel's sums begin within those of its part: [panel][slab][kh][kw][channel][width]. */
static int64_t panel_sums(const struct part *part, int64_t p)
{
    const struct fc_channels *channels = &part->job->plan->channels;
    return channels->taps * part->channels * channels->panel * (p - part->panel);
}

/* -------------------------------------------------------------------- sums */

static void pack_dy(struct part *part, int64_t n, int64_t p)
{
    const struct job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const fc_image *dy = &job->convolution->y;
    const int64_t width = fc_panel_width(channels, p), outputs = fc_panel_outputs(channels, p);
    const int64_t k = part->group * channels->c_out + p * channels->panel;
    const struct fc_patch *patch = &part->patch;
    if (outputs < width)
        memset(part->dy, 0, (size_t)(patch->rows * patch->columns * width * job->element));
    for (int64_t r = 0; r < patch->rows; r++) {
        const int64_t row = fc_patch_row(&job->plan->blocks, patch, r);
        job->kernels->copy_block(&(struct fc_block){
            .x = (const char *)dy->data + (n * dy->stride_n + row * dy->stride_h +
                                           patch->column * dy->stride_w + k * dy->stride_c) *
                                              job->element,
            .y = part->dy + r * patch->columns * width * job->element,
            .x_pixel = dy->stride_w,
            .x_channel = dy->stride_c,
            .y_pixel = width,
            .y_channel = 1,
            .pixels = patch->columns,
            .channels = outputs,
        });
    }
}

/* The rows of the patch for which kernel row i reads the image, not padding. */
static void rows_of_tap(const struct part *part, int64_t i, int64_t *begin, int64_t *end)
{
    const struct job *job = part->job;
    *begin = 0;
    *end = part->patch.rows;
    if (!job->padded.skip_rows)
        return;
    int64_t first, stop;
    fc_axis_outputs(&job->convolution->axis[0], i, &first, &stop);
    while (*begin < *end && fc_patch_row(&job->plan->blocks, &part->patch, *begin) < first)
        ++*begin;
    while (*end > *begin && fc_patch_row(&job->plan->blocks, &part->patch, *end - 1) >= stop)
        --*end;
}

/* Adds `elements` rows of the gradient, near-equal tiles of them, over rows [begin, end). x and sums
 * are those of the first element and of row 0. */
static void add_elements(struct part *part, int64_t p, const char *x, char *sums, int64_t elements,
                         int64_t begin, int64_t end)
{
    const struct job *job = part->job;
    const struct fc_conv2d_kernels *kernels = job->kernels;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t width = fc_panel_width(channels, p);
    const int64_t most = kernels->tile_units * channels->unit;
    const int64_t tiles = fc_ceil_div(elements, kernels->dkernel_elements);
    struct fc_dkernel_tile *tile = &part->tile;
    tile->dy_step = tile->dkernel_step = width;
    tile->rows = end - begin;
    tile->width = part->patch.columns;
    for (int64_t k = 0; k < width; k += most) {
        tile->units = (int)(fc_min(width - k, most) / channels->unit);
        tile->dy = part->dy + (begin * part->patch.columns * width + k) * job->element;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = elements * t / tiles;
            tile->elements = (int)(elements * (t + 1) / tiles - first);
            tile->dkernel = sums + (first * width + k) * job->element;
            if (channels->lanes) {
                tile->x = x + (begin * tile->x_row + k) * job->element;
                tile->offset = part->offset + first;
                kernels->lane_dkernel_tile(tile);
            } else {
                tile->x = x + (begin * tile->x_row + first) * job->element;
                kernels->dkernel_tile(tile);
            }
        }
    }
}

/* One slab of channels, which begins at channel c of the part: a run of elements for each kernel row,
 * or for each tap where taps lie apart. */
static void add_slab(struct part *part, int64_t p, int64_t c, int64_t slab)
{
    const struct job *job = part->job;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(&job->plan->channels, p);
    const bool merged = axis[1].dilation == 1;
    const int64_t runs = merged ? 1 : axis[1].taps, length = merged ? axis[1].taps * slab : slab;
    const char *x = part->x + patch->x_rows * patch->x_columns * c * job->element;
    char *sums =
        part->sums + (panel_sums(part, p) + job->plan->channels.taps * c * width) * job->element;

    part->tile.x_step = axis[1].stride * slab;
    part->tile.x_row = job->plan->blocks.row_stride * patch->x_columns * slab;
    for (int64_t i = 0; i < axis[0].taps; i++) {
        int64_t begin, end;
        rows_of_tap(part, i, &begin, &end);
        for (int64_t j = 0; j < runs && begin < end; j++)
            add_elements(
                part, p, x + (i * patch->x_columns + j * axis[1].dilation) * slab * job->element,
                sums + (i * axis[1].taps + j) * slab * width * job->element, length, begin, end);
    }
}

/* One channel of every group, in lanes: all taps at once, since few taps make few chains. */
static void add_lanes(struct part *part, int64_t p, int64_t c)
{
    const struct job *job = part->job;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(&job->plan->channels, p), taps = job->plan->channels.taps;
    for (int64_t i = 0; i < axis[0].taps; i++)
        for (int64_t j = 0; j < axis[1].taps; j++)
            part->offset[i * axis[1].taps + j] =
                (i * patch->x_columns + j * axis[1].dilation) * width;
    part->tile.x_step = axis[1].stride * width;
    part->tile.x_row = job->plan->blocks.row_stride * patch->x_columns * width;
    add_elements(part, p, part->x + patch->x_rows * patch->x_columns * c * width * job->element,
                 part->sums + (panel_sums(part, p) + taps * c * width) * job->element, taps, 0,
                 patch->rows);
}

static void add_block(struct part *part, int64_t n)
{
    const struct job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    if (!channels->lanes)
        fc_pack_slabs(&job->padded, n, &part->patch, channels->slab,
                      part->group * channels->c_in + part->c, part->channels, part->x);
    for (int64_t p = part->panel; p < part->panel + part->panels; p++) {
        if (channels->lanes)
            fc_pack_lanes(&job->padded, n, &part->patch, &job->convolution->kernel,
                          p * channels->panel, fc_panel_outputs(channels, p),
                          fc_panel_width(channels, p), part->c, part->channels, part->x);
        pack_dy(part, n, p);
        for (int64_t c = 0; c < part->channels; c += channels->slab)
            if (channels->lanes)
                add_lanes(part, p, c);
            else
                add_slab(part, p, c, fc_min(channels->slab, part->channels - c));
    }
}

/* Item: a chunk of the blocks of one part. */
static void sum_chunk(void *context, int64_t item, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const int64_t chunk = item % plan->chunks, blocks = fc_block_count(&plan->blocks);
    struct part part = find_part(job, item / plan->chunks);
    part.sums = job->sums + item * plan->part_elements * job->element;
    part.x = job->scratch + (size_t)worker * plan->worker_bytes;
    part.dy = part.x + plan->x_bytes;
    part.offset = (ptrdiff_t *)(part.dy + plan->dy_bytes);
    memset(part.sums, 0, (size_t)(plan->part_elements * job->element));
    const int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    for (int64_t step = plan->steps * chunk / plan->chunks; step < end; step++) {
        part.patch = fc_block_at(job->convolution->axis, &plan->blocks, step % blocks);
        if (part.patch.rows)
            add_block(&part, step / blocks);
    }
}

/* ------------------------------------------------------------------ result */

/* Item: a part. Its chunks are added in order to the first. */
static void store_part(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    struct part part = find_part(job, item);
    char *first = job->sums + item * plan->chunks * plan->part_elements * job->element;
    if (plan->chunks > 1)
        job->kernels->channel_sums(first + plan->part_elements * job->element, plan->part_elements,
                                   plan->chunks - 1, plan->part_elements, first);
    const struct fc_panels panels = {&job->convolution->kernel, channels, job->kernels,
                                     job->element};
    for (int64_t p = part.panel; p < part.panel + part.panels; p++) {
        const int64_t width = fc_panel_width(channels, p);
        char *sums = first + panel_sums(&part, p) * job->element;
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
    if (form == FC_DIRECT_FORM || convolution->y.n == 0)
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
    struct plan plan;
    size_t total;
    if (dkernel->kh * dkernel->kw * dkernel->c_in * dkernel->c_out == 0)
        return FC_OK;
    bool done;
    const fc_status status = try_winograd(params->algorithm, &convolution, &done);
    if (status != FC_OK || done)
        return status;
    fc_make_dense(&convolution);
    if (!make_plan(&convolution, &plan, &total))
        return FC_OVERFLOW;
    if (fc_fits_depthwise_dkernel(&convolution))
        return fc_depthwise_dkernel(&convolution, &plan.blocks, plan.steps, plan.chunks);
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;

    const struct fc_conv2d_kernels *kernels = &fc_current_kernels(params->dtype)->conv2d;
    struct job job = {
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
