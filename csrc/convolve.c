/* convolve.c: check nothing, pack, loop over tiles.
 *
 * An item of work is one block of outputs of one image and group, for some or all panels of the
 * kernel:
 *     for each chunk of channels:  pack the rows of x that the block needs
 *         for each panel, for each block of channels that one chain sums:
 *             for each tile: add its sum to the strip of partial sums; the last one finishes y
 */
#include "convolve.h"

#include "convolve_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

struct job {
    const struct fc_convolution *convolution;
    const struct fc_convolve_plan *plan;
    const struct fc_conv2d_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    const char *packed;
    char *scratch;
};

/* The terms of one block of channels: `each` runs for every kernel row of every slab. */
struct terms {
    ptrdiff_t *offset, *kernel_row;
    int64_t slabs, each, length;
};

/* What one item computes, and its worker's scratch. */
struct item {
    const struct job *job;
    int64_t n, group, panel, end_panel;
    struct fc_patch patch;
    char *x, *strip;
    struct terms terms, chosen;
    struct fc_tile tile;
};

/* ------------------------------------------------------------------- items */

static void decode_item(struct item *item, int64_t index)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    item->panel = index % plan->panel_shares * plan->panels;
    item->end_panel = fc_min(item->panel + plan->panels, fc_panel_count(&plan->channels));
    index /= plan->panel_shares;
    item->patch = fc_block_at(item->job->convolution->axis, &plan->blocks, index % blocks);
    index /= blocks;
    item->group = index % plan->channels.groups;
    item->n = index / plan->channels.groups;
}

/* ------------------------------------------------------------------- terms */

/* The runs of `channels` channels, in slabs of `slab`, whose pixels lie `pitch` apart. */
static void list_terms(struct item *item, int64_t channels, int64_t slab, int64_t pitch)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_axis *axis = item->job->convolution->axis;
    struct terms *terms = &item->terms;
    const bool merged = axis[1].dilation == 1 && !plan->channels.lanes;
    const int64_t row = item->patch.x_columns * pitch;

    terms->slabs = fc_ceil_div(channels, slab);
    terms->each = merged ? 1 : axis[1].taps;
    terms->length = merged ? axis[1].taps * slab : slab;
    int64_t r = 0;
    for (int64_t s = 0; s < terms->slabs; s++)
        for (int64_t i = 0; i < axis[0].taps; i++)
            for (int64_t j = 0; j < terms->each; j++, r++) {
                terms->offset[r] =
                    s * item->patch.x_rows * row + i * row + j * axis[1].dilation * pitch;
                terms->kernel_row[r] = (s * plan->channels.taps + i * axis[1].taps + j) * slab;
            }
    item->tile.runs.length = terms->length;
    item->tile.runs.step = axis[1].stride * pitch;
}

/* One tap, channels together: the whole block is one run. */
static void list_direct(struct item *item, int64_t channels)
{
    item->terms.slabs = item->terms.each = 1;
    item->terms.offset[0] = item->terms.kernel_row[0] = 0;
    item->tile.runs.length = channels;
    item->tile.runs.step = item->job->convolution->x.stride_w;
}

/* The runs of kernel rows [begin, end) alone. */
static void choose_rows(struct item *item, int64_t begin, int64_t end)
{
    const struct terms *all = &item->terms;
    struct fc_runs *runs = &item->tile.runs;
    const int64_t taps = item->job->convolution->axis[0].taps;
    if (begin == 0 && end == taps) {
        runs->offset = all->offset;
        runs->kernel_row = all->kernel_row;
        runs->count = all->slabs * taps * all->each;
        return;
    }
    int64_t count = 0;
    for (int64_t s = 0; s < all->slabs; s++)
        for (int64_t r = (s * taps + begin) * all->each; r < (s * taps + end) * all->each; r++) {
            item->chosen.offset[count] = all->offset[r];
            item->chosen.kernel_row[count++] = all->kernel_row[r];
        }
    runs->offset = item->chosen.offset;
    runs->kernel_row = item->chosen.kernel_row;
    runs->count = count;
}

/* ------------------------------------------------------------------- tiles */

static char *y_at(const struct item *item, const fc_image *y, int64_t row, int64_t k)
{
    return (char *)y->data + (item->n * y->stride_n + row * y->stride_h +
                              item->patch.column * y->stride_w + k * y->stride_c) *
                                 item->job->element;
}

/* Whether a tile can finish y itself: channels lie together, in the residual too. */
static bool in_place(const struct fc_convolution *convolution)
{
    return convolution->y.stride_c == 1 &&
           (!convolution->residual.data || convolution->residual.stride_c == 1);
}

/* Where sums go: to the strip, or, for the last block of channels, finished into y. */
static void aim_row(struct item *item, bool first, bool last, char *strip, int64_t row, int64_t k)
{
    const struct fc_convolution *convolution = item->job->convolution;
    struct fc_tile *tile = &item->tile;
    tile->partial = first ? NULL : strip;
    tile->partial_step = item->job->plan->channels.panel;
    tile->bias = tile->residual = NULL;
    tile->activation = FC_LINEAR;
    if (!last || !in_place(convolution)) {
        tile->y = strip;
        tile->y_step = tile->partial_step;
        tile->columns = tile->units * (int)item->job->plan->channels.unit;
        return;
    }
    tile->y = y_at(item, &convolution->y, row, k);
    tile->y_step = convolution->y.stride_w;
    tile->activation = convolution->activation;
    if (convolution->bias)
        tile->bias = (const char *)convolution->bias + k * item->job->element;
    if (convolution->residual.data) {
        tile->residual = y_at(item, &convolution->residual, row, k);
        tile->residual_step = convolution->residual.stride_w;
    }
}

static void compute_row(struct item *item, const char *x)
{
    const struct fc_conv2d_kernels *kernels = item->job->kernels;
    const ptrdiff_t element = item->job->element;
    struct fc_tile *tile = &item->tile;
    const int64_t tiles = fc_ceil_div(item->patch.columns, kernels->tile_pixels);
    char *y = tile->y;
    const char *partial = tile->partial, *residual = tile->residual;
    int64_t begin = 0;
    for (int64_t t = 1; t <= tiles; t++) {
        const int64_t end = item->patch.columns * t / tiles;
        tile->pixels = (int)(end - begin);
        tile->x = x + begin * tile->runs.step * element;
        tile->y = y + begin * tile->y_step * element;
        if (partial)
            tile->partial = partial + begin * tile->partial_step * element;
        if (residual)
            tile->residual = residual + begin * tile->residual_step * element;
        if (item->job->plan->channels.lanes)
            kernels->lane_tile(tile);
        else
            kernels->conv_tile(tile);
        begin = end;
    }
}

/* A channel's pixels lie apart from its neighbours': the strip's row is turned into place. */
static void turn_row(const struct item *item, const char *strip, int64_t row, int64_t k,
                     int64_t columns)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    item->job->kernels->finish_block(&(struct fc_finish){
        .block = {.x = strip,
                  .y = y_at(item, y, row, k),
                  .x_pixel = item->job->plan->channels.panel,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = item->patch.columns,
                  .channels = columns},
        .bias = convolution->bias ? (const char *)convolution->bias + k * item->job->element : NULL,
        .residual = residual->data ? y_at(item, residual, row, k) : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = convolution->activation,
    });
}

/* One panel times one block of channels, whose kernel rows begin at `kernel` and x at `x`. */
static void compute_panel(struct item *item, int64_t p, const char *kernel, const char *x,
                          int64_t x_row, char *strip, bool first, bool last)
{
    const struct job *job = item->job;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t width = fc_panel_width(channels, p), outputs = fc_panel_outputs(channels, p);
    const int64_t most = job->kernels->tile_units * channels->unit;
    const int64_t y_first = item->group * channels->c_out + p * channels->panel;

    item->tile.kernel_step = width;
    for (int64_t k = 0; k < width; k += most) {
        item->tile.kernel = kernel + k * job->element;
        item->tile.units = (int)(fc_min(width - k, most) / channels->unit);
        for (int64_t r = 0; r < item->patch.rows; r++) {
            const int64_t row = fc_patch_row(&item->job->plan->blocks, &item->patch, r);
            int64_t begin = 0, end = job->convolution->axis[0].taps;
            if (job->plan->skip_rows)
                fc_axis_taps(&job->convolution->axis[0], row, &begin, &end);
            choose_rows(item, begin, end);
            item->tile.columns = (int)fc_min(outputs - k, most);
            aim_row(item, first, last,
                    strip + (r * item->patch.columns * channels->panel + k) * job->element, row,
                    y_first + k);
            compute_row(item, x + (r * x_row + (channels->lanes ? k : 0)) * job->element);
        }
    }
    for (int64_t r = 0; last && !in_place(job->convolution) && r < item->patch.rows; r++)
        turn_row(item, strip + r * item->patch.columns * channels->panel * job->element,
                 fc_patch_row(&item->job->plan->blocks, &item->patch, r), y_first, outputs);
}

/* ---------------------------------------------------------------- channels */

/* Packs channels [c, c + count) for panel p (lanes) or for all. */
static void pack_chunk(struct item *item, int64_t p, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct fc_channels *channels = &job->plan->channels;
    if (job->plan->direct)
        return;
    if (channels->lanes)
        fc_pack_lanes(&job->padded, item->n, &item->patch, &job->convolution->kernel,
                      p * channels->panel, fc_panel_outputs(channels, p),
                      fc_panel_width(channels, p), c, count, item->x);
    else
        fc_pack_slabs(&job->padded, item->n, &item->patch, item->group * channels->c_in + c, count,
                      item->x);
}

/* Where channel c of x begins, packed from channel `chunk` on or in place; row_step elements a row. */
static const char *find_x(const struct item *item, int64_t p, int64_t chunk, int64_t c,
                          int64_t slab, int64_t *row_step)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_channels *channels = &job->plan->channels;
    if (job->plan->direct) {
        *row_step = x->stride_h;
        return (const char *)x->data +
               (item->n * x->stride_n + item->patch.row * x->stride_h +
                item->patch.column * x->stride_w + item->group * channels->c_in + c) *
                   job->element;
    }
    const int64_t pixels = item->patch.x_rows * item->patch.x_columns;
    const int64_t width = channels->lanes ? fc_panel_width(channels, p) : 1;
    *row_step =
        job->plan->blocks.row_stride * item->patch.x_columns * (channels->lanes ? width : slab);
    return item->x + pixels * width * (c - chunk) * job->element;
}

/* Panel p times the packed chunk [c, c + count), block by block. A last slab of fewer channels is a
 * block of its own, since its pixels have another pitch. */
static void compute_chunk(struct item *item, int64_t p, int64_t c, int64_t count, char *strip)
{
    const struct job *job = item->job;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t chunk = c, end = c + count, whole = end - count % channels->slab;
    do {
        const int64_t stop = c < whole ? fc_min(c + channels->block, whole) : end;
        const int64_t slab = fc_max(fc_min(channels->slab, stop - c), 1);
        int64_t x_row;
        if (job->plan->direct)
            list_direct(item, stop - c);
        else
            list_terms(item, stop - c, slab, channels->lanes ? fc_panel_width(channels, p) : slab);
        const char *x = find_x(item, p, chunk, c, slab, &x_row);
        const char *kernel =
            job->packed + (fc_panel_offset(channels, item->group, p) +
                           fc_panel_row(channels, c) * fc_panel_width(channels, p)) *
                              job->element;
        compute_panel(item, p, kernel, x, x_row, strip, c == 0, stop == channels->c_in);
        c = stop;
    } while (c < end);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct fc_convolve_plan *plan = job->plan;
    char *scratch = job->scratch + (size_t)worker * plan->worker_bytes;
    ptrdiff_t *runs = (ptrdiff_t *)(scratch + plan->x_bytes + plan->strip_bytes);
    const size_t entries = plan->runs_bytes / sizeof *runs;
    struct item item = {
        .job = job,
        .x = scratch,
        .strip = scratch + plan->x_bytes,
        .terms = {.offset = runs, .kernel_row = runs + entries / 2},
        .chosen = {.offset = runs + entries, .kernel_row = runs + entries + entries / 2},
    };
    decode_item(&item, index);
    if (item.patch.rows == 0)
        return;

    const int64_t together = plan->channels.lanes ? 1 : plan->panels;
    const bool chunked = plan->chunk < plan->channels.c_in;
    const int64_t strip_bytes =
        item.patch.rows * item.patch.columns * plan->channels.panel * job->element;
    for (int64_t first = item.panel; first < item.end_panel; first += together) {
        const int64_t end = fc_min(first + together, item.end_panel);
        int64_t c = 0;
        do {
            const int64_t count = fc_min(plan->chunk, plan->channels.c_in - c);
            pack_chunk(&item, first, c, count);
            for (int64_t p = first; p < end; p++)
                compute_chunk(&item, p, c, count,
                              item.strip + (chunked ? p - first : 0) * strip_bytes);
            c += count;
        } while (c < plan->channels.c_in);
    }
}

/* -------------------------------------------------------------------- call */

fc_status fc_convolve(const struct fc_convolution *given)
{
    struct fc_convolution convolution = *given;
    struct fc_convolve_plan plan;
    if (convolution.y.n * convolution.y.h * convolution.y.w * convolution.y.c == 0)
        return FC_OK;
    fc_make_dense(&convolution);
    fc_merge_pixels(&convolution);
    if (!fc_plan_convolve(&convolution, &plan))
        return FC_OVERFLOW;

    size_t packed_bytes = 0, total;
    if (!convolution.packed && !fc_packed_bytes(&plan.channels, convolution.dtype, &packed_bytes))
        return FC_OVERFLOW;
    packed_bytes = fc_round_to_line(packed_bytes);
    if (__builtin_mul_overflow(plan.worker_bytes, (size_t)plan.width, &total) ||
        __builtin_add_overflow(total, packed_bytes, &total))
        return FC_OVERFLOW;
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;

    const struct fc_conv2d_kernels *kernels = &fc_current_kernels(convolution.dtype)->conv2d;
    struct job job = {
        .convolution = &convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = {.kernels = kernels,
                   .element = fc_element_size(convolution.dtype),
                   .x = convolution.x,
                   .mode = convolution.padding_mode,
                   .value = convolution.padding_value,
                   .skip_rows = plan.skip_rows},
        .element = (ptrdiff_t)fc_element_size(convolution.dtype),
        .packed = convolution.packed,
        .scratch = scratch + packed_bytes,
    };
    if (!convolution.packed) {
        fc_pack_panels(
            &(struct fc_panels){&convolution.kernel, &plan.channels, kernels, job.element},
            scratch);
        job.packed = scratch;
    }
    fc_parallel_for(plan.items, plan.width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
