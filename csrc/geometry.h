/* geometry.h: the only place for output sizes, padding and overflow checks, and where in an image its pixels lie. */
#ifndef FC_GEOMETRY_H
#define FC_GEOMETRY_H

#include <stddef.h>

#include "fastconv.h"

/* One direction of a sliding window: output o reads inputs o * stride + t * dilation - before for
 * taps t; what lies outside [0, in) is padding. after may be negative: input that no window reaches. */
struct fc_axis {
    int64_t in, out, taps;
    int64_t stride, dilation, before, after;
};

/* Both directions: [0] vertical, [1] horizontal. */
struct fc_window {
    struct fc_axis axis[2];
};

/* Taps whose gaps come to more than so many columns, or rows, are treated one by one: what lies between
 * them is neither packed nor folded. A dilation of 2^25 took 12 GB of scratch, or minutes, otherwise. */
enum { FC_MOST_GAP = 1024 };

/* Sizes, strides, dilation, groups, padding and padding limits of a convolution. */
fc_status fc_conv2d_window(const fc_conv2d_params *params, int64_t h, int64_t w, int64_t kh,
                           int64_t kw, struct fc_window *window);

/* The same for pooling, where padding must be smaller than the window. */
fc_status fc_pool2d_window(const fc_pool2d_params *params, int64_t h, int64_t w,
                           struct fc_window *window);

/* The window of the convolution whose input gradient a transposed convolution is: in is the size of
 * y, out the size of x. */
fc_status fc_conv2d_transpose_window(const fc_conv2d_params *params, const int64_t *output_padding,
                                     int64_t h, int64_t w, int64_t kh, int64_t kw,
                                     struct fc_window *window);

/* Rows or columns of x that a window reads over `outputs` outputs, first to last. */
static inline int64_t fc_window_reach(const struct fc_axis *axis, int64_t outputs)
{
    return (outputs - 1) * axis->stride + (axis->taps - 1) * axis->dilation + 1;
}

/* The first output whose taps from tap on all read at or beyond input 0, and the end of those that
 * read below in: [*begin, *end) are the outputs for which tap reads the image, not padding. */
void fc_axis_outputs(const struct fc_axis *axis, int64_t tap, int64_t *begin, int64_t *end);

/* The taps of output o that read the image: [*begin, *end). */
void fc_axis_taps(const struct fc_axis *axis, int64_t o, int64_t *begin, int64_t *end);

/* Sizes not negative, the element counts and byte offsets of the array fit in an int64_t, and data
 * is not NULL where there are elements. */
fc_status fc_check_image(const fc_image *image, fc_dtype dtype);
fc_status fc_check_weights(const fc_weights *weights, fc_dtype dtype);

/* Where channel c of a pixel lies. */
static inline char *fc_image_at(const fc_image *image, ptrdiff_t element, int64_t n, int64_t row,
                                int64_t column, int64_t c)
{
    return (char *)image->data + (n * image->stride_n + row * image->stride_h +
                                  column * image->stride_w + c * image->stride_c) *
                                     element;
}

/* Whether channels follow each other, and pixels. */
static inline bool fc_pixels_together(const fc_image *image)
{
    return image->stride_c == 1 && image->stride_w == image->c;
}

/* Whether rows of so many pixels follow each other, so that they are one. */
static inline bool fc_rows_together(const fc_image *image, int64_t columns)
{
    return image->stride_h == columns * image->stride_w;
}

/* Whether planes follow each other. */
static inline bool fc_planes_together(const fc_image *image)
{
    return image->stride_w == 1 && image->stride_h == image->w &&
           image->stride_c == image->h * image->w;
}

/* Whether image has these sizes. */
bool fc_image_is(const fc_image *image, int64_t n, int64_t h, int64_t w, int64_t c);

/* The window of a pooling from x to y, if they fit each other and what lies beside y, or is NULL: indices or marks,
 * elements of that type, which an average has none of. */
fc_status fc_pool2d_check(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                          const fc_image *beside, fc_dtype of_beside, struct fc_window *window);

/* Whether one image of these sizes, which is not there yet, could lie in any memory: 2^48 numbers, so that
 * products of its pixels and a few small numbers cannot overflow. */
bool fc_fits_memory(const fc_image *image);

/* Floor and ceiling of a / b for b > 0. */
static inline int64_t fc_floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static inline int64_t fc_ceil_div(int64_t a, int64_t b) { return -fc_floor_div(-a, b); }

/* The least multiple of a unit that holds the count. */
static inline int64_t fc_whole_units(int64_t count, int64_t unit)
{
    return fc_ceil_div(count, unit) * unit;
}

int64_t fc_greatest_common_divisor(int64_t a, int64_t b);

static inline int64_t fc_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fc_max(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
