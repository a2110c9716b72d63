/* example.c: one convolution and one pooling, called from C. */
#include <inttypes.h>
#include <stdio.h>

#include "fastconv.h"

/* One image of one channel in rows without gaps. */
static fc_image plane(float *data, int64_t h, int64_t w)
{
    return (fc_image){.data = data,
                      .n = 1,
                      .h = h,
                      .w = w,
                      .c = 1,
                      .stride_n = h * w,
                      .stride_h = w,
                      .stride_w = 1,
                      .stride_c = 1};
}

static void print(const char *name, const fc_image *image)
{
    const float *data = image->data;
    printf("%s: %" PRId64 " x %" PRId64 "\n", name, image->h, image->w);
    for (int64_t i = 0; i < image->h; i++)
        for (int64_t j = 0; j < image->w; j++)
            printf("%g%c", data[i * image->stride_h + j], j + 1 < image->w ? ' ' : '\n');
}

int main(void)
{
    /* NULL where FASTCONV_ISA asks for what this CPU has not. */
    if (fc_isa_name() == NULL)
        return 1;
    printf("fastconv %s on %s\n", FC_VERSION, fc_isa_name());

    float pixels[5][5] = {
        {1, 1, 1, 0, 0}, {0, 1, 1, 1, 0}, {0, 0, 1, 1, 1}, {0, 0, 1, 1, 0}, {0, 1, 1, 0, 0}};
    float taps[3][3] = {{1, 0, 1}, {0, 1, 0}, {1, 0, 1}};
    float sums[3][3], maxima[2][2];

    const fc_image x = plane(&pixels[0][0], 5, 5);
    const fc_weights kernel = {.data = taps,
                               .kh = 3,
                               .kw = 3,
                               .c_in = 1,
                               .c_out = 1,
                               .stride_kh = 3,
                               .stride_kw = 1,
                               .stride_c_in = 1,
                               .stride_c_out = 1};
    const fc_conv2d_params convolution = {.dtype = FC_FLOAT32,
                                          .strides = {1, 1},
                                          .dilation_rate = {1, 1},
                                          .padding = FC_VALID,
                                          .groups = 1};

    /* Every call answers with a status; the sizes of an output can be asked for beforehand. */
    int64_t h, w;
    fc_status status = fc_conv2d_output_size(&convolution, x.h, x.w, kernel.kh, kernel.kw, &h, &w);
    if (status != FC_OK || h != 3 || w != 3)
        return 1;
    const fc_image y = plane(&sums[0][0], h, w);
    const fc_epilogue nothing = {.activation = FC_LINEAR};
    status = fc_conv2d(&convolution, &x, &kernel, &nothing, &y);
    if (status != FC_OK)
        return 1;
    print("conv2d", &y);

    const fc_pool2d_params pooling = {.dtype = FC_FLOAT32,
                                      .pooling = FC_MAX,
                                      .pool_size = {2, 2},
                                      .strides = {1, 1},
                                      .dilation_rate = {1, 1},
                                      .padding = FC_VALID};
    const fc_image largest = plane(&maxima[0][0], 2, 2);
    if (fc_pool2d(&pooling, &y, &largest, NULL) != FC_OK)
        return 1;
    print("max_pool2d", &largest);

    /* What cannot be is refused before anything is written. */
    fc_conv2d_params impossible = convolution;
    impossible.groups = 2;
    return fc_conv2d(&impossible, &x, &kernel, &nothing, &y) == FC_BAD_GROUPS ? 0 : 1;
}
