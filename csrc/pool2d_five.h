/* pool2d_five.h: the winners of windows of 5 x 5 that slide by one. */
#ifndef FC_POOL2D_FIVE_H
#define FC_POOL2D_FIVE_H

#include "pool2d_sweep.h"

struct fc_pool2d_fives {
    /* What is wanted. */
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *dy;   /* dy is asked for */
    ptrdiff_t number_step[2]; /* between rows, and between pixels of x */

    /* How it is done: filled by fc_pool2d_five_plan. */
    ptrdiff_t size;
    int64_t unit;
    bool staged;               /* planes are transposed */
    size_t plane_bytes, bytes; /* of scratch */
};

/* False where windows or images are none for it. */
bool fc_pool2d_five_plan(struct fc_pool2d_fives *self);

/* The winners of all windows of a block, which has a unit of channels or what is left of them; numbers are NULL where x
 * has a NaN. */
struct fc_pool2d_found fc_pool2d_five_block(const struct fc_pool2d_fives *self,
                                            const struct fc_pool2d_block *block, char *scratch);

#endif
