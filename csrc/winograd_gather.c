/* winograd_gather.c: blocks of tiles, taken from positions to outputs. */
#include "winograd_tiles.h"

/* Where the outputs of a row of tiles of one phase go: `rows` rows from `row` on, `columns` columns from
 * `column` on, steps apart. No image and no struct is copied here: a wide load of what narrow stores
 * have just written waits until they reach memory, behind all outputs on their way there (a tenth of
 * the time where each line is one tile of 9 outputs). */
struct line {
    int64_t n, row, rows, column, columns, step[2], k, outputs;
};

static char *pixel_at(const struct fc_winograd_target *target, const fc_image *image,
                      const struct line *line, int64_t row)
{
    return fc_image_at(image, target->element, line->n, line->row + row * line->step[0],
                       line->column, line->k);
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
    const struct fc_convolution *convolution = target->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    for (int64_t i = 0; i < line->rows; i++)
        target->kernels->finish_block(&(struct fc_finish){
            .block = {.x = strip + i * line->columns * target->pitch * target->element,
                      .y = pixel_at(target, y, line, i),
                      .x_pixel = target->pitch,
                      .x_channel = 1,
                      .y_pixel = y->stride_w * line->step[1],
                      .y_channel = y->stride_c,
                      .pixels = line->columns,
                      .channels = line->outputs},
            .bias = bias_of(target, line),
            .residual = residual->data ? pixel_at(target, residual, line, i) : NULL,
            .residual_pixel = residual->stride_w * line->step[1],
            .residual_channel = residual->stride_c,
            .activation = convolution->activation,
        });
}

/* Straight to y. */
static void aim_at_y(const struct fc_winograd_target *target, const struct line *line,
                     struct fc_winograd_gather *gather)
{
    const struct fc_convolution *convolution = target->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    gather->y = pixel_at(target, y, line, 0);
    gather->y_row = y->stride_h * line->step[0];
    gather->y_column = y->stride_w * line->step[1];
    gather->activation = convolution->activation;
    gather->stream =
        target->stream && (line->k | line->outputs) % (FC_UNIT_BYTES / target->element) == 0;
    gather->bias = bias_of(target, line);
    if (!residual->data)
        return;
    gather->residual = pixel_at(target, residual, line, 0);
    gather->residual_row = residual->stride_h * line->step[0];
    gather->residual_column = residual->stride_w * line->step[1];
    gather->residual_tile = target->form.outputs[1] * gather->residual_column;
}

/* Columns [column, stop) of the row, all full or all short; moves `gather`, which is at the first of
 * them, past them. */
static bool gather_piece(const struct fc_winograd_target *target,
                         const struct fc_winograd_tiles *tiles, int64_t column, int64_t stop,
                         const char *m, struct fc_winograd_gather *gather)
{
    const struct fc_winograd_cut *cut = target->cut;
    const int64_t at = fc_winograd_line_of(cut, tiles, tiles->row);
    bool finite = true;
    while (column < stop) {
        const int64_t place = fc_winograd_place_of(cut, tiles, column);
        const int64_t count = cut->phases[1] > 1 ? 1 : stop - column;
        gather->x =
            m + fc_winograd_tile_at(cut, tiles->block, at, place) * target->pitch * target->element;
        gather->tiles = count;
        fc_winograd_points_of(cut, tiles->block, at, place, gather->points);
        finite &= target->transforms->output(gather);
        gather->y = (char *)gather->y + count * gather->y_tile * target->element;
        if (gather->residual)
            gather->residual =
                (const char *)gather->residual + count * gather->residual_tile * target->element;
        gather->columns -= count * target->form.outputs[1];
        column += count;
    }
    return finite;
}

/* How many of `count` coordinates from `first` on, `step` apart, are below `size`. */
static int64_t count_below(int64_t size, int64_t first, int64_t count, int64_t step)
{
    return fc_min(count, fc_ceil_div(size - first, step));
}

/* A row of tiles of one phase. */
static bool gather_row(const struct fc_winograd_target *target,
                       const struct fc_winograd_tiles *tiles, int64_t k, int64_t outputs,
                       const char *m, char *strip)
{
    const struct fc_convolution *convolution = target->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int *made = target->form.outputs;
    struct line line = {.n = tiles->n, .k = k, .outputs = outputs};
    for (int a = 0; a < 2; a++)
        line.step[a] = fc_winograd_step_of(&convolution->axis[a]);
    line.row = tiles->row * made[0] * line.step[0] + tiles->phase[0];
    line.column = tiles->column * made[1] * line.step[1] + tiles->phase[1];
    line.rows = count_below(y->h, line.row, made[0], line.step[0]);
    line.columns =
        count_below(y->w, line.column, (tiles->stop - tiles->column) * made[1], line.step[1]);
    struct fc_winograd_gather gather = {
        .x_position = target->m_position,
        .x_tile = target->pitch,
        .factors = fc_winograd_leaves_factors(&target->form) ? target->transforms->factors : NULL,
        .y = strip,
        .y_row = line.columns * target->pitch,
        .y_column = target->pitch,
        .channels = outputs,
        .rows = line.rows,
        .columns = line.columns,
    };
    const bool straight = y->stride_c == 1 && (!residual->data || residual->stride_c == 1);
    if (straight)
        aim_at_y(target, &line, &gather);
    gather.y_tile = made[1] * gather.y_column;
    const int64_t full = fc_winograd_full_of(target->cut, 1, tiles->phase[1]);
    const int64_t middle = fc_max(fc_min(full, tiles->stop), tiles->column);
    bool finite = gather_piece(target, tiles, tiles->column, middle, m, &gather);
    finite &= gather_piece(target, tiles, middle, tiles->stop, m, &gather);
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

/* ------------------------------------------------------------------- again */

fc_status fc_winograd_compute_again(const struct fc_winograd_target *target,
                                    const unsigned char *bad)
{
    const struct fc_winograd_cut *cut = target->cut;
    const int64_t outputs = target->form.outputs[0], element = target->element;
    fc_status status = FC_OK;
    for (int64_t i = 0; i < cut->images * cut->tile_rows * cut->phases[1]; i++) {
        const int64_t line = i / cut->phases[1], at = line % cut->tile_rows;
        if (!bad[line] || status != FC_OK)
            continue;
        struct fc_convolution some =
            fc_winograd_image(target->convolution, line / cut->tile_rows,
                              (int64_t[]){at % cut->phases[0], i % cut->phases[1]});
        const int64_t row = at / cut->phases[0] * outputs;
        some.y.data = (char *)some.y.data + row * some.y.stride_h * element;
        if (some.residual.data)
            some.residual.data =
                (char *)some.residual.data + row * some.residual.stride_h * element;
        some.y.h = some.residual.h = some.axis[0].out = fc_min(outputs, some.y.h - row);
        some.axis[0].before -= row * some.axis[0].stride;
        status = fc_convolve(&some);
    }
    return status;
}
