/* convolve_plan.h: how a convolution is cut into items of work, and what scratch each needs. */
#ifndef FC_CONVOLVE_PLAN_H
#define FC_CONVOLVE_PLAN_H

#include "convolve.h"
#include "pack_rows.h"

struct fc_convolve_plan {
    struct fc_channels channels;
    int64_t
        patches; /* of an image for a block: one, or, where taps are apart, one a tap of a row */
    struct fc_axis axis[2]; /* by which blocks are cut: of a patch, where there are several */
    struct fc_blocks blocks;
    bool direct;        /* x is read where it lies: one tap, depthwise, or */
    bool runs_in_place; /* rows of taps of a slab; in all of them channels lie together */
    bool fused;        /* the kernel is packed block by block where it is used, by one item alone */
    int64_t abreast;   /* panels of which a part is packed together, where the plan is fused */
    bool skip_rows;    /* taps in zero padding above and below are left out */
    bool skip_columns; /* and to the left and right */
    bool inside;       /* of x only what lies in the image is packed: no other is read */
    bool stream;       /* y goes past the caches */
    int64_t images;    /* images that an item computes together, each a whole block */
    int64_t chunk;     /* channels of x packed at once */
    int64_t stretch;   /* channels that a tile sums at once, whole chains */
    int64_t runs, chains;         /* of a stretch, at most */
    int64_t panels, panel_shares; /* panels an item computes; items that share a block */
    int64_t items;
    int width;
    size_t x_bytes, strip_bytes, terms_bytes, kernel_bytes, worker_bytes;
};

/* Bytes of the list of a stretch's terms, in scratch. */
size_t fc_terms_bytes(const struct fc_convolve_plan *plan);

/* Whether the taps of a kernel row lie so far apart that what is between them must not be packed. */
bool fc_taps_apart(const struct fc_convolution *convolution);

/* Whether taps in zero padding to the left and right are left out of sums over channels: half of the columns
 * or more lack one. */
bool fc_skips_columns(const struct fc_convolution *convolution);

/* False where a count of bytes overflows. */
bool fc_plan_convolve(const struct fc_convolution *convolution, struct fc_convolve_plan *plan);

#endif
