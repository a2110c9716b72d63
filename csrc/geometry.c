/* geometry.c: output sizes, padding and overflow checks.
 *
 * Every size that a caller gives is bounded by FC_LARGEST before it is computed with, so that sums
 * of a few products of a size and a small number cannot overflow; products of sizes are checked. */
#include "geometry.h"

#include <stddef.h>

static const int64_t FC_LARGEST = INT64_C(1) << 40;

int64_t fc_greatest_common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void fc_axis_outputs(const struct fc_axis *axis, int64_t tap, int64_t *begin, int64_t *end)
{
    const int64_t shift = axis->before - tap * axis->dilation;
    *begin = fc_min(fc_max(fc_ceil_div(shift, axis->stride), 0), axis->out);
    *end = fc_max(fc_min(fc_ceil_div(axis->in + shift, axis->stride), axis->out), *begin);
}

void fc_axis_taps(const struct fc_axis *axis, int64_t o, int64_t *begin, int64_t *end)
{
    const int64_t first = o * axis->stride - axis->before;
    if (first >= 0 && first + (axis->taps - 1) * axis->dilation < axis->in) {
        *begin = 0; /* most outputs: no division */
        *end = axis->taps;
        return;
    }
    *begin = fc_min(fc_max(fc_ceil_div(-first, axis->dilation), 0), axis->taps);
    *end = fc_max(fc_min(fc_ceil_div(axis->in - first, axis->dilation), axis->taps), *begin);
}

/* ----------------------------------------------------------- one direction */

/* What the caller gives for one direction, checked: the effective window size goes to *effective. */
static fc_status check_axis(struct fc_axis *axis, int64_t *effective)
{
    if (axis->in < 0)
        return FC_BAD_ARGUMENT;
    if (axis->taps < 1)
        return FC_EMPTY_KERNEL;
    if (axis->stride < 1)
        return FC_BAD_STRIDES;
    if (axis->dilation < 1)
        return FC_BAD_DILATION;
    if (axis->in > FC_LARGEST || axis->taps > FC_LARGEST || axis->stride > FC_LARGEST ||
        axis->dilation > FC_LARGEST)
        return FC_OVERFLOW;
    if (__builtin_mul_overflow(axis->taps - 1, axis->dilation, effective) ||
        *effective >= FC_LARGEST)
        return FC_OVERFLOW;
    *effective += 1;
    return FC_OK;
}

static fc_status explicit_padding(struct fc_axis *axis, const int64_t padding[2])
{
    axis->before = padding[0];
    axis->after = padding[1];
    if (axis->before < 0 || axis->after < 0)
        return FC_BAD_PADDING;
    if (axis->before > FC_LARGEST || axis->after > FC_LARGEST)
        return FC_OVERFLOW;
    return FC_OK;
}

static void split_padding(struct fc_axis *axis, fc_padding padding, int64_t total)
{
    const int64_t half = total / 2;
    axis->before = padding == FC_SAME ? half : total - half;
    axis->after = total - axis->before;
}

/* Fills before, after and out of a window over axis->in. */
static fc_status slide(struct fc_axis *axis, fc_padding padding, const int64_t explicit_pads[2],
                       bool ceil_mode)
{
    int64_t effective;
    fc_status status = check_axis(axis, &effective);
    if (status != FC_OK)
        return status;

    if (padding == FC_SAME || padding == FC_SAME_LOWER) {
        axis->out = fc_ceil_div(axis->in, axis->stride);
        if (axis->out < 1)
            return FC_EMPTY_OUTPUT;
        split_padding(axis, padding,
                      fc_max((axis->out - 1) * axis->stride + effective - axis->in, 0));
        return FC_OK;
    }
    axis->before = axis->after = 0;
    if (padding == FC_EXPLICIT) {
        status = explicit_padding(axis, explicit_pads);
        if (status != FC_OK)
            return status;
    }
    const int64_t slack = axis->in + axis->before + axis->after - effective;
    if (slack < 0)
        return FC_EMPTY_OUTPUT;
    axis->out = (slack + (ceil_mode ? axis->stride - 1 : 0)) / axis->stride + 1;
    if (ceil_mode && (axis->out - 1) * axis->stride >= axis->in + axis->before)
        axis->out--;
    return axis->out < 1 ? FC_EMPTY_OUTPUT : FC_OK;
}

/* ------------------------------------------------------------- both of them */

static fc_status slide_both(struct fc_window *window, fc_padding padding,
                            const int64_t explicit_pads[2][2], bool ceil_mode)
{
    if ((unsigned)padding > FC_EXPLICIT)
        return FC_BAD_ARGUMENT;
    for (int d = 0; d < 2; d++) {
        const fc_status status = slide(&window->axis[d], padding, explicit_pads[d], ceil_mode);
        if (status != FC_OK)
            return status;
    }
    return FC_OK;
}

static void set_axes(struct fc_window *window, const int64_t in[2], const int64_t taps[2],
                     const int64_t strides[2], const int64_t dilation_rate[2])
{
    for (int d = 0; d < 2; d++)
        window->axis[d] = (struct fc_axis){
            .in = in[d], .taps = taps[d], .stride = strides[d], .dilation = dilation_rate[d]};
}

static fc_status check_conv2d_words(const fc_conv2d_params *params)
{
    if (!params || (unsigned)params->dtype > FC_FLOAT64 ||
        (unsigned)params->padding > FC_EXPLICIT || (unsigned)params->padding_mode > FC_WRAP)
        return FC_BAD_ARGUMENT;
    if ((unsigned)params->algorithm > FC_WINOGRAD)
        return FC_BAD_ALGORITHM;
    return params->groups < 1 ? FC_BAD_GROUPS : FC_OK;
}

fc_status fc_conv2d_window(const fc_conv2d_params *params, int64_t h, int64_t w, int64_t kh,
                           int64_t kw, struct fc_window *window)
{
    fc_status status = check_conv2d_words(params);
    if (status != FC_OK)
        return status;
    set_axes(window, (int64_t[]){h, w}, (int64_t[]){kh, kw}, params->strides,
             params->dilation_rate);
    status = slide_both(window, params->padding, params->explicit_padding, false);
    if (status != FC_OK)
        return status;
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = &window->axis[d];
        const int64_t widest = fc_max(axis->before, axis->after);
        if ((params->padding_mode == FC_REFLECT && widest > fc_max(axis->in - 1, 0)) ||
            (params->padding_mode == FC_WRAP && widest > axis->in) ||
            (params->padding_mode == FC_EDGE && widest > 0 && axis->in == 0))
            return FC_PADDING_TOO_LARGE;
    }
    return FC_OK;
}

fc_status fc_pool2d_window(const fc_pool2d_params *params, int64_t h, int64_t w,
                           struct fc_window *window)
{
    if (!params || (unsigned)params->dtype > FC_FLOAT64 || (unsigned)params->pooling > FC_AVG)
        return FC_BAD_ARGUMENT;
    set_axes(window, (int64_t[]){h, w}, params->pool_size, params->strides, params->dilation_rate);
    for (int d = 0; d < 2 && params->padding == FC_EXPLICIT; d++) {
        int64_t effective;
        const fc_status status = check_axis(&window->axis[d], &effective);
        if (status != FC_OK)
            return status;
        if (fc_max(params->explicit_padding[d][0], params->explicit_padding[d][1]) >= effective)
            return FC_PADDING_TOO_LARGE;
    }
    return slide_both(window, params->padding, params->explicit_padding, params->ceil_mode);
}

/* ------------------------------------------------- transposed convolution */

/* The size of y in one direction, and the padding of the convolution that leads back. */
static fc_status unslide(struct fc_axis *axis, fc_padding padding, const int64_t explicit_pads[2],
                         const int64_t *output_padding, int64_t effective)
{
    const int64_t extra = output_padding ? *output_padding : 0;
    if (extra < 0 || extra >= fc_max(axis->stride, axis->dilation))
        return FC_BAD_OUTPUT_PADDING;
    int64_t span;
    if (__builtin_mul_overflow(fc_max(axis->out - 1, 0), axis->stride, &span) || span > FC_LARGEST)
        return FC_OVERFLOW;
    if (axis->out < 1)
        return FC_EMPTY_OUTPUT;

    axis->before = axis->after = 0;
    switch (padding) {
    case FC_VALID:
        axis->in = span + (output_padding ? effective + extra : fc_max(effective, axis->stride));
        break;
    case FC_SAME:
    case FC_SAME_LOWER:
        axis->in = span + (output_padding ? effective % 2 + extra : axis->stride);
        split_padding(axis, padding, fc_max(span + effective - axis->in, 0));
        break;
    case FC_EXPLICIT: {
        const fc_status status = explicit_padding(axis, explicit_pads);
        if (status != FC_OK)
            return status;
        axis->in = span + effective + extra - axis->before - axis->after;
        break;
    }
    }
    return axis->in < 1 ? FC_EMPTY_OUTPUT : FC_OK;
}

fc_status fc_conv2d_transpose_window(const fc_conv2d_params *params, const int64_t *output_padding,
                                     int64_t h, int64_t w, int64_t kh, int64_t kw,
                                     struct fc_window *window)
{
    const int64_t out[2] = {h, w};
    fc_status status = check_conv2d_words(params);
    if (status != FC_OK)
        return status;
    set_axes(window, out, (int64_t[]){kh, kw}, params->strides, params->dilation_rate);
    for (int d = 0; d < 2; d++) {
        struct fc_axis *axis = &window->axis[d];
        int64_t effective;
        status = check_axis(axis, &effective);
        if (status != FC_OK)
            return status;
        axis->out = out[d];
        status = unslide(axis, params->padding, params->explicit_padding[d],
                         output_padding ? &output_padding[d] : NULL, effective);
        if (status != FC_OK)
            return status;
    }
    return FC_OK;
}

/* ------------------------------------------------------------ public sizes */

static void sizes_of(const struct fc_window *window, int64_t *y_h, int64_t *y_w)
{
    *y_h = window->axis[0].out;
    *y_w = window->axis[1].out;
}

fc_status fc_conv2d_output_size(const fc_conv2d_params *params, int64_t h, int64_t w, int64_t kh,
                                int64_t kw, int64_t *y_h, int64_t *y_w)
{
    struct fc_window window;
    const fc_status status = fc_conv2d_window(params, h, w, kh, kw, &window);
    if (status == FC_OK)
        sizes_of(&window, y_h, y_w);
    return status;
}

fc_status fc_pool2d_output_size(const fc_pool2d_params *params, int64_t h, int64_t w, int64_t *y_h,
                                int64_t *y_w)
{
    struct fc_window window;
    const fc_status status = fc_pool2d_window(params, h, w, &window);
    if (status == FC_OK)
        sizes_of(&window, y_h, y_w);
    return status;
}

fc_status fc_conv2d_transpose_output_size(const fc_conv2d_params *params,
                                          const int64_t *output_padding, int64_t h, int64_t w,
                                          int64_t kh, int64_t kw, int64_t *y_h, int64_t *y_w)
{
    struct fc_window window;
    const fc_status status =
        fc_conv2d_transpose_window(params, output_padding, h, w, kh, kw, &window);
    if (status == FC_OK) {
        *y_h = window.axis[0].in;
        *y_w = window.axis[1].in;
    }
    return status;
}

/* ------------------------------------------------------------------ arrays */

/* An array without elements has no bytes to count, and may have no data. */
static fc_status check_array(const void *data, const int64_t size[4], const int64_t stride[4],
                             fc_dtype dtype)
{
    int64_t reach = dtype == FC_FLOAT32 ? 4 : 8, bytes = reach;
    bool empty = false;
    for (int i = 0; i < 4; i++) {
        if (size[i] < 0)
            return FC_BAD_ARGUMENT;
        empty |= size[i] == 0;
    }
    for (int i = 0; i < 4 && !empty; i++) {
        int64_t step = stride[i], span;
        if ((step < 0 && __builtin_sub_overflow(0, step, &step)) ||
            __builtin_mul_overflow(bytes, size[i], &bytes) ||
            __builtin_mul_overflow(size[i] - 1, step, &span) ||
            __builtin_mul_overflow(span, 8, &span) || __builtin_add_overflow(reach, span, &reach))
            return FC_OVERFLOW;
    }
    return data || empty ? FC_OK : FC_BAD_ARGUMENT;
}

fc_status fc_check_image(const fc_image *image, fc_dtype dtype)
{
    return check_array(
        image->data, (int64_t[]){image->n, image->h, image->w, image->c},
        (int64_t[]){image->stride_n, image->stride_h, image->stride_w, image->stride_c}, dtype);
}

fc_status fc_check_weights(const fc_weights *weights, fc_dtype dtype)
{
    return check_array(weights->data,
                       (int64_t[]){weights->kh, weights->kw, weights->c_in, weights->c_out},
                       (int64_t[]){weights->stride_kh, weights->stride_kw, weights->stride_c_in,
                                   weights->stride_c_out},
                       dtype);
}

bool fc_image_is(const fc_image *image, int64_t n, int64_t h, int64_t w, int64_t c)
{
    return image->n == n && image->h == h && image->w == w && image->c == c;
}

fc_status fc_pool2d_check(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                          const fc_image *beside, fc_dtype of_beside, struct fc_window *window)
{
    if (!params || !x || !y)
        return FC_BAD_ARGUMENT;
    fc_status status = fc_check_image(x, params->dtype);
    if (status == FC_OK)
        status = fc_check_image(y, params->dtype);
    if (status == FC_OK && beside)
        status = params->pooling == FC_AVG ? FC_BAD_ARGUMENT : fc_check_image(beside, of_beside);
    if (status == FC_OK)
        status = fc_pool2d_window(params, x->h, x->w, window);
    if (status != FC_OK)
        return status;
    const int64_t h = window->axis[0].out, w = window->axis[1].out;
    return fc_image_is(y, x->n, h, w, x->c) && (!beside || fc_image_is(beside, x->n, h, w, x->c))
               ? FC_OK
               : FC_BAD_SHAPE;
}

bool fc_fits_memory(const fc_image *image)
{
    const int64_t sizes[] = {image->h, image->w, image->c};
    int64_t most = INT64_C(1) << 48;
    for (int i = 0; i < 3; i++)
        most /= fc_max(sizes[i], 1);
    return most > 0;
}
