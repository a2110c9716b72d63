/* winograd_gather.c: blocks of tiles, taken from positions to outputs. */
#include "winograd_tiles.h"

#include "dispatch.h"

/* Where the outputs of a row of tiles of one phase go: rows and columns of its image. */
struct line {
    fc_image y, residual;
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
    const fc_image *y = &line->y, *residual = &line->residual;
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
            .activation = target->convolution->activation,
        });
}

/* Straight to y. */
static void aim_at_y(const struct fc_winograd_target *target, const struct line *line,
                     struct fc_winograd_gather *gather)
{
    const fc_image *y = &line->y, *residual = &line->residual;
    gather->y = pixel_at(target, y, line, 0);
    gather->y_row = y->stride_h;
    gather->y_column = y->stride_w;
    gather->activation = target->convolution->activation;
    gather->bias = bias_of(target, line);
    if (!residual->data)
        return;
    gather->residual = pixel_at(target, residual, line, 0);
    gather->residual_row = residual->stride_h;
    gather->residual_column = residual->stride_w;
    gather->residual_tile = target->form.outputs[1] * residual->stride_w;
}

/* Columns [column, stop) of the row, all full or all short, `columns` outputs from its first on. */
static bool gather_piece(const struct fc_winograd_target *target,
                         const struct fc_winograd_tiles *tiles, int64_t column, int64_t stop,
                         int64_t columns, const char *m, const struct fc_winograd_gather *line)
{
    const struct fc_winograd_cut *cut = target->cut;
    const int64_t at = fc_winograd_line_of(cut, tiles, tiles->row);
    bool finite = true;
    while (column < stop) {
        struct fc_winograd_gather piece = *line;
        const int64_t before = column - tiles->column,
                      place = fc_winograd_place_of(cut, tiles, column);
        const int64_t t = fc_winograd_tile_at(cut, tiles->block, at, place);
        piece.x = m + t * target->pitch * target->element;
        piece.y = (char *)line->y + before * line->y_tile * target->element;
        if (line->residual)
            piece.residual =
                (const char *)line->residual + before * line->residual_tile * target->element;
        piece.tiles = cut->phases[1] > 1 ? 1 : stop - column;
        piece.columns = columns - before * target->form.outputs[1];
        fc_winograd_points_of(cut, tiles->block, at, place, piece.points);
        finite &= target->transforms->output(&piece);
        column += piece.tiles;
    }
    return finite;
}

/* A row of tiles of one phase. */
static bool gather_row(const struct fc_winograd_target *target,
                       const struct fc_winograd_tiles *tiles, int64_t k, int64_t outputs,
                       const char *m, char *strip)
{
    const struct fc_convolution *convolution = target->convolution;
    struct line line = {
        .y = fc_winograd_outputs(convolution, &convolution->y, tiles->n, tiles->phase),
        .residual = convolution->residual,
        .row = tiles->row * target->form.outputs[0],
        .column = tiles->column * target->form.outputs[1],
        .k = k,
        .outputs = outputs,
    };
    if (convolution->residual.data)
        line.residual =
            fc_winograd_outputs(convolution, &convolution->residual, tiles->n, tiles->phase);
    const fc_image *y = &line.y, *residual = &line.residual;
    line.rows = fc_min(target->form.outputs[0], y->h - line.row);
    line.columns =
        fc_min((tiles->stop - tiles->column) * target->form.outputs[1], y->w - line.column);
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
    const int64_t full = fc_winograd_full_of(target->cut, 1, tiles->phase[1]);
    const int64_t middle = fc_max(fc_min(full, tiles->stop), tiles->column);
    bool finite = gather_piece(target, tiles, tiles->column, middle, line.columns, m, &gather);
    finite &= gather_piece(target, tiles, middle, tiles->stop, line.columns, m, &gather);
    if (!straight)
        turn_rows(target, &line, strip);
    return finite;
}

bool fc_winograd_gather_line(const struct fc_winograd_target *target,
                             const struct fc_winograd_block *block, int64_t at, int64_t k,
                             int64_t outputs, const char *m, char *strip)
{
    const struct fc_winograd_cut *cut = target->cut;
    const int64_t line = at % cut->tile_rows, row = line / cut->phases[0];
    struct fc_winograd_tiles tiles = {.block = block,
                                      .n = at / cut->tile_rows,
                                      .phase = {line % cut->phases[0]},
                                      .row = row,
                                      .end = row + 1};
    bool finite = true;
    for (tiles.phase[1] = 0; tiles.phase[1] < cut->phases[1]; tiles.phase[1]++)
        if (fc_winograd_find_tiles(cut, 1, block->column, block->column + block->columns, &tiles))
            finite &= gather_row(target, &tiles, k, outputs, m, strip);
    return finite;
}
