/* winograd_few_dkernel.c: kernel gradients of few channels of x, by Winograd's algorithm along rows.
 *
 * A row of taps' gradient from 4 outputs of a row is again a short convolution, F(taps, 4), at the points of
 * F(4, taps): x is taken to them as in the forward pass, dy by evaluate(), and
 *     sums[p][i, l][k] += v[p][row + i, tile][l] * d[p][row, tile][k]     l: phase of the stride, channel
 * over all tiles, which return to taps once a call. 5x5 of strides 1 takes 8 products for 20, 7x7 of strides 2 14 for
 * 28, 3x3 6 for 12.
 *
 * A tile's v holds its rows one after the other, so that the elements (i, l) of a row of outputs lie together, and a
 * row further they begin a row further: the sums are those of dkernel_tile, 10 broadcasts and a load for 10
 * multiply-adds of LeNet's second layer, at one point of a block after another. Beside its 7,200 vectors of
 * multiply-adds an image, where direct sums have 15,000, x takes 700 cycles, and dy 600.
 *
 * The batch's blocks are divided into chunks with sums of their own, added in order at the end; blocks and chunks
 * follow from the sizes alone, so the bits depend on neither threads nor instructions. */
#include <string.h>

#include "conv2d_dkernel_ahead.h"
#include "parallel.h"
#include "winograd_few_dkernel.h"
#include "workspace.h"

enum {
    D_BYTES = 400 << 10, /* of a block's dy at the points, which the second-level cache keeps */
    BLOCK_COLUMNS = 512,
    CHUNKS = 16,
    SUMS_BYTES = 4 << 20, /* of all chunks */
    MOST_TAPS = 5
};

/* -------------------------------------------------------------------- plan */

/* Elements of a tile's v: what the last row's whole vectors write beyond it is no other tile's. */
static int64_t v_of_tile(const struct fc_winograd_few_dkernel_plan *plan, int64_t rows,
                         int64_t element)
{
    return rows * plan->few.run + FC_WINOGRAD_FEW_BYTES / element;
}

static void plan_scratch(const struct fc_convolution *convolution,
                         struct fc_winograd_few_dkernel_plan *plan)
{
    const struct fc_axis *axis = convolution->axis;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t tiles = fc_ceil_div(plan->blocks.columns, FC_WINOGRAD_COLUMNS);
    const int64_t rows = fc_window_reach(&axis[0], plan->blocks.rows), points = plan->few.points;
    const int64_t x =
        rows * fc_window_reach(&axis[1], tiles * FC_WINOGRAD_COLUMNS) * convolution->kernel.c_in;
    const int64_t v = plan->images * points * tiles * v_of_tile(plan, rows, element);
    const int64_t d = plan->images * points * plan->blocks.rows * tiles * plan->columns;
    const bool packs = convolution->y.stride_c != 1;
    plan->sums_bytes = (size_t)(points * plan->elements * plan->columns * element);
    plan->x_bytes =
        fc_round_to_line((size_t)((x + plan->few.run) * element) + FC_WINOGRAD_FEW_BYTES);
    plan->dy_bytes = packs ? fc_round_to_line((size_t)(plan->blocks.rows * plan->blocks.columns *
                                                       convolution->kernel.c_out * element))
                           : 0;
    plan->v_bytes = fc_round_to_line((size_t)(v * element));
    plan->worker_bytes = plan->x_bytes + plan->dy_bytes + plan->v_bytes + (size_t)(d * element);
}

/* The most rows of a block, up to so many, that divide those of an image: chunks then end where those of dbias do,
 * which is a pass of its own otherwise, 6 of 19 ms of VGG's first layer on Zen 4. If only fewer than half do, as many
 * as there may be. */
static int64_t block_rows(int64_t rows, int64_t most)
{
    for (int64_t some = fc_min(most, rows); 2 * some > most; some--)
        if (rows % some == 0)
            return some;
    return most;
}

static void make_plan(const struct fc_convolution *convolution,
                      struct fc_winograd_few_dkernel_plan *plan)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const fc_image *dy = &convolution->y;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    fc_winograd_few_dkernel_of(convolution, &plan->few);
    plan->columns = fc_whole_units(kernel->c_out, plan->few.unit);
    plan->elements = kernel->kh * plan->few.run;
    const int64_t tile = plan->few.points * plan->columns * element;
    const int64_t columns = fc_min(dy->w, BLOCK_COLUMNS);
    const int64_t line = tile * fc_ceil_div(columns, FC_WINOGRAD_COLUMNS), image = line * dy->h;
    const int64_t rows = block_rows(dy->h, fc_max(D_BYTES / line, 1));
    fc_cut_blocks(convolution->axis, BLOCK_COLUMNS, rows * columns, INT64_MAX, &plan->blocks);
    const int64_t blocks = fc_block_count(&plan->blocks);
    plan->images = 1;
    if (blocks == 1)
        plan->images = fc_max(fc_min(D_BYTES / image, dy->n / CHUNKS), 1);
    plan->steps = fc_ceil_div(dy->n, plan->images) * blocks;
    plan_scratch(convolution, plan);
    const int64_t most = fc_max(SUMS_BYTES / (int64_t)plan->sums_bytes, 1);
    plan->chunks = fc_max(fc_min(fc_min(CHUNKS, most), plan->steps), 1);
    const double work = 2.0 * (double)(dy->n * dy->h * dy->w) * (double)kernel->c_out *
                        (double)plan->elements * (double)plan->few.points / FC_WINOGRAD_COLUMNS;
    plan->width = fc_parallel_width(plan->chunks, work);
}

/* -------------------------------------------------------------------- sums */

/* The dy of the block after, a line with every second tile. */
static struct fc_dkernel_ahead look_ahead(const struct fc_winograd_few_dkernel_job *job,
                                          int64_t step)
{
    const fc_image *dy = &job->convolution->y;
    const int64_t blocks = fc_block_count(&job->plan->blocks), images = job->plan->images;
    const int64_t n = step / blocks * images;
    const struct fc_patch patch =
        fc_block_at(job->convolution->axis, &job->plan->blocks, step % blocks);
    const struct fc_dkernel_span span = {
        .n = n,
        .images = fc_min(images, dy->n - n),
        .row = patch.row,
        .rows = patch.rows,
        .row_gap = 1,
        .column = patch.column,
        .columns = patch.columns,
        .channels = dy->c,
    };
    return (struct fc_dkernel_ahead){
        .image = {fc_dkernel_runs_of(dy, job->element, &span)},
        .pixels = 2,
        .each = 1,
    };
}

static void add_block(const struct fc_winograd_few_dkernel_block *block,
                      struct fc_dkernel_ahead *ahead, char *sums)
{
    const struct fc_winograd_few_dkernel_job *job = block->job;
    const struct fc_winograd_few_dkernel_plan *plan = job->plan;
    const int64_t most = job->kernels->conv2d.tile_units * plan->few.unit;
    const int64_t pieces = fc_ceil_div(plan->elements, job->kernels->conv2d.dkernel_elements);
    const ptrdiff_t row = job->convolution->axis[0].stride * plan->few.run;
    const ptrdiff_t line = block->tiles * plan->columns;
    const bool tall = block->patch.rows > block->tiles;
    struct fc_dkernel_tile tile = {
        .x_step = tall ? row : block->v_tile,
        .x_row = tall ? block->v_tile : row,
        .dy_step = tall ? line : plan->columns,
        .dy_row = tall ? plan->columns : line,
        .partial_step = plan->columns,
        .dkernel_step = plan->columns,
        .x_image = block->v_image,
        .dy_image = block->d_image,
        .images = block->images,
        .rows = tall ? block->tiles : block->patch.rows,
        .width = tall ? block->patch.rows : block->tiles,
    };
    for (int64_t p = 0; p < plan->few.points; p++)
        for (int64_t k = 0; k < plan->columns; k += most) {
            tile.units = (int)(fc_min(plan->columns - k, most) / plan->few.unit);
            tile.dy = block->d + (p * block->d_point + k) * job->element;
            for (int64_t t = 0; t < pieces; t++) {
                const int64_t first = plan->elements * t / pieces;
                tile.elements = (int)(plan->elements * (t + 1) / pieces - first);
                tile.x = block->v + (p * block->v_point + first) * job->element;
                tile.dkernel =
                    sums + ((p * plan->elements + first) * plan->columns + k) * job->element;
                tile.partial = tile.dkernel;
                fc_dkernel_ahead_take(ahead, &tile);
                job->kernels->conv2d.dkernel_tile(&tile);
            }
        }
}

/* Item: a chunk of the blocks of the batch. */
static void sum_chunk(void *context, int64_t chunk, int worker)
{
    const struct fc_winograd_few_dkernel_job *job = context;
    const struct fc_winograd_few_dkernel_plan *plan = job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    char *sums = job->sums + (size_t)chunk * plan->sums_bytes;
    struct fc_winograd_few_dkernel_block block = {.job = job, .worker = worker};
    block.x = job->scratch + (size_t)worker * plan->worker_bytes;
    block.dy = block.x + plan->x_bytes;
    block.v = block.dy + plan->dy_bytes;
    block.d = block.v + plan->v_bytes;
    memset(sums, 0, plan->sums_bytes);
    const int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    for (int64_t step = plan->steps * chunk / plan->chunks; step < end; step++) {
        block.n = step / blocks * plan->images;
        block.images = fc_min(plan->images, job->convolution->y.n - block.n);
        block.patch = fc_block_at(job->convolution->axis, &plan->blocks, step % blocks);
        block.tiles = fc_ceil_div(block.patch.columns, FC_WINOGRAD_COLUMNS);
        block.v_tile = v_of_tile(plan, block.patch.x_rows, job->element);
        block.v_image = block.tiles * block.v_tile;
        block.d_image = block.patch.rows * block.tiles * plan->columns;
        block.v_point = block.images * block.v_image;
        block.d_point = block.images * block.d_image;
        for (int64_t image = 0; image < block.images; image++) {
            fc_spread_few_x(&block, image);
            fc_spread_few_dy(&block, image);
        }
        struct fc_dkernel_ahead ahead = {.which = 2, .pixels = 2};
        if (step + 1 < end && job->convolution->y.stride_c == 1)
            ahead = look_ahead(job, step + 1);
        add_block(&block, &ahead, sums);
    }
}

/* ------------------------------------------------------------------ result */

/* The taps of a row, a phase and a channel; whether all are finite. */
static bool store_taps(const struct fc_winograd_few_dkernel_job *job, int64_t i, int64_t l,
                       void *staged)
{
    const struct fc_winograd_few_dkernel_plan *plan = job->plan;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t stride = job->convolution->axis[1].stride, c = l % kernel->c_in;
    struct fc_winograd_few_sums sums = {
        .s = job->sums + (i * plan->few.run + l) * plan->columns * job->element,
        .y = staged,
        .s_point = plan->elements * plan->columns,
        .columns = plan->columns,
        .taps = plan->few.taps,
        .lacks = l >= plan->few.full,
    };
    const bool finite = job->kernels->winograd.few_sums(&sums);
    job->kernels->conv2d.copy_block(&(struct fc_block){
        .x = staged,
        .y = (char *)kernel->data + (i * kernel->stride_kh + l / kernel->c_in * kernel->stride_kw +
                                     c * kernel->stride_c_in) *
                                        job->element,
        .x_pixel = plan->columns,
        .x_channel = 1,
        .y_pixel = stride * kernel->stride_kw,
        .y_channel = kernel->stride_c_out,
        .pixels = plan->few.taps - sums.lacks,
        .channels = kernel->c_out,
    });
    return finite;
}

/* Adds the chunks in order, and takes their sums to taps. */
static void store_sums(void *context, int64_t item, int worker)
{
    (void)item, (void)worker;
    struct fc_winograd_few_dkernel_job *job = context;
    const struct fc_winograd_few_dkernel_plan *plan = job->plan;
    const int64_t all = (int64_t)plan->sums_bytes / job->element;
    if (plan->chunks > 1)
        fc_add_chunks(&job->kernels->conv2d, job->sums, plan->chunks, all, job->element);
    job->finite = true;
    for (int64_t i = 0; i < job->convolution->kernel.kh; i++)
        for (int64_t l = 0; l < plan->few.run; l++)
            job->finite &= store_taps(job, i, l, job->scratch);
}

fc_status fc_winograd_few_dkernel(const struct fc_convolution *convolution, void **dbias,
                                  bool *finite)
{
    struct fc_winograd_few_dkernel_plan plan;
    make_plan(convolution, &plan);
    struct fc_channel_sums bias = fc_plan_channel_sums(convolution->dtype, &convolution->y, *dbias);
    const bool fits = plan.blocks.column_blocks == 1 &&
                      fc_chunks_fit_channel_sums(&bias, convolution->axis, &plan.blocks,
                                                 plan.images, plan.steps, plan.chunks);
    const size_t bias_bytes = fits ? fc_channel_sums_bytes(&bias, plan.width) : 0;
    const size_t sums_bytes = fc_round_to_line((size_t)plan.chunks * plan.sums_bytes);
    const size_t taps_bytes =
        (size_t)(MOST_TAPS * plan.columns) * fc_element_size(convolution->dtype);
    char *scratch;
    const fc_status status = fc_workspace_divide(
        sums_bytes + bias_bytes, plan.worker_bytes > taps_bytes ? plan.worker_bytes : taps_bytes,
        plan.width, &scratch);
    if (status != FC_OK)
        return status;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct fc_winograd_few_dkernel_job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(convolution, &kernels->conv2d, false),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .sums = scratch,
        .scratch = scratch + sums_bytes + bias_bytes,
        .bias = fits ? &bias : NULL,
    };
    if (fits) {
        fc_begin_channel_sums(&bias, scratch + sums_bytes);
        *dbias = NULL;
    }
    fc_parallel_for(plan.chunks, plan.width, FC_FLUSH_DENORMALS, sum_chunk, &job);
    fc_parallel_for(1, 1, FC_FLUSH_DENORMALS, store_sums, &job);
    if (fits)
        fc_end_channel_sums(&bias);
    *finite = job.finite;
    fc_workspace_release(scratch);
    return FC_OK;
}
