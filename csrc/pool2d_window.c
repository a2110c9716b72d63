/* pool2d_window.c: windows of few taps as tables, which a kernel of their own walks, and those of many. */
#include "pool2d_pass.h"
#include "workspace.h"

/* Of what the cache does not hold, where channels come a block of lanes at a time: no prefetcher follows that in two
 * or three rows. On Zen 4 8x112x112x64 with 3x3 by strides of 2 takes 1.09 ms, not 1.50, 8x56x56x256 0.94 and not 2.4;
 * 12 MB gain 4 %, and 6 MB would lose 7. */
enum { LEAST_FETCHED_ROWS = 8 << 20 };

struct fc_lines_ahead fc_pool2d_rows_ahead(const struct fc_pool2d_pass *pass,
                                           const struct fc_pool2d_block *block, int64_t row,
                                           int64_t columns)
{
    const fc_image *image = &pass->x;
    const int64_t element = (int64_t)fc_element_size(pass->dtype);
    const bool together = fc_pixels_together(image) && fc_rows_together(image, image->w);
    const bool whole = columns > 1 && block->column == 0 && block->channels == image->c;
    if (!pass->wide || pass->adjoint || !pass->direct_x || pass->axis[0].step > 1 || !together ||
        !whole || image->n * image->h * image->stride_h * element < LEAST_FETCHED_ROWS)
        return (struct fc_lines_ahead){0};
    const int64_t bytes = pass->axis[0].axis.stride * image->stride_h * element;
    const int64_t steps =
        columns *
        fc_ceil_div(image->c * element, FC_POOL2D_VECTORS * pass->kernels->depthwise.vector_bytes);
    return (struct fc_lines_ahead){fc_image_at(image, (size_t)element, block->image, row, 0, 0),
                                   fc_ceil_div(bytes, FC_CACHE_LINE * steps)};
}

static void set_table(const struct fc_pool2d_tile *tile, struct fc_pool2d_table *table)
{
    struct fc_pool2d_window *window = &table->window;
    table->phase = tile->phase;
    window->rows = tile->rows;
    window->taps = tile->taps;
    ptrdiff_t at = 0;
    int64_t phase = tile->phase;
    for (int64_t j = 0; j < tile->taps; j++) {
        for (int64_t i = 0; i < tile->rows; i++) {
            const int64_t tap = i * tile->taps + j;
            window->offset[tap] = i * tile->x_row + at;
            window->number[tap] = tile->number + i * tile->number_row + j * tile->number_tap;
        }
        at += tile->x_tap;
        phase += tile->phase_step;
        if (phase >= tile->phases) {
            phase -= tile->phases;
            at += tile->x_wrap;
        }
    }
}

/* False where there are none, or many taps. A table takes as long as three vectors of 3 x 3 windows: of 14 x 14 x 480
 * in channels first a sixth of the time, before they were kept. */
static bool set_window(const struct fc_pool2d_tile *tile, struct fc_pool2d_table *table)
{
    struct fc_pool2d_window *window = &table->window;
    if (tile->rows == 0 || tile->taps <= 1 || tile->rows > FC_POOL2D_TAPS / tile->taps)
        return false;
    if (window->rows != tile->rows || window->taps != tile->taps || table->phase != tile->phase ||
        window->number[0] != tile->number)
        set_table(tile, table);
    window->x = tile->x;
    window->first = NULL;
    window->y = tile->y;
    window->numbers = tile->numbers;
    window->columns = tile->columns;
    window->lanes = tile->lanes;
    window->x_column = tile->x_column;
    window->y_column = tile->y_column;
    window->number_column = tile->number_column;
    window->divisor = tile->divisor;
    window->ahead = tile->ahead;
    return true;
}

/* Where pixels lie 2 KB or more apart, a row of the windows at a time: a block of lanes else walks through as many
 * pages as a window has pixels, for a few lines of each. On Zen 4 60x60x512 of float64 with 10x10 by strides of 10
 * takes 0.223 ms, not 0.346; of pixels of 1 KB it took 5 % longer. Numbers are written by whole vectors, beyond a
 * column's, and so are left to one call. */
static void run_rows(const struct fc_pool2d_pass *pass, const struct fc_pool2d_tile *given)
{
    enum { APART = 2048 };
    const ptrdiff_t size = (ptrdiff_t)fc_element_size(pass->dtype);
    struct fc_pool2d_tile tile = *given;
    const bool apart = pass->wide && !tile.numbers && tile.x_tap * size >= APART;
    for (int64_t i = 1; apart && i < given->rows; i++) {
        tile.rows = 1;
        tile.divisor = 1;
        pass->kernels->pool2d.pool[pass->pooling](&tile);
        tile.x = (const char *)tile.x + tile.x_row * size;
        tile.resume = true;
    }
    tile.divisor = given->divisor;
    pass->kernels->pool2d.pool[pass->pooling](&tile);
}

void fc_pool2d_run_tile(const struct fc_pool2d_pass *pass, const struct fc_pool2d_tile *tile,
                        struct fc_pool2d_table *table)
{
    if (!set_window(tile, table)) {
        run_rows(pass, tile);
        return;
    }
    if (pass->tap_numbers)
        table->window.y = NULL;
    pass->kernels->pool2d.window[pass->pooling](&table->window);
}
