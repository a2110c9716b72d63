/* sum_channels.c: the sum of each channel over the pixels of a batch: dbias.
 *
 * One chain over at most PIECE_PIXELS pixels of a row, then one addition; rows in order within a
 * chunk, then chunks in order. The chunks follow from the sizes alone. Planes are transposed in
 * pieces, so that both data formats have the same sums. */
#include "sum_channels.h"

#include <math.h>
#include <string.h>

#include "conv2d.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum { CHUNKS = 16, PIECE_PIXELS = 128, PIECE_CHANNELS = 64 };

size_t fc_channel_sums_bytes(const struct fc_channel_sums *sums, int width)
{
    const int64_t piece = PIECE_PIXELS * PIECE_CHANNELS * sums->element;
    return fc_round_to_line((size_t)(sums->chunks * sums->image.c * sums->element)) +
           (size_t)(width * piece);
}

struct fc_channel_sums fc_plan_channel_sums(fc_dtype dtype, const fc_image *image, void *to)
{
    struct fc_channel_sums sums = {
        .image = *image,
        .to = to,
        .kernels = &fc_current_kernels(dtype)->conv2d,
        .element = (ptrdiff_t)fc_element_size(dtype),
        .chunks = fc_max(fc_min(image->n * image->h, CHUNKS), 1),
    };
    if (image->c == 1)
        sums.image.stride_c = 1;
    return sums;
}

void fc_begin_channel_sums(struct fc_channel_sums *sums, char *scratch)
{
    const size_t bytes = (size_t)(sums->chunks * sums->image.c * sums->element);
    sums->chunk = memset(scratch, 0, bytes);
    sums->pieces = scratch + fc_round_to_line(bytes);
}

/* Whether no chunk has rows before this one and others from it on; there are rows. */
static bool is_chunk_end(const struct fc_channel_sums *sums, int64_t row)
{
    const int64_t rows = sums->image.n * sums->image.h;
    return rows * fc_ceil_div(row * sums->chunks, rows) / sums->chunks == row;
}

bool fc_chunks_fit_channel_sums(const struct fc_channel_sums *sums, const struct fc_axis axis[2],
                                const struct fc_blocks *blocks, int64_t images, int64_t steps,
                                int64_t chunks)
{
    const int64_t count = fc_block_count(blocks);
    bool fits = sums->to && blocks->row_phases == 1;
    for (int64_t chunk = 1; fits && chunk < chunks; chunk++) {
        const int64_t step = steps * chunk / chunks;
        const struct fc_patch patch = fc_block_at(axis, blocks, step % count);
        fits = step % blocks->column_blocks == 0 &&
               is_chunk_end(sums, step / count * images * sums->image.h + patch.row);
    }
    return fits;
}

/* The sums of the last chunk that begins at or before the row: rows * chunk / chunks <= row. */
static char *chunk_of(const struct fc_channel_sums *sums, int64_t row)
{
    const int64_t rows = sums->image.n * sums->image.h;
    return sums->chunk + ((row + 1) * sums->chunks - 1) / rows * sums->image.c * sums->element;
}

/* Rows of one chunk together, where they are short and their channels leave chains for more than one. */
void fc_add_packed_rows(const struct fc_channel_sums *sums, int64_t row, int64_t rows,
                        int64_t first, int64_t channels, const void *packed, ptrdiff_t x_row,
                        ptrdiff_t x_pixel)
{
    const int64_t columns = sums->image.w;
    const bool once = columns <= PIECE_PIXELS && channels * sums->element <= 2 * FC_UNIT_BYTES &&
                      chunk_of(sums, row) == chunk_of(sums, row + rows - 1);
    const int64_t together = once ? rows : 1;
    for (int64_t r = 0; r < rows; r += together)
        for (int64_t w = 0; w < columns; w += PIECE_PIXELS)
            sums->kernels->channel_sums(&(struct fc_channel_rows){
                .x = (const char *)packed + (r * x_row + w * x_pixel) * sums->element,
                .sums = chunk_of(sums, row + r) + first * sums->element,
                .x_row = x_row,
                .x_pixel = x_pixel,
                .rows = together,
                .pixels = fc_min(PIECE_PIXELS, columns - w),
                .channels = channels});
}

/* A row of planes, piece by piece: x is that of its first channel. */
static void add_planes(const struct fc_channel_sums *sums, const char *x, int64_t channels,
                       char *to, char *piece)
{
    const fc_image *image = &sums->image;
    for (int64_t w = 0; w < image->w; w += PIECE_PIXELS)
        for (int64_t c = 0; c < channels; c += PIECE_CHANNELS) {
            const int64_t count = fc_min(PIECE_CHANNELS, channels - c);
            const struct fc_block block = {
                .x = x + (w * image->stride_w + c * image->stride_c) * sums->element,
                .y = piece,
                .x_pixel = image->stride_w,
                .x_channel = image->stride_c,
                .y_pixel = count <= FC_FEW_OUTPUTS ? count : PIECE_CHANNELS,
                .y_channel = 1,
                .pixels = fc_min(PIECE_PIXELS, image->w - w),
                .channels = count};
            sums->kernels->copy_block(&block);
            sums->kernels->channel_sums(&(struct fc_channel_rows){.x = piece,
                                                                  .sums = to + c * sums->element,
                                                                  .x_pixel = block.y_pixel,
                                                                  .rows = 1,
                                                                  .pixels = block.pixels,
                                                                  .channels = block.channels});
        }
}

void fc_add_rows(const struct fc_channel_sums *sums, int64_t row, int64_t rows, int64_t first,
                 int64_t channels, int worker)
{
    const fc_image *image = &sums->image;
    char *piece = sums->pieces + worker * PIECE_PIXELS * PIECE_CHANNELS * sums->element;
    const char *x = fc_image_at(image, sums->element, row / image->h, row % image->h, 0, first);
    if (image->stride_c == 1)
        fc_add_packed_rows(sums, row, rows, first, channels, x, image->stride_h, image->stride_w);
    for (int64_t r = 0; r < rows && image->stride_c != 1; r++)
        add_planes(sums, x + r * image->stride_h * sums->element, channels,
                   chunk_of(sums, row + r) + first * sums->element, piece);
}

void fc_add_chunks(const struct fc_conv2d_kernels *kernels, char *sums, int64_t chunks,
                   int64_t elements, ptrdiff_t element)
{
    kernels->channel_sums(&(struct fc_channel_rows){.x = sums + elements * element,
                                                    .sums = sums,
                                                    .x_pixel = elements,
                                                    .rows = 1,
                                                    .pixels = chunks - 1,
                                                    .channels = elements});
}

bool fc_all_finite(const void *numbers, int64_t count, ptrdiff_t element)
{
    const float *narrow = numbers;
    const double *wide = numbers;
    for (int64_t i = 0; i < count; i++)
        if (!(element == sizeof(float) ? isfinite(narrow[i]) : isfinite(wide[i])))
            return false;
    return true;
}

static void end_sums(void *context, int64_t item, int worker)
{
    (void)item, (void)worker;
    const struct fc_channel_sums *sums = context;
    const int64_t c = sums->image.c;
    fc_add_chunks(sums->kernels, sums->chunk, sums->chunks, c, sums->element);
    memcpy(sums->to, sums->chunk, (size_t)(c * sums->element));
}

void fc_end_channel_sums(struct fc_channel_sums *sums)
{
    fc_parallel_for(1, 1, FC_FLUSH_DENORMALS, end_sums, sums);
}

static void add_chunk(void *context, int64_t item, int worker)
{
    const struct fc_channel_sums *sums = context;
    const int64_t h = sums->image.h, rows = sums->image.n * h;
    const int64_t end = rows * (item + 1) / sums->chunks;
    for (int64_t row = rows * item / sums->chunks, count; row < end; row += count) {
        count = fc_min(end - row, h - row % h);
        fc_add_rows(sums, row, count, 0, sums->image.c, worker);
    }
}

fc_status fc_sum_channels(fc_dtype dtype, const fc_image *image, void *to)
{
    struct fc_channel_sums sums = fc_plan_channel_sums(dtype, image, to);
    const double pixels = (double)(image->n * image->h) * (double)image->w;
    const int width =
        fc_parallel_width(sums.chunks, FC_WORK_PER_ELEMENT * pixels * (double)image->c);
    char *scratch = fc_workspace_acquire(fc_channel_sums_bytes(&sums, width));
    if (!scratch)
        return FC_NO_MEMORY;
    fc_begin_channel_sums(&sums, scratch);
    fc_parallel_for(sums.chunks, width, FC_FLUSH_DENORMALS, add_chunk, &sums);
    fc_end_channel_sums(&sums);
    fc_workspace_release(scratch);
    return FC_OK;
}
