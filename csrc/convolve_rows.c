/* convolve_rows.c: dense layers of up to 128 rows, with the kernel read where it lies.
 *
 * 8 rows of 4096 -> 4096 read 64 MB of kernel for 0.27 GFLOP: 4 operations a byte, where a core has
 * ten for each that memory gives. Panels would be packed first, a few lines of each of 4096 pages at
 * a time. Here an item is a range of columns, and the kernel's rows pass over it some terms at a time,
 * each a stream. The chains of a range, 2 or 4 KB a pixel with those that have ended, stay in the caches.
 * Up to 4 pixels are fastest with 16 streams of 4 KB; more of them with 64 of 2 KB, between which chains wait in
 * memory less often. What the first tile of 8 pixels has read, 128 KB, the others find in the second-level cache:
 * 64 rows of 2048 -> 1000 took 3.8 ms through panels and take 2.45, 32 of 4096 -> 4096 18 and 10. In tiles
 * of 14 pixels, which share a few sets of the nearest cache where they are a multiple of 4 KB apart, 3.0.
 *
 * Of a kernel larger than what the last cache keeps up to 8 pixels wait for memory, which gives the most when it is
 * asked for row after row: the rows that a tile reads next, a piece of one at each of its steps. Read through 1, 8, 16
 * and 32 streams 64 MB came by 34, 27, 21 and 20 GB/s on Zen 5. 4096 -> 4096 there in ms, through streams asked for
 * ahead of themselves, and by rows asked for in turn: 1 pixel 2.3 and 1.6, 2 2.9 and 1.75, 4 2.7 and 1.5, 8 2.25 and
 * 2.0; in AVX2 2.7 and 1.5, 1.4 and 1.55, 1.7 and 1.7, 4.7 and 3.0; in float64 4.8 and 4.9, 5.4 and 4.6, 6.7 and 4.0,
 * 5.8 and 5.1.
 *
 * In an input gradient it is the terms of an output that lie together in the kernel. There an item is
 * a unit of columns, whose streams of terms are turned in registers, chain by chain, for up to 8 rows.
 *
 * More rows of a kernel in the second-level cache take a panel of columns a chain at a time, read where it
 * lies, and so does any that is turned, in the nearest cache before all rows meet it: neither plan nor
 * packed kernel. 128 x 400 -> 120 took 66 us and takes 61, 128 x 84 -> 10 3.9 and 3.2, its gradient 4.1 and
 * 3.2; gradients of 16 rows of 512 -> 512 took 94 us and take 64 (AVX2: 160 and 120), of 20 rows of 4096 ->
 * 4096 10.6 ms and 6.6. 128 x 1600 -> 100 went from 338 to 290 us. Beyond 1 MB that lost up to a third to
 * panels, and 256 rows a little, as they lose to panels in AVX2 by streams.
 *
 * The sums are those of the panels, term by term and chain by chain. */
#include "convolve_rows.h"

#include <string.h>

#include "convolve_one_tap.h"
#include "convolve_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "stream.h"
#include "workspace.h"

enum {
    FEW_PIXELS = 16,
    MOST_PIXELS = 128,
    SMALL_KERNEL = 1 << 20, /* bytes that more than a few pixels meet a panel at a time */
    STREAMED_TILE = 8       /* pixels */
};

/* For up to so many pixels, how many rows of the kernel at a time, of how many bytes of columns: where it is near, and
 * where it comes from memory, in vectors of a line or shorter ones. Of more than a tile of pixels in vectors of a line
 * the others take half of the loads and stores of a chain with twice the rows: 64 rows of 2048 -> 1000 took 1.13 ms on
 * Zen 5 and take 1.10; in AVX2 that lost a tenth. */
struct streams {
    int64_t pixels, terms, bytes;
};
static const struct streams NEAR[] = {{4, 16, 4096}, {MOST_PIXELS, 64, 2048}},
                            NEAR_WIDE[] = {{4, 16, 4096},
                                           {STREAMED_TILE, 64, 2048},
                                           {MOST_PIXELS, 128, 2048}},
                            FAR[] = {{1, 4, 4096}, {4, 16, 4096}, {STREAMED_TILE, 16, 2048}},
                            FAR_WIDE[] = {{1, 2, 16384}, {4, 4, 4096}, {STREAMED_TILE, 16, 2048}};

static const struct streams *streams_for(const struct fc_kernels *kernels, int64_t pixels, bool far)
{
    const bool wide = kernels->depthwise.vector_bytes == FC_UNIT_BYTES;
    const struct streams *near = wide ? NEAR_WIDE : NEAR;
    const struct streams *streams = !far ? near : wide ? FAR_WIDE : FAR;
    while (streams->pixels < pixels)
        streams++;
    return streams;
}

struct job {
    const struct fc_convolution *convolution;
    const struct fc_kernels *kernels;
    struct fc_channels channels;
    ptrdiff_t element;
    void (*tile)(const struct fc_dense_tile *tile);
    int64_t range, terms; /* columns of an item, terms of a tile, */
    int64_t most;         /* and its pixels */
    int64_t lead;         /* columns that ranges begin earlier, with a line of the kernel */
    int64_t rest;  /* terms of a last chain, at most, that a tile takes with the chain before */
    bool far;      /* the kernel, whose next rows are asked for one after the other */
    bool streams;  /* rows of the kernel, from memory, as a few terms at a time pass over a range */
    bool turns;    /* the terms of a range, before they meet pixels */
    bool crowded;  /* rows of the kernel, as fc_dense_tile has it */
    const char *x; /* of tiles, whose terms lie together, */
    ptrdiff_t x_step;  /* pixels so far apart, */
    ptrdiff_t x_block; /* and blocks of a chain's terms */
    char *scratch;
    size_t worker_bytes;
};

/* Elements of a worker's row of columns. */
static int64_t row_of(const struct job *job)
{
    return job->range + (job->lead ? job->channels.unit : 0);
}

static int64_t items_of(const struct job *job)
{
    return fc_ceil_div(job->channels.c_out, job->range);
}

/* The first column of an item, of which the last has the rest. */
static int64_t begin_of(const struct job *job, int64_t item)
{
    return item < items_of(job) ? fc_max(item * job->range - job->lead, 0) : job->channels.c_out;
}

static bool is_small(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t most = SMALL_KERNEL / (int64_t)fc_element_size(convolution->dtype);
    return kernel->c_in <= most && kernel->c_out <= most && kernel->c_in * kernel->c_out <= most;
}

bool fc_fits_rows(const struct fc_convolution *convolution)
{
    const fc_image *x = &convolution->x, *y = &convolution->y;
    const fc_image *residual = &convolution->residual;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const bool in_place = kernel->stride_c_out == 1;
    return fc_is_dense(convolution) && kernel->groups == 1 && !convolution->packed &&
           (in_place || kernel->stride_c_in == 1) && x->stride_c == 1 && y->stride_c == 1 &&
           (!residual->data || residual->stride_c == 1) && y->n == 1 && y->h == 1 &&
           y->w <= MOST_PIXELS;
}

/* A worker's sums of a range: the chains at work, and the totals of those that have ended. */
struct sums {
    char *chain, *total, *turned;
};

/* The tile's terms, side by side in the kernel, to rows of columns. */
static void turn(const struct job *job, struct fc_dense_tile *tile, const char *kernel,
                 char *turned)
{
    job->kernels->conv2d.copy_block(&(struct fc_block){
        .x = kernel,
        .y = turned,
        .x_pixel = 1,
        .x_channel = job->convolution->kernel.stride_c_out,
        .y_pixel = job->range,
        .y_channel = 1,
        .pixels = tile->terms + tile->rest,
        .channels = tile->columns,
    });
    tile->kernel = turned;
    tile->kernel_step = job->range;
}

/* From the rows of the kernel that a tile of terms from c on reads to those read next, if they are to be asked for:
 * the range's next ones, or at its end the first of the next range. */
static ptrdiff_t next_rows(const struct job *job, const struct fc_dense_tile *tile, int64_t c)
{
    const int64_t terms = tile->terms + tile->rest;
    if (!job->streams)
        return 0;
    return c + terms < job->channels.c_in ? terms * tile->kernel_step
                                          : job->range - c * tile->kernel_step;
}

/* Terms [c, c + tile->terms) of the chain that begins at `begin`, for columns from k on and all
 * pixels, tile by tile. */
static void add_terms(const struct job *job, struct fc_dense_tile *tile, int64_t k, int64_t begin,
                      int64_t c, const struct sums *sums)
{
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t pixels = y->w, tiles = fc_ceil_div(pixels, job->most);
    const int64_t block = job->channels.block;
    const bool last = c + tile->terms + tile->rest == job->channels.c_in;
    tile->kernel =
        (const char *)convolution->kernel.data +
        (c * convolution->kernel.stride_c_in + k * convolution->kernel.stride_c_out) * job->element;
    if (job->turns)
        turn(job, tile, tile->kernel, sums->turned);
    for (int64_t t = 0, p = 0, next; t < tiles; t++, p = next) {
        next = pixels * (t + 1) / tiles;
        tile->pixels = (int)(next - p);
        tile->x = job->x + (p * job->x_step + c / block * job->x_block + c % block) * job->element;
        tile->chain = sums->chain + p * row_of(job) * job->element;
        tile->y = sums->total + p * row_of(job) * job->element;
        tile->partial = begin > 0 ? tile->y : NULL;
        tile->next = t == 0 ? next_rows(job, tile, c) : 0;
        if (last) {
            tile->y = (char *)y->data + (p * y->stride_w + k) * job->element;
            if (residual->data)
                tile->residual =
                    (const char *)residual->data + (p * residual->stride_w + k) * job->element;
        }
        job->tile(tile);
    }
}

/* Steps of a tile along its columns in which it meets as many lines as a row of them has. */
static int64_t pieces_of(const struct job *job, int64_t columns)
{
    const int64_t step = job->kernels->conv2d.tile_units * job->channels.unit;
    const int64_t steps = fc_ceil_div(columns, step);
    return steps < job->terms ? 0 : fc_ceil_div(steps, job->terms);
}

/* Item: a range of columns. */
static void compute_range(void *context, int64_t item, int worker)
{
    const struct job *job = context;
    const struct fc_convolution *convolution = job->convolution;
    const int64_t k = begin_of(job, item), c_in = job->channels.c_in, row = row_of(job);
    struct sums sums = {.chain = job->scratch + (size_t)worker * job->worker_bytes};
    sums.total = sums.chain + convolution->y.w * row * job->element;
    sums.turned = sums.total + convolution->y.w * row * job->element;
    struct fc_dense_tile tile = {
        .x_step = job->x_step,
        .crowded = job->crowded,
        .kernel_step = convolution->kernel.stride_c_out == 1 ? convolution->kernel.stride_c_in
                                                             : convolution->kernel.stride_c_out,
        .chain_step = row,
        .partial_step = row,
        .y_step = row,
        .residual_step = convolution->residual.stride_w,
        .columns = begin_of(job, item + 1) - k,
    };
    tile.pieces = job->far ? pieces_of(job, tile.columns) : 0;
    int64_t c = 0;
    do {
        const int64_t begin = c, end = fc_chain_end(&job->channels, c);
        do {
            tile.terms = fc_min(job->terms, end - c);
            tile.begins = c == begin;
            tile.ends = c + tile.terms == end;
            tile.rest = tile.ends && c_in - end <= job->rest ? c_in - end : 0;
            if (c + tile.terms + tile.rest == c_in) {
                tile.activation = convolution->activation;
                tile.y_step = convolution->y.stride_w;
                if (convolution->bias)
                    tile.bias = (const char *)convolution->bias + k * job->element;
            }
            add_terms(job, &tile, k, begin, c, &sums);
            c += tile.terms + tile.rest;
        } while (c < end);
    } while (c < c_in);
}

/* Rows of the kernel that all begin amid a line, as in NumPy's large arrays: 16 bytes on. With vectors that cross
 * lines 8 rows of 4096 -> 4096 took 3.4 ms on Zen 4, and take 2.8 when all ranges but the first begin with one. */
static int64_t lead_of(const struct job *job)
{
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const ptrdiff_t amid = (ptrdiff_t)((uintptr_t)kernel->data % FC_CACHE_LINE);
    const bool alike = kernel->stride_c_in * job->element % FC_CACHE_LINE == 0;
    return alike && amid % job->element == 0 ? amid / job->element : 0;
}

/* How the kernel is read, and by what tiles. */
static void plan_tiles(struct job *job, int width)
{
    const struct fc_convolution *convolution = job->convolution;
    const int64_t pixels = convolution->y.w, tile_pixels = job->kernels->conv2d.tile_pixels;
    const bool turned = convolution->kernel.stride_c_out != 1;
    job->tile = job->kernels->dense.tile;
    job->terms = job->channels.block;
    job->rest = FC_SLAB - 1; /* 16 terms are as fast in a call of their own */
    job->most = tile_pixels;
    if (turned && pixels <= fc_min(FC_FEW_TURNED, tile_pixels)) {
        job->tile = job->kernels->dense.turned_tile;
        job->rest = 0;
        job->range = job->channels.unit;
    } else if (turned || (pixels > FEW_PIXELS && is_small(convolution))) {
        job->turns = turned;
        job->range = FC_PANEL_UNITS * job->channels.unit;
    } else {
        const int64_t c_in = job->channels.c_in, c_out = job->channels.c_out;
        job->far = pixels <= STREAMED_TILE && c_in >= fc_stream_bytes() / job->element / c_out;
        const struct streams *streams = streams_for(job->kernels, pixels, job->far);
        const int64_t units = fc_ceil_div(c_out, job->channels.unit);
        const int64_t ranges = fc_ceil_div(c_out * job->element, streams->bytes);
        job->streams = true;
        job->terms = streams->terms;
        job->range = fc_ceil_div(units, fc_max(ranges, width)) * job->channels.unit;
        job->most = fc_min(STREAMED_TILE, tile_pixels);
        job->lead = lead_of(job);
    }
}

/* Whether rows of the kernel that are turned together, a multiple of 2 KB apart, share a set or two of the nearest
 * cache, so that of 16 lines none is left when the next piece of them is read. */
static bool crowds(const struct job *job)
{
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    return job->tile == job->kernels->dense.turned_tile &&
           job->kernels->dense.turned_rows > FC_CACHE_WAYS &&
           kernel->stride_c_out * job->element % 2048 == 0;
}

/* Rows of x as far apart fill such a set themselves, and lines of the kernel that fall there drive them out, as luck
 * will have it (8 x 4096 to 4096 took 3.7 to 5.1 ms): each block of terms to one place. */
static void copy_x(struct job *job, char *to)
{
    const fc_image *x = &job->convolution->x;
    const int64_t block = job->channels.block;
    job->x = to;
    job->x_step = block;
    job->x_block = x->w * block;
    for (int64_t c = 0; c < x->c; c += block)
        for (int64_t p = 0; p < x->w; p++, to += block * job->element)
            memcpy(to, (const char *)x->data + (p * x->stride_w + c) * job->element,
                   (size_t)(fc_min(x->c - c, block) * job->element));
}

fc_status fc_convolve_rows(const struct fc_convolution *convolution)
{
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(convolution->dtype);
    struct job job = {
        .convolution = convolution,
        .kernels = fc_current_kernels(convolution->dtype),
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .element = element,
        .x = convolution->x.data,
        .x_step = convolution->x.stride_w,
    };
    job.x_block = job.channels.block;
    /* Of few rows reading the kernel is most of the work. */
    const int64_t c_out = job.channels.c_out, pixels = convolution->y.w;
    const double work = (double)fc_max(FC_WORK_PER_ELEMENT, 2 * pixels);
    const int width = fc_parallel_width(fc_ceil_div(c_out, job.channels.unit),
                                        work * (double)job.channels.c_in * (double)c_out);
    plan_tiles(&job, width);
    const int64_t turned_rows = job.turns ? job.terms + job.rest : 0;
    job.worker_bytes = (size_t)((2 * pixels + turned_rows) * row_of(&job) * element);
    job.crowded = crowds(&job);
    const int64_t blocks = job.crowded ? fc_ceil_div(job.channels.c_in, job.channels.block) : 0;
    const int64_t x_bytes = blocks * pixels * job.channels.block * element;
    job.scratch = fc_workspace_acquire(job.worker_bytes * (size_t)width + (size_t)x_bytes);
    if (!job.scratch)
        return FC_NO_MEMORY;
    if (x_bytes)
        copy_x(&job, job.scratch + job.worker_bytes * (size_t)width);
    fc_parallel_for(items_of(&job), width, FC_FLUSH_DENORMALS, compute_range, &job);
    fc_workspace_release(job.scratch);
    return FC_OK;
}
