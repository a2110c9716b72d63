/* convolve_columns.c: convolutions of few outputs, with a row of taps in the lanes.
 *
 * With 6 outputs 10 of 16 lanes would idle; 5 taps of a kernel row make it 30 of 32:
 *     t[p][j, k] = sum over kernel rows i and channels c of x[row + i, p, c] * kernel[i, j, c, k]
 *     y[o, k] = sum over j of t[o + j - before][j, k]
 * The first sum is a matrix product whose pixels are those of x as it lies in memory: padding takes no
 * part, where a sum over pixels of y would multiply with zeros, twice as often as not where a 10 x 10
 * image is padded by 4. It is taken row by row, kh * c_in multiply-adds for each vector of t and pixel
 * of x; the second costs kw vectors a pixel of y: for the input gradient of LeNet's second layer 80 x
 * 2 x 100 multiply-adds against 5 x 196 loads and additions.
 *
 * Each sum runs over blocks of channels and, within a block, over kernel rows and then channels; the
 * taps of a row are added at the end, from left to right. */
#include "convolve_columns.h"

#include <string.h>

#include "blocks.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    BLOCK_COLUMNS = 128,
    BLOCK_OUTPUTS = 4096,
    SCRATCH_BYTES = 256 * 1024, /* packed rows of x: none where its channels lie together */
    FEWEST_TERMS = 32,          /* of a row of taps, to pay for the second sum */
    MOST_CHANNELS = 128,
    MOST_TAPS = 16
};

struct plan {
    struct fc_blocks blocks;
    int64_t unit, columns, block; /* outputs in 64 bytes; of a row of taps; channels of a chain */
    bool in_place;
    size_t weight_bytes, x_bytes, sums_bytes, line_bytes, worker_bytes;
    int width;
};

struct job {
    const struct fc_convolution *convolution;
    const struct plan *plan;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *weights, *scratch;
};

/* One item, and its worker's scratch. x is that of the first row and column of the image that the
 * patch reads. */
struct item {
    const struct job *job;
    struct fc_patch patch;
    struct fc_inside inside;
    const char *x;
    ptrdiff_t x_step, x_pitch;
    char *sums, *line;
    ptrdiff_t offset[MOST_TAPS], kernel_offset[MOST_TAPS];
};

bool fc_fits_columns(const struct fc_convolution *convolution)
{
    const int64_t unit = fc_unit(convolution->dtype);
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const struct fc_axis *axis = convolution->axis;
    if (convolution->packed || kernel->groups != 1 || kernel->kw < 2 || kernel->kh < 1 ||
        kernel->kw > MOST_TAPS || kernel->kh > MOST_TAPS || kernel->c_out >= unit ||
        kernel->c_in > MOST_CHANNELS || kernel->kh * kernel->c_in < FEWEST_TERMS ||
        axis[0].stride != 1 || axis[1].stride != 1 || axis[0].dilation != 1 ||
        axis[1].dilation != 1 || !fc_pads_with_zero(convolution))
        return false;
    /* vectors of multiply-adds for a kernel row and channel: here, and with pixels in the lanes,
     * where a vector costs a quarter more since x is turned into planes */
    const int64_t here = axis[1].in * fc_ceil_div(kernel->kw * kernel->c_out, unit);
    const int64_t planes = kernel->kw * kernel->c_out * fc_ceil_div(axis[1].out, unit);
    return 4 * here < 5 * planes && here < axis[1].out * kernel->kw;
}

/* -------------------------------------------------------------------- plan */

static bool make_plan(const struct fc_convolution *convolution, struct plan *plan)
{
    const struct fc_axis *axis = convolution->axis;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    plan->unit = fc_unit(convolution->dtype);
    plan->columns = fc_whole_units(kernel->kw * kernel->c_out, plan->unit);
    plan->block = fc_max(FC_BLOCK_TERMS / kernel->kh, 1);
    plan->in_place = convolution->x.stride_c == 1;
    const int64_t fit = plan->in_place ? INT64_MAX : SCRATCH_BYTES / element / kernel->c_in;
    fc_cut_blocks(axis, BLOCK_COLUMNS, BLOCK_OUTPUTS, fit, &plan->blocks);
    const int64_t pixels = fc_block_pixels(axis, &plan->blocks);
    if (pixels < 0)
        return false;
    plan->x_bytes =
        plan->in_place ? 0 : fc_round_to_line((size_t)(pixels * kernel->c_in * element));
    plan->weight_bytes = (size_t)(kernel->kh * kernel->c_in * plan->columns * element);
    /* One unit more, for the vectors that begin in the last taps. */
    plan->sums_bytes =
        (size_t)(((plan->blocks.columns + kernel->kw - 1) * plan->columns + plan->unit) * element);
    plan->line_bytes =
        fc_round_to_line((size_t)((plan->blocks.columns * kernel->c_out + plan->unit) * element));
    plan->worker_bytes = plan->x_bytes + plan->sums_bytes + plan->line_bytes;
    const double work = 2.0 * (double)(convolution->y.n * convolution->y.h * axis[1].in) *
                        (double)(kernel->kh * kernel->c_in) * (double)plan->columns;
    plan->width = fc_parallel_width(convolution->y.n * fc_block_count(&plan->blocks), work);
    return true;
}

/* [kernel row][channel][tap, output], the last unit's rest zero */
static void pack_weights(void *context, int64_t i, int worker)
{
    (void)worker;
    const struct job *job = context;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t columns = job->plan->columns, row = kernel->c_in * columns;
    char *to = job->weights + i * row * job->element;
    memset(to, 0, (size_t)(row * job->element));
    for (int64_t j = 0; j < kernel->kw; j++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = (const char *)kernel->data +
                 (i * kernel->stride_kh + j * kernel->stride_kw) * job->element,
            .y = to + j * kernel->c_out * job->element,
            .x_pixel = kernel->stride_c_in,
            .x_channel = kernel->stride_c_out,
            .y_pixel = columns,
            .y_channel = 1,
            .pixels = kernel->c_in,
            .channels = kernel->c_out,
        });
}

/* ------------------------------------------------------------------- items */

/* Finds the part of the image that the patch reads, and packs it unless its channels lie together. */
static void find_x(struct item *item, int64_t n, char *scratch)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_inside *inside = &item->inside;
    item->inside = fc_patch_inside(&item->patch, x->h, x->w);
    item->x = fc_image_at(x, job->element, n, inside->row, inside->column, 0);
    item->x_step = x->stride_w;
    item->x_pitch = x->stride_h;
    if (job->plan->in_place)
        return;
    const bool together = fc_rows_together(x, inside->columns);
    const int64_t runs = together ? 1 : inside->rows;
    for (int64_t r = 0; r < runs; r++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = item->x + r * x->stride_h * job->element,
            .y = scratch + r * inside->columns * x->c * job->element,
            .x_pixel = x->stride_w,
            .x_channel = x->stride_c,
            .y_pixel = x->c,
            .y_channel = 1,
            .pixels = together ? inside->rows * inside->columns : inside->columns,
            .channels = x->c,
        });
    item->x = scratch;
    item->x_step = x->c;
    item->x_pitch = inside->columns * x->c;
}

/* The products of one row of y for channels [c, c + count): x is that of its first kernel row. */
static void add_products(struct item *item, const char *x, const char *weights, int64_t kernel_rows,
                         int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const int64_t most = job->kernels->conv2d.tile_units * plan->unit;
    const int64_t tiles = fc_ceil_div(item->inside.columns, job->kernels->conv2d.tile_pixels);
    const struct fc_chain chain = {kernel_rows, count};
    struct fc_tile tile = {
        .runs = {.offset = item->offset,
                 .kernel_offset = item->kernel_offset,
                 .count = kernel_rows,
                 .step = item->x_step},
        .chains = &chain,
        .chain_count = 1,
        .kernel_step = plan->columns,
        .partial_step = plan->columns,
        .y_step = plan->columns,
    };
    for (int64_t k = 0; k < plan->columns; k += most) {
        tile.columns = (int)fc_min(plan->columns - k, most);
        tile.units = tile.columns / (int)plan->unit;
        tile.kernel = weights + (c * plan->columns + k) * job->element;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t p = item->inside.columns * t / tiles;
            tile.pixels = (int)(item->inside.columns * (t + 1) / tiles - p);
            tile.x = x + (p * item->x_step + c) * job->element;
            tile.y = item->sums + (p * plan->columns + k) * job->element;
            tile.partial = c ? tile.y : NULL;
            job->kernels->conv2d.conv_tile(&tile);
        }
    }
}

/* Row r of the patch, from its products: straight to y where nothing is added and y is as dense. */
static void finish_row(const struct item *item, int64_t n, int64_t r, bool any)
{
    const struct job *job = item->job;
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t row = item->patch.row + r, column = item->patch.column;
    char *to = fc_image_at(y, job->element, n, row, column, 0);
    const bool plain = fc_pixels_together(y) && !convolution->bias && !residual->data &&
                       convolution->activation == FC_LINEAR;
    job->kernels->few.column_sums(&(struct fc_column_sums){
        .x = item->sums,
        .y = plain ? to : item->line,
        .x_pixel = job->plan->columns,
        .pixels = item->patch.columns,
        .x_pixels = any ? item->inside.columns : 0,
        .outputs = y->c,
        .taps = convolution->kernel.kw,
        .before = item->inside.column - item->patch.x_column,
    });
    if (plain)
        return;
    job->kernels->conv2d.finish_block(&(struct fc_finish){
        .block = {.x = item->line,
                  .y = to,
                  .x_pixel = y->c,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = item->patch.columns,
                  .channels = y->c},
        .bias = convolution->bias,
        .residual = residual->data ? (const char *)residual->data +
                                         (n * residual->stride_n + row * residual->stride_h +
                                          column * residual->stride_w) *
                                             job->element
                                   : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = convolution->activation,
    });
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t blocks = fc_block_count(&plan->blocks), n = index / blocks;
    char *scratch = job->scratch + (size_t)worker * plan->worker_bytes;
    struct item item = {
        .job = job,
        .patch = fc_block_at(axis, &plan->blocks, index % blocks),
        .sums = scratch + plan->x_bytes,
        .line = scratch + plan->x_bytes + plan->sums_bytes,
    };
    find_x(&item, n, scratch);
    for (int64_t i = 0; i < kernel->kh; i++) {
        item.offset[i] = i * item.x_pitch;
        item.kernel_offset[i] = i * kernel->c_in * plan->columns;
    }
    for (int64_t r = 0; r < item.patch.rows; r++) {
        const int64_t row = item.patch.row + r;
        int64_t begin, end;
        fc_axis_taps(&axis[0], row, &begin, &end);
        const char *x =
            item.x + (row - axis[0].before + begin - item.inside.row) * item.x_pitch * job->element;
        const char *weights = job->weights + begin * kernel->c_in * plan->columns * job->element;
        for (int64_t c = 0; c < kernel->c_in && begin < end; c += plan->block)
            add_products(&item, x, weights, end - begin, c, fc_min(plan->block, kernel->c_in - c));
        finish_row(&item, n, r, begin < end);
    }
}

fc_status fc_convolve_columns(const struct fc_convolution *convolution)
{
    struct plan plan;
    char *scratch;
    if (!make_plan(convolution, &plan))
        return FC_OVERFLOW;
    const fc_status status =
        fc_workspace_divide(plan.weight_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = fc_current_kernels(convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .weights = scratch,
        .scratch = scratch + plan.weight_bytes,
    };
    fc_parallel_for(convolution->kernel.kh, 1, FC_KEEP_DENORMALS, pack_weights, &job);
    fc_parallel_for(convolution->y.n * fc_block_count(&plan.blocks), plan.width, FC_FLUSH_DENORMALS,
                    compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
