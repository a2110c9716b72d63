/* unpooled.c: rows of the gradient of a result that was pooled, from the marks of its maxima. */
#include "unpooled.h"

#include <string.h>

#include "workspace.h"

/* At either end a row more, of a pair whose other row is asked for. */
size_t fc_unpooled_bytes(const struct fc_unpooled *unpooled, int64_t rows)
{
    return fc_round_to_line((size_t)((rows + 2) * unpooled->image.stride_h * unpooled->element));
}

void fc_unpool_rows(const struct fc_unpooled *unpooled, int64_t n, int64_t row, int64_t rows,
                    char *to, fc_image *y)
{
    const fc_image *dy = &unpooled->dy, *marks = &unpooled->marks;
    const ptrdiff_t element = unpooled->element, step = y->stride_h * element;
    const int64_t line = row / 2, end = (row + rows + 1) / 2;
    const int64_t lines = fc_max(fc_min(end, dy->h) - line, 0);
    unpooled->kernels->quads_dx[FC_MAX](&(struct fc_pool2d_quads){
        .dy = fc_image_at(dy, element, n, line, 0, 0),
        .mark = fc_image_at(marks, element, n, line, 0, 0),
        .stops = unpooled->stops,
        .dx = to,
        .lines = lines,
        .columns = dy->w,
        .lanes = dy->c,
        .width = y->w,
        .rows = dy->h,
        .dx_row = y->stride_h,
        .dx_pixel = y->stride_w,
        .y_row = dy->stride_h,
        .y_pixel = dy->stride_w,
        .index_row = marks->stride_h,
        .index_pixel = marks->stride_w,
    });
    const int64_t windows = 2 * dy->w * y->stride_w * element, all = y->w * y->stride_w * element;
    for (int64_t r = 0; windows < all && r < 2 * lines; r++)
        memset(to + r * step + windows, 0, (size_t)(all - windows));
    for (int64_t r = 2 * lines; r < fc_min(2 * end, y->h) - 2 * line; r++)
        memset(to + r * step, 0, (size_t)all);
    y->data = to - 2 * line * step;
    y->stride_n = 0;
}
