/* winograd_dkernel_plan.c: how a kernel gradient by Winograd's tiles is cut into parts, blocks and chunks.
 *
 * A part of 128 x 64 channels and a block of 42 tiles move 96 KB in 10752 cycles of multiply-adds, 9 bytes a cycle,
 * mostly from the second-level cache. x is taken to positions again for every 64 outputs, dy for every 128 channels:
 * 8 / 64 and 8 / 128 of the work. A piece of a stride has 128 outputs, since of its x only every second pixel is read:
 * with 64, 128 to 128 channels at 28x28 took a tenth longer. One part of all pieces, which takes dy to its positions
 * once, gained 5 to 15 % with 32 and 64 channels and nothing with more; its sums, 6.5 MB, would leave threads without
 * work, or take too much memory in chunks.
 *
 * Where there are few parts, the blocks are divided into chunks with sums of their own, added in order. Parts, blocks
 * and chunks follow from the sizes alone. */
#include "winograd_dkernel_plan.h"

#include "parallel.h"
#include "stream.h"
#include "workspace.h"

enum {
    BLOCK_TILES = 42,
    PARTS_WANTED = 8,
    CHUNK_BLOCKS = 4 /* at least, so that sums are not most of the memory moved */
};

static void plan_parts(const struct fc_convolution *convolution,
                       struct fc_winograd_dkernel_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t panels = fc_panel_count(channels);
    plan->part_channels = fc_min(fc_winograd_part_channels(&plan->form), channels->c_in);
    plan->channel_parts = fc_ceil_div(channels->c_in, plan->part_channels);
    plan->panel_parts = fc_ceil_div(panels, fc_winograd_part_panels(&plan->form));
    plan->part_panels = fc_ceil_div(panels, plan->panel_parts);
    plan->parts = channels->groups * plan->form.pieces * plan->channel_parts * plan->panel_parts;
    plan->cut = fc_winograd_find_images(&plan->form, convolution);
    fc_winograd_cut_blocks(&plan->cut, BLOCK_TILES);
    plan->steps = plan->cut.line_blocks * plan->cut.column_blocks;
    plan->chunks = fc_min(fc_ceil_div(PARTS_WANTED, plan->parts), plan->steps / CHUNK_BLOCKS);
    plan->chunks = fc_max(plan->chunks, 1);
    const double work = 2.0 * (double)(plan->steps * plan->form.positions) *
                        (double)(plan->cut.lines * plan->cut.columns) * (double)channels->c_in *
                        (double)(channels->c_out * channels->groups * plan->form.pieces);
    plan->width = fc_parallel_width(plan->parts * plan->chunks, work);
}

static void plan_layout(struct fc_winograd_dkernel_plan *plan)
{
    plan->v_tile = fc_whole_units(plan->part_channels, FC_SLAB);
    plan->d_tile = fc_whole_units(plan->part_panels * plan->channels.panel, FC_SLAB);
    plan->s_row = plan->part_panels * plan->channels.panel;
    plan->s_position = plan->part_channels * plan->s_row + plan->channels.unit;
}

static struct fc_winograd_layout layout_of(const struct fc_winograd_dkernel_plan *plan,
                                           int64_t tile)
{
    const int64_t tiles = plan->cut.lines * plan->cut.columns;
    return (struct fc_winograd_layout){.few = tiles,
                                       .v_slab = FC_SLAB,
                                       .v_tile = tile,
                                       .v_position = tiles * tile + plan->channels.unit};
}

static void plan_scratch(struct fc_winograd_dkernel_plan *plan)
{
    const size_t element = plan->x.padded.element, positions = (size_t)plan->form.positions;
    const size_t x = fc_winograd_spread_bytes(&plan->x, plan->part_channels);
    const size_t dy = fc_winograd_spread_bytes(&plan->dy, plan->s_row);
    plan->x_bytes = fc_round_to_line(x > dy ? x : dy);
    plan->v_bytes = fc_round_to_line(positions * (size_t)plan->x.layout.v_position * element);
    plan->d_bytes = fc_round_to_line(positions * (size_t)plan->dy.layout.v_position * element);
    plan->s_bytes = fc_round_to_line(positions * (size_t)plan->s_position * element);
    plan->staging_bytes = fc_round_to_line((size_t)fc_winograd_staging(&plan->kernel) * element);
    plan->worker_bytes = plan->x_bytes + plan->v_bytes + plan->d_bytes + plan->staging_bytes;
}

void fc_winograd_make_dkernel_plan(int form, const struct fc_convolution *convolution,
                                   struct fc_winograd_dkernel_plan *plan)
{
    *plan = (struct fc_winograd_dkernel_plan){
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .form = fc_winograd_form_of(form, &convolution->kernel),
    };
    plan->kernel = fc_winograd_kernel_of(&plan->form, convolution->dtype, &convolution->kernel,
                                         &plan->channels);
    plan_parts(convolution, plan);
    plan_layout(plan);
    plan->x = fc_winograd_source_of(convolution, &plan->cut, &plan->form, false);
    plan->dy = fc_winograd_source_of(convolution, &plan->cut, &plan->form, true);
    plan->x.layout = layout_of(plan, plan->v_tile);
    plan->dy.layout = layout_of(plan, plan->d_tile);
    plan->far = plan->channels.groups > 1 && convolution->y.stride_c == 1 &&
                fc_is_far(&convolution->y, (ptrdiff_t)plan->x.padded.element);
    plan_scratch(plan);
}
