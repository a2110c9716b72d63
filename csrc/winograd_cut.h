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
    int64_t lines, columns;          /* of a block */
    int64_t line_blocks, column_blocks;
};

struct fc_winograd_block {
    int64_t line, lines, column, columns;
};

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
