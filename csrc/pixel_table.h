/* pixel_table.h: the pixels that rows of outputs read, as a table of pointers. */
#ifndef FC_PIXEL_TABLE_H
#define FC_PIXEL_TABLE_H

#include "convolve.h"

/* A ring of rows of x. An entry points to channel 0 of a pixel, or of one of padding: so borders,
 * strides and dilation cost nothing where it counts, and a next row of outputs takes over the rows
 * that it shares. */
struct fc_pixel_table {
    const struct fc_convolution *convolution;
    int64_t rows, columns;     /* of the ring: fc_pixel_table_bytes asks for no more */
    const void *padding;       /* c elements of the padding's value */
    const void **entries;      /* [slot][column] */
    int64_t *held;             /* the row of x in each slot */
    const void *const **pixel; /* what is handed to kernels: the entries of row r of a strip */
};

size_t fc_pixel_table_bytes(int64_t rows, int64_t columns);

/* A table in scratch memory that holds no row yet. */
struct fc_pixel_table fc_pixel_table_in(void *scratch, const struct fc_convolution *convolution,
                                        const void *padding, int64_t rows, int64_t columns);

/* Aims pixel[i * stride + a * dilation] at x for output row `row` + i and tap a of image n, entry 0 at
 * column `column` of x; every call for one table has the same column and count. */
void fc_pixel_table_aim(const struct fc_pixel_table *table, int64_t n, int64_t row, int64_t outputs,
                        int64_t column, int64_t count);

/* c elements of a padding pixel. */
void fc_fill_padding_pixel(const struct fc_convolution *convolution, void *padding);

#endif
