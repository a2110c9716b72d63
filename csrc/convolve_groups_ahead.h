/* convolve_groups_ahead.h: lines of x that the next item of narrow groups reads, asked for by the tiles of this one.
 *
 * Pixels of a few units, or planes, are no stream that the processor knows, and packing them took a third of the
 * time. */
#ifndef FC_CONVOLVE_GROUPS_AHEAD_H
#define FC_CONVOLVE_GROUPS_AHEAD_H

#include "blocks.h"
#include "convolve.h"
#include "workspace.h"

/* In each of some rows `outer` runs of `inner` lines. */
struct fc_groups_ahead {
    const char *at;
    ptrdiff_t row, step; /* from row to row, and from run to run */
    int64_t rows, outer, inner;
};

/* Piece r of `pieces` of a patch's rows in image n, `count` channels from the k-th on, in units of `unit`. */
static inline struct fc_groups_ahead fc_find_groups_ahead(const fc_image *x, ptrdiff_t element,
                                                          const struct fc_patch *patch, int64_t n,
                                                          int64_t r, int64_t pieces, int64_t k,
                                                          int64_t count, int64_t unit)
{
    const int64_t gap = patch->x_row_gap, first = r * patch->x_rows / pieces;
    const int64_t end =
        fc_min((r + 1) * patch->x_rows / pieces, fc_ceil_div(x->h - patch->x_row, gap));
    const int64_t begin = fc_max(patch->x_column, 0), row = patch->x_row + first * gap;
    const int64_t columns = fc_min(patch->x_column + patch->x_columns, x->w) - begin;
    if (row < 0 || first >= end || columns <= 0 || (x->stride_c != 1 && x->stride_w != 1))
        return (struct fc_groups_ahead){.outer = 0};
    const int64_t lines = fc_ceil_div(columns * element, FC_CACHE_LINE);
    return (struct fc_groups_ahead){
        .at = fc_image_at(x, element, n, row, begin, k),
        .row = gap * x->stride_h * element,
        .step = (x->stride_c == 1 ? x->stride_w : x->stride_c) * element,
        .rows = end - first,
        .outer = x->stride_c == 1 ? columns : count,
        .inner = x->stride_c == 1 ? count / unit : lines,
    };
}

/* Piece t of `pieces`. Inline, since gcc leaves out calls of a function that does nothing but fetch. */
static inline __attribute__((always_inline)) void
fc_fetch_groups_ahead(const struct fc_groups_ahead *ahead, int64_t t, int64_t pieces)
{
    const int64_t runs = ahead->rows * ahead->outer;
    for (int64_t i = runs * t / pieces; i < runs * (t + 1) / pieces; i++) {
        const int64_t row = i < ahead->outer ? 0 : i / ahead->outer;
        const char *at = ahead->at + row * ahead->row + (i - row * ahead->outer) * ahead->step;
        for (int64_t line = 0; line < ahead->inner; line++)
            __builtin_prefetch(at + line * FC_CACHE_LINE, 0, 2);
    }
}

#endif
