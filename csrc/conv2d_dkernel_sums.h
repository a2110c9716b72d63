/* conv2d_dkernel_sums.h: one block of the batch added to one part of a kernel gradient. */
#ifndef FC_CONV2D_DKERNEL_SUMS_H
#define FC_CONV2D_DKERNEL_SUMS_H

#include "conv2d_dkernel_plan.h"
#include "convolve_ahead.h"

struct fc_dkernel_job {
    const struct fc_convolution *convolution; /* y stands for dy, kernel for dkernel */
    const struct fc_dkernel_plan *plan;
    const struct fc_conv2d_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    char *sums, *scratch;
};

/* One part, and one worker's scratch. */
struct fc_dkernel_part {
    const struct fc_dkernel_job *job;
    int64_t group, c, channels, panel, panels;
    char *sums, *x, *dy;
    const char *tile_x, *tile_dy; /* where the tiles read: packed or in place */
    bool first;                   /* block of the chunk: sums begin with it */
    ptrdiff_t *offset;
    int64_t images;
    struct fc_patch patch;
    struct fc_dkernel_tile tile;
    struct fc_ahead x_ahead, dy_ahead;
};

/* Where a panel's sums begin within those of its part: [panel][slab][kh][kw][channel][width]. */
static inline int64_t fc_dkernel_panel(const struct fc_dkernel_part *part, int64_t p)
{
    const struct fc_channels *channels = &part->job->plan->channels;
    return channels->taps * part->channels * channels->panel * (p - part->panel);
}

/* Adds the part's block of images [n, n + images): the patch is set. */
void fc_dkernel_add(struct fc_dkernel_part *part, int64_t n);

/* What block `step` of the batch reads is fetched while the one before it is added. */
void fc_dkernel_ahead(struct fc_dkernel_part *part, int64_t step);

#endif
