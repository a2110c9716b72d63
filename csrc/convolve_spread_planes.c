/* convolve_spread_planes.c: all taps of a kernel as planes, with pixels in the lanes.
 *
 * The sums of convolve_spread.c, term by term in the same order. There 9 taps of one output fill 9 of 16
 * lanes, and the second sum spends a vector on each output; with pixels in the lanes all are full, and a
 * tap is a shift:
 *     t[i, k][r] = sum over channels c of x[c][r] * kernel[i, c, k]      for the pixels r of x
 *     y[k][o] = sum over taps i of t[i, k][o + before - i]
 * A number of x is loaded once for 6 taps, 24 multiply-adds for 10 loads, and an addition of the second
 * sum makes 16 outputs. What that costs is x in planes: where its channels lie together a quarter of a
 * cycle a number to turn it. 1 output of 32 channels, 3x3 and 28x28, from planes: 1.05 ms for 128 images,
 * half of it to copy x from memory, where convolve_spread.c takes 1.8; from pixels 1.15, not 1.45.
 *
 * An item is a block of rows of y. The rows of x that it reads follow each other, with zeros between
 * them that the taps at the edges meet; those that two blocks read are multiplied twice, so that large
 * images, of which few rows fit into the second-level cache, are left to convolve_spread.c. */
#include <string.h>

#include "convolve_spread_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 256 * 1024, /* of t, to stay in the second-level cache, */
    X_BYTES = 512 * 1024,       /* and of x */
    MOST_COLUMNS = 48,          /* with 150, 6 outputs of 25 taps, it took a third longer */
    FEWEST_ROWS = 8,            /* of y, for each row that is multiplied twice */
    ITEMS = 4                   /* for each thread */
};

struct plan {
    int64_t unit, columns, block; /* taps * outputs; channels of a chain */
    int64_t zeros, pitch;         /* between rows, and from row to row */
    int64_t height, row_blocks;   /* rows of y in an item, and items of an image */
    int64_t plane;                /* of x and of t */
    size_t weight_bytes, x_bytes, t_bytes, line_bytes, worker_bytes;
    int64_t items;
    int workers;
};

struct job {
    const struct fc_spread *spread;
    const struct plan *plan;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *weights, *scratch;
};

static int64_t whole_units(int64_t count, int64_t unit) { return fc_ceil_div(count, unit) * unit; }

/* -------------------------------------------------------------------- plan */

/* Between rows: as many zeros as the taps beyond an edge read. */
static int64_t zeros_of(const struct fc_spread *spread)
{
    const int64_t left = spread->kernel.kw - 1 - spread->before[1];
    return fc_max(fc_max(left, spread->y.w - spread->x.w + spread->before[1]), 0);
}

/* Rows of y for which t and x fit. */
static int64_t rows_that_fit(const struct fc_spread *spread)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t pitch =
        (spread->x.w + zeros_of(spread)) * (int64_t)fc_element_size(spread->dtype);
    const int64_t t = SCRATCH_BYTES / (kernel->kh * kernel->kw * kernel->c_out * pitch);
    const int64_t x = X_BYTES / (fc_min(kernel->c_in, FC_BLOCK_TERMS) * pitch);
    return fc_min(t, x) - (kernel->kh - 1);
}

bool fc_fits_spread_planes(const struct fc_spread *spread)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    if (spread->stride[0] * spread->stride[1] != 1 || spread->x.w < 1 ||
        spread->x.w > SCRATCH_BYTES || zeros_of(spread) > SCRATCH_BYTES ||
        kernel->kh * kernel->kw * kernel->c_out > MOST_COLUMNS)
        return false;
    const int64_t least = fc_min(spread->y.h, FEWEST_ROWS * (kernel->kh - 1));
    return rows_that_fit(spread) >= fc_max(least, 1);
}

static void make_plan(const struct fc_spread *spread, struct plan *plan)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const fc_image *y = &spread->y;
    const int64_t element = (int64_t)fc_element_size(spread->dtype);
    plan->unit = FC_UNIT_BYTES / element;
    plan->columns = kernel->kh * kernel->kw * kernel->c_out;
    plan->block = fc_min(FC_BLOCK_TERMS, kernel->c_in);
    plan->zeros = zeros_of(spread);
    plan->pitch = spread->x.w + plan->zeros;

    const double work = 2.0 * (double)(y->n * spread->x.h * spread->x.w) * (double)kernel->c_in *
                        (double)plan->columns;
    const int64_t most_blocks = fc_max(y->h / (FEWEST_ROWS * kernel->kh), 1);
    plan->workers = fc_parallel_width(y->n * most_blocks, work);
    const int64_t wanted = plan->workers > 1 ? fc_ceil_div(ITEMS * plan->workers, y->n) : 1;
    plan->height = fc_min(fc_ceil_div(y->h, fc_min(wanted, most_blocks)), rows_that_fit(spread));
    plan->row_blocks = fc_ceil_div(y->h, plan->height);
    plan->items = y->n * plan->row_blocks;

    const int64_t rows = plan->height + kernel->kh - 1;
    plan->plane = whole_units(plan->zeros + rows * plan->pitch, plan->unit);
    plan->weight_bytes = fc_round_to_line((size_t)(plan->columns * kernel->c_in * element));
    /* Tiles and sums read up to FC_SUM_UNITS beyond what they need. */
    const int64_t beyond = FC_SUM_UNITS * plan->unit;
    plan->x_bytes = (size_t)((plan->block * plan->plane + beyond) * element);
    plan->t_bytes = (size_t)((plan->columns * plan->plane + beyond) * element);
    plan->line_bytes = (size_t)(kernel->c_out * whole_units(y->w, plan->unit) * element);
    plan->worker_bytes = plan->x_bytes + plan->t_bytes + plan->line_bytes;
}

/* ----------------------------------------------------------------- scratch */

/* [tap, output][channel]; a packed kernel has its taps in reverse. */
static void pack_weights(const struct job *job)
{
    const struct fc_spread *spread = job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t taps = kernel->kh * kernel->kw;
    const int64_t most = spread->packed ? FC_SLAB : kernel->c_in;
    for (int64_t c = 0; c < kernel->c_in; c += most)
        for (int64_t tap = 0; tap < taps; tap++) {
            struct fc_block block = {
                .x = (const char *)kernel->data +
                     (tap / kernel->kw * kernel->stride_kh + tap % kernel->kw * kernel->stride_kw +
                      c * kernel->stride_c_in) *
                         job->element,
                .y = job->weights + (tap * kernel->c_out * kernel->c_in + c) * job->element,
                .x_pixel = kernel->stride_c_in,
                .x_channel = kernel->stride_c_out,
                .y_pixel = 1,
                .y_channel = kernel->c_in,
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

/* ------------------------------------------------------------------- items */

/* One item, and its worker's scratch: rows [begin, end) of x, and those of y from `row` on. */
struct item {
    const struct job *job;
    int64_t n, row, rows, begin, end;
    char *x, *t, *line;
};

static char *row_of(const struct item *item, const fc_image *image, int64_t row)
{
    return (char *)image->data +
           (item->n * image->stride_n + row * image->stride_h) * item->job->element;
}

/* Channels [c, c + count) of x, to planes: of planes one after the other, else row by row. */
static void pack_x(const struct item *item, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const fc_image *x = &job->spread->x;
    const int64_t rows = item->end - item->begin;
    const bool planes = x->stride_w == 1;
    for (int64_t i = 0; i < (planes ? count : rows); i++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = row_of(item, x, item->begin) +
                 (c * x->stride_c + i * (planes ? x->stride_c : x->stride_h)) * job->element,
            .y = item->x + (plan->zeros + i * (planes ? plan->plane : plan->pitch)) * job->element,
            .x_pixel = x->stride_w,
            .x_channel = planes ? x->stride_h : x->stride_c,
            .y_pixel = 1,
            .y_channel = planes ? plan->pitch : plan->plane,
            .pixels = x->w,
            .channels = planes ? rows : count,
        });
}

/* The x of the image after this one, piece i of `pieces`: nothing else keeps the memory busy while tiles
 * compute. */
static void fetch_next(const struct item *item, int64_t i, int64_t pieces)
{
    const fc_image *x = &item->job->spread->x;
    const int64_t all = x->h * x->w * x->c * item->job->element;
    if (item->n + 1 >= x->n || x->stride_n != x->h * x->w * x->c)
        return;
    const char *at = (const char *)x->data + (item->n + 1) * all;
    for (int64_t byte = all * i / pieces; byte < all * (i + 1) / pieces; byte += FC_CACHE_LINE)
        __builtin_prefetch(at + byte, 0, 2);
}

/* What channels [c, c + count) add to t. */
static void multiply(const struct item *item, int64_t c, int64_t count)
{
    const struct job *job = item->job;
    const struct plan *plan = job->plan;
    const struct fc_few_kernels *few = &job->kernels->few;
    const int64_t c_in = job->spread->kernel.c_in;
    const int64_t length = plan->zeros + (item->end - item->begin) * plan->pitch;
    const int64_t most = few->plane_units * plan->unit, stretches = fc_ceil_div(length, most);
    const int64_t tiles = fc_ceil_div(plan->columns, few->plane_outputs);
    ptrdiff_t offset[FC_BLOCK_TERMS];
    for (int64_t i = 0; i < count; i++)
        offset[i] = i * plan->plane;
    struct fc_plane_tile tile = {
        .offset = offset,
        .terms = count,
        .weight_step = c_in,
        .partial_step = plan->plane,
        .y_step = plan->plane,
    };
    for (int64_t s = 0; s < stretches; s++) {
        if (c == 0 && item->row == 0)
            fetch_next(item, s, stretches);
        tile.pixels = (int)fc_min(length - s * most, most);
        tile.units = (int)fc_ceil_div(tile.pixels, plan->unit);
        tile.x = item->x + s * most * job->element;
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t q = plan->columns * i / tiles;
            tile.outputs = (int)(plan->columns * (i + 1) / tiles - q);
            tile.weights = job->weights + (q * c_in + c) * job->element;
            tile.y = item->t + (q * plan->plane + s * most) * job->element;
            tile.partial = c ? tile.y : NULL;
            few->plane_tile(&tile);
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
                  .x_channel = whole_units(y->w, job->plan->unit),
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

/* Where the terms of a row of y are found, from the first that it would have in the first row of x. */
static void list_terms(const struct job *job, ptrdiff_t *offset)
{
    const struct fc_kernel_view *kernel = &job->spread->kernel;
    for (int64_t i = kernel->kh - 1; i >= 0; i--)
        for (int64_t j = 0; j < kernel->kw; j++)
            *offset++ = (i * kernel->kw + j) * kernel->c_out * job->plan->plane +
                        (kernel->kh - 1 - i) * job->plan->pitch - j;
}

static void add_taps(const struct item *item, int64_t row, const ptrdiff_t *offset)
{
    const struct job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const struct plan *plan = job->plan;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const fc_image *y = &spread->y;
    const bool plain = y->stride_w == 1 && !spread->bias && !spread->residual.data &&
                       spread->activation == FC_LINEAR;
    const int64_t first = row + spread->before[0] - (kernel->kh - 1);
    const int64_t skipped = fc_min(fc_max(item->begin - first, 0), kernel->kh);
    const int64_t rows = fc_max(fc_min(item->end - first, kernel->kh) - skipped, 0);
    struct fc_shifted_sums sums = {
        .offset = offset + skipped * kernel->kw, .terms = rows * kernel->kw, .pixels = y->w};
    const ptrdiff_t at = plan->zeros + (first - item->begin) * plan->pitch + spread->before[1];
    for (int64_t k = 0; k < kernel->c_out; k++) {
        sums.x = item->t + (at + k * plan->plane) * job->element;
        sums.y = plain ? row_of(item, y, row) + k * y->stride_c * job->element
                       : item->line + k * whole_units(y->w, plan->unit) * job->element;
        job->kernels->few.shifted_sums(&sums);
    }
    if (!plain)
        finish_line(item, row);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct fc_spread *spread = job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    ptrdiff_t offset[FC_MOST_SPREAD_TAPS * FC_MOST_SPREAD_TAPS];
    struct item item = {.job = job, .n = index / plan->row_blocks};
    item.x = job->scratch + (size_t)worker * plan->worker_bytes;
    item.t = item.x + plan->x_bytes;
    item.line = item.t + plan->t_bytes;
    item.row = index % plan->row_blocks * plan->height;
    const int64_t end = fc_min(item.row + plan->height, spread->y.h);
    item.begin = fc_max(item.row + spread->before[0] - (kernel->kh - 1), 0);
    item.end = fc_max(fc_min(end + spread->before[0], spread->x.h), item.begin);
    for (int64_t c = 0; c < kernel->c_in && item.begin < item.end; c += plan->block) {
        const int64_t count = fc_min(plan->block, kernel->c_in - c);
        pack_x(&item, c, count);
        multiply(&item, c, count);
    }
    list_terms(job, offset);
    for (int64_t row = item.row; row < end; row++)
        add_taps(&item, row, offset);
}

fc_status fc_spread_planes(const struct fc_spread *spread)
{
    struct plan plan;
    size_t total;
    make_plan(spread, &plan);
    if (__builtin_mul_overflow(plan.worker_bytes, (size_t)plan.workers, &total) ||
        __builtin_add_overflow(total, plan.weight_bytes, &total))
        return FC_OVERFLOW;
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;
    struct job job = {
        .spread = spread,
        .plan = &plan,
        .kernels = fc_current_kernels(spread->dtype),
        .element = (ptrdiff_t)fc_element_size(spread->dtype),
        .weights = scratch,
        .scratch = scratch + plan.weight_bytes,
    };
    fc_parallel_for(1, 1, FC_KEEP_DENORMALS, prepare, &job);
    fc_parallel_for(plan.items, plan.workers, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
