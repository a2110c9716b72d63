/* winograd_cut.h: the outputs of a convolution as rows of tiles, and blocks of them.
 *
 * Where the kernel is dilated, the outputs d apart read inputs d apart: each of the d * d phases of an
 * image is an image of its own, convolved without dilation. Row i of the tiles of phase p is row
 * i * d + p of the image's, and so are columns: what lacks points comes last. */
#ifndef FC_WINOGRAD_CUT_H
#define FC_WINOGRAD_CUT_H

#include "winograd.h"

/* Rows of tiles, "lines", are counted over all images; a block is some columns of some lines. */
struct fc_winograd_cut {
    int64_t images, phases[2];
    int64_t tile_rows, tile_columns;                /* of an image, in all phases */
    int64_t full[2];                                /* rows and columns before the short ones */
    int points[2], full_points[2], short_points[2]; /* of the form, and of tiles */
    int64_t lines, columns;                         /* of a block */
    int64_t line_blocks, column_blocks;
    int64_t longer; /* of the line_blocks: those after them have one line less */
};

/* How many tiles of a block have fewer points in neither direction, in one, or in both. Their order
 *   full lines' last, full, short lines', short lines' last
 * puts those that a position has side by side, whether it lacks the last, the short lines' or both. */
struct fc_winograd_order {
    int64_t columns, ends; /* full ones, and the short ones that follow */
    int64_t full_lines, short_lines;
    int64_t shorts; /* short lines before the block */
};

struct fc_winograd_block {
    int64_t line, lines, column, columns;
    struct fc_winograd_order order;
};

/* Whether some tiles have fewer points than others. */
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

/* Products of a position and a tile in one image: of a piece that has them all, and of all pieces. */
int64_t fc_winograd_products(const struct fc_winograd_cut *cut);
int64_t fc_winograd_products_of_pieces(const struct fc_winograd_form *form,
                                       const struct fc_winograd_cut *cut);

/* Tiles of one phase of image n in a block: rows [row, end), columns [column, stop) of the phase's. */
struct fc_winograd_tiles {
    const struct fc_winograd_block *block;
    int64_t n, phase[2], row, end, column, stop;
};

/* Sets the tiles' rows (axis 0) or columns to those of their phase among [begin, end) of the image's;
 * returns whether there are any. */
bool fc_winograd_find_tiles(const struct fc_winograd_cut *cut, int axis, int64_t begin, int64_t end,
                            struct fc_winograd_tiles *tiles);

/* What the cut knows them as: a line of all images, and a column counted from the block's first. */
int64_t fc_winograd_line_of(const struct fc_winograd_cut *cut,
                            const struct fc_winograd_tiles *tiles, int64_t row);
int64_t fc_winograd_place_of(const struct fc_winograd_cut *cut,
                             const struct fc_winograd_tiles *tiles, int64_t column);

/* Rows or columns of tiles of a phase that are full. */
int64_t fc_winograd_full_of(const struct fc_winograd_cut *cut, int axis, int64_t phase);

/* The images and their tiles, not yet cut. */
struct fc_winograd_cut fc_winograd_find_images(const struct fc_winograd_form *form,
                                               const struct fc_convolution *convolution);

/* How many chunks of a block's tiles are taken to positions at once, all or one, and of how many tiles:
 * what then waits should fit the second-level cache, V of all channels, or, of many, V of a chunk and
 * M of FC_WINOGRAD_KEPT_PANELS. */
struct fc_winograd_depth {
    int64_t chunks, tiles;
};
struct fc_winograd_depth fc_winograd_depth_of(const struct fc_winograd_form *form,
                                              const struct fc_winograd_cut *cut,
                                              const struct fc_channels *channels, int64_t element);

/* Cuts them into near-equal blocks of at most `most` tiles, or one row of them. */
void fc_winograd_cut_blocks(struct fc_winograd_cut *cut, int64_t most);

/* Makes them a multiple of the threads where there are lines enough, and no two differ by more than a line. */
void fc_winograd_even_blocks(struct fc_winograd_cut *cut, int threads);

struct fc_winograd_block fc_winograd_block_at(const struct fc_winograd_cut *cut, int64_t index);

/* Pixels from one of a phase to the next: also where there is one phase, of a single output. */
int64_t fc_winograd_step_of(const struct fc_axis *axis);

/* One phase, vertical and horizontal, of image n alone, without dilation. */
struct fc_convolution fc_winograd_image(const struct fc_convolution *convolution, int64_t n,
                                        const int64_t phase[2]);

/* The x of such an image that a piece of the kernel slides over by one pixel, and the padding before it. */
fc_image fc_winograd_x_under(const struct fc_convolution *image,
                             const struct fc_winograd_piece *piece, int64_t before[2]);

#endif
