/* winograd_lanes_items.h: what tiles in the lanes share between products and sums. */
#ifndef FC_WINOGRAD_LANES_ITEMS_H
#define FC_WINOGRAD_LANES_ITEMS_H

#include "dispatch.h"
#include "winograd_lanes.h"

enum {
    FC_LANES_CHANNELS = 32, /* of a chain, which orders sums */
    FC_LANES_UNITS = 2,     /* of tiles that are taken to the points at once, in units of lanes, */
    FC_LANES_ALL_UNITS = 3, /* or of all tiles of an image */
    FC_LANES_NARROW = 32    /* rows that lose in parts of every 4th pixel */
};

struct fc_lanes_job {
    const struct fc_spread *spread;
    const struct fc_kernels *kernels;
    struct fc_winograd_lanes lanes;
    const char *u;
    unsigned char *bad; /* for each row of y, whether one was not finite */
    char *scratch;
    ptrdiff_t element;
    int64_t unit, tiles;              /* of a row */
    int64_t wide;                     /* tiles that are taken to the points at once */
    int64_t sums;                     /* of a point */
    int64_t before;                   /* rows of x that a row of y reads beside its own */
    int64_t rows, height, row_blocks; /* of x at a time; of groups of rows of y in an item */
    bool whole;                       /* m holds all rows of x */
    int64_t images, items;            /* of an item, more than one only where whole */
    int64_t planes;                   /* of y, 1 where channels lie together */
    int64_t m_plane, s_plane, a_plane, row_plane;
    size_t m_bytes, x_bytes, v_bytes, s_bytes, a_bytes, pixel_bytes, row_bytes, worker_bytes;
};

/* One item, and its worker's scratch. */
struct fc_lanes_item {
    const struct fc_lanes_job *job;
    int64_t n;
    char *m, *x, *v, *s, *a, *pixels, *zeros, *row; /* zeros: a pixel beyond a row */
};

/* Elements of a plane of FC_LANES_CHANNELS, of a column or a point: 4 KB apart they would meet in one set
 * of the nearest cache. */
static inline int64_t fc_lanes_plane(const struct fc_lanes_job *job)
{
    return FC_LANES_CHANNELS * job->wide + job->unit;
}

/* Whether they are planes of narrow rows, which become pixels first. */
static inline bool fc_lanes_narrow(const fc_image *x)
{
    return x->stride_w == 1 && x->w < FC_LANES_NARROW;
}

/* The products of rows [row, row + count) of x to m, from row `at` of it on: of rows beyond the image zeros. */
void fc_multiply_lanes(const struct fc_lanes_item *item, int64_t row, int64_t count, int64_t at);

#endif
