/* winograd_ahead.h: what groups read and write next, asked for between the products of the one before.
 *
 * Of each pixel an item of 8 groups reads 512 bytes of x, and a group writes 64 of y: pieces of memory far
 * from each other, which no prefetcher follows. On Zen 4 8 images of 14x14 with 32 groups of 16 channels went
 * from 1.77 ms to 1.65 where x comes from memory, from 2.25 to 1.93 where all does, and stayed at 1.6 where all
 * comes from the third-level cache; in planes 2.27 to 1.93, 2.66 to 2.28, 1.87 to 1.83. y into the nearest
 * cache, where its lines meet in a few sets, cost 6 % more than into the second. */
#ifndef FC_WINOGRAD_AHEAD_H
#define FC_WINOGRAD_AHEAD_H

#include "winograd_plan.h"

/* Some channels of x under a block, or of its y, image by image: `left` runs of `lines` lines, of which `wide`
 * lie `across` bytes apart, from there to the next it is `down`. */
struct fc_winograd_ahead {
    const struct fc_winograd_plan *plan;
    const fc_image *image;
    struct fc_winograd_block block;
    int64_t n, c, count;
    int64_t each; /* runs that a step asks for; 0 when nothing is left */
    const char *at;
    ptrdiff_t across, down;
    int64_t left, lines, wide, column;
};

/* Channels [c, c + count), in so many steps. */
struct fc_winograd_ahead fc_winograd_ahead_of(const struct fc_winograd_plan *plan,
                                              const struct fc_winograd_block *block, bool of_y,
                                              int64_t c, int64_t count, int64_t steps);

/* A step's share. */
void fc_winograd_ahead_step(struct fc_winograd_ahead *ahead);

#endif
