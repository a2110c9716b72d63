/* winograd_tiles.h: blocks of tiles, taken from images to positions and back. */
#ifndef FC_WINOGRAD_TILES_H
#define FC_WINOGRAD_TILES_H

#include "pack_rows.h"
#include "winograd.h"

/* The outputs of all images as rows of tiles, "lines", counted over the images; a block is some
 * columns of some lines. */
struct fc_winograd_cut {
    int64_t tile_rows, tile_columns; /* of an image */
    int64_t lines, columns;          /* of a block */
    int64_t line_blocks, column_blocks;
};

struct fc_winograd_block {
    int64_t line, lines, column, columns;
};

/* Cuts n images into near-equal blocks of at most `most` tiles, or one row of them. */
void fc_winograd_cut_blocks(const struct fc_winograd_form *form, const struct fc_axis axis[2],
                            int64_t n, int64_t most, struct fc_winograd_cut *cut);
struct fc_winograd_block fc_winograd_block_at(const struct fc_winograd_cut *cut, int64_t n,
                                              int64_t index);

/* Where tile t and slab s of a position begin: t / few * v_few + s * v_slab + t % few * v_tile. */
struct fc_winograd_layout {
    int64_t few, v_few, v_slab, v_tile, v_position;
};

/* An image that is taken to positions: x, whose tiles overlap, or dy, whose tiles do not. */
struct fc_winograd_source {
    struct fc_padded padded;
    void (*transform)(const struct fc_winograd_spread *);
    int64_t step[2], size[2], before[2]; /* from tile to tile, of a tile, and padding */
    struct fc_winograd_layout layout;
    const struct fc_winograd_cut *cut;
};

/* Bytes of scratch that spreading so many channels of a block takes. */
size_t fc_winograd_spread_bytes(const struct fc_winograd_source *source, int64_t channels);

/* Channels [c, c + count) of a block to v, slab by slab. */
void fc_winograd_spread_block(const struct fc_winograd_source *source,
                              const struct fc_winograd_block *block, int64_t c, int64_t count,
                              void *scratch, void *v);

/* Back to y: the line of a block that begins with its tile `first`, for outputs [k, k + outputs).
 * m is [position][tile][pitch]; strip is scratch for a line of outputs, pitch apart. */
struct fc_winograd_target {
    const struct fc_convolution *convolution;
    const struct fc_conv2d_kernels *kernels;
    const struct fc_winograd_transforms *transforms;
    const struct fc_winograd_cut *cut;
    struct fc_winograd_form form;
    ptrdiff_t element, pitch, m_position;
};

/* Whether every sum was finite. */
bool fc_winograd_gather_line(const struct fc_winograd_target *target,
                             const struct fc_winograd_block *block, int64_t line, int64_t k,
                             int64_t outputs, const char *m, char *strip);

#endif
