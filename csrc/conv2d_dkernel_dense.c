/* conv2d_dkernel_dense.c: one block of the batch added to a part of a kernel gradient of one tap.
 *
 * Each number of x is met by a few panels of dy, each of dy by a few tiles of channels: with 128 x 256
 * channels a copy into panels took 10 % of the time, and x and dy where they lie cost as much, since
 * pixels 1 KB apart share a few sets of the first-level cache. So the first tile that meets a panel of
 * dy, or channels of x, leaves a copy as it reads: a load and a store a vector, for which 28
 * multiply-adds leave room.
 *
 * In planes, elements of x are taken each from its own: they are never packed at all. */
#include "conv2d_dkernel_sums.h"

/* Where a tile finds x or dy: elements from one pixel, row and image to the next. */
struct place {
    const char *at;
    ptrdiff_t step, row, image;
};

static struct place place_in(const struct fc_dkernel_part *part, const fc_image *image, int64_t n,
                             int64_t row, int64_t column, int64_t c)
{
    return (struct place){fc_image_at(image, part->job->element, n, row, column, c),
                          image->stride_w, image->stride_h, image->stride_n};
}

/* A copy of so many elements a pixel, those of the whole block together. */
static struct place copy_at(const struct fc_dkernel_part *part, const char *at, int64_t elements)
{
    const ptrdiff_t row = part->patch.columns * elements;
    return (struct place){at, elements, row, part->patch.rows * row};
}

/* The pixels of the block in their order, rows that follow each other in both as one, and images. */
static void lay_out(struct fc_dkernel_part *part, const struct place *x, const struct place *dy)
{
    struct fc_dkernel_tile *tile = &part->tile;
    tile->x = x->at;
    tile->dy = dy->at;
    part->tile.x_step = x->step;
    part->tile.dy_step = dy->step;
    part->x_row = x->row;
    part->x_image = x->image;
    part->dy_row = dy->row;
    part->dy_image = dy->image;
    fc_dkernel_lay_out_rows(part, part->patch.rows, part->patch.columns);
}

/* The sums of columns [k, k + the tile's units) of panel p. */
static void add_columns(struct fc_dkernel_part *part, int64_t n, int64_t p, int64_t k,
                        const struct place *panel)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const fc_image *image = &job->convolution->x;
    const int64_t width = fc_panel_width(&plan->channels, p);
    const int64_t pixels = part->images * part->patch.rows * part->patch.columns;
    const int64_t tiles = fc_ceil_div(part->channels, job->kernels->dkernel_elements);
    const int64_t first_channel = part->group * plan->channels.c_in + part->c;
    const bool lands = part->last && fc_dkernel_lands(job, p), first = p == part->panel && k == 0;
    struct fc_dkernel_tile *tile = &part->tile;
    char *sums = part->sums + (fc_dkernel_panel(part, p) + k) * job->element;
    char *dkernel =
        (char *)kernel->data + (part->group * kernel->stride_group + part->c * kernel->stride_c_in +
                                (p * plan->channels.panel + k) * kernel->stride_c_out) *
                                   job->element;
    const bool copies_dy = image->stride_c == 1 && tiles > 1 && part->tile_dy != part->dy;
    struct place dy = *panel;
    const int64_t columns = tile->units * plan->channels.unit;
    tile->partial_step = width;
    tile->dkernel_step = lands ? kernel->stride_c_in : width;
    for (int64_t t = 0, c = 0, next; t < tiles; t++, c = next) {
        next = part->channels * (t + 1) / tiles;
        tile->elements = (int)(next - c);
        char *copy = part->x + c * pixels * job->element;
        struct place x = plan->x_copied && !first
                             ? copy_at(part, copy, next - c)
                             : place_in(part, image, n, part->patch.x_row, part->patch.x_column,
                                        first_channel + c);
        tile->x_copy = plan->x_copied && first ? copy : NULL;
        tile->dy_copy = NULL;
        if (t == 0 && copies_dy && dy.step != columns)
            tile->dy_copy = part->dy + k * pixels * job->element;
        lay_out(part, &x, &dy);
        if (tile->dy_copy)
            dy = copy_at(part, tile->dy_copy, columns);
        char *sum = sums + c * width * job->element;
        tile->partial = part->first ? NULL : sum;
        tile->dkernel = lands ? dkernel + c * kernel->stride_c_in * job->element : sum;
        fc_dkernel_ahead_take(&part->ahead, tile);
        if (image->stride_c == 1)
            job->kernels->dkernel_tile(tile);
        else
            job->kernels->plane_dkernel_tile(tile);
    }
}

void fc_dkernel_add_dense(struct fc_dkernel_part *part, int64_t n)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t most = job->kernels->tile_units * channels->unit;
    part->tile.finite = NULL;
    part->tile.x_element = job->convolution->x.stride_c;
    for (int64_t p = part->panel; p < part->panel + part->panels; p++) {
        const int64_t width = fc_panel_width(channels, p);
        fc_dkernel_find_dy(part, n, p);
        fc_dkernel_add_packed_bias(part, n, p);
        const struct place panel = {part->tile_dy, part->tile.dy_step, part->dy_row,
                                    part->dy_image};
        for (int64_t k = 0; k < width; k += most) {
            struct place columns = panel;
            columns.at += k * job->element;
            part->tile.units = (int)(fc_min(width - k, most) / channels->unit);
            add_columns(part, n, p, k, &columns);
        }
    }
}
