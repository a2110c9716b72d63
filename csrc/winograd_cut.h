/* winograd_cut.h: the outputs of a convolution as rows of tiles, and blocks of them.
 *
 * Where the kernel is dilated, the outputs d apart read inputs d apart: each of the d * d phases of an
 * image is an image of its own, convolved without dilation. "Image" below is one of those. */
#ifndef FC_WINOGRAD_CUT_H
#define FC_WINOGRAD_CUT_H

#include "winograd.h"

/* Rows of tiles, "lines", are counted over all images; a block is some columns of some lines. */
struct fc_winograd_cut {
    int64_t phases[2], images;
    int64_t tile_rows, tile_columns; /* of an image */
    int points[2], last[2];          /* of a tile, and of the last one of a column and a row */
    int64_t lines, columns;          /* of a block */
    int64_t line_blocks, column_blocks;
};

struct fc_winograd_block {
    int64_t line, lines, column, columns;
};

/* How many tiles of a block have fewer points in neither direction, in one, or in both. Their order
 *   full lines' last, full, short lines', short lines' last
 * puts those that a position has side by side, whether it lacks the last, the short lines' or both. */
struct fc_winograd_order {
    int64_t columns, ends; /* full ones, and whether a short one follows */
    int64_t full_lines, short_lines;
};

struct fc_winograd_order fc_winograd_order_of(const struct fc_winograd_cut *cut,
                                              const struct fc_winograd_block *block);

/* Whether tiles that end a row or a column have fewer points. */
bool fc_winograd_has_short(const struct fc_winograd_cut *cut);

/* The points of a tile, vertical and horizontal. */
void fc_winograd_points_of(const struct fc_winograd_cut *cut, const struct fc_winograd_block *block,
                           int64_t line, int64_t column, int points[2]);

/* The place in that order of a column, counted from the block's first, of a line. */
int64_t fc_winograd_tile_at(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_block *block, int64_t line, int64_t column);

/* Those that have a position: [*begin, *end). */
void fc_winograd_tiles_with(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_block *block, int64_t position, int64_t *begin,
                            int64_t *end);

/* Products of a position and a tile in one image. */
int64_t fc_winograd_products(const struct fc_winograd_cut *cut);

/* The images and their tiles, not yet cut. */
struct fc_winograd_cut fc_winograd_find_images(const struct fc_winograd_form *form,
                                               const struct fc_convolution *convolution);

/* Cuts them into near-equal blocks of at most `most` tiles, or one row of them. */
void fc_winograd_cut_blocks(struct fc_winograd_cut *cut, int64_t most);

struct fc_winograd_block fc_winograd_block_at(const struct fc_winograd_cut *cut, int64_t index);

/* Image `index` alone, without dilation. */
struct fc_convolution fc_winograd_image(const struct fc_winograd_cut *cut,
                                        const struct fc_convolution *convolution, int64_t index);

#endif
