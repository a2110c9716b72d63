/* winograd_plan.c: how a pass by Winograd's tiles is cut into blocks, panels and passes.
 *
 * The kernel comes from the third-level cache once a block. V of all of 512 channels leaves room for 20
 * tiles; V of 128 and M of 8 panels, for 33, and with 2048 channels for 60 where there were 5: V is
 * made again for every 8 panels, and takes 1.1 to 2.5 times less all the same. Pieces of a kernel are chunks
 * like any other: as if each read channels of its own.
 *
 * Groups of 16 channels read 64 bytes of each pixel, and their products are few. One after the other they are
 * computed for a block, so that V and M stay near, by items that pack the x of 8 groups at once, in runs of 512
 * bytes: 8 images of 14x14 with 32 of them took 1.9 ms when each read all of x by itself, and take 1.5.
 *
 * A kernel that is transformed inside the call is made chunk by chunk where it is used, if no thread has a second
 * block (512 x 512 at 7 x 7, 8 images: 37 MB that are never written to memory), or if its panels are so large
 * that V would be made again for each; else in passes over panels: no more than U_BYTES of it exist. */
#include "winograd_plan.h"

#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    U_BYTES = 16 << 20,   /* of the kernel that blocks share: the third-level cache keeps it */
    FEW_PANELS = 3,       /* that V is not taken to positions for */
    NEAR_BYTES = 3 << 19, /* of V, which the second-level cache keeps */
    PACKED_GROUPS = 8,
    PACKED_TILES = 32 /* of a group: 72 KB of V */
};

/* Groups of one slab and one panel: x is packed for several of them at once. */
static bool packs_groups(const struct fc_convolution *convolution,
                         const struct fc_winograd_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const struct fc_axis *axis = convolution->axis;
    return channels->groups > 1 && channels->c_in == FC_SLAB && fc_panel_count(channels) == 1 &&
           plan->form.pieces == 1 && axis[0].dilation == 1 && axis[1].dilation == 1;
}

static void cut_blocks(const struct fc_convolution *convolution, struct fc_winograd_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t panels = fc_panel_count(channels);
    plan->cut = fc_winograd_find_images(&plan->form, convolution);
    const int64_t all = plan->cut.images * plan->cut.tile_rows * plan->cut.tile_columns;
    const int64_t products = plan->form.positions * plan->form.pieces;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t v_bytes = all * products * fc_whole_units(channels->c_in, FC_SLAB) * element;
    const int64_t u_bytes = fc_winograd_matrices_before(&plan->form, plan->form.pieces) *
                            channels->c_in * panels * channels->panel * element;
    const double work = 2.0 * (double)(all * products) * (double)(channels->c_in * channels->c_out);
    plan->width =
        fc_parallel_width(all * panels, plan->packs ? work * (double)channels->groups : work);
    /* Threads that share a block each take all of x to positions, for some panels of a kernel that is larger than
     * what they make twice: 128 to 192 channels at 28x28, one image, took 0.70 ms on two with a block each and
     * takes 0.50, but 8 images of 5x5 from 128 to 48 channels at 7x7 would take 1.3 times as long. On one
     * thread those took 0.69 ms, and take 0.59 in three blocks: a V larger than the kernel, and than the
     * second-level cache keeps, is cut as well. */
    const bool one_block =
        !plan->packs && (plan->width == 1 || u_bytes > v_bytes) &&
        v_bytes <= fc_min(fc_max(u_bytes, NEAR_BYTES), FC_WINOGRAD_MOST_V_BYTES) &&
        all <= FC_WINOGRAD_MOST_TILES;
    const struct fc_winograd_depth depth =
        fc_winograd_depth_of(&plan->form, &plan->cut, channels, element);
    plan->chunks = fc_winograd_chunks(&plan->form, channels->c_in);
    plan->depth = one_block ? plan->chunks : depth.chunks;
    plan->spread =
        plan->depth < plan->chunks ? fc_min(FC_WINOGRAD_CHUNK, channels->c_in) : channels->c_in;

    /* Fewer lines than threads are cut in columns as well. */
    int64_t most = one_block ? all : plan->packs ? fc_min(depth.tiles, PACKED_TILES) : depth.tiles;
    if (!one_block && !plan->packs && plan->cut.images * plan->cut.tile_rows < plan->width)
        most = fc_ceil_div(all, plan->width);
    fc_winograd_cut_blocks(&plan->cut, most);
    if (!one_block && plan->width > 1)
        fc_winograd_even_blocks(&plan->cut, plan->width);
    plan->blocks = plan->cut.line_blocks * plan->cut.column_blocks;
    /* Threads of a block each transform the kernel for themselves: lines that both write and both read go from one
     * core's cache to the other's, in 3 to 5 times the time of the transform where they share no cache. */
    plan->fused = plan->blocks <= plan->width;
}

/* How many groups are those of a pass, whose kernels are made at once, and of an item. */
static void plan_groups(bool transformed, struct fc_winograd_plan *plan)
{
    plan->pass_groups = plan->sets = plan->set_groups = 1;
    if (!plan->packs)
        return;
    const int64_t all = plan->channels.groups;
    const int64_t bytes =
        fc_winograd_kernel_offset(&plan->kernel, 1, 0, 0) * plan->kernel.panels.element;
    const bool one_pass = transformed || plan->fused;
    plan->pass_groups = one_pass ? all : fc_max(fc_min(U_BYTES / bytes, all), 1);
    plan->sets = fc_ceil_div(plan->pass_groups, PACKED_GROUPS);
    plan->set_groups = fc_ceil_div(plan->pass_groups, plan->sets);
}

static void plan_passes(bool transformed, struct fc_winograd_plan *plan)
{
    const struct fc_winograd_kernel *kernel = &plan->kernel;
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

/* V is [few tiles][slab][position][tile][16], or where tiles are cut in groups of their own for each position
 * [slab][position][tile][16]. */
static void plan_layout(int chain_pixels, struct fc_winograd_plan *plan)
{
    const int64_t tiles = plan->cut.lines * plan->cut.columns, unit = plan->channels.unit;
    const int64_t slabs =
        fc_ceil_div(plan->spread, FC_SLAB) * (plan->depth < plan->chunks ? 1 : plan->form.pieces);
    const bool grouped = !fc_winograd_has_short(&plan->cut);
    const int64_t few = grouped ? fc_ceil_div(tiles, fc_ceil_div(tiles, chain_pixels)) : tiles;
    const int64_t position = few * FC_SLAB + (grouped ? 0 : unit);
    const int64_t slab = plan->form.positions * position + unit;
    plan->layout = (struct fc_winograd_layout){
        .few = few,
        .v_few = slabs * slab,
        .v_slab = slab,
        .v_tile = FC_SLAB,
        .v_position = position,
    };
    plan->v_elements = fc_ceil_div(tiles, few) * slabs * slab;
    plan->pitch = fc_panel_width(&plan->channels, 0);
    plan->m_position = tiles * plan->pitch + unit;
    plan->m_panel = plan->form.positions * plan->m_position;
}

/* Where blocks are rows of the images; but of x with 32 channels for as many outputs the asking takes the 2 % that it
 * gains. */
static void plan_asking(const struct fc_convolution *convolution, struct fc_winograd_plan *plan)
{
    plan->asks_y = convolution->axis[0].dilation == 1 && convolution->axis[1].dilation == 1;
    plan->asks_x = plan->asks_y && plan->form.pieces == 1 && plan->depth == plan->chunks &&
                   (plan->packs || plan->channels.c_in > plan->channels.panel ||
                    fc_panel_count(&plan->channels) > 1);
}

static bool plan_scratch(bool transformed, struct fc_winograd_plan *plan)
{
    const size_t element = plan->source.padded.element;
    const int64_t strip = plan->form.outputs[0] * plan->cut.columns * plan->form.outputs[1];
    int64_t position;
    const size_t x = plan->packs ? fc_winograd_packed_bytes(&plan->source,
                                                            plan->set_groups * plan->channels.c_in)
                                 : fc_winograd_spread_bytes(&plan->source, plan->spread);
    plan->x_bytes = fc_round_to_line(x);
    plan->v_bytes = fc_round_to_line((size_t)plan->v_elements * element);
    plan->m_bytes = fc_round_to_line((size_t)(plan->kept * plan->m_panel) * element);
    plan->strip_bytes = fc_round_to_line((size_t)(strip * plan->pitch) * element);
    plan->staging_bytes = fc_round_to_line((size_t)fc_winograd_staging(&plan->kernel) * element);
    const int64_t chunk = fc_winograd_chunk_elements(&plan->kernel, 0, 0, &position);
    plan->u_bytes = plan->fused ? fc_round_to_line((size_t)chunk * element) : 0;
    plan->worker_bytes = plan->x_bytes + plan->v_bytes + plan->m_bytes + plan->strip_bytes +
                         plan->staging_bytes + plan->u_bytes;
    plan->bad_bytes = fc_round_to_line((size_t)(plan->cut.images * plan->cut.tile_rows));
    if (!transformed && !plan->fused &&
        !fc_winograd_kernel_bytes(&plan->kernel, plan->pass_groups * plan->pass_panels,
                                  &plan->pass_bytes))
        return false;
    plan->pass_bytes = fc_round_to_line(plan->pass_bytes);
    plan->shared_bytes = plan->pass_bytes + plan->bad_bytes;
    return true;
}

bool fc_winograd_make_plan(int form, const struct fc_convolution *convolution, bool transformed,
                           struct fc_winograd_plan *plan)
{
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    *plan = (struct fc_winograd_plan){
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .form = fc_winograd_form_of(form, &convolution->kernel),
    };
    plan->kernel = fc_winograd_kernel_of(&plan->form, convolution->dtype, &convolution->kernel,
                                         &plan->channels);
    plan->packs = packs_groups(convolution, plan);
    cut_blocks(convolution, plan);
    plan_asking(convolution, plan);
    plan_layout(table->conv2d.chain_pixels, plan);
    plan->source = fc_winograd_source_of(convolution, &plan->cut, &plan->form, false);
    plan->source.layout = plan->layout;
    plan_passes(transformed, plan);
    plan_groups(transformed, plan);
    return plan_scratch(transformed, plan);
}

struct fc_winograd_item fc_winograd_item_at(const struct fc_winograd_plan *plan,
                                            const struct fc_winograd_item *pass, int64_t index)
{
    const int64_t set = index % plan->sets, rest = index / plan->sets;
    struct fc_winograd_item item = {
        .block = fc_winograd_block_at(&plan->cut, rest / plan->shares),
        .group = pass->group + set * plan->set_groups,
        .panel = pass->panel + rest % plan->shares * plan->share_panels,
    };
    item.end_group = fc_min(item.group + plan->set_groups, pass->end_group);
    item.end_panel = fc_min(item.panel + plan->share_panels, pass->end_panel);
    return item;
}
