/* conv2d_pooled.c: a convolution some images at a time, each pooled while it is in the second-level cache; and its way
 * back, of which conv2d_dkernel.c and few_dkernel.c ask for the rows of a block (unpooled.c).
 *
 * On Zen 4 images of 28x28 to 32 channels took 5.7 us and 2.1 to be pooled where all comes from the third-level cache,
 * and take 7.3, back 1.6 and 4.5, and take 5.9. In a training step, where 2.8 MB of result and as much of gradient
 * drive others out of the caches, forward 1.08 ms of 1.2, back 1.06 of 1.5. */
#include "conv2d_pooled.h"

#include "choose.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

/* Of the result: a group of images, for each thread, and what is small enough to be had whole. */
enum { GROUP_BYTES = 384 * 1024, SMALL_BYTES = 1024 * 1024, WORTH_PACKING = 8 };

/* The result of a convolution to y, whose channels lie as there, without data. */
static fc_image result_of(const struct fc_window *window, const fc_image *y)
{
    const int64_t h = window->axis[0].out, w = window->axis[1].out, c = y->c;
    fc_image result = {.n = y->n, .h = h, .w = w, .c = c, .stride_n = h * w * c};
    const bool together = y->stride_c == 1;
    result.stride_h = together ? w * c : w;
    result.stride_w = together ? c : 1;
    result.stride_c = together ? 1 : h * w;
    return result;
}

/* Images [n, n + count). */
static fc_image some_of(const fc_image *image, ptrdiff_t element, int64_t n, int64_t count)
{
    fc_image some = *image;
    some.data = (char *)image->data + n * image->stride_n * element;
    some.n = count;
    return some;
}

/* Images whose result is computed together; 0 where the whole batch is. */
static int64_t group_of(const fc_conv2d_params *params, const struct fc_convolution *convolution)
{
    const int64_t element = (int64_t)fc_element_size(params->dtype), n = convolution->y.n;
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t image = convolution->y.stride_n * element;
    const int64_t packed =
        kernel->kh * kernel->kw * kernel->c_in * kernel->c_out * kernel->groups * element;
    const int64_t most = GROUP_BYTES * fc_parallel_width(n, 1e18);
    if (image <= 0 || image * n <= fc_max(SMALL_BYTES, most) || packed > most / WORTH_PACKING ||
        fc_choose_form(params->algorithm, FC_PASS_CALLED, convolution) >= 0)
        return 0;
    return fc_max(most / image, 1);
}

bool fc_fits_conv2d_pooled(const fc_conv2d_params *params, const fc_image *x,
                           const fc_weights *kernel, const fc_image *y)
{
    struct fc_window window;
    if (fc_conv2d_window(params, x->h, x->w, kernel->kh, kernel->kw, &window) != FC_OK)
        return false;
    const fc_image result = result_of(&window, y);
    const struct fc_convolution convolution =
        fc_convolution_of(params, &window, x, kernel, NULL, &result);
    return group_of(params, &convolution) > 0;
}

fc_status fc_conv2d_pooled(const fc_conv2d_params *params, const fc_pool2d_params *pool,
                           const fc_image *x, const fc_weights *kernel, const fc_epilogue *epilogue,
                           const fc_image *y, const fc_image *marks, bool *done)
{
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(params->dtype);
    struct fc_window window;
    fc_status status = fc_conv2d_window(params, x->h, x->w, kernel->kh, kernel->kw, &window);
    *done = false;
    if (status != FC_OK)
        return status;
    fc_image result = result_of(&window, y);
    const struct fc_convolution convolution =
        fc_convolution_of(params, &window, x, kernel, epilogue, &result);
    const int64_t group = group_of(params, &convolution);
    if (group == 0)
        return FC_OK;
    result.data = fc_workspace_acquire((size_t)(group * result.stride_n * element));
    if (!result.data)
        return FC_NO_MEMORY;
    *done = true;
    for (int64_t n = 0; n < x->n && status == FC_OK && *done; n += group) {
        const int64_t count = fc_min(group, x->n - n);
        const fc_image from = some_of(x, element, n, count), to = some_of(y, element, n, count);
        const fc_image marked = some_of(marks, element, n, count);
        result.n = count;
        status = fc_conv2d(params, &from, kernel, epilogue, &result);
        if (status == FC_OK)
            status = fc_pool2d_marked(pool, &result, &to, &marked, done);
    }
    fc_workspace_release(result.data);
    return status;
}

/* ---------------------------------------------------------------- backward */

fc_status fc_conv2d_pooled_backward(const fc_conv2d_params *params, const fc_image *dy,
                                    const fc_image *marks, fc_activation activation,
                                    const fc_image *x, const fc_weights *dkernel, void *dbias,
                                    bool *done)
{
    struct fc_window window;
    const fc_status status =
        fc_conv2d_window(params, x->h, x->w, dkernel->kh, dkernel->kw, &window);
    *done = false;
    if (status != FC_OK || x->n == 0 || dy->stride_c != 1)
        return status;
    const struct fc_unpooled unpooled = {
        .kernels = &fc_current_kernels(params->dtype)->pool2d,
        .element = (ptrdiff_t)fc_element_size(params->dtype),
        .dy = *dy,
        .marks = *marks,
        .image = result_of(&window, dy),
        .stops = fc_pool2d_stops(activation),
    };
    return fc_conv2d_pooled_dkernel(params, &window, &unpooled, x, dkernel, dbias, done);
}
