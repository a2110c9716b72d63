/* global_avg_pool2d.c: the mean of each channel over all pixels, and its gradient. */
#include "parallel.h"
#include "pool2d_pass.h"
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

/* One window that is the image: two levels, a row and then the rows, whatever the layout. */
fc_status fc_global_avg_pool2d(fc_dtype dtype, const fc_image *x, const fc_image *y)
{
    const fc_status status = check(dtype, x, y);
    if (status != FC_OK)
        return status;
    const fc_pool2d_params params = {.dtype = dtype,
                                     .pooling = FC_AVG,
                                     .pool_size = {x->h, x->w},
                                     .strides = {1, 1},
                                     .dilation_rate = {1, 1},
                                     .padding = FC_VALID};
    return fc_pool2d(&params, x, y, NULL);
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
    struct fc_block block = {.x = fc_pool2d_at(dy, self->size, n, 0, 0, channel),
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
    const int64_t together = dx->stride_h == dx->w * dx->stride_w ? row_end - row : 1;
    block.x = line;
    block.x_pixel = 0;
    block.x_channel = 1;
    block.y_pixel = dx->stride_w;
    block.y_channel = dx->stride_c;
    block.pixels = together * dx->w;
    for (int64_t r = row; r < row_end; r += together) {
        block.y = fc_pool2d_at(dx, self->size, n, r, 0, channel);
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
    fc_parallel_for(items, fc_parallel_width(items, work), FC_KEEP_DENORMALS, spread_item, &spread);
    return FC_OK;
}
