/* pool2d_five.c: the winners of windows of 5 x 5 that slide by one.
 *
 * A unit of channels at a time, whose numbers the nearest cache holds. What the next ones read is asked for
 * meanwhile. */
#include "pool2d_five.h"

#include "transpose_channels.h"
#include "workspace.h"

enum {
    TAPS = 5,
    MOST_PIXELS = 1 << 11 /* of a plane, whose numbers the second-level cache holds */
};

static bool slides(const struct fc_axis *axis)
{
    return axis->taps == TAPS && axis->stride == 1 && axis->dilation == 1 &&
           axis->before == TAPS / 2 && axis->out == axis->in && axis->in > 1 &&
           axis->in <= MOST_PIXELS;
}

bool fc_pool2d_five_plan(struct fc_pool2d_fives *self)
{
    const struct fc_pool2d_pass *pass = self->pass;
    const fc_image *x = self->x;
    self->size = (ptrdiff_t)fc_element_size(pass->dtype);
    self->unit = fc_unit(pass->dtype);
    self->staged = x->stride_c != 1;
    self->plane_bytes = (size_t)(x->h * x->w) * FC_UNIT_BYTES;
    self->bytes = (self->staged ? 3 : 2) * self->plane_bytes;
    return slides(&pass->axis[0].axis) && slides(&pass->axis[1].axis) &&
           x->h <= MOST_PIXELS / x->w && x->c >= self->unit && (!self->staged || x->stride_w == 1);
}

/* The next unit of an image: line by line, of planes without gaps as many lines as they have pixels. It takes the way
 * back of 8x13x13x512 in planes of float64 from 1.45 ms to 1.05. */
static void ask_for(const struct fc_pool2d_fives *self, const fc_image *image, int64_t n,
                    int64_t channel, struct fc_pool2d_five *five, int i)
{
    const bool planes = image->stride_w == 1 && fc_rows_together(image, image->w);
    five->ahead_row[i] = planes ? image->w * FC_CACHE_LINE : image->stride_h * self->size;
    five->ahead_pixel[i] = planes ? FC_CACHE_LINE : image->stride_w * self->size;
    if (channel + 2 * self->unit <= image->c) {
        channel += self->unit;
    } else if (n + 1 < image->n) {
        n++;
        channel = 0;
    }
    five->ahead[i] = fc_image_at(image, (size_t)self->size, n, 0, 0, channel);
}

struct fc_pool2d_found fc_pool2d_five_block(const struct fc_pool2d_fives *self,
                                            const struct fc_pool2d_block *block, char *scratch)
{
    const struct fc_kernels *kernels = self->pass->kernels;
    const fc_image *x = self->x;
    /* What is less than a unit is searched with channels before it. */
    const int64_t n = block->image, channel = fc_min(block->channel, x->c - self->unit);
    struct fc_pool2d_five five = {.x = fc_image_at(x, (size_t)self->size, n, 0, 0, channel),
                                  .best = scratch + self->plane_bytes,
                                  .numbers = scratch,
                                  .rows = x->h,
                                  .columns = x->w,
                                  .x_row = x->stride_h,
                                  .x_pixel = x->stride_w,
                                  .number_row = self->number_step[0],
                                  .number_pixel = self->number_step[1]};
    ask_for(self, x, n, channel, &five, 0);
    ask_for(self, self->dy, n, channel, &five, 1);
    if (self->staged) {
        const fc_image packed = fc_packed_image(scratch + 2 * self->plane_bytes, x, self->unit);
        fc_transpose_channels(kernels, self->size, x, n, channel, &packed, true, false);
        five.x = packed.data;
        five.x_row = packed.stride_h;
        five.x_pixel = packed.stride_w;
    }
    const bool found = kernels->pool2d.five[self->pass->pooling](&five);
    return (struct fc_pool2d_found){
        .numbers = found ? scratch + (block->channel - channel) * self->size : NULL,
        .numbers_row = x->w * self->unit,
        .numbers_column = self->unit};
}
