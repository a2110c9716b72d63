/* winograd_tiles.c: blocks of tiles, taken from images to positions and back.
 *
 * Where channels lie together, x is read where it is: the tiles within the image at fixed steps, those
 * at its edges through a table of their pixels, of which padding is one more. In other layouts a slab
 * of 16 channels of the rows under a block is packed first, padded: 24 loads and stores for a tile of
 * 36 vectors. */
#include "winograd_tiles.h"

#include "dispatch.h"

enum { MOST_PIXELS = 64 }; /* of a tile */

/* -------------------------------------------------------- image to positions */

struct fc_winograd_source fc_winograd_source_of(const struct fc_convolution *convolution,
                                                const struct fc_winograd_cut *cut, int form,
                                                bool of_dy)
{
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    const struct fc_winograd_form shape = fc_winograd_form_at(form);
    struct fc_winograd_source source = {
        .convolution = convolution,
        .cut = cut,
        .padded = fc_padded_x(convolution, &table->conv2d, false),
        .of_dy = of_dy,
        .transform = of_dy ? table->winograd.form[form].dy : table->winograd.form[form].input,
    };
    for (int a = 0; a < 2; a++) {
        source.step[a] = shape.outputs[a];
        source.size[a] = of_dy ? shape.outputs[a] : shape.points[a];
    }
    if (of_dy) {
        source.padded.mode = FC_CONSTANT;
        source.padded.value = 0;
    }
    return source;
}

/* The source as it is for image `index`. */
static struct fc_winograd_source of_image(const struct fc_winograd_source *source, int64_t index)
{
    struct fc_winograd_source one = *source;
    const struct fc_convolution image = fc_winograd_image(source->cut, source->convolution, index);
    one.padded.x = source->of_dy ? image.y : image.x;
    for (int a = 0; a < 2; a++)
        one.before[a] = source->of_dy ? 0 : image.axis[a].before;
    return one;
}

/* Pixels under `tiles` tiles. */
static int64_t pixels(const struct fc_winograd_source *source, int axis, int64_t tiles)
{
    return (tiles - 1) * source->step[axis] + source->size[axis];
}

size_t fc_winograd_spread_bytes(const struct fc_winograd_source *source, int64_t channels)
{
    const int64_t lines = fc_min(source->cut->lines, source->cut->tile_rows);
    /* The last packed pixel's channels are read in whole vectors; a pixel of padding has them all. */
    const int64_t packed =
        (pixels(source, 0, lines) * pixels(source, 1, source->cut->columns) + 1) * FC_SLAB;
    return (size_t)fc_max(packed, channels) * source->padded.element;
}

/* Tiles of one image in one block: lines [line, end), columns [column, stop), counted as the block's. */
struct tiles {
    const struct fc_winograd_block *block;
    int64_t line, end, column, stop;
};

/* Where their pixels are: elements from one to the next, of the first line's first tile on. */
struct pixels {
    const char *x;
    ptrdiff_t row, column;
};

/* Elements from v to tile t. */
static int64_t tile_offset(const struct fc_winograd_layout *layout, int64_t t)
{
    return t / layout->few * layout->v_few + t % layout->few * layout->v_tile;
}

/* All channels of columns [column, stop) of a line, all full or the short one, in pieces that lie
 * together in v. */
static void spread_piece(const struct fc_winograd_source *source, const struct tiles *tiles,
                         const struct pixels *from, int64_t line, int64_t column, int64_t stop,
                         int64_t channels, char *v)
{
    const struct fc_winograd_layout *layout = &source->layout;
    const struct fc_winograd_cut *cut = source->cut;
    const ptrdiff_t element = (ptrdiff_t)source->padded.element;
    while (column < stop) {
        const int64_t t = fc_winograd_tile_at(cut, tiles->block, line, column);
        const int64_t count = fc_min(layout->few - t % layout->few, stop - column);
        struct fc_winograd_spread spread = {
            .x = from->x + ((line - tiles->line) * source->step[0] * from->row +
                            (column - tiles->column) * source->step[1] * from->column) *
                               element,
            .y = v + tile_offset(layout, t) * element,
            .x_row = from->row,
            .x_column = from->column,
            .x_tile = source->step[1] * from->column,
            .y_position = layout->v_position,
            .y_tile = layout->v_tile,
            .y_slab = layout->v_slab,
            .tiles = count,
            .channels = channels,
        };
        fc_winograd_points_of(cut, tiles->block, line, column, spread.points);
        source->transform(&spread);
        column += count;
    }
}

static void spread_tiles(const struct fc_winograd_source *source, const struct tiles *tiles,
                         const struct pixels *from, int64_t channels, char *v)
{
    const int64_t full = fc_winograd_order_of(source->cut, tiles->block).columns;
    for (int64_t line = tiles->line; line < tiles->end; line++) {
        spread_piece(source, tiles, from, line, tiles->column, fc_min(tiles->stop, full), channels,
                     v);
        spread_piece(source, tiles, from, line, fc_max(tiles->column, full), tiles->stop, channels,
                     v);
    }
}

/* The first row or column under a tile, in the coordinates of the image. */
static int64_t row_of(const struct fc_winograd_source *source, int64_t line)
{
    return line % source->cut->tile_rows * source->step[0] - source->before[0];
}
static int64_t column_of(const struct fc_winograd_source *source, const struct tiles *tiles)
{
    return (tiles->block->column + tiles->column) * source->step[1] - source->before[1];
}

/* By way of scratch, slab by slab, padded. */
static void spread_packed(const struct fc_winograd_source *source, const struct tiles *tiles,
                          int64_t c, int64_t count, char *scratch, char *v)
{
    const struct fc_patch patch = {
        .x_row = row_of(source, tiles->line),
        .x_row_gap = 1,
        .x_rows = pixels(source, 0, tiles->end - tiles->line),
        .x_column = column_of(source, tiles),
        .x_columns = pixels(source, 1, tiles->stop - tiles->column),
    };
    for (int64_t done = 0; done < count; done += FC_SLAB) {
        const int64_t channels = fc_min(FC_SLAB, count - done);
        fc_pack_slabs(&source->padded, 0, &patch, FC_SLAB, c + done, channels, scratch);
        spread_tiles(source, tiles, &(struct pixels){scratch, patch.x_columns * channels, channels},
                     channels,
                     v + done / FC_SLAB * source->layout.v_slab *
                             (ptrdiff_t)source->padded.element);
    }
}

/* All channels at once, from where they lie in the image. */
static void spread_in_place(const struct fc_winograd_source *source, const struct tiles *tiles,
                            int64_t c, int64_t count, char *v)
{
    const fc_image *x = &source->padded.x;
    const char *from = (const char *)x->data + (row_of(source, tiles->line) * x->stride_h +
                                                column_of(source, tiles) * x->stride_w + c) *
                                                   (ptrdiff_t)source->padded.element;
    if (tiles->line < tiles->end)
        spread_tiles(source, tiles, &(struct pixels){from, x->stride_h, x->stride_w}, count, v);
}

/* Where a pixel's channels lie: in the image, or in `padding` if they are constant. */
static const char *pixel_of(const struct fc_winograd_source *source, const char *image, int64_t row,
                            int64_t column, const char *padding)
{
    const struct fc_padded *padded = &source->padded;
    const int64_t h = fc_padding_source(padded->mode, row, padded->x.h);
    const int64_t w = fc_padding_source(padded->mode, column, padded->x.w);
    if (h < 0 || w < 0)
        return padding;
    return image + (h * padded->x.stride_h + w * padded->x.stride_w) * (ptrdiff_t)padded->element;
}

/* All channels of tiles at the edges, through a table of where their pixels lie. */
static void spread_edge(const struct fc_winograd_source *source, const struct tiles *tiles,
                        int64_t c, int64_t count, const char *padding, char *v)
{
    const struct fc_winograd_layout *layout = &source->layout;
    const ptrdiff_t element = (ptrdiff_t)source->padded.element;
    const fc_image *x = &source->padded.x;
    const char *image = (const char *)x->data + c * element;
    const void *at[MOST_PIXELS];
    const struct fc_winograd_cut *cut = source->cut;
    for (int64_t line = tiles->line; line < tiles->end; line++)
        for (int64_t column = tiles->column; column < tiles->stop; column++) {
            int points[2];
            fc_winograd_points_of(cut, tiles->block, line, column, points);
            const int64_t rows = source->size[0] - (cut->points[0] - points[0]);
            const int64_t columns = source->size[1] - (cut->points[1] - points[1]);
            const int64_t t = fc_winograd_tile_at(cut, tiles->block, line, column);
            const int64_t w = column_of(source, tiles) + (column - tiles->column) * source->step[1];
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < columns; j++)
                    at[i * columns + j] =
                        pixel_of(source, image, row_of(source, line) + i, w + j, padding);
            source->transform(&(struct fc_winograd_spread){
                .at = at,
                .y = v + tile_offset(layout, t) * element,
                .y_position = layout->v_position,
                .y_slab = layout->v_slab,
                .tiles = 1,
                .channels = count,
                .points = {points[0], points[1]},
            });
        }
}

/* Those of [first, end) of tiles in one direction, of `tiles` tiles, that are full and whose pixels all
 * lie in an image of `size`. */
static void find_inner(const struct fc_winograd_source *source, int axis, int64_t size,
                       int64_t tiles, int64_t *first, int64_t *end)
{
    const bool short_last = source->cut->last[axis] < source->cut->points[axis];
    const int64_t step = source->step[axis], before = source->before[axis];
    const int64_t begin = fc_max(*first, fc_ceil_div(before, step));
    const int64_t last = fc_floor_div(size + before - source->size[axis], step);
    *end = fc_min(fc_max(begin, fc_min(last + 1, tiles - short_last)), *end);
    *first = fc_min(begin, *end);
}

/* Lines [line, end) of one image, whose channels lie together in whole slabs: the tiles within it where
 * they are, and those around them through tables. */
static void spread_lines(const struct fc_winograd_source *source, const struct tiles *tiles,
                         int64_t c, int64_t count, const char *padding, char *v)
{
    const fc_image *x = &source->padded.x;
    const struct fc_winograd_block *block = tiles->block;
    const int64_t image = tiles->line / source->cut->tile_rows * source->cut->tile_rows;
    struct tiles inner = {block, tiles->line - image, tiles->end - image, block->column,
                          block->column + block->columns};
    find_inner(source, 0, x->h, source->cut->tile_rows, &inner.line, &inner.end);
    find_inner(source, 1, x->w, source->cut->tile_columns, &inner.column, &inner.stop);
    inner.line += image;
    inner.end += image;
    inner.column -= block->column;
    inner.stop -= block->column;
    const struct tiles around[] = {
        {block, tiles->line, inner.line, 0, block->columns},
        {block, inner.end, tiles->end, 0, block->columns},
        {block, inner.line, inner.end, 0, inner.column},
        {block, inner.line, inner.end, inner.stop, block->columns},
    };
    for (int i = 0; i < 4; i++)
        spread_edge(source, &around[i], c, count, padding, v);
    if (inner.column < inner.stop)
        spread_in_place(source, &inner, c, count, v);
}

void fc_winograd_spread_block(const struct fc_winograd_source *source,
                              const struct fc_winograd_block *block, int64_t c, int64_t count,
                              void *scratch, void *v)
{
    const int64_t rows = source->cut->tile_rows, end = block->line + block->lines;
    const fc_image *x = source->of_dy ? &source->convolution->y : &source->convolution->x;
    const bool in_place = x->stride_c == 1 && count % FC_SLAB == 0;
    if (in_place)
        fc_fill_padding(&source->padded, scratch, count);
    for (int64_t line = block->line; line < end;) {
        const int64_t stop = fc_min((line / rows + 1) * rows, end);
        const struct fc_winograd_source one = of_image(source, line / rows);
        const struct tiles tiles = {block, line, stop, 0, block->columns};
        if (in_place)
            spread_lines(&one, &tiles, c, count, scratch, v);
        else
            spread_packed(&one, &tiles, c, count, scratch, v);
        line = stop;
    }
}

/* -------------------------------------------------------- positions to outputs */

/* Where a line of some outputs goes: rows and columns of an image. */
struct line {
    struct fc_convolution image;
    int64_t row, rows, column, columns, k, outputs;
};

static char *pixel_at(const struct fc_winograd_target *target, const fc_image *image,
                      const struct line *line, int64_t row)
{
    return (char *)image->data + ((line->row + row) * image->stride_h +
                                  line->column * image->stride_w + line->k * image->stride_c) *
                                     target->element;
}

static const char *bias_of(const struct fc_winograd_target *target, const struct line *line)
{
    const char *bias = target->convolution->bias;
    return bias ? bias + line->k * target->element : NULL;
}

/* Channels of y lie apart: the rows are finished on their way out of a strip. */
static void turn_rows(const struct fc_winograd_target *target, const struct line *line,
                      const char *strip)
{
    const struct fc_convolution *convolution = &line->image;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    for (int64_t i = 0; i < line->rows; i++)
        target->kernels->finish_block(&(struct fc_finish){
            .block = {.x = strip + i * line->columns * target->pitch * target->element,
                      .y = pixel_at(target, y, line, i),
                      .x_pixel = target->pitch,
                      .x_channel = 1,
                      .y_pixel = y->stride_w,
                      .y_channel = y->stride_c,
                      .pixels = line->columns,
                      .channels = line->outputs},
            .bias = bias_of(target, line),
            .residual = residual->data ? pixel_at(target, residual, line, i) : NULL,
            .residual_pixel = residual->stride_w,
            .residual_channel = residual->stride_c,
            .activation = convolution->activation,
        });
}

/* Straight to y. */
static void aim_at_y(const struct fc_winograd_target *target, const struct line *line,
                     struct fc_winograd_gather *gather)
{
    const struct fc_convolution *convolution = &line->image;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    gather->y = pixel_at(target, y, line, 0);
    gather->y_row = y->stride_h;
    gather->y_column = y->stride_w;
    gather->activation = convolution->activation;
    gather->bias = bias_of(target, line);
    if (!residual->data)
        return;
    gather->residual = pixel_at(target, residual, line, 0);
    gather->residual_row = residual->stride_h;
    gather->residual_column = residual->stride_w;
    gather->residual_tile = target->form.outputs[1] * residual->stride_w;
}

/* Columns [column, stop) of the line, all full or the short one. */
static bool gather_piece(const struct fc_winograd_target *target,
                         const struct fc_winograd_block *block, int64_t at, int64_t column,
                         int64_t stop, int64_t columns, const char *m,
                         const struct fc_winograd_gather *line)
{
    const struct fc_winograd_cut *cut = target->cut;
    if (column >= stop)
        return true;
    struct fc_winograd_gather piece = *line;
    piece.x = m + fc_winograd_tile_at(cut, block, at, column) * target->pitch * target->element;
    piece.y = (char *)line->y + column * line->y_tile * target->element;
    if (line->residual)
        piece.residual =
            (const char *)line->residual + column * line->residual_tile * target->element;
    piece.tiles = stop - column;
    piece.columns = columns - column * target->form.outputs[1];
    fc_winograd_points_of(cut, block, at, column, piece.points);
    return target->transforms->output(&piece);
}

bool fc_winograd_gather_line(const struct fc_winograd_target *target,
                             const struct fc_winograd_block *block, int64_t at, int64_t k,
                             int64_t outputs, const char *m, char *strip)
{
    struct line line = {
        .image = fc_winograd_image(target->cut, target->convolution, at / target->cut->tile_rows),
        .row = at % target->cut->tile_rows * target->form.outputs[0],
        .column = block->column * target->form.outputs[1],
        .k = k,
        .outputs = outputs,
    };
    const fc_image *y = &line.image.y, *residual = &line.image.residual;
    line.rows = fc_min(target->form.outputs[0], y->h - line.row);
    line.columns = fc_min(block->columns * target->form.outputs[1], y->w - line.column);
    struct fc_winograd_gather gather = {
        .x_position = target->m_position,
        .x_tile = target->pitch,
        .y = strip,
        .y_row = line.columns * target->pitch,
        .y_column = target->pitch,
        .channels = outputs,
        .rows = line.rows,
    };
    const bool straight = y->stride_c == 1 && (!residual->data || residual->stride_c == 1);
    if (straight)
        aim_at_y(target, &line, &gather);
    gather.y_tile = target->form.outputs[1] * gather.y_column;
    const int64_t full = fc_winograd_order_of(target->cut, block).columns;
    bool finite = gather_piece(target, block, at, 0, full, line.columns, m, &gather);
    finite &= gather_piece(target, block, at, full, block->columns, line.columns, m, &gather);
    if (!straight)
        turn_rows(target, &line, strip);
    return finite;
}
