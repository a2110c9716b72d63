/* convolve_planes.c: convolutions of few outputs, or to planes, with the pixels of a row in the lanes.
 *
 * With 3 outputs 13 of 16 lanes would idle. Here the two factors of a tile change places: the weights of
 * outputs are broadcast, and pixels are loaded from planes of x at the shift of each tap.
 *
 * The rows of a padded plane follow each other without a gap, and so do the partial sums: a vector may hold
 * pixels of two rows, and the sums at the kw - 1 pixels between two rows are not stored. 28 columns and 5 taps
 * thus fill 28 of 32 lanes, 14 columns 14 of 18, in tiles as large as in a wide image. Where rows of x are skipped,
 * rows of y do not follow each other at the same pitch; and where much of the image is padding above or below, taps
 * in it are left out row by row. So they are where rows fill tiles and y is planes, which these then finish
 * themselves. The lines of y are asked for while sums are made: its planes are no stream that the processor knows
 * (VGG's first layer took 1.4 times as long). A large y goes past the caches: the same layer takes 9 ms, not 17.
 *
 * Each sum runs over blocks of channels and, within a block, over taps and then channels. */
#include "convolve_planes.h"

#include <string.h>

#include "convolve_planes_plan.h"
#include "dispatch.h"
#include "fetch_rows.h"
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
    int64_t n;
    struct fc_patch patch;
    char *x, *strip;
    ptrdiff_t *offset;
    struct fc_plane_tile tile;
};

static char *row_of(const struct item *item, const fc_image *image, int64_t r)
{
    const int64_t row = fc_patch_row(&item->job->plan->blocks, &item->patch, r);
    return fc_image_at(image, item->job->element, item->n, row, item->patch.column, 0);
}

/* Where each term is found: taps, and within a tap the channels [0, count) of packed x. */
static void list_terms(struct item *item, int64_t count)
{
    const struct fc_planes_plan *plan = item->job->plan;
    const struct fc_axis *axis = item->job->convolution->axis;
    const int64_t rows = item->patch.x_rows;
    ptrdiff_t *offset = item->offset;
    for (int64_t i = 0; i < axis[0].taps; i++)
        for (int64_t j = 0; j < axis[1].taps; j++) {
            const ptrdiff_t shift = plan->shifted ? j * count * rows * plan->pitch
                                                  : j % axis[1].stride * plan->half +
                                                        j / axis[1].stride * axis[1].dilation;
            for (int64_t c = 0; c < count; c++)
                *offset++ = (c * rows + i) * plan->pitch + shift;
        }
    item->tile.weight_step = plan->taps * count;
}

/* Sums that follow each other, of one block of channels, as the tiles find and leave them. */
struct aim {
    const char *weights, *x; /* of output 0 and of the first pixel */
    const char *partial;
    char *y;
    const char *lines; /* of y's planes, where these sums will lie in the end, or NULL */
    int64_t length;
    bool first, last; /* block of channels */
};

static void add_sums(struct item *item, const struct aim *aim)
{
    const struct job *job = item->job;
    const struct fc_planes_plan *plan = job->plan;
    const struct fc_few_kernels *few = job->few;
    const bool direct = plan->direct && aim->last;
    const bool ends = aim->last && !job->convolution->residual.data;
    const char *bias = ends ? job->convolution->bias : NULL;
    const fc_image *y = &job->convolution->y;
    const int64_t outputs = job->convolution->kernel.c_out;
    const int64_t most = few->plane_units * plan->unit;
    const int64_t tiles = fc_ceil_div(outputs, few->plane_outputs);
    struct fc_plane_tile *tile = &item->tile;
    tile->partial_step = plan->strip_plane;
    tile->y_step = direct ? y->stride_c : plan->strip_plane;
    tile->activation = ends ? job->convolution->activation : FC_LINEAR;
    for (int64_t at = 0; at < aim->length; at += most) {
        const int64_t pixel = plan->flat ? at / plan->pitch * y->stride_h + at % plan->pitch : at;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t k = outputs * t / tiles;
            tile->outputs = (int)(outputs * (t + 1) / tiles - k);
            tile->pixels = (int)fc_min(aim->length - at, most);
            tile->units = (int)fc_ceil_div(tile->pixels, plan->unit);
            tile->weights = aim->weights + k * tile->weight_step * job->element;
            tile->x = aim->x + at * job->element;
            tile->y = aim->y + (k * tile->y_step + at) * job->element;
            tile->partial =
                aim->first ? NULL : aim->partial + (k * tile->partial_step + at) * job->element;
            tile->bias = bias ? bias + k * job->element : NULL;
            tile->stream = direct && plan->stream && tile->pixels % plan->unit == 0 &&
                           (uintptr_t)tile->y % FC_CACHE_LINE == 0;
            if (aim->lines && !tile->stream)
                fc_fetch_rows(aim->lines + (k * y->stride_c + pixel) * job->element,
                              y->stride_c * job->element, tile->outputs,
                              tile->pixels * job->element);
            few->plane_tile(tile);
        }
    }
}

static void add_channels(struct item *item, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct fc_planes_plan *plan = job->plan;
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_axis *axis = convolution->axis;
    const bool last = c + count == convolution->kernel.c_in;
    const char *weights = job->weights + c * convolution->kernel.c_out * plan->taps * job->element;
    list_terms(item, count);
    for (int64_t r = 0; r < (plan->flat ? 1 : item->patch.rows); r++) {
        int64_t begin = 0, end = axis[0].taps;
        if (plan->skip_rows)
            fc_axis_taps(&axis[0], fc_patch_row(&plan->blocks, &item->patch, r), &begin, &end);
        char *y = row_of(item, &convolution->y, r);
        char *strip = item->strip + r * plan->strip_pitch * job->element;
        item->tile.offset = item->offset + begin * axis[1].taps * count;
        item->tile.terms = (end - begin) * axis[1].taps * count;
        add_sums(item, &(struct aim){
                           .weights = weights + begin * axis[1].taps * count * job->element,
                           .x = item->x + r * plan->blocks.row_stride * plan->pitch * job->element,
                           .partial = strip,
                           .y = plan->direct && last ? y : strip,
                           .lines = last && convolution->y.stride_w == 1 ? y : NULL,
                           .length = plan->flat ? (item->patch.rows - 1) * plan->pitch +
                                                      item->patch.columns
                                                : item->patch.columns,
                           .first = c == 0,
                           .last = last,
                       });
    }
}

/* Row r of x within the image: column x_column and every second one from there on, then the others. */
static void split_row(const struct item *item, int64_t r, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &item->patch;
    const int64_t begin = fc_max(patch->x_column, 0), skipped = begin - patch->x_column;
    const int64_t end = fc_min(patch->x_column + patch->x_columns, x->w);
    const int64_t row = patch->x_row + r * patch->x_row_gap, half = job->plan->half;
    for (int64_t i = 0; i < count; i++) {
        const char *from = (const char *)x->data + (item->n * x->stride_n + row * x->stride_h +
                                                    begin + (c + i) * x->stride_c) *
                                                       job->element;
        char *to = item->x + (i * patch->x_rows + r) * job->plan->pitch * job->element;
        job->split_pairs(from, to + (skipped % 2 * half + skipped / 2) * job->element,
                         to + ((skipped + 1) % 2 * half + (skipped + 1) / 2) * job->element,
                         end - begin);
    }
}

/* Channels [c, c + count) as a column of taps meets them, from x_column on: rows of y's length. */
static void pack_column(const struct item *item, int64_t x_column, int64_t c, int64_t count,
                        char *to)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &item->patch;
    const int64_t pitch = job->plan->pitch, plane = patch->x_rows * pitch;
    const int64_t begin = fc_max(x_column, 0), end = fc_min(x_column + pitch, x->w);
    const int64_t top = fc_max(patch->x_row, 0);
    const int64_t rows = fc_min(patch->x_row + patch->x_rows, x->h) - top;
    if (end - begin < pitch || rows < patch->x_rows)
        memset(to, 0, (size_t)(count * plane * job->element));
    if (end <= begin || rows <= 0)
        return;
    const bool together = rows == patch->x_rows && x->stride_c == rows * x->stride_h;
    for (int64_t i = 0; i < (together ? 1 : count); i++)
        job->kernels->copy_block(&(struct fc_block){
            .x = fc_image_at(x, job->element, item->n, top, begin, c + i),
            .y = to + (i * plane + (top - patch->x_row) * pitch + begin - x_column) * job->element,
            .x_pixel = x->stride_h,
            .x_channel = x->stride_w,
            .y_pixel = pitch,
            .y_channel = 1,
            .pixels = together ? count * rows : rows,
            .channels = end - begin,
        });
}

/* Channels [c, c + count) as planes: of zero padding nothing but zeros is known, and filled at once. */
static void pack_planes(const struct item *item, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &item->patch;
    const int64_t pitch = job->plan->pitch;
    if (job->plan->shifted) {
        const int64_t bytes = count * patch->x_rows * pitch * job->element;
        for (int64_t j = 0; j < job->convolution->axis[1].taps; j++)
            pack_column(item, patch->x_column + j, c, count, item->x + j * bytes);
        return;
    }
    if (!fc_pads_with_zero(job->convolution)) {
        fc_pack_planes(&job->padded, item->n, patch, pitch, c, count, item->x);
        return;
    }
    const int64_t begin = fc_max(patch->x_column, 0);
    const int64_t end = fc_min(patch->x_column + patch->x_columns, x->w);
    if (patch->x_row < 0 || patch->x_column < 0 || patch->x_row + patch->x_rows > x->h ||
        patch->x_column + pitch > x->w || job->convolution->axis[1].stride == 2)
        memset(item->x, 0, (size_t)(count * patch->x_rows * pitch * job->element));
    for (int64_t r = 0; r < patch->x_rows && begin < end; r++) {
        const int64_t row = patch->x_row + r * patch->x_row_gap;
        if (row < 0 || row >= x->h)
            continue;
        if (job->convolution->axis[1].stride == 2) {
            split_row(item, r, c, count);
            continue;
        }
        job->kernels->copy_block(&(struct fc_block){
            .x = fc_image_at(x, job->element, item->n, row, begin, c),
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

void fc_finish_few(const struct fc_convolution *convolution, const void *sums, ptrdiff_t plane,
                   int64_t n, int64_t row, int64_t column, int64_t pixels, bool ended)
{
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(convolution->dtype);
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    /* With one output its pixels lie together already. */
    const bool dense = y->c > 1 && fc_pixels_together(y) && y->c <= FC_FEW_OUTPUTS;
    const bool planes = y->c > 1 && y->stride_w == 1;
    void (*finish)(const struct fc_finish *) = (dense || planes) && !residual->data
                                                   ? kernels->few.finish_planes
                                                   : kernels->conv2d.finish_block;
    finish(&(struct fc_finish){
        .block = {.x = sums,
                  .y = fc_image_at(y, element, n, row, column, 0),
                  .x_pixel = 1,
                  .x_channel = plane,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = pixels,
                  .channels = y->c},
        .bias = ended ? NULL : convolution->bias,
        .residual = residual->data ? fc_image_at(residual, element, n, row, column, 0) : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = ended ? FC_LINEAR : convolution->activation,
    });
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct fc_planes_plan *plan = job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    const int64_t c_in = job->convolution->kernel.c_in;
    char *scratch = job->scratch + (size_t)worker * plan->worker_bytes;
    struct item item = {
        .job = job,
        .n = index / blocks,
        .patch = fc_block_at(job->convolution->axis, &plan->blocks, index % blocks),
        .x = scratch,
        .strip = scratch + plan->x_bytes,
        .offset = (ptrdiff_t *)(scratch + plan->x_bytes + plan->strip_bytes),
    };
    if (item.patch.rows == 0)
        return;
    for (int64_t c = 0; c < c_in; c += plan->block) {
        const int64_t count = fc_min(plan->block, c_in - c);
        pack_planes(&item, c, count);
        add_channels(&item, c, count);
    }
    const int64_t rows = plan->shifted ? item.patch.rows : 1; /* that no gap parts */
    for (int64_t r = 0; r < (plan->direct ? 0 : item.patch.rows); r += rows)
        fc_finish_few(job->convolution, item.strip + r * plan->strip_pitch * job->element,
                      plan->strip_plane, item.n, fc_patch_row(&plan->blocks, &item.patch, r),
                      item.patch.column, rows * item.patch.columns,
                      !job->convolution->residual.data);
}

fc_status fc_convolve_planes(const struct fc_convolution *convolution)
{
    struct fc_planes_plan plan;
    char *scratch;
    if (!fc_plan_planes(convolution, &plan))
        return FC_OVERFLOW;
    const fc_status status =
        fc_workspace_divide(plan.weight_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;
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
