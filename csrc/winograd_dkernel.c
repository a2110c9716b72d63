/* winograd_dkernel.c: kernel gradients by Winograd's tiles.
 *
 * The gradient of a tile's taps from its inputs and the gradients of its outputs is again a short
 * convolution, F(r x r, m x m), with the same points: x is taken to positions as in the forward pass,
 * dy by evaluate(), and after all tiles are summed the 36 positions return to 9 taps, once a call.
 *
 * An owner holds the positions of a part, 128 channels x 2 panels, for F(4x4,3x3) 1.2 MB, and adds block
 * after block of tiles in order; for each position
 *     sums[c][k] += sum over the tiles of a block of V[tile][c] * D[tile][k]
 * in one chain, by the tiles of the direct kernel gradient. A kernel of stride 2 is four pieces of 1 or 2 taps each
 * way, each of every second pixel of x: 81 products of a tile's 16 outputs for 144. What the next block reads is asked
 * for while one is multiplied: without, two thirds of the time that taking x to positions took were waiting, and tiles
 * won nothing over direct sums. */
#include <string.h>

#include "dispatch.h"
#include "parallel.h"
#include "sum_channels.h"
#include "winograd_ahead.h"
#include "winograd_dkernel_plan.h"
#include "workspace.h"

struct job {
    const struct fc_convolution *convolution; /* y stands for dy, kernel for dkernel */
    const struct fc_winograd_dkernel_plan *plan;
    const struct fc_conv2d_kernels *kernels;
    void (*outer)(const struct fc_winograd_outer *);
    ptrdiff_t element;
    char *sums, *scratch;
    int finite;
};

/* One part, and one worker's scratch. */
struct part {
    struct job *job;
    int64_t group, piece, c, channels, panel, panels;
    char *x, *v, *d, *sums, *staging;
};

static struct part find_part(struct job *job, int64_t index, int worker)
{
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    const int64_t rest = index / plan->panel_parts;
    struct part part = {
        .job = job,
        .group = rest / plan->channel_parts / plan->form.pieces,
        .piece = rest / plan->channel_parts % plan->form.pieces,
        .c = rest % plan->channel_parts * plan->part_channels,
        .panel = index % plan->panel_parts * plan->part_panels,
        .x = job->scratch + (size_t)worker * plan->worker_bytes,
    };
    part.channels = fc_min(plan->part_channels, plan->channels.c_in - part.c);
    part.panels = fc_min(plan->part_panels, fc_panel_count(&plan->channels) - part.panel);
    part.v = part.x + plan->x_bytes;
    part.d = part.v + plan->v_bytes;
    part.staging = part.d + plan->d_bytes;
    return part;
}

/* -------------------------------------------------------------------- sums */

/* Adds one position's products over tiles [first_tile, end) of a block. */
static void add_position(const struct part *part, int64_t at, int64_t first_tile, int64_t end,
                         int64_t columns, bool begin)
{
    const struct job *job = part->job;
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    const int64_t most = job->kernels->tile_units * plan->channels.unit;
    const int64_t pieces = fc_ceil_div(part->channels, job->kernels->dkernel_elements);
    struct fc_winograd_outer outer = {
        .v_tile = plan->v_tile,
        .d_tile = plan->d_tile,
        .s_row = plan->s_row,
        .tiles = end - first_tile,
        .begin = begin,
    };
    for (int64_t i = 0; i < pieces; i++)
        for (int64_t k = 0; k < columns; k += most) {
            const int64_t first = part->channels * i / pieces;
            outer.v =
                part->v +
                (at * plan->x.layout.v_position + first_tile * plan->v_tile + first) * job->element;
            outer.d = part->d + (at * plan->dy.layout.v_position + first_tile * plan->d_tile + k) *
                                    job->element;
            outer.s = part->sums + (at * plan->s_position + first * plan->s_row + k) * job->element;
            outer.channels = (int)(part->channels * (i + 1) / pieces - first);
            outer.units = (int)(fc_min(columns - k, most) / plan->channels.unit);
            job->outer(&outer);
        }
}

/* Positions that a piece lacks hold nothing, for taps that it lacks. */
static void clear_lacking(const struct part *part)
{
    const struct fc_winograd_dkernel_plan *plan = part->job->plan;
    const struct fc_winograd_piece piece = fc_winograd_piece_at(&plan->form, part->piece);
    for (int64_t at = 0; at < plan->form.positions; at++)
        if (!fc_winograd_piece_has(&plan->form, &piece, at))
            memset(part->sums + at * plan->s_position * part->job->element, 0,
                   (size_t)(plan->s_position * part->job->element));
}

/* Outputs [first, first + count) of the convolution's channels that the part holds, and the columns
 * that they fill. */
static int64_t part_outputs(const struct part *part, int64_t *columns)
{
    const struct fc_channels *channels = &part->job->plan->channels;
    const int64_t last = part->panel + part->panels - 1;
    const int64_t before = (part->panels - 1) * channels->panel;
    *columns = before + fc_panel_width(channels, last);
    return before + fc_panel_outputs(channels, last);
}

/* The x that a part's piece of the kernel slides over. */
static struct fc_winograd_source x_under(const struct part *part)
{
    struct fc_winograd_source x = part->job->plan->x;
    x.piece = fc_winograd_piece_at(&part->job->plan->form, part->piece);
    return x;
}

/* The x or the dy of the block after, where blocks are rows of the images; of 32 channels and 32 outputs the asking
 * takes 3 % and gains none, but where they are far: 8 images of 28x28 with 32 groups of 16 channels took 4.2 ms on
 * Zen 5 and take 3.7. */
static struct fc_winograd_ahead ask_for(const struct part *part, int64_t step, bool of_dy)
{
    const struct job *job = part->job;
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_axis *axis = job->convolution->axis;
    if ((part->panels == 1 && part->channels <= channels->panel && !plan->far) ||
        (plan->form.pieces > 1 && plan->form.stride == 1) || axis[0].dilation > 1 ||
        axis[1].dilation > 1)
        return (struct fc_winograd_ahead){0};
    const struct fc_winograd_block block = fc_winograd_block_at(&plan->cut, step);
    const struct fc_winograd_source x = x_under(part);
    int64_t columns;
    const int64_t outputs = part_outputs(part, &columns);
    return fc_winograd_ahead_of(
        &x, &block, of_dy,
        of_dy ? part->group * channels->c_out + part->panel * channels->panel
              : part->group * channels->c_in + part->c,
        of_dy ? outputs : part->channels, fc_winograd_positions_of_piece(&plan->form, &x.piece));
}

/* A step's block, while that of the step after is asked for, where there is one. */
static void add_block(const struct part *part, int64_t step, bool begin, bool last)
{
    const struct job *job = part->job;
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_winograd_block now = fc_winograd_block_at(&plan->cut, step), *block = &now;
    int64_t columns;
    const int64_t outputs = part_outputs(part, &columns);
    struct fc_winograd_ahead of_x = {0}, of_dy = {0};
    if (!last) {
        of_x = ask_for(part, step + 1, false);
        of_dy = ask_for(part, step + 1, true);
    }
    const struct fc_winograd_source x = x_under(part);
    fc_winograd_spread_block(&x, block, part->group * channels->c_in + part->c, part->channels,
                             part->x, part->v);
    fc_winograd_spread_block(&plan->dy, block,
                             part->group * channels->c_out + part->panel * channels->panel, outputs,
                             part->x, part->d);
    for (int64_t at = 0; at < plan->form.positions; at++) {
        int64_t first, end;
        if (!fc_winograd_piece_has(&plan->form, &x.piece, at))
            continue;
        fc_winograd_tiles_with(&plan->cut, block, at, &first, &end);
        add_position(part, at, first, end, columns, begin);
        fc_winograd_ahead_step(&of_x);
        fc_winograd_ahead_step(&of_dy);
    }
}

/* ------------------------------------------------------------------ result */

/* Channels [c, c + rows) of panel p of a part from positions to taps; whether all are finite. */
static bool gather_taps(const struct part *part, int64_t p, int64_t c, int64_t rows)
{
    const struct job *job = part->job;
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const int64_t width = fc_panel_width(channels, p), taps = plan->form.taps[1];
    const bool finite = plan->kernel.transforms->dkernel(&(struct fc_winograd_gather){
        .x = part->sums + (c * plan->s_row + (p - part->panel) * channels->panel) * job->element,
        .x_position = plan->s_position,
        .x_tile = plan->s_row,
        .y = part->staging,
        .y_row = taps * rows * width,
        .y_column = rows * width,
        .y_tile = width,
        .tiles = rows,
        .channels = fc_panel_outputs(channels, p),
        .rows = plan->form.taps[0],
        .columns = rows * taps,
    });
    fc_winograd_copy_taps(&plan->kernel, part->group, p,
                          &(struct fc_winograd_chunk){part->piece, part->c + c, rows, 0},
                          part->staging, false);
    return finite;
}

static void store_sums(const struct part *part)
{
    struct job *job = part->job;
    for (int64_t p = part->panel; p < part->panel + part->panels; p++)
        for (int64_t c = 0; c < part->channels; c += FC_SLAB)
            if (!gather_taps(part, p, c, fc_min(FC_SLAB, part->channels - c)))
                __atomic_store_n(&job->finite, 0, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------- items */

/* Item: a chunk of the blocks of one part; one that is the whole part is stored at once. */
static void sum_chunk(void *context, int64_t item, int worker)
{
    struct job *job = context;
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    const int64_t chunk = item % plan->chunks, sums = plan->chunks > 1 ? item : worker;
    struct part part = find_part(job, item / plan->chunks, worker);
    part.sums = job->sums + (size_t)sums * plan->s_bytes;
    const int64_t first = plan->steps * chunk / plan->chunks;
    const int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    clear_lacking(&part);
    for (int64_t step = first; step < end; step++)
        add_block(&part, step, step == first, step == end - 1);
    if (plan->chunks == 1)
        store_sums(&part);
}

/* Item: a part of several chunks, added in order to the first. */
static void add_chunks(void *context, int64_t item, int worker)
{
    struct job *job = context;
    const struct fc_winograd_dkernel_plan *plan = job->plan;
    struct part part = find_part(job, item, worker);
    const int64_t elements = (int64_t)plan->s_bytes / job->element;
    part.sums = job->sums + (size_t)(item * plan->chunks) * plan->s_bytes;
    fc_add_chunks(job->kernels, part.sums, plan->chunks, elements, job->element);
    store_sums(&part);
}

/* -------------------------------------------------------------------- call */

fc_status fc_winograd_dkernel(int form, const struct fc_convolution *convolution, bool *finite)
{
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    struct fc_winograd_dkernel_plan plan;
    fc_winograd_make_dkernel_plan(form, convolution, &plan);
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = &table->conv2d,
        .outer = table->winograd.outer,
        .element = plan.kernel.panels.element,
        .finite = 1,
    };
    const size_t workers = plan.worker_bytes * (size_t)plan.width;
    const int64_t sums = plan.chunks > 1 ? plan.parts * plan.chunks : plan.width;
    size_t total;
    if (__builtin_mul_overflow(plan.s_bytes, (size_t)sums, &total) ||
        __builtin_add_overflow(total, workers, &total))
        return FC_OVERFLOW;
    job.scratch = fc_workspace_acquire(total);
    if (!job.scratch)
        return FC_NO_MEMORY;
    job.sums = job.scratch + workers;
    fc_parallel_for(plan.parts * plan.chunks, plan.width, FC_FLUSH_DENORMALS, sum_chunk, &job);
    if (plan.chunks > 1)
        fc_parallel_for(plan.parts, plan.width, FC_FLUSH_DENORMALS, add_chunks, &job);
    fc_workspace_release(job.scratch);
    *finite = job.finite;
    return FC_OK;
}
