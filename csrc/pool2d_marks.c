/* pool2d_marks.c: maxima of 2 x 2 windows that share nothing, with what their way back needs to know. */
#include "pool2d_marks.h"

#include "pool2d_quads.h"

/* The images of a maximum and the pass that they are of; x is read or, as dx, written. */
static fc_status check(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                       const fc_image *marks, struct fc_pool2d_pass *pass)
{
    if (!params || !marks || params->pooling != FC_MAX)
        return FC_BAD_ARGUMENT;
    struct fc_window window;
    const fc_status status = fc_pool2d_check(params, x, y, marks, params->dtype, &window);
    if (status != FC_OK)
        return status;
    if (!fc_current_isa())
        return FC_BAD_ARGUMENT;
    *pass = (struct fc_pool2d_pass){.pooling = FC_MAX,
                                    .dtype = params->dtype,
                                    .x = *x,
                                    .kernels = fc_current_kernels(params->dtype)};
    for (int d = 0; d < 2; d++)
        fc_pool2d_axis_set(&pass->axis[d], &window.axis[d], false);
    return FC_OK;
}

fc_status fc_pool2d_marked(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                           const fc_image *marks, bool *done)
{
    struct fc_pool2d_pass pass;
    const fc_status status = check(params, x, y, marks, &pass);
    *done = status == FC_OK && (x->n == 0 || x->c == 0);
    return *done || status != FC_OK ? status : fc_pool2d_quads_forward(&pass, y, marks, done);
}

int64_t fc_pool2d_stops(fc_activation activation)
{
    return activation == FC_RELU    ? FC_STOPPED_BY_RELU
           : activation == FC_RELU6 ? FC_STOPPED_BY_RELU | FC_STOPPED_BY_RELU6
                                    : 0;
}

fc_status fc_pool2d_marked_backward(const fc_pool2d_params *params, const fc_image *dy,
                                    const fc_image *marks, fc_activation activation,
                                    const fc_image *dx, bool *done)
{
    struct fc_pool2d_pass pass;
    const fc_status status = check(params, dx, dy, marks, &pass);
    *done = status == FC_OK && (dx->n == 0 || dx->c == 0);
    return *done || status != FC_OK
               ? status
               : fc_pool2d_quads_marked_dx(&pass, dy, marks, fc_pool2d_stops(activation), dx, done);
}
