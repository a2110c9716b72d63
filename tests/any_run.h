/* any_run.h: runs the calls of any_call.h, and looks whether they did what they may and no more.
 *
 *   place_call  asks for memory, exactly as much as each array reaches over
 *   fill_call   values for inputs, 0xFF (NaN) for outputs and for the gaps between their elements
 *   run_call    calls
 *   check_call  whether outputs were written, whole, and nothing else was */
#ifndef ANY_RUN_H
#define ANY_RUN_H

#include <inttypes.h>
#include <stdio.h>

#include "any_call.h"

/* Gives each array its memory; whether there was enough of it. */
static inline bool place_call(struct call *call, char *(*place)(int role, size_t bytes))
{
    for (int i = 0; i < ROLES; i++) {
        struct array *array = &call->arrays[i];
        if (array->present && !(array->memory = place(i, bytes_of(array))))
            return false;
    }
    return true;
}

static inline void fill_call(const struct call *call)
{
    for (int role = 0; role < ROLES; role++) {
        const struct array *array = &call->arrays[role];
        uint64_t state = (uint64_t)role;
        if (!array->present)
            continue;
        memset(array->memory, 0xff, bytes_of(array));
        for (int64_t i = 0; i < array->elements && !array->output; i++) {
            const double value = any_value(&state, call->plain);
            if (role == INDICES) {
                const int64_t pixels = call->arrays[X].size[1] * call->arrays[X].size[2];
                ((int64_t *)(void *)array->memory)[i] =
                    (int64_t)(next_random(&state) % (uint64_t)(pixels + 1 + !call->plain)) - 1;
            } else if (array->element == 4)
                ((float *)(void *)array->memory)[i] = (float)value;
            else
                ((double *)(void *)array->memory)[i] = value;
        }
    }
}

/* -------------------------------------------------------------------- call */

static inline fc_status run_forward(const struct call *call, const fc_image *x,
                                    const fc_weights *kernel, const fc_image *y)
{
    const fc_image residual = image_of(&call->arrays[RESIDUAL]);
    const fc_epilogue epilogue = {.bias = call->arrays[BIAS].present ? data_of(&call->arrays[BIAS])
                                                                     : NULL,
                                  .residual = call->arrays[RESIDUAL].present ? &residual : NULL,
                                  .activation = call->activation};
    if (call->function == CONV2D || !x || !kernel)
        return fc_conv2d(&call->params, x, kernel, &epilogue, y);
    fc_packed_kernel *packed;
    fc_status status = fc_pack_kernel(&call->params, kernel, x->h, x->w, &packed);
    if (status != FC_OK)
        return status;
    status = fc_conv2d_packed(&call->params, x, packed, &epilogue, y);
    fc_packed_kernel_free(packed);
    return status;
}

static inline fc_status run_call(const struct call *call)
{
    const struct array *arrays = call->arrays;
    fc_image images[ROLES];
    const fc_image *image[ROLES];
    for (int i = 0; i < ROLES; i++) {
        images[i] = image_of(&arrays[i]);
        image[i] = arrays[i].present ? &images[i] : NULL;
    }
    const fc_weights weights = weights_of(&arrays[KERNEL]), dweights = weights_of(&arrays[DKERNEL]);
    const fc_weights *kernel = arrays[KERNEL].present ? &weights : NULL;
    const fc_weights *dkernel = arrays[DKERNEL].present ? &dweights : NULL;
    const int64_t *output_padding = call->has_output_padding ? call->output_padding : NULL;
    const void *bias = image[BIAS] ? images[BIAS].data : NULL;
    void *dbias = image[DBIAS] ? images[DBIAS].data : NULL;
    const void *x = image[X] ? images[X].data : NULL;
    void *y = image[Y] ? images[Y].data : NULL, *dx = image[DX] ? images[DX].data : NULL;
    const fc_dtype dtype = call->params.dtype;
    const int64_t *rows = arrays[arrays[X].present ? X : Y].size + 2; /* and columns */
    switch (call->function) {
    case CONV2D:
    case CONV2D_PACKED:
        return run_forward(call, image[X], kernel, image[Y]);
    case CONV2D_BACKWARD:
        return fc_conv2d_backward(&call->params, image[Y], image[X], kernel, image[DX], dkernel,
                                  dbias);
    case TRANSPOSE:
        return fc_conv2d_transpose(&call->params, output_padding, image[X], kernel, bias, image[Y]);
    case TRANSPOSE_BACKWARD:
        return fc_conv2d_transpose_backward(&call->params, output_padding, image[Y], image[X],
                                            kernel, image[DX], dkernel, dbias);
    case POOL:
        return fc_pool2d(&call->pool, image[X], image[Y], image[INDICES]);
    case POOL_BACKWARD:
        return fc_pool2d_backward(&call->pool, image[Y], image[X], image[INDICES], image[DX]);
    case GLOBAL_AVG:
        return fc_global_avg_pool2d(dtype, image[X], image[Y]);
    case GLOBAL_AVG_BACKWARD:
        return fc_global_avg_pool2d_backward(dtype, image[Y], image[DX]);
    case ELEMENTWISE:
        return fc_elementwise(dtype, call->elementwise, rows[0] * rows[1], x, y);
    case ACTIVATION_BACKWARD:
        return fc_activation_backward(dtype, call->activation, rows[0] * rows[1], x, y, dx);
    default:
        return fc_softmax(dtype, rows[0], rows[1], x, y);
    }
}

/* ------------------------------------------------------------------- check */

/* FNV-1a of the outputs in logical order. */
static inline uint64_t hash_call(const struct call *call)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int i = 0; i < ROLES; i++)
        if (call->arrays[i].present && call->arrays[i].output)
            visit(&call->arrays[i], hash_element, &hash);
    return hash;
}

static inline void print_call(const struct call *call)
{
    static const char *const functions[] = {"conv2d",
                                            "conv2d_packed",
                                            "conv2d_backward",
                                            "transpose",
                                            "transpose_backward",
                                            "pool2d",
                                            "pool2d_backward",
                                            "global_avg",
                                            "global_avg_backward",
                                            "elementwise",
                                            "softmax",
                                            "activation_backward"};
    static const char *const roles[] = {"x",       "kernel", "bias",    "residual", "y",
                                        "indices", "dx",     "dkernel", "dbias"};
    const bool pool = call->function == POOL || call->function == POOL_BACKWARD;
    const fc_conv2d_params *p = &call->params;
    const int64_t *strides = pool ? call->pool.strides : p->strides;
    const int64_t *dilation = pool ? call->pool.dilation_rate : p->dilation_rate;
    const int64_t(*pads)[2] = pool ? call->pool.explicit_padding : p->explicit_padding;
#define N PRId64
    printf("%s dtype=%d strides=%" N ",%" N " dilation=%" N ",%" N " padding=%d %" N ",%" N " %" N
           ",%" N " groups=%" N " mode=%d algorithm=%d output_padding=%d %" N ",%" N "\n",
           functions[call->function], p->dtype, strides[0], strides[1], dilation[0], dilation[1],
           pool ? call->pool.padding : p->padding, pads[0][0], pads[0][1], pads[1][0], pads[1][1],
           p->groups, p->padding_mode, p->algorithm, call->has_output_padding,
           call->output_padding[0], call->output_padding[1]);
    if (pool)
        printf("pooling=%d pool_size=%" N ",%" N " ceil=%d include_pad=%d\n", call->pool.pooling,
               call->pool.pool_size[0], call->pool.pool_size[1], call->pool.ceil_mode,
               call->pool.count_include_pad);
    for (int i = 0; i < ROLES; i++) {
        const struct array *a = &call->arrays[i];
        if (a->present)
            printf("%s %s: %" N " %" N " %" N " %" N ", strides %" N " %" N " %" N " %" N "\n",
                   a->output ? "output" : "input", roles[i], a->size[0], a->size[1], a->size[2],
                   a->size[3], a->stride[0], a->stride[1], a->stride[2], a->stride[3]);
    }
#undef N
}

/* NULL, or what is wrong with the outputs. Erases them. */
static inline const char *check_call(const struct call *call, fc_status status)
{
    const bool logarithm = call->function == ELEMENTWISE && call->elementwise == FC_LOG;
    const bool keeps_nan = !call->plain || logarithm; /* of negative numbers */
    for (int i = 0; i < ROLES; i++) {
        const struct array *array = &call->arrays[i];
        bool nan = false;
        if (!array->present || !array->output)
            continue;
        if (status == FC_OK) {
            if (i != INDICES && !keeps_nan)
                visit(array, see_nan, &nan);
            if (nan)
                return "an output was not written";
            visit(array, erase, NULL);
        }
        if (status != FC_NO_MEMORY && status != FC_BAD_INDEX && !is_untouched(array))
            return status == FC_OK ? "written between the elements of an output"
                                   : "an output was written by a call that was refused";
    }
    return NULL;
}

#endif
