/* winograd_dkernel_plan.h: how a kernel gradient by Winograd's tiles is cut into parts, blocks and chunks. */
#ifndef FC_WINOGRAD_DKERNEL_PLAN_H
#define FC_WINOGRAD_DKERNEL_PLAN_H

#include "winograd_tiles.h"

struct fc_winograd_dkernel_plan {
    struct fc_channels channels;
    struct fc_winograd_form form;
    struct fc_winograd_cut cut;
    struct fc_winograd_kernel kernel; /* whose taps are the result */
    struct fc_winograd_source x, dy;
    int64_t part_channels, channel_parts, part_panels, panel_parts, parts;
    int64_t steps, chunks; /* blocks of the whole batch; pieces they are divided into */
    bool far;              /* groups take pieces of pixels from memory */
    int64_t v_tile, d_tile, s_row, s_position; /* elements from one to the next */
    size_t x_bytes, v_bytes, d_bytes, s_bytes, staging_bytes, worker_bytes;
    int width;
};

/* Of a convolution whose y stands for dy, and kernel for dkernel. The plan points into itself. */
void fc_winograd_make_dkernel_plan(int form, const struct fc_convolution *convolution,
                                   struct fc_winograd_dkernel_plan *plan);

#endif
