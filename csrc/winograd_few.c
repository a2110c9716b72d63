/* winograd_few.c: Winograd's algorithm along rows, for few channels of x.
 *
 * Where tiles in two dimensions would spend more on transforms than they spare, one dimension still pays: F(4, 3)
 * takes 6 products where direct sums take 12, the sums over rows of taps and channels stay in registers as those
 * of 6 points, and from there return to outputs; nothing of them ever lies in memory. A kernel of stride s is the
 * sum of s pieces of stride 1, one for each phase of its columns, all at the same points: 7x7 of strides 2 takes
 * F(4, 4), 7 products for the 4 taps of one phase and 6 for the 3 of the other, since a piece that lacks the last
 * tap has nothing at infinity: 13 for 28.
 *
 * An item is a block of rows of an image: its x is packed, padded, and taken to the points, [row][tile][point]
 * [phase, channel], 64 to 256 KB that the second-level cache keeps; then unit by unit of outputs, whose kernel the
 * first-level cache keeps (17 KB of 3 channels of 7x7), 4 or 5 tiles at a time, of any rows, are summed. With
 * AVX-512 a vector of the kernel meets 5 tiles: 5 broadcasts and one load for 5 multiply-adds.
 *
 * The last tile of a row ends with it, and so begins amid the one before, whose last outputs it makes again: both are
 * of one item, so that no thread can be before another with them. */
#include "winograd_few.h"

#include <string.h>

#include "bad_rows.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "stream.h"
#include "workspace.h"

enum {
    BLOCK_BYTES =
        128 << 10,       /* of x at the points: in 64 and 20 KB ResNet's took 5 and 13 % longer */
    BLOCK_COLUMNS = 512, /* a multiple of a tile's outputs, the same for all batches */
    POINT_BYTES = 16,    /* of which points are a multiple */
    SHARES = 2           /* blocks of a thread, at least, where there are so many rows */
};

/* ------------------------------------------------------------------ blocks */

struct job {
    const struct fc_convolution *convolution;
    const struct fc_winograd_kernels *kernels;
    struct fc_padded padded;
    struct fc_winograd_few few;
    const char *u;
    unsigned char *bad; /* for each row of outputs, whether one was not finite */
    char *scratch;
    size_t worker_bytes, x_bytes, v_bytes, strip_bytes;
    ptrdiff_t element;
    int64_t tiles;           /* of a row of a block */
    int64_t v_point, v_tile; /* numbers of v from a point, and a tile, to the next */
    int64_t rows, row_blocks, columns, column_blocks;
    bool straight, stream;
};

/* The outputs of an item. */
struct block {
    int64_t n, row, rows, column, tiles;
};

static struct block block_at(const struct job *job, int64_t item)
{
    const fc_image *y = &job->convolution->y;
    const int64_t across = item % job->column_blocks, rest = item / job->column_blocks;
    const int64_t column = across * job->columns, row = rest % job->row_blocks * job->rows;
    const bool last = across + 1 == job->column_blocks;
    return (struct block){
        .n = rest / job->row_blocks,
        .row = row,
        .rows = fc_min(job->rows, y->h - row),
        .column = column,
        .tiles = fc_ceil_div(last ? y->w - column : job->columns, job->few.outputs),
    };
}

/* The first output of a tile, counted from the block's. */
static int64_t tile_column(const struct job *job, const struct block *block, int64_t tile)
{
    return fc_min(tile * job->few.outputs,
                  job->convolution->y.w - job->few.outputs - block->column);
}

static int64_t block_columns(const struct job *job, const struct block *block)
{
    return tile_column(job, block, block->tiles - 1) + job->few.outputs;
}

/* A block's x, padded, to the points. */
static void spread_block(const struct job *job, const struct block *block, char *x, char *v)
{
    const struct fc_axis *axis = job->convolution->axis;
    const int64_t c_in = job->convolution->kernel.c_in,
                  rows = fc_window_reach(&axis[0], block->rows);
    const int64_t columns = block_columns(job, block);
    const struct fc_patch patch = {
        .x_row = block->row * axis[0].stride - axis[0].before,
        .x_row_gap = 1,
        .x_rows = rows,
        .x_column = block->column * axis[1].stride - axis[1].before,
        .x_columns = fc_window_reach(&axis[1], columns),
    };
    fc_pack_slabs(&job->padded, block->n, &patch, FC_SLAB, 0, c_in, x);
    struct fc_winograd_few_row row = {
        .step = axis[1].stride * c_in,
        .last = (columns - job->few.outputs) * axis[1].stride * c_in,
        .tiles = block->tiles,
        .run = job->few.run,
        .v_point = job->v_point,
        .v_tile = job->v_tile,
        .points = job->few.points,
        .outputs = job->few.outputs,
    };
    for (int64_t i = 0; i < rows; i++) {
        row.x = x + i * patch.x_columns * c_in * job->element;
        row.v = v + i * job->tiles * job->v_tile * job->element;
        job->kernels->few_row(&row);
    }
}

/* Where a tile of outputs goes: to y, or to a strip of one unit, [row][column]. */
static char *target(const struct job *job, const struct block *block, int64_t row, int64_t column,
                    char *strip)
{
    const fc_image *y = &job->convolution->y;
    if (!job->straight)
        return strip + (row * block_columns(job, block) + column) * job->few.unit * job->element;
    return fc_image_at(y, job->element, block->n, block->row + row, block->column + column, 0);
}

/* All tiles of a block, row by row, and the last again until no call lacks one; returns how many. */
static int64_t list_tiles(const struct job *job, const struct block *block, const char *v,
                          char *strip, struct fc_winograd_few_place *places)
{
    const int64_t each = job->kernels->few_tiles[job->few.points == 7];
    const int64_t step = job->convolution->axis[0].stride * job->tiles * job->v_tile;
    struct fc_winograd_few_place *place = places;
    for (int64_t row = 0; row < block->rows; row++)
        for (int64_t t = 0; t < block->tiles; t++)
            *place++ = (struct fc_winograd_few_place){
                .v = v + (row * step + t * job->v_tile) * job->element,
                .y = target(job, block, row, tile_column(job, block, t), strip),
                .bad = job->bad + block->n * job->convolution->y.h + block->row + row,
            };
    for (; (place - places) % each; place++)
        *place = place[-1];
    return place - places;
}

/* Where output k of a block's row is in an image, or NULL. */
static char *row_of(const struct job *job, const fc_image *image, const struct block *block,
                    int64_t row, int64_t k)
{
    return image->data
               ? fc_image_at(image, job->element, block->n, block->row + row, block->column, k)
               : NULL;
}

/* Whether the rows of a block follow each other in an image. */
static bool is_run(const fc_image *image, int64_t columns)
{
    return !image->data || fc_rows_together(image, columns);
}

/* A unit's outputs from the strip to y: planes in squares, which go past the caches where they are lines. */
static void finish_rows(const struct job *job, const struct block *block, int64_t k,
                        const char *strip)
{
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t columns = block_columns(job, block);
    const bool run = is_run(y, columns) && is_run(residual, columns);
    const int64_t rows = run ? 1 : block->rows, pixels = run ? block->rows * columns : columns;
    struct fc_finish finish = {
        .block = {.x_pixel = job->few.unit,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = pixels,
                  .channels = fc_min(job->few.unit, y->c - k)},
        .bias = convolution->bias ? (const char *)convolution->bias + k * job->element : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = convolution->activation,
    };
    for (int64_t row = 0; row < rows; row++) {
        finish.block.x = strip + row * columns * job->few.unit * job->element;
        finish.block.y = row_of(job, y, block, row, k);
        finish.block.stream =
            job->stream &&
            fc_whole_lines(finish.block.y, y->stride_c * job->element, FC_CACHE_LINE);
        finish.residual = row_of(job, residual, block, row, k);
        job->padded.kernels->finish_block(&finish);
    }
}

static void compute_block(void *context, int64_t item, int worker)
{
    const struct job *job = context;
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const char *bias = job->straight ? convolution->bias : NULL;
    const struct block block = block_at(job, item);
    char *x = job->scratch + (size_t)worker * job->worker_bytes, *v = x + job->x_bytes;
    char *strip = v + job->v_bytes;
    struct fc_winograd_few_place *places = (void *)(strip + job->strip_bytes);
    spread_block(job, &block, x, v);
    struct fc_winograd_few_tiles tiles = {
        .places = places,
        .u = job->u,
        .count = list_tiles(job, &block, v, strip, places),
        .v_row = job->tiles * job->v_tile,
        .v_point = job->v_point,
        .rows = kernel->kh,
        .full = job->few.full,
        .run = job->few.run,
        .y_column = job->straight ? convolution->y.stride_w : job->few.unit,
        .taps = job->few.taps,
        .activation = job->straight ? convolution->activation : FC_LINEAR,
        .stream = job->straight && job->stream,
    };
    for (int64_t k = 0; k < kernel->c_out; k += job->few.unit) {
        tiles.bias = bias ? bias + k * job->element : NULL;
        tiles.first = job->straight ? k : 0;
        job->kernels->few_tile(&tiles);
        if (!job->straight)
            finish_rows(job, &block, k, strip);
        tiles.u = (const char *)tiles.u + fc_winograd_few_unit(&job->few, kernel) * job->element;
    }
}

/* -------------------------------------------------------------------- plan */

/* Blocks as large as the second-level cache bears, of which every thread has some. */
static void plan_blocks(struct job *job, int width)
{
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y;
    const struct fc_axis *axis = &convolution->axis[0];
    const int64_t whole = y->w - job->few.outputs + 1; /* columns at which a tile may begin */
    job->columns = BLOCK_COLUMNS;
    job->column_blocks = fc_ceil_div(whole, job->columns);
    job->tiles = fc_ceil_div(fc_min(job->columns + job->few.outputs - 1, y->w), job->few.outputs);
    job->v_point = fc_whole_units(job->few.run, POINT_BYTES / job->element);
    job->v_tile = job->few.points * job->v_point;
    const int64_t most = BLOCK_BYTES / (job->tiles * job->v_tile * job->element);
    const int64_t share = width > 1 ? fc_ceil_div(y->n * y->h, SHARES * width) : y->h;
    job->rows = fc_min((most - axis->taps) / axis->stride + 1, fc_min(share, y->h));
    job->rows = fc_max(job->rows, 1);
    job->row_blocks = fc_ceil_div(y->h, job->rows);
    job->rows = fc_ceil_div(y->h, job->row_blocks);
}

/* What is read behind a row's last pixel, in whole tiles and vectors, is for products that no output takes. */
static void plan_scratch(struct job *job)
{
    const struct fc_axis *axis = job->convolution->axis;
    const int64_t rows = fc_window_reach(&axis[0], job->rows);
    const int64_t columns = fc_window_reach(&axis[1], job->tiles * job->few.outputs);
    const int64_t c_in = job->convolution->kernel.c_in;
    const int64_t tiles = job->rows * job->tiles;
    const int64_t step = axis[1].stride * c_in;
    job->x_bytes = fc_round_to_line((size_t)((rows * columns * c_in + step) * job->element) +
                                    FC_WINOGRAD_FEW_BYTES);
    job->v_bytes = fc_round_to_line((size_t)(rows * job->tiles * job->v_tile * job->element) +
                                    FC_WINOGRAD_FEW_BYTES);
    job->strip_bytes =
        job->straight ? 0 : (size_t)(tiles * job->few.outputs * job->few.unit * job->element);
    job->worker_bytes = job->x_bytes + job->v_bytes + job->strip_bytes +
                        fc_round_to_line((size_t)(tiles + FC_WINOGRAD_FEW_MOST_TILES) *
                                         sizeof(struct fc_winograd_few_place));
}

static fc_status convolve_rows(const struct job *job, const struct fc_bad_rows *rows)
{
    struct fc_convolution some = *job->convolution;
    some.x.n = 1;
    some.x.data = (char *)some.x.data + rows->n * some.x.stride_n * job->element;
    some.y = fc_image_of_rows(&some.y, rows, job->element);
    some.residual = fc_image_of_rows(&some.residual, rows, job->element);
    some.axis[0].out = some.y.h;
    some.axis[0].before -= rows->row * some.axis[0].stride;
    return fc_convolve(&some);
}

static fc_status compute_again(const struct job *job)
{
    const fc_image *y = &job->convolution->y;
    struct fc_bad_rows rows = {0};
    fc_status status = FC_OK;
    while (status == FC_OK && fc_next_bad_rows(job->bad, y->n, y->h, &rows))
        status = convolve_rows(job, &rows);
    return status;
}

static fc_status compute(struct job *job, int width)
{
    const fc_image *y = &job->convolution->y;
    const size_t flags = fc_round_to_line((size_t)(y->n * y->h));
    char *memory = fc_workspace_acquire(flags + job->worker_bytes * (size_t)width);
    if (!memory)
        return FC_NO_MEMORY;
    job->bad = memset(memory, 0, flags);
    job->scratch = memory + flags;
    fc_parallel_for(y->n * job->row_blocks * job->column_blocks, width, FC_FLUSH_DENORMALS,
                    compute_block, job);
    const fc_status status = compute_again(job);
    fc_workspace_release(memory);
    return status;
}

/* The same with a kernel that is transformed here. */
static fc_status compute_with_kernel(struct job *job, int width)
{
    size_t bytes;
    if (!fc_winograd_few_bytes(job->convolution, &bytes))
        return FC_OVERFLOW;
    void *u = fc_workspace_acquire(bytes);
    if (!u)
        return FC_NO_MEMORY;
    fc_winograd_few_transform(job->convolution, u);
    job->u = u;
    const fc_status status = compute(job, width);
    fc_workspace_release(u);
    return status;
}

fc_status fc_winograd_few_convolve(const struct fc_convolution *convolution,
                                   const void *transformed)
{
    const fc_image *y = &convolution->y;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct job job = {
        .convolution = convolution,
        .kernels = &kernels->winograd,
        .padded = fc_padded_x(convolution, &kernels->conv2d, false),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .u = transformed,
    };
    if (y->n * y->h * y->w * y->c == 0)
        return FC_OK;
    fc_winograd_few_of(convolution, &job.few);
    job.straight =
        y->stride_c == 1 && !convolution->residual.data && kernel->c_out % job.few.unit == 0;
    job.stream =
        job.straight ? fc_streams_image(y, false, job.element) : fc_streams_planes(y, job.element);
    const double work = 2.0 * (double)(y->n * y->h * y->w) * (double)kernel->c_out *
                        (double)(kernel->kh * kernel->kw * kernel->c_in);
    plan_blocks(&job, fc_parallel_width(y->n * y->h, work));
    plan_scratch(&job);
    const int width = fc_parallel_width(y->n * job.row_blocks * job.column_blocks, work);
    return transformed ? compute(&job, width) : compute_with_kernel(&job, width);
}
