/* convolve_spread.c: convolutions of few outputs, with all taps of a kernel in the lanes.
 *
 * With 3 outputs 13 of 16 lanes would idle; 49 taps make them 147 of 160:
 *     t[r][i, k] = sum over channels c of x[r, c] * kernel[i, c, k]       for each pixel r of x
 *     y[o, k] = sum over the pixels r and taps i with r * stride + i - before = o of t[r][i, k]
 * The first sum is a matrix product over pixels as they lie in memory, at any stride, without padding.
 * For the second, `stride` pixels of a row of y count as one, whose outputs lie together and meet those
 * of stride taps of t, which do so too: 4 rows x 4 loads and additions for 6 outputs of a 7x7 kernel at
 * stride 2 with 3 outputs, beside the 64 x 10 multiply-adds, which are 320 cycles, for 12 outputs.
 *
 * An item is a block of rows and columns of y. It keeps the rows of t that a row of y reads, in a ring,
 * with zeros for the pixels beyond the image.
 *
 * Each sum runs over blocks of channels that one chain sums, then over the rows of x from the first on,
 * and within a row over the taps from the first on. */
#include "convolve_spread.h"

#include <string.h>

#include "convolve_spread_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

struct job {
    const struct fc_spread *spread;
    const struct fc_spread_plan *plan;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *weights, *scratch;
};

/* ------------------------------------------------------------------ kernel */

/* Channels [c, c + count) of tap (i, j), to [panel][channel][column]. */
static void pack_tap(const struct job *job, int64_t i, int64_t j, int64_t c, int64_t count)
{
    const struct fc_spread *spread = job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const struct fc_spread_plan *plan = job->plan;
    const int64_t tap = i * kernel->kw + j, taps = kernel->kh * kernel->kw;
    struct fc_block block = {
        .x = (const char *)kernel->data +
             (i * kernel->stride_kh + j * kernel->stride_kw + c * kernel->stride_c_in) *
                 job->element,
        .x_pixel = kernel->stride_c_in,
        .x_channel = kernel->stride_c_out,
        .y_channel = 1,
        .pixels = count,
    };
    if (spread->packed) {
        block.x = (const char *)spread->packed +
                  (c * taps + (taps - 1 - tap) * count) * plan->unit * job->element;
        block.x_pixel = plan->unit;
        block.x_channel = 1;
    }
    for (int64_t done = 0; done < kernel->c_out; done += block.channels) {
        const int64_t column = tap * kernel->c_out + done, p = column / plan->panel;
        const int64_t from = column % plan->panel;
        block.y_pixel = fc_min(plan->panel, plan->columns - p * plan->panel);
        block.channels = fc_min(block.y_pixel - from, kernel->c_out - done);
        block.y = job->weights +
                  (p * plan->panel * kernel->c_in + c * block.y_pixel + from) * job->element;
        job->kernels->conv2d.copy_block(&block);
        block.x = (const char *)block.x + block.channels * block.x_channel * job->element;
    }
}

static void pack_weights(void *context, int64_t item, int worker)
{
    (void)item;
    (void)worker;
    const struct job *job = context;
    const struct fc_kernel_view *kernel = &job->spread->kernel;
    memset(job->weights, 0, job->plan->weight_bytes);
    const int64_t most = job->spread->packed ? FC_SLAB : kernel->c_in;
    for (int64_t c = 0; c < kernel->c_in; c += most)
        for (int64_t i = 0; i < kernel->kh; i++)
            for (int64_t j = 0; j < kernel->kw; j++)
                pack_tap(job, i, j, c, fc_min(most, kernel->c_in - c));
}

/* ------------------------------------------------------------------- items */

/* One item, and its worker's scratch. Pixel 0 of a row of t is pixel `column` of x, and of those
 * [begin, end) lie in the image. */
struct item {
    const struct job *job;
    int64_t n, group, groups;
    int64_t column, begin, end;
    int64_t next; /* the first row of x that is not in the ring yet */
    char *t, *x, *line;
};

static char *row_of_t(const struct item *item, int64_t r)
{
    const struct fc_spread_plan *plan = item->job->plan;
    return item->t + r % plan->reach[0] * plan->pitch * item->job->element;
}

static char *pixel_of(const struct item *item, const fc_image *image, int64_t row, int64_t column)
{
    return fc_image_at(image, item->job->element, item->n, row, column, 0);
}

/* Finds row r of x, and turns it unless channels lie together. */
static const char *find_row(const struct item *item, int64_t r, ptrdiff_t *step)
{
    const struct job *job = item->job;
    const fc_image *x = &job->spread->x;
    const char *row = fc_image_at(x, job->element, item->n, r, item->column + item->begin, 0);
    *step = x->stride_w;
    if (x->stride_c == 1)
        return row;
    job->kernels->conv2d.copy_block(&(struct fc_block){
        .x = row,
        .y = item->x,
        .x_pixel = x->stride_w,
        .x_channel = x->stride_c,
        .y_pixel = x->c,
        .y_channel = 1,
        .pixels = item->end - item->begin,
        .channels = x->c,
    });
    *step = x->c;
    return item->x;
}

/* Channels of a run: few, so that something can be fetched at each. */
static int64_t run_length(int64_t channels)
{
    for (int64_t length = FC_SLAB; length >= FC_SLAB / 2; length--)
        if (channels % length == 0)
            return length;
    return channels;
}

/* The next row of x, a tile's share of it at each tile of the first panel: pixels far apart in a tile,
 * and planes, are no streams that the processor knows. Without it VGG's first input gradient takes
 * twice as long. p counts from the first pixel in the image. */
static struct fc_fetch fetch_next(const struct item *item, int64_t r, int64_t p, int64_t pixels,
                                  int64_t runs)
{
    const fc_image *x = &item->job->spread->x;
    const ptrdiff_t element = item->job->element;
    const bool dense = fc_pixels_together(x);
    if (r + 1 >= x->h || !(dense || x->stride_w == 1))
        return (struct fc_fetch){.lines = 0};
    return (struct fc_fetch){
        .at = pixel_of(item, x, r + 1, item->column + item->begin + p),
        .step = dense ? FC_CACHE_LINE : x->stride_c * element,
        .lines = dense ? fc_ceil_div(pixels * x->c * element, FC_CACHE_LINE * runs)
                       : fc_ceil_div(x->c, runs),
    };
}

/* Row r of t: panel by panel, each for all pixels, so that its kernel is read from the first-level
 * cache. */
static void multiply_row(const struct item *item, int64_t r)
{
    const struct job *job = item->job;
    const struct fc_spread_plan *plan = job->plan;
    const struct fc_conv2d_kernels *kernels = &job->kernels->conv2d;
    const int64_t c_in = job->spread->kernel.c_in, pixels = item->end - item->begin;
    const int64_t tiles = fc_ceil_div(pixels, kernels->tile_pixels);
    ptrdiff_t offset[FC_BLOCK_TERMS], kernel_offset[FC_BLOCK_TERMS];
    struct fc_chain chain;
    struct fc_tile tile = {
        .runs = {.offset = offset, .kernel_offset = kernel_offset},
        .chains = &chain,
        .chain_count = 1,
        .partial_step = plan->columns,
        .y_step = plan->columns,
    };
    const char *x = find_row(item, r, &tile.runs.step);
    char *t = row_of_t(item, r) + item->begin * plan->columns * job->element;
    for (int64_t k = 0; k < plan->columns; k += tile.columns) {
        const int64_t panel = k - k % plan->panel;
        tile.kernel_step = fc_min(plan->panel, plan->columns - panel);
        tile.units = (int)fc_min((panel + tile.kernel_step - k) / plan->unit, kernels->tile_units);
        tile.columns = tile.units * (int)plan->unit;
        for (int64_t c = 0; c < c_in; c += FC_BLOCK_TERMS) {
            const int64_t count = fc_min(FC_BLOCK_TERMS, c_in - c);
            chain.length = run_length(count);
            chain.end = tile.runs.count = count / chain.length;
            for (int64_t run = 0; run < chain.end; run++) {
                offset[run] = run * chain.length;
                kernel_offset[run] = offset[run] * tile.kernel_step;
            }
            tile.kernel =
                job->weights + (panel * c_in + c * tile.kernel_step + k - panel) * job->element;
            for (int64_t i = 0; i < tiles; i++) {
                const int64_t p = pixels * i / tiles;
                tile.pixels = (int)(pixels * (i + 1) / tiles - p);
                tile.x = x + (p * tile.runs.step + c) * job->element;
                tile.y = t + (p * plan->columns + k) * job->element;
                tile.partial = c ? tile.y : NULL;
                tile.ahead[0] = k + c ? (struct fc_fetch){.lines = 0}
                                      : fetch_next(item, r, p, tile.pixels, tile.runs.count);
                kernels->conv_tile(&tile);
            }
        }
    }
}

/* The line's sums to row `row` of y. */
static void finish_row(const struct item *item, int64_t row)
{
    const struct job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const fc_image *y = &spread->y, *residual = &spread->residual;
    const int64_t begin = item->group * spread->stride[1] - spread->before[1];
    const int64_t end = fc_min(begin + item->groups * spread->stride[1], y->w);
    const int64_t column = fc_max(begin, 0);
    const char *line = item->line + (column - begin) * y->c * job->element;
    char *to = pixel_of(item, y, row, column);
    if (fc_pixels_together(y) && !spread->bias && !residual->data &&
        spread->activation == FC_LINEAR) {
        memcpy(to, line, (size_t)((end - column) * y->c * job->element));
        return;
    }
    job->kernels->conv2d.finish_block(&(struct fc_finish){
        .block = {.x = line,
                  .y = to,
                  .x_pixel = y->c,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = end - column,
                  .channels = y->c},
        .bias = spread->bias,
        .residual = residual->data ? pixel_of(item, residual, row, column) : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = spread->activation,
    });
}

static void compute_row(struct item *item, int64_t row)
{
    const struct job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const struct fc_spread_plan *plan = job->plan;
    const int64_t stride = spread->stride[0], at = row + spread->before[0];
    const int64_t first = fc_max(fc_ceil_div(at - kernel->kh + 1, stride), 0);
    const int64_t end = fc_min(fc_floor_div(at, stride) + 1, spread->x.h);
    const int64_t group = spread->stride[1] * kernel->c_out;
    ptrdiff_t rows[FC_MOST_SPREAD_TAPS];
    for (item->next = fc_max(item->next, first); item->next < end; item->next++)
        multiply_row(item, item->next);
    for (int64_t r = first; r < end; r++)
        rows[r - first] = (row_of_t(item, r) - item->t) / job->element +
                          (at - r * stride) * kernel->kw * kernel->c_out;
    job->kernels->few.tap_sums(&(struct fc_tap_sums){
        .x = item->t + (plan->reach[1] - 1) * plan->columns * job->element,
        .y = item->line,
        .row = rows,
        .rows = fc_max(end - first, 0),
        .x_pixel = plan->columns,
        .pixels = item->groups,
        .taps = plan->reach[1],
        .outputs = group,
        .last = kernel->kw * kernel->c_out - (plan->reach[1] - 1) * group,
    });
    finish_row(item, row);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct fc_spread_plan *plan = job->plan;
    const struct fc_spread *spread = job->spread;
    char *scratch = job->scratch + (size_t)worker * plan->worker_bytes;
    struct item item = {.job = job, .t = scratch};
    item.x = scratch + fc_round_to_line(plan->t_bytes);
    item.line = item.x + plan->x_bytes;
    item.group = plan->first + index % plan->blocks * plan->width;
    item.groups = fc_min(plan->width, plan->first + plan->groups - item.group);
    index /= plan->blocks;
    item.n = index / plan->row_blocks;
    const int64_t row = index % plan->row_blocks * plan->height;
    if (item.groups <= 0)
        return;
    item.column = item.group - (plan->reach[1] - 1);
    item.begin = fc_min(fc_max(-item.column, 0), item.groups + plan->reach[1] - 1);
    item.end =
        fc_max(fc_min(spread->x.w - item.column, item.groups + plan->reach[1] - 1), item.begin);
    for (int64_t r = 0; r < plan->reach[0]; r++) {
        char *t = row_of_t(&item, r);
        memset(t, 0, (size_t)(item.begin * plan->columns * job->element));
        memset(t + item.end * plan->columns * job->element, 0,
               (size_t)((plan->pitch - item.end * plan->columns) * job->element));
    }
    for (int64_t r = row; r < fc_min(row + plan->height, spread->y.h); r++)
        compute_row(&item, r);
}

fc_status fc_spread(const struct fc_spread *spread)
{
    struct fc_spread_plan plan;
    char *scratch;
    if (spread->y.n * spread->y.h * spread->y.w * spread->y.c == 0)
        return FC_OK;
    if (fc_chains_rows(spread) || fc_prefers_planes(spread))
        return fc_spread_planes(spread);
    if (!fc_plan_spread(spread, &plan))
        return FC_OVERFLOW;
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
    fc_parallel_for(1, 1, FC_KEEP_DENORMALS, pack_weights, &job);
    fc_parallel_for(plan.items, plan.workers, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
