/* convolve_tiles.h: what one item of a convolution computes, and its heart: one panel of the kernel
 * times one stretch of channels, tile by tile. */
#ifndef FC_CONVOLVE_TILES_H
#define FC_CONVOLVE_TILES_H

#include "convolve_ahead.h"
#include "convolve_plan.h"

struct fc_convolve_job {
    const struct fc_convolution *convolution;
    const struct fc_convolve_plan *plan;
    const struct fc_conv2d_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    struct fc_panels panels;
    const char *packed; /* NULL where the plan is fused */
    char *scratch;
};

/* The terms of a stretch of channels: its runs, and the chains that they make. */
struct fc_terms {
    ptrdiff_t *offset, *kernel_offset;
    struct fc_chain *chains;
    int64_t count, chain_count;
};

/* One item, and its worker's scratch. */
struct fc_convolve_item {
    const struct fc_convolve_job *job;
    int64_t n, images, group, panel, end_panel;
    struct fc_patch patch;
    int64_t top, left; /* rows and columns of padding that the patch leaves out */
    char *x, *strip;
    char *kernels,
        *kernel; /* where the plan is fused: stretches of panels, and that of the panel */
    struct fc_terms terms, chosen;
    int64_t channels, slab; /* of the stretch */
    struct fc_tile tile;
    struct fc_ahead kernel_ahead, x_ahead;
};

/* x as the tiles of a patch see it, packed or in place: elements from slab to slab, from kernel row
 * to kernel row, from tap to tap, from pixel to pixel, from one row of outputs to the next, and from
 * one image to the next. */
struct fc_source {
    const char *x;
    ptrdiff_t slab, row, tap, pixel, next, image;
};

/* Some taps of a kernel: rows [0].begin to [0].end, columns [1].begin to [1].end. */
struct fc_taps {
    struct {
        int64_t begin, end;
    } axis[2];
};

/* Whether the taps of a row lie together in x, as one run of terms of each slab. Not where they are dilated, nor
 * where each tap has a patch of its own. */
bool fc_rows_are_runs(const struct fc_convolve_item *item, const struct fc_source *source);

/* The terms of those taps in the item's stretch: of one tap without lanes its channels, else slab by
 * slab. */
void fc_list_terms(const struct fc_convolve_item *item, const struct fc_source *source,
                   const struct fc_taps *taps, struct fc_terms *terms);

/* Panel p times channels [c, end), a stretch in slabs of `slab` channels: added to the strip, or, by
 * the stretch that ends the reduction, finished into y. */
void fc_compute_panel(struct fc_convolve_item *item, int64_t p, int64_t c, int64_t end,
                      int64_t slab, const struct fc_source *source, char *strip);

#endif
