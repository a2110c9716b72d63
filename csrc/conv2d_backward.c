/* conv2d_backward.c: the gradients of convolution and of transposed convolution, which is the input
 * gradient itself: what is one's forward pass is the other's backward one. */
#include "conv2d.h"

#include "choose.h"

/* The sizes of x and of the kernel, from whichever arrays are there. */
static fc_status check_given(const fc_image *x, const fc_image *dx, const fc_weights *kernel,
                             const fc_weights *dkernel)
{
    if ((!x && !dx) || (!kernel && !dkernel) || (dx && !kernel) || (dkernel && !x))
        return FC_BAD_ARGUMENT;
    if (x && dx && !fc_image_is(dx, x->n, x->h, x->w, x->c))
        return FC_BAD_SHAPE;
    if (kernel && dkernel &&
        (kernel->kh != dkernel->kh || kernel->kw != dkernel->kw || kernel->c_in != dkernel->c_in ||
         kernel->c_out != dkernel->c_out))
        return FC_BAD_SHAPE;
    return FC_OK;
}

fc_status fc_conv2d_backward(const fc_conv2d_params *params, const fc_image *dy, const fc_image *x,
                             const fc_weights *kernel, const fc_image *dx,
                             const fc_weights *dkernel, void *dbias)
{
    struct fc_window window;
    fc_status status = check_given(x, dx, kernel, dkernel);
    if (status == FC_OK && x)
        status = fc_check_conv2d(params, x, dkernel ? dkernel : kernel, dy, &window);
    if (status == FC_OK && dx)
        status = fc_check_conv2d(params, dx, kernel, dy, &window);
    if (status == FC_OK && dx)
        status = fc_conv2d_dx(params, &window, dy, kernel, NULL, dx);
    if (status == FC_OK && dkernel)
        status = fc_conv2d_dkernel(params, &window, dy, x, dkernel, dbias);
    if (status == FC_OK && dbias && !dkernel)
        status = fc_sum_channels(params->dtype, dy, dbias);
    return status;
}

fc_status fc_conv2d_transpose(const fc_conv2d_params *params, const int64_t *output_padding,
                              const fc_image *x, const fc_weights *kernel, const void *bias,
                              const fc_image *y)
{
    struct fc_window window;
    const fc_status status =
        fc_check_conv2d_transpose(params, output_padding, x, kernel, y, &window);
    return status == FC_OK ? fc_conv2d_dx(params, &window, x, kernel, bias, y) : status;
}

static fc_status transpose_dx(const fc_conv2d_params *params, const struct fc_window *window,
                              const fc_image *dy, const fc_weights *kernel, const fc_image *dx)
{
    return fc_convolve_by(params->algorithm, &(struct fc_convolution){
                                                 .dtype = params->dtype,
                                                 .x = *dy,
                                                 .y = *dx,
                                                 .kernel = fc_view_kernel(kernel, params->groups),
                                                 .axis = {window->axis[0], window->axis[1]},
                                             });
}

fc_status fc_conv2d_transpose_backward(const fc_conv2d_params *params,
                                       const int64_t *output_padding, const fc_image *dy,
                                       const fc_image *x, const fc_weights *kernel,
                                       const fc_image *dx, const fc_weights *dkernel, void *dbias)
{
    struct fc_window window;
    fc_status status = check_given(x, dx, kernel, dkernel);
    if (status == FC_OK && x)
        status = fc_check_conv2d_transpose(params, output_padding, x, dkernel ? dkernel : kernel,
                                           dy, &window);
    if (status == FC_OK && dx)
        status = fc_check_conv2d_transpose(params, output_padding, dx, kernel, dy, &window);
    if (status == FC_OK && dx)
        status = transpose_dx(params, &window, dy, kernel, dx);
    if (status == FC_OK && dkernel) {
        fc_conv2d_params of_zeros = *params;
        of_zeros.padding_value = 0;
        status = fc_conv2d_dkernel(&of_zeros, &window, x, dy, dkernel, NULL);
    }
    if (status == FC_OK && dbias)
        status = fc_sum_channels(params->dtype, dy, dbias);
    return status;
}
