/* winograd_ahead.h: what blocks read and write next, asked for between the products of the one before.
 *
 * A panel writes 128 bytes of each pixel of y, and tiles step from row to row of both images: pieces of memory far
 * from each other, which no prefetcher follows. While other processes use the third-level cache of Zen 4, 3x3 with 64
 * channels at 56x56 went from 6.5 ms to 5.5 by asking for both, y alone 6.0, with 128 at 28x28 from 5.6 to 5.1.
 *
 * Of each pixel an item of 8 groups reads 512 bytes of x, and a group writes 64 of y. On Zen 4 8 images of 14x14
 * with 32 groups of 16 channels went from 1.77 ms to 1.65 where x comes from memory, from 2.25 to 1.93 where all
 * does, and stayed at 1.6 where all comes from the third-level cache; in planes 2.27 to 1.93, 2.66 to 2.28, 1.87 to
 * 1.83. y into the nearest cache, where its lines meet in a few sets, cost 6 % more than into the second. */
#ifndef FC_WINOGRAD_AHEAD_H
#define FC_WINOGRAD_AHEAD_H

#include "winograd_tiles.h"

/* Some channels of x under a block, or of its y, image by image: `left` runs of `lines` lines, of which `wide`
 * lie `across` bytes apart, from there to the next it is `down`. */
struct fc_winograd_ahead {
    bool of_y;
    fc_image image; /* of x, what the source's piece of the kernel slides over */
    int64_t before[2], beyond[2], step[2];
    int64_t tile_rows, element;
    struct fc_winograd_block block;
    int64_t n, c, count;
    int64_t each; /* runs that a step asks for; 0 when nothing is left */
    const char *at;
    ptrdiff_t across, down;
    int64_t left, lines, wide, column;
};

/* Channels [c, c + count) of x, whose source that is, or of the convolution's y, in so many steps. */
struct fc_winograd_ahead fc_winograd_ahead_of(const struct fc_winograd_source *source,
                                              const struct fc_winograd_block *block, bool of_y,
                                              int64_t c, int64_t count, int64_t steps);

/* What a chunk of a panel is transformed from, where outputs lie together. */
struct fc_winograd_ahead fc_winograd_ahead_of_kernel(const struct fc_winograd_kernel *kernel,
                                                     int64_t group, int64_t p, int64_t chunk,
                                                     int64_t steps);

/* A step's share. */
void fc_winograd_ahead_ask(struct fc_winograd_ahead *ahead);
static inline void fc_winograd_ahead_step(struct fc_winograd_ahead *ahead)
{
    if (ahead->each > 0)
        fc_winograd_ahead_ask(ahead);
}

#endif
