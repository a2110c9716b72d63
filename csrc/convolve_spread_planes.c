/* convolve_spread_planes.c: all rows of taps of a kernel as planes, with pixels in the lanes.
 *
 * With 1 output and 5x5 taps, a tile of convolve_planes.c would load a vector for each multiply-add. Here
 * the rows of taps are outputs of their own:
 *     t[i, k][r, o] = sum over channels c and taps j of a row of x[c][r, o + before - j] * kernel[i, j, c, k]
 *     y[k][p, o] = sum over rows of taps i of t[i, k][p + before - i, o]
 * A number of x is loaded once for 6 of them, 24 multiply-adds for 4 loads, which may cross lines, and 6
 * broadcasts; t costs a store, a load and an addition for each kw * c_in multiply-adds. What that costs is
 * x in planes: where its channels lie together a quarter of a cycle a number to turn it.
 *
 * An item is a block of rows of y, done some rows at a time, as many as t fits in the second-level cache
 * for; those of t that the next ones read too are kept. The rows of x, copied a few at a time to stay in the
 * nearest cache, follow each other with zeros between them that the taps at the edges meet. The next ones
 * are asked for while tiles compute: there is as much to read as to compute.
 *
 * Each sum runs over blocks of channels that one chain sums, and within a block over channels and then taps;
 * then over the rows of x from the first on. */
#include <string.h>

#include "convolve_spread_plan.h"
#include "convolve_spread_planes_plan.h"
#include "dispatch.h"
#include "fetch_rows.h"
#include "parallel.h"
#include "workspace.h"

struct job {
    const struct fc_spread *spread;
    const struct fc_spread_planes_plan *plan;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *weights, *scratch;
    ptrdiff_t offset[FC_BLOCK_TERMS]; /* of terms */
};

/* ----------------------------------------------------------------- scratch */

/* [row of taps, output][channel][tap of the row]; a packed kernel has its taps in reverse. */
static void pack_weights(const struct job *job)
{
    const struct fc_spread *spread = job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t taps = kernel->kh * kernel->kw;
    const int64_t most = spread->packed ? FC_SLAB : kernel->c_in;
    for (int64_t c = 0; c < kernel->c_in; c += most)
        for (int64_t tap = 0; tap < taps; tap++) {
            const int64_t i = tap / kernel->kw, j = tap % kernel->kw;
            struct fc_block block = {
                .x = (const char *)kernel->data +
                     (i * kernel->stride_kh + j * kernel->stride_kw + c * kernel->stride_c_in) *
                         job->element,
                .y = job->weights +
                     ((i * kernel->c_out * kernel->c_in + c) * kernel->kw + j) * job->element,
                .x_pixel = kernel->stride_c_in,
                .x_channel = kernel->stride_c_out,
                .y_pixel = kernel->kw,
                .y_channel = kernel->c_in * kernel->kw,
                .pixels = fc_min(most, kernel->c_in - c),
                .channels = kernel->c_out,
            };
            if (spread->packed) {
                block.x =
                    (const char *)spread->packed +
                    (c * taps + (taps - 1 - tap) * block.pixels) * job->plan->unit * job->element;
                block.x_pixel = job->plan->unit;
                block.x_channel = 1;
            }
            job->kernels->conv2d.copy_block(&block);
        }
}

/* The weights, and the zeros between rows of x, which no item changes. */
static void prepare(void *context, int64_t item, int worker)
{
    (void)item;
    (void)worker;
    const struct job *job = context;
    pack_weights(job);
    for (int w = 0; w < job->plan->workers; w++)
        memset(job->scratch + (size_t)w * job->plan->worker_bytes, 0, job->plan->x_bytes);
}

/* Tiles of all outputs. */
static int64_t tiles_of(const struct job *job)
{
    return fc_ceil_div(job->plan->columns, job->kernels->few.plane_outputs);
}

static int64_t pixels_of_tile(const struct job *job)
{
    return job->kernels->few.plane_units * job->plan->unit;
}

/* Terms are channels and then taps. */
static void list_terms(struct job *job)
{
    const struct fc_spread_planes_plan *plan = job->plan;
    const int64_t kw = job->spread->kernel.kw;
    for (int64_t c = 0; c < plan->block; c++)
        for (int64_t j = 0; j < kw; j++)
            job->offset[c * kw + j] = c * plan->x_plane - j;
}

/* ------------------------------------------------------------------- items */

/* Of x. */
struct rows {
    int64_t first, count;
};

/* One item, and its worker's scratch. Rows [row, end) of y are at work, for which row 0 of t is that of row
 * `first` of x, and rows [begin, stop) of x are new. */
struct item {
    const struct job *job;
    int64_t n, row, end, first, begin, stop;
    char *x, *t, *line;
};

static char *row_of(const struct item *item, const fc_image *image, int64_t row)
{
    return (char *)image->data +
           (item->n * image->stride_n + row * image->stride_h) * item->job->element;
}

/* Channels [c, c + count) of some rows of x, to planes: of planes one after the other, else row
 * by row. */
static void pack_x(const struct item *item, const struct rows *rows, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct fc_spread_planes_plan *plan = job->plan;
    const fc_image *x = &job->spread->x;
    const bool planes = x->stride_w == 1;
    for (int64_t i = 0; i < (planes ? count : rows->count); i++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = row_of(item, x, rows->first) +
                 (c * x->stride_c + i * (planes ? x->stride_c : x->stride_h)) * job->element,
            .y =
                item->x + (plan->zeros + i * (planes ? plan->x_plane : plan->pitch)) * job->element,
            .x_pixel = x->stride_w,
            .x_channel = planes ? x->stride_h : x->stride_c,
            .y_pixel = 1,
            .y_channel = planes ? plan->pitch : plan->x_plane,
            .pixels = x->w,
            .channels = planes ? rows->count : count,
        });
}

/* Those channels of the rows after these, or of as many of the next image: of planes each is a row of
 * memory, else all are one. Nothing else keeps the memory busy while tiles compute. */
static struct fc_later_rows find_later(const struct item *item, const struct rows *rows, int64_t c,
                                       int64_t count, int64_t tiles)
{
    const fc_image *x = &item->job->spread->x;
    const ptrdiff_t element = item->job->element;
    const int64_t end = rows->first + rows->count;
    const char *next = NULL;
    if (end < x->h)
        next = row_of(item, x, end);
    else if (item->n + 1 < x->n)
        next = row_of(item, x, 0) + x->stride_n * element;
    if (!next)
        return (struct fc_later_rows){0};
    const int64_t numbers = rows->count * x->w;
    if (x->stride_w == 1)
        return fc_plan_later_rows(next + c * x->stride_c * element, x->stride_c * element, count,
                                  numbers * element, tiles);
    return fc_plan_later_rows(next + c * numbers * element, 0, 1, numbers * count * element, tiles);
}

/* What channels [c, c + count) of some rows of x add to t. */
static void multiply(const struct item *item, const struct rows *rows, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct fc_spread_planes_plan *plan = job->plan;
    const struct fc_spread *spread = job->spread;
    const int64_t kw = spread->kernel.kw, c_in = spread->kernel.c_in;
    const int64_t length = (rows->count - 1) * plan->pitch + spread->y.w;
    const int64_t most = pixels_of_tile(job), stretches = fc_ceil_div(length, most);
    const int64_t tiles = tiles_of(job);
    const char *x = item->x + (plan->zeros + spread->before[1]) * job->element;
    struct fc_later_rows later = find_later(item, rows, c, count, stretches * tiles);
    char *t = item->t + (rows->first - item->first) * plan->pitch * job->element;
    struct fc_plane_tile tile = {
        .offset = job->offset,
        .terms = count * kw,
        .weight_step = c_in * kw,
        .partial_step = plan->t_plane,
        .y_step = plan->t_plane,
    };
    for (int64_t s = 0; s < stretches; s++) {
        tile.pixels = (int)fc_min(length - s * most, most);
        tile.units = (int)fc_ceil_div(tile.pixels, plan->unit);
        tile.x = x + s * most * job->element;
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t q = plan->columns * i / tiles;
            tile.outputs = (int)(plan->columns * (i + 1) / tiles - q);
            tile.weights = job->weights + (q * c_in + c) * kw * job->element;
            tile.y = t + (q * plan->t_plane + s * most) * job->element;
            tile.partial = c ? tile.y : NULL;
            tile.ahead = fc_take_later_rows(&later, tile.terms);
            job->kernels->few.plane_tile(&tile);
        }
    }
}

/* The line's planes of sums to row `row` of y. */
static void finish_line(const struct item *item, int64_t row)
{
    const struct job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const fc_image *y = &spread->y, *residual = &spread->residual;
    const bool dense = y->c > 1 && y->stride_c == 1 && y->stride_w == y->c &&
                       y->c <= FC_FEW_OUTPUTS && !residual->data;
    void (*finish)(const struct fc_finish *) =
        dense ? job->kernels->few.finish_planes : job->kernels->conv2d.finish_block;
    finish(&(struct fc_finish){
        .block = {.x = item->line,
                  .y = row_of(item, y, row),
                  .x_pixel = 1,
                  .x_channel = job->plan->line,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = y->w,
                  .channels = y->c},
        .bias = spread->bias,
        .residual = residual->data ? row_of(item, residual, row) : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = spread->activation,
    });
}

static void add_rows(const struct item *item, int64_t row)
{
    const struct job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const struct fc_spread_planes_plan *plan = job->plan;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const fc_image *y = &spread->y;
    const bool plain = y->stride_w == 1 && !spread->bias && !spread->residual.data &&
                       spread->activation == FC_LINEAR;
    const int64_t first = row + spread->before[0] - (kernel->kh - 1);
    const int64_t begin = fc_min(fc_max(first, 0), first + kernel->kh);
    const int64_t end = fc_max(fc_min(first + kernel->kh, spread->x.h), begin);
    ptrdiff_t offset[FC_MOST_SPREAD_TAPS];
    for (int64_t r = begin; r < end; r++)
        offset[r - begin] = (first + kernel->kh - 1 - r) * kernel->c_out * plan->t_plane +
                            (r - item->first) * plan->pitch;
    struct fc_shifted_sums sums = {.offset = offset, .terms = end - begin, .pixels = y->w};
    for (int64_t k = 0; k < kernel->c_out; k++) {
        sums.x = item->t + k * plan->t_plane * job->element;
        sums.y = plain ? row_of(item, y, row) + k * y->stride_c * job->element
                       : item->line + k * plan->line * job->element;
        job->kernels->few.shifted_sums(&sums);
    }
    if (!plain)
        finish_line(item, row);
}

/* Moves the rows of t that the next rows of y read too to where they look for them. */
static void keep_rows(const struct item *item)
{
    const struct fc_spread_planes_plan *plan = item->job->plan;
    const ptrdiff_t element = item->job->element;
    const int64_t rows = item->job->spread->kernel.kh - 1;
    for (int64_t q = 0; q < plan->columns; q++) {
        char *t = item->t + q * plan->t_plane * element;
        memmove(t, t + plan->rows * plan->pitch * element, (size_t)(rows * plan->pitch * element));
    }
}

/* Rows [row, end) of y, whose first ones have kept rows of t unless they are the item's first. */
static void compute_rows(struct item *item, bool kept)
{
    const struct fc_spread_planes_plan *plan = item->job->plan;
    const struct fc_spread *spread = item->job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    if (kept)
        keep_rows(item);
    item->first = item->row + spread->before[0] - (kernel->kh - 1);
    item->begin = fc_max(item->first + (kept ? kernel->kh - 1 : 0), 0);
    item->stop = fc_min(item->end + spread->before[0], spread->x.h);
    for (struct rows rows = {.first = item->begin}; rows.first < item->stop;
         rows.first += rows.count) {
        rows.count = fc_min(plan->x_rows, item->stop - rows.first);
        for (int64_t c = 0; c < kernel->c_in; c += plan->block) {
            const int64_t count = fc_min(plan->block, kernel->c_in - c);
            pack_x(item, &rows, c, count);
            multiply(item, &rows, c, count);
        }
    }
    for (int64_t row = item->row; row < item->end; row++)
        add_rows(item, row);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct fc_spread_planes_plan *plan = job->plan;
    struct item item = {.job = job, .n = index / plan->row_blocks};
    item.x = job->scratch + (size_t)worker * plan->worker_bytes;
    item.t = item.x + plan->x_bytes;
    item.line = item.t + plan->t_bytes;
    const int64_t begin = index % plan->row_blocks * plan->height;
    const int64_t end = fc_min(begin + plan->height, job->spread->y.h);
    for (item.row = begin; item.row < end; item.row = item.end) {
        item.end = fc_min(item.row + plan->rows, end);
        compute_rows(&item, item.row > begin);
    }
}

fc_status fc_spread_planes(const struct fc_spread *spread)
{
    struct fc_spread_planes_plan plan;
    char *scratch;
    fc_plan_spread_planes(spread, &plan);
    const fc_status status =
        fc_workspace_divide(plan.weight_bytes, plan.worker_bytes, plan.workers, &scratch);
    if (status != FC_OK)
        return status;
    struct job job = {
        .spread = spread,
        .plan = &plan,
        .kernels = fc_current_kernels(spread->dtype),
        .element = (ptrdiff_t)fc_element_size(spread->dtype),
        .weights = scratch,
        .scratch = scratch + plan.weight_bytes,
    };
    list_terms(&job);
    fc_parallel_for(1, 1, FC_KEEP_DENORMALS, prepare, &job);
    fc_parallel_for(plan.items, plan.workers, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
