/* few_dkernel.c: kernel gradients of few outputs, with a row of taps in the lanes.
 *
 * With 6 outputs 10 of 16 lanes would idle. But the pixel x[q] meets, through the taps j of a kernel
 * row, the outputs dy[q + before - j], which lie together: kw * c_out values, 30 of 32 lanes for 5
 * taps and 6 outputs. So
 *     sums[i, c][j', k] += x[row + i, q, c] * dy[row, q + before - (kw - 1) + j', k]
 * over the pixels q of x, the taps of a row in reverse (j' = kw - 1 - j), with kw - 1 pixels of zeros
 * beside each row of dy. The kernel rows i (and channels c) are the other side of the tile: x is
 * packed with the rows of a column together, so that they lie one after the other.
 *
 * The batch's blocks are divided into CHUNKS with sums of their own, added in order at the end; blocks
 * and chunks follow from the sizes alone, so the bits depend on neither threads nor instructions. */
#include "few_dkernel.h"

#include <string.h>

#include "blocks.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "sum_channels.h"
#include "workspace.h"

enum { BLOCK_PIXELS = 256, BLOCK_COLUMNS = 64, CHUNKS = 16, SUM_BYTES = 128 * 1024, FEW = 16 };

struct plan {
    struct fc_blocks blocks;
    int64_t unit, columns; /* outputs in 64 bytes; those of a row of taps in whole units */
    int64_t elements;      /* kernel rows * channels of x */
    int64_t steps, chunks; /* blocks of the whole batch; pieces they are divided into */
    int64_t dy_row;        /* elements of a packed row of dy */
    size_t sums_bytes, all_sums_bytes, x_bytes, worker_bytes;
    int width;
};

struct job {
    const struct fc_convolution *convolution;
    const struct plan *plan;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *sums, *scratch;
    const struct fc_channel_sums *bias; /* of dy, which are added beside, or NULL */
    const struct fc_unpooled *unpooled; /* what dy is made of, row by row, or NULL */
};

bool fc_fits_few_dkernel(const struct fc_convolution *convolution)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t unit = fc_unit(convolution->dtype);
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const struct fc_axis *axis = convolution->axis;
    if (kernel->groups != 1 || kernel->kw < 2 || kernel->c_out >= unit || kernel->c_in > FEW ||
        kernel->kh > FEW || kernel->kw > FEW || axis[1].stride != 1 || axis[1].dilation != 1 ||
        axis[0].dilation != 1 || axis[0].stride > kernel->kh || !fc_pads_with_zero(convolution))
        return false;
    const int64_t columns = fc_whole_units(kernel->kw * kernel->c_out, unit);
    return columns < kernel->kw * unit &&
           kernel->kh * kernel->c_in * columns * element <= SUM_BYTES;
}

/* -------------------------------------------------------------------- plan */

/* False where a count of bytes overflows. */
static bool make_plan(const struct fc_convolution *convolution, bool unpooled, struct plan *plan)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const fc_image *dy = &convolution->y;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    plan->unit = fc_unit(convolution->dtype);
    plan->columns = fc_whole_units(kernel->kw * kernel->c_out, plan->unit);
    plan->elements = kernel->kh * kernel->c_in;
    fc_cut_blocks(convolution->axis, BLOCK_COLUMNS, BLOCK_PIXELS, INT64_MAX, &plan->blocks);
    plan->steps = dy->n * fc_block_count(&plan->blocks);
    plan->chunks = fc_max(fc_min(CHUNKS, plan->steps), 1);
    plan->dy_row = (plan->blocks.columns + 2 * (kernel->kw - 1)) * kernel->c_out;
    plan->sums_bytes = (size_t)(plan->elements * plan->columns * element);
    const int64_t pixels = fc_block_pixels(convolution->axis, &plan->blocks);
    const int64_t rows = plan->blocks.rows + (unpooled ? 2 : 0);
    if (pixels < 0)
        return false;
    plan->x_bytes = fc_round_to_line((size_t)(pixels * kernel->c_in * element));
    plan->worker_bytes =
        plan->x_bytes + fc_round_to_line((size_t)((rows * plan->dy_row + plan->columns) * element));
    const double work = 2.0 * (double)(dy->n * dy->h * dy->w) * (double)kernel->c_out *
                        (double)plan->elements * (double)kernel->kw;
    plan->width = fc_parallel_width(plan->chunks, work);
    return !__builtin_mul_overflow(plan->sums_bytes, (size_t)plan->chunks, &plan->all_sums_bytes);
}

/* -------------------------------------------------------------------- sums */

/* to[column][row][channel], rows of padding zero. */
static void pack_x(const struct job *job, int64_t n, const struct fc_patch *patch,
                   const struct fc_inside *inside, char *to)
{
    const fc_image *x = &job->convolution->x;
    const int64_t pixel = patch->x_rows * x->c;
    const int64_t rows = inside->rows;
    if (rows < patch->x_rows)
        memset(to, 0, (size_t)(inside->columns * pixel * job->element));
    const char *from = fc_image_at(x, job->element, n, inside->row, inside->column, 0);
    to += (inside->row - patch->x_row) * x->c * job->element;
    if (x->c == 1) { /* a transposition */
        job->kernels->conv2d.copy_block(&(struct fc_block){.x = from,
                                                           .y = to,
                                                           .x_pixel = x->stride_h,
                                                           .x_channel = x->stride_w,
                                                           .y_pixel = 1,
                                                           .y_channel = pixel,
                                                           .pixels = rows,
                                                           .channels = inside->columns});
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        job->kernels->conv2d.copy_block(
            &(struct fc_block){.x = from + r * x->stride_h * job->element,
                               .y = to + r * x->c * job->element,
                               .x_pixel = x->stride_w,
                               .x_channel = x->stride_c,
                               .y_pixel = pixel,
                               .y_channel = 1,
                               .pixels = inside->columns,
                               .channels = x->c});
}

/* Rows of dy between kw - 1 pixels of zeros; what is near then is added to dbias: with a pass of its own over 2.4 MB
 * LeNet's first layer took 0.474 ms on Zen 4, now 0.463. */
static void pack_dy(const struct job *job, int64_t n, const struct fc_patch *patch, char *to)
{
    const fc_image *dy = &job->convolution->y;
    const int64_t edge = (job->convolution->kernel.kw - 1) * dy->c;
    const int64_t row = patch->columns * dy->c;
    for (int64_t r = 0; r < patch->rows; r++) {
        char *line = to + r * job->plan->dy_row * job->element;
        memset(line, 0, (size_t)(edge * job->element));
        memset(line + (edge + row) * job->element, 0, (size_t)(edge * job->element));
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = fc_image_at(dy, job->element, n, patch->row + r, patch->column, 0),
            .y = line + edge * job->element,
            .x_pixel = dy->stride_w,
            .x_channel = dy->stride_c,
            .y_pixel = dy->c,
            .y_channel = 1,
            .pixels = patch->columns,
            .channels = dy->c});
    }
}

/* The same as the way back of a pooling makes them, whose pairs of rows may begin with one before the block's: what
 * lies around them is zero already. Returns where the block's begin. */
static char *unpool_dy(const struct job *job, int64_t n, const struct fc_patch *patch, char *to)
{
    fc_image dy = job->convolution->y;
    const int64_t edge = (job->convolution->kernel.kw - 1) * dy.c;
    dy.stride_h = job->plan->dy_row;
    fc_unpool_rows(job->unpooled, n, patch->row, patch->rows, to + edge * job->element, &dy);
    return to + patch->row % 2 * job->plan->dy_row * job->element;
}

static void add_block(const struct job *job, int64_t n, const struct fc_patch *patch, char *x,
                      char *dy, char *sums)
{
    const struct plan *plan = job->plan;
    const fc_image *image = &job->convolution->x;
    const int64_t c_out = job->convolution->kernel.c_out;
    const int64_t most = job->kernels->conv2d.tile_units * plan->unit;
    const int64_t tiles = fc_ceil_div(plan->elements, job->kernels->conv2d.dkernel_elements);
    const struct fc_inside inside = fc_patch_inside(patch, image->h, image->w);
    pack_x(job, n, patch, &inside, x);
    if (job->unpooled)
        dy = unpool_dy(job, n, patch, dy);
    else
        pack_dy(job, n, patch, dy);
    if (job->bias)
        fc_add_packed_rows(job->bias, n * job->bias->image.h + patch->row, patch->rows, 0, c_out,
                           dy + (job->convolution->kernel.kw - 1) * c_out * job->element,
                           plan->dy_row, c_out);
    struct fc_row_dkernel tile = {
        .x_step = patch->x_rows * image->c,
        .x_row = plan->blocks.row_stride * image->c,
        .dy_step = c_out,
        .dy_row = plan->dy_row,
        .dkernel_step = plan->columns,
        .rows = patch->rows,
        .width = inside.columns,
    };
    for (int64_t k = 0; k < plan->columns; k += most) {
        tile.units = (int)(fc_min(plan->columns - k, most) / plan->unit);
        tile.dy = dy + ((inside.column - patch->x_column) * c_out + k) * job->element;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = plan->elements * t / tiles;
            tile.elements = (int)(plan->elements * (t + 1) / tiles - first);
            tile.x = x + first * job->element;
            tile.dkernel = sums + (first * plan->columns + k) * job->element;
            job->kernels->few.row_dkernel(&tile);
        }
    }
}

/* Item: a chunk of the blocks of the batch. */
static void sum_chunk(void *context, int64_t chunk, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    char *sums = job->sums + (size_t)chunk * plan->sums_bytes;
    char *x = job->scratch + (size_t)worker * plan->worker_bytes, *dy = x + plan->x_bytes;
    memset(sums, 0, plan->sums_bytes);
    /* The last row's whole vectors end beyond it; what is there meets no sum that is kept. */
    memset(dy, 0, plan->worker_bytes - plan->x_bytes);
    const int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    for (int64_t step = plan->steps * chunk / plan->chunks; step < end; step++) {
        const struct fc_patch patch =
            fc_block_at(job->convolution->axis, &plan->blocks, step % blocks);
        add_block(job, step / blocks, &patch, x, dy, sums);
    }
}

/* ------------------------------------------------------------------ result */

static bool all_finite(const struct job *job)
{
    const struct plan *plan = job->plan;
    const int64_t used = job->convolution->kernel.kw * job->convolution->kernel.c_out;
    for (int64_t e = 0; e < plan->elements; e++)
        if (!fc_all_finite(job->sums + e * plan->columns * job->element, used, job->element))
            return false;
    return true;
}

/* Adds the chunks in order, and stores them as they are laid out in dkernel. */
static void store_sums(void *context, int64_t item, int worker)
{
    (void)item;
    (void)worker;
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t all = plan->elements * plan->columns;
    if (plan->chunks > 1)
        fc_add_chunks(&job->kernels->conv2d, job->sums, plan->chunks, all, job->element);
    for (int64_t i = 0; i < kernel->kh; i++)
        for (int64_t j = 0; j < kernel->kw; j++)
            job->kernels->conv2d.copy_block(&(struct fc_block){
                .x = job->sums +
                     (i * kernel->c_in * plan->columns + (kernel->kw - 1 - j) * kernel->c_out) *
                         job->element,
                .y = (char *)kernel->data +
                     (i * kernel->stride_kh + j * kernel->stride_kw) * job->element,
                .x_pixel = plan->columns,
                .x_channel = 1,
                .y_pixel = kernel->stride_c_in,
                .y_channel = kernel->stride_c_out,
                .pixels = kernel->c_in,
                .channels = kernel->c_out});
}

fc_status fc_few_dkernel(const struct fc_convolution *convolution,
                         const struct fc_unpooled *unpooled, void **dbias, bool *done)
{
    struct plan plan;
    if (!make_plan(convolution, unpooled, &plan))
        return FC_OVERFLOW;
    struct fc_channel_sums bias = fc_plan_channel_sums(convolution->dtype, &convolution->y, *dbias);
    const bool fits = plan.blocks.column_blocks == 1 &&
                      fc_chunks_fit_channel_sums(&bias, convolution->axis, &plan.blocks, 1,
                                                 plan.steps, plan.chunks);
    *done = false;
    if (unpooled &&
        ((*dbias && !fits) || plan.blocks.row_phases > 1 || plan.blocks.column_blocks > 1))
        return FC_OK;
    const size_t bias_bytes = fits ? fc_channel_sums_bytes(&bias, plan.width) : 0;
    const size_t sums_bytes = fc_round_to_line(plan.all_sums_bytes);
    char *scratch;
    const fc_status status =
        fc_workspace_divide(sums_bytes + bias_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = fc_current_kernels(convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .sums = scratch,
        .scratch = scratch + sums_bytes + bias_bytes,
        .bias = fits ? &bias : NULL,
        .unpooled = unpooled,
    };
    if (fits) {
        fc_begin_channel_sums(&bias, scratch + sums_bytes);
        *dbias = NULL;
    }
    fc_parallel_for(plan.chunks, plan.width, FC_FLUSH_DENORMALS, sum_chunk, &job);
    fc_parallel_for(1, 1, FC_FLUSH_DENORMALS, store_sums, &job);
    if (fits)
        fc_end_channel_sums(&bias);
    *done = all_finite(&job);
    fc_workspace_release(scratch);
    return FC_OK;
}
