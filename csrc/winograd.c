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
 * costs 5 % with 128 channels. For F(4x4,3x3) with 64 channels and 56 tiles V is 0.5 MB and M 0.25 MB: both
 * stay in the second-level cache. A product of 14 tiles, 128 channels and 32 outputs reads 7 KB of V and its
 * share of 16 KB of U in 1792 cycles: 4 to 6 bytes a cycle, which the third-level cache sustains when asked.
 *
 * The kernel comes from the third-level cache once a block. V of all of 512 channels leaves room for 20
 * tiles; V of 128 and M of 8 panels, for 33, and with 2048 channels for 60 where there were 5: V is
 * made again for every 8 panels, and takes 1.1 to 2.5 times less all the same. Pieces of a kernel are chunks
 * like any other: as if each read channels of its own.
 *
 * A kernel that is transformed inside the call is made chunk by chunk where it is used, if one block holds all
 * tiles (512 x 512 at 7 x 7, 8 images: 37 MB that are never written to memory), or if its panels are so large
 * that V would be made again for each; else in passes over panels: no more than U_BYTES of it exist.
 *
 * No sum crosses tiles, so blocks may depend on the batch and the threads, and the bits do not. */
#include "winograd.h"

#include <string.h>

#include "dispatch.h"
#include "parallel.h"
#include "stream.h"
#include "winograd_tiles.h"
#include "workspace.h"

enum {
    U_BYTES = 16 << 20, /* of the kernel that blocks share: the third-level cache keeps it */
    FEW_PANELS = 3      /* that V is not taken to positions for */
};

struct plan {
    struct fc_channels channels;
    struct fc_winograd_form form;
    struct fc_winograd_cut cut;
    int64_t blocks, shares, share_panels, pass_panels;
    int64_t chunks, depth; /* all, and those that are taken to positions at once: all or one */
    int64_t spread;        /* channels of a piece that are so */
    int64_t kept;          /* panels whose sums wait for the next */
    bool fused;            /* the kernel is transformed chunk by chunk where it is used */
    struct fc_winograd_layout layout;
    int64_t v_elements, m_position, m_panel;
    size_t x_bytes, v_bytes, m_bytes, u_bytes, strip_bytes, staging_bytes, worker_bytes;
    int width;
};

struct job {
    const struct plan *plan;
    const struct fc_winograd_kernels *kernels;
    struct fc_winograd_kernel kernel;
    struct fc_winograd_source source;
    struct fc_winograd_target target;
    char *scratch;
    unsigned char *bad; /* for each line, whether a sum was not finite */
    /* Of this pass: a group, some of its panels, and those transformed or NULL. */
    int64_t group, panel, end_panel;
    const char *transformed;
};

/* A worker's scratch. */
struct scratch {
    char *x, *v, *m, *u, *strip, *staging;
};

/* -------------------------------------------------------------------- plan */

static void cut_blocks(const struct fc_convolution *convolution, struct plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t panels = fc_panel_count(channels);
    plan->cut = fc_winograd_find_images(&plan->form, convolution);
    const int64_t all = plan->cut.images * plan->cut.tile_rows * plan->cut.tile_columns;
    const int64_t products = plan->form.positions * plan->form.pieces;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t v_bytes = all * products * fc_whole_units(channels->c_in, FC_SLAB) * element;
    const int64_t u_bytes = products * channels->c_in * panels * channels->panel * element;
    const double work = 2.0 * (double)(all * products) * (double)(channels->c_in * channels->c_out);
    plan->width = fc_parallel_width(all * panels, work);
    /* Threads that share a block each take all of x to positions, for some panels of a kernel too large to be
     * shared: 5x5 from 128 to 48 channels at 7x7, 8 images, took 1.3 times as long on two as with a block each. */
    const bool one_block = (plan->width == 1 || u_bytes > FC_WINOGRAD_MOST_V_BYTES) &&
                           v_bytes <= FC_WINOGRAD_MOST_V_BYTES && all <= FC_WINOGRAD_MOST_TILES;
    const struct fc_winograd_depth depth =
        fc_winograd_depth_of(&plan->form, &plan->cut, channels, element);
    plan->chunks = fc_winograd_chunks(&plan->form, channels->c_in);
    plan->depth = one_block ? plan->chunks : depth.chunks;
    plan->spread =
        plan->depth < plan->chunks ? fc_min(FC_WINOGRAD_CHUNK, channels->c_in) : channels->c_in;

    /* Few blocks are made as many as the threads, or a multiple. */
    int64_t most = one_block ? all : depth.tiles;
    const int64_t blocks = fc_ceil_div(all, most);
    if (!one_block && blocks < 4 * plan->width)
        most = fc_ceil_div(all, fc_ceil_div(blocks, plan->width) * plan->width);
    fc_winograd_cut_blocks(&plan->cut, most);
    plan->blocks = plan->cut.line_blocks * plan->cut.column_blocks;
    plan->fused = plan->blocks == 1;
}

static void plan_passes(const struct fc_winograd_kernel *kernel, bool transformed,
                        struct plan *plan)
{
    const int64_t panels = fc_panel_count(&plan->channels);
    const int64_t panel_bytes = fc_winograd_kernel_offset(kernel, 0, 1, 0) * kernel->panels.element;
    const bool deep = plan->depth < plan->chunks;
    const bool few = U_BYTES < FEW_PANELS * panel_bytes;
    plan->fused |= !transformed && deep && few;
    plan->pass_panels = plan->fused || (transformed && (!deep || few))
                            ? panels
                            : fc_max(fc_min(U_BYTES / panel_bytes, panels), 1);
    plan->shares = fc_min(fc_max(plan->width / plan->blocks, 1), plan->pass_panels);
    if (deep)
        plan->shares =
            fc_max(plan->shares, fc_ceil_div(plan->pass_panels, FC_WINOGRAD_KEPT_PANELS));
    plan->share_panels = fc_ceil_div(plan->pass_panels, plan->shares);
    plan->shares = fc_ceil_div(plan->pass_panels, plan->share_panels);
    plan->kept = deep ? plan->share_panels : 1;
}

static void plan_layout(int tile_pixels, struct plan *plan)
{
    const int64_t tiles = plan->cut.lines * plan->cut.columns, unit = plan->channels.unit;
    const int64_t slabs =
        fc_ceil_div(plan->spread, FC_SLAB) * (plan->depth < plan->chunks ? 1 : plan->form.pieces);
    const bool grouped = !fc_winograd_has_short(&plan->cut);
    const int64_t few = grouped ? fc_ceil_div(tiles, fc_ceil_div(tiles, tile_pixels)) : tiles;
    const int64_t position = few * FC_SLAB + (grouped ? 0 : unit);
    const int64_t slab = plan->form.positions * position + unit;
    plan->layout = (struct fc_winograd_layout){few, slabs * slab, slab, FC_SLAB, position};
    plan->v_elements = fc_ceil_div(tiles, few) * slabs * slab;
    plan->m_position = tiles * plan->channels.panel + unit;
    plan->m_panel = plan->form.positions * plan->m_position;
}

static void plan_scratch(const struct job *job, struct plan *plan)
{
    const size_t element = job->source.padded.element;
    const int64_t strip = plan->form.outputs[0] * plan->cut.columns * plan->form.outputs[1];
    int64_t position;
    plan->x_bytes = fc_round_to_line(fc_winograd_spread_bytes(&job->source, plan->spread));
    plan->v_bytes = fc_round_to_line((size_t)plan->v_elements * element);
    plan->m_bytes = fc_round_to_line((size_t)(plan->kept * plan->m_panel) * element);
    plan->strip_bytes = fc_round_to_line((size_t)(strip * plan->channels.panel) * element);
    plan->staging_bytes = fc_round_to_line((size_t)fc_winograd_staging(&job->kernel) * element);
    const int64_t chunk = fc_winograd_chunk_elements(&job->kernel, 0, 0, &position);
    plan->u_bytes = plan->fused ? fc_round_to_line((size_t)chunk * element) : 0;
    plan->worker_bytes = plan->x_bytes + plan->v_bytes + plan->m_bytes + plan->strip_bytes +
                         plan->staging_bytes + plan->u_bytes;
}

static struct scratch scratch_of(const struct job *job, int worker)
{
    const struct plan *plan = job->plan;
    struct scratch scratch = {.x = job->scratch + (size_t)worker * plan->worker_bytes};
    scratch.v = scratch.x + plan->x_bytes;
    scratch.m = scratch.v + plan->v_bytes;
    scratch.strip = scratch.m + plan->m_bytes;
    scratch.staging = scratch.strip + plan->strip_bytes;
    scratch.u = scratch.staging + plan->staging_bytes;
    return scratch;
}

/* -------------------------------------------------------------------- work */

/* A transformed chunk of panel p. */
static const char *find_chunk(const struct job *job, const struct scratch *scratch, int64_t p,
                              int64_t chunk)
{
    if (job->transformed)
        return job->transformed +
               (fc_winograd_kernel_offset(&job->kernel, job->group, p, chunk) -
                fc_winograd_kernel_offset(&job->kernel, job->group, job->panel, 0)) *
                   job->target.element;
    fc_winograd_transform_chunk(&job->kernel, job->group, p, chunk, scratch->staging, scratch->u);
    return scratch->u;
}

/* The first position after `at` that a piece and some tiles of a block have, [*begin, *end); or behind
 * the last. */
static int64_t next_position(const struct plan *plan, const struct fc_winograd_block *block,
                             const struct fc_winograd_piece *piece, int64_t at, int64_t *begin,
                             int64_t *end)
{
    *begin = *end = 0;
    while (++at < plan->form.positions) {
        if (!fc_winograd_piece_has(&plan->form, piece, at))
            continue;
        fc_winograd_tiles_with(&plan->cut, block, at, begin, end);
        if (*begin < *end)
            break;
    }
    return at;
}

/* `tiles` tiles of one position, in groups as equal as can be; whole ones in one call. */
static void multiply_tiles(const struct job *job, int64_t tiles, struct fc_winograd_product product)
{
    const struct plan *plan = job->plan;
    const ptrdiff_t element = job->target.element;
    const int64_t most = fc_min(job->target.kernels->tile_pixels, plan->layout.few);
    const int64_t groups = fc_ceil_div(tiles, most);
    const int64_t few = plan->layout.few > most ? fc_ceil_div(tiles, groups) : most;
    const int64_t whole = tiles / few;
    const char *after = product.after;
    product.next_row = groups > 1 ? FC_UNIT_BYTES : 2 * FC_UNIT_BYTES;
    product.v_group = plan->layout.few > most ? few * FC_SLAB : plan->layout.v_few;
    product.groups = whole;
    product.tiles = (int)few;
    if (tiles % few > 0)
        product.after = (const char *)product.v + whole * product.v_group * element;
    if (whole > 0)
        job->kernels->product(&product);
    if (tiles % few == 0)
        return;
    product.v = product.after;
    product.after = after;
    product.m = (char *)product.m + whole * few * plan->channels.panel * element;
    product.next = (const char *)product.next + whole * product.channels * product.next_row;
    product.groups = 1;
    product.tiles = (int)(tiles % few);
    job->kernels->product(&product);
}

/* The products of panel p with one of the chunks that V has from `first` on. */
static void multiply_chunk(const struct job *job, const struct scratch *scratch,
                           const struct fc_winograd_block *block, int64_t p, int64_t index,
                           int64_t first, char *m)
{
    const struct plan *plan = job->plan;
    const struct fc_winograd_layout *layout = &plan->layout;
    const ptrdiff_t element = job->target.element;
    const char *chunk = find_chunk(job, scratch, p, index);
    const struct fc_winograd_chunk of = fc_winograd_chunk_at(plan->channels.c_in, index);
    const struct fc_winograd_piece piece = fc_winograd_piece_at(&plan->form, of.piece);
    int64_t position, begin, end;
    fc_winograd_chunk_elements(&job->kernel, p, index, &position);
    struct fc_winograd_product product = {
        .v_slab = layout->v_slab,
        .u_row = fc_panel_width(&plan->channels, p),
        .m_tile = plan->channels.panel,
        .channels = of.channels,
        .add = index > 0,
    };
    const int64_t most = job->target.kernels->tile_units * plan->channels.unit;
    const int64_t before = fc_winograd_chunk_at(plan->channels.c_in, first).slab;
    const char *v = scratch->v + (of.slab - before) * layout->v_slab * element;
    for (int64_t at = next_position(plan, block, &piece, -1, &begin, &end);
         at < plan->form.positions;) {
        int64_t next_begin, next_end;
        const int64_t next = next_position(plan, block, &piece, at, &next_begin, &next_end);
        product.v = v + (at * layout->v_position + begin * FC_SLAB) * element;
        product.after = v + (next * layout->v_position + next_begin * FC_SLAB) * element;
        product.next = chunk + next * position * element;
        for (int64_t k = 0; k < product.u_row; k += most) {
            product.u = chunk + (at * position + k) * element;
            product.m = m + (at * plan->m_position + begin * product.m_tile + k) * element;
            product.units = (int)(fc_min(product.u_row - k, most) / plan->channels.unit);
            multiply_tiles(job, end - begin, product);
        }
        at = next;
        begin = next_begin;
        end = next_end;
    }
}

static void gather_lines(const struct job *job, const struct scratch *scratch,
                         const struct fc_winograd_block *block, int64_t p, const char *m)
{
    const struct fc_channels *channels = &job->plan->channels;
    for (int64_t line = block->line; line < block->line + block->lines; line++)
        if (!fc_winograd_gather_line(&job->target, block, line,
                                     job->group * channels->c_out + p * channels->panel,
                                     fc_panel_outputs(channels, p), m, scratch->strip))
            __atomic_store_n(&job->bad[line], 1, __ATOMIC_RELAXED);
}

/* The channels of chunks [chunk, end), all of them or one, to V. */
static void spread_chunks(const struct job *job, const struct scratch *scratch,
                          const struct fc_winograd_block *block, int64_t chunk, int64_t end)
{
    const struct plan *plan = job->plan;
    const int64_t slabs = fc_ceil_div(plan->spread, FC_SLAB) * plan->layout.v_slab;
    const struct fc_winograd_chunk first = fc_winograd_chunk_at(plan->channels.c_in, chunk);
    const struct fc_winograd_chunk last = fc_winograd_chunk_at(plan->channels.c_in, end - 1);
    for (int64_t piece = first.piece; piece <= last.piece; piece++) {
        struct fc_winograd_source source = job->source;
        source.piece = fc_winograd_piece_at(&plan->form, piece);
        fc_winograd_spread_block(&source, block, job->group * plan->channels.c_in + first.c,
                                 last.c + last.channels - first.c, scratch->x,
                                 scratch->v + (piece - first.piece) * slabs * job->target.element);
    }
}

/* Item: a block of tiles, for a share of the panels. */
static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct scratch scratch = scratch_of(job, worker);
    const struct fc_winograd_block block = fc_winograd_block_at(&plan->cut, index / plan->shares);
    const int64_t panel = job->panel + index % plan->shares * plan->share_panels;
    const int64_t end = fc_min(panel + plan->share_panels, job->end_panel);
    for (int64_t first = 0; first < plan->chunks && panel < end; first += plan->depth) {
        const int64_t stop = first + plan->depth;
        spread_chunks(job, &scratch, &block, first, stop);
        for (int64_t p = panel; p < end; p++) {
            char *m = scratch.m + (p - panel) % plan->kept * plan->m_panel * job->target.element;
            for (int64_t chunk = first; chunk < stop; chunk++)
                multiply_chunk(job, &scratch, &block, p, chunk, first, m);
            if (stop == plan->chunks)
                gather_lines(job, &scratch, &block, p, m);
        }
    }
}

/* All panels of all groups, a pass at a time; u is where a pass's kernel is transformed to. */
static fc_status compute_passes(struct job *job, const char *transformed, char *u)
{
    const struct plan *plan = job->plan;
    const int64_t panels = fc_panel_count(&plan->channels);
    for (job->group = 0; job->group < plan->channels.groups; job->group++)
        for (job->panel = 0; job->panel < panels; job->panel += plan->pass_panels) {
            job->end_panel = fc_min(job->panel + plan->pass_panels, panels);
            if (transformed) {
                job->transformed = transformed + fc_winograd_kernel_offset(&job->kernel, job->group,
                                                                           job->panel, 0) *
                                                     job->target.element;
            } else if (!plan->fused) {
                const fc_status status = fc_winograd_transform_panels(
                    &job->kernel, job->group, job->panel, job->end_panel, u);
                if (status != FC_OK)
                    return status;
                job->transformed = u;
            }
            fc_parallel_for(plan->blocks * plan->shares, plan->width, FC_FLUSH_DENORMALS,
                            compute_item, job);
        }
    return FC_OK;
}

/* -------------------------------------------------------------------- call */

fc_status fc_winograd_convolve(int form, const struct fc_convolution *convolution,
                               const void *transformed)
{
    if (convolution->y.n * convolution->y.h * convolution->y.w == 0)
        return FC_OK;
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(convolution->dtype);
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    struct plan plan = {.channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
                        .form = fc_winograd_form_at(form)};
    const struct fc_winograd_transforms *transforms =
        &table->winograd.transforms[plan.form.transforms];
    cut_blocks(convolution, &plan);
    plan_layout(table->conv2d.tile_pixels, &plan);
    struct job job = {
        .plan = &plan,
        .kernels = &table->winograd,
        .kernel = {{&convolution->kernel, &plan.channels, &table->conv2d, element},
                   transforms,
                   plan.form},
        .source = fc_winograd_source_of(convolution, &plan.cut, form, false),
        .target = {convolution, &table->conv2d, transforms, &plan.cut, plan.form, element,
                   plan.channels.panel, plan.m_position,
                   fc_streams_image(&convolution->y, false, element)},
    };
    job.source.layout = plan.layout;
    plan_passes(&job.kernel, transformed, &plan);
    plan_scratch(&job, &plan);

    size_t u_bytes = 0, total;
    const size_t bad_bytes = fc_round_to_line((size_t)(plan.cut.images * plan.cut.tile_rows));
    if (!transformed && !plan.fused &&
        !fc_winograd_kernel_bytes(&job.kernel, plan.pass_panels, &u_bytes))
        return FC_OVERFLOW;
    u_bytes = fc_round_to_line(u_bytes);
    total = u_bytes + bad_bytes + plan.worker_bytes * (size_t)plan.width;
    char *u = fc_workspace_acquire(total);
    if (!u)
        return FC_NO_MEMORY;
    job.bad = (unsigned char *)u + u_bytes;
    job.scratch = u + u_bytes + bad_bytes;
    memset(job.bad, 0, bad_bytes);
    fc_status status = compute_passes(&job, transformed, u);
    if (status == FC_OK)
        status = fc_winograd_compute_again(&job.target, job.bad);
    fc_workspace_release(u);
    return status;
}
