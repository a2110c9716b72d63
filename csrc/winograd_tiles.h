/* winograd_tiles.h: blocks of tiles, taken from images to positions and back. */
#ifndef FC_WINOGRAD_TILES_H
#define FC_WINOGRAD_TILES_H

#include "pack_rows.h"
#include "winograd_cut.h"

/* Where tile t (fc_winograd_tile_at) and slab s of a position begin:
 * t / few * v_few + s * v_slab + t % few * v_tile. */
struct fc_winograd_layout {
    int64_t few, v_few, v_slab, v_tile, v_position;
};

/* What is taken to positions: x, whose tiles overlap, or dy (y of the convolution), whose tiles do
 * not and beyond whose edges is zero. */
struct fc_winograd_source {
    const struct fc_convolution *convolution;
    const struct fc_winograd_cut *cut;
    struct fc_padded padded; /* of one image: its x is set for each */
    bool of_dy;
    void (*transform)(const struct fc_winograd_spread *);
    int64_t step[2], size[2], before[2]; /* from tile to tile, of a tile, and padding */
    struct fc_winograd_piece piece;      /* of the kernel; of dy none */
    struct fc_winograd_layout layout;
};

/* x, or dy, with the transform that takes it to a form's positions. */
struct fc_winograd_source fc_winograd_source_of(const struct fc_convolution *convolution,
                                                const struct fc_winograd_cut *cut,
                                                const struct fc_winograd_form *form, bool of_dy);

/* Bytes of scratch that spreading so many channels of a block takes. */
size_t fc_winograd_spread_bytes(const struct fc_winograd_source *source, int64_t channels);

/* Channels [c, c + count) of a block to v, slab by slab. */
void fc_winograd_spread_block(const struct fc_winograd_source *source,
                              const struct fc_winograd_block *block, int64_t c, int64_t count,
                              void *scratch, void *v);

/* The same in two steps, where there is one phase: `count` channels from c on, in whole slabs, to `packed`, of
 * fc_winograd_packed_bytes, and from there one of the slabs to v. */
size_t fc_winograd_packed_bytes(const struct fc_winograd_source *source, int64_t count);
void fc_winograd_pack_block(const struct fc_winograd_source *source,
                            const struct fc_winograd_block *block, int64_t c, int64_t count,
                            char *packed);
void fc_winograd_spread_packed(const struct fc_winograd_source *source,
                               const struct fc_winograd_block *block, int64_t count, int64_t slab,
                               const char *packed, char *v);

/* Back to y: the line of a block that begins with its tile `first`, for outputs [k, k + outputs).
 * m is [position][tile][pitch]; strip is scratch for a line of outputs, pitch apart. */
struct fc_winograd_target {
    const struct fc_convolution *convolution;
    const struct fc_conv2d_kernels *kernels;
    const struct fc_winograd_transforms *transforms;
    const struct fc_winograd_cut *cut;
    struct fc_winograd_form form;
    ptrdiff_t element, pitch, m_position;
    bool stream; /* y goes past the caches */
};

/* Whether every sum was finite. */
bool fc_winograd_gather_line(const struct fc_winograd_target *target,
                             const struct fc_winograd_block *block, int64_t line, int64_t k,
                             int64_t outputs, const char *m, char *strip);

/* Lines in which a sum was not finite, as `bad` has it for each, without Winograd: what is infinite or
 * NaN in x must not reach outputs that do not read it. */
fc_status fc_winograd_compute_again(const struct fc_winograd_target *target,
                                    const unsigned char *bad);

#endif
