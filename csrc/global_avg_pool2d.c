/* global_avg_pool2d.c: the mean of each channel over all pixels, and its gradient. */
#include "parallel.h"
#include "pool2d_fold.h"
#include "workspace.h"

static fc_status check(fc_dtype dtype, const fc_image *image, const fc_image *pixel)
{
    if ((unsigned)dtype > FC_FLOAT64 || !image || !pixel)
        return FC_BAD_ARGUMENT;
    fc_status status = fc_check_image(image, dtype);
    if (status == FC_OK)
        status = fc_check_image(pixel, dtype);
    if (status != FC_OK)
        return status;
    if (image->h == 0 || image->w == 0)
        return FC_EMPTY_KERNEL;
    if (!fc_image_is(pixel, image->n, 1, 1, image->c))
        return FC_BAD_SHAPE;
    return fc_current_isa() ? FC_OK : FC_BAD_ARGUMENT;
}

/* ---------------------------------------------------------------- forward */

enum { PACKED_CHANNELS = 64 }; /* of FC_POOL2D_FOLDED pixels: 512 KB of float32 */

/* Channels are lanes, packed where they do not lie together; planes are read where they lie. All add up
 * in the same order. */
struct average {
    const struct fc_kernels *kernels;
    size_t size;
    const fc_image *x, *y;
    int64_t channels, channel_blocks; /* of a block, and blocks of an image */
    bool direct;
    char *scratch;
    size_t sums_bytes, worker_bytes;
};

/* Pixels [pixel, pixel + count), row by row, to scratch. */
static void pack_pixels(const struct average *self, int64_t n, int64_t channel, int64_t channels,
                        int64_t pixel, int64_t count, char *to)
{
    const fc_image *x = self->x;
    for (int64_t done = 0, some; done < count; done += some) {
        const int64_t h = (pixel + done) / x->w, w = (pixel + done) % x->w;
        some = fc_min(x->w - w, count - done);
        self->kernels->conv2d.copy_block(
            &(struct fc_block){.x = fc_image_at(x, self->size, n, h, w, channel),
                               .y = to + done * channels * (ptrdiff_t)self->size,
                               .x_pixel = x->stride_w,
                               .x_channel = x->stride_c,
                               .y_pixel = channels,
                               .y_channel = 1,
                               .pixels = some,
                               .channels = channels});
    }
}

static void average_item(void *context, int64_t item, int worker)
{
    const struct average *self = context;
    const fc_image *x = self->x, *y = self->y;
    char *sums = self->scratch + (size_t)worker * self->worker_bytes;
    char *packed = sums + self->sums_bytes;
    const int64_t n = item / self->channel_blocks;
    const int64_t channel = item % self->channel_blocks * self->channels;
    const int64_t channels = fc_min(self->channels, x->c - channel), pixels = x->h * x->w;
    double line[FC_POOL2D_CHAIN_BYTES / sizeof(double)]; /* of either type */
    for (int64_t pixel = 0; pixel < pixels; pixel += FC_POOL2D_FOLDED) {
        struct fc_pool2d_chains chains = {.x = packed,
                                          .sums = sums,
                                          .pixels = fc_min(FC_POOL2D_FOLDED, pixels - pixel),
                                          .channels = channels,
                                          .x_pixel = channels,
                                          .divisor = (double)pixels,
                                          .begins = pixel == 0};
        if (self->direct) {
            chains.x = fc_image_at(x, self->size, n, 0, pixel, channel);
            chains.x_pixel = x->stride_w;
        } else {
            pack_pixels(self, n, channel, channels, pixel, chains.pixels, packed);
        }
        chains.y = pixel + chains.pixels == pixels ? line : NULL;
        self->kernels->pool2d.chains(&chains);
    }
    self->kernels->conv2d.copy_block(
        &(struct fc_block){.x = line,
                           .y = fc_image_at(y, self->size, n, 0, 0, channel),
                           .x_pixel = 1,
                           .x_channel = 1,
                           .y_pixel = 1,
                           .y_channel = y->stride_c,
                           .pixels = 1,
                           .channels = channels});
}

fc_status fc_global_avg_pool2d(fc_dtype dtype, const fc_image *x, const fc_image *y)
{
    fc_status status = check(dtype, x, y);
    if (status != FC_OK || x->n == 0 || x->c == 0)
        return status;
    struct average self = {
        .kernels = fc_current_kernels(dtype), .size = fc_element_size(dtype), .x = x, .y = y};
    if (fc_pool2d_is_run(x))
        return fc_pool2d_fold_planes(
            &(struct fc_pool2d_pass){
                .pooling = FC_AVG, .dtype = dtype, .x = *x, .kernels = self.kernels},
            y);
    self.direct = x->stride_c == 1 && (x->h == 1 || fc_rows_together(x, x->w));
    self.channels = self.direct ? FC_POOL2D_CHAIN_BYTES / (int64_t)self.size : PACKED_CHANNELS;
    self.channel_blocks = fc_ceil_div(x->c, self.channels);
    const int64_t packed = self.direct ? 0 : fc_min(FC_POOL2D_FOLDED, x->h * x->w);
    self.sums_bytes = FC_POOL2D_CHAINS * FC_POOL2D_CHAIN_BYTES;
    self.worker_bytes = self.sums_bytes + (size_t)(packed * self.channels) * self.size;
    const int64_t items = x->n * self.channel_blocks;
    const double elements = (double)x->n * (double)x->c * (double)x->h * (double)x->w;
    const int width = fc_parallel_width(items, FC_WORK_PER_TAP * elements);
    status = fc_workspace_divide(0, self.worker_bytes, width, &self.scratch);
    if (status != FC_OK)
        return status;
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, average_item, &self);
    fc_workspace_release(self.scratch);
    return FC_OK;
}

/* ---------------------------------------------------------------- backward */

enum { CHANNELS = 512, PIXELS = 1 << 7 }; /* of an item: 256 KB of float32 */

struct spread {
    const struct fc_kernels *kernels;
    size_t size;
    const fc_image *dy, *dx;
    int64_t channel_blocks, row_blocks, rows;
};

/* dx is the same in all pixels: dy divided once, then copied by a stride of 0. */
static void spread_item(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct spread *self = context;
    const fc_image *dy = self->dy, *dx = self->dx;
    const int64_t channel = item % self->channel_blocks * CHANNELS;
    item /= self->channel_blocks;
    const int64_t row = item % self->row_blocks * self->rows, n = item / self->row_blocks;
    const int64_t channels = fc_min(CHANNELS, dx->c - channel);
    double line[CHANNELS]; /* of either type */
    struct fc_block block = {.x = fc_image_at(dy, self->size, n, 0, 0, channel),
                             .y = line,
                             .x_pixel = 1,
                             .x_channel = dy->stride_c,
                             .y_pixel = 1,
                             .y_channel = 1,
                             .pixels = 1,
                             .channels = channels};
    self->kernels->conv2d.copy_block(&block);
    self->kernels->pool2d.pool[FC_AVG](
        &(struct fc_pool2d_tile){.x = line,
                                 .y = line,
                                 .columns = 1,
                                 .lanes = channels,
                                 .rows = 1,
                                 .taps = 1,
                                 .phases = 1,
                                 .divisor = (double)dx->h * (double)dx->w});
    /* Rows without gaps are one long row: pieces of 7 pixels leave vectors half empty. */
    const int64_t row_end = fc_min(row + self->rows, dx->h);
    const int64_t together = fc_rows_together(dx, dx->w) ? row_end - row : 1;
    block.x = line;
    block.x_pixel = 0;
    block.x_channel = 1;
    block.y_pixel = dx->stride_w;
    block.y_channel = dx->stride_c;
    block.pixels = together * dx->w;
    for (int64_t r = row; r < row_end; r += together) {
        block.y = fc_image_at(dx, self->size, n, r, 0, channel);
        if (dx->stride_w == 1)
            self->kernels->pool2d.spread(line, channels, block.pixels, block.y, dx->stride_c);
        else
            self->kernels->conv2d.copy_block(&block);
    }
}

fc_status fc_global_avg_pool2d_backward(fc_dtype dtype, const fc_image *dy, const fc_image *dx)
{
    const fc_status status = check(dtype, dx, dy);
    if (status != FC_OK || dx->n == 0 || dx->c == 0)
        return status;
    struct spread spread = {.kernels = fc_current_kernels(dtype),
                            .size = fc_element_size(dtype),
                            .dy = dy,
                            .dx = dx,
                            .channel_blocks = fc_ceil_div(dx->c, CHANNELS),
                            .rows = fc_max(PIXELS / dx->w, 1)};
    spread.row_blocks = fc_ceil_div(dx->h, spread.rows);
    const int64_t items = dx->n * spread.channel_blocks * spread.row_blocks;
    const double work = (double)dx->n * (double)dx->c * (double)dx->h * (double)dx->w;
    fc_parallel_for(items, fc_parallel_width(items, FC_WORK_PER_TAP * work), FC_KEEP_DENORMALS,
                    spread_item, &spread);
    return FC_OK;
}
