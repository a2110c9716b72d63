/* winograd.c: forward passes and input gradients by Winograd's tiles.
 *
 * An item of work is a block of tiles, of any images, for some or all panels of the kernel:
 *     for each slab of 16 channels:  pack the rows of x, take their tiles to positions    (V)
 *     for each panel of the kernel:
 *         for each chunk of channels, position and few tiles:  M += V U
 *         take M back to outputs
 * V of a block is [position][few tiles][slab][tile][16], what the products read from end to end; M,
 * [position][tile][panel], is that of one panel. For F(4x4,3x3) with 64 channels and 56 tiles V is
 * 0.5 MB and M 0.25 MB: both stay in the second-level cache. The products read V at 7 KB and U at
 * 16 KB / (tiles / 14) in 1792 cycles of multiply-adds: 4 to 6 bytes a cycle.
 *
 * No sum crosses tiles, so blocks may depend on the batch and the threads, and the bits do not. */
#include "winograd.h"

#include <string.h>

#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    V_BYTES = 3 << 19, /* of a block, unless a few tiles need more */
    MOST_TILES = 112
};

struct plan {
    struct fc_channels channels;
    struct fc_winograd_form form;
    int64_t tile_rows, tile_columns; /* of an image */
    int64_t lines, columns;          /* of a block: rows of tiles, of any images; tiles of a row */
    int64_t line_blocks, column_blocks, shares, share_panels;
    int64_t few, fews; /* tiles of one product, and products of a block */
    int64_t v_slab, v_few, v_position, m_position; /* elements from one to the next */
    size_t x_bytes, v_bytes, m_bytes, u_bytes, strip_bytes, staging_bytes, worker_bytes;
    bool fused; /* the kernel is transformed chunk by chunk where it is used */
    int width;
};

struct job {
    const struct fc_convolution *convolution;
    const struct plan *plan;
    const struct fc_conv2d_kernels *copies;
    const struct fc_winograd_kernels *kernels;
    const struct fc_winograd_transforms *transforms;
    struct fc_winograd_kernel kernel;
    struct fc_padded padded;
    ptrdiff_t element;
    const char *transformed;
    char *scratch;
    unsigned char *bad; /* for each row of tiles of each image, whether a sum is not finite */
};

/* Tiles [column, column + columns) of rows of tiles [line, line + lines), counted over all images. */
struct item {
    const struct job *job;
    int64_t group, line, lines, column, columns, panel, end_panel;
    char *x, *v, *m, *u, *strip, *staging;
};

/* -------------------------------------------------------------------- plan */

static int64_t even_pieces(int64_t size, int64_t largest)
{
    return fc_ceil_div(size, fc_ceil_div(size, fc_max(largest, 1)));
}

static void cut_blocks(const struct fc_convolution *convolution, int tile_pixels, struct plan *plan)
{
    const struct fc_axis *axis = convolution->axis;
    const struct fc_channels *channels = &plan->channels;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t slabs = fc_ceil_div(channels->c_in, FC_SLAB);
    const int64_t tile_bytes = plan->form.positions * slabs * FC_SLAB * element;
    const int64_t most = fc_max(fc_min(V_BYTES / tile_bytes, MOST_TILES), 1);

    plan->tile_rows = fc_ceil_div(axis[0].out, plan->form.outputs[0]);
    plan->tile_columns = fc_ceil_div(axis[1].out, plan->form.outputs[1]);
    plan->columns = even_pieces(plan->tile_columns, most);
    plan->column_blocks = fc_ceil_div(plan->tile_columns, plan->columns);
    const int64_t lines = convolution->y.n * plan->tile_rows;
    const double work = 2.0 * (double)(lines * plan->tile_columns * plan->form.positions) *
                        (double)channels->c_in * (double)channels->c_out * (double)channels->groups;
    const int64_t panels = fc_panel_count(channels);
    plan->width = fc_parallel_width(lines * plan->column_blocks * panels * channels->groups, work);

    /* Few blocks are made as many as the threads, or a multiple. */
    const int64_t fit = fc_max(most / plan->columns, 1);
    int64_t blocks = fc_ceil_div(lines, fit);
    if (blocks > 1 && blocks < 4 * plan->width)
        blocks = fc_min(fc_ceil_div(blocks, plan->width) * plan->width, lines);
    plan->lines = fc_ceil_div(lines, blocks);
    plan->line_blocks = fc_ceil_div(lines, plan->lines);
    const int64_t items = plan->line_blocks * plan->column_blocks * channels->groups;
    plan->shares = fc_min(fc_max(plan->width / items, 1), panels);
    plan->share_panels = fc_ceil_div(panels, plan->shares);
    plan->shares = fc_ceil_div(panels, plan->share_panels);
    plan->fused = plan->line_blocks * plan->column_blocks == 1;

    const int64_t tiles = plan->lines * plan->columns;
    plan->few = even_pieces(tiles, tile_pixels);
    plan->fews = fc_ceil_div(tiles, plan->few);
    plan->v_slab = plan->few * FC_SLAB;
    plan->v_few = slabs * plan->v_slab;
    plan->v_position = plan->fews * plan->v_few + channels->unit;
    plan->m_position = tiles * channels->panel + channels->unit;
}

/* Rows of x under `lines` rows of tiles, columns under `columns` tiles. */
static int64_t x_rows(const struct plan *plan, int64_t lines)
{
    return lines * plan->form.outputs[0] + plan->form.taps[0] - 1;
}
static int64_t x_columns(const struct plan *plan, int64_t columns)
{
    return columns * plan->form.outputs[1] + plan->form.taps[1] - 1;
}

static void plan_scratch(const struct fc_convolution *convolution,
                         const struct fc_winograd_kernel *kernel, struct plan *plan)
{
    const size_t element = fc_element_size(convolution->dtype);
    const int64_t positions = plan->form.positions;
    const int64_t together = fc_min(plan->lines, plan->tile_rows);
    /* The last pixel's channels are read in whole vectors. */
    const int64_t x = x_rows(plan, together) * x_columns(plan, plan->columns) * FC_SLAB + FC_SLAB;
    plan->x_bytes = fc_round_to_line((size_t)x * element);
    plan->v_bytes = fc_round_to_line((size_t)(positions * plan->v_position) * element);
    plan->m_bytes = fc_round_to_line((size_t)(positions * plan->m_position) * element);
    plan->strip_bytes = fc_round_to_line((size_t)(plan->form.outputs[0] * plan->columns *
                                                  plan->form.outputs[1] * plan->channels.panel) *
                                         element);
    plan->staging_bytes = fc_round_to_line((size_t)fc_winograd_staging(kernel) * element);
    int64_t position;
    plan->u_bytes = plan->fused
                        ? fc_round_to_line(
                              (size_t)fc_winograd_chunk_elements(kernel, 0, 0, &position) * element)
                        : 0;
    plan->worker_bytes = plan->x_bytes + plan->v_bytes + plan->m_bytes + plan->strip_bytes +
                         plan->staging_bytes + plan->u_bytes;
}

static struct item find_item(const struct job *job, int64_t index, int worker)
{
    const struct plan *plan = job->plan;
    struct item item = {.job = job};
    item.panel = index % plan->shares * plan->share_panels;
    item.end_panel = fc_min(item.panel + plan->share_panels, fc_panel_count(&plan->channels));
    index /= plan->shares;
    item.column = index % plan->column_blocks * plan->columns;
    item.columns = fc_min(plan->columns, plan->tile_columns - item.column);
    index /= plan->column_blocks;
    item.line = index % plan->line_blocks * plan->lines;
    item.lines = fc_min(plan->lines, job->convolution->y.n * plan->tile_rows - item.line);
    item.group = index / plan->line_blocks;

    item.x = job->scratch + (size_t)worker * plan->worker_bytes;
    item.v = item.x + plan->x_bytes;
    item.m = item.v + plan->v_bytes;
    item.strip = item.m + plan->m_bytes;
    item.staging = item.strip + plan->strip_bytes;
    item.u = item.staging + plan->staging_bytes;
    return item;
}

/* ---------------------------------------------------------------- x to V */

/* One row of tiles of a slab, tile `first` of the block on, in pieces that lie together in V. */
static void spread_line(const struct item *item, int64_t slab, int64_t channels, int64_t first,
                        const char *x, int64_t columns)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    for (int64_t done = 0; done < item->columns;) {
        const int64_t t = first + done, within = t % plan->few;
        const int64_t count = fc_min(plan->few - within, item->columns - done);
        job->transforms->input(&(struct fc_winograd_spread){
            .x = x + done * plan->form.outputs[1] * channels * job->element,
            .y = item->v + (t / plan->few * plan->v_few + slab * plan->v_slab + within * FC_SLAB) *
                               job->element,
            .x_row = columns * channels,
            .x_column = channels,
            .x_tile = plan->form.outputs[1] * channels,
            .y_position = plan->v_position,
            .y_tile = FC_SLAB,
            .tiles = count,
            .channels = channels,
        });
        done += count;
    }
}

/* Lines [line, end) of one image; `first` is the tile of the block that line begins with. */
static void spread_lines(const struct item *item, int64_t line, int64_t end, int64_t first)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const struct fc_axis *axis = job->convolution->axis;
    const int64_t row = line % plan->tile_rows * plan->form.outputs[0];
    const int64_t column = item->column * plan->form.outputs[1];
    const struct fc_patch patch = {
        .x_row = row - axis[0].before,
        .x_row_gap = 1,
        .x_rows = x_rows(plan, end - line),
        .x_column = column - axis[1].before,
        .x_columns = x_columns(plan, item->columns),
    };
    for (int64_t c = 0, slab = 0; c < plan->channels.c_in; c += FC_SLAB, slab++) {
        const int64_t channels = fc_min(FC_SLAB, plan->channels.c_in - c);
        fc_pack_slabs(&job->padded, line / plan->tile_rows, &patch, FC_SLAB,
                      item->group * plan->channels.c_in + c, channels, item->x);
        for (int64_t l = line; l < end; l++)
            spread_line(item, slab, channels, first + (l - line) * item->columns,
                        item->x + (l - line) * plan->form.outputs[0] * patch.x_columns * channels *
                                      job->element,
                        patch.x_columns);
    }
}

static void spread_block(const struct item *item)
{
    const int64_t rows = item->job->plan->tile_rows, end = item->line + item->lines;
    for (int64_t line = item->line; line < end;) {
        const int64_t stop = fc_min((line / rows + 1) * rows, end);
        spread_lines(item, line, stop, (line - item->line) * item->columns);
        line = stop;
    }
}

/* ---------------------------------------------------------------- V to M */

static void multiply_chunk(const struct item *item, int64_t p, int64_t c)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const int64_t tiles = item->lines * item->columns, width = fc_panel_width(&plan->channels, p);
    const char *u = item->u;
    int64_t position;
    fc_winograd_chunk_elements(&job->kernel, p, c, &position);
    if (plan->fused && !job->transformed)
        fc_winograd_transform_chunk(&job->kernel, item->group, p, c, item->staging, item->u);
    else
        u = job->transformed +
            fc_winograd_kernel_offset(&job->kernel, item->group, p, c) * job->element;
    struct fc_winograd_product product = {
        .v_slab = plan->v_slab,
        .u_row = width,
        .m_tile = plan->channels.panel,
        .channels = fc_min(FC_WINOGRAD_CHAIN, plan->channels.c_in - c),
        .units = (int)(width / plan->channels.unit),
        .add = c > 0,
    };
    const int64_t most = job->copies->tile_units;
    for (int64_t at = 0; at < plan->form.positions; at++)
        for (int64_t k = 0; k < width / plan->channels.unit; k += most)
            for (int64_t t = 0; t < tiles; t += plan->few) {
                product.v = item->v + (at * plan->v_position + t / plan->few * plan->v_few +
                                       c / FC_SLAB * plan->v_slab) *
                                          job->element;
                product.u = u + (at * position + k * plan->channels.unit) * job->element;
                product.m = item->m + (at * plan->m_position + t * plan->channels.panel +
                                       k * plan->channels.unit) *
                                          job->element;
                product.units = (int)fc_min(width / plan->channels.unit - k, most);
                product.tiles = (int)fc_min(plan->few, tiles - t);
                job->kernels->product(&product);
            }
}

/* ---------------------------------------------------------------- M to y */

static char *pixel_at(const struct job *job, const fc_image *image, int64_t n, int64_t row,
                      int64_t column, int64_t k)
{
    return (char *)image->data + (n * image->stride_n + row * image->stride_h +
                                  column * image->stride_w + k * image->stride_c) *
                                     job->element;
}

/* Where a row of tiles of panel p goes. */
struct target {
    int64_t n, row, rows, column, columns, k;
};

/* Channels of y lie apart: the rows are finished on their way out of a strip. */
static void turn_rows(const struct item *item, const struct target *target, int64_t outputs)
{
    const struct job *job = item->job;
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t panel = job->plan->channels.panel;
    for (int64_t i = 0; i < target->rows; i++)
        job->copies->finish_block(&(struct fc_finish){
            .block = {.x = item->strip + i * target->columns * panel * job->element,
                      .y = pixel_at(job, y, target->n, target->row + i, target->column, target->k),
                      .x_pixel = panel,
                      .x_channel = 1,
                      .y_pixel = y->stride_w,
                      .y_channel = y->stride_c,
                      .pixels = target->columns,
                      .channels = outputs},
            .bias = convolution->bias ? (const char *)convolution->bias + target->k * job->element
                                      : NULL,
            .residual = residual->data ? pixel_at(job, residual, target->n, target->row + i,
                                                  target->column, target->k)
                                       : NULL,
            .residual_pixel = residual->stride_w,
            .residual_channel = residual->stride_c,
            .activation = convolution->activation,
        });
}

/* Row of tiles `line`, which begins with tile `first` of the block. */
static void gather_line(const struct item *item, int64_t p, int64_t line, int64_t first)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t panel = plan->channels.panel, outputs = fc_panel_outputs(&plan->channels, p);
    struct target target = {
        .n = line / plan->tile_rows,
        .row = line % plan->tile_rows * plan->form.outputs[0],
        .column = item->column * plan->form.outputs[1],
        .k = item->group * plan->channels.c_out + p * panel,
    };
    target.rows = fc_min(plan->form.outputs[0], y->h - target.row);
    target.columns = fc_min(item->columns * plan->form.outputs[1], y->w - target.column);
    struct fc_winograd_gather gather = {
        .x = item->m + first * panel * job->element,
        .x_position = plan->m_position,
        .x_tile = panel,
        .tiles = item->columns,
        .channels = outputs,
        .rows = target.rows,
        .columns = target.columns,
    };
    const bool straight = y->stride_c == 1 && (!residual->data || residual->stride_c == 1);
    if (straight) {
        gather.y = pixel_at(job, y, target.n, target.row, target.column, target.k);
        gather.y_row = y->stride_h;
        gather.y_column = y->stride_w;
        gather.activation = convolution->activation;
        if (convolution->bias)
            gather.bias = (const char *)convolution->bias + target.k * job->element;
        if (residual->data)
            gather.residual =
                pixel_at(job, residual, target.n, target.row, target.column, target.k);
        gather.residual_row = residual->stride_h;
        gather.residual_column = residual->stride_w;
    } else {
        gather.y = item->strip;
        gather.y_row = target.columns * panel;
        gather.y_column = panel;
    }
    gather.y_tile = plan->form.outputs[1] * gather.y_column;
    gather.residual_tile = plan->form.outputs[1] * gather.residual_column;
    if (!job->transforms->output(&gather))
        __atomic_store_n(&job->bad[line], 1, __ATOMIC_RELAXED);
    if (!straight)
        turn_rows(item, &target, outputs);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct item item = find_item(job, index, worker);
    spread_block(&item);
    for (int64_t p = item.panel; p < item.end_panel; p++) {
        for (int64_t c = 0; c < job->plan->channels.c_in; c += FC_WINOGRAD_CHAIN)
            multiply_chunk(&item, p, c);
        for (int64_t l = 0; l < item.lines; l++)
            gather_line(&item, p, item.line + l, l * item.columns);
    }
}

/* -------------------------------------------------------------------- call */

/* Rows of tiles in which a sum was not finite, without Winograd. */
static fc_status compute_again(const struct job *job, int64_t lines)
{
    const struct plan *plan = job->plan;
    for (int64_t line = 0; line < lines; line++) {
        if (!job->bad[line])
            continue;
        struct fc_convolution rows = *job->convolution;
        const int64_t n = line / plan->tile_rows;
        const int64_t row = line % plan->tile_rows * plan->form.outputs[0];
        rows.y.data = pixel_at(job, &rows.y, n, row, 0, 0);
        rows.x.data = pixel_at(job, &rows.x, n, 0, 0, 0);
        if (rows.residual.data)
            rows.residual.data = pixel_at(job, &rows.residual, n, row, 0, 0);
        rows.x.n = rows.y.n = rows.residual.n = 1;
        rows.y.h = fc_min(plan->form.outputs[0], rows.y.h - row);
        rows.axis[0].out = rows.y.h;
        rows.axis[0].before -= row;
        const fc_status status = fc_convolve(&rows);
        if (status != FC_OK)
            return status;
    }
    return FC_OK;
}

fc_status fc_winograd_convolve(int form, const struct fc_convolution *convolution,
                               const void *transformed)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    struct plan plan = {.channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
                        .form = fc_winograd_form_at(form)};
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .copies = &table->conv2d,
        .kernels = &table->winograd,
        .transforms = &table->winograd.form[form],
        .kernel = {{&convolution->kernel, &plan.channels, &table->conv2d, element},
                   &table->winograd.form[form],
                   plan.form},
        .padded = fc_padded_x(convolution, &table->conv2d, false),
        .element = element,
        .transformed = transformed,
    };
    const int64_t lines = convolution->y.n * fc_ceil_div(convolution->y.h, plan.form.outputs[0]);
    if (lines * convolution->y.w * convolution->y.c == 0)
        return FC_OK;
    cut_blocks(convolution, table->conv2d.tile_pixels, &plan);
    plan_scratch(convolution, &job.kernel, &plan);
    size_t kernel_bytes = 0;
    if (!transformed && !plan.fused && !fc_winograd_kernel_bytes(&job.kernel, &kernel_bytes))
        return FC_OVERFLOW;
    kernel_bytes = fc_round_to_line(kernel_bytes);
    const size_t flags = fc_round_to_line((size_t)lines);
    const size_t workers = plan.worker_bytes * (size_t)plan.width;
    char *scratch = fc_workspace_acquire(kernel_bytes + workers + flags);
    if (!scratch)
        return FC_NO_MEMORY;
    job.scratch = scratch + kernel_bytes;
    job.bad = (unsigned char *)job.scratch + workers;
    memset(job.bad, 0, (size_t)lines);
    fc_status status = FC_OK;
    if (!transformed && !plan.fused) {
        status = fc_winograd_transform_kernel(&job.kernel, scratch);
        job.transformed = scratch;
    }
    if (status == FC_OK) {
        const int64_t items =
            plan.channels.groups * plan.line_blocks * plan.column_blocks * plan.shares;
        fc_parallel_for(items, plan.width, FC_FLUSH_DENORMALS, compute_item, &job);
        status = compute_again(&job, lines);
    }
    fc_workspace_release(scratch);
    return status;
}
