/* blocks.c: the outputs of a convolution cut into blocks. */
#include "blocks.h"

static int64_t rows_read(const struct fc_axis *axis, const struct fc_blocks *blocks, int64_t rows)
{
    return (rows - 1) * blocks->row_stride + fc_max(axis->taps, 1);
}

static int64_t columns_read(const struct fc_axis *axis, int64_t columns)
{
    return (columns - 1) * axis->stride + fc_max(axis->taps - 1, 0) * axis->dilation + 1;
}

/* The size of near-equal pieces of at most `largest`. */
static int64_t even_pieces(int64_t size, int64_t largest)
{
    return fc_ceil_div(size, fc_ceil_div(size, fc_max(largest, 1)));
}

void fc_cut_blocks(const struct fc_axis axis[2], int64_t most_columns, int64_t most_outputs,
                   int64_t most_pixels, struct fc_blocks *blocks)
{
    const int64_t common = fc_greatest_common_divisor(axis[0].stride, axis[0].dilation);
    blocks->row_phases = fc_min(axis[0].dilation / common, axis[0].out);
    blocks->row_stride = axis[0].stride / common;

    const int64_t high = rows_read(&axis[0], blocks, 1);
    const int64_t fit = fc_max(most_pixels / high - columns_read(&axis[1], 1), 0);
    blocks->columns = even_pieces(axis[1].out, fc_min(most_columns, fit / axis[1].stride + 1));

    const int64_t across = columns_read(&axis[1], blocks->columns);
    const int64_t rows = fc_max(most_pixels / across - high, 0) / blocks->row_stride + 1;
    const int64_t phase_rows = fc_ceil_div(axis[0].out, blocks->row_phases);
    blocks->rows = even_pieces(phase_rows, fc_min(rows, most_outputs / blocks->columns));
    blocks->column_blocks = fc_ceil_div(axis[1].out, blocks->columns);
    blocks->row_blocks = blocks->row_phases * fc_ceil_div(phase_rows, blocks->rows);
}

int64_t fc_block_pixels(const struct fc_axis axis[2], const struct fc_blocks *blocks)
{
    int64_t pixels;
    return __builtin_mul_overflow(rows_read(&axis[0], blocks, blocks->rows),
                                  columns_read(&axis[1], blocks->columns), &pixels)
               ? -1
               : pixels;
}

struct fc_patch fc_block_at(const struct fc_axis axis[2], const struct fc_blocks *blocks,
                            int64_t index)
{
    struct fc_patch patch;
    const int64_t row_block = index / blocks->column_blocks;
    patch.column = index % blocks->column_blocks * blocks->columns;
    patch.columns = fc_min(blocks->columns, axis[1].out - patch.column);
    patch.phase = row_block % blocks->row_phases;
    patch.row = row_block / blocks->row_phases * blocks->rows;
    const int64_t phase_rows = fc_ceil_div(axis[0].out - patch.phase, blocks->row_phases);
    patch.rows = fc_max(fc_min(blocks->rows, phase_rows - patch.row), 0);

    patch.x_row = fc_patch_row(blocks, &patch, 0) * axis[0].stride - axis[0].before;
    patch.x_row_gap = axis[0].dilation;
    patch.x_rows = rows_read(&axis[0], blocks, patch.rows);
    patch.x_column = patch.column * axis[1].stride - axis[1].before;
    patch.x_columns = columns_read(&axis[1], patch.columns);
    return patch;
}

struct fc_inside fc_patch_inside(const struct fc_patch *patch, int64_t h, int64_t w)
{
    const int64_t row = fc_max(patch->x_row, 0), column = fc_max(patch->x_column, 0);
    return (struct fc_inside){
        .row = row,
        .rows = fc_max(fc_min(patch->x_row + patch->x_rows, h) - row, 0),
        .column = column,
        .columns = fc_max(fc_min(patch->x_column + patch->x_columns, w) - column, 0),
    };
}
