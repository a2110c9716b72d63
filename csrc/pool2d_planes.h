/* pool2d_planes.h: pooling of planes whose columns fill the lanes: those of channels-first images, and
 * those of channels-last images of few channels, where a plane is an image and its columns are pixels.
 *
 * A plane is parted by the strides into classes of rows and columns, all of one pitch that leaves room
 * for the padding. Then each tap lies at one distance from its window, and a plane of windows is one
 * run of lanes: rows of 14 columns, which fill no vector, do not matter, nor do windows at the ends. */
#ifndef FC_POOL2D_PLANES_H
#define FC_POOL2D_PLANES_H

#include "pool2d_pass.h"

struct fc_pool2d_planes {
    /* What is wanted. */
    fc_pooling pooling;
    fc_dtype dtype;
    const struct fc_kernels *kernels;
    struct fc_axis axis[2];
    bool gradient; /* bands are lines of dx, not rows of windows */

    /* How it is done: filled by fc_pool2d_planes_plan. */
    size_t size;
    bool pixels;                    /* planes are images, their columns pixels */
    bool merged;                    /* the planes of all images follow each other */
    int64_t outer, inner, channels; /* planes, and the elements of a column of theirs */
    int64_t beyond[2];              /* lines and columns of a part beyond those of windows */
    int64_t lines, pitch;           /* of a part; elements of a line */
    int64_t band, bands, rows;      /* lines at once; windows that they need */
    int64_t group, groups;          /* planes at once, of `inner` */
    int64_t share, shares;          /* groups of an item */
    int64_t band_share;             /* bands of an item, which follow each other */
    ptrdiff_t part, parts;          /* elements of a part of x, and of all parts of a plane */
    ptrdiff_t windows;              /* of a plane of windows */
    int64_t items;
    bool fetched; /* memory is fetched ahead of its use */
};

/* A group of planes of a band at work. */
struct fc_pool2d_band {
    int64_t line, line_end;     /* of the band */
    int64_t window, window_end; /* rows of windows that it needs */
    int64_t outer, inner, planes;
    bool fresh; /* padding has to be laid: it lies elsewhere than in the band before */
};

/* False where the images do not come as such planes. Sums of strides are not larger than the images'. */
bool fc_pool2d_planes_plan(struct fc_pool2d_planes *self, const fc_image *const *images, int count);

/* The step-th band of a group of an item; false after the last. */
bool fc_pool2d_planes_step(const struct fc_pool2d_planes *self, int64_t item, int64_t step,
                           struct fc_pool2d_band *band);

/* Rows [row, row + rows) of image: between the group's planes and parts; only the latter's `parts`,
 * phases and distances are left to the caller. */
struct fc_pool2d_parts fc_pool2d_planes_rows(const struct fc_pool2d_planes *self,
                                             const struct fc_pool2d_band *band,
                                             const fc_image *image, int64_t row, int64_t rows);

/* Parts of `part` elements each, `plane` for those of a plane, whose lines begin `row` rows above. */
void fc_pool2d_planes_lay(const struct fc_pool2d_planes *self, void *parts, ptrdiff_t part,
                          ptrdiff_t plane, int64_t row, struct fc_pool2d_parts *rows);

/* Fills scratch with what padding is. */
void fc_pool2d_planes_fill(const struct fc_pool2d_planes *self, double value, void *to,
                           int64_t elements);

/* x's rows to parts, which hold padding. */
void fc_pool2d_planes_part(const struct fc_pool2d_planes *self, const struct fc_pool2d_band *band,
                           const fc_image *x, void *parts);

/* Spreads the fetching of rows over blocks of that many elements in all. */
struct fc_lines_ahead fc_pool2d_planes_ahead(const struct fc_pool2d_planes *self,
                                             const struct fc_pool2d_parts *rows, int64_t elements);

/* The windows of a step, from their parts, while x is fetched for the next one; x, y and numbers are left
 * to the caller. */
void fc_pool2d_planes_window(const struct fc_pool2d_planes *self, const struct fc_pool2d_band *band,
                             int64_t item, int64_t step, const fc_image *x,
                             struct fc_pool2d_window *window);

/* A maximum, minimum or average; *done is false where there are no such planes. */
fc_status fc_pool2d_planes_forward(const struct fc_pool2d_pass *pass, const fc_image *y,
                                   bool *done);

/* dx of a maximum or minimum. */
fc_status fc_pool2d_planes_max_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                  const fc_image *dx, bool *done);

#endif
