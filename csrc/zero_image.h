/* zero_image.h: an image of any strides filled with zeros. */
#ifndef FC_ZERO_IMAGE_H
#define FC_ZERO_IMAGE_H

#include "geometry.h"

/* On as many threads as it is worth; what lies between its pixels is left alone. */
void fc_zero_image(const fc_image *image, fc_dtype dtype);

/* Rows [row, end) of image n, on this thread. */
void fc_zero_rows(const fc_image *image, int64_t element, int64_t n, int64_t row, int64_t end);

#endif
