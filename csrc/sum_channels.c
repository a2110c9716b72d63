/* sum_channels.c: the sum of each channel over the pixels of a batch: dbias.
 *
 * One chain over at most PIECE_PIXELS pixels of a row, then one addition; rows in order within a
 * chunk, then chunks in order. The chunks follow from the sizes alone. Planes are transposed in
 * pieces, so that both data formats have the same sums. */
#include <string.h>

#include "conv2d.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum { CHUNKS = 16, PIECE_PIXELS = 128, PIECE_CHANNELS = 64 };

struct job {
    const fc_image *image;
    const struct fc_conv2d_kernels *kernels;
    ptrdiff_t element;
    int64_t chunks;
    char *sums, *pieces;
};

/* Channels [c, c + channels) of some pixels of a row that begins at x. */
static void add_piece(const struct job *job, const char *x, int64_t pixels, int64_t c,
                      int64_t channels, char *sums, char *piece)
{
    const fc_image *image = job->image;
    ptrdiff_t pixel = image->stride_w;
    x += c * image->stride_c * job->element;
    if (image->stride_c != 1) {
        job->kernels->copy_block(&(struct fc_block){.x = x,
                                                    .y = piece,
                                                    .x_pixel = image->stride_w,
                                                    .x_channel = image->stride_c,
                                                    .y_pixel = PIECE_CHANNELS,
                                                    .y_channel = 1,
                                                    .pixels = pixels,
                                                    .channels = channels});
        x = piece;
        pixel = PIECE_CHANNELS;
    }
    job->kernels->channel_sums(x, pixel, pixels, channels, sums + c * job->element);
}

static void add_chunk(void *context, int64_t item, int worker)
{
    const struct job *job = context;
    const fc_image *image = job->image;
    char *sums = job->sums + item * image->c * job->element;
    char *piece = job->pieces + worker * PIECE_PIXELS * PIECE_CHANNELS * job->element;
    const int64_t rows = image->n * image->h;
    memset(sums, 0, (size_t)(image->c * job->element));
    for (int64_t row = rows * item / job->chunks; row < rows * (item + 1) / job->chunks; row++) {
        const char *x =
            (const char *)image->data +
            (row / image->h * image->stride_n + row % image->h * image->stride_h) * job->element;
        for (int64_t w = 0; w < image->w; w += PIECE_PIXELS)
            for (int64_t c = 0; c < image->c; c += PIECE_CHANNELS)
                add_piece(job, x + w * image->stride_w * job->element,
                          fc_min(PIECE_PIXELS, image->w - w), c,
                          fc_min(PIECE_CHANNELS, image->c - c), sums, piece);
    }
}

static void add_chunks(void *context, int64_t item, int worker)
{
    (void)item, (void)worker;
    const struct job *job = context;
    const int64_t c = job->image->c;
    job->kernels->channel_sums(job->sums + c * job->element, c, job->chunks - 1, c, job->sums);
}

fc_status fc_sum_channels(fc_dtype dtype, const fc_image *image, void *sums)
{
    const size_t element = fc_element_size(dtype);
    const int64_t rows = image->n * image->h;
    const int64_t chunks = fc_max(fc_min(rows, CHUNKS), 1);
    const double work = FC_WORK_PER_ELEMENT * (double)rows * (double)image->w * (double)image->c;
    const int width = fc_parallel_width(chunks, work);
    const size_t chunk_bytes = fc_round_to_line((size_t)(chunks * image->c) * element);
    const size_t piece_bytes = (size_t)width * PIECE_PIXELS * PIECE_CHANNELS * element;
    char *scratch = fc_workspace_acquire(chunk_bytes + piece_bytes);
    if (!scratch)
        return FC_NO_MEMORY;
    fc_image view = *image;
    if (view.c == 1)
        view.stride_c = 1;
    struct job job = {&view,
                      &fc_current_kernels(dtype)->conv2d,
                      (ptrdiff_t)element,
                      chunks,
                      scratch,
                      scratch + chunk_bytes};
    fc_parallel_for(chunks, width, FC_FLUSH_DENORMALS, add_chunk, &job);
    fc_parallel_for(1, 1, FC_FLUSH_DENORMALS, add_chunks, &job);
    memcpy(sums, scratch, (size_t)image->c * element);
    fc_workspace_release(scratch);
    return FC_OK;
}
