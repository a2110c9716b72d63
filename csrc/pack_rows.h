/* pack_rows.h: rows of an image, padded, in the layout that the tiles read. */
#ifndef FC_PACK_ROWS_H
#define FC_PACK_ROWS_H

#include <stddef.h>

#include "blocks.h"
#include "convolve.h"

/* What is packed from: the padded image that a convolution slides over. */
struct fc_padded {
    const struct fc_conv2d_kernels *kernels;
    size_t element;
    fc_image x;
    fc_padding_mode mode;
    double value;
    bool skip_rows; /* rows all in padding are not written: no tap reads them */
};

/* Whether padding adds nothing to a sum, so that taps in it may be left out. */
static inline bool fc_pads_with_zero(const struct fc_convolution *convolution)
{
    return convolution->padding_mode == FC_CONSTANT && convolution->padding_value == 0;
}

/* x as the convolution pads it. */
struct fc_padded fc_padded_x(const struct fc_convolution *convolution,
                             const struct fc_conv2d_kernels *kernels, bool skip_rows);

/* `count` elements of what constant padding holds. */
void fc_fill_padding(const struct fc_padded *padded, void *to, int64_t count);

/* The source of coordinate v in [0, size), or -1 for a constant. */
int64_t fc_padding_source(fc_padding_mode mode, int64_t v, int64_t size);

/* The x of a patch of image n as to[slab][row][column][channel]: channels [c, c + count), in slabs of
 * `slab` and the rest; a slab's pitch is its own number of channels. */
void fc_pack_slabs(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                   int64_t slab, int64_t c, int64_t count, void *to);

/* to[channel][row][column], rows pitch apart: channels [c, c + count), as planes. */
void fc_pack_planes(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                    int64_t pitch, int64_t c, int64_t count, void *to);

/* to[channel][row][column][lane]: for outputs [k, k + outputs) of lanes, channels [c, c + count) of
 * each output's group, width lanes of which those beyond outputs are zero. */
void fc_pack_lanes(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                   const struct fc_kernel_view *kernel, int64_t k, int64_t outputs, int64_t width,
                   int64_t c, int64_t count, void *to);

#endif
