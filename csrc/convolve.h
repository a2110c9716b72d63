/* convolve.h: the one computation behind forward passes, input gradients and transposed
 * convolutions: a sum over taps and channels, from any view of an image to any other.
 *
 *   y[n, o, g * c_out + k] = finish(sum over taps i and channels c of
 *       x[n, o * stride + i * dilation - before, g * c_in + c] * kernel[g, i, c, k])
 */
#ifndef FC_CONVOLVE_H
#define FC_CONVOLVE_H

#include <stddef.h>

#include "conv2d_kernels.h"
#include "fastconv.h"
#include "geometry.h"

/* The kernel of every group, seen through strides: flipped, transposed or every other tap. c_in and
 * c_out count one group's channels. */
struct fc_kernel_view {
    const void *data;
    int64_t kh, kw, c_in, c_out, groups;
    ptrdiff_t stride_kh, stride_kw, stride_c_in, stride_c_out, stride_group;
};

struct fc_kernel_view fc_view_kernel(const fc_weights *kernel, int64_t groups);

/* How channels meet. Usually each group is a matrix product: its c_in channels, cut into slabs of
 * FC_SLAB, are broadcast against panels of its c_out. Groups of fewer outputs than a unit holds would
 * leave lanes idle; there the lanes run over the outputs of all groups, a slab is one channel of
 * every group, and x is gathered for them. Depends on the shape and the dtype alone. */
struct fc_channels {
    bool lanes;
    int64_t groups;      /* matrix products: 1 where lanes run over all groups */
    int64_t c_in, c_out; /* of a matrix product */
    int64_t taps;
    int64_t slab, block; /* channels of x that are packed together, and that one chain sums */
    int64_t unit, panel; /* outputs in 64 bytes, and in a whole panel */
};

struct fc_channels fc_plan_channels(const struct fc_kernel_view *kernel, fc_dtype dtype);

/* Outputs of panel p rounded up to whole units, and how many of them are real. */
int64_t fc_panel_width(const struct fc_channels *channels, int64_t p);
int64_t fc_panel_outputs(const struct fc_channels *channels, int64_t p);

static inline int64_t fc_panel_count(const struct fc_channels *channels)
{
    return fc_ceil_div(channels->c_out, channels->panel);
}

/* The end of the chain of one tap's terms that begins with channel c: the channels of a last slab that is
 * not full are a chain of their own. */
static inline int64_t fc_chain_end(const struct fc_channels *channels, int64_t c)
{
    const int64_t whole = channels->c_in - channels->c_in % channels->slab;
    return c < whole ? fc_min(c + channels->block, whole) : channels->c_in;
}

/* The packed kernel: [group][panel][slab][kh][kw][channel of the slab][width of the panel], unused
 * columns zero. fc_packed_bytes says whether it fits (false: overflow). */
struct fc_panels {
    const struct fc_kernel_view *kernel;
    const struct fc_channels *channels;
    const struct fc_conv2d_kernels *kernels;
    ptrdiff_t element;
};

bool fc_packed_bytes(const struct fc_channels *channels, fc_dtype dtype, size_t *bytes);
void fc_pack_panels(const struct fc_panels *panels, void *packed);

/* Channels [c, end) of panel p alone, whole slabs from c on, as they lie in the packed kernel. */
void fc_pack_block(const struct fc_panels *panels, int64_t group, int64_t p, int64_t c, int64_t end,
                   void *to);

/* Channels [c, c + rows) of one tap and all outputs of panel p, from the kernel to rows of the panel
 * or back: as many copies as groups are touched. */
void fc_copy_tap(const struct fc_panels *panels, int64_t tap, int64_t group, int64_t c,
                 int64_t rows, int64_t p, void *panel, bool to_panel);

/* The rows of a packed panel before channel c of the reduction. */
static inline int64_t fc_panel_row(const struct fc_channels *channels, int64_t c)
{
    return c * channels->taps;
}

/* Element offset of a panel in the packed kernel. */
static inline int64_t fc_panel_offset(const struct fc_channels *channels, int64_t group, int64_t p)
{
    const int64_t columns = fc_whole_units(channels->c_out, channels->unit);
    return channels->taps * channels->c_in * (group * columns + p * channels->panel);
}

struct fc_convolution {
    fc_dtype dtype;
    fc_image x, y;
    struct fc_kernel_view kernel;
    struct fc_axis axis[2];
    fc_padding_mode padding_mode;
    double padding_value;
    const void *bias;  /* y->c elements, or NULL */
    fc_image residual; /* sizes of y; its data may be NULL */
    fc_activation activation;
    const void *packed; /* the packed kernel, or NULL to pack kernel inside the call */
    bool phase;         /* of a gradient through a stride: others make up the rest of y */
};

/* x, y, kernel and axis fit each other: the caller has checked. */
fc_status fc_convolve(const struct fc_convolution *convolution);

#endif
