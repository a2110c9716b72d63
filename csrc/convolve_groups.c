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
 * the order of the sums are those of other narrow groups: channels, then rows of taps, then columns. */
#include "convolve_groups.h"

#include "blocks.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 384 * 1024, /* packed rows of x, to stay in the second-level cache */
    MOST_UNITS = 8,             /* 512 bytes of each pixel of x and y */
    BLOCK_COLUMNS = 112,
    BLOCK_OUTPUTS = 2048,
    NEAR_OUTPUTS = 28 /* of a unit before the next: its 9 KB of weights stay near */
};

struct plan {
    struct fc_channels channels;
    struct fc_blocks blocks;
    int64_t units, shares; /* of an item; items that share a block */
    size_t packed_bytes, x_bytes, worker_bytes;
    int64_t items, rows; /* of a unit, before the next */
    int width;
    bool skip_rows; /* taps in zero padding are left out */
    bool inside;    /* and columns, nor are they packed */
};

struct job {
    const struct fc_convolution *convolution;
    const struct plan *plan;
    const struct fc_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    const char *packed;
    char *scratch;
};

bool fc_fits_groups(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t count = kernel->c_out;
    if (kernel->groups == 1 || kernel->c_in != count || count < FC_FEWEST_GROUPED ||
        (count & (count - 1)) != 0 || kernel->kh < 1 || kernel->kw < 1)
        return false;
    const struct fc_channels channels = fc_plan_channels(kernel, convolution->dtype);
    return count <= channels.unit && kernel->groups * count % channels.unit == 0;
}

/* Whether three taps slide over each row and at most one of them leaves it, whose column the tiles at
 * the edges leave out. */
static bool pads_one_column(const struct fc_axis axis[2])
{
    const struct fc_axis *across = &axis[1];
    return axis[0].dilation == 1 && across->taps == 3 && across->stride == 1 &&
           across->dilation == 1 && across->before <= 1 &&
           across->out + 2 - across->before - across->in <= 1;
}

static bool make_plan(const struct fc_convolution *convolution, struct plan *plan)
{
    const fc_image *y = &convolution->y;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    plan->channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    const int64_t unit = plan->channels.unit, all = y->c / unit;
    plan->shares = fc_ceil_div(all, MOST_UNITS);
    plan->units = fc_ceil_div(all, plan->shares);
    fc_cut_blocks(convolution->axis, BLOCK_COLUMNS, BLOCK_OUTPUTS,
                  SCRATCH_BYTES / (FC_UNIT_BYTES * plan->units), &plan->blocks);
    const int64_t pixels = fc_block_pixels(convolution->axis, &plan->blocks);
    int64_t x;
    if (pixels < 0 || __builtin_mul_overflow(pixels, plan->units * FC_UNIT_BYTES, &x) ||
        !fc_packed_bytes(&plan->channels, convolution->dtype, &plan->packed_bytes))
        return false;
    plan->packed_bytes = convolution->packed ? 0 : fc_round_to_line(plan->packed_bytes);
    plan->rows = fc_max(fc_min(NEAR_OUTPUTS / plan->blocks.columns, plan->blocks.rows), 1);
    plan->skip_rows = fc_pads_with_zero(convolution);
    plan->inside = plan->skip_rows && pads_one_column(convolution->axis);
    plan->x_bytes = (size_t)(x + FC_UNIT_BYTES);
    plan->worker_bytes =
        plan->x_bytes + (size_t)(plan->rows * plan->blocks.columns * unit * element);
    plan->items = y->n * fc_block_count(&plan->blocks) * plan->shares;
    const double work = 2.0 * (double)(y->n * y->h * y->w) * (double)y->c *
                        (double)(convolution->kernel.c_in * plan->channels.taps);
    plan->width = fc_parallel_width(plan->items, work);
    return true;
}

/* What an item computes: outputs [k, k + outputs) of a patch of image n. `read` is what it packs of x, and
 * the slabs of units are so many bytes apart. */
struct item {
    struct fc_patch patch, read;
    int64_t n, k, outputs;
    ptrdiff_t slab;
};

static struct fc_patch patch_read(const struct job *job, const struct fc_patch *patch)
{
    const fc_image *x = &job->convolution->x;
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
    const struct plan *plan = job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    const int64_t k = index % plan->shares * plan->units * plan->channels.unit;
    const int64_t outputs = fc_min(plan->units * plan->channels.unit, job->convolution->y.c - k);
    index /= plan->shares;
    struct item item = {
        .patch = fc_block_at(job->convolution->axis, &plan->blocks, index % blocks),
        .n = index / blocks,
        .k = k,
        .outputs = fc_max(outputs, 0),
    };
    item.read = patch_read(job, &item.patch);
    item.slab = item.read.x_rows * item.read.x_columns * FC_UNIT_BYTES;
    return item;
}

static char *row_of(const struct job *job, const fc_image *image, const struct item *item,
                    int64_t r, int64_t k)
{
    const int64_t row = fc_patch_row(&job->plan->blocks, &item->patch, r);
    return (char *)image->data + (item->n * image->stride_n + row * image->stride_h +
                                  item->patch.column * image->stride_w + k * image->stride_c) *
                                     job->element;
}

/* Lines of x that the next item reads: in each of some rows `outer` runs of `inner` lines. Pixels of a few
 * units, or planes, are no stream that the processor knows, and packing them took a third of the time. */
struct ahead {
    const char *at;
    ptrdiff_t row, step; /* from row to row, and from run to run */
    int64_t rows, outer, inner;
};

/* Piece r of `pieces` of an item's rows, and `count` channels from its k-th on. */
static struct ahead find_ahead(const struct job *job, const struct item *item, int64_t r,
                               int64_t pieces, int64_t k, int64_t count)
{
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &item->patch;
    const int64_t gap = patch->x_row_gap, first = r * patch->x_rows / pieces;
    const int64_t end =
        fc_min((r + 1) * patch->x_rows / pieces, fc_ceil_div(x->h - patch->x_row, gap));
    const int64_t begin = fc_max(patch->x_column, 0), row = patch->x_row + first * gap;
    const int64_t columns = fc_min(patch->x_column + patch->x_columns, x->w) - begin;
    if (row < 0 || first >= end || columns <= 0 || k + count > item->outputs ||
        (x->stride_c != 1 && x->stride_w != 1))
        return (struct ahead){.outer = 0};
    const int64_t lines = fc_ceil_div(columns * job->element, FC_CACHE_LINE);
    return (struct ahead){
        .at = (const char *)x->data + (item->n * x->stride_n + row * x->stride_h +
                                       begin * x->stride_w + (item->k + k) * x->stride_c) *
                                          job->element,
        .row = gap * x->stride_h * job->element,
        .step = (x->stride_c == 1 ? x->stride_w : x->stride_c) * job->element,
        .rows = end - first,
        .outer = x->stride_c == 1 ? columns : count,
        .inner = x->stride_c == 1 ? count / job->plan->channels.unit : lines,
    };
}

/* Piece t of `pieces`. */
static void fetch(const struct ahead *ahead, int64_t t, int64_t pieces)
{
    const int64_t runs = ahead->rows * ahead->outer;
    for (int64_t i = runs * t / pieces; i < runs * (t + 1) / pieces; i++) {
        const int64_t row = i < ahead->outer ? 0 : i / ahead->outer;
        const char *at = ahead->at + row * ahead->row + (i - row * ahead->outer) * ahead->step;
        for (int64_t line = 0; line < ahead->inner; line++)
            __builtin_prefetch(at + line * FC_CACHE_LINE, 0, 2);
    }
}

/* The kernel of outputs [k, k + unit): in lanes [channel][tap][width of the panel], else, a group of its
 * own, [tap][channel][unit]. */
static struct fc_group_tile tile_of(const struct job *job, const struct item *item, int64_t k)
{
    const struct fc_channels *channels = &job->plan->channels;
    const struct fc_axis *axis = job->convolution->axis;
    const int64_t c_in = job->convolution->kernel.c_in, p = k / channels->panel;
    struct fc_group_tile tile = {
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .x_row = item->read.x_columns * channels->unit,
        .stride = axis[1].stride,
        .dilation = axis[1].dilation,
        .channels = c_in,
        .kernel_tap = channels->lanes ? fc_panel_width(channels, p) : c_in * channels->unit,
        .activation = FC_LINEAR,
    };
    tile.kernel_channel = channels->lanes ? channels->taps * tile.kernel_tap : channels->unit;
    const int64_t first = channels->lanes ? fc_panel_offset(channels, 0, p) + k % channels->panel
                                          : fc_panel_offset(channels, k / channels->unit, 0);
    tile.kernel = job->packed + first * job->element;
    return tile;
}

/* Whether tiles can finish y themselves. */
static bool in_place(const struct fc_convolution *convolution)
{
    return convolution->y.stride_c == 1 && !convolution->residual.data;
}

/* Rows [r, r + rows) of an item's outputs [k, k + outputs), x its packed pixels and next the item that
 * follows. */
struct rows {
    const struct job *job;
    const struct item *item, *next;
    const char *x;
    char *strip;
    int64_t k, outputs, r, rows;
};

/* Outputs [k, k + unit) of some rows from a strip: at once, where they follow each other. */
static void finish_rows(const struct rows *part)
{
    const struct job *job = part->job;
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const struct item *item = part->item;
    const int64_t unit = job->plan->channels.unit, columns = item->patch.columns;
    const int64_t k = item->k + part->k;
    const bool whole = columns == y->w && job->plan->blocks.row_phases == 1 &&
                       y->stride_h == columns * y->stride_w &&
                       (!residual->data || residual->stride_h == columns * residual->stride_w);
    const int64_t runs = whole ? 1 : part->rows;
    for (int64_t i = 0; i < runs; i++)
        job->kernels->conv2d.finish_block(&(struct fc_finish){
            .block = {.x = part->strip + i * columns * unit * job->element,
                      .y = row_of(job, y, item, part->r + i, k),
                      .x_pixel = unit,
                      .x_channel = 1,
                      .y_pixel = y->stride_w,
                      .y_channel = y->stride_c,
                      .pixels = part->rows / runs * columns,
                      .channels = unit},
            .bias = convolution->bias ? (const char *)convolution->bias + k * job->element : NULL,
            .residual = residual->data ? row_of(job, residual, item, part->r + i, k) : NULL,
            .residual_pixel = residual->stride_w,
            .residual_channel = residual->stride_c,
            .activation = convolution->activation,
        });
}

/* The rows of taps [begin, end) of an item's row r that are not left out. */
static void find_taps(const struct job *job, const struct item *item, int64_t r, int64_t *begin,
                      int64_t *end)
{
    const struct fc_patch *patch = &item->patch;
    const int64_t gap = patch->x_row_gap;
    const int64_t first = patch->x_row + r * job->plan->blocks.row_stride * gap;
    *begin = 0;
    *end = job->convolution->axis[0].taps;
    if (!job->plan->skip_rows)
        return;
    *begin = fc_min(fc_ceil_div(fc_max(-first, 0), gap), *end);
    *end = fc_max(fc_min(fc_ceil_div(fc_max(job->convolution->x.h - first, 0), gap), *end), *begin);
}

/* A tile, chain after chain of channels, as other narrow groups are summed. */
static void compute_chains(const struct job *job, struct fc_group_tile tile)
{
    const struct fc_group_tile last = tile;
    const int64_t block = job->plan->channels.lanes ? job->plan->channels.block : tile.channels;
    for (tile.begin = 0; tile.begin < tile.channels; tile.begin = tile.end) {
        tile.end = fc_min(tile.begin + block, tile.channels);
        tile.bias = tile.end == tile.channels ? last.bias : NULL;
        tile.activation = tile.end == tile.channels ? last.activation : FC_LINEAR;
        job->kernels->few.group_tile(&tile);
    }
}

/* One row of one unit. Lines of the next item's x and of the row of y below are fetched meanwhile. */
static void compute_row(const struct rows *part, int64_t r, int64_t u, struct fc_group_tile tile)
{
    const struct job *job = part->job;
    const struct item *item = part->item;
    const struct fc_patch *patch = &item->patch, *read = &item->read;
    const fc_image *y = &job->convolution->y;
    const int64_t unit = job->plan->channels.unit, columns = patch->columns;
    const int64_t pieces = fc_ceil_div(columns, job->kernels->few.group_pixels);
    const int64_t units = part->outputs / unit;
    const struct ahead ahead = find_ahead(job, part->next, r, patch->rows, part->k, part->outputs);
    int64_t begin, end;
    find_taps(job, item, r, &begin, &end);
    tile.kh = end - begin;
    tile.kernel = (const char *)tile.kernel + begin * tile.kw * tile.kernel_tap * job->element;
    const int64_t row = patch->x_row - read->x_row + r * job->plan->blocks.row_stride + begin;
    const char *x = part->x + (part->k / unit + u) * item->slab +
                    (row * read->x_columns + patch->x_column - read->x_column) * FC_UNIT_BYTES;
    const bool plain = in_place(job->convolution);
    char *to = plain ? row_of(job, y, item, r, item->k + part->k + u * unit)
                     : part->strip + (r - part->r) * columns * unit * job->element;
    const ptrdiff_t below = job->plan->blocks.row_phases * y->stride_h * job->element;
    tile.y_step = plain ? y->stride_w : unit;
    for (int64_t t = 0; t < pieces; t++) {
        const int64_t p = columns * t / pieces, last = columns * (t + 1) / pieces;
        fetch(&ahead, u * pieces + t, units * pieces);
        tile.pixels = (int)(last - p);
        tile.left = patch->x_column + p < read->x_column;
        tile.right =
            patch->x_column + last + 2 > read->x_column + read->x_columns && job->plan->inside;
        tile.x = x + p * tile.stride * FC_UNIT_BYTES;
        tile.y = to + p * tile.y_step * job->element;
        for (int64_t i = 0; plain && i < tile.pixels; i++)
            __builtin_prefetch((char *)tile.y + below + i * tile.y_step * job->element, 1, 2);
        compute_chains(job, tile);
    }
}

/* Some rows of one unit after the other, in place, so that y is soon written in long runs, or of one unit
 * through a strip, so that few planes are written at once. */
static void compute_rows(const struct rows *part, const struct fc_group_tile *tiles)
{
    const int64_t unit = part->job->plan->channels.unit;
    for (int64_t u = 0; u < part->outputs / unit; u++)
        for (int64_t r = part->r; r < part->r + part->rows; r++)
            compute_row(part, r, u, tiles[part->k / unit + u]);
    if (!in_place(part->job->convolution))
        finish_rows(part);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct fc_convolution *convolution = job->convolution;
    const int64_t unit = plan->channels.unit;
    char *x = job->scratch + (size_t)worker * plan->worker_bytes;
    const struct item item = item_at(job, index);
    const struct item next = item_at(job, fc_min(index + plan->width, plan->items - 1));
    const struct fc_patch *patch = &item.patch;
    if (patch->rows == 0 || item.outputs == 0)
        return;
    fc_pack_slabs(&job->padded, item.n, &item.read, unit, item.k, item.outputs, x + FC_UNIT_BYTES);
    struct fc_group_tile tiles[MOST_UNITS];
    for (int64_t u = 0; u < item.outputs / unit; u++) {
        tiles[u] = tile_of(job, &item, item.k + u * unit);
        if (in_place(convolution) && convolution->bias)
            tiles[u].bias = (const char *)convolution->bias + (item.k + u * unit) * job->element;
        if (in_place(convolution))
            tiles[u].activation = convolution->activation;
    }
    const int64_t together = in_place(convolution) ? item.outputs : unit;
    for (int64_t k = 0; k < item.outputs; k += together)
        for (int64_t r = 0; r < patch->rows; r += plan->rows)
            compute_rows(&(struct rows){job, &item, &next, x + FC_UNIT_BYTES, x + plan->x_bytes, k,
                                        together, r, fc_min(plan->rows, patch->rows - r)},
                         tiles);
}

fc_status fc_convolve_groups(const struct fc_convolution *convolution)
{
    struct plan plan;
    char *scratch;
    if (!make_plan(convolution, &plan))
        return FC_OVERFLOW;
    const fc_status status =
        fc_workspace_divide(plan.packed_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(convolution, &kernels->conv2d, plan.skip_rows),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .packed = convolution->packed ? convolution->packed : scratch,
        .scratch = scratch + plan.packed_bytes,
    };
    if (!convolution->packed)
        fc_pack_panels(&(struct fc_panels){&convolution->kernel, &plan.channels, &kernels->conv2d,
                                           job.element},
                       scratch);
    fc_parallel_for(plan.items, plan.width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
