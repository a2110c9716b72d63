/* convolve_pointwise.c: 1x1 from planes to planes, with pixels in the lanes.
 *
 * A product of two matrices, y = weights x, whose rows lie together in memory: neither x nor y need be
 * turned, as panels with outputs in the lanes would have them. A tile is 6 outputs x 64 pixels
 * (kernels/planes.inc.h), 4 loads and 6 broadcasts beside 24 multiply-adds in 12 cycles.
 *
 * An item is some tiles of pixels of one image. A chain of 128 terms takes 32 KB of x for 64 pixels, which
 * all outputs read from the nearest cache, while their weights come by from the second-level cache, 3 KB
 * in 1536 cycles. Partial sums wait in y.
 *
 * Rows of x are planes apart, each in a page of its own. They are copied by the tile that reads them first,
 * beside its sums (read in place by all, 256 to 64 channels at 56x56 took 1.3 times as long; a copy of its own
 * was a tenth of the time). While an item sums a chain it asks for the next one's rows, each from end to end,
 * 1 KB, so that the processor sees a stream: 64 pixels at a time, tile by tile, as many lines came one by one,
 * more than wait for memory at once (7.0 ms, now 5.7).
 *
 * The input gradient at strides of 2 is such a product too, and three quarters of dx are zeros between its
 * pixels. Sums then wait in a strip, from which rows of dx are written whole, zeros and all, and the rows of
 * zeros between them: 256 to 512 channels at 56x56 took 20.8 ms by panels, with rows zeroed first, and takes
 * 13.1, 128 to 256 at 74x74 10.4 and takes 6.0.
 *
 * A large y of one chain goes past the caches: 16 images of 64 to 256 channels at 56x56 take 9.2 ms, not 13,
 * 32 of 32 to 64 at 112x112 12, not 24.
 *
 * float32, one thread, 8 images: 64 to 256 channels at 56x56 take 5.3 ms, by panels 8.0; 728 to 728 at
 * 19x19 21.8, by panels 24.2. 7x7 planes fill 49 of 64 lanes, and panels are faster, as they are where many channels
 * of 14x14 fill 196 of 208. */
#include "convolve_pointwise.h"

#include <string.h>

#include "convolve_one_tap.h"
#include "dispatch.h"
#include "fetch_rows.h"
#include "parallel.h"
#include "stream.h"
#include "workspace.h"

enum {
    MOST_TILES = 4,       /* of pixels, in an item: they share what comes of the weights */
    Y_BYTES = 512 * 1024, /* of an item, to stay in the second-level cache with the weights */
    MOST_OUTPUTS = 2048,  /* of a strip */
    MANY_CHANNELS = 256
};

struct job {
    const struct fc_convolution *convolution;
    const struct fc_gaps *gaps;
    fc_image x; /* its rows as one */
    const struct fc_conv2d_kernels *kernels;
    const struct fc_few_kernels *few;
    struct fc_channels channels;
    ptrdiff_t element;
    int64_t most; /* pixels of a tile */
    int64_t tiles, shares,
        items; /* tiles of an image's pixels and of the outputs, items of an image */
    ptrdiff_t offset[FC_BLOCK_TERMS];   /* where the terms of a chain lie in a copy, */
    ptrdiff_t in_place[FC_BLOCK_TERMS]; /* and in x */
    ptrdiff_t pitch;                    /* from output to output, of y or of a strip of sums */
    char *weights, *scratch;
    size_t copy_bytes, worker_bytes;
    bool stream; /* y goes past the caches: not where partial sums wait in it */
    int width;
};

/* Whether seven of eight lanes are filled, or, of many channels, which panels turn in less time than a sixteenth of the
 * lanes would idle, nineteen of twenty: 512 to 512 at 14x14 took 8.2 ms on Zen 4, by panels 7.9, held to AVX2 9.0 and
 * 8.3. */
static bool fills_lanes(int64_t pixels, int64_t unit, int64_t channels)
{
    const int64_t idle = fc_whole_units(pixels, unit) - pixels;
    return pixels / (channels < MANY_CHANNELS ? 7 : 19) >= idle;
}

bool fc_fits_pointwise(const struct fc_convolution *convolution)
{
    const fc_image *x = &convolution->x, *y = &convolution->y;
    const int64_t unit = fc_unit(convolution->dtype);
    return fc_is_dense(convolution) && convolution->kernel.groups == 1 &&
           convolution->kernel.c_in > 0 && !convolution->residual.data && x->stride_w == 1 &&
           y->stride_w == 1 && (y->stride_c != 1 || (y->c == 1 && x->stride_c != 1)) && y->h == 1 &&
           fills_lanes(y->w, unit, fc_min(convolution->kernel.c_in, convolution->kernel.c_out));
}

/* Fewer outputs than a unit may be summed in another order, where dy's channels lie together. */
bool fc_fits_gaps(const struct fc_convolution *convolution, const struct fc_gaps *gaps)
{
    const fc_image *x = &convolution->x, *y = &gaps->image;
    const int64_t unit = fc_unit(convolution->dtype), c_out = convolution->kernel.c_out;
    return fc_is_dense(convolution) && convolution->kernel.groups == 1 &&
           convolution->kernel.c_in > 0 && c_out >= unit && c_out <= MOST_OUTPUTS &&
           gaps->columns == 2 && x->stride_w == 1 && (x->h == 1 || x->stride_h == x->w) &&
           y->stride_w == 1 && y->stride_c != 1 && fills_lanes(x->h * x->w, unit, 0);
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

/* ------------------------------------------------------------------- items */

/* A chain of an item: channels [c, end) for pixels [at, at + pixels) of an image, in so many tiles. */
struct part {
    int64_t n, at, pixels, tile, tiles, c, end;
};

/* Tiles are of near-equal numbers of units. */
static int64_t tile_at(const struct job *job, int64_t tile)
{
    const int64_t unit = job->channels.unit, w = job->x.w;
    return fc_min(fc_ceil_div(w, unit) * tile / job->tiles * unit, w);
}

static struct part first_part(const struct job *job, int64_t index)
{
    const int64_t item = index % job->items;
    const int64_t tile = job->tiles * item / job->items;
    const int64_t tiles = job->tiles * (item + 1) / job->items - tile;
    const int64_t at = tile_at(job, tile);
    return (struct part){
        .n = index / job->items,
        .at = at,
        .pixels = tile_at(job, tile + tiles) - at,
        .tile = tile,
        .tiles = tiles,
        .end = fc_chain_end(&job->channels, 0),
    };
}

/* The next chain of an item; none where c is end. */
static struct part next_part(const struct job *job, const struct part *part)
{
    struct part next = *part;
    next.c = part->end;
    next.end = fc_chain_end(&job->channels, next.c);
    return next;
}

static const char *find_x(const struct job *job, const struct part *part, int64_t at)
{
    const fc_image *x = &job->x;
    return (const char *)x->data +
           (part->n * x->stride_n + part->c * x->stride_c + at) * job->element;
}

/* The rows of a part, asked for while tiles of another one are summed. */
static struct fc_later_rows plan_later(const struct job *job, const struct part *next,
                                       int64_t tiles)
{
    return fc_plan_later_rows(find_x(job, next, next->at), job->x.stride_c * job->element,
                              next->end - next->c, next->pixels * job->element, tiles);
}

/* The last unit of a tile that is not full is read whole: not where it lies. */
static void copy_ragged(const struct job *job, const struct fc_plane_tile *tile, char *copy)
{
    job->kernels->copy_block(&(struct fc_block){
        .x = tile->source,
        .y = copy,
        .x_pixel = 1,
        .x_channel = tile->source_step,
        .y_pixel = 1,
        .y_channel = job->most,
        .pixels = tile->pixels,
        .channels = tile->terms,
    });
}

/* Pixels [at, at + pixels) of a part, to all outputs: y is where the first output's lie, step elements
 * before the second's. */
static void add_tile(const struct job *job, const struct part *part, int64_t at, int64_t pixels,
                     char *copy, struct fc_later_rows *later, char *y, ptrdiff_t step)
{
    const struct fc_convolution *convolution = job->convolution;
    const int64_t c_out = job->channels.c_out, count = part->end - part->c;
    const bool last = part->end == job->channels.c_in;
    struct fc_plane_tile tile = {
        .x = copy,
        .offset = job->offset,
        .terms = count,
        .source = find_x(job, part, at),
        .source_step = job->x.stride_c,
        .weight_step = count,
        .partial_step = step,
        .y_step = step,
        .pixels = (int)pixels,
        .units = (int)fc_ceil_div(pixels, job->channels.unit),
        .activation = last ? convolution->activation : FC_LINEAR,
    };
    if (pixels % job->channels.unit) {
        copy_ragged(job, &tile, copy);
        tile.source = NULL;
    } else if (job->shares == 1 && (tile.units > 1 || job->few->plane_units == 1)) {
        /* It reads x once; where tiles have several units, one by itself is read as two. */
        tile.x = tile.source;
        tile.offset = job->in_place;
        tile.source = NULL;
    }
    for (int64_t t = 0; t < job->shares; t++, tile.source = NULL) {
        const int64_t k = c_out * t / job->shares;
        tile.outputs = (int)(c_out * (t + 1) / job->shares - k);
        tile.weights = job->weights + (part->c * c_out + k * count) * job->element;
        tile.y = y + k * step * job->element;
        tile.partial = part->c ? tile.y : NULL;
        if (last && convolution->bias)
            tile.bias = (const char *)convolution->bias + k * job->element;
        tile.stream = job->stream && pixels % job->channels.unit == 0;
        if (!part->c && !job->gaps && !tile.stream)
            fc_fetch_rows(tile.y, step * job->element, tile.outputs, pixels * job->element);
        tile.ahead = fc_take_later_rows(later, tile.terms);
        job->few->plane_tile(&tile);
    }
}

/* ------------------------------------------------------------------- zeros */

/* Columns [begin, end) of `rows` rows of pixels from row on, of output k, and what lies between. */
static void widen(const struct job *job, int64_t n, int64_t k, int64_t row, int64_t rows,
                  int64_t begin, int64_t end, const char *strip)
{
    const struct fc_gaps *gaps = job->gaps;
    const fc_image *y = &gaps->image;
    const int64_t columns = job->convolution->x.w, top = row * gaps->rows;
    job->few->widen_rows(&(struct fc_wide_rows){
        .x = strip,
        .y = (char *)y->data +
             (n * y->stride_n + k * y->stride_c + top * y->stride_h + 2 * begin) * job->element,
        .x_row = columns,
        .y_row = y->stride_h,
        .columns = end - begin,
        .width = (end == columns ? y->w : 2 * end) - 2 * begin,
        .rows = fc_min(rows * gaps->rows, y->h - top),
        .step = gaps->rows,
    });
}

/* The pixels of an item from the strip to y: the rest of a row, whole rows, and the begin of one. */
static void widen_item(const struct job *job, const struct part *part, const char *strip)
{
    const int64_t columns = job->convolution->x.w, end = part->at + part->pixels;
    for (int64_t k = 0; k < job->channels.c_out; k++) {
        const char *from = strip + k * job->pitch * job->element;
        for (int64_t at = part->at, next; at < end; at = next) {
            const int64_t row = at / columns, begin = at % columns;
            const int64_t rows = begin ? 0 : (end - at) / columns;
            next = rows ? at + rows * columns : fc_min(end, (row + 1) * columns);
            widen(job, part->n, k, row, fc_max(rows, 1), begin, rows ? columns : begin + next - at,
                  from + (at - part->at) * job->element);
        }
    }
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const fc_image *y = &job->convolution->y;
    char *copy = job->scratch + (size_t)worker * job->worker_bytes;
    char *strip = copy + job->copy_bytes;
    if (job->x.w % job->channels.unit)
        memset(copy, 0, job->copy_bytes);
    struct part part = first_part(job, index), next;
    char *to =
        job->gaps ? strip : (char *)y->data + (part.n * y->stride_n + part.at) * job->element;
    for (; part.c < part.end; part = next) {
        struct fc_later_rows later = {0};
        next = next_part(job, &part);
        if (next.c < next.end) {
            later = plan_later(job, &next, part.tiles * job->shares);
        } else if (index + job->width < y->n * job->items) {
            const struct part then = first_part(job, index + job->width);
            later = plan_later(job, &then, part.tiles * job->shares);
        }
        for (int64_t tile = part.tile; tile < part.tile + part.tiles; tile++) {
            const int64_t at = tile_at(job, tile);
            add_tile(job, &part, at, tile_at(job, tile + 1) - at, copy, &later,
                     to + (at - part.at) * job->element, job->pitch);
        }
    }
    if (job->gaps)
        widen_item(job, &part, strip);
}

/* -------------------------------------------------------------------- call */

static bool plan_job(struct job *job, size_t *weight_bytes)
{
    const int64_t c_in = job->channels.c_in, c_out = job->channels.c_out;
    int64_t weights;
    if (__builtin_mul_overflow(c_in, c_out, &weights) ||
        __builtin_mul_overflow(weights, job->element, &weights))
        return false;
    *weight_bytes = fc_round_to_line((size_t)weights);
    job->most = job->few->plane_units * job->channels.unit;
    job->shares = fc_ceil_div(c_out, job->few->plane_outputs);
    job->tiles = fc_ceil_div(job->x.w, job->most);
    const int64_t together =
        fc_max(fc_min(Y_BYTES / job->element / c_out / job->most, MOST_TILES), 1);
    job->items = fc_ceil_div(job->tiles, together);
    job->stream = !job->gaps && fc_chain_end(&job->channels, 0) == c_in &&
                  fc_streams_image(&job->convolution->y, true, job->element);
    job->pitch = job->gaps ? together * job->most : job->convolution->y.stride_c;
    for (int64_t c = 0; c < fc_min(c_in, FC_BLOCK_TERMS); c++) {
        job->offset[c] = c * job->most;
        job->in_place[c] = c * job->x.stride_c;
    }
    job->copy_bytes = fc_round_to_line((size_t)(FC_BLOCK_TERMS * job->most * job->element));
    job->worker_bytes = job->copy_bytes;
    if (job->gaps)
        job->worker_bytes += fc_round_to_line((size_t)(c_out * job->pitch * job->element));
    const double work = 2.0 * (double)(job->x.n * job->x.w) * (double)c_in * (double)c_out;
    job->width = fc_parallel_width(job->x.n * job->items, work);
    return true;
}

static fc_status convolve(const struct fc_convolution *convolution, const struct fc_gaps *gaps)
{
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct job job = {
        .convolution = convolution,
        .gaps = gaps,
        .x = convolution->x,
        .kernels = &kernels->conv2d,
        .few = &kernels->few,
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
    };
    size_t weight_bytes;
    job.x.w *= job.x.h;
    job.x.h = 1;
    if (!plan_job(&job, &weight_bytes))
        return FC_OVERFLOW;
    const fc_status status =
        fc_workspace_divide(weight_bytes, job.worker_bytes, job.width, &job.weights);
    if (status != FC_OK)
        return status;
    job.scratch = job.weights + weight_bytes;
    const int64_t panels = fc_panel_count(&job.channels);
    const double weights = (double)job.channels.c_in * (double)job.channels.c_out;
    fc_parallel_for(panels, fc_parallel_width(panels, FC_WORK_PER_ELEMENT * weights),
                    FC_KEEP_DENORMALS, pack_weights, &job);
    fc_parallel_for(job.x.n * job.items, job.width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(job.weights);
    return FC_OK;
}

fc_status fc_convolve_pointwise(const struct fc_convolution *convolution)
{
    return convolve(convolution, NULL);
}

fc_status fc_convolve_with_gaps(const struct fc_convolution *convolution,
                                const struct fc_gaps *gaps)
{
    return convolve(convolution, gaps);
}
