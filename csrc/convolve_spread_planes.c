/* convolve_spread_planes.c: the taps of a kernel, or its rows of taps, as planes, with pixels in the lanes.
 *
 * With 1 output and 5x5 taps, a tile of convolve_planes.c would load a vector for each multiply-add. Here
 * the rows of taps are outputs of their own:
 *     t[i, k][r, o] = sum over channels c and taps j of a row of x[c][r, o + before - j] * kernel[i, j, c, k]
 *     y[k][p, o] = sum over rows of taps i of t[i, k][p + before - i, o]
 * A number of x is loaded once for 6 of them, 24 multiply-adds for 4 loads, which may cross lines, and 6
 * broadcasts; t costs a store, a load and an addition for each kw * c_in multiply-adds. What that costs is
 * x in planes: where its channels lie together a quarter of a cycle a number to turn it.
 *
 * At a stride, or with many rows of taps, each tap is an output of its own, to the bits of convolve_spread.c:
 *     t[i, j, k][r, q] = sum over channels c of x[c][r, q] * kernel[i, j, c, k]
 * With 3 outputs of 3x3 taps all lanes are full where 27 taps fill 27 of 32, and t is in planes, of which a phase
 * of columns of y adds whole vectors: MobileNet's first input gradient took 3.4 ms on Zen 4 (3.6 in planes), so 2.6
 * (2.1). Planes of many pixels are read where they lie.
 *
 * An item is a block of rows of y. The rows of x are copied a few at a time and follow each other with zeros between
 * them that the taps at the edges meet, in t as in x, but where a row is cut; t is a ring of as many rows as a row of
 * y reads. The next rows of x are asked for while tiles compute: there is as much to read as to compute.
 *
 * Each sum runs over blocks of channels that one chain sums, and within a block over channels and then the taps of a
 * chain; then over the rows of x from the first on, and the taps of each. */
#include <string.h>

#include "convolve_spread_planes.h"
#include "fetch_rows.h"
#include "parallel.h"
#include "workspace.h"

/* ----------------------------------------------------------------- scratch */

/* [taps, output][channel][tap of the chain]; a packed kernel has its taps in reverse. */
static void pack_weights(const struct fc_spread_job *job)
{
    const struct fc_spread *spread = job->spread;
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t taps = kernel->kh * kernel->kw, chained = job->plan->chained;
    const int64_t most = spread->packed ? FC_SLAB : kernel->c_in;
    for (int64_t c = 0; c < kernel->c_in; c += most)
        for (int64_t tap = 0; tap < taps; tap++) {
            const int64_t i = tap / kernel->kw, j = tap % kernel->kw;
            struct fc_block block = {
                .x = (const char *)kernel->data +
                     (i * kernel->stride_kh + j * kernel->stride_kw + c * kernel->stride_c_in) *
                         job->element,
                .y = job->weights + ((tap / chained * kernel->c_out * kernel->c_in + c) * chained +
                                     tap % chained) *
                                        job->element,
                .x_pixel = kernel->stride_c_in,
                .x_channel = kernel->stride_c_out,
                .y_pixel = chained,
                .y_channel = kernel->c_in * chained,
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

/* The weights, the bias of each phase, and the zeros between rows, which no item changes unless columns are cut. */
static void prepare(void *context, int64_t item, int worker)
{
    (void)item;
    (void)worker;
    const struct fc_spread_job *job = context;
    const struct fc_spread *spread = job->spread;
    const size_t bias = (size_t)(spread->kernel.c_out * job->element);
    pack_weights(job);
    for (int64_t phase = 0; spread->bias && phase < spread->stride[1]; phase++)
        memcpy(job->bias + (size_t)phase * bias, spread->bias, bias);
    for (int w = 0; w < job->plan->workers; w++)
        memset(job->scratch + (size_t)w * job->plan->worker_bytes, 0,
               job->plan->x_bytes + job->plan->t_bytes);
}

/* Tiles of all outputs. */
static int64_t tiles_of(const struct fc_spread_job *job)
{
    return fc_ceil_div(job->plan->columns, job->kernels->few.plane_outputs);
}

static int64_t pixels_of_tile(const struct fc_spread_job *job)
{
    return job->kernels->few.plane_units * job->plan->unit;
}

/* Terms are channels and then taps. */
static void list_terms(struct fc_spread_job *job)
{
    const struct fc_spread_planes_plan *plan = job->plan;
    for (int64_t c = 0; c < plan->block; c++)
        for (int64_t j = 0; j < plan->chained; j++)
            job->offset[c * plan->chained + j] = c * plan->x_plane - j;
    for (int64_t c = 0; plan->in_place && c < plan->block; c++)
        job->in_place[c] = c * job->spread->x.stride_c;
}

static void list_phases(struct fc_spread_job *job)
{
    const struct fc_spread *spread = job->spread;
    const int64_t stride = spread->stride[1];
    for (int64_t p = 0; p < stride; p++) {
        const int64_t at = p + spread->before[1], shift = fc_floor_div(at, stride);
        job->phase[p] = job->plan->chained > 1
                            ? (struct fc_spread_phase){0, 0, spread->y.w}
                            : (struct fc_spread_phase){(at - shift * stride) * job->plan->tap,
                                                       shift, fc_ceil_div(spread->y.w - p, stride)};
    }
}

/* ------------------------------------------------------------------- items */

/* Of x. */
struct rows {
    int64_t first, count;
};

/* Channels [c, c + count) of some rows of x, from pixel `from` of `end` on, to planes: of planes one after the other,
 * else row by row. */
static void pack_x(const struct fc_spread_item *item, const struct rows *rows, int64_t c,
                   int64_t count, int64_t from)
{
    const struct fc_spread_job *job = item->job;
    const struct fc_spread_planes_plan *plan = job->plan;
    const fc_image *x = &job->spread->x;
    const bool planes = x->stride_w == 1;
    for (int64_t i = 0; i < (planes ? count : rows->count); i++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = fc_spread_row(item, x, rows->first) +
                 ((item->begin + from) * x->stride_w + c * x->stride_c +
                  i * (planes ? x->stride_c : x->stride_h)) *
                     job->element,
            .y = item->x +
                 (plan->x_head + from + i * (planes ? plan->x_plane : plan->pitch)) * job->element,
            .x_pixel = x->stride_w,
            .x_channel = planes ? x->stride_h : x->stride_c,
            .y_pixel = 1,
            .y_channel = planes ? plan->pitch : plan->x_plane,
            .pixels = item->end - item->begin - from,
            .channels = planes ? rows->count : count,
        });
}

/* Those channels of the rows after these, or of as many of the next image: of planes each is a row of
 * memory, else all are one. Nothing else keeps the memory busy while tiles compute. */
static struct fc_later_rows find_later(const struct fc_spread_item *item, const struct rows *rows,
                                       int64_t c, int64_t count, int64_t tiles)
{
    const fc_image *x = &item->job->spread->x;
    const ptrdiff_t element = item->job->element;
    const int64_t end = rows->first + rows->count;
    const char *next = NULL;
    if (end < x->h)
        next = fc_spread_row(item, x, end);
    else if (item->n + 1 < x->n)
        next = fc_spread_row(item, x, 0) + x->stride_n * element;
    if (!next)
        return (struct fc_later_rows){0};
    const int64_t numbers = rows->count * (item->end - item->begin);
    next += item->begin * x->stride_w * element;
    if (x->stride_w == 1)
        return fc_plan_later_rows(next + c * x->stride_c * element, x->stride_c * element, count,
                                  numbers * element, tiles);
    return fc_plan_later_rows(next + c * numbers * element, 0, 1, numbers * count * element, tiles);
}

/* What channels [c, c + count) of some rows of x add to t. */
static void multiply(const struct fc_spread_item *item, const struct rows *rows, int64_t c,
                     int64_t count)
{
    const struct fc_spread_job *job = item->job;
    const struct fc_spread_planes_plan *plan = job->plan;
    const struct fc_spread *spread = job->spread;
    const int64_t chained = plan->chained, c_in = spread->kernel.c_in;
    const int64_t row = chained > 1 ? spread->y.w : item->end - item->begin;
    const int64_t length = (rows->count - 1) * plan->pitch + row;
    const int64_t most = pixels_of_tile(job), stretches = fc_ceil_div(length, most);
    const int64_t tiles = tiles_of(job);
    const char *x = item->x + (plan->x_head + (chained > 1 ? spread->before[1] : 0)) * job->element;
    if (row == 0)
        return;
    /* Tiles of one unit may read two. */
    const int64_t rest = length % most, unit = plan->unit;
    const bool whole = rest % unit == 0 && rest != unit;
    const int64_t packed_from = !plan->in_place ? 0 : whole ? length : length - rest;
    if (packed_from < length)
        pack_x(item, rows, c, count, packed_from);
    const char *in_place = fc_spread_row(item, &spread->x, rows->first) +
                           (item->begin + c * spread->x.stride_c) * job->element;
    struct fc_later_rows later = find_later(item, rows, c, count, stretches * tiles);
    char *t = item->t +
              (plan->head + (rows->first - item->base) * plan->pitch + item->begin - item->origin) *
                  job->element;
    struct fc_plane_tile tile = {
        .terms = count * chained,
        .weight_step = c_in * chained,
        .partial_step = plan->t_plane,
        .y_step = plan->t_plane,
    };
    for (int64_t s = 0; s < stretches; s++) {
        tile.pixels = (int)fc_min(length - s * most, most);
        tile.units = (int)fc_ceil_div(tile.pixels, plan->unit);
        const bool here = s * most < packed_from;
        tile.x = (here ? in_place : x) + s * most * job->element;
        tile.offset = here ? job->in_place : job->offset;
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t q = plan->columns * i / tiles;
            tile.outputs = (int)(plan->columns * (i + 1) / tiles - q);
            tile.weights = job->weights + (q * c_in + c) * chained * job->element;
            tile.y = t + (q * plan->t_plane + s * most) * job->element;
            tile.partial = c ? tile.y : NULL;
            tile.ahead = fc_take_later_rows(&later, tile.terms);
            job->kernels->few.plane_tile(&tile);
        }
    }
}

/* Row `row` of y, after the rows of x that it needs. */
static void compute_row(struct fc_spread_item *item, int64_t row)
{
    const struct fc_spread_planes_plan *plan = item->job->plan;
    const struct fc_spread_job *job = item->job;
    const int64_t c_in = job->spread->kernel.c_in, at = row + job->before;
    while (item->first < item->stop && item->first * job->stride <= at - job->spread->kernel.kh)
        item->first++;
    while (item->last < item->stop && item->last * job->stride <= at)
        item->last++;
    while (item->next < item->last) {
        if (item->next - item->base == plan->slots) {
            item->base = item->next;
            item->listed = FC_NO_ROW;
        }
        const struct rows rows = {item->next, fc_min(plan->x_rows, item->stop - item->next)};
        for (int64_t c = 0; c < c_in; c += plan->block)
            multiply(item, &rows, c, fc_min(plan->block, c_in - c));
        item->next += rows.count;
    }
    fc_add_spread_row(item, row);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct fc_spread_job *job = context;
    const struct fc_spread_planes_plan *plan = job->plan;
    const struct fc_spread *spread = job->spread;
    struct fc_spread_item item;
    item.job = job;
    item.column = index % plan->blocks * plan->width;
    item.listed = FC_NO_ROW;
    item.sums = (struct fc_shifted_sums){.offset = item.offset};
    item.x = job->scratch + (size_t)worker * plan->worker_bytes;
    item.t = item.x + plan->x_bytes;
    item.line = item.t + plan->t_bytes;
    index /= plan->blocks;
    item.n = index / plan->row_blocks;
    const int64_t row = index % plan->row_blocks * plan->height;
    const int64_t end = fc_min(row + plan->height, spread->y.h);
    item.pixels = fc_min(plan->width, plan->pixels - item.column);
    if (item.pixels <= 0)
        return;
    item.begin = fc_min(fc_max(item.column + plan->reach[0], 0), spread->x.w);
    item.end = fc_max(fc_min(item.column + item.pixels + plan->reach[1], spread->x.w), item.begin);
    item.origin = plan->cut ? item.column + plan->reach[0] : item.begin;
    const int64_t columns =
        fc_min(item.pixels * plan->phases, spread->y.w - item.column * plan->phases);
    item.whole = columns / plan->phases;
    item.rest = columns % plan->phases;
    item.at = plan->head + item.column - item.origin;
    if (plan->cut)
        memset(item.x, 0, plan->x_bytes + plan->t_bytes);
    const int64_t stride = spread->stride[0];
    item.base = item.next = item.first = item.last =
        fc_max(fc_ceil_div(row + spread->before[0] - spread->kernel.kh + 1, stride), 0);
    item.stop = fc_min(fc_floor_div(end - 1 + spread->before[0], stride) + 1, spread->x.h);
    for (int64_t r = row; r < end; r++)
        compute_row(&item, r);
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
    struct fc_spread_job job = {
        .spread = spread,
        .plan = &plan,
        .kernels = fc_current_kernels(spread->dtype),
        .element = (ptrdiff_t)fc_element_size(spread->dtype),
        .bias = scratch,
        .weights = scratch + plan.bias_bytes,
        .scratch = scratch + plan.weight_bytes,
        .stride = spread->stride[0],
        .before = spread->before[0],
        .direct = spread->y.stride_w == 1 && plan.phases == 1 && !spread->bias &&
                  !spread->residual.data && spread->activation == FC_LINEAR,
    };
    list_terms(&job);
    list_phases(&job);
    fc_parallel_for(1, 1, FC_KEEP_DENORMALS, prepare, &job);
    fc_parallel_for(plan.items, plan.workers, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
