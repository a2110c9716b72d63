/* winograd_cut.c: the outputs of a convolution as rows of tiles, and blocks of them. */
#include "winograd_cut.h"

#include "dispatch.h"

static int64_t even_pieces(int64_t size, int64_t largest)
{
    return fc_ceil_div(size, fc_ceil_div(size, fc_max(largest, 1)));
}

/* The points that the last tile of a direction takes, for `outputs` outputs: all, or of 6, 4 or 5. */
static int last_points(const struct fc_winograd_form *form, int axis, int64_t outputs)
{
    const int all = form->points[axis];
    const int64_t needed = form->taps[axis] + outputs - 1;
    for (int some = 4; all == 6 && some < all; some++)
        if (needed <= some && form->outputs[axis] > all - some)
            return some;
    return all;
}

struct fc_winograd_cut fc_winograd_find_images(const struct fc_winograd_form *form,
                                               const struct fc_convolution *convolution)
{
    struct fc_winograd_cut cut = {.images = convolution->y.n};
    int64_t tiles[2];
    for (int a = 0; a < 2; a++) {
        const struct fc_axis *axis = &convolution->axis[a];
        cut.phases[a] = axis->taps > 1 ? fc_max(fc_min(axis->dilation, axis->out), 1) : 1;
        cut.images *= cut.phases[a];
        const int64_t size = fc_ceil_div(axis->out, cut.phases[a]);
        tiles[a] = fc_ceil_div(size, form->outputs[a]);
        cut.points[a] = form->points[a];
        cut.last[a] = last_points(form, a, size - (tiles[a] - 1) * form->outputs[a]);
    }
    cut.tile_rows = tiles[0];
    cut.tile_columns = tiles[1];
    return cut;
}

void fc_winograd_cut_blocks(struct fc_winograd_cut *cut, int64_t most)
{
    cut->columns = even_pieces(cut->tile_columns, most);
    cut->column_blocks = fc_ceil_div(cut->tile_columns, cut->columns);
    cut->lines = even_pieces(cut->images * cut->tile_rows, most / cut->columns);
    cut->line_blocks = fc_ceil_div(cut->images * cut->tile_rows, cut->lines);
}

struct fc_winograd_block fc_winograd_block_at(const struct fc_winograd_cut *cut, int64_t index)
{
    struct fc_winograd_block block = {
        .line = index / cut->column_blocks * cut->lines,
        .column = index % cut->column_blocks * cut->columns,
    };
    block.lines = fc_min(cut->lines, cut->images * cut->tile_rows - block.line);
    block.columns = fc_min(cut->columns, cut->tile_columns - block.column);
    return block;
}

/* -------------------------------------------------------------------- order */

static bool has_short(const struct fc_winograd_cut *cut, int axis)
{
    return cut->last[axis] < cut->points[axis];
}

bool fc_winograd_has_short(const struct fc_winograd_cut *cut)
{
    return has_short(cut, 0) || has_short(cut, 1);
}

static bool is_short_line(const struct fc_winograd_cut *cut, int64_t line)
{
    return has_short(cut, 0) && (line + 1) % cut->tile_rows == 0;
}

struct fc_winograd_order fc_winograd_order_of(const struct fc_winograd_cut *cut,
                                              const struct fc_winograd_block *block)
{
    struct fc_winograd_order order = {.columns = block->columns, .full_lines = block->lines};
    if (has_short(cut, 1) && block->column + block->columns == cut->tile_columns) {
        order.columns--;
        order.ends = 1;
    }
    if (has_short(cut, 0)) {
        order.short_lines =
            (block->line + block->lines) / cut->tile_rows - block->line / cut->tile_rows;
        order.full_lines -= order.short_lines;
    }
    return order;
}

int64_t fc_winograd_tile_at(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_block *block, int64_t line, int64_t column)
{
    const struct fc_winograd_order order = fc_winograd_order_of(cut, block);
    const int64_t shorts =
        has_short(cut, 0) ? line / cut->tile_rows - block->line / cut->tile_rows : 0;
    const int64_t fulls = line - block->line - shorts;
    const int64_t first_full = order.full_lines * order.ends;
    const int64_t first_short = first_full + order.full_lines * order.columns;
    if (!is_short_line(cut, line))
        return column < order.columns ? first_full + fulls * order.columns + column : fulls;
    return column < order.columns ? first_short + shorts * order.columns + column
                                  : first_short + order.short_lines * order.columns + shorts;
}

void fc_winograd_points_of(const struct fc_winograd_cut *cut, const struct fc_winograd_block *block,
                           int64_t line, int64_t column, int points[2])
{
    const bool last = column >= fc_winograd_order_of(cut, block).columns;
    points[0] = is_short_line(cut, line) ? cut->last[0] : cut->points[0];
    points[1] = last ? cut->last[1] : cut->points[1];
}

/* Whether the last tiles of a direction have point i. */
static bool last_has(const struct fc_winograd_cut *cut, int axis, int64_t i)
{
    return i < cut->last[axis] - 1 || i == cut->points[axis] - 1;
}

void fc_winograd_tiles_with(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_block *block, int64_t position, int64_t *begin,
                            int64_t *end)
{
    const struct fc_winograd_order order = fc_winograd_order_of(cut, block);
    const bool lines = last_has(cut, 0, position / cut->points[1]);
    const bool columns = last_has(cut, 1, position % cut->points[1]);
    *begin = columns ? 0 : order.full_lines * order.ends;
    *end = order.full_lines * (order.columns + order.ends);
    if (lines)
        *end += order.short_lines * (order.columns + (columns ? order.ends : 0));
}

int64_t fc_winograd_products(const struct fc_winograd_cut *cut)
{
    return ((cut->tile_rows - 1) * cut->points[0] + cut->last[0]) *
           ((cut->tile_columns - 1) * cut->points[1] + cut->last[1]);
}

/* ------------------------------------------------------------------- images */

/* Every step[a]-th pixel of image n from pixel first[a] on. */
static fc_image lattice(const fc_image *image, int64_t n, const int64_t first[2],
                        const int64_t step[2], int64_t element)
{
    fc_image some = *image;
    if (some.data)
        some.data =
            (char *)some.data +
            (n * some.stride_n + first[0] * some.stride_h + first[1] * some.stride_w) * element;
    some.n = 1;
    some.h = fc_max(fc_ceil_div(some.h - first[0], step[0]), 0);
    some.w = fc_max(fc_ceil_div(some.w - first[1], step[1]), 0);
    some.stride_h *= step[0];
    some.stride_w *= step[1];
    return some;
}

struct fc_convolution fc_winograd_image(const struct fc_winograd_cut *cut,
                                        const struct fc_convolution *convolution, int64_t index)
{
    struct fc_convolution image = *convolution;
    const int64_t phases = cut->phases[0] * cut->phases[1], n = index / phases;
    const int64_t phase[2] = {index % phases / cut->phases[1], index % cut->phases[1]};
    int64_t y_first[2], x_first[2], step[2];
    for (int a = 0; a < 2; a++) {
        struct fc_axis *axis = &image.axis[a];
        const int64_t shift = phase[a] - axis->before;
        step[a] = cut->phases[a] > 1 ? axis->dilation : 1;
        const int64_t before = -fc_floor_div(shift, step[a]);
        y_first[a] = phase[a];
        x_first[a] = cut->phases[a] > 1 ? shift + before * step[a] : 0;
        axis->before = cut->phases[a] > 1 ? before : axis->before;
        axis->in = fc_max(fc_ceil_div(axis->in - x_first[a], step[a]), 0);
        axis->out = fc_ceil_div(axis->out - phase[a], step[a]);
        axis->dilation = 1;
    }
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    image.x = lattice(&convolution->x, n, x_first, step, element);
    image.y = lattice(&convolution->y, n, y_first, step, element);
    image.residual = lattice(&convolution->residual, n, y_first, step, element);
    return image;
}
