/* zero_image.c: an image of any strides filled with zeros, in as few pieces as its strides allow. */
#include "zero_image.h"

#include <string.h>

#include "dispatch.h"
#include "parallel.h"

/* Pixels that are one row. */
static void zero_run(const fc_image *image, int64_t element, char *to, int64_t pixels)
{
    const bool packed = fc_pixels_together(image);
    if (packed || (image->stride_w == 1 && image->stride_c == pixels)) {
        memset(to, 0, (size_t)(pixels * image->c * element));
    } else if (image->stride_w == 1) {
        for (int64_t c = 0; c < image->c; c++)
            memset(to + c * image->stride_c * element, 0, (size_t)(pixels * element));
    } else if (image->stride_c == 1) {
        for (int64_t w = 0; w < pixels; w++)
            memset(to + w * image->stride_w * element, 0, (size_t)(image->c * element));
    } else {
        for (int64_t c = 0; c < image->c; c++)
            for (int64_t w = 0; w < pixels; w++)
                memset(to + (c * image->stride_c + w * image->stride_w) * element, 0,
                       (size_t)element);
    }
}

/* Rows that follow each other are one. */
void fc_zero_rows(const fc_image *image, int64_t element, int64_t n, int64_t row, int64_t end)
{
    const bool together = fc_rows_together(image, image->w);
    const int64_t step = together ? end - row : 1;
    for (; row < end; row += step)
        zero_run(image, element, fc_image_at(image, element, n, row, 0, 0), step * image->w);
}

struct zeros {
    const fc_image *image;
    int64_t element;
};

static void zero_row(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct zeros *zeros = context;
    const int64_t h = zeros->image->h, row = item % h;
    fc_zero_rows(zeros->image, zeros->element, item / h, row, row + 1);
}

void fc_zero_image(const fc_image *image, fc_dtype dtype)
{
    struct zeros zeros = {image, (int64_t)fc_element_size(dtype)};
    const double work =
        FC_WORK_PER_ELEMENT * (double)(image->n * image->h * image->w) * (double)image->c;
    fc_parallel_for(image->n * image->h, fc_parallel_width(image->n * image->h, work),
                    FC_KEEP_DENORMALS, zero_row, &zeros);
}
