/* transpose_channels.c: rows of pixels to scratch and back, those without gaps as one, which squares of a vector's
 * pixels fill better. */
#include "transpose_channels.h"

#include "stream.h"

fc_image fc_packed_image(void *data, const fc_image *like, int64_t channels)
{
    return (fc_image){.data = data,
                      .n = 1,
                      .h = like->h,
                      .w = like->w,
                      .c = channels,
                      .stride_n = like->h * like->w * channels,
                      .stride_h = like->w * channels,
                      .stride_w = channels,
                      .stride_c = 1};
}

void fc_transpose_channels(const struct fc_kernels *kernels, ptrdiff_t element,
                           const fc_image *image, int64_t n, int64_t channel,
                           const fc_image *packed, bool pack, bool stream)
{
    const bool dense = fc_rows_together(image, image->w) && fc_rows_together(packed, image->w);
    const int64_t rows = dense ? 1 : image->h, pixels = dense ? image->h * image->w : image->w;
    for (int64_t row = 0; row < rows; row++) {
        char *plane = fc_image_at(image, element, n, row, 0, channel);
        char *block = (char *)packed->data + row * packed->stride_h * element;
        kernels->conv2d.copy_block(&(struct fc_block){
            .x = pack ? plane : block,
            .y = pack ? block : plane,
            .x_pixel = pack ? image->stride_w : packed->stride_w,
            .x_channel = pack ? image->stride_c : 1,
            .y_pixel = pack ? packed->stride_w : image->stride_w,
            .y_channel = pack ? 1 : image->stride_c,
            .pixels = pixels,
            .channels = packed->c,
            .stream = stream && packed->c * element % FC_CACHE_LINE == 0 &&
                      fc_whole_lines(plane, image->stride_c * element, pixels * element)});
    }
}
