/* convolve_groups.c: convolutions in groups of 4, 8 or 16 channels, several groups in the lanes.
 *
 * A unit of 16 outputs is 4 groups of 4, and its inputs are the 16 channels beside it: group_tile
 * spreads each group's channel over the group's lanes by a permutation. Gathered beforehand, as lanes
 * of narrow groups are otherwise, x becomes 4 times as many numbers, which took longer than the sums.
 * Groups of 16 fill a unit each; they gain by one block of x for many groups, where Winograd's tiles do not
 * serve.
 *
 * An item is a block of one image and a few units, whose x is packed, with its padding where tiles cannot
 * leave that out: rows of zeros, and a column of them beside three taps that slide. The kernel and
 * the order of the sums are those of other narrow groups: channels, then rows of taps, then columns.
 *
 * An input gradient at strides is as many convolutions as there are phases, which here are parts of one: x, there
 * dy, is packed once for all of them, and of planes whole rows are turned, where phase by phase every other number
 * was stored, or phases as planes that were merged afterwards. */
#include "convolve_groups.h"

#include "convolve_groups_ahead.h"
#include "convolve_groups_plan.h"
#include "dispatch.h"
#include "fetch_rows.h"
#include "pack_rows.h"
#include "parallel.h"
#include "stream.h"
#include "workspace.h"

struct job {
    const struct fc_convolution *parts; /* of one x and y */
    const struct fc_groups_plan *plan;
    const struct fc_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    bool stream; /* y goes past the caches, or what of its planes is whole lines */
    const char *packed;
    char *scratch;
};

/* What an item computes: outputs [k, k + outputs) of a patch of image n. `read` is what it packs of x, and
 * the slabs of units are so many bytes apart; `width` columns of y are as many of a row of a strip. */
struct item {
    struct fc_patch patch, read;
    int64_t n, k, outputs, width;
    ptrdiff_t slab;
};

static struct fc_patch patch_read(const struct job *job, const struct fc_patch *patch)
{
    const fc_image *x = &job->parts[0].x;
    struct fc_patch read = *patch;
    if (!job->plan->inside)
        return read;
    const struct fc_inside inside = fc_patch_inside(patch, x->h, x->w);
    read.x_row = inside.row;
    read.x_rows = inside.rows;
    read.x_column = inside.column;
    read.x_columns = inside.columns;
    return read;
}

static struct item item_at(const struct job *job, int64_t index)
{
    const struct fc_groups_plan *plan = job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    const int64_t k = index % plan->shares * plan->units * plan->unit;
    const int64_t outputs = fc_min(plan->units * plan->unit, job->parts[0].y.c - k);
    index /= plan->shares;
    struct item item = {
        .patch = fc_block_at(plan->axis, &plan->blocks, index % blocks),
        .n = index / blocks,
        .k = k,
        .outputs = fc_max(outputs, 0),
    };
    item.width = fc_min(item.patch.columns * plan->step[1],
                        job->parts[0].y.w - item.patch.column * plan->step[1]);
    item.read = patch_read(job, &item.patch);
    item.slab = item.read.x_rows * item.read.x_columns * FC_UNIT_BYTES;
    return item;
}

/* The first pixel of position row r of an item, of its outputs from k on. */
static char *row_of(const struct job *job, const fc_image *image, const struct item *item,
                    int64_t r, int64_t k)
{
    const struct fc_groups_plan *plan = job->plan;
    const int64_t row = fc_patch_row(&plan->blocks, &item->patch, r) * plan->step[0];
    const int64_t column = item->patch.column * plan->step[1];
    return fc_image_at(image, job->element, item->n, row, column, k);
}

/* Whether tiles can finish y themselves. */
static bool in_place(const struct job *job)
{
    return job->parts[0].y.stride_c == 1 && !job->parts[0].residual.data;
}

/* The channels of a chain, as other narrow groups are summed. */
static int64_t chain_of(const struct fc_channels *channels, int64_t c_in)
{
    return channels->lanes ? channels->block : c_in;
}

/* The kernel of outputs [k, k + unit) of a part: in lanes [channel][tap][width of the panel], else, a group of its
 * own, [tap][channel][unit]. */
static struct fc_group_tile tile_of(const struct job *job, const struct item *item, int64_t q,
                                    int64_t k)
{
    const struct fc_convolution *convolution = &job->parts[q];
    const struct fc_channels *channels = &job->plan->part[q].channels;
    const struct fc_axis *axis = convolution->axis;
    const int64_t c_in = convolution->kernel.c_in, p = k / channels->panel;
    struct fc_group_tile tile = {
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .x_row = item->read.x_columns * channels->unit,
        .stride = axis[1].stride,
        .dilation = axis[1].dilation,
        .channels = c_in,
        .stream = job->stream && in_place(job) && chain_of(channels, c_in) >= c_in,
        .kernel_tap = channels->lanes ? fc_panel_width(channels, p) : c_in * channels->unit,
        .activation = FC_LINEAR,
    };
    tile.kernel_channel = channels->lanes ? channels->taps * tile.kernel_tap : channels->unit;
    const int64_t first = channels->lanes ? fc_panel_offset(channels, 0, p) + k % channels->panel
                                          : fc_panel_offset(channels, k / channels->unit, 0);
    tile.kernel = job->packed + job->plan->part[q].packed + first * job->element;
    return tile;
}

/* Position rows [r, r + rows) of an item's outputs [k, k + outputs), x its packed pixels and next the item that
 * follows. */
struct rows {
    const struct job *job;
    const struct item *item, *next;
    const char *x;
    char *strip;
    int64_t k, outputs, r, rows;
};

/* What some rows are in y: runs of so many pixels, one where the rows follow each other. */
struct runs {
    int64_t count, pixels;
};

static struct runs find_runs(const struct rows *some)
{
    const struct fc_groups_plan *plan = some->job->plan;
    const fc_image *y = &some->job->parts[0].y, *residual = &some->job->parts[0].residual;
    const int64_t columns = some->item->width;
    const int64_t first = fc_patch_row(&plan->blocks, &some->item->patch, some->r) * plan->step[0];
    const int64_t rows = fc_min(some->rows * plan->step[0], y->h - first);
    const bool whole = columns == y->w && plan->blocks.row_phases == 1 &&
                       fc_rows_together(y, columns) &&
                       (!residual->data || fc_rows_together(residual, columns));
    return whole ? (struct runs){1, rows * columns} : (struct runs){rows, columns};
}

static char *run_of(const struct rows *some, const fc_image *image, int64_t i)
{
    const int64_t step = some->job->plan->step[0];
    return row_of(some->job, image, some->item, some->r + i / step, some->item->k + some->k) +
           i % step * image->stride_h * some->job->element;
}

static bool streams(const struct rows *some, const char *to, int64_t pixels)
{
    const struct job *job = some->job;
    return job->stream &&
           fc_whole_lines(to, job->parts[0].y.stride_c * job->element, pixels * job->element);
}

/* Outputs [k, k + unit) of some rows from a strip. */
static void finish_rows(const struct rows *some)
{
    const struct job *job = some->job;
    const struct fc_convolution *convolution = job->parts;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t unit = job->plan->unit, k = some->item->k + some->k;
    const struct runs runs = find_runs(some);
    for (int64_t i = 0; i < runs.count; i++) {
        char *to = run_of(some, y, i);
        job->kernels->conv2d.finish_block(&(struct fc_finish){
            .block = {.x = some->strip + i * runs.pixels * unit * job->element,
                      .y = to,
                      .x_pixel = unit,
                      .x_channel = 1,
                      .y_pixel = y->stride_w,
                      .y_channel = y->stride_c,
                      .pixels = runs.pixels,
                      .channels = unit,
                      .stream = streams(some, to, runs.pixels)},
            .bias = convolution->bias ? (const char *)convolution->bias + k * job->element : NULL,
            .residual = residual->data ? run_of(some, residual, i) : NULL,
            .residual_pixel = residual->stride_w,
            .residual_channel = residual->stride_c,
            .activation = convolution->activation,
        });
    }
}

/* The rows of taps [begin, end) of a part's row whose first tap is at row `first` of x that are not left out. */
static void find_taps(const struct job *job, const struct fc_axis *axis, int64_t first,
                      int64_t *begin, int64_t *end)
{
    const int64_t gap = axis->dilation;
    *begin = 0;
    *end = axis->taps;
    if (!job->plan->skip_rows)
        return;
    *begin = fc_min(fc_ceil_div(fc_max(-first, 0), gap), *end);
    *end = fc_max(fc_min(fc_ceil_div(fc_max(job->parts[0].x.h - first, 0), gap), *end), *begin);
}

/* A tile, chain after chain of channels. */
static void compute_chains(const struct job *job, int64_t q, struct fc_group_tile tile)
{
    const struct fc_group_tile last = tile;
    const int64_t chain = chain_of(&job->plan->part[q].channels, tile.channels);
    for (tile.begin = 0; tile.begin < tile.channels; tile.begin = tile.end) {
        tile.end = fc_min(tile.begin + chain, tile.channels);
        tile.bias = tile.end == tile.channels ? last.bias : NULL;
        tile.activation = tile.end == tile.channels ? last.activation : FC_LINEAR;
        job->kernels->few.group_tile(&tile);
    }
}

/* Where part q's pixels of position row r lie, of unit u of the rows: in y or in a strip. */
static char *find_y(const struct rows *some, int64_t q, int64_t r, int64_t u, ptrdiff_t *step)
{
    const struct job *job = some->job;
    const struct fc_groups_plan *plan = job->plan;
    const fc_image *y = &job->parts[0].y;
    const int64_t row = plan->part[q].at[0], column = plan->part[q].at[1];
    if (in_place(job)) {
        *step = plan->step[1] * y->stride_w;
        return row_of(job, y, some->item, r, some->item->k + some->k + u * plan->unit) +
               (row * y->stride_h + column * y->stride_w) * job->element;
    }
    *step = plan->step[1] * plan->unit;
    return some->strip + (((r - some->r) * plan->step[0] + row) * some->item->width + column) *
                             plan->unit * job->element;
}

/* Position row r of part q and one unit. Lines of the next item's x and of the row of y below are fetched
 * meanwhile. */
static void compute_row(const struct rows *some, int64_t q, int64_t r, int64_t u,
                        struct fc_group_tile tile)
{
    const struct job *job = some->job;
    const struct fc_groups_plan *plan = job->plan;
    const struct fc_groups_part *part = &plan->part[q];
    const struct fc_axis *axis = job->parts[q].axis;
    const struct fc_patch *patch = &some->item->patch, *read = &some->item->read;
    const fc_image *x = &job->parts[0].x, *y = &job->parts[0].y;
    const int64_t columns = fc_min(patch->columns, axis[1].out - patch->column);
    const int64_t pieces = fc_ceil_div(columns, job->kernels->few.group_pixels);
    const int64_t units = some->outputs / plan->unit;
    const int64_t x_row = patch->x_row + part->shift[0],
                  x_column = patch->x_column + part->shift[1];
    const struct item *next = some->next;
    struct fc_groups_ahead ahead = {.outer = 0};
    if (q == 0 && some->k + some->outputs <= next->outputs)
        ahead = fc_find_groups_ahead(x, job->element, &next->patch, next->n, r, patch->rows,
                                     next->k + some->k, some->outputs, plan->unit);
    int64_t begin, end;
    find_taps(job, &axis[0], x_row + r * plan->blocks.row_stride * patch->x_row_gap, &begin, &end);
    tile.kh = end - begin;
    tile.kernel = (const char *)tile.kernel + begin * tile.kw * tile.kernel_tap * job->element;
    const int64_t row = x_row - read->x_row + r * plan->blocks.row_stride + begin;
    const char *from = some->x + (some->k / plan->unit + u) * some->item->slab +
                       (row * read->x_columns + x_column - read->x_column) * FC_UNIT_BYTES;
    char *to = find_y(some, q, r, u, &tile.y_step);
    const ptrdiff_t below = plan->blocks.row_phases * plan->step[0] * y->stride_h * job->element;
    for (int64_t t = 0; t < pieces; t++) {
        const int64_t p = columns * t / pieces, last = columns * (t + 1) / pieces;
        fc_fetch_groups_ahead(&ahead, u * pieces + t, units * pieces);
        tile.pixels = (int)(last - p);
        tile.left = part->slides && x_column + p < 0;
        tile.right = part->slides && x_column + last + 2 > x->w;
        tile.x = from + p * tile.stride * FC_UNIT_BYTES;
        tile.y = to + p * tile.y_step * job->element;
        for (int64_t i = 0; in_place(job) && !tile.stream && i < tile.pixels; i++)
            __builtin_prefetch((char *)tile.y + below + i * tile.y_step * job->element, 1, 2);
        compute_chains(job, q, tile);
    }
}

/* Planes of y, whose rows are no stream that the processor knows, are asked for before they are computed. */
static inline __attribute__((always_inline)) void fetch_planes(const struct rows *some)
{
    const struct job *job = some->job;
    const fc_image *y = &job->parts[0].y;
    const struct runs runs = find_runs(some);
    for (int64_t i = 0; y->stride_w == 1 && i < runs.count; i++) {
        const char *to = run_of(some, y, i);
        if (!streams(some, to, runs.pixels))
            fc_fetch_rows(to, y->stride_c * job->element, job->plan->unit,
                          runs.pixels * job->element);
    }
}

/* Some rows of one unit after the other, in place, so that y is soon written in long runs, or of one unit
 * through a strip, so that few planes are written at once. */
static void compute_rows(const struct rows *some,
                         struct fc_group_tile (*tiles)[FC_MOST_GROUP_UNITS])
{
    const struct job *job = some->job;
    const struct fc_groups_plan *plan = job->plan;
    const struct fc_patch *patch = &some->item->patch;
    if (!in_place(job))
        fetch_planes(some);
    for (int64_t u = 0; u < some->outputs / plan->unit; u++)
        for (int64_t r = some->r; r < some->r + some->rows; r++)
            for (int64_t q = 0; q < plan->count; q++)
                if (fc_patch_row(&plan->blocks, patch, r) < job->parts[q].axis[0].out)
                    compute_row(some, q, r, u, tiles[q][some->k / plan->unit + u]);
    if (!in_place(job))
        finish_rows(some);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct fc_groups_plan *plan = job->plan;
    const struct fc_convolution *convolution = job->parts;
    char *x = job->scratch + (size_t)worker * plan->worker_bytes;
    const struct item item = item_at(job, index);
    const struct item next = item_at(job, fc_min(index + 1, plan->items - 1));
    if (item.patch.rows == 0 || item.outputs == 0)
        return;
    fc_pack_slabs(&job->padded, item.n, &item.read, plan->unit, item.k, item.outputs,
                  x + FC_UNIT_BYTES);
    struct fc_group_tile tiles[FC_MOST_GROUP_PARTS][FC_MOST_GROUP_UNITS];
    for (int64_t i = 0; i < plan->count * item.outputs / plan->unit; i++) {
        const int64_t q = i % plan->count, u = i / plan->count, k = item.k + u * plan->unit;
        tiles[q][u] = tile_of(job, &item, q, k);
        if (in_place(job) && convolution->bias)
            tiles[q][u].bias = (const char *)convolution->bias + k * job->element;
        if (in_place(job))
            tiles[q][u].activation = convolution->activation;
    }
    const int64_t together = in_place(job) ? item.outputs : plan->unit;
    for (int64_t k = 0; k < item.outputs; k += together)
        for (int64_t r = 0; r < item.patch.rows; r += plan->rows)
            compute_rows(&(struct rows){job, &item, &next, x + FC_UNIT_BYTES, x + plan->x_bytes, k,
                                        together, r, fc_min(plan->rows, item.patch.rows - r)},
                         tiles);
}

fc_status fc_convolve_group_parts(const struct fc_convolution *parts, const int64_t step[2])
{
    struct fc_groups_plan plan;
    char *scratch;
    if (!fc_plan_groups(parts, step, &plan))
        return FC_OVERFLOW;
    const fc_status status =
        fc_workspace_divide(plan.packed_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;
    const struct fc_kernels *kernels = fc_current_kernels(parts[0].dtype);
    struct job job = {
        .parts = parts,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(parts, &kernels->conv2d, plan.skip_rows),
        .element = (ptrdiff_t)fc_element_size(parts[0].dtype),
        .packed = parts[0].packed ? parts[0].packed : scratch,
        .scratch = scratch + plan.packed_bytes,
    };
    job.stream = in_place(&job) ? fc_streams_image(&parts[0].y, false, job.element)
                                : fc_streams_planes(&parts[0].y, job.element);
    for (int64_t q = 0; q < plan.count && !parts[0].packed; q++)
        fc_pack_panels(&(struct fc_panels){&parts[q].kernel, &plan.part[q].channels,
                                           &kernels->conv2d, job.element},
                       scratch + plan.part[q].packed);
    fc_parallel_for(plan.items, plan.width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}

fc_status fc_convolve_groups(const struct fc_convolution *convolution)
{
    return fc_convolve_group_parts(convolution, (const int64_t[]){1, 1});
}
