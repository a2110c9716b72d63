/* winograd.c: forward passes and input gradients by Winograd's tiles.
 *
 * An item of work is a block of tiles, of any images, for some or all panels of the kernel:
 *     for all channels, or, where there are many, each chunk:
 *         take the tiles of x to positions, slab by slab of 16 channels                   (V)
 *         for each panel of the kernel, chunk, position and few tiles:  M += V U
 *     take M back to outputs, panel by panel
 * V of a block is [few tiles][slab][position][tile][16]: the positions of a tile's slab lie on 8 pages.
 * With those outermost, in the order of the products, they were 36 pages, more than the 16 whose addresses
 * a core knows for its stores, and the whole took 3 to 6 % longer. M is
 * [panel][position][tile][32], of one panel, which returns to outputs when its channels are summed, or
 * of the panels that wait for the next chunk of channels. Where short tiles end rows or columns, the
 * tiles that a position has are cut in groups of their own: V is [slab][position][tile][16], which
 * costs 5 % with 128 channels. For F(4x4,3x3) with 64 channels and 42 tiles V is 0.4 MB and M 0.2 MB: both
 * stay in the second-level cache. The products of 42 tiles, 128 channels and 32 outputs read 21 KB of V and 16 of
 * U in 5376 cycles, 7 bytes a cycle, which the third-level cache sustains when asked: groups of 7 tiles after the
 * first find U in the first-level cache.
 *
 * No sum crosses tiles, so blocks may depend on the batch and the threads, and the bits do not. */
#include "winograd.h"

#include <string.h>

#include "dispatch.h"
#include "parallel.h"
#include "stream.h"
#include "winograd_ahead.h"
#include "winograd_turns.h"
#include "workspace.h"

struct job {
    const struct fc_winograd_plan *plan;
    const struct fc_winograd_kernels *kernels;
    struct fc_winograd_target target;
    char *scratch;
    unsigned char *bad;           /* for each line, whether a sum was not finite */
    struct fc_winograd_item pass; /* all blocks of it, and its transformed kernel or NULL */
    const char *transformed;
};

/* An item, the group of it at work, and one worker's scratch. */
struct work {
    const struct job *job;
    struct fc_winograd_item item;
    int64_t next; /* the item after */
    int64_t group;
    struct fc_winograd_turns *turns; /* of its block */
    /* What is asked for meanwhile: the x of what follows, a chunk or the item `next`, the y of a panel, and taps. */
    struct {
        struct fc_winograd_ahead x, y, kernel;
    } ahead;
    char *x, *v, *m, *u, *strip, *staging;
};

static struct work work_at(const struct job *job, int64_t index, int worker,
                           struct fc_winograd_turns *turns)
{
    const struct fc_winograd_plan *plan = job->plan;
    struct work work = {
        .job = job,
        .item = fc_winograd_item_at(plan, &job->pass, index),
        .next = index + 1,
        .turns = turns,
        .x = job->scratch + (size_t)worker * plan->worker_bytes,
    };
    work.v = work.x + plan->x_bytes;
    work.m = work.v + plan->v_bytes;
    work.strip = work.m + plan->m_bytes;
    work.staging = work.strip + plan->strip_bytes;
    work.u = work.staging + plan->staging_bytes;
    return work;
}

/* -------------------------------------------------------------------- work */

/* A transformed chunk of panel p. */
static const char *find_chunk(const struct work *work, int64_t p, int64_t chunk)
{
    const struct job *job = work->job;
    if (job->transformed)
        return job->transformed +
               (fc_winograd_kernel_offset(&job->plan->kernel, work->group, p, chunk) -
                fc_winograd_kernel_offset(&job->plan->kernel, job->pass.group, job->pass.panel,
                                          0)) *
                   job->target.element;
    fc_winograd_transform_chunk(&job->plan->kernel, work->group, p, chunk, work->staging, work->u);
    return work->u;
}

/* A turn's tiles, from v on, with units of a panel: whole groups in one call. The product has what all turns share, and
 * its first m. */
static void multiply_tiles(const struct job *job, const struct fc_winograd_turn *turn,
                           const char *v, const char *after, const char *next,
                           struct fc_winograd_product *product)
{
    const ptrdiff_t element = job->target.element;
    const char *rest = v + turn->groups * product->v_group * element;
    product->v = v;
    product->after = turn->left > 0 ? rest : after;
    product->next = next;
    product->groups = turn->groups;
    product->tiles = (int)turn->few;
    if (turn->groups > 0)
        job->kernels->product(product);
    if (turn->left == 0)
        return;
    product->v = rest;
    product->after = after;
    product->next = next + turn->groups * product->channels * product->next_row;
    product->m = (char *)product->m + turn->groups * turn->few * product->m_tile * element;
    product->groups = 1;
    product->tiles = (int)turn->left;
    job->kernels->product(product);
}

/* The products of panel p with one of the chunks that V has from `first` on. */
static void multiply_chunk(struct work *work, int64_t p, int64_t index, int64_t first, char *m)
{
    const struct job *job = work->job;
    const struct fc_winograd_plan *plan = job->plan;
    const struct fc_winograd_layout *layout = &plan->layout;
    const ptrdiff_t element = job->target.element;
    const char *chunk = find_chunk(work, p, index);
    const struct fc_winograd_chunk of = fc_winograd_chunk_at(plan->channels.c_in, index);
    const struct fc_conv2d_kernels *sizes = job->target.kernels;
    const int64_t most = sizes->tile_units * plan->channels.unit;
    const int64_t before = fc_winograd_chunk_at(plan->channels.c_in, first).slab;
    const char *v = work->v + (of.slab - before) * layout->v_slab * element;
    int64_t matrix;
    fc_winograd_chunk_elements(&job->plan->kernel, p, index, &matrix);
    fc_winograd_take_turns(plan, &work->item.block, of.piece, sizes->chain_pixels, work->turns);
    struct fc_winograd_product product = {
        .v_slab = layout->v_slab,
        .u_row = fc_panel_width(&plan->channels, p),
        .m_tile = plan->pitch,
        .channels = of.channels,
        .add = index > 0,
    };
    const struct fc_winograd_turn *turn = work->turns->of, *end = turn + work->turns->count;
    for (; turn < end; turn++) {
        product.v_group = turn->v_group;
        product.next_row = turn->next_row;
        for (int64_t k = 0; k < product.u_row; k += most) {
            product.u = chunk + (turn->matrix * matrix + k) * element;
            product.m =
                m + (turn->position * plan->m_position + turn->begin * plan->pitch + k) * element;
            product.units = (int)(fc_min(product.u_row - k, most) / plan->channels.unit);
            multiply_tiles(job, turn, v + turn->v * element, v + turn[1].v * element,
                           chunk + turn->next * matrix * element, &product);
        }
        fc_winograd_ahead_step(&work->ahead.x);
        fc_winograd_ahead_step(&work->ahead.y);
        fc_winograd_ahead_step(&work->ahead.kernel);
    }
}

static void gather_lines(const struct work *work, int64_t p, const char *m)
{
    const struct job *job = work->job;
    const struct fc_winograd_block *block = &work->item.block;
    const struct fc_channels *channels = &job->plan->channels;
    for (int64_t line = block->line; line < block->line + block->lines; line++)
        if (!fc_winograd_gather_line(&job->target, block, line,
                                     work->group * channels->c_out + p * channels->panel,
                                     fc_panel_outputs(channels, p), m, work->strip))
            __atomic_store_n(&job->bad[line], 1, __ATOMIC_RELAXED);
}

/* The channels of chunks [chunk, end), all of them or one, to V. */
static void spread_chunks(const struct work *work, int64_t chunk, int64_t end)
{
    const struct fc_winograd_plan *plan = work->job->plan;
    const ptrdiff_t element = work->job->target.element;
    const int64_t slabs = fc_ceil_div(plan->spread, FC_SLAB) * plan->layout.v_slab;
    const struct fc_winograd_chunk first = fc_winograd_chunk_at(plan->channels.c_in, chunk);
    const struct fc_winograd_chunk last = fc_winograd_chunk_at(plan->channels.c_in, end - 1);
    for (int64_t piece = first.piece; piece <= last.piece; piece++) {
        struct fc_winograd_source source = plan->source;
        source.piece = fc_winograd_piece_at(&plan->form, piece);
        fc_winograd_spread_block(&source, &work->item.block,
                                 work->group * plan->channels.c_in + first.c,
                                 last.c + last.channels - first.c, work->x,
                                 work->v + (piece - first.piece) * slabs * element);
    }
}

/* The y of a panel, unless its pixels are rows, which the prefetcher follows, or go past the caches. */
static struct fc_winograd_ahead ask_for_y(const struct work *work, int64_t p)
{
    const struct job *job = work->job;
    const struct fc_winograd_plan *plan = job->plan;
    const int64_t outputs = fc_panel_outputs(&plan->channels, p);
    if (!plan->asks_y || job->target.stream || job->target.convolution->y.stride_w == outputs)
        return (struct fc_winograd_ahead){0};
    return fc_winograd_ahead_of(&plan->source, &work->item.block, true,
                                work->group * plan->channels.c_out + p * plan->channels.panel,
                                outputs, plan->depth * plan->form.positions);
}

/* Of many channels the x of the chunk after one, of the same block or, behind the last, of the item after. Planes,
 * which are packed first, take 2 to 4 % longer with it. */
static struct fc_winograd_ahead ask_for_x(const struct work *work, int64_t chunk)
{
    const struct job *job = work->job;
    const struct fc_winograd_plan *plan = job->plan;
    const bool last = chunk + 1 == plan->chunks;
    if (!plan->asks_y || job->target.convolution->x.stride_c != 1 ||
        (last && work->next == plan->blocks * plan->shares * plan->sets))
        return (struct fc_winograd_ahead){0};
    const struct fc_winograd_chunk of =
        fc_winograd_chunk_at(plan->channels.c_in, last ? 0 : chunk + 1);
    struct fc_winograd_source source = plan->source;
    source.piece = fc_winograd_piece_at(&plan->form, of.piece);
    const struct fc_winograd_item after =
        last ? fc_winograd_item_at(plan, &job->pass, work->next) : work->item;
    return fc_winograd_ahead_of(&source, &after.block, false,
                                work->group * plan->channels.c_in + of.c, of.channels,
                                (work->item.end_panel - work->item.panel) * plan->form.positions);
}

/* What is transformed after a chunk of panel p. */
static struct fc_winograd_ahead ask_for_kernel(const struct work *work, int64_t p, int64_t chunk)
{
    const struct fc_winograd_plan *plan = work->job->plan;
    const int64_t end = work->item.end_panel;
    const bool by_chunk = plan->depth < plan->chunks; /* which all panels meet before the next */
    int64_t of = p, next = chunk;
    if (by_chunk && ++of == end) {
        of = work->item.panel;
        next++;
    } else if (!by_chunk && ++next == plan->chunks) {
        next = 0;
        of++;
    }
    if (work->job->transformed || of == end || next == plan->chunks)
        return (struct fc_winograd_ahead){0};
    return fc_winograd_ahead_of_kernel(&plan->kernel, work->group, of, next, plan->form.positions);
}

/* The item's panels of a group. */
static void compute_group(struct work *work)
{
    const struct fc_winograd_plan *plan = work->job->plan;
    const struct fc_winograd_item *item = &work->item;
    const int64_t panel = item->panel, end = item->end_panel;
    const int64_t channels = (item->end_group - item->group) * plan->channels.c_in;
    for (int64_t first = 0; first < plan->chunks && panel < end; first += plan->depth) {
        const int64_t stop = first + plan->depth;
        if (plan->packs)
            fc_winograd_spread_packed(&plan->source, &item->block, channels,
                                      work->group - item->group, work->x, work->v);
        else
            spread_chunks(work, first, stop);
        if (plan->depth < plan->chunks)
            work->ahead.x = ask_for_x(work, first);
        for (int64_t p = panel; p < end; p++) {
            char *m =
                work->m + (p - panel) % plan->kept * plan->m_panel * work->job->target.element;
            if (stop == plan->chunks)
                work->ahead.y = ask_for_y(work, p);
            for (int64_t chunk = first; chunk < stop; chunk++) {
                work->ahead.kernel = ask_for_kernel(work, p, chunk);
                multiply_chunk(work, p, chunk, first, m);
            }
            if (stop == plan->chunks)
                gather_lines(work, p, m);
        }
    }
}

/* The x of an item's groups, packed where the plan says so, and that of the item after, which is asked for
 * meanwhile. */
static void pack_groups(struct work *work)
{
    const struct fc_winograd_plan *plan = work->job->plan;
    const struct fc_winograd_item *item = &work->item;
    const int64_t c_in = plan->channels.c_in, groups = item->end_group - item->group;
    if (plan->packs && groups > 0)
        fc_winograd_pack_block(&plan->source, &item->block, item->group * c_in, groups * c_in,
                               work->x);
    const int64_t products = groups * (item->end_panel - item->panel) * plan->chunks;
    if (plan->asks_x && products > 0 && work->next < plan->blocks * plan->shares * plan->sets) {
        const struct fc_winograd_item after =
            fc_winograd_item_at(plan, &work->job->pass, work->next);
        work->ahead.x = fc_winograd_ahead_of(&plan->source, &after.block, false, after.group * c_in,
                                             (after.end_group - after.group) * c_in,
                                             products * plan->form.positions);
    }
}

static void compute_item(void *context, int64_t index, int worker)
{
    struct fc_winograd_turns turns;
    turns.piece = -1;
    struct work work = work_at(context, index, worker, &turns);
    pack_groups(&work);
    for (work.group = work.item.group; work.group < work.item.end_group; work.group++)
        compute_group(&work);
}

/* The kernels of a pass, which follow each other. */
static fc_status transform_groups(const struct job *job, char *u)
{
    const struct fc_winograd_kernel *kernel = &job->plan->kernel;
    fc_status status = FC_OK;
    for (int64_t group = job->pass.group; group < job->pass.end_group && status == FC_OK; group++)
        status = fc_winograd_transform_panels(
            kernel, group, job->pass.panel, job->pass.end_panel,
            u + (fc_winograd_kernel_offset(kernel, group, 0, 0) -
                 fc_winograd_kernel_offset(kernel, job->pass.group, 0, 0)) *
                    job->target.element);
    return status;
}

/* All panels of all groups, a pass at a time; u is where a pass's kernel is transformed to. */
static fc_status compute_passes(struct job *job, const char *transformed, char *u)
{
    const struct fc_winograd_plan *plan = job->plan;
    const int64_t panels = fc_panel_count(&plan->channels);
    for (job->pass.group = 0; job->pass.group < plan->channels.groups;
         job->pass.group = job->pass.end_group) {
        job->pass.end_group = fc_min(job->pass.group + plan->pass_groups, plan->channels.groups);
        for (job->pass.panel = 0; job->pass.panel < panels; job->pass.panel += plan->pass_panels) {
            job->pass.end_panel = fc_min(job->pass.panel + plan->pass_panels, panels);
            if (transformed) {
                job->transformed =
                    transformed + fc_winograd_kernel_offset(&job->plan->kernel, job->pass.group,
                                                            job->pass.panel, 0) *
                                      job->target.element;
            } else if (!plan->fused) {
                const fc_status status = transform_groups(job, u);
                if (status != FC_OK)
                    return status;
                job->transformed = u;
            }
            fc_parallel_for(plan->blocks * plan->shares * plan->sets, plan->width,
                            FC_FLUSH_DENORMALS, compute_item, job);
        }
    }
    return FC_OK;
}

/* -------------------------------------------------------------------- call */

fc_status fc_winograd_convolve(int form, const struct fc_convolution *convolution,
                               const void *transformed)
{
    if (convolution->y.n * convolution->y.h * convolution->y.w == 0)
        return FC_OK;
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    struct fc_winograd_plan plan;
    if (!fc_winograd_make_plan(form, convolution, transformed, &plan))
        return FC_OVERFLOW;
    char *scratch;
    fc_status status =
        fc_workspace_divide(plan.shared_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;
    const ptrdiff_t element = plan.kernel.panels.element;
    struct job job = {
        .plan = &plan,
        .kernels = &table->winograd,
        .target = {convolution, &table->conv2d, plan.kernel.transforms, &plan.cut, plan.form,
                   element, plan.pitch, plan.m_position,
                   fc_streams_image(&convolution->y, false, element)},
        .bad = (unsigned char *)scratch + plan.pass_bytes,
        .scratch = scratch + plan.shared_bytes,
    };
    memset(job.bad, 0, plan.bad_bytes);
    status = compute_passes(&job, transformed, scratch);
    if (status == FC_OK)
        status = fc_winograd_compute_again(&job.target, job.bad);
    fc_workspace_release(scratch);
    return status;
}
