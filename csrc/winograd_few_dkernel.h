/* winograd_few_dkernel.h: what kernel gradients along rows share between sums and what goes to the points. */
#ifndef FC_WINOGRAD_FEW_DKERNEL_H
#define FC_WINOGRAD_FEW_DKERNEL_H

#include "blocks.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "sum_channels.h"
#include "winograd_few.h"

struct fc_winograd_few_dkernel_plan {
    struct fc_winograd_few few;
    struct fc_blocks blocks;
    int64_t images;   /* of a block, more than one only if whole */
    int64_t columns;  /* outputs in whole units */
    int64_t elements; /* rows of taps, phases and channels */
    int64_t steps, chunks;
    size_t sums_bytes, x_bytes, dy_bytes, v_bytes, worker_bytes;
    int width;
};

struct fc_winograd_few_dkernel_job {
    const struct fc_convolution *convolution; /* y stands for dy, kernel for dkernel */
    const struct fc_winograd_few_dkernel_plan *plan;
    const struct fc_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    char *sums, *scratch;
    const struct fc_channel_sums *bias; /* of dy, which are added beside, or NULL */
    bool finite;
};

/* A block, and one worker's scratch. */
struct fc_winograd_few_dkernel_block {
    const struct fc_winograd_few_dkernel_job *job;
    int64_t n, images, tiles; /* the last: of a row */
    struct fc_patch patch;
    ptrdiff_t v_tile, v_image, v_point, d_image, d_point; /* elements from one to the next */
    char *x, *dy, *v, *d;
    int worker;
};

/* x of an image of the block, padded, to v[point][image][tile][row][phase, channel]. */
void fc_spread_few_x(const struct fc_winograd_few_dkernel_block *block, int64_t image);

/* dy to d[point][image][row][tile][output], and to dbias while it is near. */
void fc_spread_few_dy(const struct fc_winograd_few_dkernel_block *block, int64_t image);

#endif
