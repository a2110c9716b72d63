/* unpooled.h: the gradient of a result that was pooled, made row by row where it is read. */
#ifndef FC_UNPOOLED_H
#define FC_UNPOOLED_H

#include "geometry.h"
#include "pool2d_kernels.h"

/* The gradient of a convolution's result, whose channels lie together, as the way back of its pooling: `image` has its
 * sizes and strides, and no data. */
struct fc_unpooled {
    const struct fc_pool2d_kernels *kernels;
    ptrdiff_t element;
    fc_image dy, marks, image;
    int64_t stops; /* windows whose marks have these bits give nothing */
};

/* Some rows of image n, y->stride_h apart, to memory for so many and one more at either end; *y becomes an image that
 * has them there. */
void fc_unpool_rows(const struct fc_unpooled *unpooled, int64_t n, int64_t row, int64_t rows,
                    char *to, fc_image *y);
size_t fc_unpooled_bytes(const struct fc_unpooled *unpooled, int64_t rows);

#endif
