/* same_bits.c: prints a hash of the bits of many results, the same on every CPU that has fused
 * multiply-add. same_bits.txt holds what it must print. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastconv.h"

/* A problem of each kind of path: channel counts about the vectors, strides, dilation, groups. */
static const struct problem {
    const char *name;
    int64_t n, h, w, c_in, c_out, kernel, stride, dilation, groups;
    fc_padding padding;
    fc_padding_mode mode;
    bool channels_first;
} problems[] = {
    {"3x3", 2, 13, 17, 32, 48, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"3x3 channels first", 2, 13, 17, 32, 48, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, true},
    {"odd channels", 1, 9, 11, 37, 53, 3, 1, 1, 1, FC_VALID, FC_CONSTANT, false},
    {"one channel", 3, 19, 19, 1, 6, 5, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"three channels", 1, 19, 19, 3, 16, 7, 2, 1, 1, FC_SAME, FC_CONSTANT, true},
    {"strided", 2, 14, 15, 17, 33, 3, 2, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"dilated", 1, 16, 16, 20, 16, 3, 1, 3, 1, FC_SAME_LOWER, FC_CONSTANT, false},
    {"1x1", 2, 8, 9, 64, 96, 1, 1, 1, 1, FC_VALID, FC_CONSTANT, false},
    {"grouped", 1, 10, 10, 24, 36, 3, 1, 1, 4, FC_SAME, FC_CONSTANT, false},
    {"grouped tiles", 2, 14, 14, 48, 48, 3, 1, 1, 3, FC_SAME, FC_CONSTANT, false},
    {"depthwise", 2, 12, 13, 35, 35, 3, 1, 1, 35, FC_SAME, FC_CONSTANT, false},
    {"reflected", 1, 12, 13, 10, 20, 5, 2, 1, 1, FC_SAME, FC_REFLECT, false},
    {"wrapped", 1, 12, 13, 10, 20, 3, 1, 2, 1, FC_SAME, FC_WRAP, true},
    {"many terms", 1, 6, 7, 600, 40, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"3x3 wide", 2, 14, 15, 64, 64, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"3x3 wide, planes", 1, 17, 14, 80, 112, 3, 1, 1, 1, FC_VALID, FC_CONSTANT, true},
    {"3x3 wide, edge", 1, 12, 13, 66, 70, 3, 1, 1, 1, FC_SAME, FC_EDGE, false},
    {"3x3 deep", 1, 7, 7, 260, 72, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"5x5 wide", 1, 13, 12, 64, 64, 5, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"4x4 wide, planes", 1, 13, 12, 64, 32, 4, 1, 1, 1, FC_VALID, FC_CONSTANT, true},
    {"9x9 wide", 1, 18, 17, 32, 48, 9, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"5x5 strided", 2, 17, 20, 32, 48, 5, 2, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"1x1 strided", 1, 13, 12, 128, 80, 1, 2, 1, 1, FC_SAME, FC_CONSTANT, true},
    {"1x1 in parts", 2, 18, 17, 272, 264, 1, 1, 1, 1, FC_VALID, FC_CONSTANT, false},
    {"few columns", 1, 40, 3, 16, 24, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"wide image", 1, 5, 300, 8, 16, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"7x7 stem", 1, 21, 60, 3, 24, 7, 2, 1, 1, FC_SAME, FC_CONSTANT, false},
    {"3x3 stem, planes", 1, 9, 50, 4, 40, 3, 1, 1, 1, FC_SAME, FC_CONSTANT, true},
    {"depthwise strided", 1, 17, 19, 24, 48, 5, 2, 1, 24, FC_SAME, FC_CONSTANT, true},
};

static void require(bool truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "same_bits: %s\n", what);
        exit(1);
    }
}

static int64_t bytes(fc_dtype dtype, int64_t count)
{
    return count * (dtype == FC_FLOAT32 ? 4 : 8);
}

/* Values of [-1, 1) that every machine makes alike, from a linear congruence; of so many bits that no
 * sum of them is exact, whose order would not show. */
static void *values(fc_dtype dtype, int64_t count)
{
    void *data = malloc((size_t)bytes(dtype, count) + 1);
    require(data != NULL, "no memory");
    uint64_t state = 12345;
    for (int64_t i = 0; i < count; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const double value = (double)(state >> 11) / (double)(INT64_C(1) << 52) - 1;
        if (dtype == FC_FLOAT32)
            ((float *)data)[i] = (float)value;
        else
            ((double *)data)[i] = value;
    }
    return data;
}

static fc_image image(fc_dtype dtype, int64_t n, int64_t h, int64_t w, int64_t c, bool first)
{
    fc_image made = {values(dtype, n * h * w * c), n, h, w, c, h * w * c, w * c, c, 1};
    if (first)
        made.stride_h = w, made.stride_w = 1, made.stride_c = h * w;
    return made;
}

/* FNV-1a of the bits of an array without gaps. */
static void show(const char *name, const char *result, fc_dtype dtype, const void *data,
                 int64_t count)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int64_t i = 0; i < bytes(dtype, count); i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * UINT64_C(1099511628211);
    printf("%-18s float%d %-13s %016" PRIx64 "\n", name, dtype == FC_FLOAT32 ? 32 : 64, result,
           hash);
}

static int64_t size(const fc_image *array) { return array->n * array->h * array->w * array->c; }

static void free_all(void *const arrays[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(arrays[i]);
}

static fc_conv2d_params params_of(const struct problem *p, fc_dtype dtype)
{
    return (fc_conv2d_params){.dtype = dtype,
                              .strides = {p->stride, p->stride},
                              .dilation_rate = {p->dilation, p->dilation},
                              .padding = p->padding,
                              .groups = p->groups,
                              .padding_mode = p->mode};
}

static void convolve(const struct problem *p, fc_dtype dtype)
{
    const fc_conv2d_params params = params_of(p, dtype);
    int64_t h, w;
    require(fc_conv2d_output_size(&params, p->h, p->w, p->kernel, p->kernel, &h, &w) == FC_OK,
            p->name);
    const int64_t k = p->kernel, c = p->c_in / p->groups, o = p->c_out, taps = k * k * c * o;
    fc_image x = image(dtype, p->n, p->h, p->w, p->c_in, p->channels_first);
    fc_image dx = image(dtype, p->n, p->h, p->w, p->c_in, p->channels_first);
    fc_image y = image(dtype, p->n, h, w, o, p->channels_first);
    fc_image dy = image(dtype, p->n, h, w, o, p->channels_first);
    fc_weights kernel = {values(dtype, taps), k, k, c, o, k * c * o, c * o, o, 1};
    fc_weights dkernel = kernel;
    dkernel.data = values(dtype, taps);
    void *bias = values(dtype, o), *dbias = values(dtype, o);

    const fc_epilogue epilogue = {.bias = bias, .residual = &dy, .activation = FC_RELU6};
    require(fc_conv2d(&params, &x, &kernel, &epilogue, &y) == FC_OK, p->name);
    show(p->name, "y", dtype, y.data, size(&y));

    fc_packed_kernel *packed;
    require(fc_pack_kernel(&params, &kernel, p->h, p->w, &packed) == FC_OK, p->name);
    require(fc_conv2d_packed(&params, &x, packed, &epilogue, &y) == FC_OK, p->name);
    show(p->name, "y, packed", dtype, y.data, size(&y));
    fc_packed_kernel_free(packed);

    require(fc_conv2d_backward(&params, &dy, &x, &kernel, &dx, &dkernel, dbias) == FC_OK, p->name);
    show(p->name, "dx", dtype, dx.data, size(&dx));
    show(p->name, "dkernel", dtype, dkernel.data, taps);
    show(p->name, "dbias", dtype, dbias, o);

    free_all((void *[]){x.data, dx.data, y.data, dy.data, kernel.data, dkernel.data, bias, dbias},
             8);
}

/* From x's channels to c_out, as convolve, but up: strides make the image larger. */
static void transpose(const struct problem *p, fc_dtype dtype)
{
    fc_conv2d_params params = params_of(p, dtype);
    params.padding_value = 7; /* which nobody asks for: the padding is of zeros */
    const int64_t k = p->kernel, c = p->c_in, o = p->c_out / p->groups, taps = k * k * o * c;
    int64_t h, w;
    require(fc_conv2d_transpose_output_size(&params, NULL, p->h, p->w, k, k, &h, &w) == FC_OK,
            p->name);
    fc_image x = image(dtype, p->n, p->h, p->w, c, p->channels_first);
    fc_image dx = image(dtype, p->n, p->h, p->w, c, p->channels_first);
    fc_image y = image(dtype, p->n, h, w, p->c_out, p->channels_first);
    fc_weights kernel = {values(dtype, taps), k, k, o, c, k * o * c, o * c, c, 1};
    fc_weights dkernel = kernel;
    dkernel.data = values(dtype, taps);
    void *bias = values(dtype, p->c_out);

    require(fc_conv2d_transpose(&params, NULL, &x, &kernel, bias, &y) == FC_OK, p->name);
    show(p->name, "transposed", dtype, y.data, size(&y));
    require(fc_conv2d_transpose_backward(&params, NULL, &y, &x, &kernel, &dx, &dkernel, NULL) ==
                FC_OK,
            p->name);
    show(p->name, "transposed dx", dtype, dx.data, size(&dx));
    show(p->name, "transposed dk", dtype, dkernel.data, taps);
    free_all((void *[]){x.data, dx.data, y.data, kernel.data, dkernel.data, bias}, 6);
}

static void pool(fc_pooling pooling, fc_dtype dtype, bool channels_first)
{
    static const char *const words[2][3] = {{"max", "min", "average"},
                                            {"max, planes", "min, planes", "average, planes"}};
    const char *name = words[channels_first][pooling];
    const fc_pool2d_params params = {.dtype = dtype,
                                     .pooling = pooling,
                                     .pool_size = {3, 3},
                                     .strides = {2, 2},
                                     .dilation_rate = {1, 1},
                                     .padding = FC_SAME};
    int64_t h, w;
    require(fc_pool2d_output_size(&params, 17, 19, &h, &w) == FC_OK, name);
    fc_image x = image(dtype, 2, 17, 19, 21, channels_first);
    fc_image dx = image(dtype, 2, 17, 19, 21, channels_first);
    fc_image y = image(dtype, 2, h, w, 21, channels_first);
    fc_image indices = y;
    indices.data = values(FC_FLOAT64, size(&y));
    require(fc_pool2d(&params, &x, &y, pooling == FC_AVG ? NULL : &indices) == FC_OK, name);
    show(name, "y", dtype, y.data, size(&y));
    if (pooling != FC_AVG)
        show(name, "indices", FC_FLOAT64, indices.data, size(&y));
    require(fc_pool2d_backward(&params, &y, &x, NULL, &dx) == FC_OK, name);
    show(name, "dx", dtype, dx.data, size(&dx));
    free_all((void *[]){x.data, dx.data, y.data, indices.data}, 4);
}

static void global_average(fc_dtype dtype, bool channels_first)
{
    const char *name = channels_first ? "mean, planes" : "mean";
    fc_image x = image(dtype, 2, 17, 19, 21, channels_first);
    fc_image mean = image(dtype, 2, 1, 1, 21, channels_first);
    require(fc_global_avg_pool2d(dtype, &x, &mean) == FC_OK, name);
    show(name, "y", dtype, mean.data, size(&mean));
    require(fc_global_avg_pool2d_backward(dtype, &mean, &x) == FC_OK, name);
    show(name, "dx", dtype, x.data, size(&x));
    free_all((void *[]){x.data, mean.data}, 2);
}

static void elementwise(fc_dtype dtype)
{
    static const char *const names[] = {"exp", "log", "tanh", "sigmoid"};
    enum { ROWS = 37, COLUMNS = 101, COUNT = ROWS * COLUMNS };
    void *x = values(dtype, COUNT), *y = values(dtype, COUNT);
    for (int i = 0; i < COUNT; i++) { /* scaled to where the functions have their branches */
        if (dtype == FC_FLOAT32)
            ((float *)x)[i] *= (float)(i % 83 + 1);
        else
            ((double *)x)[i] *= i % 83 + 1;
    }
    for (fc_function f = FC_EXP; f <= FC_SIGMOID; f++) {
        require(fc_elementwise(dtype, f, COUNT, x, y) == FC_OK, names[f]);
        if (f != FC_LOG) /* of negative numbers, NaN, whose bits are free */
            show(names[f], "y", dtype, y, COUNT);
    }
    require(fc_elementwise(dtype, FC_EXP, COUNT, x, x) == FC_OK, "exp in place");
    require(fc_elementwise(dtype, FC_LOG, COUNT, x, y) == FC_OK, "log");
    show("log of exp", "y", dtype, y, COUNT);
    require(fc_softmax(dtype, ROWS, COLUMNS, x, y) == FC_OK, "softmax");
    show("softmax", "y", dtype, y, COUNT);
    require(fc_activation_backward(dtype, FC_RELU, COUNT, x, y, x) == FC_OK, "gate in place");
    show("gate", "dx", dtype, x, COUNT);
    free_all((void *[]){x, y}, 2);
}

static void compute_all(void)
{
    for (fc_dtype dtype = FC_FLOAT32; dtype <= FC_FLOAT64; dtype++) {
        for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
            convolve(&problems[i], dtype);
        for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
            if (problems[i].mode == FC_CONSTANT)
                transpose(&problems[i], dtype);
        for (fc_pooling pooling = FC_MAX; pooling <= FC_AVG; pooling++) {
            pool(pooling, dtype, false);
            pool(pooling, dtype, true);
        }
        global_average(dtype, false);
        global_average(dtype, true);
        elementwise(dtype);
    }
}

/* same_bits ISA prints the hashes; same_bits alone lists the instruction sets that it can be asked
 * for: all but generic, which has no fused multiply-add. */
int main(int count, char **words)
{
    if (count == 2) {
        require(fc_force_isa(words[1]), "this CPU does not have that instruction set");
        compute_all();
        return 0;
    }
    for (int i = 0; fc_available_isa(i); i++)
        if (strcmp(fc_available_isa(i), "generic") != 0)
            puts(fc_available_isa(i));
    return 0;
}
