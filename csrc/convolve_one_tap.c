/* convolve_one_tap.c: kernels of one tap, whose x is read where it lies.
 *
 * Nothing is packed where that takes longer than it saves: of 256 channels for 64 outputs a quarter of the
 * time. But pixels that lie a multiple of 4 KB apart, of 1024 channels or every other one of 512, meet in one
 * set of the first-level cache, 8 lines in most CPUs, which a tile of 14 pixels overflows at every step: 70 %
 * of the peak on Zen 4, where x packed once for all outputs, which comes from the second-level cache, gives 88
 * (1024 to 256 channels at 14x14 9.5 ms, packed 7.7). A set of 12 lines, as Sapphire Rapids has, gives 89 in
 * place; and tiles of 7 pixels, as sums of several chains have there, leave a line of 8 free, and take 7.2. */
#include "convolve_one_tap.h"

#include "dispatch.h"

enum {
    WAY_BYTES = 4096, /* of the first-level cache: lines so far apart share a set */
    WAYS = 8,
    WORTH_PACKING = 128 /* outputs */
};

/* One tap that never reads padding: every stride-th pixel of x is a smaller image. */
static void make_dense(struct fc_axis *axis, char **data, int64_t *size, int64_t *stride,
                       int64_t element)
{
    const int64_t last = (axis->out - 1) * axis->stride - axis->before;
    if (axis->taps != 1 || axis->before > 0 || last >= axis->in)
        return;
    *data += -axis->before * *stride * element;
    *stride *= axis->stride;
    *size = axis->in = axis->out;
    axis->stride = axis->dilation = 1;
    axis->before = 0;
}

/* One tap that reads each pixel of x for the same pixel of y. */
static bool is_dense(const struct fc_axis *axis)
{
    return axis->taps == 1 && axis->stride == 1 && axis->before == 0 && axis->in == axis->out;
}

bool fc_is_dense(const struct fc_convolution *convolution)
{
    return is_dense(&convolution->axis[0]) && is_dense(&convolution->axis[1]);
}

static bool lies_together(int64_t inner, int64_t inner_stride, int64_t outer, int64_t outer_stride)
{
    return outer == 1 || inner == 1 || outer_stride == inner * inner_stride;
}

/* (h, w) -> (1, h * w), then (n, w) -> (1, n * w). */
static void merge_rows(fc_image *image)
{
    if (image->w == 1)
        image->stride_w = image->stride_h;
    image->w *= image->h;
    image->h = 1;
}

static void merge_images(fc_image *image)
{
    if (image->w == 1)
        image->stride_w = image->stride_n;
    image->w *= image->n;
    image->n = 1;
}

static bool rows_together(const fc_image *image)
{
    return lies_together(image->w, image->stride_w, image->h, image->stride_h);
}

static bool images_together(const fc_image *image)
{
    return image->h == 1 && lies_together(image->w, image->stride_w, image->n, image->stride_n);
}

void fc_make_dense(struct fc_convolution *convolution)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    fc_image *x = &convolution->x;
    char *data = x->data;
    make_dense(&convolution->axis[0], &data, &x->h, &x->stride_h, element);
    make_dense(&convolution->axis[1], &data, &x->w, &x->stride_w, element);
    x->data = data;
    if (x->c == 1)
        x->stride_c = 1;
    if (convolution->y.c == 1)
        convolution->y.stride_c = convolution->residual.stride_c = 1;
}

void fc_merge_pixels(struct fc_convolution *convolution)
{
    fc_image *x = &convolution->x, *y = &convolution->y;
    struct fc_axis *axis = convolution->axis;
    if (!fc_is_dense(convolution))
        return;
    fc_image unused = *y, *residual = convolution->residual.data ? &convolution->residual : &unused;
    if (rows_together(x) && rows_together(y) && rows_together(residual)) {
        merge_rows(x);
        merge_rows(y);
        merge_rows(residual);
    }
    if (images_together(x) && images_together(y) && images_together(residual)) {
        merge_images(x);
        merge_images(y);
        merge_images(residual);
    }
    axis[0].in = axis[0].out = y->h;
    axis[1].in = axis[1].out = y->w;
}

/* Whether the pixels of a tile meet in one set of the first-level cache, for so many outputs that packing them
 * costs less: seven cycles a line of x, which takes a multiply-add an output. */
bool fc_crowds_cache(const struct fc_convolution *convolution, int64_t tile_pixels)
{
    const fc_image *x = &convolution->x;
    const int64_t pixels = fc_min(x->n * x->h * x->w, tile_pixels);
    const int64_t step = x->stride_w * (int64_t)fc_element_size(convolution->dtype);
    return step % WAY_BYTES == 0 && pixels > WAYS && convolution->kernel.c_out >= WORTH_PACKING;
}
