/* conv2d.h: what forward and backward convolution share: the checks, and the packed kernel. */
#ifndef FC_CONV2D_H
#define FC_CONV2D_H

#include "convolve.h"

/* Checks a convolution x -> y with this kernel (data may be missing: sizes and strides alone are
 * looked at) and fills the window. */
fc_status fc_check_conv2d(const fc_conv2d_params *params, const fc_image *x,
                          const fc_weights *kernel, const fc_image *y, struct fc_window *window);

/* The same for a transposed convolution, whose kernel runs from y to x. */
fc_status fc_check_conv2d_transpose(const fc_conv2d_params *params, const int64_t *output_padding,
                                    const fc_image *x, const fc_weights *kernel, const fc_image *y,
                                    struct fc_window *window);

fc_status fc_check_epilogue(const fc_conv2d_params *params, const fc_epilogue *epilogue,
                            const fc_image *y);

/* The forward pass as a correlation; x and y may lack data, epilogue may be NULL. */
struct fc_convolution fc_convolution_of(const fc_conv2d_params *params,
                                        const struct fc_window *window, const fc_image *x,
                                        const fc_weights *kernel, const fc_epilogue *epilogue,
                                        const fc_image *y);

/* dx of the convolution with that window, all checked: dx[p] = bias + sum of dy * kernel over all
 * outputs and taps that read p. */
fc_status fc_conv2d_dx(const fc_conv2d_params *params, const struct fc_window *window,
                       const fc_image *dy, const fc_weights *kernel, const void *bias,
                       const fc_image *dx);

/* dkernel of it: sum over all outputs of x * dy; and dbias, the sums of dy, unless that is NULL. */
fc_status fc_conv2d_dkernel(const fc_conv2d_params *params, const struct fc_window *window,
                            const fc_image *dy, const fc_image *x, const fc_weights *dkernel,
                            void *dbias);

/* The same of a dy that is made of what was pooled (unpooled.h). *done is false, and nothing of use written, where
 * blocks of it do not do, or a sum is not finite. */
struct fc_unpooled;
fc_status fc_conv2d_pooled_dkernel(const fc_conv2d_params *params, const struct fc_window *window,
                                   const struct fc_unpooled *dy, const fc_image *x,
                                   const fc_weights *dkernel, void *dbias, bool *done);

/* sums[c] = sum over n, h, w of image, in an order that its sizes alone decide. */
fc_status fc_sum_channels(fc_dtype dtype, const fc_image *image, void *sums);

#endif
