/* winograd_ahead.c: what blocks read and write next, asked for between the products of the one before. */
#include "winograd_ahead.h"

#include "workspace.h"

/* The first pixel of the image under tiles [tile, stop) of a direction, and how many there are. */
static int64_t find_pixels(const struct fc_winograd_ahead *ahead, int axis, int64_t tile,
                           int64_t stop, int64_t *count)
{
    const int64_t step = ahead->step[axis], before = ahead->before[axis];
    const int64_t size = axis == 0 ? ahead->image.h : ahead->image.w;
    const int64_t first = fc_max(tile * step - before, 0);
    *count = fc_max(fc_min(stop * step + ahead->beyond[axis] - before, size) - first, 0);
    return first;
}

/* Whether all channels of pixels are asked for, which follow each other: a run is a line. */
static bool is_row(const struct fc_winograd_ahead *ahead)
{
    return ahead->image.stride_c == 1 && ahead->image.stride_w == ahead->count;
}

static int64_t lines_of(const struct fc_winograd_ahead *ahead, int64_t count)
{
    return fc_ceil_div(count * ahead->element, FC_CACHE_LINE);
}

/* The next image of the block. Where channels lie together a run is a pixel or a line, else a channel. */
static void next_image(struct fc_winograd_ahead *ahead)
{
    const struct fc_winograd_block *block = &ahead->block;
    const fc_image *image = &ahead->image;
    const ptrdiff_t element = ahead->element;
    const int64_t all = ahead->tile_rows;
    const int64_t line = block->line - ahead->n * all, stop = fc_min(line + block->lines, all);
    int64_t rows, columns;
    const int64_t row = find_pixels(ahead, 0, fc_max(line, 0), stop, &rows);
    const int64_t column =
        find_pixels(ahead, 1, block->column, block->column + block->columns, &columns);
    ahead->at = fc_image_at(image, element, ahead->n, row, column, ahead->c);
    if (fc_rows_together(image, columns)) {
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
        .of_y = of_y,
        .image = convolution->y,
        .tile_rows = source->cut->tile_rows,
        .element = (int64_t)source->padded.element,
        .block = *block,
        .n = block->line / source->cut->tile_rows,
        .c = c,
        .count = count,
    };
    if (!of_y) {
        const struct fc_convolution first = fc_winograd_image(convolution, 0, (int64_t[2]){0, 0});
        ahead.image = fc_winograd_x_under(&first, &source->piece, ahead.before);
    }
    for (int a = 0; a < 2; a++) {
        ahead.step[a] = source->step[a];
        ahead.beyond[a] = of_y ? 0 : source->size[a] - source->step[a];
    }
    int64_t columns;
    find_pixels(&ahead, 1, block->column, block->column + block->columns, &columns);
    const bool together = ahead.image.stride_c == 1;
    const int64_t rows = block->lines * source->step[0];
    if (count > 0 && (together || ahead.image.stride_w == 1))
        ahead.each = fc_ceil_div(rows * (is_row(&ahead) ? lines_of(&ahead, columns * count)
                                         : together     ? columns
                                                        : count),
                                 steps);
    return ahead;
}

/* A row of taps is an image: its taps are the rows, and the channels of x the columns. */
struct fc_winograd_ahead fc_winograd_ahead_of_kernel(const struct fc_winograd_kernel *kernel,
                                                     int64_t group, int64_t p, int64_t chunk,
                                                     int64_t steps)
{
    const struct fc_kernel_view *view = kernel->panels.kernel;
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_form *form = &kernel->form;
    const struct fc_winograd_chunk of = fc_winograd_chunk_at(channels->c_in, chunk);
    const struct fc_winograd_piece piece = fc_winograd_piece_at(form, of.piece);
    const int64_t first = piece.first[0] * view->stride_kh + piece.first[1] * view->stride_kw +
                          group * view->stride_group + of.c * view->stride_c_in;
    if (view->stride_c_out != 1 || channels->lanes)
        return (struct fc_winograd_ahead){0};
    return (struct fc_winograd_ahead){
        .image = {.data = (char *)view->data + first * kernel->panels.element,
                  .h = piece.taps[1],
                  .w = of.channels,
                  .stride_n = view->stride_kh * form->stride,
                  .stride_h = view->stride_kw * form->stride,
                  .stride_w = view->stride_c_in,
                  .stride_c = 1},
        .step = {1, 1},
        .tile_rows = piece.taps[1],
        .element = kernel->panels.element,
        .block = {.lines = piece.taps[0] * piece.taps[1], .columns = of.channels},
        .c = p * channels->panel,
        .count = fc_panel_outputs(channels, p),
        .each = fc_ceil_div(piece.taps[0] * piece.taps[1] * of.channels, steps),
    };
}

static void ask(const char *at, bool write)
{
    if (write)
        __builtin_prefetch(at, 1, 2);
    else
        __builtin_prefetch(at, 0, 2);
}

void fc_winograd_ahead_ask(struct fc_winograd_ahead *ahead)
{
    const bool write = ahead->of_y;
    for (int64_t todo = ahead->each; todo > 0;) {
        if (ahead->left == 0 &&
            ahead->n * ahead->tile_rows < ahead->block.line + ahead->block.lines)
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
