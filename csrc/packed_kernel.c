/* packed_kernel.c: a kernel laid out for one geometry, and the forward pass with it. */
#include <math.h>
#include <stdlib.h>

#include "choose.h"
#include "conv2d.h"
#include "dispatch.h"
#include "winograd.h"
#include "winograd_few.h"
#include "workspace.h"

/* The panels of a direct convolution are there for every algorithm: Winograd's tiles that come out
 * infinite or NaN are computed again with them. */
struct fc_packed_kernel {
    fc_conv2d_params params;
    fc_weights kernel; /* its sizes; the data is not kept */
    int64_t h, w;
    int form;
    void *panels, *transformed; /* the latter NULL for FC_DIRECT_FORM */
};

/* ------------------------------------------------------------------- pack */

static bool allocate(void **memory, size_t bytes)
{
    *memory =
        bytes <= SIZE_MAX / 2 ? aligned_alloc(FC_CACHE_LINE, fc_round_to_line(bytes + 1)) : NULL;
    return *memory;
}

static fc_status pack_panels(struct fc_packed_kernel *packed, const struct fc_panels *panels)
{
    size_t bytes;
    if (!fc_packed_bytes(panels->channels, packed->params.dtype, &bytes))
        return FC_OVERFLOW;
    if (!allocate(&packed->panels, bytes))
        return FC_NO_MEMORY;
    fc_pack_panels(panels, packed->panels);
    return FC_OK;
}

static fc_status transform_few(struct fc_packed_kernel *packed,
                               const struct fc_convolution *convolution)
{
    size_t bytes;
    if (!fc_winograd_few_bytes(convolution, &bytes))
        return FC_OVERFLOW;
    if (!allocate(&packed->transformed, bytes))
        return FC_NO_MEMORY;
    fc_winograd_few_transform(convolution, packed->transformed);
    return FC_OK;
}

static fc_status transform(struct fc_packed_kernel *packed, const struct fc_panels *panels)
{
    const struct fc_winograd_form form = fc_winograd_form_of(packed->form, panels->kernel);
    const struct fc_winograd_kernel kernel =
        fc_winograd_kernel_of(&form, packed->params.dtype, panels->kernel, panels->channels);
    const struct fc_channels *channels = panels->channels;
    const int64_t count = fc_panel_count(channels);
    size_t bytes;
    if (!fc_winograd_kernel_bytes(&kernel, channels->groups * count, &bytes))
        return FC_OVERFLOW;
    if (!allocate(&packed->transformed, bytes))
        return FC_NO_MEMORY;
    fc_status status = FC_OK;
    for (int64_t g = 0; g < channels->groups && status == FC_OK; g++)
        status = fc_winograd_transform_panels(&kernel, g, 0, count,
                                              (char *)packed->transformed +
                                                  fc_winograd_kernel_offset(&kernel, g, 0, 0) *
                                                      panels->element);
    return status;
}

fc_status fc_pack_kernel(const fc_conv2d_params *params, const fc_weights *kernel, int64_t h,
                         int64_t w, fc_packed_kernel **packed)
{
    struct fc_window window;
    fc_image x = {.n = 0, .h = h, .w = w};
    if (!params || !kernel || !packed)
        return FC_BAD_ARGUMENT;
    if (__builtin_mul_overflow(kernel->c_in, params->groups, &x.c))
        return FC_OVERFLOW;
    fc_status status = fc_conv2d_window(params, h, w, kernel->kh, kernel->kw, &window);
    if (status != FC_OK)
        return status;
    const fc_image y = {.h = window.axis[0].out, .w = window.axis[1].out, .c = kernel->c_out};
    status = fc_check_conv2d(params, &x, kernel, &y, &window);
    if (status == FC_OK && !(fc_fits_memory(&x) && fc_fits_memory(&y)))
        status = FC_OVERFLOW;
    if (status != FC_OK)
        return status;

    const struct fc_convolution convolution =
        fc_convolution_of(params, &window, &x, kernel, NULL, &y);
    const struct fc_channels channels = fc_plan_channels(&convolution.kernel, params->dtype);
    const struct fc_panels panels = {&convolution.kernel, &channels,
                                     &fc_current_kernels(params->dtype)->conv2d,
                                     (ptrdiff_t)fc_element_size(params->dtype)};
    fc_packed_kernel *made = calloc(1, sizeof *made);
    if (!made)
        return FC_NO_MEMORY;
    made->params = *params;
    made->kernel = *kernel;
    made->kernel.data = made; /* not kept, but what is checked has data */
    made->h = h;
    made->w = w;
    made->form = fc_choose_form(params->algorithm, FC_PASS_PACKED, &convolution);
    status = pack_panels(made, &panels);
    if (status == FC_OK && made->form == FC_FEW_FORM)
        status = transform_few(made, &convolution);
    else if (status == FC_OK && made->form != FC_DIRECT_FORM)
        status = transform(made, &panels);
    if (status != FC_OK) {
        fc_packed_kernel_free(made);
        return status;
    }
    *packed = made;
    return FC_OK;
}

void fc_packed_kernel_free(fc_packed_kernel *packed)
{
    if (packed) {
        free(packed->panels);
        free(packed->transformed);
    }
    free(packed);
}

/* -------------------------------------------------------------------- use */

static bool same_pair(const int64_t a[2], const int64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

static bool same_value(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static bool same_geometry(const fc_conv2d_params *a, const fc_conv2d_params *b)
{
    return a->dtype == b->dtype && same_pair(a->strides, b->strides) &&
           same_pair(a->dilation_rate, b->dilation_rate) && a->padding == b->padding &&
           (a->padding != FC_EXPLICIT ||
            (same_pair(a->explicit_padding[0], b->explicit_padding[0]) &&
             same_pair(a->explicit_padding[1], b->explicit_padding[1]))) &&
           a->groups == b->groups && a->padding_mode == b->padding_mode &&
           (a->padding_mode != FC_CONSTANT || same_value(a->padding_value, b->padding_value)) &&
           a->algorithm == b->algorithm;
}

fc_status fc_conv2d_packed(const fc_conv2d_params *params, const fc_image *x,
                           const fc_packed_kernel *packed, const fc_epilogue *epilogue,
                           const fc_image *y)
{
    struct fc_window window;
    if (!params || !x || !packed)
        return FC_BAD_ARGUMENT;
    if (!same_geometry(params, &packed->params) || x->h != packed->h || x->w != packed->w)
        return FC_PACKED_MISMATCH;
    fc_status status = fc_check_conv2d(params, x, &packed->kernel, y, &window);
    if (status == FC_OK)
        status = fc_check_epilogue(params, epilogue, y);
    if (status != FC_OK)
        return status;
    struct fc_convolution convolution =
        fc_convolution_of(params, &window, x, &packed->kernel, epilogue, y);
    convolution.packed = packed->panels;
    return fc_convolve_in_form(packed->form, &convolution, packed->transformed);
}
