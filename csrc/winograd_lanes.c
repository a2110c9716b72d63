/* winograd_lanes.c: Winograd's algorithm along rows, for few outputs, with tiles in the lanes.
 *
 * A row of taps meets a row of x as one polynomial another: 4 columns of x times 3 taps are 6 coefficients, from
 * products at 6 points where direct sums take 12 (winograd_points.inc.h). With a stride of s, every s-th tap makes a
 * phase of its own, whose coefficients are every s-th column of y; the phases share x at the points, and those that
 * lack the last tap have no product at infinity: 7x7 of strides 2 takes 7 and 6 for 28.
 *     m[p, k, i][r, t] = sum over channels c of v[p, c][r, t] * u[p, k, i, c]     tile t of row r of x, row of taps i
 *     y[o] = coefficients of sum over the rows of taps i with r * stride + i - before = o of m[i][r]
 * for each phase and output k. A tile's first coefficients are columns of y of its own, the others those of the next.
 *
 * FC_LANES_CHANNELS channels of FC_LANES_UNITS units of tiles, tiles of all rows one after the other, are turned to
 * planes of every 4th column, taken to the points, 24 KB that the nearest cache keeps, and multiplied, one chain a
 * block of channels. Sums over the rows of taps become coefficients, still of all rows at once, which are turned to
 * what lies together in y, and there a tile's last ones are added to the next tile's first.
 *
 * An item is some images, if the products of all rows of one stay in the second-level cache, or a block of rows of y:
 * m then holds some rows of x, and those before them that the same rows of y read.
 *
 * VGG's first input gradient multiplies 64 channels with 27 numbers a pixel, 108 vectors of multiply-adds where lanes
 * are 16: here they are 54, beside 16 shuffles to turn x, and 16 loads and 24 stores at the points. LeNet's second,
 * 16 channels of 10 x 10 with 5x5 taps to 6, takes 7,680 vectors an image for 15,000, in 30 tiles of 32 lanes, beside
 * about 800 cycles each to turn, for the points, and to turn back, and 1,400 for sums and coefficients. */
#include <string.h>

#include "bad_rows.h"
#include "convolve_spread_plan.h"
#include "parallel.h"
#include "winograd_lanes_items.h"
#include "workspace.h"

enum {
    M_BYTES = 384 << 10,               /* to stay in the second-level cache */
    FEWEST_ROWS = 8,                   /* of y, for each row that is multiplied twice */
    ITEMS = 4,                         /* for each thread */
    BEYOND_UNITS = 4,                  /* that tiles read in vain */
    ZERO_BYTES = FC_LANES_CHANNELS * 8 /* of a pixel */
};

/* -------------------------------------------------------------------- sums */

/* Row `row` of y from its tiles' coefficients. */
static void finish_row(const struct fc_lanes_item *item, const char *coefficients, int64_t row)
{
    const struct fc_lanes_job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const fc_image *y = &spread->y;
    const int64_t planes = job->planes;
    struct fc_winograd_lanes_row join = {
        .x = coefficients,
        .y = item->row,
        .tiles = job->tiles,
        .run = job->lanes.lines / planes,
        .taps = job->lanes.taps,
    };
    for (int64_t k = 0; k < planes; k++) {
        if (!job->kernels->winograd.lanes_row(&join))
            job->bad[item->n * y->h + row] = 1;
        join.x = (const char *)join.x + job->a_plane * job->element;
        join.y = (char *)join.y + job->row_plane * job->element;
    }
    const int64_t pixel = y->c / planes;
    const char *line = item->row + spread->before[1] * pixel * job->element;
    char *to = fc_image_at(y, job->element, item->n, row, 0, 0);
    if (planes == 1 && fc_pixels_together(y) && !spread->bias) {
        memcpy(to, line, (size_t)(y->w * y->c * job->element));
        return;
    }
    job->kernels->conv2d.finish_block(&(struct fc_finish){
        .block = {.x = line,
                  .y = to,
                  .x_pixel = pixel,
                  .x_channel = planes > 1 ? job->row_plane : 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = y->w,
                  .channels = y->c},
        .bias = spread->bias,
    });
}

/* Every stride-th row of y, from tap `tap` on, that `count` rows of x from `first` on end: they lie in m behind those
 * before them. Coefficients of a tile are put together, or those of one output where y has planes. */
static void add_rows(const struct fc_lanes_item *item, int64_t first, int64_t count, int64_t tap)
{
    const struct fc_lanes_job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const struct fc_winograd_lanes *lanes = &job->lanes;
    const int64_t kh = spread->kernel.kh, stride = spread->stride[0], planes = job->planes;
    const int64_t run = lanes->points * lanes->lines / planes, tiles = count * job->tiles;
    ptrdiff_t offset[FC_MOST_SPREAD_TAPS];
    struct fc_winograd_lanes_sums sums = {
        .m = item->m,
        .s = item->s,
        .offset = offset,
        .m_point = job->sums * job->m_plane,
        .m_line = kh * job->m_plane,
        .s_point = lanes->lines * job->s_plane,
        .s_line = job->s_plane,
        .tiles = tiles,
        .lines = lanes->lines,
        .full = lanes->full,
        .taps = lanes->taps,
    };
    for (int64_t i = tap; i < kh; i += stride)
        offset[sums.terms++] = i * job->m_plane + (job->before - i / stride) * job->tiles;
    job->kernels->winograd.lanes_sums(&sums);
    for (int64_t k = 0; k < planes; k++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = item->s + k * job->s_plane * job->element,
            .y = item->a + k * job->a_plane * job->element,
            .x_pixel = 1,
            .x_channel = planes * job->s_plane,
            .y_pixel = run,
            .y_channel = 1,
            .pixels = tiles,
            .channels = run,
        });
    for (int64_t r = 0; r < count; r++) {
        const int64_t row = (first + r) * stride + tap - spread->before[0];
        if (row >= 0 && row < spread->y.h)
            finish_row(item, item->a + r * job->tiles * run * job->element, row);
    }
}

/* The last rows of m, to where the next ones find them. */
static void keep_rows(const struct fc_lanes_item *item, int64_t count)
{
    const struct fc_lanes_job *job = item->job;
    for (int64_t i = 0; i < job->lanes.points * job->sums && job->before; i++) {
        char *m = item->m + i * job->m_plane * job->element;
        memmove(m, m + count * job->tiles * job->element,
                (size_t)(job->before * job->tiles * job->element));
    }
}

/* Groups [begin, end) of rows of y, `rows` at a time; of an image whose rows of x m holds all, what is beyond
 * them is zero already. */
static void compute_rows(const struct fc_lanes_item *item, int64_t begin, int64_t end)
{
    const struct fc_lanes_job *job = item->job;
    if (job->whole)
        fc_multiply_lanes(item, 0, fc_min(job->spread->x.h, end), job->before - begin);
    else
        fc_multiply_lanes(item, begin - job->before, job->before, 0);
    for (int64_t r = begin; r < end; r += job->rows) {
        const int64_t count = fc_min(job->rows, end - r);
        if (!job->whole)
            fc_multiply_lanes(item, r, count, job->before);
        for (int64_t tap = 0; tap < job->spread->stride[0]; tap++)
            add_rows(item, r, count, tap);
        if (!job->whole)
            keep_rows(item, count);
    }
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct fc_lanes_job *job = context;
    const struct fc_spread *spread = job->spread;
    struct fc_lanes_item item = {.job = job};
    item.m = job->scratch + (size_t)worker * job->worker_bytes;
    item.x = item.m + job->m_bytes;
    item.v = item.x + job->x_bytes;
    item.s = item.v + job->v_bytes;
    item.a = item.s + job->s_bytes;
    item.pixels = item.a + job->a_bytes;
    item.zeros = item.pixels + job->pixel_bytes;
    item.row = item.zeros + ZERO_BYTES;
    const int64_t stride = spread->stride[0];
    const int64_t begin = spread->before[0] / stride + index % job->row_blocks * job->height;
    const int64_t last = (spread->y.h - 1 + spread->before[0]) / stride;
    const int64_t end = fc_min(begin + job->height, last + 1);
    const int64_t first = index / job->row_blocks * job->images;
    memset(item.zeros, 0, ZERO_BYTES + job->row_bytes); /* and columns that no tap reaches */
    if (job->whole)
        memset(item.m, 0, job->m_bytes);
    for (item.n = first; item.n < fc_min(first + job->images, spread->y.n); item.n++)
        compute_rows(&item, begin, end);
}

/* -------------------------------------------------------------------- plan */

/* An odd number of units: planes a power of two apart would share a few sets of the nearest cache. */
static int64_t plane_of_rows(const struct fc_lanes_job *job, int64_t rows)
{
    return (fc_ceil_div(rows * job->tiles, job->unit) | 1) * job->unit;
}

/* Rows at a time: all of them, or those that leave the fewest lanes empty. */
static int64_t find_rows(const struct fc_lanes_job *job)
{
    const int64_t m = job->lanes.points * job->sums * job->tiles * job->element;
    const int64_t most = fc_max(M_BYTES / m - job->before, 1);
    if (most >= job->height && job->row_blocks == 1)
        return job->height;
    int64_t best = fc_min(most, job->height);
    for (int64_t rows = best - 1; rows > 0; rows--)
        if (fc_ceil_div(rows * job->tiles, job->wide) * best <
            fc_ceil_div(best * job->tiles, job->wide) * rows)
            best = rows;
    return best;
}

static void plan_scratch(struct fc_lanes_job *job)
{
    const struct fc_spread *spread = job->spread;
    const struct fc_winograd_lanes *lanes = &job->lanes;
    const int64_t beyond = BEYOND_UNITS * job->unit, sums = lanes->points * lanes->lines;
    job->m_plane = plane_of_rows(job, job->rows + job->before);
    job->s_plane = plane_of_rows(job, job->rows);
    job->a_plane = job->rows * job->tiles * sums / job->planes;
    const int64_t columns = fc_max(FC_WINOGRAD_COLUMNS * spread->stride[1] * (job->tiles + 1),
                                   spread->y.w + spread->before[1]);
    job->row_plane = fc_whole_units(columns * spread->y.c / job->planes, job->unit) + job->unit;
    const int64_t element = job->element, plane = fc_lanes_plane(job);
    job->m_bytes =
        fc_round_to_line((size_t)((lanes->points * job->sums * job->m_plane + beyond) * element));
    job->x_bytes = (size_t)(FC_WINOGRAD_COLUMNS * plane * element);
    job->v_bytes = (size_t)((lanes->points * plane + beyond) * element);
    job->s_bytes = fc_round_to_line((size_t)((sums * job->s_plane + beyond) * element));
    job->a_bytes = fc_round_to_line((size_t)((job->planes * job->a_plane + beyond) * element));
    const int64_t rows = job->wide / job->tiles + 2;
    if (fc_lanes_narrow(&spread->x))
        job->pixel_bytes =
            fc_round_to_line((size_t)(rows * spread->x.w * FC_LANES_CHANNELS * element));
    job->row_bytes = (size_t)(job->planes * job->row_plane * element);
    job->worker_bytes = job->m_bytes + job->x_bytes + job->v_bytes + job->s_bytes + job->a_bytes +
                        job->pixel_bytes + ZERO_BYTES + fc_round_to_line(job->row_bytes) +
                        FC_CACHE_LINE;
}

/* Returns how many threads it is worth. */
static int plan(struct fc_lanes_job *job)
{
    const struct fc_spread *spread = job->spread;
    const fc_image *x = &spread->x, *y = &spread->y;
    const struct fc_kernel_view *kernel = &spread->kernel;
    job->unit = fc_unit(spread->dtype);
    job->tiles = fc_ceil_div(x->w, FC_WINOGRAD_COLUMNS);
    job->sums = job->lanes.lines * kernel->kh;
    job->before = fc_ceil_div(kernel->kh, spread->stride[0]) - 1;
    const int64_t stride = spread->stride[0];
    const int64_t groups = (y->h - 1 + spread->before[0]) / stride - spread->before[0] / stride + 1;
    const int64_t most_blocks = fc_max(groups / fc_max(FEWEST_ROWS * job->before, 1), 1);
    const double work = 2.0 * (double)(y->n * x->h * x->w) * (double)kernel->c_in *
                        (double)(kernel->kh * kernel->kw * kernel->c_out);
    const int width = fc_parallel_width(y->n * most_blocks, work);
    const int64_t wanted = width > 1 ? fc_ceil_div(ITEMS * width, y->n) : 1;
    job->height = fc_ceil_div(groups, fc_min(wanted, most_blocks));
    job->row_blocks = fc_ceil_div(groups, job->height);
    job->wide =
        (x->h * job->tiles > FC_LANES_ALL_UNITS * job->unit ? FC_LANES_UNITS : FC_LANES_ALL_UNITS) *
        job->unit;
    job->rows = find_rows(job);
    job->whole = job->rows == groups;
    job->images = job->whole ? fc_ceil_div(y->n, ITEMS * width) : 1;
    job->items = fc_ceil_div(y->n, job->images) * job->row_blocks;
    job->planes = y->stride_w == 1 && y->w >= FC_LANES_NARROW ? y->c : 1;
    plan_scratch(job);
    return (int)fc_min(width, job->items);
}

static fc_status compute_again(const struct fc_lanes_job *job)
{
    const fc_image *y = &job->spread->y;
    struct fc_bad_rows rows = {0};
    fc_status status = FC_OK;
    while (status == FC_OK && fc_next_bad_rows(job->bad, y->n, y->h, &rows)) {
        struct fc_spread some = *job->spread;
        some.x.n = 1;
        some.x.data = (char *)some.x.data + rows.n * some.x.stride_n * job->element;
        some.y = fc_image_of_rows(&some.y, &rows, job->element);
        some.before[0] += rows.row;
        status = fc_spread(&some);
    }
    return status;
}

static fc_status compute(struct fc_lanes_job *job, int width)
{
    const fc_image *y = &job->spread->y;
    const size_t u_bytes = fc_round_to_line(fc_winograd_lanes_bytes(job->spread, &job->lanes));
    const size_t flags = fc_round_to_line((size_t)(y->n * y->h));
    char *scratch;
    const fc_status status =
        fc_workspace_divide(u_bytes + flags, job->worker_bytes, width, &scratch);
    if (status != FC_OK)
        return status;
    fc_winograd_lanes_transform(job->spread, &job->lanes, scratch);
    job->u = scratch;
    job->bad = memset(scratch + u_bytes, 0, flags);
    job->scratch = scratch + u_bytes + flags;
    fc_parallel_for(job->items, width, FC_FLUSH_DENORMALS, compute_item, job);
    const fc_status again = compute_again(job);
    fc_workspace_release(scratch);
    return again;
}

fc_status fc_winograd_lanes(const struct fc_spread *spread)
{
    struct fc_lanes_job job = {
        .spread = spread,
        .kernels = fc_current_kernels(spread->dtype),
        .element = (ptrdiff_t)fc_element_size(spread->dtype),
    };
    if (spread->y.n * spread->y.h * spread->y.w * spread->y.c == 0)
        return FC_OK;
    fc_winograd_lanes_of(spread, &job.lanes);
    return compute(&job, plan(&job));
}
