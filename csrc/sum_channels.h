/* sum_channels.h: sums of channels, row by row, for whoever has a row at hand. */
#ifndef FC_SUM_CHANNELS_H
#define FC_SUM_CHANNELS_H

#include "blocks.h"
#include "conv2d_kernels.h"
#include "geometry.h"

/* Rows of all images are counted on. Those of a chunk must be added in their order, each channel's by
 * one thread at a time. */
struct fc_channel_sums {
    fc_image image;
    void *to; /* where they go at the end, or NULL where nobody wants them */
    const struct fc_conv2d_kernels *kernels;
    ptrdiff_t element;
    int64_t chunks;
    char *chunk, *pieces;
};

struct fc_channel_sums fc_plan_channel_sums(fc_dtype dtype, const fc_image *image, void *to);
size_t fc_channel_sums_bytes(const struct fc_channel_sums *sums, int width);
void fc_begin_channel_sums(struct fc_channel_sums *sums, char *scratch);

/* Whether they are wanted, blocks of so many images have their rows in order, and chunks of `steps` of them begin with
 * a row, where ours do. */
bool fc_chunks_fit_channel_sums(const struct fc_channel_sums *sums, const struct fc_axis axis[2],
                                const struct fc_blocks *blocks, int64_t images, int64_t steps,
                                int64_t chunks);

/* Channels [first, first + channels) of some rows of an image. */
void fc_add_rows(const struct fc_channel_sums *sums, int64_t row, int64_t rows, int64_t first,
                 int64_t channels, int worker);

/* The same of rows that have been packed, rows and pixels so many elements apart. */
void fc_add_packed_rows(const struct fc_channel_sums *sums, int64_t row, int64_t rows,
                        int64_t first, int64_t channels, const void *packed, ptrdiff_t x_row,
                        ptrdiff_t x_pixel);

/* Adds to the first of some sums of so many elements those that follow it, in one chain. */
void fc_add_chunks(const struct fc_conv2d_kernels *kernels, char *sums, int64_t chunks,
                   int64_t elements, ptrdiff_t element);

/* Whether so many numbers are all finite. */
bool fc_all_finite(const void *numbers, int64_t count, ptrdiff_t element);

/* Stores the sums of all rows, once the loop that adds them is done. */
void fc_end_channel_sums(struct fc_channel_sums *sums);

#endif
