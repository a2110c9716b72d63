/* conv2d.c: the checks of a convolution, and its forward pass. */
#include "conv2d.h"

#include "choose.h"
#include "dispatch.h"

/* ------------------------------------------------------------------ checks */

static fc_status check_channels(const fc_conv2d_params *params, int64_t c_in, int64_t c_out,
                                const fc_weights *kernel)
{
    int64_t channels;
    if (kernel->c_in < 0 || kernel->c_out < 0)
        return FC_BAD_ARGUMENT;
    if (c_in % params->groups || kernel->c_out % params->groups)
        return FC_BAD_GROUPS;
    if (__builtin_mul_overflow(kernel->c_in, params->groups, &channels) || channels != c_in)
        return FC_BAD_CHANNELS;
    return kernel->c_out == c_out ? FC_OK : FC_BAD_SHAPE;
}

static fc_status check_arrays(const fc_conv2d_params *params, const fc_image *x,
                              const fc_weights *kernel, const fc_image *y)
{
    const fc_status statuses[] = {fc_check_image(x, params->dtype),
                                  fc_check_weights(kernel, params->dtype),
                                  fc_check_image(y, params->dtype)};
    for (int i = 0; i < 3; i++)
        if (statuses[i] != FC_OK)
            return statuses[i];
    return fc_current_isa() ? FC_OK : FC_BAD_ARGUMENT;
}

static fc_status check_algorithm(const fc_conv2d_params *params, const struct fc_window *window,
                                 const fc_weights *kernel)
{
    const struct fc_convolution convolution = {
        .dtype = params->dtype,
        .kernel = fc_view_kernel(kernel, params->groups),
        .axis = {window->axis[0], window->axis[1]},
        .padding_mode = params->padding_mode,
    };
    return params->algorithm != FC_WINOGRAD || fc_winograd_possible(&convolution)
               ? FC_OK
               : FC_BAD_ALGORITHM;
}

fc_status fc_check_conv2d(const fc_conv2d_params *params, const fc_image *x,
                          const fc_weights *kernel, const fc_image *y, struct fc_window *window)
{
    if (!params || !x || !kernel || !y)
        return FC_BAD_ARGUMENT;
    fc_status status = fc_conv2d_window(params, x->h, x->w, kernel->kh, kernel->kw, window);
    if (status == FC_OK)
        status = check_channels(params, x->c, y->c, kernel);
    if (status == FC_OK)
        status = check_arrays(params, x, kernel, y);
    if (status != FC_OK)
        return status;
    if (!fc_image_is(y, x->n, window->axis[0].out, window->axis[1].out, kernel->c_out))
        return FC_BAD_SHAPE;
    return check_algorithm(params, window, kernel);
}

fc_status fc_check_conv2d_transpose(const fc_conv2d_params *params, const int64_t *output_padding,
                                    const fc_image *x, const fc_weights *kernel, const fc_image *y,
                                    struct fc_window *window)
{
    if (!params || !x || !kernel || !y)
        return FC_BAD_ARGUMENT;
    fc_status status = fc_conv2d_transpose_window(params, output_padding, x->h, x->w, kernel->kh,
                                                  kernel->kw, window);
    if (status == FC_OK && params->padding_mode != FC_CONSTANT)
        status = FC_BAD_ARGUMENT;
    if (status == FC_OK)
        status = check_channels(params, y->c, x->c, kernel);
    if (status == FC_OK)
        status = check_arrays(params, x, kernel, y);
    if (status != FC_OK)
        return status;
    if (!fc_image_is(y, x->n, window->axis[0].in, window->axis[1].in, y->c))
        return FC_BAD_SHAPE;
    return check_algorithm(params, window, kernel);
}

fc_status fc_check_epilogue(const fc_conv2d_params *params, const fc_epilogue *epilogue,
                            const fc_image *y)
{
    if (!epilogue)
        return FC_OK;
    if ((unsigned)epilogue->activation > FC_RELU6)
        return FC_BAD_ARGUMENT;
    if (!epilogue->residual)
        return FC_OK;
    if (!fc_image_is(epilogue->residual, y->n, y->h, y->w, y->c))
        return FC_BAD_SHAPE;
    return fc_check_image(epilogue->residual, params->dtype);
}

/* ----------------------------------------------------------------- forward */

struct fc_convolution fc_convolution_of(const fc_conv2d_params *params,
                                        const struct fc_window *window, const fc_image *x,
                                        const fc_weights *kernel, const fc_epilogue *epilogue,
                                        const fc_image *y)
{
    struct fc_convolution convolution = {
        .dtype = params->dtype,
        .x = *x,
        .y = *y,
        .kernel = fc_view_kernel(kernel, params->groups),
        .axis = {window->axis[0], window->axis[1]},
        .padding_mode = params->padding_mode,
        .padding_value = params->padding_value,
    };
    if (epilogue) {
        convolution.bias = epilogue->bias;
        convolution.activation = epilogue->activation;
        if (epilogue->residual)
            convolution.residual = *epilogue->residual;
    }
    return convolution;
}

fc_status fc_conv2d(const fc_conv2d_params *params, const fc_image *x, const fc_weights *kernel,
                    const fc_epilogue *epilogue, const fc_image *y)
{
    struct fc_window window;
    fc_status status = fc_check_conv2d(params, x, kernel, y, &window);
    if (status == FC_OK)
        status = fc_check_epilogue(params, epilogue, y);
    if (status != FC_OK)
        return status;
    const struct fc_convolution convolution =
        fc_convolution_of(params, &window, x, kernel, epilogue, y);
    return fc_convolve_by(params->algorithm, &convolution);
}
