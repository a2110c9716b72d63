/* conv2d_dkernel_plan.h: how a kernel gradient is cut into parts, blocks and chunks. */
#ifndef FC_CONV2D_DKERNEL_PLAN_H
#define FC_CONV2D_DKERNEL_PLAN_H

#include "blocks.h"
#include "convolve.h"

struct fc_dkernel_plan {
    struct fc_channels channels;
    struct fc_axis
        axis[2]; /* as blocks are cut: a dilated kernel may count as a larger whole one */
    struct fc_blocks blocks;
    int64_t part_channels, channel_parts, part_panels, panel_parts, parts;
    int64_t images;        /* whole small images that a block holds */
    int64_t steps, chunks; /* blocks of the whole batch; pieces they are divided into */
    int64_t part_elements;
    int64_t pitch; /* channels packed for a slab: whole vectors, where x has so many */
    bool grouped; /* lanes hold whole groups of x, whose kernel is turned: see group_dkernel_tile */
    bool exact;   /* no tap sees padding, and what is finite in dkernel stays */
    bool merged;  /* the taps of a kernel row are one run of elements */
    bool whole;   /* so may be all rows of the kernel: those of padding are packed as well */
    bool apart;   /* the taps of a kernel row are packed each by itself */
    bool direct;  /* one tap that reads each pixel of x once, where it lies */
    bool x_copied;    /* directly by the first panel alone, which leaves a copy */
    bool skip;        /* rows of padding are neither packed nor summed */
    bool dy_in_place; /* read where it lies, in whole panels */
    int64_t tap_row;  /* packed rows from a row of taps to the next */
    size_t x_bytes, dy_bytes, sums_bytes, offset_bytes, worker_bytes;
    size_t all_sums_bytes; /* of all chunks, which no worker owns */
    int width;
};

/* y of the convolution stands for dy, kernel for dkernel. If exact, each tap is summed over the pixels
 * of the image alone, at any cost, to mend results that are not finite. chunks are those of another plan of the same
 * blocks, or 0. False where a count of bytes overflows. */
bool fc_plan_dkernel(const struct fc_convolution *convolution, bool exact, int64_t chunks,
                     struct fc_dkernel_plan *plan);

#endif
