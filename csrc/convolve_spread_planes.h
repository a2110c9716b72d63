/* convolve_spread_planes.h: what a convolution with taps as planes shares between its products and its sums. */
#ifndef FC_CONVOLVE_SPREAD_PLANES_H
#define FC_CONVOLVE_SPREAD_PLANES_H

#include "convolve_spread_plan.h"
#include "convolve_spread_planes_plan.h"
#include "dispatch.h"

/* Every stride-th column of y: the first tap that reaches it, its place among planes, and how many columns of x
 * further. */
struct fc_spread_phase {
    int64_t tap, shift, pixels;
};

struct fc_spread_job {
    const struct fc_spread *spread;
    const struct fc_spread_planes_plan *plan;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *bias, *weights, *scratch;
    int64_t stride, before; /* of rows */
    bool direct;            /* sums are y as they are, one after the other */
    /* Of terms, in x as it is packed and where it lies. */
    ptrdiff_t offset[FC_BLOCK_TERMS], in_place[FC_BLOCK_TERMS];
    struct fc_spread_phase phase[FC_MOST_SPREAD_TAPS];
};

/* One item, and its worker's scratch. It reads columns [begin, end) of x, and rows of it to `stop`: `next` is the first
 * that is not in t yet, and a row of y reads [first, last). It makes `pixels` of each phase of columns of y from
 * `column` on: `whole` of them all, and one more of the first `rest` phases. Rows of t begin with column `origin` of x,
 * and a row of y finds its terms from `at` on; row `base` lies in the first slot of t, those before it in the last. */
struct fc_spread_item {
    const struct fc_spread_job *job;
    int64_t n, begin, end, origin, base, next, first, last, stop, column, pixels, at, whole, rest;
    char *x, *t, *line;
    /* The sums of the last row of y, the first row of x in them, and how far behind the list they are. */
    int64_t listed;
    ptrdiff_t slid;
    struct fc_shifted_sums sums;
    ptrdiff_t offset[FC_MOST_SPREAD_TAPS * FC_MOST_SPREAD_TAPS];
};

static inline char *fc_spread_row(const struct fc_spread_item *item, const fc_image *image,
                                  int64_t row)
{
    return fc_image_at(image, item->job->element, item->n, row, 0, 0);
}

/* No row of x, nor one that follows it. */
enum { FC_NO_ROW = -2 };

/* Row `row` of y, of which t holds all terms. */
void fc_add_spread_row(struct fc_spread_item *item, int64_t row);

#endif
