/* winograd.h: convolution of stride 1 with fewer multiplications, by tiles.
 *
 *   y = output((kernel(w) . input(x)) summed over channels)
 * Forward passes and input gradients are fc_winograd_convolve, kernel gradients
 * fc_winograd_dkernel. Which form, if any, is the choice of choose.c. */
#ifndef FC_WINOGRAD_H
#define FC_WINOGRAD_H

#include "convolve.h"
#include "winograd_kernels.h"

enum {
    FC_WINOGRAD_MOST_TILES = 112,       /* of a block, over which the kernel passes once, */
    FC_WINOGRAD_MOST_V_BYTES = 5 << 20, /* and of its transformed inputs, if it is the only one */
    FC_WINOGRAD_KEPT_PANELS = 8,
    FC_WINOGRAD_PART_CHANNELS = 128, /* of a kernel gradient that is summed at once, */
    FC_WINOGRAD_PART_PANELS = 2      /* and outputs */
};

/* Vertical and horizontal. */
struct fc_winograd_form {
    int outputs[2], taps[2], points[2];
    int positions;
};

struct fc_winograd_form fc_winograd_form_at(int form);

/* The transformed kernel: [group][panel][chunk of FC_WINOGRAD_CHUNK channels][position][channel]
 * [width of the panel], positions a unit further apart than that, since they are written side by side
 * and would share a set of the cache. */
struct fc_winograd_kernel {
    struct fc_panels panels;
    const struct fc_winograd_transforms *transforms;
    struct fc_winograd_form form;
};

int64_t fc_winograd_chunk_elements(const struct fc_winograd_kernel *kernel, int64_t p, int64_t c,
                                   int64_t *position);
/* Where panel p's channels from c on begin. */
int64_t fc_winograd_kernel_offset(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                  int64_t c);
bool fc_winograd_kernel_bytes(const struct fc_winograd_kernel *kernel, int64_t panels,
                              size_t *bytes);

/* One chunk of a panel to `to`; staging holds fc_winograd_staging elements. */
void fc_winograd_transform_chunk(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                 int64_t c, void *staging, void *to);
int64_t fc_winograd_staging(const struct fc_winograd_kernel *kernel);

/* Panels [panel, end) of a group, on as many threads as it is worth, side by side to `to`. */
fc_status fc_winograd_transform_panels(const struct fc_winograd_kernel *kernel, int64_t group,
                                       int64_t panel, int64_t end, void *to);

/* y as fc_convolve has it. `transformed` is the whole transformed kernel, or NULL to transform it
 * inside the call. Tiles that come out infinite or NaN are computed again without Winograd. */
fc_status fc_winograd_convolve(int form, const struct fc_convolution *convolution,
                               const void *transformed);

/* dkernel as fc_conv2d_dkernel has it; y stands for dy, kernel for dkernel. *finite: whether every
 * element came out finite; else it must be computed again without Winograd, since what is infinite or
 * NaN would reach taps that do not read it. */
fc_status fc_winograd_dkernel(int form, const struct fc_convolution *convolution, bool *finite);

#endif
