/* pixel_table.c: the ring of rows behind fc_pixel_table. */
#include "pixel_table.h"

#include "dispatch.h"
#include "floating_point.h"
#include "pack_rows.h"
#include "workspace.h"

size_t fc_pixel_table_bytes(int64_t rows, int64_t columns)
{
    return fc_round_to_line((size_t)(rows * columns) * sizeof(void *) +
                            (size_t)rows * (sizeof(void *) + sizeof(int64_t)));
}

struct fc_pixel_table fc_pixel_table_in(void *scratch, const struct fc_convolution *convolution,
                                        const void *padding, int64_t rows, int64_t columns)
{
    struct fc_pixel_table table = {.convolution = convolution,
                                   .rows = rows,
                                   .columns = columns,
                                   .padding = padding,
                                   .entries = scratch};
    table.pixel = (const void *const **)(void *)(table.entries + rows * columns);
    table.held = (int64_t *)(void *)(table.pixel + rows);
    for (int64_t slot = 0; slot < rows; slot++)
        table.held[slot] = INT64_MIN;
    return table;
}

/* Pixel (h, w) of an image of x, or padding where a coordinate is below 0. */
static const void *pixel_at(const struct fc_pixel_table *table, int64_t n, int64_t h, int64_t w)
{
    const fc_image *x = &table->convolution->x;
    if (h < 0 || w < 0)
        return table->padding;
    return fc_image_at(x, (ptrdiff_t)fc_element_size(table->convolution->dtype), n, h, w, 0);
}

/* The entries of row v of x, from column `column` on. */
static void fill_row(const struct fc_pixel_table *table, int64_t n, int64_t v, int64_t column,
                     int64_t count, const void **to)
{
    const struct fc_convolution *convolution = table->convolution;
    const fc_padding_mode mode = convolution->padding_mode;
    const fc_image *x = &convolution->x;
    const int64_t h = fc_padding_source(mode, v, x->h);
    const int64_t inside = fc_min(fc_max(-column, 0), count);
    const int64_t beyond = fc_max(fc_min(x->w - column, count), inside);
    const ptrdiff_t step = x->stride_w * (ptrdiff_t)fc_element_size(convolution->dtype);
    for (int64_t q = 0; q < inside; q++)
        to[q] = pixel_at(table, n, h, fc_padding_source(mode, column + q, x->w));
    if (inside < beyond) {
        const char *first = pixel_at(table, n, h, column + inside);
        for (int64_t q = inside; q < beyond; q++, first += h < 0 ? 0 : step)
            to[q] = first;
    }
    for (int64_t q = beyond; q < count; q++)
        to[q] = pixel_at(table, n, h, fc_padding_source(mode, column + q, x->w));
}

void fc_pixel_table_aim(const struct fc_pixel_table *table, int64_t n, int64_t row, int64_t outputs,
                        int64_t column, int64_t count)
{
    const struct fc_axis *axis = &table->convolution->axis[0];
    for (int64_t i = 0; i < outputs; i++)
        for (int64_t a = 0; a < axis->taps; a++) {
            const int64_t r = i * axis->stride + a * axis->dilation;
            const int64_t v = row * axis->stride - axis->before + r;
            const int64_t slot = (v % table->rows + table->rows) % table->rows;
            const void **entries = table->entries + slot * table->columns;
            if (table->held[slot] != v)
                fill_row(table, n, v, column, count, entries);
            table->held[slot] = v;
            table->pixel[r] = entries;
        }
}

void fc_fill_padding_pixel(const struct fc_convolution *convolution, void *padding)
{
    const fc_float_state before = fc_float_enter(false); /* rounding to float32 */
    for (int64_t c = 0; c < convolution->x.c; c++)
        if (convolution->dtype == FC_FLOAT32)
            ((float *)padding)[c] = (float)convolution->padding_value;
        else
            ((double *)padding)[c] = convolution->padding_value;
    fc_float_leave(before);
}
