/* conv2d.c: the forward pass, with a bare kernel or a packed one. */
#include "conv2d.h"

#include <stdlib.h>

#include "dispatch.h"
#include "workspace.h"

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

fc_status fc_check_conv2d(const fc_conv2d_params *params, const fc_image *x,
                          const fc_weights *kernel, const fc_image *y, struct fc_window *window)
{
    fc_status status = fc_conv2d_window(params, x->h, x->w, kernel->kh, kernel->kw, window);
    if (status == FC_OK)
        status = check_channels(params, x->c, y->c, kernel);
    if (status == FC_OK)
        status = check_arrays(params, x, kernel, y);
    if (status != FC_OK)
        return status;
    return fc_image_is(y, x->n, window->axis[0].out, window->axis[1].out, kernel->c_out)
               ? FC_OK
               : FC_BAD_SHAPE;
}

fc_status fc_check_conv2d_transpose(const fc_conv2d_params *params, const int64_t *output_padding,
                                    const fc_image *x, const fc_weights *kernel, const fc_image *y,
                                    struct fc_window *window)
{
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
    return fc_image_is(y, x->n, window->axis[0].in, window->axis[1].in, y->c) ? FC_OK
                                                                              : FC_BAD_SHAPE;
}

static fc_status check_epilogue(const fc_conv2d_params *params, const fc_epilogue *epilogue,
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

static fc_status run(const fc_conv2d_params *params, const struct fc_window *window,
                     const fc_image *x, struct fc_kernel_view kernel, const void *packed,
                     const fc_epilogue *epilogue, const fc_image *y)
{
    struct fc_convolution convolution = {
        .dtype = params->dtype,
        .x = *x,
        .y = *y,
        .kernel = kernel,
        .axis = {window->axis[0], window->axis[1]},
        .padding_mode = params->padding_mode,
        .padding_value = params->padding_value,
        .packed = packed,
    };
    if (epilogue) {
        convolution.bias = epilogue->bias;
        convolution.activation = epilogue->activation;
        if (epilogue->residual)
            convolution.residual = *epilogue->residual;
    }
    return fc_convolve(&convolution);
}

fc_status fc_conv2d(const fc_conv2d_params *params, const fc_image *x, const fc_weights *kernel,
                    const fc_epilogue *epilogue, const fc_image *y)
{
    struct fc_window window;
    fc_status status = fc_check_conv2d(params, x, kernel, y, &window);
    if (status == FC_OK)
        status = check_epilogue(params, epilogue, y);
    if (status != FC_OK)
        return status;
    return run(params, &window, x, fc_view_kernel(kernel, params->groups), NULL, epilogue, y);
}

/* ----------------------------------------------------------- packed kernel */

struct fc_packed_kernel {
    fc_conv2d_params params;
    fc_weights kernel; /* its sizes; the data is not kept */
    int64_t h, w;
    void *panels;
};

fc_status fc_pack_kernel(const fc_conv2d_params *params, const fc_weights *kernel, int64_t h,
                         int64_t w, fc_packed_kernel **packed)
{
    struct fc_window window;
    const fc_image x = {.n = 0, .h = h, .w = w, .c = kernel->c_in * params->groups};
    fc_status status = fc_conv2d_window(params, h, w, kernel->kh, kernel->kw, &window);
    if (status != FC_OK)
        return status;
    const fc_image y = {.h = window.axis[0].out, .w = window.axis[1].out, .c = kernel->c_out};
    status = fc_check_conv2d(params, &x, kernel, &y, &window);
    if (status != FC_OK)
        return status;

    const struct fc_kernel_view view = fc_view_kernel(kernel, params->groups);
    const struct fc_channels channels = fc_plan_channels(&view, params->dtype);
    size_t bytes;
    if (!fc_packed_bytes(&channels, params->dtype, &bytes) || bytes > SIZE_MAX / 2)
        return FC_OVERFLOW;
    fc_packed_kernel *made = malloc(sizeof *made);
    void *panels = aligned_alloc(FC_CACHE_LINE, fc_round_to_line(bytes + 1));
    if (!made || !panels) {
        free(made);
        free(panels);
        return FC_NO_MEMORY;
    }
    fc_pack_panels(&(struct fc_panels){&view, &channels, &fc_current_kernels(params->dtype)->conv2d,
                                       (ptrdiff_t)fc_element_size(params->dtype)},
                   panels);
    *made = (fc_packed_kernel){*params, *kernel, h, w, panels};
    made->kernel.data = NULL;
    *packed = made;
    return FC_OK;
}

void fc_packed_kernel_free(fc_packed_kernel *packed)
{
    if (packed)
        free(packed->panels);
    free(packed);
}

static bool same_pair(const int64_t a[2], const int64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

static bool same_geometry(const fc_conv2d_params *a, const fc_conv2d_params *b)
{
    return a->dtype == b->dtype && same_pair(a->strides, b->strides) &&
           same_pair(a->dilation_rate, b->dilation_rate) && a->padding == b->padding &&
           (a->padding != FC_EXPLICIT ||
            (same_pair(a->explicit_padding[0], b->explicit_padding[0]) &&
             same_pair(a->explicit_padding[1], b->explicit_padding[1]))) &&
           a->groups == b->groups && a->padding_mode == b->padding_mode &&
           (a->padding_mode != FC_CONSTANT || a->padding_value == b->padding_value) &&
           a->algorithm == b->algorithm;
}

fc_status fc_conv2d_packed(const fc_conv2d_params *params, const fc_image *x,
                           const fc_packed_kernel *packed, const fc_epilogue *epilogue,
                           const fc_image *y)
{
    struct fc_window window;
    if (!same_geometry(params, &packed->params) || x->h != packed->h || x->w != packed->w)
        return FC_PACKED_MISMATCH;
    fc_status status = fc_check_conv2d(params, x, &packed->kernel, y, &window);
    if (status == FC_OK)
        status = check_epilogue(params, epilogue, y);
    if (status != FC_OK)
        return status;
    return run(params, &window, x, fc_view_kernel(&packed->kernel, params->groups), packed->panels,
               epilogue, y);
}
