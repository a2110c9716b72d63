/* convolve_ahead.h: what tiles will need next, fetched into the second-level cache while they compute.
 *
 * A tile has arithmetic for some 2000 cycles and reads what lies in the nearest caches; the memory
 * beyond is idle meanwhile, and a block of the kernel or of x that is first touched when it is needed
 * arrives at the pace of its latency. Fetched some lines a tile ahead it is there. A kernel of 9 MB
 * (3x3, 512 to 512) streams so at 87 % of the peak in a loop of tiles alone, not 78. Where the caches
 * hold it anyway, fetching costs 2 to 4 %: see the limits in convolve.c. */
#ifndef FC_CONVOLVE_AHEAD_H
#define FC_CONVOLVE_AHEAD_H

#include "blocks.h"
#include "conv2d_kernels.h"

/* Runs of lines, the axes of an array apart. */
struct fc_ahead {
    const char *run;
    ptrdiff_t step;      /* from line to line of a run, in bytes */
    int64_t line, lines; /* of the run: the next, and how many there are */
    int64_t each;        /* lines that one tile fetches; 0 when nothing is left */
    struct {
        int64_t left, count;
        ptrdiff_t step;
    } axis[3];
};

/* Nothing. */
static inline struct fc_ahead fc_ahead_none(void) { return (struct fc_ahead){.each = 0}; }

/* One run, shared among so many tiles. */
struct fc_ahead fc_ahead_run(const char *run, int64_t bytes, int64_t tiles);

/* The x of a patch of images [n, n + images), channels [c, c + count). */
struct fc_ahead fc_ahead_patch(const fc_image *x, ptrdiff_t element, const struct fc_patch *patch,
                               int64_t n, int64_t images, int64_t c, int64_t count, int64_t tiles);

void fc_ahead_take(struct fc_ahead *ahead, int64_t runs, struct fc_fetch *fetch);

/* The share of a tile of so many runs of terms, which fetches some lines at each. */
static inline void fc_ahead_share(struct fc_ahead *ahead, int64_t runs, struct fc_fetch *fetch)
{
    fetch->lines = 0;
    if (ahead->each)
        fc_ahead_take(ahead, runs, fetch);
}

#endif
