/* convolve_pointwise.c: 1x1 from planes to planes, with pixels in the lanes.
 *
 * A product of two matrices, y = weights x, whose rows lie together in memory: neither x nor y need be
 * turned, as panels with outputs in the lanes would have them. A tile is 6 outputs x 64 pixels
 * (kernels/planes.inc.h), 4 loads and 6 broadcasts beside 24 multiply-adds in 12 cycles.
 *
 * An item is some tiles of pixels of one image. A chain of 128 terms takes 32 KB of x for 64 pixels, which
 * all outputs read from the nearest cache, while their weights come by from the second-level cache, 3 KB
 * in 1536 cycles. Partial sums wait in y. Rows of x are planes apart, each in a page of its own and no
 * stream that the processor would follow: they are copied, and those of the next tile fetched while this
 * one's outputs are summed. Read in place they took 1.3 times as long (256 to 64 channels at 56x56).
 *
 * float32, one thread, 8 images: 64 to 256 channels at 56x56 take 5.9 ms, by panels 8.0; 728 to 728 at
 * 19x19 21.8, by panels 24.2. 7x7 planes fill 49 of 64 lanes, and panels are faster. */
#include "convolve_pointwise.h"

#include <string.h>

#include "convolve_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    MOST_TILES = 4,      /* of pixels, in an item: they share what comes of the weights */
    Y_BYTES = 512 * 1024 /* of an item, to stay in the second-level cache with the weights */
};

struct job {
    const struct fc_convolution *convolution;
    const struct fc_conv2d_kernels *kernels;
    const struct fc_few_kernels *few;
    struct fc_channels channels;
    ptrdiff_t element;
    int64_t most;                     /* pixels of a tile */
    int64_t tiles, together, items;   /* tiles and items of an image, tiles of an item */
    ptrdiff_t offset[FC_BLOCK_TERMS]; /* where the terms of a chain lie in a copy */
    char *weights, *scratch;
    size_t worker_bytes;
};

bool fc_fits_pointwise(const struct fc_convolution *convolution)
{
    const fc_image *x = &convolution->x, *y = &convolution->y;
    const int64_t unit = FC_UNIT_BYTES / (int64_t)fc_element_size(convolution->dtype);
    return fc_is_dense(convolution) && convolution->kernel.groups == 1 &&
           convolution->kernel.c_in > 0 && !convolution->residual.data && x->stride_w == 1 &&
           y->stride_w == 1 && y->stride_c != 1 && y->h == 1 &&
           y->w / 7 >=
               (fc_ceil_div(y->w, unit) * unit - y->w); /* seven of eight lanes are filled */
}

/* ----------------------------------------------------------------- weights */

/* The weights of outputs [k, k + outputs) for a chain: from the kernel, or from a panel of it. */
static void pack_outputs(const struct job *job, const struct fc_block *from, int64_t c, int64_t k)
{
    const int64_t c_out = job->channels.c_out;
    struct fc_block block = *from;
    block.x = (const char *)from->x + c * from->x_channel * job->element;
    block.y = job->weights + (c * c_out + k * from->channels) * job->element;
    block.y_pixel = from->channels;
    block.y_channel = 1;
    job->kernels->copy_block(&block);
}

/* [chain][output][channel of the chain] */
static void pack_weights(void *context, int64_t panel, int worker)
{
    (void)worker;
    const struct job *job = context;
    const struct fc_channels *channels = &job->channels;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const char *packed = job->convolution->packed;
    const int64_t k = panel * channels->panel;
    struct fc_block from = {.pixels = fc_panel_outputs(channels, panel)};
    if (packed) {
        from.x = packed + fc_panel_offset(channels, 0, panel) * job->element;
        from.x_pixel = 1;
        from.x_channel = fc_panel_width(channels, panel);
    } else {
        from.x = (const char *)kernel->data + k * kernel->stride_c_out * job->element;
        from.x_pixel = kernel->stride_c_out;
        from.x_channel = kernel->stride_c_in;
    }
    for (int64_t c = 0, end; c < channels->c_in; c = end) {
        end = fc_chain_end(channels, c);
        from.channels = end - c;
        pack_outputs(job, &from, c, k);
    }
}

/* ------------------------------------------------------------------- tiles */

/* The terms of a chain, channels [c, end), for the pixels of a tile. */
struct terms {
    const char *x;
    int64_t c, end;
    int64_t tile, at, pixels;
};

/* Tiles are of near-equal numbers of units. */
static struct terms find_terms(const struct job *job, int64_t n, int64_t c, int64_t tile)
{
    const fc_image *x = &job->convolution->x;
    const int64_t unit = job->channels.unit, units = fc_ceil_div(x->w, unit);
    const int64_t at = units * tile / job->tiles * unit;
    return (struct terms){
        .x = (const char *)x->data + (n * x->stride_n + c * x->stride_c + at) * job->element,
        .c = c,
        .end = fc_chain_end(&job->channels, c),
        .tile = tile,
        .at = at,
        .pixels = fc_min(units * (tile + 1) / job->tiles * unit, x->w) - at,
    };
}

static void copy_x(const struct job *job, const struct terms *terms, char *to)
{
    job->kernels->copy_block(&(struct fc_block){
        .x = terms->x,
        .y = to,
        .x_pixel = 1,
        .x_channel = job->convolution->x.stride_c,
        .y_pixel = 1,
        .y_channel = job->most,
        .pixels = terms->pixels,
        .channels = terms->end - terms->c,
    });
}

/* The x of share t of so many, all of whose rows are asked for in the end. */
static void fetch_x(const struct job *job, const struct terms *terms, int64_t t, int64_t tiles)
{
    const int64_t count = terms->end - terms->c;
    const ptrdiff_t plane = job->convolution->x.stride_c * job->element;
    const ptrdiff_t last = (terms->pixels - 1) * job->element;
    for (int64_t c = count * t / tiles; c < count * (t + 1) / tiles; c++) {
        const char *row = terms->x + c * plane;
        for (ptrdiff_t byte = 0; byte < last; byte += FC_CACHE_LINE)
            __builtin_prefetch(row + byte, 0, 2);
        __builtin_prefetch(row + last, 0, 2);
    }
}

/* The lines of y that a tile is the first to write. */
static void fetch_y(const struct job *job, const struct fc_plane_tile *tile)
{
    const char *row = tile->y;
    const ptrdiff_t last = (tile->pixels - 1) * job->element;
    for (int k = 0; k < tile->outputs; k++, row += tile->y_step * job->element) {
        for (ptrdiff_t byte = 0; byte < last; byte += FC_CACHE_LINE)
            __builtin_prefetch(row + byte, 1);
        __builtin_prefetch(row + last, 1);
    }
}

/* Adds a chain to all outputs of a tile's pixels; y is where the first output's lie. */
static void add_chain(const struct job *job, const struct terms *terms, const struct terms *next,
                      const char *x, char *y)
{
    const struct fc_convolution *convolution = job->convolution;
    const int64_t c_out = job->channels.c_out, count = terms->end - terms->c;
    const int64_t tiles = fc_ceil_div(c_out, job->few->plane_outputs);
    const bool last = terms->end == job->channels.c_in;
    struct fc_plane_tile tile = {
        .x = x,
        .offset = job->offset,
        .terms = count,
        .weight_step = count,
        .partial_step = convolution->y.stride_c,
        .y_step = convolution->y.stride_c,
        .pixels = (int)terms->pixels,
        .units = (int)fc_ceil_div(terms->pixels, job->channels.unit),
        .activation = last ? convolution->activation : FC_LINEAR,
    };
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t k = c_out * t / tiles;
        tile.outputs = (int)(c_out * (t + 1) / tiles - k);
        tile.weights = job->weights + (terms->c * c_out + k * count) * job->element;
        tile.y = y + k * tile.y_step * job->element;
        tile.partial = terms->c ? tile.y : NULL;
        if (last && convolution->bias)
            tile.bias = (const char *)convolution->bias + k * job->element;
        if (!terms->c)
            fetch_y(job, &tile);
        if (next)
            fetch_x(job, next, t, tiles);
        job->few->plane_tile(&tile);
    }
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const fc_image *y = &job->convolution->y;
    const int64_t n = index / job->items, first = index % job->items * job->together;
    const int64_t end = fc_min(first + job->together, job->tiles);
    char *copy = job->scratch + (size_t)worker * job->worker_bytes;
    memset(copy, 0, job->worker_bytes); /* a last unit is read whole */
    struct terms terms = find_terms(job, n, 0, first), next;
    for (bool more = true; more; terms = next) {
        if (terms.tile + 1 < end)
            next = find_terms(job, n, terms.c, terms.tile + 1);
        else if (terms.end < job->channels.c_in)
            next = find_terms(job, n, terms.end, first);
        else
            more = false;
        copy_x(job, &terms, copy);
        add_chain(job, &terms, more ? &next : NULL, copy,
                  (char *)y->data + (n * y->stride_n + terms.at) * job->element);
    }
}

/* -------------------------------------------------------------------- call */

fc_status fc_convolve_pointwise(const struct fc_convolution *convolution)
{
    const fc_image *y = &convolution->y;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct job job = {
        .convolution = convolution,
        .kernels = &kernels->conv2d,
        .few = &kernels->few,
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
    };
    const int64_t c_in = job.channels.c_in, c_out = job.channels.c_out;
    job.most = job.few->plane_units * job.channels.unit;
    job.tiles = fc_ceil_div(y->w, job.most);
    job.together = fc_max(fc_min(Y_BYTES / job.element / c_out / job.most, MOST_TILES), 1);
    job.items = fc_ceil_div(job.tiles, job.together);
    for (int64_t c = 0; c < FC_BLOCK_TERMS; c++)
        job.offset[c] = c * job.most;
    job.worker_bytes = fc_round_to_line((size_t)(FC_BLOCK_TERMS * job.most * job.element));
    const double weights = (double)c_in * (double)c_out;
    const int width = fc_parallel_width(y->n * job.items, 2.0 * (double)(y->n * y->w) * weights);
    size_t weight_bytes, total;
    if (__builtin_mul_overflow((size_t)c_in * (size_t)job.element, (size_t)c_out, &weight_bytes) ||
        __builtin_add_overflow(weight_bytes, FC_CACHE_LINE + (size_t)width * job.worker_bytes,
                               &total))
        return FC_OVERFLOW;
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;
    job.weights = scratch;
    job.scratch = scratch + fc_round_to_line(weight_bytes);
    const int64_t panels = fc_panel_count(&job.channels);
    fc_parallel_for(panels, fc_parallel_width(panels, FC_WORK_PER_ELEMENT * weights),
                    FC_KEEP_DENORMALS, pack_weights, &job);
    fc_parallel_for(y->n * job.items, width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
