/* bad_rows.h: rows of outputs that have a sum that is not finite, to be computed again without Winograd. */
#ifndef FC_BAD_ROWS_H
#define FC_BAD_ROWS_H

#include "geometry.h"

/* Rows [row, end) of image n. */
struct fc_bad_rows {
    int64_t n, row, end;
};

/* The next rows that follow each other among those after `rows`, by a flag for each row of all images; false where none
 * is left. Together they are one call, which prepares its kernel once. */
static inline bool fc_next_bad_rows(const unsigned char *bad, int64_t images, int64_t h,
                                    struct fc_bad_rows *rows)
{
    int64_t i = rows->n * h + rows->end;
    while (i < images * h && !bad[i])
        i++;
    if (i == images * h)
        return false;
    *rows = (struct fc_bad_rows){i / h, i % h, i % h + 1};
    while (rows->end < h && bad[rows->n * h + rows->end])
        rows->end++;
    return true;
}

/* An image of these rows alone. */
static inline fc_image fc_image_of_rows(const fc_image *image, const struct fc_bad_rows *rows,
                                        ptrdiff_t element)
{
    fc_image some = *image;
    some.n = 1;
    some.h = rows->end - rows->row;
    if (some.data)
        some.data = fc_image_at(&some, element, rows->n, rows->row, 0, 0);
    return some;
}

#endif
