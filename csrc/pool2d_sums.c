/* pool2d_sums.c: sums of gradients in scratch. */
#include "pool2d_sums.h"

enum { MOST = 512 * 1024, MANY_PIXELS = 4 /* of a window */ };

/* Whether pixels lie a power of two apart that is more than what so many channels have of each. */
static bool crowds(const fc_image *dx, int64_t bytes, int64_t size)
{
    const int64_t apart = dx->stride_w * size;
    return (apart & -apart) > bytes;
}

ptrdiff_t fc_pool2d_sum_pixel(const struct fc_pool2d_pass *pass, const fc_image *dx,
                              int64_t channels)
{
    const int64_t unit = fc_unit(pass->dtype), size = (int64_t)fc_element_size(pass->dtype);
    const ptrdiff_t pixel = (fc_ceil_div(channels, 2 * unit) * 2 + 1) * unit;
    const int64_t most = MOST / (pixel * size);
    const int64_t windows = pass->axis[0].axis.out * pass->axis[1].axis.out;
    const bool many = dx->w > 0 && dx->h <= most / dx->w && dx->h * dx->w <= MANY_PIXELS * windows;
    return many && channels >= unit && dx->stride_c == 1 && crowds(dx, channels * size, size)
               ? pixel
               : 0;
}

fc_image fc_pool2d_sums(const fc_image *dx, ptrdiff_t pixel, void *scratch)
{
    fc_image sums = *dx;
    sums.data = scratch;
    sums.stride_c = 1;
    sums.stride_w = pixel;
    sums.stride_h = dx->w * pixel;
    return sums;
}
