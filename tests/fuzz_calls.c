/* fuzz_calls.c: libFuzzer's target: bytes become a call of the C API.
 *
 * Most become a small call of any_call.h between guard pages, which must do what it may and no more.
 * The rest become structs of any numbers at all without data to read: nothing can be computed, so
 * every size must be refused, or be empty, before it is used. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <inttypes.h>

#include "any_run.h"
#include "guarded.h"
#include "parallel.h"

static void fail(const struct call *call, const char *what)
{
    printf("fuzz_calls: %s\n", what);
    print_call(call);
    fflush(stdout);
    abort();
}

/* ------------------------------------------------------------- small calls */

static void choose_isa(struct source *source)
{
    int count = 0;
    while (fc_available_isa(count))
        count++;
    fc_force_isa(fc_available_isa((int)draw(source, 0, count - 1)));
    fc_set_thread_limit((int)draw(source, 1, 3));
    fc_force_worker_share(draw(source, 0, 1)); /* half are divided, however small */
}

static void small_call(struct source *source)
{
    struct call call;
    choose_isa(source);
    if (!plan_call(source, &call))
        return;
    at_end = !once_in(source, 4);
    place_call(&call, place_guarded);
    fill_call(&call);
    protect_inputs(&call);
    const fc_status status = run_call(&call);
    if (status == FC_NO_MEMORY)
        fail(&call, "no memory for a small call");
    const char *wrong = check_call(&call, status);
    if (wrong)
        fail(&call, wrong);
}

/* --------------------------------------------------------------- any sizes */

static int64_t any_number(struct source *source)
{
    switch (draw(source, 0, 7)) {
    case 0:
        return draw(source, INT64_MIN, INT64_MAX);
    case 1:
    case 2:
        return (INT64_C(1) << draw(source, 0, 62)) - draw(source, 0, 2);
    case 3:
        return INT64_MAX / draw(source, 1, 64) + draw(source, -2, 0);
    case 4:
        return -draw(source, 0, 4);
    default:
        return draw(source, 1, 9);
    }
}

static void any_numbers(struct source *source, int64_t *numbers, int count)
{
    for (int i = 0; i < count; i++)
        numbers[i] = any_number(source);
}

static fc_image any_image(struct source *source)
{
    int64_t n[8];
    any_numbers(source, n, 8);
    return (fc_image){NULL, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]};
}

static fc_weights any_weights(struct source *source)
{
    int64_t n[8];
    any_numbers(source, n, 8);
    return (fc_weights){NULL, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]};
}

static fc_conv2d_params any_params(struct source *source)
{
    fc_conv2d_params params = {.dtype = (fc_dtype)draw(source, -1, 2),
                               .padding = (fc_padding)draw(source, -1, 4),
                               .groups = once_in(source, 4) ? any_number(source) : 1,
                               .padding_mode = (fc_padding_mode)draw(source, -1, 4),
                               .algorithm = (fc_algorithm)draw(source, -1, 3)};
    any_numbers(source, params.strides, 2);
    any_numbers(source, params.dilation_rate, 2);
    any_numbers(source, params.explicit_padding[0], 2);
    any_numbers(source, params.explicit_padding[1], 2);
    return params;
}

static fc_pool2d_params any_pool(struct source *source)
{
    const fc_conv2d_params params = any_params(source);
    fc_pool2d_params pool = {.dtype = params.dtype,
                             .pooling = (fc_pooling)draw(source, -1, 3),
                             .padding = params.padding,
                             .ceil_mode = once_in(source, 2),
                             .count_include_pad = once_in(source, 2)};
    any_numbers(source, pool.pool_size, 2);
    memcpy(pool.strides, params.strides, sizeof pool.strides);
    memcpy(pool.dilation_rate, params.dilation_rate, sizeof pool.dilation_rate);
    memcpy(pool.explicit_padding, params.explicit_padding, sizeof pool.explicit_padding);
    return pool;
}

/* One element, read over and over by strides of 0, stands for a kernel of any size. */
static void pack(struct source *source, const fc_conv2d_params *params)
{
    static double element = 1;
    fc_packed_kernel *packed = NULL;
    fc_weights kernel = any_weights(source);
    kernel.data = &element;
    kernel.stride_kh = kernel.stride_kw = kernel.stride_c_in = kernel.stride_c_out = 0;
    const int64_t h = any_number(source), w = any_number(source);
    if (fc_pack_kernel(params, &kernel, h, w, &packed) == FC_OK)
        fc_packed_kernel_free(packed);
}

/* Gives the sizes that fit, so that some calls come as far as the arrays. */
static void fit(fc_image *y, const fc_image *x, int64_t h, int64_t w, int64_t c)
{
    y->n = x->n;
    y->h = h;
    y->w = w;
    y->c = c;
}

static void huge_convolution(struct source *source)
{
    const fc_conv2d_params params = any_params(source);
    fc_image x = any_image(source), y = any_image(source), dx = any_image(source);
    const fc_weights kernel = any_weights(source);
    const fc_weights dkernel = once_in(source, 2) ? kernel : any_weights(source);
    int64_t padding[2], h = 0, w = 0;
    const int64_t *output_padding = once_in(source, 2) ? padding : NULL;
    any_numbers(source, padding, 2);
    pack(source, &params);
    if (once_in(source, 2)) {
        if (fc_conv2d_output_size(&params, x.h, x.w, kernel.kh, kernel.kw, &h, &w) == FC_OK) {
            fit(&y, &x, h, w, kernel.c_out);
            fit(&dx, &x, x.h, x.w, x.c);
        }
        fc_conv2d(&params, &x, &kernel, NULL, &y);
        fc_conv2d_backward(&params, &y, &x, &kernel, &dx, &dkernel, NULL);
        return;
    }
    if (fc_conv2d_transpose_output_size(&params, output_padding, x.h, x.w, kernel.kh, kernel.kw, &h,
                                        &w) == FC_OK) {
        fit(&y, &x, h, w, y.c);
        fit(&dx, &x, x.h, x.w, x.c);
    }
    fc_conv2d_transpose(&params, output_padding, &x, &kernel, NULL, &y);
    fc_conv2d_transpose_backward(&params, output_padding, &y, &x, &kernel, &dx, &dkernel, NULL);
}

static void huge_pooling(struct source *source)
{
    const fc_pool2d_params pool = any_pool(source);
    const fc_image x = any_image(source), indices = any_image(source);
    fc_image y = any_image(source), dx = any_image(source);
    int64_t h, w;
    if (fc_pool2d_output_size(&pool, x.h, x.w, &h, &w) == FC_OK) {
        fit(&y, &x, h, w, x.c);
        fit(&dx, &x, x.h, x.w, x.c);
    }
    fc_pool2d(&pool, &x, &y, once_in(source, 2) ? &indices : NULL);
    fc_pool2d_backward(&pool, &y, &x, once_in(source, 2) ? &indices : NULL, &dx);
    fc_global_avg_pool2d(pool.dtype, &x, &y);
    fc_global_avg_pool2d_backward(pool.dtype, &y, &dx);
}

static void huge_elements(struct source *source)
{
    const fc_dtype dtype = (fc_dtype)draw(source, -1, 2);
    fc_elementwise(dtype, (fc_function)draw(source, -1, 4), any_number(source), NULL, NULL);
    fc_softmax(dtype, any_number(source), any_number(source), NULL, NULL);
    fc_activation_backward(dtype, (fc_activation)draw(source, -1, 3), any_number(source), NULL,
                           NULL, NULL);
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count, (void)words;
    make_slots();
    fc_set_num_threads(3);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source source = {.next = data, .end = data + size};
    switch (draw(&source, 0, 7)) {
    case 5:
        huge_convolution(&source);
        break;
    case 6:
        huge_pooling(&source);
        break;
    case 7:
        huge_elements(&source);
        break;
    default:
        small_call(&source);
    }
    return 0;
}
