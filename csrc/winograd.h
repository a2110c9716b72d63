/* winograd.h: convolution with fewer multiplications, by tiles.
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
    FC_WINOGRAD_KEPT_PANELS = 8
};

enum { FC_WINOGRAD_FORM_COUNT = 15 };

/* A kernel and how it is computed, vertical and horizontal. A kernel with more taps than the transforms
 * is cut in pieces, the sum of as many convolutions, which are summed at the positions: of stride 1, those
 * of neighbouring taps, each of x as many pixels further; of stride 2, one for each phase of the taps, of
 * every second pixel of x. */
struct fc_winograd_form {
    int transforms;
    int outputs[2], taps[2], points[2];
    int positions;
    int stride;
    int64_t kernel[2], across, pieces; /* taps of the kernel; pieces side by side, and all */
};

struct fc_winograd_form fc_winograd_form_of(int form, const struct fc_kernel_view *kernel);

/* What a form is to have: the taps of the transforms that multiply least for a kernel, which no form has where there
 * are none. */
struct fc_winograd_taps {
    int64_t stride, taps[2];
    fc_dtype dtype;
};

struct fc_winograd_taps fc_winograd_taps_of(const struct fc_kernel_view *kernel, int64_t stride,
                                            fc_dtype dtype);
bool fc_winograd_has(int form, const struct fc_winograd_taps *taps);

/* Whether it is one row or column of points. */
static inline bool fc_winograd_is_line(const struct fc_winograd_form *form)
{
    return form->points[0] == 1 || form->points[1] == 1;
}

/* Whether kernels leave the factors of the points to the outputs: phases of 1 or 2 taps. */
static inline bool fc_winograd_leaves_factors(const struct fc_winograd_form *form)
{
    return form->stride > 1 && form->taps[0] == 2;
}

/* Channels of a kernel gradient that are summed at once, and panels of outputs: of a line, which has a
 * fifth of the positions, twice as many of both. x and dy are taken to positions half as often: 1x7 with
 * 192 channels takes 5.4 ms instead of 6.3, with 128 2.5 instead of 2.7. Of a piece of a stride, whose x is every
 * second pixel, twice as many panels. */
static inline int64_t fc_winograd_part_channels(const struct fc_winograd_form *form)
{
    return fc_winograd_is_line(form) ? 256 : 128;
}

static inline int64_t fc_winograd_part_panels(const struct fc_winograd_form *form)
{
    return fc_winograd_is_line(form) || form->stride > 1 ? 4 : 2;
}

/* Its first tap, and its taps, `stride` apart: pieces may have fewer than the transforms, and lack what those before
 * them have at infinity, where a kernel is its last tap. Without the factors one tap of 2 has the same value at all
 * points, and is stored once: `stored` rows and columns of matrices. */
struct fc_winograd_piece {
    int64_t first[2], taps[2], stored[2];
    bool lacks[2];
};

struct fc_winograd_piece fc_winograd_piece_at(const struct fc_winograd_form *form, int64_t piece);

/* Whether a piece has products at a position; the first piece has them all. */
bool fc_winograd_piece_has(const struct fc_winograd_form *form,
                           const struct fc_winograd_piece *piece, int64_t position);
int64_t fc_winograd_positions_of_piece(const struct fc_winograd_form *form,
                                       const struct fc_winograd_piece *piece);

/* How many matrices a piece stores, and position i in an order in which as many have the first, the second,
 * and so on. */
int64_t fc_winograd_matrices(const struct fc_winograd_piece *piece);
static inline int64_t fc_winograd_position_of(const struct fc_winograd_form *form,
                                              const struct fc_winograd_piece *piece, int64_t i)
{
    const int64_t rows = form->points[0], columns = form->points[1];
    return piece->stored[0] < rows && i < form->positions ? i % rows * columns + i / rows : i;
}

/* Those of the pieces before one. */
int64_t fc_winograd_matrices_before(const struct fc_winograd_form *form, int64_t piece);

/* What is summed for an output is counted in chunks, of FC_WINOGRAD_CHUNK channels of a piece. */
struct fc_winograd_chunk {
    int64_t piece, c, channels;
    int64_t slab; /* slabs before it, where whole slabs of each piece follow each other */
};

struct fc_winograd_chunk fc_winograd_chunk_at(int64_t c_in, int64_t chunk);
int64_t fc_winograd_chunks(const struct fc_winograd_form *form, int64_t c_in);

/* The transformed kernel: [group][panel][chunk][matrix][channel][width of the panel], matrices a
 * unit further apart than that, since they are written side by side and would share a set of the
 * cache. */
struct fc_winograd_kernel {
    struct fc_panels panels;
    const struct fc_winograd_transforms *transforms;
    struct fc_winograd_form form;
};

/* A kernel in a form, whose channels outlive it. */
struct fc_winograd_kernel fc_winograd_kernel_of(const struct fc_winograd_form *form, fc_dtype dtype,
                                                const struct fc_kernel_view *kernel,
                                                const struct fc_channels *channels);

int64_t fc_winograd_chunk_elements(const struct fc_winograd_kernel *kernel, int64_t p,
                                   int64_t chunk, int64_t *matrix);
/* Where panel p's chunks from `chunk` on begin. */
int64_t fc_winograd_kernel_offset(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                  int64_t chunk);
bool fc_winograd_kernel_bytes(const struct fc_winograd_kernel *kernel, int64_t panels,
                              size_t *bytes);

/* One chunk of a panel to `to`; staging holds fc_winograd_staging elements. */
void fc_winograd_transform_chunk(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                 int64_t chunk, void *staging, void *to);
int64_t fc_winograd_staging(const struct fc_winograd_kernel *kernel);

/* The taps of some channels, fewer than a chunk, of a panel: from the kernel to staging,
 * [tap][channel][width], or back. Taps that a piece lacks are left alone. */
void fc_winograd_copy_taps(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                           const struct fc_winograd_chunk *some, char *staging, bool to_staging);

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
