/* neon_calls.c: makes one call, by name, through a kernel whose instructions are to be counted.
 *
 * Sizes fill the kernels' tiles, so that what is counted is their inner loops. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastconv.h"

static const struct call {
    const char *name;
    int64_t n, size, c_in, c_out, kernel, groups;
    fc_algorithm algorithm;
    bool gradient, channels_first;
} calls[] = {
    {"direct", 1, 14, 128, 64, 3, 1, FC_DIRECT, false, false},
    {"winograd", 1, 26, 128, 64, 3, 1, FC_WINOGRAD, false, false},
    {"along rows", 1, 26, 8, 64, 3, 1, FC_WINOGRAD, false, false},
    {"kernel gradient", 1, 14, 96, 64, 3, 1, FC_DIRECT, true, false},
    {"planes", 1, 34, 3, 6, 3, 1, FC_DIRECT, false, true},
    {"depthwise", 1, 30, 64, 64, 3, 64, FC_DIRECT, false, false},
    {"dense", 6, 1, 128, 256, 1, 1, FC_DIRECT, false, false},
};

static fc_image image(int64_t n, int64_t size, int64_t c, bool first)
{
    void *data = calloc((size_t)(n * size * size * c), sizeof(float));
    if (first)
        return (fc_image){data, n, size, size, c, size * size * c, size, 1, size * size};
    return (fc_image){data, n, size, size, c, size * size * c, size * c, c, 1};
}

static fc_status convolve(const struct call *call)
{
    const int64_t k = call->kernel, c = call->c_in / call->groups, o = call->c_out;
    const fc_conv2d_params params = {.dtype = FC_FLOAT32,
                                     .strides = {1, 1},
                                     .dilation_rate = {1, 1},
                                     .padding = FC_VALID,
                                     .groups = call->groups,
                                     .algorithm = call->algorithm};
    const fc_image x = image(call->n, call->size, call->c_in, call->channels_first);
    const fc_image y = image(call->n, call->size - k + 1, o, call->channels_first);
    const fc_weights kernel = {
        calloc((size_t)(k * k * c * o), sizeof(float)), k, k, c, o, k * c * o, c * o, o, 1};
    if (!x.data || !y.data || !kernel.data)
        return FC_NO_MEMORY;
    const fc_status status = call->gradient
                                 ? fc_conv2d_backward(&params, &y, &x, NULL, NULL, &kernel, NULL)
                                 : fc_conv2d(&params, &x, &kernel, NULL, &y);
    free(x.data);
    free(y.data);
    free(kernel.data);
    return status;
}

int main(int count, char **words)
{
    fc_set_num_threads(1);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (count == 2 && strcmp(words[1], calls[i].name) == 0)
            return convolve(&calls[i]) != FC_OK;
    fprintf(stderr, "usage: neon_calls CALL\n");
    return 2;
}
