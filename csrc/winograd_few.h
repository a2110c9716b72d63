/* winograd_few.h: Winograd's algorithm along rows, for few channels of x: winograd_few.c says how. */
#ifndef FC_WINOGRAD_FEW_H
#define FC_WINOGRAD_FEW_H

#include "convolve.h"
#include "winograd_kernels.h"

/* The form, and what of it follows from the kernel. */
struct fc_winograd_few {
    int outputs, taps,
        points;        /* of a tile, of a phase of the stride, and where its products are taken */
    int64_t full, run; /* channels of the phases that have all taps, and of all phases */
    int64_t unit;      /* outputs in the lanes */
};

/* Whether there is one. */
bool fc_winograd_few_of(const struct fc_convolution *convolution, struct fc_winograd_few *few);

/* Whether it is the cheapest way, from the shape of one sample and the dtype. */
bool fc_fits_winograd_few(const struct fc_convolution *convolution);

/* The transformed kernel, [unit][row of taps][phase, channel][point][output of the unit]: numbers of a unit, its bytes
 * (false: overflow), and how it is made. */
int64_t fc_winograd_few_unit(const struct fc_winograd_few *few,
                             const struct fc_kernel_view *kernel);
bool fc_winograd_few_bytes(const struct fc_convolution *convolution, size_t *bytes);
void fc_winograd_few_transform(const struct fc_convolution *convolution, void *to);

/* y as fc_convolve has it. `transformed` is the transformed kernel, or NULL to make it inside the call. Rows
 * of outputs of which one comes out infinite or NaN are computed again by fc_convolve. */
fc_status fc_winograd_few_convolve(const struct fc_convolution *convolution,
                                   const void *transformed);

/* The same of kernel gradients, from dy and x as few_dkernel.h has them, in tiles of FC_WINOGRAD_COLUMNS of dy. */
bool fc_winograd_few_dkernel_of(const struct fc_convolution *convolution,
                                struct fc_winograd_few *few);
bool fc_fits_winograd_few_dkernel(const struct fc_convolution *convolution);
fc_status fc_winograd_few_dkernel(const struct fc_convolution *convolution, void **dbias,
                                  bool *finite);

#endif
