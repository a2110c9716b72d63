/* conv2d_pooled.h: a convolution and the maximum of 2 x 2 windows of its result, which is never there as a whole.
 *
 * Of a first layer that result is the largest array of a training step, and so is its gradient: 2.8 MB each of 32
 * images of 28x28 with 32 outputs, written beyond the second-level cache to be read once. */
#ifndef FC_CONV2D_POOLED_H
#define FC_CONV2D_POOLED_H

#include "conv2d.h"
#include "pool2d_marks.h"
#include "unpooled.h"

/* Whether a convolution of x that is pooled to y gains by it: of large batches, unless it transforms its kernel, or
 * packs much of it, which it would do for every few images. */
bool fc_fits_conv2d_pooled(const fc_conv2d_params *params, const fc_image *x,
                           const fc_weights *kernel, const fc_image *y);

/* y and marks of fc_pool2d_marked from the result of fc_conv2d, with its bits. *done is false, and nothing of use
 * written, where that does not fit, or windows are others. */
fc_status fc_conv2d_pooled(const fc_conv2d_params *params, const fc_pool2d_params *pool,
                           const fc_image *x, const fc_weights *kernel, const fc_epilogue *epilogue,
                           const fc_image *y, const fc_image *marks, bool *done);

/* dkernel, and dbias unless that is NULL, of fc_conv2d_backward from the dx of fc_pool2d_marked_backward, with its
 * bits. *done is false, and nothing of use written, where they are had another way: channels lie apart, tiles are
 * transformed or hold several images, or a sum is not finite. */
fc_status fc_conv2d_pooled_backward(const fc_conv2d_params *params, const fc_image *dy,
                                    const fc_image *marks, fc_activation activation,
                                    const fc_image *x, const fc_weights *dkernel, void *dbias,
                                    bool *done);

#endif
