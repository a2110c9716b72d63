/* conv2d_dx_phases.h: the input gradient, phase by phase. */
#ifndef FC_CONV2D_DX_PHASES_H
#define FC_CONV2D_DX_PHASES_H

#include "geometry.h"

/* A rectangle of positions of the padded input; dx holds just these. */
struct fc_dx_region {
    int64_t begin[2], end[2];
    fc_image dx;
    int64_t apart; /* from a column of one phase to that of the next; 0: they are neighbours */
};

/* The gradient at a region's positions, with bias added where it is not NULL; zero, or bias, where no tap
 * reaches. */
fc_status fc_convolve_dx_region(const fc_conv2d_params *params, const struct fc_window *window,
                                const fc_image *dy, const fc_weights *kernel, const void *bias,
                                const struct fc_dx_region *region);

/* The same at all of dx. */
fc_status fc_convolve_dx(const fc_conv2d_params *params, const struct fc_window *window,
                         const fc_image *dy, const fc_weights *kernel, const void *bias,
                         const fc_image *dx);

#endif
