/* conv2d_dkernel_sums.h: one block of the batch added to one part of a kernel gradient. */
#ifndef FC_CONV2D_DKERNEL_SUMS_H
#define FC_CONV2D_DKERNEL_SUMS_H

#include <stdatomic.h>

#include "conv2d_dkernel_ahead.h"
#include "conv2d_dkernel_plan.h"
#include "few_kernels.h"
#include "pack_rows.h"
#include "sum_channels.h"
#include "unpooled.h"

struct fc_dkernel_job {
    const struct fc_convolution *convolution; /* y stands for dy, kernel for dkernel */
    const struct fc_dkernel_plan *plan;
    const struct fc_conv2d_kernels *kernels;
    const struct fc_few_kernels *few;
    struct fc_padded padded;
    ptrdiff_t element;
    char *sums, *scratch;
    size_t worker_bytes;
    const struct fc_unpooled *unpooled; /* what dy is made of image by image, or NULL */
    bool in_place;                      /* finished sums of whole panels go straight to dkernel */
    const struct fc_channel_sums *bias; /* of dy, which are added beside, or NULL */
    atomic_bool *not_finite;
};

/* One part, and one worker's scratch. */
struct fc_dkernel_part {
    const struct fc_dkernel_job *job;
    int64_t group, c, channels, panel, panels;
    char *sums, *x, *dy;
    const char *tile_dy; /* where the tiles read a panel: packed or in place */
    bool first, last;    /* block of the chunk: sums begin with it, or are finished */
    bool finite;
    ptrdiff_t *offset;
    int64_t images;
    struct fc_patch patch;
    int64_t x_row, x_image, dy_row, dy_image; /* elements from one of the patch to the next */
    struct fc_dkernel_tile tile;
    struct fc_dkernel_ahead ahead;
};

/* A worker's view of a job whose dy it makes for itself, block by block in one place. */
struct fc_dkernel_own {
    struct fc_dkernel_job job;
    struct fc_convolution convolution;
    struct fc_channel_sums bias;
    char *dy;
};

/* Makes it the part's. */
void fc_dkernel_own_dy(struct fc_dkernel_part *part, char *dy, struct fc_dkernel_own *own);
/* The dy of a block of image n. */
void fc_dkernel_unpool(struct fc_dkernel_own *own, int64_t n, const struct fc_patch *patch);

/* Where a panel's sums begin within those of its part: [panel][slab][kh][kw][channel][width]. */
static inline int64_t fc_dkernel_panel(const struct fc_dkernel_part *part, int64_t p)
{
    const struct fc_channels *channels = &part->job->plan->channels;
    return channels->taps * part->channels * channels->panel * (p - part->panel);
}

/* Whether the last block's tiles store a panel where it belongs. */
static inline bool fc_dkernel_lands(const struct fc_dkernel_job *job, int64_t p)
{
    const struct fc_channels *channels = &job->plan->channels;
    return job->in_place && fc_panel_outputs(channels, p) == fc_panel_width(channels, p);
}

/* Channels that are packed for the slab which begins at channel c of the part. */
static inline int64_t fc_dkernel_slab_pitch(const struct fc_dkernel_part *part, int64_t c)
{
    const struct fc_dkernel_plan *plan = part->job->plan;
    return fc_min(plan->pitch, plan->channels.c_in - part->c - c);
}

/* Pixels of x that are packed for a slab: [tap, if these are apart][image][row][column]. */
static inline int64_t fc_dkernel_packed_pixels(const struct fc_dkernel_part *part)
{
    const struct fc_dkernel_job *job = part->job;
    return (job->plan->apart ? job->convolution->kernel.kw : 1) * part->images *
           part->patch.x_rows * part->patch.x_columns;
}

/* Packs the x of a block of images from n on, and sets where the tiles read panel p of its dy. */
void fc_dkernel_pack_x(struct fc_dkernel_part *part, int64_t n);
void fc_dkernel_find_dy(struct fc_dkernel_part *part, int64_t n, int64_t p);

/* dbias beside dkernel, if the sums of dy fit: the dy of a block of images from n on, or of its panel p,
 * is added once the block has been (of all panels), or once the panel has been packed. */
bool fc_dkernel_fits_bias(const struct fc_dkernel_plan *plan, const struct fc_channel_sums *bias,
                          const fc_image *y, bool depthwise);
void fc_dkernel_add_bias(const struct fc_dkernel_part *part, int64_t n, int worker);
void fc_dkernel_add_packed_bias(const struct fc_dkernel_part *part, int64_t n, int64_t p);

/* The x of panel p where lanes run over groups. */
void fc_dkernel_pack_lanes(struct fc_dkernel_part *part, int64_t n, int64_t p);

/* The tile's images, rows and columns: the pixels of a block in their order, rows that follow each other
 * in x and dy as one, and images that do. The steps of part and tile are set. */
void fc_dkernel_lay_out_rows(struct fc_dkernel_part *part, int64_t rows, int64_t columns);

/* Adds the part's block of images from n on where the plan is direct. */
void fc_dkernel_add_dense(struct fc_dkernel_part *part, int64_t n);

/* Adds the part's block of images [n, n + images): the patch is set. */
void fc_dkernel_add(struct fc_dkernel_part *part, int64_t n);

/* What block `step` of the batch reads is fetched while the one before it is added. */
void fc_dkernel_look_ahead(struct fc_dkernel_part *part, int64_t step);

#endif
