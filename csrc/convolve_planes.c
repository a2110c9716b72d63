/* convolve_planes.c: convolutions of few outputs, with the pixels of a row in the lanes.
 *
 * With 3 outputs (the input gradient of a network's first layer) 13 of 16 lanes would idle. Here the
 * two factors of a tile change places: conv_tile's "pixels" are the outputs, whose weights are
 * broadcast, and its "columns" are pixels, loaded from planes of x at the shift of each tap.
 *
 * The rows of a padded plane follow each other without a gap, and so do the partial sums: a vector may
 * hold pixels of two rows, and the sums at the kw - 1 pixels between two rows are not stored. 28
 * columns and 5 taps thus fill 28 of 32 lanes, 14 columns 14 of 18, in tiles as large as in a wide
 * image. Where rows of x are skipped, rows of y do not follow each other at the same pitch; and where
 * much of the image is padding above or below, taps in it are left out row by row.
 *
 * Each sum runs over blocks of channels and, within a block, over taps and then channels. */
#include "convolve_planes.h"

#include <string.h>

#include "convolve_planes_plan.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

struct job {
    const struct fc_convolution *convolution;
    const struct fc_planes_plan *plan;
    const struct fc_conv2d_kernels *kernels;
    const struct fc_few_kernels *few;
    void (*split_pairs)(const void *x, void *even, void *odd, int64_t count);
    struct fc_padded padded;
    ptrdiff_t element;
    char *weights, *scratch;
};

/* ------------------------------------------------------------------ weights */

/* Channel c of output k and a tap, and, in *together, how many from there on lie *step apart: in the
 * kernel all do, in a packed one those of a slab. */
static const char *find_weights(const struct job *job, int64_t k, int64_t tap, int64_t c,
                                int64_t *together, ptrdiff_t *step)
{
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    if (!job->convolution->packed) {
        *together = kernel->c_in - c;
        *step = kernel->stride_c_in;
        return (const char *)kernel->data +
               (tap / kernel->kw * kernel->stride_kh + tap % kernel->kw * kernel->stride_kw +
                c * kernel->stride_c_in + k * kernel->stride_c_out) *
                   job->element;
    }
    const struct fc_channels channels = fc_plan_channels(kernel, job->convolution->dtype);
    const int64_t p = k / channels.panel, first = c - c % channels.slab;
    const int64_t slab = fc_min(channels.slab, kernel->c_in - first);
    *together = first + slab - c;
    *step = fc_panel_width(&channels, p);
    return (const char *)job->convolution->packed +
           (fc_panel_offset(&channels, 0, p) + k % channels.panel +
            (fc_panel_row(&channels, first) + tap * slab + c - first) * *step) *
               job->element;
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
            for (int64_t done = 0, together; done < count; done += together) {
                ptrdiff_t step;
                const char *from = find_weights(job, k, tap, c + done, &together, &step);
                together = fc_min(together, count - done);
                job->kernels->copy_block(&(struct fc_block){
                    .x = from,
                    .y = to + (tap * count + done) * job->element,
                    .x_pixel = 1,
                    .x_channel = step,
                    .y_pixel = count,
                    .y_channel = 1,
                    .pixels = 1,
                    .channels = together,
                });
            }
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
            item->kernel_offset[r] = i * item->job->plan->pitch +
                                     j % axis[1].stride * item->job->plan->half +
                                     j / axis[1].stride * axis[1].dilation;
        }
    item->tile.runs.length = count;
    item->tile.runs.step = item->job->plan->taps * count;
}

/* `length` sums that follow each other, for one block of channels: tiles of outputs x pixels. weights,
 * x and strip are those of output 0 and of the first pixel. */
static void add_sums(struct item *item, const char *weights, const char *x, char *strip,
                     int64_t length, bool first)
{
    const struct job *job = item->job;
    const struct fc_planes_plan *plan = job->plan;
    const struct fc_few_kernels *few = job->few;
    const int64_t outputs = job->convolution->kernel.c_out;
    const int64_t most = few->plane_units * plan->unit;
    const int64_t tiles = fc_ceil_div(outputs, few->plane_outputs);
    struct fc_tile *tile = &item->tile;
    tile->y_step = tile->partial_step = plan->strip_plane;
    for (int64_t at = 0; at < length; at += most)
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t k = outputs * t / tiles;
            tile->pixels = (int)(outputs * (t + 1) / tiles - k);
            tile->units = (int)fc_min(fc_ceil_div(length - at, plan->unit), few->plane_units);
            tile->columns = tile->units * (int)plan->unit;
            tile->x = weights + k * tile->runs.step * job->element;
            tile->kernel = x + at * job->element;
            tile->y = strip + (k * tile->y_step + at) * job->element;
            tile->partial = first ? NULL : tile->y;
            few->plane_tile(tile);
        }
}

static void add_channels(struct item *item, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct fc_planes_plan *plan = job->plan;
    const struct fc_axis *axis = job->convolution->axis;
    const char *weights =
        job->weights + c * job->convolution->kernel.c_out * plan->taps * job->element;
    list_terms(item, count);
    item->tile.kernel_step = item->patch.x_rows * plan->pitch;
    item->tile.runs.offset = item->offset;
    item->tile.runs.kernel_offset = item->kernel_offset;
    item->tile.runs.count = plan->taps;
    if (plan->flat) {
        const int64_t last = (item->patch.rows - 1) * plan->pitch + item->patch.columns;
        add_sums(item, weights, item->x, item->strip, last, c == 0);
        return;
    }
    for (int64_t r = 0; r < item->patch.rows; r++) {
        int64_t begin = 0, end = axis[0].taps;
        if (plan->skip_rows)
            fc_axis_taps(&axis[0], fc_patch_row(&plan->blocks, &item->patch, r), &begin, &end);
        item->tile.runs.offset = item->offset + begin * axis[1].taps;
        item->tile.runs.kernel_offset = item->kernel_offset + begin * axis[1].taps;
        item->tile.runs.count = (end - begin) * axis[1].taps;
        add_sums(item, weights, item->x + r * plan->blocks.row_stride * plan->pitch * job->element,
                 item->strip + r * plan->strip_pitch * job->element, item->patch.columns, c == 0);
    }
}

/* Row r of x within the image: column x_column and every second one from there on, then the others. */
static void split_row(const struct item *item, int64_t n, int64_t r, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &item->patch;
    const int64_t begin = fc_max(patch->x_column, 0), skipped = begin - patch->x_column;
    const int64_t end = fc_min(patch->x_column + patch->x_columns, x->w);
    const int64_t row = patch->x_row + r * patch->x_row_gap, half = job->plan->half;
    for (int64_t i = 0; i < count; i++) {
        const char *from =
            (const char *)x->data +
            (n * x->stride_n + row * x->stride_h + begin + (c + i) * x->stride_c) * job->element;
        char *to = item->x + (i * patch->x_rows + r) * job->plan->pitch * job->element;
        job->split_pairs(from, to + (skipped % 2 * half + skipped / 2) * job->element,
                         to + ((skipped + 1) % 2 * half + (skipped + 1) / 2) * job->element,
                         end - begin);
    }
}

/* Channels [c, c + count) as planes: of zero padding nothing but zeros is known, and filled at once. */
static void pack_planes(const struct item *item, int64_t n, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &item->patch;
    const int64_t pitch = job->plan->pitch;
    if (!fc_pads_with_zero(job->convolution)) {
        fc_pack_planes(&job->padded, n, patch, pitch, c, count, item->x);
        return;
    }
    const int64_t begin = fc_max(patch->x_column, 0);
    const int64_t end = fc_min(patch->x_column + patch->x_columns, x->w);
    memset(item->x, 0, (size_t)(count * patch->x_rows * pitch * job->element));
    for (int64_t r = 0; r < patch->x_rows && begin < end; r++) {
        const int64_t row = patch->x_row + r * patch->x_row_gap;
        if (row < 0 || row >= x->h)
            continue;
        if (job->convolution->axis[1].stride == 2) {
            split_row(item, n, r, c, count);
            continue;
        }
        job->kernels->copy_block(&(struct fc_block){
            .x = (const char *)x->data +
                 (n * x->stride_n + row * x->stride_h + begin * x->stride_w + c * x->stride_c) *
                     job->element,
            .y = item->x + (r * pitch + begin - patch->x_column) * job->element,
            .x_pixel = x->stride_w,
            .x_channel = x->stride_c,
            .y_pixel = 1,
            .y_channel = patch->x_rows * pitch,
            .pixels = end - begin,
            .channels = count,
        });
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
    const struct fc_planes_plan *plan = job->plan;
    const fc_image *y = &job->convolution->y, *residual = &job->convolution->residual;
    /* With one output its pixels lie together already. */
    const bool dense =
        y->c > 1 && y->stride_c == 1 && y->stride_w == y->c && y->c <= FC_FEW_OUTPUTS;
    const bool planes = y->c > 1 && y->stride_w == 1;
    void (*finish)(const struct fc_finish *) =
        (dense || planes) && !residual->data ? job->few->finish_planes : job->kernels->finish_block;
    for (int64_t r = 0; r < item->patch.rows; r++)
        finish(&(struct fc_finish){
            .block = {.x = item->strip + r * plan->strip_pitch * job->element,
                      .y = row_of(item, y, n, r),
                      .x_pixel = 1,
                      .x_channel = plan->strip_plane,
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
    const struct fc_planes_plan *plan = job->plan;
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
        pack_planes(&item, n, c, count);
        add_channels(&item, c, count);
    }
    finish_rows(&item, n);
}

fc_status fc_convolve_planes(const struct fc_convolution *convolution)
{
    struct fc_planes_plan plan;
    size_t total;
    if (!fc_plan_planes(convolution, &plan) ||
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
        .few = &fc_current_kernels(convolution->dtype)->few,
        .split_pairs = fc_current_kernels(convolution->dtype)->pool2d.split_pairs,
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
