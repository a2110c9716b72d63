/* winograd_cut.c: the outputs of a convolution as rows of tiles, and blocks of them. */
#include "winograd_cut.h"

#include "dispatch.h"
#include "pack_rows.h"

/* Blocks of 42 tiles are 3 groups of 14. Of 112, V, M and the kernel filled the second-level cache, which
 * x and y pass through: 3x3 with 64 channels at 56 x 56 took 4.6 ms and takes 4.2, with 128 at 28 x 28 4.0
 * and 3.7. 28 and 56 are as good within 3 %. Kernels that come from beyond, for some channels at a time,
 * want all there is room for. */
enum {
    BLOCK_TILES = 42,
    V_BYTES = 3 << 19,
    VM_BYTES = 7 << 18,     /* of what tiles have of V and M, and */
    SPACE_BYTES = 13 << 18, /* with the positions that they lack */
    MOST_DEPTH = 384        /* channels of all pieces */
};

static int64_t even_pieces(int64_t size, int64_t largest)
{
    return fc_ceil_div(size, fc_ceil_div(size, fc_max(largest, 1)));
}

/* The points that a tile takes for `outputs` outputs: all, or of 5 or 6, one or two fewer. */
static int points_for(const struct fc_winograd_form *form, int axis, int64_t outputs)
{
    const int all = form->points[axis];
    const int64_t needed = form->taps[axis] + outputs - 1;
    for (int some = all - 2; (all == 5 || all == 6) && some < all; some++)
        if (needed <= some && form->outputs[axis] > all - some)
            return some;
    return all;
}

/* Whether the last output, alone in its tile, reads one pixel, by the first tap, and zeros beyond: as in the
 * input gradient of a convolution without padding. Its product is that of the point 0. */
static bool ends_with_one(const struct fc_winograd_form *form,
                          const struct fc_convolution *convolution, int a)
{
    const struct fc_axis *axis = &convolution->axis[a];
    return form->points[a] == 6 && form->pieces == 1 && axis->dilation == 1 &&
           fc_pads_with_zero(convolution) && axis->in + axis->before - (axis->out - 1) <= 1;
}

/* One direction; returns its rows or columns of tiles. The first `large` phases have an output more
 * than the others. Short are the last tiles of all phases, or, of phases of one tile, the small ones. */
static int64_t find_tiles(const struct fc_winograd_form *form,
                          const struct fc_convolution *convolution, int a,
                          struct fc_winograd_cut *cut)
{
    const struct fc_axis *axis = &convolution->axis[a];
    const int64_t phases = axis->taps > 1 ? fc_max(fc_min(axis->dilation, axis->out), 1) : 1;
    const int64_t size = fc_ceil_div(axis->out, phases), large = axis->out - (size - 1) * phases;
    const int64_t tiles = fc_ceil_div(size, form->outputs[a]);
    const int64_t last = size - (tiles - 1) * form->outputs[a];
    const int64_t count = (tiles - 1) * phases + (last == 1 ? large : phases);
    cut->phases[a] = phases;
    cut->points[a] = form->points[a];
    cut->full_points[a] = tiles > 1 ? form->points[a] : points_for(form, a, last);
    cut->short_points[a] = points_for(form, a, tiles > 1 ? last : last - 1);
    if (tiles > 1 && last == 1 && ends_with_one(form, convolution, a))
        cut->short_points[a] = 1;
    cut->full[a] = tiles > 1 ? (tiles - 1) * phases : large;
    if (cut->short_points[a] == cut->full_points[a])
        cut->full[a] = count;
    return count;
}

struct fc_winograd_cut fc_winograd_find_images(const struct fc_winograd_form *form,
                                               const struct fc_convolution *convolution)
{
    struct fc_winograd_cut cut = {.images = convolution->y.n};
    cut.tile_rows = find_tiles(form, convolution, 0, &cut);
    cut.tile_columns = find_tiles(form, convolution, 1, &cut);
    return cut;
}

struct fc_winograd_depth fc_winograd_depth_of(const struct fc_winograd_form *form,
                                              const struct fc_winograd_cut *cut,
                                              const struct fc_channels *channels, int64_t element)
{
    const int64_t tiles = fc_max(cut->tile_rows * cut->tile_columns, 1);
    const int64_t kept = fc_min(FC_WINOGRAD_KEPT_PANELS, fc_panel_count(channels));
    struct fc_winograd_depth depth = {.chunks = fc_winograd_chunks(form, channels->c_in)};
    const int64_t spread = form->pieces * fc_whole_units(channels->c_in, FC_SLAB);
    int64_t most = fc_min(V_BYTES / (form->positions * spread * element), BLOCK_TILES);
    if (form->pieces * channels->c_in > MOST_DEPTH) {
        const int64_t deep = fc_min(FC_WINOGRAD_CHUNK, channels->c_in);
        const int64_t bytes = (deep + kept * channels->panel) * element;
        depth.chunks = 1;
        most = fc_min(VM_BYTES / (fc_max(fc_winograd_products(cut) / tiles, 1) * bytes),
                      SPACE_BYTES / (form->positions * bytes));
        if (form->stride > 1)
            most = fc_min(most, BLOCK_TILES);
    }
    depth.tiles = fc_max(fc_min(most, FC_WINOGRAD_MOST_TILES), 1);
    return depth;
}

void fc_winograd_cut_blocks(struct fc_winograd_cut *cut, int64_t most)
{
    cut->columns = even_pieces(cut->tile_columns, most);
    cut->column_blocks = fc_ceil_div(cut->tile_columns, cut->columns);
    cut->lines = even_pieces(cut->images * cut->tile_rows, most / cut->columns);
    cut->line_blocks = fc_ceil_div(cut->images * cut->tile_rows, cut->lines);
    cut->longer = cut->line_blocks;
}

void fc_winograd_even_blocks(struct fc_winograd_cut *cut, int threads)
{
    const int64_t all = cut->images * cut->tile_rows;
    if (cut->line_blocks * cut->column_blocks % threads != 0)
        cut->line_blocks = fc_min(fc_whole_units(cut->line_blocks, threads), all);
    cut->lines = fc_ceil_div(all, cut->line_blocks);
    cut->longer = all - (cut->lines - 1) * cut->line_blocks;
}

/* -------------------------------------------------------------------- order */

bool fc_winograd_has_short(const struct fc_winograd_cut *cut)
{
    return cut->full[0] < cut->tile_rows || cut->full[1] < cut->tile_columns;
}

/* Short lines before a line. */
static int64_t shorts_before(const struct fc_winograd_cut *cut, int64_t line)
{
    return line / cut->tile_rows * (cut->tile_rows - cut->full[0]) +
           fc_max(line % cut->tile_rows - cut->full[0], 0);
}

struct fc_winograd_block fc_winograd_block_at(const struct fc_winograd_cut *cut, int64_t index)
{
    const int64_t line_block = index / cut->column_blocks;
    struct fc_winograd_block block = {
        .line = line_block * cut->lines - fc_max(line_block - cut->longer, 0),
        .column = index % cut->column_blocks * cut->columns,
    };
    struct fc_winograd_order *order = &block.order;
    block.lines = fc_min(cut->lines - (line_block < cut->longer ? 0 : 1),
                         cut->images * cut->tile_rows - block.line);
    block.columns = fc_min(cut->columns, cut->tile_columns - block.column);
    order->columns = fc_max(fc_min(cut->full[1] - block.column, block.columns), 0);
    order->ends = block.columns - order->columns;
    order->shorts = shorts_before(cut, block.line);
    order->short_lines = shorts_before(cut, block.line + block.lines) - order->shorts;
    order->full_lines = block.lines - order->short_lines;
    return block;
}

int64_t fc_winograd_tile_at(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_block *block, int64_t line, int64_t column)
{
    const struct fc_winograd_order *order = &block->order;
    const int64_t shorts = shorts_before(cut, line) - order->shorts;
    const int64_t fulls = line - block->line - shorts, end = column - order->columns;
    const int64_t first_full = order->full_lines * order->ends;
    const int64_t first_short = first_full + order->full_lines * order->columns;
    if (line % cut->tile_rows < cut->full[0])
        return end < 0 ? first_full + fulls * order->columns + column : fulls * order->ends + end;
    if (end < 0)
        return first_short + shorts * order->columns + column;
    return first_short + order->short_lines * order->columns + shorts * order->ends + end;
}

void fc_winograd_points_of(const struct fc_winograd_cut *cut, const struct fc_winograd_block *block,
                           int64_t line, int64_t column, int points[2])
{
    const int64_t at[] = {line % cut->tile_rows, block->column + column};
    for (int a = 0; a < 2; a++)
        points[a] = at[a] < cut->full[a] ? cut->full_points[a] : cut->short_points[a];
}

/* Whether tiles of so many points have point i. */
static bool has_point(const struct fc_winograd_cut *cut, int axis, int points, int64_t i)
{
    return points == 1 ? i == 0 : i < points - 1 || i == cut->points[axis] - 1;
}

void fc_winograd_tiles_with(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_block *block, int64_t position, int64_t *begin,
                            int64_t *end)
{
    const struct fc_winograd_order *order = &block->order;
    const int64_t row = position / cut->points[1], column = position % cut->points[1];
    const bool lines = has_point(cut, 0, cut->short_points[0], row);
    const bool columns = has_point(cut, 1, cut->short_points[1], column);
    *begin = *end = 0;
    if (!has_point(cut, 0, cut->full_points[0], row) ||
        !has_point(cut, 1, cut->full_points[1], column))
        return;
    *begin = columns ? 0 : order->full_lines * order->ends;
    *end = order->full_lines * (order->columns + order->ends);
    if (lines)
        *end += order->short_lines * (order->columns + (columns ? order->ends : 0));
}

/* Points of the rows or columns of tiles in one direction, and how many there are. */
static int64_t points_along(const struct fc_winograd_cut *cut, int axis, int64_t *tiles)
{
    *tiles = axis == 0 ? cut->tile_rows : cut->tile_columns;
    return cut->full[axis] * cut->full_points[axis] +
           (*tiles - cut->full[axis]) * cut->short_points[axis];
}

int64_t fc_winograd_products(const struct fc_winograd_cut *cut)
{
    int64_t tiles;
    return points_along(cut, 0, &tiles) * points_along(cut, 1, &tiles);
}

int64_t fc_winograd_products_of_pieces(const struct fc_winograd_form *form,
                                       const struct fc_winograd_cut *cut)
{
    int64_t products = 0;
    for (int64_t i = 0; i < form->pieces; i++) {
        const struct fc_winograd_piece piece = fc_winograd_piece_at(form, i);
        int64_t along[2], tiles;
        for (int a = 0; a < 2; a++) {
            along[a] = points_along(cut, a, &tiles);
            along[a] -= piece.lacks[a] ? tiles : 0;
        }
        products += along[0] * along[1];
    }
    return products;
}

/* ------------------------------------------------------------------- phases */

bool fc_winograd_find_tiles(const struct fc_winograd_cut *cut, int axis, int64_t begin, int64_t end,
                            struct fc_winograd_tiles *tiles)
{
    const int64_t phase = tiles->phase[axis];
    const int64_t first = fc_max(fc_ceil_div(begin - phase, cut->phases[axis]), 0);
    const int64_t stop = fc_max(fc_ceil_div(end - phase, cut->phases[axis]), first);
    if (axis == 0) {
        tiles->row = first;
        tiles->end = stop;
    } else {
        tiles->column = first;
        tiles->stop = stop;
    }
    return first < stop;
}

int64_t fc_winograd_line_of(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_tiles *tiles, int64_t row)
{
    return tiles->n * cut->tile_rows + row * cut->phases[0] + tiles->phase[0];
}

int64_t fc_winograd_place_of(const struct fc_winograd_cut *cut,
                             const struct fc_winograd_tiles *tiles, int64_t column)
{
    return column * cut->phases[1] + tiles->phase[1] - tiles->block->column;
}

int64_t fc_winograd_full_of(const struct fc_winograd_cut *cut, int axis, int64_t phase)
{
    return fc_max(fc_ceil_div(cut->full[axis] - phase, cut->phases[axis]), 0);
}

/* ------------------------------------------------------------------- images */

/* Every step[a]-th pixel of image n from pixel first[a] on. */
static fc_image lattice(const fc_image *image, int64_t n, const int64_t first[2],
                        const int64_t step[2], int64_t element)
{
    fc_image some = *image;
    if (some.data)
        some.data = fc_image_at(&some, element, n, first[0], first[1], 0);
    some.n = 1;
    some.h = fc_max(fc_ceil_div(some.h - first[0], step[0]), 0);
    some.w = fc_max(fc_ceil_div(some.w - first[1], step[1]), 0);
    if (some.h > 1) /* else the product might overflow */
        some.stride_h *= step[0];
    if (some.w > 1)
        some.stride_w *= step[1];
    return some;
}

int64_t fc_winograd_step_of(const struct fc_axis *axis)
{
    return axis->taps > 1 ? axis->dilation : 1;
}

struct fc_convolution fc_winograd_image(const struct fc_convolution *convolution, int64_t n,
                                        const int64_t phase[2])
{
    struct fc_convolution image = *convolution;
    int64_t x_first[2], step[2];
    for (int a = 0; a < 2; a++) {
        struct fc_axis *axis = &image.axis[a];
        const int64_t shift = phase[a] - axis->before;
        step[a] = fc_winograd_step_of(axis);
        const int64_t before = -fc_floor_div(shift, step[a]);
        x_first[a] = shift + before * step[a];
        axis->before = before;
        axis->in = fc_max(fc_ceil_div(axis->in - x_first[a], step[a]), 0);
        axis->out = fc_ceil_div(axis->out - phase[a], step[a]);
        axis->dilation = 1;
    }
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    image.x = lattice(&convolution->x, n, x_first, step, element);
    image.y = lattice(&convolution->y, n, phase, step, element);
    image.residual = lattice(&convolution->residual, n, phase, step, element);
    return image;
}

fc_image fc_winograd_x_under(const struct fc_convolution *image,
                             const struct fc_winograd_piece *piece, int64_t before[2])
{
    int64_t first[2], step[2];
    for (int a = 0; a < 2; a++) {
        const int64_t shift = piece->first[a] - image->axis[a].before;
        step[a] = image->axis[a].stride;
        before[a] = -fc_floor_div(shift, step[a]);
        first[a] = shift + before[a] * step[a];
    }
    return lattice(&image->x, 0, first, step, (int64_t)fc_element_size(image->dtype));
}
