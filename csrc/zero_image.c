/* zero_image.c: an image of any strides filled with zeros, in as few pieces as its strides allow. */
#include "zero_image.h"

#include <string.h>

#include "dispatch.h"
#include "parallel.h"

struct zeros {
    const fc_image *image;
    int64_t element;
};

static void zero_row(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct zeros *zeros = context;
    const fc_image *image = zeros->image;
    char *row =
        (char *)image->data +
        (item / image->h * image->stride_n + item % image->h * image->stride_h) * zeros->element;
    if (image->stride_c == 1 && image->stride_w == image->c) {
        memset(row, 0, (size_t)(image->w * image->c * zeros->element));
    } else if (image->stride_w == 1) {
        for (int64_t c = 0; c < image->c; c++)
            memset(row + c * image->stride_c * zeros->element, 0,
                   (size_t)(image->w * zeros->element));
    } else if (image->stride_c == 1) {
        for (int64_t w = 0; w < image->w; w++)
            memset(row + w * image->stride_w * zeros->element, 0,
                   (size_t)(image->c * zeros->element));
    } else {
        for (int64_t c = 0; c < image->c; c++)
            for (int64_t w = 0; w < image->w; w++)
                memset(row + (c * image->stride_c + w * image->stride_w) * zeros->element, 0,
                       (size_t)zeros->element);
    }
}

void fc_zero_image(const fc_image *image, fc_dtype dtype)
{
    struct zeros zeros = {image, (int64_t)fc_element_size(dtype)};
    const double work =
        FC_WORK_PER_ELEMENT * (double)(image->n * image->h * image->w) * (double)image->c;
    fc_parallel_for(image->n * image->h, fc_parallel_width(image->n * image->h, work),
                    FC_KEEP_DENORMALS, zero_row, &zeros);
}
