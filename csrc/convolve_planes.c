/* convolve_planes.c: convolutions of few outputs, with the pixels of a row in the lanes.
 *
 * With 3 outputs (the input gradient of a network's first layer) 13 of 16 lanes would idle. Here the
 * two factors of a tile change places: conv_tile's "pixels" are the outputs, whose weights are
 * broadcast, and its "columns" are pixels, loaded from planes of x at the shift of each tap. A tile
 * of 6 outputs x 2 vectors takes 2 loads and 6 broadcasts for 12 multiply-adds; with 3 outputs six
 * chains cover three quarters of the latency, four times what 3 of 16 lanes give.
 *
 * Each sum runs over blocks of channels and, within a block, over taps and then channels. */
#include "convolve_planes.h"

#include "blocks.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 512 * 1024, /* planes of one block, to stay in the second-level cache */
    BLOCK_COLUMNS = 256,
    BLOCK_OUTPUTS = 4096
};

struct plan {
    struct fc_blocks blocks;
    int64_t unit, taps, block; /* outputs in 64 bytes; taps; channels that one chain sums */
    int64_t pitch, strip_pitch;
    size_t weight_bytes, x_bytes, strip_bytes, worker_bytes;
    bool skip_rows;
    int width;
};

struct job {
    const struct fc_convolution *convolution;
    const struct plan *plan;
    const struct fc_conv2d_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    char *weights, *scratch;
};

bool fc_fits_planes(const struct fc_convolution *convolution)
{
    const int64_t unit = FC_UNIT_BYTES / (int64_t)fc_element_size(convolution->dtype);
    const int64_t w = convolution->axis[1].out, c_out = convolution->kernel.c_out;
    /* One row and one tap may be a dense layer's batch, whose length no sum may depend on.
     * Lanes filled: w of whole units here, c_out of one unit there. */
    return !convolution->packed && convolution->kernel.groups == 1 &&
           (convolution->axis[0].out > 1 || convolution->kernel.kh * convolution->kernel.kw > 1) &&
           convolution->axis[1].stride == 1 && convolution->kernel.kh > 0 &&
           convolution->kernel.kw > 0 && convolution->kernel.c_in > 0 && 2 * c_out < unit &&
           c_out * fc_ceil_div(w, unit) * unit < unit * w;
}

/* -------------------------------------------------------------------- plan */

static bool make_plan(const struct fc_convolution *convolution, struct plan *plan)
{
    const struct fc_axis *axis = convolution->axis;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t c_in = convolution->kernel.c_in, c_out = convolution->kernel.c_out;
    plan->unit = FC_UNIT_BYTES / element;
    plan->taps = axis[0].taps * axis[1].taps;
    plan->block = fc_max(FC_BLOCK_TERMS / plan->taps, 1);
    plan->skip_rows = fc_pads_with_zero(convolution);
    fc_cut_blocks(axis, BLOCK_COLUMNS, BLOCK_OUTPUTS,
                  SCRATCH_BYTES / element / fc_min(plan->block, c_in), &plan->blocks);
    const int64_t columns =
        plan->blocks.columns + (axis[1].taps - 1) * axis[1].dilation + 2 * plan->unit;
    plan->pitch = fc_ceil_div(columns, plan->unit) * plan->unit;
    plan->strip_pitch = fc_ceil_div(plan->blocks.columns, FC_PANEL_UNITS * plan->unit) *
                        FC_PANEL_UNITS * plan->unit;

    const int64_t rows = (plan->blocks.rows - 1) * plan->blocks.row_stride + axis[0].taps;
    int64_t x, weights;
    if (__builtin_mul_overflow(rows * fc_min(plan->block, c_in), plan->pitch * element, &x) ||
        __builtin_mul_overflow(plan->taps * c_out * element, c_in, &weights))
        return false;
    plan->x_bytes = fc_round_to_line((size_t)x);
    plan->weight_bytes = fc_round_to_line((size_t)weights);
    plan->strip_bytes = (size_t)(c_out * plan->blocks.rows * plan->strip_pitch * element);
    plan->worker_bytes = plan->x_bytes + plan->strip_bytes +
                         fc_round_to_line(2 * (size_t)plan->taps * sizeof(ptrdiff_t));
    const double work = 2.0 * (double)(convolution->y.n * convolution->y.h * convolution->y.w) *
                        (double)c_out * (double)c_in * (double)plan->taps;
    plan->width = fc_parallel_width(convolution->y.n * fc_block_count(&plan->blocks), work);
    return true;
}

/* [block of channels][output][tap][channel of the block] */
static void pack_weights(void *context, int64_t k, int worker)
{
    (void)worker;
    const struct job *job = context;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    for (int64_t c = 0; c < kernel->c_in; c += job->plan->block) {
        const int64_t count = fc_min(job->plan->block, kernel->c_in - c);
        char *to = job->weights + (c * kernel->c_out + k * count) * job->plan->taps * job->element;
        for (int64_t tap = 0; tap < job->plan->taps; tap++)
            job->kernels->copy_block(&(struct fc_block){
                .x = (const char *)kernel->data +
                     (tap / kernel->kw * kernel->stride_kh + tap % kernel->kw * kernel->stride_kw +
                      c * kernel->stride_c_in + k * kernel->stride_c_out) *
                         job->element,
                .y = to + tap * count * job->element,
                .x_pixel = 1,
                .x_channel = kernel->stride_c_in,
                .y_pixel = count,
                .y_channel = 1,
                .pixels = 1,
                .channels = count,
            });
    }
}

/* ------------------------------------------------------------------- items */

/* One item, and its worker's scratch. */
struct item {
    const struct job *job;
    struct fc_patch patch;
    char *x, *strip;
    ptrdiff_t *offset, *kernel_offset;
    struct fc_tile tile;
};

static void list_terms(struct item *item, int64_t count)
{
    const struct fc_axis *axis = item->job->convolution->axis;
    int64_t r = 0;
    for (int64_t i = 0; i < axis[0].taps; i++)
        for (int64_t j = 0; j < axis[1].taps; j++, r++) {
            item->offset[r] = r * count;
            item->kernel_offset[r] = i * item->job->plan->pitch + j * axis[1].dilation;
        }
    item->tile.runs.length = count;
    item->tile.runs.step = item->job->plan->taps * count;
}

/* One row of outputs for one block of channels: tiles of outputs x pixels. weights and x are those of
 * output 0 and of the row's first pixel. */
static void add_row(struct item *item, const char *weights, const char *x, char *strip, bool first)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const int64_t outputs = job->convolution->kernel.c_out;
    const int64_t most = job->kernels->tile_units * plan->unit;
    const int64_t tiles = fc_ceil_div(outputs, job->kernels->tile_pixels);
    struct fc_tile *tile = &item->tile;
    tile->y_step = tile->partial_step = plan->blocks.rows * plan->strip_pitch;
    for (int64_t column = 0; column < item->patch.columns; column += most)
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t k = outputs * t / tiles;
            const int64_t units = fc_ceil_div(item->patch.columns - column, plan->unit);
            tile->pixels = (int)(outputs * (t + 1) / tiles - k);
            tile->units = (int)fc_min(units, job->kernels->tile_units);
            tile->columns = tile->units * (int)plan->unit;
            tile->x = weights + k * tile->runs.step * job->element;
            tile->kernel = x + column * job->element;
            tile->y = strip + (k * tile->y_step + column) * job->element;
            tile->partial = first ? NULL : tile->y;
            job->kernels->conv_tile(tile);
        }
}

static void add_channels(struct item *item, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const struct fc_axis *axis = job->convolution->axis;
    const char *weights =
        job->weights + c * job->convolution->kernel.c_out * plan->taps * job->element;
    list_terms(item, count);
    item->tile.kernel_step = item->patch.x_rows * plan->pitch;
    for (int64_t r = 0; r < item->patch.rows; r++) {
        int64_t begin = 0, end = axis[0].taps;
        if (plan->skip_rows)
            fc_axis_taps(&axis[0], fc_patch_row(&plan->blocks, &item->patch, r), &begin, &end);
        item->tile.runs.offset = item->offset + begin * axis[1].taps;
        item->tile.runs.kernel_offset = item->kernel_offset + begin * axis[1].taps;
        item->tile.runs.count = (end - begin) * axis[1].taps;
        add_row(item, weights, item->x + r * plan->blocks.row_stride * plan->pitch * job->element,
                item->strip + r * plan->strip_pitch * job->element, c == 0);
    }
}

static char *row_of(const struct item *item, const fc_image *image, int64_t n, int64_t r)
{
    const int64_t row = fc_patch_row(&item->job->plan->blocks, &item->patch, r);
    return (char *)image->data +
           (n * image->stride_n + row * image->stride_h + item->patch.column * image->stride_w) *
               item->job->element;
}

static void finish_rows(const struct item *item, int64_t n)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const fc_image *y = &job->convolution->y, *residual = &job->convolution->residual;
    for (int64_t r = 0; r < item->patch.rows; r++)
        job->kernels->finish_block(&(struct fc_finish){
            .block = {.x = item->strip + r * plan->strip_pitch * job->element,
                      .y = row_of(item, y, n, r),
                      .x_pixel = 1,
                      .x_channel = plan->blocks.rows * plan->strip_pitch,
                      .y_pixel = y->stride_w,
                      .y_channel = y->stride_c,
                      .pixels = item->patch.columns,
                      .channels = y->c},
            .bias = job->convolution->bias,
            .residual = residual->data ? row_of(item, residual, n, r) : NULL,
            .residual_pixel = residual->stride_w,
            .residual_channel = residual->stride_c,
            .activation = job->convolution->activation,
        });
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks), n = index / blocks;
    const int64_t c_in = job->convolution->kernel.c_in;
    char *scratch = job->scratch + (size_t)worker * plan->worker_bytes;
    struct item item = {
        .job = job,
        .patch = fc_block_at(job->convolution->axis, &plan->blocks, index % blocks),
        .x = scratch,
        .strip = scratch + plan->x_bytes,
        .offset = (ptrdiff_t *)(scratch + plan->x_bytes + plan->strip_bytes),
    };
    item.kernel_offset = item.offset + plan->taps;
    if (item.patch.rows == 0)
        return;
    for (int64_t c = 0; c < c_in; c += plan->block) {
        const int64_t count = fc_min(plan->block, c_in - c);
        fc_pack_planes(&job->padded, n, &item.patch, plan->pitch, c, count, item.x);
        add_channels(&item, c, count);
    }
    finish_rows(&item, n);
}

fc_status fc_convolve_planes(const struct fc_convolution *convolution)
{
    struct plan plan;
    size_t total;
    if (!make_plan(convolution, &plan) ||
        __builtin_mul_overflow(plan.worker_bytes, (size_t)plan.width, &total) ||
        __builtin_add_overflow(total, plan.weight_bytes, &total))
        return FC_OVERFLOW;
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;
    const struct fc_conv2d_kernels *kernels = &fc_current_kernels(convolution->dtype)->conv2d;
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(convolution, kernels, plan.skip_rows),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .weights = scratch,
        .scratch = scratch + plan.weight_bytes,
    };
    fc_parallel_for(convolution->kernel.c_out, 1, FC_KEEP_DENORMALS, pack_weights, &job);
    fc_parallel_for(convolution->y.n * fc_block_count(&plan.blocks), plan.width, FC_FLUSH_DENORMALS,
                    compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
