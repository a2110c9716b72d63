/* pool2d_pass.c: a block of a planned pooling pass: stages its sources, walks its windows, puts its
 * targets away. */
#include "pool2d_pass.h"

/* A block at work. tile holds what all its calls of the kernel have in common. */
struct run {
    const struct fc_pool2d_pass *pass;
    const struct fc_pool2d_block *block;
    size_t size;
    char *stage, *line, *y;
    void *numbers;
    int64_t *indices;
    int64_t stage_row, stage_column; /* the source at the beginning of stage */
    ptrdiff_t row_elements;          /* from one source row to the next */
    struct fc_pool2d_tile tile;
    struct fc_pool2d_table tables[3]; /* of columns at the left, regular ones, and at the right */
};

/* ---------------------------------------------------------------- staging */

static double divisor(const struct fc_pool2d_pass *pass, int direction, int64_t output)
{
    const struct fc_axis *axis = &pass->axis[direction].axis;
    return (double)fc_pool2d_axis_divisor(axis, output, pass->include_pad);
}

/* Divides the gradients of a row of outputs, `step` columns apart and packed, by their windows'
 * elements: alike ones together. */
static void divide_line(const struct run *run, char *line, int64_t row, int64_t column,
                        int64_t step, int64_t count)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const int64_t channels = run->block->channels;
    const struct fc_axis *axis = &pass->axis[1].axis;
    const double row_divisor = divisor(pass, 0, row);
    int64_t begin, end, ignored, alike;
    fc_axis_outputs(axis, 0, &begin, &ignored);
    fc_axis_outputs(axis, axis->taps - 1, &ignored, &end);
    for (int64_t done = 0; done < count; done += alike) {
        const int64_t output = column + done * step;
        alike = 1;
        if (output >= begin && output < end)
            alike = fc_min((end - 1 - output) / step + 1, count - done);
        char *at = line + done * channels * (ptrdiff_t)run->size;
        const double elements = row_divisor * divisor(pass, 1, output);
        pass->kernels->pool2d.pool[FC_AVG](&(struct fc_pool2d_tile){.x = at,
                                                                    .y = at,
                                                                    .columns = 1,
                                                                    .lanes = alike * channels,
                                                                    .rows = 1,
                                                                    .taps = 1,
                                                                    .phases = 1,
                                                                    .divisor = elements});
    }
}

/* Packs `count` pixels of a source row, `step` columns apart. */
static void stage_line(const struct run *run, char *line, int64_t row, int64_t column, int64_t step,
                       int64_t count)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    const fc_image *x = &pass->x;
    if (count <= 0)
        return;
    pass->kernels->conv2d.copy_block(&(struct fc_block){
        .x = fc_image_at(x, run->size, block->image, row, column, block->channel),
        .y = line,
        .x_pixel = step * x->stride_w,
        .x_channel = x->stride_c,
        .y_pixel = block->channels,
        .y_channel = 1,
        .pixels = count,
        .channels = block->channels});
    if (pass->adjoint)
        divide_line(run, line, row, column, step, count);
}

/* Stages all sources of the block. */
static void stage_block(struct run *run)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    const int64_t phases = pass->phases;
    const ptrdiff_t phase_elements = pass->phase_columns * block->channels;
    int64_t row_end, column_end;
    fc_pool2d_axis_reach(&pass->axis[0], block->row, block->row_end, &run->stage_row, &row_end);
    fc_pool2d_axis_reach(&pass->axis[1], block->column, block->column_end, &run->stage_column,
                         &column_end);
    const int64_t columns = column_end - run->stage_column, rows = row_end - run->stage_row;
    char *line = run->stage;
    if (pass->wide && !pass->adjoint && columns == pass->phase_columns &&
        fc_rows_together(&pass->x, columns)) {
        /* Whole rows without gaps are one long row: 14 x 14 maps transpose in squares of 16. */
        stage_line(run, line, run->stage_row, run->stage_column, 1, rows * columns);
        return;
    }
    for (int64_t row = run->stage_row; row < row_end; row++) {
        if (phases == 2 && block->channels == 1 && pass->x.stride_w == 1 && !pass->adjoint) {
            pass->kernels->pool2d.split_pairs(fc_image_at(&pass->x, run->size, block->image, row,
                                                          run->stage_column, block->channel),
                                              line, line + phase_elements * (ptrdiff_t)run->size,
                                              columns);
        } else {
            for (int64_t phase = 0; phase < phases; phase++)
                stage_line(run, line + phase * phase_elements * (ptrdiff_t)run->size, row,
                           run->stage_column + phase, phases, fc_ceil_div(columns - phase, phases));
        }
        line += run->row_elements * (ptrdiff_t)run->size;
    }
}

/* How the taps of a tile step through the sources. */
static void set_steps(struct run *run)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_axis *horizontal = &pass->axis[1];
    const ptrdiff_t channels = run->block->channels;
    struct fc_pool2d_tile *tile = &run->tile;
    tile->phases = 1;
    if (pass->direct_x) {
        run->row_elements = pass->x.stride_h;
        tile->x_tap = horizontal->step * pass->x.stride_w;
        tile->x_column = horizontal->advance * pass->x.stride_w;
    } else if (pass->piecewise) {
        tile->x_tap = channels;
    } else {
        const ptrdiff_t phase_elements = pass->phase_columns * channels;
        run->row_elements = pass->phases * phase_elements;
        tile->phases = pass->phases;
        tile->phase_step = horizontal->step % pass->phases;
        tile->x_tap =
            horizontal->step / pass->phases * channels + tile->phase_step * phase_elements;
        tile->x_wrap = channels - pass->phases * phase_elements;
        tile->x_column = horizontal->advance * channels;
    }
    tile->y_column = pass->direct_y ? pass->axis[1].period * pass->y.stride_w : channels;
    if (!pass->wide) {
        tile->x_column = pass->axis[0].advance * run->row_elements;
        tile->y_column = pass->y.stride_h;
    }
    tile->x_row = pass->axis[0].step * run->row_elements;
    tile->number_row = pass->axis[0].step * pass->x.w;
    tile->number_tap = horizontal->step;
    tile->number_column = channels;
    if (pass->tap_numbers) {
        tile->number_row = pass->number_step[0];
        tile->number_tap = pass->number_step[1];
        tile->number_column = tile->y_column;
    }
}

/* The address of a source in x or in stage, and its phase. */
static const char *source(const struct run *run, int64_t row, int64_t column, int64_t *phase)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    *phase = 0;
    if (pass->direct_x)
        return fc_image_at(&pass->x, run->size, block->image, row, column, block->channel);
    column -= run->stage_column;
    *phase = pass->phases > 1 ? column % pass->phases : 0;
    const int64_t pixel =
        *phase * pass->phase_columns + (pass->phases > 1 ? column / pass->phases : column);
    return run->stage + ((row - run->stage_row) * run->row_elements + pixel * block->channels) *
                            (ptrdiff_t)run->size;
}

/* ---------------------------------------------------------------- targets */

/* Turns the numbers of `count` columns into indices, of which the first column's begin at
 * origin. */
static void put_indices(const struct run *run, int64_t row, int64_t column, int64_t count,
                        int64_t origin)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    const fc_image *image = &pass->indices;
    int64_t *out = run->indices + (row - block->row) * image->stride_h +
                   (column - block->column) * image->stride_w;
    for (int64_t p = 0; p < count; p++) {
        for (int64_t c = 0; c < block->channels; c++) {
            const int64_t lane = p * block->channels + c;
            const int64_t number = pass->dtype == FC_FLOAT32
                                       ? ((const int32_t *)run->numbers)[lane]
                                       : ((const int64_t *)run->numbers)[lane];
            out[c * image->stride_c] = origin < 0 ? -1 : origin + number;
        }
        out += image->stride_w;
        origin += origin < 0 ? 0 : pass->axis[1].advance;
    }
}

/* Where the kernel puts a target: in y, or in the line, class by class. */
static char *target(const struct run *run, int64_t row, int64_t column)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    const int64_t from = column - block->column, period = pass->axis[1].period;
    if (pass->direct_y)
        return run->y + ((row - block->row) * pass->y.stride_h + from * pass->y.stride_w) *
                            (ptrdiff_t)run->size;
    const int64_t group = period > 1 ? from % period : 0;
    const int64_t place = period > 1 ? from / period : from;
    return run->line +
           (group * pass->line_columns + place) * block->channels * (ptrdiff_t)run->size;
}

/* Copies a finished line to its row of y. */
static void put_line(const struct run *run, int64_t row)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    const fc_image *y = &pass->y;
    const int64_t columns = block->column_end - block->column, period = pass->axis[1].period;
    const ptrdiff_t class_bytes = pass->line_columns * block->channels * (ptrdiff_t)run->size;
    char *out = run->y + (row - block->row) * y->stride_h * (ptrdiff_t)run->size;
    if (period == 2 && block->channels == 1 && y->stride_w == 1) {
        pass->kernels->pool2d.merge_pairs(run->line, run->line + class_bytes, out, columns);
        return;
    }
    for (int64_t k = 0; k < fc_min(period, columns); k++)
        pass->kernels->conv2d.copy_block(
            &(struct fc_block){.x = run->line + k * class_bytes,
                               .y = out + k * y->stride_w * (ptrdiff_t)run->size,
                               .x_pixel = block->channels,
                               .x_channel = 1,
                               .y_pixel = period * y->stride_w,
                               .y_channel = y->stride_c,
                               .pixels = fc_ceil_div(columns - k, period),
                               .channels = block->channels});
}

/* ---------------------------------------------------------------- windows */

/* A row of targets at work, and the rows of its windows; or several rows alike. */
struct window_rows {
    int64_t row, alike, first, count;
    double divisor;
};

/* The number of the first tap of a window that lies on the image, and where its lanes go. */
static void number_taps(struct run *run, const struct window_rows *rows, int64_t column,
                        int64_t first)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_axis *vertical = &pass->axis[0].axis, *horizontal = &pass->axis[1].axis;
    const int64_t i =
        (rows->first + vertical->before - rows->row * vertical->stride) / vertical->dilation;
    const int64_t j =
        (first + horizontal->before - column * horizontal->stride) / horizontal->dilation;
    run->tile.number = i * pass->number_step[0] + j * pass->number_step[1];
    run->tile.numbers =
        (char *)run->indices + ((rows->row - run->block->row) * pass->indices.stride_h +
                                (column - run->block->column) * pass->indices.stride_w) *
                                   (ptrdiff_t)run->size;
}

/* `count` targets of one class whose windows have one shape. */
static void run_columns(struct run *run, const struct window_rows *rows, int64_t column,
                        int64_t count)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_axis *horizontal = &pass->axis[1];
    struct fc_pool2d_tile *tile = &run->tile;
    int64_t first, taps;
    fc_pool2d_axis_window(horizontal, column, &first, &taps);
    const bool empty = rows->count == 0 || taps == 0;
    tile->columns = pass->wide ? count : rows->alike;
    tile->lanes = pass->wide ? run->block->channels : count * run->block->channels;
    tile->rows = empty ? 0 : rows->count;
    tile->taps = taps;
    tile->x = empty ? NULL : source(run, rows->first, first, &tile->phase);
    tile->y = target(run, rows->row, column);
    tile->ahead = fc_pool2d_rows_ahead(pass, run->block, rows->first + rows->count, count);
    tile->divisor = 1;
    if (pass->pooling == FC_AVG && !pass->adjoint && !empty)
        tile->divisor = rows->divisor * (column >= horizontal->begin && column < horizontal->end
                                             ? (double)taps
                                             : divisor(pass, 1, column));
    if (pass->tap_numbers)
        number_taps(run, rows, column, first);
    const int side = column < horizontal->begin ? 0 : column < horizontal->end ? 1 : 2;
    fc_pool2d_run_tile(pass, tile, &run->tables[side]);
    if (pass->numbered && !pass->tap_numbers)
        put_indices(run, rows->row, column, count, empty ? -1 : rows->first * pass->x.w + first);
}

/* One target whose window is walked in pieces: a row of it, or FC_POOL2D_PIECE elements of one. */
static void run_pieces(struct run *run, const struct window_rows *rows, int64_t column)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const int64_t row_step = pass->axis[0].step, column_step = pass->axis[1].step;
    struct fc_pool2d_tile *tile = &run->tile;
    int64_t first, taps;
    fc_pool2d_axis_window(&pass->axis[1], column, &first, &taps);
    const bool empty = rows->count == 0 || taps == 0;
    tile->columns = 1;
    tile->lanes = run->block->channels;
    tile->rows = tile->taps = 0;
    tile->x = NULL;
    tile->y = target(run, rows->row, column);
    tile->number = 0;
    tile->divisor = 1;
    tile->resume = false;
    if (empty)
        pass->kernels->pool2d.pool[pass->pooling](tile);
    for (int64_t i = 0; i < rows->count; i++) {
        for (int64_t j = 0; j < taps; j += FC_POOL2D_PIECE) {
            const int64_t row = rows->first + i * row_step, at = first + j * column_step;
            tile->rows = 1;
            tile->taps = fc_min(taps - j, FC_POOL2D_PIECE);
            if (pass->direct_x) {
                tile->x = source(run, row, at, &tile->phase);
            } else {
                stage_line(run, run->stage, row, at, column_step, tile->taps);
                tile->x = run->stage;
            }
            if (pass->pooling == FC_AVG && !pass->adjoint && i == rows->count - 1 &&
                j + tile->taps == taps)
                tile->divisor = rows->divisor * divisor(pass, 1, column);
            tile->number = i * tile->number_row + j * column_step;
            pass->kernels->pool2d.pool[pass->pooling](tile);
            tile->resume = true;
        }
    }
    if (pass->numbered)
        put_indices(run, rows->row, column, 1, empty ? -1 : rows->first * pass->x.w + first);
}

/* Rows of targets: regular columns class by class, those at the ends one by one. */
static void run_rows(struct run *run, int64_t row, int64_t alike)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_block *block = run->block;
    const struct fc_pool2d_axis *horizontal = &pass->axis[1];
    const int64_t regular_end = fc_min(horizontal->end, block->column_end);
    struct window_rows rows = {.row = row, .alike = alike, .divisor = 1};
    fc_pool2d_axis_window(&pass->axis[0], row, &rows.first, &rows.count);
    if (pass->pooling == FC_AVG && !pass->adjoint)
        rows.divisor = divisor(pass, 0, row);
    for (int64_t column = block->column; column < block->column_end; column++) {
        if (pass->piecewise) {
            run_pieces(run, &rows, column);
        } else if (column < horizontal->begin || column >= regular_end) {
            run_columns(run, &rows, column, 1);
        } else {
            const int64_t period = horizontal->period;
            for (int64_t k = 0; k < fc_min(period, regular_end - column); k++)
                run_columns(run, &rows, column + k, (regular_end - column - k - 1) / period + 1);
            column = regular_end - 1;
        }
    }
    if (!pass->direct_y)
        put_line(run, row);
}

/* How many rows from this one on the kernel takes in one call: a narrow pass has its `columns` to
 * spare for them, and rows are short (56 columns are 3.5 vectors). */
static int64_t rows_alike(const struct run *run, int64_t row)
{
    const struct fc_pool2d_pass *pass = run->pass;
    const struct fc_pool2d_axis *vertical = &pass->axis[0];
    if (pass->wide || pass->piecewise || pass->numbered || !pass->direct_y ||
        vertical->period > 1 || row < vertical->begin || row >= vertical->end)
        return 1;
    return fc_min(vertical->end, run->block->row_end) - row;
}

void fc_pool2d_run_block(const struct fc_pool2d_pass *pass, const struct fc_pool2d_block *block,
                         void *y, int64_t *indices, void *scratch)
{
    struct run run = {.pass = pass,
                      .block = block,
                      .size = fc_element_size(pass->dtype),
                      .stage = scratch,
                      .y = y,
                      .indices = indices};
    run.line = run.stage + pass->stage_bytes;
    run.tile.numbers = run.numbers = pass->numbered ? run.line + pass->line_bytes : NULL;
    set_steps(&run);
    if (!pass->direct_x && !pass->piecewise)
        stage_block(&run);
    for (int64_t row = block->row, alike; row < block->row_end; row += alike) {
        alike = rows_alike(&run, row);
        run_rows(&run, row, alike);
    }
}
