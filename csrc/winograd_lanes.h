/* winograd_lanes.h: Winograd's algorithm along rows, for few outputs: winograd_lanes.c says how. */
#ifndef FC_WINOGRAD_LANES_H
#define FC_WINOGRAD_LANES_H

#include "convolve_spread.h"

/* The form, and what of it follows from the kernel. */
struct fc_winograd_lanes {
    int taps, points; /* of a phase of the stride, and where products are taken */
    int64_t lines,
        full; /* outputs of all phases of a row of taps, and of those that have all taps */
};

/* Whether there is one. */
bool fc_winograd_lanes_of(const struct fc_spread *spread, struct fc_winograd_lanes *lanes);

/* Whether it is the cheapest way, from the shape of one sample and the dtype. */
bool fc_fits_winograd_lanes(const struct fc_spread *spread);

/* The transformed kernel, [point][phase, output][row of taps][channel]: its bytes, and how it is made. */
size_t fc_winograd_lanes_bytes(const struct fc_spread *spread,
                               const struct fc_winograd_lanes *lanes);
void fc_winograd_lanes_transform(const struct fc_spread *spread,
                                 const struct fc_winograd_lanes *lanes, void *to);

/* y as fc_spread has it, of a bare kernel, with a bias at most. Rows of y of which a sum comes out infinite or NaN are
 * computed again by fc_spread. */
fc_status fc_winograd_lanes(const struct fc_spread *spread);

#endif
