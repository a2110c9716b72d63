/* winograd_ahead.c: what blocks read and write next, asked for between the products of the one before. */
#include "winograd_ahead.h"

#include "dispatch.h"
#include "workspace.h"

static bool is_y(const struct fc_winograd_ahead *ahead)
{
    return ahead->image == &ahead->source->convolution->y;
}

/* The first pixel of the image under tiles [tile, stop) of a direction, and how many there are. */
static int64_t find_pixels(const struct fc_winograd_ahead *ahead, int axis, int64_t tile,
                           int64_t stop, int64_t *count)
{
    const struct fc_winograd_source *source = ahead->source;
    const int64_t step = source->step[axis], size = axis == 0 ? ahead->image->h : ahead->image->w;
    const int64_t before = is_y(ahead) ? 0 : ahead->source->convolution->axis[axis].before;
    const int64_t beyond = is_y(ahead) ? 0 : source->size[axis] - step;
    const int64_t first = fc_max(tile * step - before, 0);
    *count = fc_max(fc_min(stop * step + beyond - before, size) - first, 0);
    return first;
}

/* Whether all channels of pixels are asked for, which follow each other: a run is a line. */
static bool is_row(const struct fc_winograd_ahead *ahead)
{
    return ahead->image->stride_c == 1 && ahead->image->stride_w == ahead->count;
}

static int64_t lines_of(const struct fc_winograd_ahead *ahead, int64_t count)
{
    return fc_ceil_div(count * (int64_t)ahead->source->padded.element, FC_CACHE_LINE);
}

/* The next image of the block. Where channels lie together a run is a pixel or a line, else a channel. */
static void next_image(struct fc_winograd_ahead *ahead)
{
    const struct fc_winograd_block *block = &ahead->block;
    const fc_image *image = ahead->image;
    const ptrdiff_t element = (ptrdiff_t)ahead->source->padded.element;
    const int64_t all = ahead->source->cut->tile_rows;
    const int64_t line = block->line - ahead->n * all, stop = fc_min(line + block->lines, all);
    int64_t rows, columns;
    const int64_t row = find_pixels(ahead, 0, fc_max(line, 0), stop, &rows);
    const int64_t column =
        find_pixels(ahead, 1, block->column, block->column + block->columns, &columns);
    ahead->at =
        (const char *)image->data + (ahead->n * image->stride_n + row * image->stride_h +
                                     column * image->stride_w + ahead->c * image->stride_c) *
                                        element;
    if (image->stride_h == columns * image->stride_w) {
        columns *= rows;
        rows = 1;
    }
    const bool together = image->stride_c == 1, row_of_lines = is_row(ahead);
    ahead->wide = row_of_lines ? lines_of(ahead, columns * ahead->count)
                  : together   ? columns
                               : ahead->count;
    ahead->lines = row_of_lines ? 1 : lines_of(ahead, together ? ahead->count : columns);
    ahead->across =
        row_of_lines ? FC_CACHE_LINE : (together ? image->stride_w : image->stride_c) * element;
    ahead->down = image->stride_h * element - ahead->wide * ahead->across;
    ahead->left = columns > 0 ? rows * ahead->wide : 0;
    ahead->column = 0;
    ahead->n++;
}

struct fc_winograd_ahead fc_winograd_ahead_of(const struct fc_winograd_source *source,
                                              const struct fc_winograd_block *block, bool of_y,
                                              int64_t c, int64_t count, int64_t steps)
{
    const struct fc_convolution *convolution = source->convolution;
    struct fc_winograd_ahead ahead = {
        .source = source,
        .image = of_y ? &convolution->y : &convolution->x,
        .block = *block,
        .n = block->line / source->cut->tile_rows,
        .c = c,
        .count = count,
    };
    int64_t columns;
    find_pixels(&ahead, 1, block->column, block->column + block->columns, &columns);
    const bool together = ahead.image->stride_c == 1;
    const int64_t rows = block->lines * source->step[0];
    if (count > 0 && (together || ahead.image->stride_w == 1))
        ahead.each = fc_ceil_div(rows * (is_row(&ahead) ? lines_of(&ahead, columns * count)
                                         : together     ? columns
                                                        : count),
                                 steps);
    return ahead;
}

static void ask(const char *at, bool write)
{
    if (write)
        __builtin_prefetch(at, 1, 2);
    else
        __builtin_prefetch(at, 0, 2);
}

void fc_winograd_ahead_step(struct fc_winograd_ahead *ahead)
{
    const bool write = ahead->each > 0 && is_y(ahead);
    for (int64_t todo = ahead->each; todo > 0;) {
        if (ahead->left == 0 &&
            ahead->n * ahead->source->cut->tile_rows < ahead->block.line + ahead->block.lines)
            next_image(ahead);
        if (ahead->left == 0) {
            ahead->each = 0;
            return;
        }
        const int64_t runs = fc_min(todo, ahead->wide - ahead->column);
        for (int64_t i = 0; i < runs; i++, ahead->at += ahead->across)
            for (int64_t line = 0; line < ahead->lines; line++)
                ask(ahead->at + line * FC_CACHE_LINE, write);
        todo -= runs;
        ahead->left -= runs;
        ahead->column += runs;
        if (ahead->column == ahead->wide) {
            ahead->column = 0;
            ahead->at += ahead->down;
        }
    }
}
