/* table.inc.h: every kernel body, and the table they fill, for one instruction set and float type.
 *
 * Included once by each isa file, after its vector vocabulary. */
#ifndef FC_SPILL_TO_STACK
#define FC_SPILL_TO_STACK
#endif

/* The elements of a unit, whatever a vector holds. */
enum { UNIT = FC_UNIT_BYTES / (int)sizeof(real) };

#include "fetch_ahead.inc.h"
#include "conv_tile.inc.h"
#include "transpose.inc.h"
#include "copy_block.inc.h"
#include "gather_lanes.inc.h"
#include "dense.inc.h"
#include "dkernel_tile.inc.h"
#include "few.inc.h"
#include "groups.inc.h"
#include "planes.inc.h"
#include "turned.inc.h"
#include "math.inc.h"
#include "pool2d.inc.h"
#include "pool2d_award.inc.h"
#include "pool2d_three.inc.h"
#include "pool2d_halves.inc.h"
#include "pool2d_halves_planes.inc.h"
#include "pool2d_halves_few.inc.h"
#include "pool2d_halves_forward.inc.h"
#include "pool2d_halves_pixels.inc.h"
#include "pool2d_rows.inc.h"
#include "pool2d_scatter.inc.h"
#include "pool2d_sweep.inc.h"
#include "pool2d_five.inc.h"
#include "pool2d_window.inc.h"
#include "pool2d_planes.inc.h"
#include "pool2d_winners.inc.h"
#include "pool2d_marks.inc.h"
#include "pool2d_quads.inc.h"
#include "pool2d_lines.inc.h"
#include "pool2d_pairs.inc.h"
#include "pool2d_slide.inc.h"
#include "pool2d_fold.inc.h"
#include "pool2d_means.inc.h"
#include "pool2d_pixel_strips.inc.h"
#include "depthwise.inc.h"
#include "depthwise_planes.inc.h"
#include "depthwise_walk.inc.h"
#include "depthwise_dkernel_walk.inc.h"
#include "depthwise_dkernel.inc.h"
#include "reduce.inc.h"
#include "winograd.inc.h"
#include "winograd_few.inc.h"
#include "winograd_few_dkernel.inc.h"
#include "winograd_lanes.inc.h"

extern const struct fc_kernels FC_TABLE;
const struct fc_kernels FC_TABLE = {
    .conv2d = {.tile_pixels = TILE_PIXELS,
               .chain_pixels = CHAIN_PIXELS,
               .tile_units = TILE_VECTORS * LANES * (int)sizeof(real) / FC_UNIT_BYTES,
               .dkernel_elements = TILE_PIXELS,
               .conv_tile = conv_tile,
               .conv_pair = conv_pair,
               .conv_shared = conv_shared,
               .lane_tile = lane_tile,
               .dkernel_tile = dkernel_tile,
               .plane_dkernel_tile = plane_dkernel_tile,
               .rows_dkernel_tile = rows_dkernel_tile,
               .lane_dkernel_tile = lane_dkernel_tile,
               .copy_block = copy_block,
               .copy_slabs = copy_slabs,
               .gather_lanes = gather_lanes,
               .finish_block = finish_block,
               .channel_sums = channel_sums,
               .fma_burst = fma_burst},
    .dense = {.turned_rows = LANES, .tile = dense_tile, .turned_tile = turned_dense_tile},
    .depthwise = {.wide_columns = DEPTHWISE_WIDE,
                  .strided_columns = DEPTHWISE_COLUMNS,
                  .vector_bytes = LANES * sizeof(real),
                  .pixels = depthwise_pixels,
                  .plane = depthwise_plane,
                  .walk = WALK_KERNEL(walk_depthwise),
                  .dkernel = depthwise_dkernel,
                  .dkernel_walk = depthwise_dkernel_walk,
                  .walk_strides = DKERNEL_STRIDES,
                  .pack_band = pack_depthwise_band},
    .few = {.plane_outputs = FLAT_OUTPUTS,
            .plane_units = FLAT_VECTORS / UNIT_VECTORS,
            .plane_tile = plane_tile,
            .turned_tile = turned_tile,
            .widen_rows = widen_rows,
            .finish_planes = finish_planes,
            .row_dkernel = row_dkernel,
            .column_sums = column_sums,
            .tap_sums = tap_sums,
            .shifted_sums = shifted_sums,
            .group_pixels = GROUP_PIXELS,
            .group_tile = group_tile,
            .group_taps = GROUP_TAPS,
            .group_dkernel_tile = group_dkernel_tile},
    .winograd = {.transforms = {FC_WINOGRAD_TRANSFORMS(FC_WINOGRAD_ENTRY)},
                 .product = winograd_product,
                 .outer = winograd_outer,
                 .few_tiles = {FEW_TILES(6), FEW_TILES(7)},
                 .few_kernel = winograd_few_kernel,
                 .few_row = winograd_few_row,
                 .few_tile = winograd_few_tile,
                 .few_dy = winograd_few_dy,
                 .few_sums = winograd_few_sums,
                 .lanes_points = winograd_lanes_points,
                 .lanes_sums = winograd_lanes_sums,
                 .lanes_row = winograd_lanes_row},
    .pool2d =
        {.pool = {[FC_MAX] = pool_max, [FC_MIN] = pool_min, [FC_AVG] = pool_avg},
         .window = {[FC_MAX] = window_max, [FC_MIN] = window_min, [FC_AVG] = window_avg},
         .quads = {[FC_MAX] = quads_max, [FC_MIN] = quads_min, [FC_AVG] = quads_avg},
         .quads_dx = {[FC_MAX] = quads_max_dx, [FC_MIN] = quads_min_dx, [FC_AVG] = quads_avg_dx},
         .lines = {[FC_MAX] = LINE_KERNEL(lines_max), [FC_MIN] = LINE_KERNEL(lines_min)},
         .lines_dx = {[FC_MAX] = LINE_KERNEL(lines_max_dx), [FC_MIN] = LINE_KERNEL(lines_min_dx)},
         .pairs_dx = LINE_KERNEL(pairs_dx),
         .slide_dx = {[FC_MAX] = slide_max_dx, [FC_MIN] = slide_min_dx},
         .fold = {[FC_MAX] = fold_max, [FC_MIN] = fold_min, [FC_AVG] = fold_avg},
         .fold_dx = {[FC_MAX] = fold_max_dx, [FC_MIN] = fold_min_dx},
         .chains = add_chains,
         .means = {slide_means, step_means},
         .means_dx = {slide_means_dx, step_means_dx},
         .pixel_strip = {[FC_MAX] = slide_pixels_max,
                         [FC_MIN] = slide_pixels_min,
                         [FC_AVG] = slide_pixels_avg},
         .pixel_strip_dx = {slide_pixels_dx, step_pixels_dx},
         .part = part_planes,
         .join = join_planes,
         .claim = claim_gradients,
         .name = name_winners,
         .split_pairs = split_pairs,
         .merge_pairs = merge_pairs,
         .spread = spread_values,
         .stretch = stretch_columns,
         .award = award_gradients,
         .halves = halve_gradients,
         .halves_planes = {halves_max_planes, halves_min_planes, halves_told_planes},
         .halves_forward = {halves_max_forward, halves_min_forward},
         .halves_pixels = {PIXELS_KERNEL(halves_max_pixels), PIXELS_KERNEL(halves_min_pixels)},
         .put_lines = put_lines,
         .winners = take_winners,
         .sweep = {[FC_MAX] = sweep_max, [FC_MIN] = sweep_min},
         .five = {[FC_MAX] = five_max, [FC_MIN] = five_min},
         .toss = toss_gradients,
         .toss_apart = toss_apart,
         .scatter = scatter_gradients},
    .math = {.function = {[FC_EXP] = exp_array,
                          [FC_LOG] = log_array,
                          [FC_TANH] = tanh_array,
                          [FC_SIGMOID] = sigmoid_array},
             .gate = gate,
             .softmax = softmax},
};
