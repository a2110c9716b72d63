/* conv2d_dkernel_plan.h: how a kernel gradient is cut into parts, blocks and chunks. */
#ifndef FC_CONV2D_DKERNEL_PLAN_H
#define FC_CONV2D_DKERNEL_PLAN_H

#include "convolve_plan.h"

struct fc_dkernel_plan {
    struct fc_channels channels;
    struct fc_blocks blocks;
    int64_t part_channels, channel_parts, part_panels, panel_parts, parts;
    int64_t images;        /* whole small images that a block holds, where one tap is dense */
    int64_t steps, chunks; /* blocks of the whole batch; pieces they are divided into */
    int64_t part_elements;
    bool x_in_place, dy_in_place; /* read where they lie, dy in whole panels */
    size_t x_bytes, dy_bytes, offset_bytes, worker_bytes;
    int width;
};

/* y of the convolution stands for dy, kernel for dkernel. False where a count of bytes overflows;
 * total is the scratch memory of all workers and sums. */
bool fc_plan_dkernel(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan,
                     size_t *total);

#endif
