/* any_call.h: any call of the C API, made from bytes: those of a fuzzer, or of a random generator.
 *
 * plan_call draws a function, its words, and arrays of any layout; most calls are valid, one in
 * sixteen is spoilt. any_run.h gives it memory, runs it and looks at what it did. */
#ifndef ANY_CALL_H
#define ANY_CALL_H

#include "any_array.h"

enum function {
    CONV2D,
    CONV2D_PACKED,
    CONV2D_BACKWARD,
    TRANSPOSE,
    TRANSPOSE_BACKWARD,
    POOL,
    POOL_BACKWARD,
    GLOBAL_AVG,
    GLOBAL_AVG_BACKWARD,
    ELEMENTWISE,
    SOFTMAX,
    ACTIVATION_BACKWARD,
    FUNCTIONS
};

enum role { X, KERNEL, BIAS, RESIDUAL, Y, INDICES, DX, DKERNEL, DBIAS, ROLES };

struct call {
    enum function function;
    fc_conv2d_params params;
    fc_pool2d_params pool;
    fc_function elementwise;
    fc_activation activation;
    int64_t output_padding[2];
    bool has_output_padding, plain; /* plain: no NaN, infinity or denormal among the inputs */
    struct array arrays[ROLES];
};

/* Declares an array; its strides are drawn later. */
static inline struct array *declare(struct call *call, enum role role, bool output, int64_t a,
                                    int64_t b, int64_t c, int64_t d)
{
    const fc_dtype dtype = call->params.dtype;
    struct array *array = &call->arrays[role];
    *array = (struct array){.present = true, .output = output, .size = {a, b, c, d}};
    array->element = role == INDICES || dtype == FC_FLOAT64 ? 8 : 4;
    return array;
}

/* ------------------------------------------------------------------- plans */

/* About the lengths of vectors, where their tails are. */
static inline int64_t draw_channels(struct source *source)
{
    if (once_in(source, 3))
        return DRAW_OF(source, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 66, 80, 127, 128,
                       130);
    return draw(source, once_in(source, 32) ? 0 : 1, 13);
}

/* Mostly small; once in a while of any magnitude that the geometry can be asked about. */
static inline int64_t draw_word(struct source *source, int64_t low, int64_t high)
{
    if (once_in(source, 64))
        return (INT64_C(1) << draw(source, 0, 62)) + draw(source, -2, 2);
    return once_in(source, 64) ? draw(source, -1, 40) : draw(source, low, high);
}

static inline void draw_geometry(struct source *source, fc_conv2d_params *params)
{
    const bool plain = once_in(source, 2);
    *params = (fc_conv2d_params){.dtype = (fc_dtype)draw(source, FC_FLOAT32, FC_FLOAT64)};
    params->padding = (fc_padding)draw(source, FC_VALID, FC_EXPLICIT);
    params->algorithm = once_in(source, 3) ? (fc_algorithm)draw(source, 0, plain ? 2 : 1) : FC_AUTO;
    params->groups = 1;
    for (int d = 0; d < 2; d++) {
        params->strides[d] = plain ? 1 : draw_word(source, 1, 3);
        params->dilation_rate[d] = plain ? 1 : draw_word(source, 1, once_in(source, 2) ? 3 : 1);
        params->explicit_padding[d][0] = draw_word(source, 0, 4);
        params->explicit_padding[d][1] = draw_word(source, 0, 4);
    }
    if (once_in(source, 4)) {
        params->padding_mode = (fc_padding_mode)draw(source, FC_CONSTANT, FC_WRAP);
        params->padding_value = once_in(source, 2) ? 0.75 : 0;
    }
}

/* Makes the call wrong in one word: it must be refused, or be right all the same. */
static inline void spoil(struct source *source, struct call *call)
{
    struct array *array = &call->arrays[draw(source, 0, ROLES - 1)];
    switch (draw(source, 0, 5)) {
    case 0:
        call->params.padding = (fc_padding)draw(source, -1, 5);
        call->pool.padding = call->params.padding;
        break;
    case 1:
        call->params.groups = draw(source, -1, 9);
        break;
    case 2:
        call->activation = (fc_activation)draw(source, -1, 5);
        call->pool.pooling = (fc_pooling)draw(source, -1, 5);
        break;
    case 3:
        call->params.padding_mode = (fc_padding_mode)draw(source, -1, 5);
        call->elementwise = (fc_function)draw(source, -1, 5);
        break;
    case 4:
        array->present = false;
        break;
    default: /* a size that is not passed cannot be wrong */
        if (call->function < ELEMENTWISE && array != &call->arrays[BIAS] &&
            array != &call->arrays[DBIAS])
            array->size[draw(source, 0, 3)] += draw(source, -2, 2);
    }
}

static inline bool plan_convolution(struct source *source, struct call *call)
{
    fc_conv2d_params *params = &call->params;
    draw_geometry(source, params);
    const bool up = call->function == TRANSPOSE || call->function == TRANSPOSE_BACKWARD;
    const bool back = call->function == CONV2D_BACKWARD || call->function == TRANSPOSE_BACKWARD;
    int64_t c_in = draw_channels(source), c_out = draw_channels(source);
    if (once_in(source, 4)) {
        const bool depthwise = once_in(source, 2);
        params->groups = depthwise ? c_in : draw(source, 1, 5);
        c_in = depthwise ? 1 : (c_in + 3) / 4;
        c_out = depthwise ? draw(source, 1, 2) : (c_out + 3) / 4;
    }
    const int64_t widest = once_in(source, 8) ? 90 : 18;
    const int64_t n = once_in(source, 16) ? 0 : draw(source, 1, 3);
    const int64_t h = draw_word(source, 1, 18), w = draw_word(source, 1, widest);
    const int64_t k = DRAW_OF(source, 3, 1, 3, 2, 5, 4, 7, 11);
    const int64_t kh = k, kw = once_in(source, 4) ? draw_word(source, 1, 6) : k;
    call->has_output_padding = up && once_in(source, 2);
    for (int d = 0; d < 2; d++)
        call->output_padding[d] = draw_word(source, 0, 2);
    const int64_t *output_padding = call->has_output_padding ? call->output_padding : NULL;
    int64_t y_h, y_w;
    const fc_status status =
        up ? fc_conv2d_transpose_output_size(params, output_padding, h, w, kh, kw, &y_h, &y_w)
           : fc_conv2d_output_size(params, h, w, kh, kw, &y_h, &y_w);
    if (status != FC_OK)
        return false;
    const int64_t all_in = c_in * params->groups, all_out = c_out * params->groups;
    const double pixels = up ? (double)h * (double)w : (double)y_h * (double)y_w;
    double work = (double)n * pixels * (double)kh * (double)kw * (double)c_in * (double)all_out;
    if (params->padding_mode != FC_CONSTANT && back) { /* the gradient of the padding, too */
        const int64_t(*pads)[2] = params->explicit_padding;
        const bool given = params->padding == FC_EXPLICIT;
        work += ((double)h + (given ? (double)(pads[0][0] + pads[0][1]) : (double)kh)) *
                ((double)w + (given ? (double)(pads[1][0] + pads[1][1]) : (double)kw));
    }
    /* A row of x is packed with all that its taps span: this much is a fair call. */
    if (work > MOST_WORK || (double)kw * (double)params->dilation_rate[1] > 2048)
        return false;

    declare(call, X, false, n, h, w, all_in);
    declare(call, Y, !back, n, y_h, y_w, all_out);
    if (up)
        declare(call, KERNEL, false, kh, kw, c_out, all_in);
    else
        declare(call, KERNEL, false, kh, kw, c_in, all_out);
    if (!back && once_in(source, 2))
        declare(call, BIAS, false, 1, 1, 1, all_out);
    if (!back && !up) {
        call->activation = (fc_activation)draw(source, FC_LINEAR, FC_RELU6);
        if (once_in(source, 4))
            declare(call, RESIDUAL, false, n, y_h, y_w, all_out);
    }
    if (back && !once_in(source, 4))
        declare(call, DX, true, n, h, w, all_in);
    if (back && !once_in(source, 4)) {
        call->arrays[DKERNEL] = call->arrays[KERNEL];
        call->arrays[DKERNEL].output = true;
    }
    if (back && once_in(source, 2))
        declare(call, DBIAS, true, 1, 1, 1, all_out);
    return true;
}

static inline bool plan_pooling(struct source *source, struct call *call)
{
    fc_pool2d_params *pool = &call->pool;
    draw_geometry(source, &call->params);
    *pool = (fc_pool2d_params){.dtype = call->params.dtype,
                               .pooling = (fc_pooling)draw(source, FC_MAX, FC_AVG),
                               .padding = call->params.padding,
                               .ceil_mode = once_in(source, 2),
                               .count_include_pad = once_in(source, 2)};
    for (int d = 0; d < 2; d++) {
        pool->pool_size[d] = draw_word(source, 1, once_in(source, 4) ? 9 : 3);
        pool->strides[d] = once_in(source, 2) ? 2 : call->params.strides[d];
        pool->dilation_rate[d] = call->params.dilation_rate[d];
        pool->explicit_padding[d][0] = call->params.explicit_padding[d][0];
        pool->explicit_padding[d][1] = call->params.explicit_padding[d][1];
    }
    const int64_t n = once_in(source, 16) ? 0 : draw(source, 1, 3), c = draw_channels(source);
    const int64_t h = draw_word(source, 1, 18), w = draw_word(source, 1, 40);
    if (once_in(source, 8)) { /* one window */
        pool->pool_size[0] = h;
        pool->pool_size[1] = w;
    }
    int64_t y_h, y_w;
    if (fc_pool2d_output_size(pool, h, w, &y_h, &y_w) != FC_OK)
        return false;
    const double taps = (double)pool->pool_size[0] * (double)pool->pool_size[1];
    if ((double)n * (double)c * (double)y_h * (double)y_w * taps > MOST_WORK)
        return false;
    const bool back = call->function == POOL_BACKWARD, best = pool->pooling != FC_AVG;
    declare(call, X, false, n, h, w, c);
    declare(call, Y, !back, n, y_h, y_w, c);
    if (best && once_in(source, 2))
        declare(call, INDICES, !back, n, y_h, y_w, c);
    if (back)
        declare(call, DX, true, n, h, w, c);
    return true;
}

static inline void plan_elements(struct source *source, struct call *call)
{
    call->params.dtype = (fc_dtype)draw(source, FC_FLOAT32, FC_FLOAT64);
    call->elementwise = (fc_function)draw(source, FC_EXP, FC_SIGMOID);
    const int64_t n = draw(source, 0, 40), c = draw(source, 0, 70);
    const bool back = call->function == ACTIVATION_BACKWARD; /* X stands for dy */
    declare(call, X, false, 1, 1, n, c);
    declare(call, Y, !back, 1, 1, n, c);
    if (!back)
        return;
    call->activation = (fc_activation)draw(source, FC_LINEAR, FC_RELU6);
    declare(call, DX, true, 1, 1, n, c);
}

static inline void plan_global(struct source *source, struct call *call)
{
    call->params.dtype = (fc_dtype)draw(source, FC_FLOAT32, FC_FLOAT64);
    const int64_t n = draw(source, 0, 3), h = draw(source, 1, 15), w = draw(source, 1, 15);
    const int64_t c = draw_channels(source);
    const bool back = call->function == GLOBAL_AVG_BACKWARD;
    declare(call, Y, !back, n, 1, 1, c);
    declare(call, back ? DX : X, back, n, h, w, c);
}

/* Whether bytes made a call that can be placed: the rest was refused, or is too large to run. */
static inline bool plan_call(struct source *source, struct call *call)
{
    *call = (struct call){.function = (enum function)draw(source, 0, FUNCTIONS - 1)};
    const enum function function = call->function;
    if (function >= ELEMENTWISE)
        plan_elements(source, call);
    else if (function >= GLOBAL_AVG)
        plan_global(source, call);
    else if (!(function >= POOL ? plan_pooling : plan_convolution)(source, call))
        return false;
    call->plain = !once_in(source, 8);
    if (once_in(source, 16))
        spoil(source, call);
    const struct source flat = {.random = false}; /* draws zeros: rows one after the other */
    for (int i = 0; i < ROLES; i++) {
        struct array *array = &call->arrays[i];
        struct source copy = flat;
        const bool flattened = function >= ELEMENTWISE || i == BIAS || i == DBIAS;
        for (int d = 0; d < 4; d++)
            if (array->size[d] < -2 || !is_bounded(array->size))
                return false;
        if (array->present && !lay_out(flattened ? &copy : source, array))
            return false;
    }
    return true;
}

#endif
