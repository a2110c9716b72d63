/* convolve_ahead.c: the memory that a convolution reads next, as runs of cache lines. */
#include "convolve_ahead.h"

#include "workspace.h"

static void next_run(struct fc_ahead *ahead)
{
    ahead->line = 0;
    for (int i = 0; i < 3; i++) {
        if (--ahead->axis[i].left > 0) {
            ahead->run += ahead->axis[i].step;
            return;
        }
        ahead->axis[i].left = ahead->axis[i].count;
        ahead->run -= (ahead->axis[i].count - 1) * ahead->axis[i].step;
    }
    ahead->each = 0;
}

void fc_ahead_take(struct fc_ahead *ahead, int64_t runs, struct fc_fetch *fetch)
{
    const int64_t lines = fc_min(ahead->each, ahead->lines - ahead->line);
    fetch->at = ahead->run + ahead->line * ahead->step;
    fetch->step = ahead->step;
    fetch->lines = fc_ceil_div(lines, fc_max(runs, 1));
    ahead->line += fetch->lines * runs;
    if (ahead->line >= ahead->lines)
        next_run(ahead);
}

static void set_axis(struct fc_ahead *ahead, int i, int64_t count, ptrdiff_t step)
{
    ahead->axis[i].left = ahead->axis[i].count = count;
    ahead->axis[i].step = step;
}

static void share(struct fc_ahead *ahead, int64_t lines, ptrdiff_t step, int64_t tiles)
{
    const int64_t runs = ahead->axis[0].count * ahead->axis[1].count * ahead->axis[2].count;
    ahead->step = step;
    ahead->line = 0;
    ahead->lines = lines;
    ahead->each = fc_ceil_div(runs * lines, fc_max(tiles, 1));
}

struct fc_ahead fc_ahead_run(const char *run, int64_t bytes, int64_t tiles)
{
    struct fc_ahead ahead = {.run = run};
    for (int i = 0; i < 3; i++)
        set_axis(&ahead, i, 1, 0);
    share(&ahead, fc_ceil_div(bytes, FC_CACHE_LINE), FC_CACHE_LINE, tiles);
    return ahead;
}

struct fc_ahead fc_ahead_patch(const fc_image *x, ptrdiff_t element, const struct fc_patch *patch,
                               int64_t n, int64_t images, int64_t c, int64_t count, int64_t tiles)
{
    const int64_t top = fc_min(fc_max(-patch->x_row, 0), patch->x_rows * patch->x_row_gap);
    const int64_t first = fc_ceil_div(top, patch->x_row_gap);
    const int64_t row = patch->x_row + first * patch->x_row_gap;
    const int64_t rows = fc_min(patch->x_rows - first, fc_ceil_div(x->h - row, patch->x_row_gap));
    const int64_t column = fc_max(patch->x_column, 0);
    const int64_t columns = fc_min(patch->x_column + patch->x_columns, x->w) - column;
    if (rows <= 0 || columns <= 0 || count <= 0)
        return fc_ahead_none();
    struct fc_ahead ahead = {.run = fc_image_at(x, element, n, row, column, c)};
    const ptrdiff_t step = patch->x_row_gap * x->stride_h * element;
    set_axis(&ahead, 2, images, x->stride_n * element);
    if (x->stride_c == 1 && x->stride_w == count) {
        set_axis(&ahead, 0, 1, 0);
        set_axis(&ahead, 1, rows, step);
        share(&ahead, fc_ceil_div(columns * count * element, FC_CACHE_LINE), FC_CACHE_LINE, tiles);
    } else if (x->stride_c == 1) {
        set_axis(&ahead, 0, fc_ceil_div(count * element, FC_CACHE_LINE), FC_CACHE_LINE);
        set_axis(&ahead, 1, rows, step);
        share(&ahead, columns, x->stride_w * element, tiles);
    } else if (x->stride_w == 1) {
        set_axis(&ahead, 0, rows, step);
        set_axis(&ahead, 1, count, x->stride_c * element);
        share(&ahead, fc_ceil_div(columns * element, FC_CACHE_LINE), FC_CACHE_LINE, tiles);
    }
    return ahead;
}
