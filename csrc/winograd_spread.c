/* winograd_spread.c: blocks of tiles, taken from images to positions.
 *
 * Where channels lie together, x is read where it is: the tiles within the image at fixed steps, those
 * at its edges through a table of their pixels, of which padding is one more. In other layouts a slab
 * of 16 channels of the rows under a block is packed first, padded: 24 loads and stores for a tile of
 * 36 vectors. */
#include "winograd_tiles.h"

#include "dispatch.h"
#include "workspace.h"

enum {
    MOST_LINES = 8,
    MOST_PIXELS = MOST_LINES * MOST_LINES, /* of a tile */
    SMALL = 64 * 1024                      /* bytes of an image */
};

struct fc_winograd_source fc_winograd_source_of(const struct fc_convolution *convolution,
                                                const struct fc_winograd_cut *cut,
                                                const struct fc_winograd_form *form, bool of_dy)
{
    const struct fc_kernels *table = fc_current_kernels(convolution->dtype);
    const struct fc_winograd_transforms *transforms = &table->winograd.transforms[form->transforms];
    struct fc_winograd_source source = {
        .convolution = convolution,
        .cut = cut,
        .padded = fc_padded_x(convolution, &table->conv2d, false),
        .of_dy = of_dy,
        .transform = of_dy ? transforms->dy : transforms->input,
    };
    for (int a = 0; a < 2; a++) {
        source.step[a] = form->outputs[a];
        source.size[a] = of_dy ? form->outputs[a] : form->points[a];
    }
    if (of_dy) {
        source.padded.mode = FC_CONSTANT;
        source.padded.value = 0;
    }
    return source;
}

/* The source as it is for one phase of image n, and a piece of the kernel. */
static struct fc_winograd_source of_image(const struct fc_winograd_source *source, int64_t n,
                                          const int64_t phase[2])
{
    struct fc_winograd_source one = *source;
    const struct fc_convolution image = fc_winograd_image(source->convolution, n, phase);
    if (source->of_dy) {
        one.padded.x = image.y;
        return one;
    }
    one.padded.x = fc_winograd_x_under(&image, &source->piece, one.before);
    return one;
}

/* Pixels under `tiles` tiles. */
static int64_t pixels(const struct fc_winograd_source *source, int axis, int64_t tiles)
{
    return (tiles - 1) * source->step[axis] + source->size[axis];
}

size_t fc_winograd_spread_bytes(const struct fc_winograd_source *source, int64_t channels)
{
    const struct fc_winograd_cut *cut = source->cut;
    const int64_t lines = fc_ceil_div(fc_min(cut->lines, cut->tile_rows), cut->phases[0]);
    const int64_t columns = fc_ceil_div(cut->columns, cut->phases[1]);
    /* The last packed pixel's channels are read in whole vectors; a pixel of padding has them all. */
    const int64_t packed = (pixels(source, 0, lines) * pixels(source, 1, columns) + 1) * FC_SLAB;
    return (size_t)fc_max(packed, channels) * source->padded.element;
}

/* Where their pixels are: elements from one to the next, of the first row's first tile on. */
struct pixels {
    const char *x;
    ptrdiff_t row, column;
};

/* Elements from v to tile t. */
static int64_t tile_offset(const struct fc_winograd_layout *layout, int64_t t)
{
    return t / layout->few * layout->v_few + t % layout->few * layout->v_tile;
}

/* All channels of columns [column, stop) of a row, all full or all short, in pieces that lie together
 * in v: phases take turns there. */
static void spread_piece(const struct fc_winograd_source *source,
                         const struct fc_winograd_tiles *tiles, const struct pixels *from,
                         int64_t row, int64_t column, int64_t stop, int64_t channels, char *v)
{
    const struct fc_winograd_layout *layout = &source->layout;
    const struct fc_winograd_cut *cut = source->cut;
    const ptrdiff_t element = (ptrdiff_t)source->padded.element;
    const int64_t line = fc_winograd_line_of(cut, tiles, row);
    while (column < stop) {
        const int64_t place = fc_winograd_place_of(cut, tiles, column);
        const int64_t t = fc_winograd_tile_at(cut, tiles->block, line, place);
        const int64_t most = cut->phases[1] > 1 ? 1 : layout->few - t % layout->few;
        const int64_t count = fc_min(most, stop - column);
        struct fc_winograd_spread spread = {
            .x = from->x + ((row - tiles->row) * source->step[0] * from->row +
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
        fc_winograd_points_of(cut, tiles->block, line, place, spread.points);
        source->transform(&spread);
        column += count;
    }
}

static void spread_tiles(const struct fc_winograd_source *source,
                         const struct fc_winograd_tiles *tiles, const struct pixels *from,
                         int64_t channels, char *v)
{
    const int64_t full = fc_winograd_full_of(source->cut, 1, tiles->phase[1]);
    for (int64_t row = tiles->row; row < tiles->end; row++) {
        spread_piece(source, tiles, from, row, tiles->column, fc_min(tiles->stop, full), channels,
                     v);
        spread_piece(source, tiles, from, row, fc_max(tiles->column, full), tiles->stop, channels,
                     v);
    }
}

/* The first pixel under a row or column of tiles, in the coordinates of the phase. */
static int64_t pixel_under(const struct fc_winograd_source *source, int axis, int64_t tile)
{
    return tile * source->step[axis] - source->before[axis];
}

static struct fc_patch patch_under(const struct fc_winograd_source *source,
                                   const struct fc_winograd_tiles *tiles)
{
    return (struct fc_patch){
        .x_row = pixel_under(source, 0, tiles->row),
        .x_row_gap = 1,
        .x_rows = pixels(source, 0, tiles->end - tiles->row),
        .x_column = pixel_under(source, 1, tiles->column),
        .x_columns = pixels(source, 1, tiles->stop - tiles->column),
    };
}

/* By way of scratch, slab by slab, padded. */
static void spread_packed(const struct fc_winograd_source *source,
                          const struct fc_winograd_tiles *tiles, int64_t c, int64_t count,
                          char *scratch, char *v)
{
    const struct fc_patch patch = patch_under(source, tiles);
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
static void spread_in_place(const struct fc_winograd_source *source,
                            const struct fc_winograd_tiles *tiles, int64_t c, int64_t count,
                            char *v)
{
    const fc_image *x = &source->padded.x;
    const char *from =
        (const char *)x->data + (pixel_under(source, 0, tiles->row) * x->stride_h +
                                 pixel_under(source, 1, tiles->column) * x->stride_w + c) *
                                    (ptrdiff_t)source->padded.element;
    if (tiles->row < tiles->end)
        spread_tiles(source, tiles, &(struct pixels){from, x->stride_h, x->stride_w}, count, v);
}

/* The rows or columns of the image under a tile, below 0 those that are padding: for each pixel by itself
 * they took 4 % of the time of 11 x 11 images padded by 2. */
static void find_lines(const struct fc_winograd_source *source, int axis, int64_t tile,
                       int64_t lines[])
{
    const fc_image *x = &source->padded.x;
    for (int64_t i = 0; i < source->size[axis]; i++)
        lines[i] = fc_padding_source(source->padded.mode, pixel_under(source, axis, tile) + i,
                                     axis == 0 ? x->h : x->w);
}

/* Asks for the channels of a tile's pixels, each a short piece of memory far from the others that no
 * stream of the prefetcher covers: dilated, 14 x 14 with 2048 channels took 1.4 times as long without. Small images,
 * which are asked for by whole blocks ahead, gain 2 % without: the input gradient of 11 x 11 with 64 channels. */
static void fetch_pixels(const void *const *at, int64_t pixels, int64_t bytes, const void *padding)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t byte = 0; at[i] != padding && byte < bytes; byte += FC_CACHE_LINE)
            __builtin_prefetch((const char *)at[i] + byte, 0, 2);
}

/* All channels of tiles at the edges, through a table of where their pixels lie. */
static void spread_edge(const struct fc_winograd_source *source,
                        const struct fc_winograd_tiles *tiles, int64_t c, int64_t count,
                        const char *padding, char *v)
{
    const struct fc_winograd_layout *layout = &source->layout;
    const ptrdiff_t element = (ptrdiff_t)source->padded.element;
    const fc_image *x = &source->padded.x;
    const char *image = (const char *)x->data + c * element;
    const void *at[MOST_PIXELS];
    const struct fc_winograd_cut *cut = source->cut;
    const bool asks = cut->phases[0] * cut->phases[1] > 1 || x->h * x->stride_h * element > SMALL;
    int64_t h[MOST_LINES], w[MOST_LINES];
    for (int64_t row = tiles->row; row < tiles->end; row++) {
        find_lines(source, 0, row, h);
        for (int64_t column = tiles->column; column < tiles->stop; column++) {
            int points[2];
            const int64_t line = fc_winograd_line_of(cut, tiles, row),
                          place = fc_winograd_place_of(cut, tiles, column);
            fc_winograd_points_of(cut, tiles->block, line, place, points);
            const int64_t rows = fc_max(source->size[0] - (cut->points[0] - points[0]), 1);
            const int64_t columns = fc_max(source->size[1] - (cut->points[1] - points[1]), 1);
            const int64_t t = fc_winograd_tile_at(cut, tiles->block, line, place);
            find_lines(source, 1, column, w);
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < columns; j++)
                    at[i * columns + j] =
                        h[i] < 0 || w[j] < 0
                            ? padding
                            : image + (h[i] * x->stride_h + w[j] * x->stride_w) * element;
            if (asks)
                fetch_pixels(at, rows * columns, count * element, padding);
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
}

/* Those of [first, end) of tiles in one direction, of which `full` are full, that are so and whose
 * pixels all lie in an image of `size`. */
static void find_inner(const struct fc_winograd_source *source, int axis, int64_t size,
                       int64_t full, int64_t *first, int64_t *end)
{
    const int64_t step = source->step[axis], before = source->before[axis];
    const int64_t begin = fc_max(*first, fc_ceil_div(before, step));
    const int64_t last = fc_floor_div(size + before - source->size[axis], step);
    *end = fc_min(fc_max(begin, fc_min(last + 1, full)), *end);
    *first = fc_min(begin, *end);
}

/* Tiles whose channels lie together in whole slabs: those within the image where they are, and those
 * around them through tables. */
static void spread_both(const struct fc_winograd_source *source,
                        const struct fc_winograd_tiles *tiles, int64_t c, int64_t count,
                        const char *padding, char *v)
{
    const struct fc_winograd_cut *cut = source->cut;
    const fc_image *x = &source->padded.x;
    struct fc_winograd_tiles inner = *tiles, around[] = {*tiles, *tiles, *tiles, *tiles};
    find_inner(source, 0, x->h, fc_winograd_full_of(cut, 0, tiles->phase[0]), &inner.row,
               &inner.end);
    find_inner(source, 1, x->w, fc_winograd_full_of(cut, 1, tiles->phase[1]), &inner.column,
               &inner.stop);
    around[0].end = around[2].row = around[3].row = inner.row;
    around[1].row = around[2].end = around[3].end = inner.end;
    around[2].stop = inner.column;
    around[3].column = inner.stop;
    for (int i = 0; i < 4; i++)
        spread_edge(source, &around[i], c, count, padding, v);
    if (inner.column < inner.stop)
        spread_in_place(source, &inner, c, count, v);
}

/* The tiles of image n in a block, of tiles->phase; whether there are any. */
static bool find_tiles(const struct fc_winograd_cut *cut, const struct fc_winograd_block *block,
                       int64_t n, struct fc_winograd_tiles *tiles)
{
    const int64_t line = block->line - n * cut->tile_rows;
    const int64_t begin = fc_max(line, 0), end = fc_min(line + block->lines, cut->tile_rows);
    tiles->block = block;
    tiles->n = n;
    return fc_winograd_find_tiles(cut, 0, begin, end, tiles) &&
           fc_winograd_find_tiles(cut, 1, block->column, block->column + block->columns, tiles);
}

/* Phase by phase. */
static void spread_image(const struct fc_winograd_source *source,
                         const struct fc_winograd_block *block, int64_t n, int64_t c, int64_t count,
                         bool in_place, char *scratch, char *v)
{
    const struct fc_winograd_cut *cut = source->cut;
    struct fc_winograd_tiles tiles = {0};
    for (int64_t i = 0; i < cut->phases[0] * cut->phases[1]; i++) {
        tiles.phase[0] = i / cut->phases[1];
        tiles.phase[1] = i % cut->phases[1];
        if (!find_tiles(cut, block, n, &tiles))
            continue;
        const struct fc_winograd_source one = of_image(source, n, tiles.phase);
        if (in_place)
            spread_both(&one, &tiles, c, count, scratch, v);
        else
            spread_packed(&one, &tiles, c, count, scratch, v);
    }
}

void fc_winograd_spread_block(const struct fc_winograd_source *source,
                              const struct fc_winograd_block *block, int64_t c, int64_t count,
                              void *scratch, void *v)
{
    const int64_t rows = source->cut->tile_rows, last = block->line + block->lines - 1;
    const fc_image *x = source->of_dy ? &source->convolution->y : &source->convolution->x;
    const bool in_place = x->stride_c == 1 && count % FC_SLAB == 0;
    if (in_place)
        fc_fill_padding(&source->padded, scratch, count);
    for (int64_t n = block->line / rows; n <= last / rows; n++)
        spread_image(source, block, n, c, count, in_place, scratch, v);
}

/* --------------------------------------------------------------- in two steps */

/* Elements of a slab of one image under a block, at most. */
static int64_t slab_elements(const struct fc_winograd_source *source)
{
    const struct fc_winograd_cut *cut = source->cut;
    return pixels(source, 0, fc_min(cut->lines, cut->tile_rows)) * pixels(source, 1, cut->columns) *
           FC_SLAB;
}

size_t fc_winograd_packed_bytes(const struct fc_winograd_source *source, int64_t count)
{
    const struct fc_winograd_cut *cut = source->cut;
    const int64_t images = fc_min(cut->lines / cut->tile_rows + 2, cut->images);
    return (size_t)(images * slab_elements(source) * (count / FC_SLAB)) * source->padded.element;
}

void fc_winograd_pack_block(const struct fc_winograd_source *source,
                            const struct fc_winograd_block *block, int64_t c, int64_t count,
                            char *packed)
{
    const int64_t rows = source->cut->tile_rows, last = block->line + block->lines - 1;
    const int64_t image = slab_elements(source) * (count / FC_SLAB);
    for (int64_t n = block->line / rows; n <= last / rows; n++) {
        struct fc_winograd_tiles tiles = {0};
        find_tiles(source->cut, block, n, &tiles);
        const struct fc_winograd_source one = of_image(source, n, tiles.phase);
        const struct fc_patch patch = patch_under(&one, &tiles);
        fc_pack_slabs(&one.padded, 0, &patch, FC_SLAB, c, count, packed);
        packed += image * (int64_t)source->padded.element;
    }
}

void fc_winograd_spread_packed(const struct fc_winograd_source *source,
                               const struct fc_winograd_block *block, int64_t count, int64_t slab,
                               const char *packed, char *v)
{
    const int64_t rows = source->cut->tile_rows, last = block->line + block->lines - 1;
    const int64_t element = (int64_t)source->padded.element;
    for (int64_t n = block->line / rows; n <= last / rows; n++) {
        struct fc_winograd_tiles tiles = {0};
        find_tiles(source->cut, block, n, &tiles);
        const int64_t row = pixels(source, 1, tiles.stop - tiles.column) * FC_SLAB;
        const int64_t each = pixels(source, 0, tiles.end - tiles.row) * row;
        spread_tiles(source, &tiles, &(struct pixels){packed + slab * each * element, row, FC_SLAB},
                     FC_SLAB, v);
        packed += slab_elements(source) * (count / FC_SLAB) * element;
    }
}
