/* pool2d_window.c: windows of few taps as tables, which a kernel of their own walks. */
#include "pool2d_pass.h"

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

/* A table takes as long as three vectors of 3 x 3 windows: of 14 x 14 x 480 in channels first a sixth of
 * the time, before they were kept. */
bool fc_pool2d_window_of(const struct fc_pool2d_tile *tile, struct fc_pool2d_table *table)
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
    window->ahead.lines = 0;
    return true;
}
