/* conv2d_dkernel_sums.c: one block of the batch added to one part of a kernel gradient.
 *
 * The tile keeps 96 % of the peak while x and dy are near and rows are long: each row of pixels ends
 * with a branch that is not foreseen, some 13 cycles, so that rows which follow each other in memory
 * are one to it, also those of several small images. A line packed costs some seven cycles, since
 * neither end is in the first-level cache: with parts of 128 x 128 channels of a 1x1 kernel 22 % of
 * the time, hence reading in place. */
#include "conv2d_dkernel_sums.h"

#include <string.h>

enum { FETCH_PIXELS = 64 }; /* of a long row, after which something is fetched */

static void pack_dy_row(const struct fc_dkernel_part *part, int64_t n, int64_t r, int64_t k,
                        char *to, int64_t width, int64_t outputs)
{
    const struct fc_dkernel_job *job = part->job;
    const fc_image *dy = &job->convolution->y;
    const int64_t row = fc_patch_row(&job->plan->blocks, &part->patch, r);
    job->kernels->copy_block(&(struct fc_block){
        .x = (const char *)dy->data + (n * dy->stride_n + row * dy->stride_h +
                                       part->patch.column * dy->stride_w + k * dy->stride_c) *
                                          job->element,
        .y = to,
        .x_pixel = dy->stride_w,
        .x_channel = dy->stride_c,
        .y_pixel = width,
        .y_channel = 1,
        .pixels = part->patch.columns,
        .channels = outputs,
    });
}

/* Panel p of dy: in place where its panels are whole, or packed. */
static void find_dy(struct fc_dkernel_part *part, int64_t n, int64_t p)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const fc_image *dy = &job->convolution->y;
    const int64_t width = fc_panel_width(channels, p), outputs = fc_panel_outputs(channels, p);
    const int64_t k = part->group * channels->c_out + p * channels->panel;
    const struct fc_patch *patch = &part->patch;
    if (outputs == width && job->plan->dy_in_place) {
        part->tile_dy =
            (const char *)dy->data +
            (n * dy->stride_n + fc_patch_row(&job->plan->blocks, patch, 0) * dy->stride_h +
             patch->column * dy->stride_w + k) *
                job->element;
        part->tile.dy_step = dy->stride_w;
        part->tile.dy_row =
            job->plan->images > 1 ? dy->stride_n : job->plan->blocks.row_phases * dy->stride_h;
        return;
    }
    const int64_t row = patch->columns * width;
    part->tile_dy = part->dy;
    part->tile.dy_step = width;
    part->tile.dy_row = job->plan->images > 1 ? patch->rows * row : row;
    if (outputs < width)
        memset(part->dy, 0, (size_t)(part->images * patch->rows * row * job->element));
    for (int64_t i = 0; i < part->images * patch->rows; i++)
        pack_dy_row(part, n + i / patch->rows, i % patch->rows, k,
                    part->dy + i * row * job->element, width, outputs);
}

/* The rows of the patch for which kernel row i reads the image, not padding. */
static void rows_of_tap(const struct fc_dkernel_part *part, int64_t i, int64_t *begin, int64_t *end)
{
    const struct fc_dkernel_job *job = part->job;
    *begin = 0;
    *end = part->patch.rows;
    if (!job->padded.skip_rows)
        return;
    int64_t first, stop;
    fc_axis_outputs(&job->convolution->axis[0], i, &first, &stop);
    while (*begin < *end && fc_patch_row(&job->plan->blocks, &part->patch, *begin) < first)
        ++*begin;
    while (*end > *begin && fc_patch_row(&job->plan->blocks, &part->patch, *end - 1) >= stop)
        --*end;
}

/* The tile's rows and columns: the same pixels in the same order, rows that follow each other as one,
 * since each row costs a branch that is not foreseen, and a long one in pieces, to fetch at each. */
static void lay_out_rows(struct fc_dkernel_part *part, int64_t rows)
{
    struct fc_dkernel_tile *tile = &part->tile;
    tile->rows = rows;
    tile->width = part->patch.columns;
    if (part->job->plan->images > 1) { /* each a row, since each is whole and its rows follow */
        tile->rows = part->images;
        tile->width *= rows;
    }
    if (tile->x_row == tile->width * tile->x_step && tile->dy_row == tile->width * tile->dy_step) {
        tile->width *= tile->rows;
        tile->rows = 1;
    }
    if (tile->rows == 1 && tile->width % FETCH_PIXELS == 0) {
        tile->rows = tile->width / FETCH_PIXELS;
        tile->width = FETCH_PIXELS;
        tile->x_row = FETCH_PIXELS * tile->x_step;
        tile->dy_row = FETCH_PIXELS * tile->dy_step;
    }
}

/* Adds `elements` rows of the gradient, near-equal tiles of them, over rows [begin, end). x and sums
 * are those of the first element and of row 0. */
static void add_elements(struct fc_dkernel_part *part, int64_t p, const char *x, char *sums,
                         int64_t elements, int64_t begin, int64_t end)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_conv2d_kernels *kernels = job->kernels;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t width = fc_panel_width(channels, p);
    const int64_t most = kernels->tile_units * channels->unit;
    const int64_t tiles = fc_ceil_div(elements, kernels->dkernel_elements);
    struct fc_dkernel_tile *tile = &part->tile;
    tile->dkernel_step = width;
    tile->first = part->first;
    const ptrdiff_t x_row = tile->x_row, dy_row = tile->dy_row;
    lay_out_rows(part, end - begin);
    for (int64_t k = 0; k < width; k += most) {
        tile->units = (int)(fc_min(width - k, most) / channels->unit);
        tile->dy = part->tile_dy + (begin * dy_row + k) * job->element;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = elements * t / tiles;
            tile->elements = (int)(elements * (t + 1) / tiles - first);
            tile->dkernel = sums + (first * width + k) * job->element;
            if (channels->lanes) {
                tile->x = x + (begin * x_row + k) * job->element;
                tile->offset = part->offset + first;
                kernels->lane_dkernel_tile(tile);
            } else {
                tile->x = x + (begin * x_row + first) * job->element;
                fc_ahead_share(&part->x_ahead, tile->rows, &tile->ahead[0]);
                fc_ahead_share(&part->dy_ahead, tile->rows, &tile->ahead[1]);
                kernels->dkernel_tile(tile);
            }
        }
    }
    tile->x_row = x_row;
    tile->dy_row = dy_row;
}

/* One slab of channels, which begins at channel c of the part: a run of elements for each kernel row,
 * or for each tap where taps lie apart. */
static void add_slab(struct fc_dkernel_part *part, int64_t p, int64_t c, int64_t slab)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(&job->plan->channels, p);
    const bool merged = axis[1].dilation == 1;
    const int64_t runs = merged ? 1 : axis[1].taps, length = merged ? axis[1].taps * slab : slab;
    const char *x =
        part->tile_x +
        (job->plan->x_in_place ? c : patch->x_rows * patch->x_columns * c) * job->element;
    char *sums = part->sums +
                 (fc_dkernel_panel(part, p) + job->plan->channels.taps * c * width) * job->element;

    if (!job->plan->x_in_place) {
        part->tile.x_step = axis[1].stride * slab;
        part->tile.x_row = job->plan->images > 1
                               ? patch->rows * patch->columns * slab
                               : job->plan->blocks.row_stride * patch->x_columns * slab;
    }
    for (int64_t i = 0; i < axis[0].taps; i++) {
        int64_t begin, end;
        rows_of_tap(part, i, &begin, &end);
        if (begin >= end && part->first)
            memset(sums + i * axis[1].taps * slab * width * job->element, 0,
                   (size_t)(axis[1].taps * slab * width * job->element));
        for (int64_t j = 0; j < runs && begin < end; j++)
            add_elements(
                part, p, x + (i * patch->x_columns + j * axis[1].dilation) * slab * job->element,
                sums + (i * axis[1].taps + j) * slab * width * job->element, length, begin, end);
    }
}

/* One channel of every group, in lanes: all taps at once, since few taps make few chains. */
static void add_lanes(struct fc_dkernel_part *part, int64_t p, int64_t c)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(&job->plan->channels, p), taps = job->plan->channels.taps;
    for (int64_t i = 0; i < axis[0].taps; i++)
        for (int64_t j = 0; j < axis[1].taps; j++)
            part->offset[i * axis[1].taps + j] =
                (i * patch->x_columns + j * axis[1].dilation) * width;
    part->tile.x_step = axis[1].stride * width;
    part->tile.x_row = job->plan->blocks.row_stride * patch->x_columns * width;
    add_elements(part, p, part->x + patch->x_rows * patch->x_columns * c * width * job->element,
                 part->sums + (fc_dkernel_panel(part, p) + taps * c * width) * job->element, taps,
                 0, patch->rows);
}

/* The channels of the part: in place where there is one tap, or packed. */
static void find_x(struct fc_dkernel_part *part, int64_t n)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const fc_image *x = &job->convolution->x;
    const struct fc_patch *patch = &part->patch;
    const int64_t c = part->group * channels->c_in + part->c;
    if (job->plan->x_in_place) {
        part->tile_x = (const char *)x->data + (n * x->stride_n + patch->x_row * x->stride_h +
                                                patch->x_column * x->stride_w + c) *
                                                   job->element;
        part->tile.x_step = x->stride_w;
        part->tile.x_row = job->plan->images > 1 ? x->stride_n : x->stride_h;
        return;
    }
    const int64_t image = patch->x_rows * patch->x_columns * part->channels * job->element;
    for (int64_t i = 0; i < part->images; i++)
        fc_pack_slabs(&job->padded, n + i, patch, channels->slab, c, part->channels,
                      part->x + i * image);
    part->tile_x = part->x;
}

void fc_dkernel_add(struct fc_dkernel_part *part, int64_t n)
{
    part->images = fc_min(part->job->plan->images, part->job->convolution->y.n - n);
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    if (!channels->lanes)
        find_x(part, n);
    for (int64_t p = part->panel; p < part->panel + part->panels; p++) {
        if (channels->lanes)
            fc_pack_lanes(&job->padded, n, &part->patch, &job->convolution->kernel,
                          p * channels->panel, fc_panel_outputs(channels, p),
                          fc_panel_width(channels, p), part->c, part->channels, part->x);
        find_dy(part, n, p);
        for (int64_t c = 0; c < part->channels; c += channels->slab)
            if (channels->lanes)
                add_lanes(part, p, c);
            else
                add_slab(part, p, c, fc_min(channels->slab, part->channels - c));
    }
}

void fc_dkernel_ahead(struct fc_dkernel_part *part, int64_t step)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_convolution *convolution = job->convolution;
    const int64_t blocks = fc_block_count(&plan->blocks);
    part->x_ahead = part->dy_ahead = fc_ahead_none();
    if (channels->lanes)
        return;
    struct fc_patch patch = fc_block_at(convolution->axis, &plan->blocks, step % blocks);
    const int64_t slabs = fc_ceil_div(part->channels, channels->slab);
    const int64_t tiles =
        part->panels * slabs * convolution->axis[0].taps *
        fc_ceil_div(channels->slab * convolution->axis[1].taps, job->kernels->dkernel_elements);
    const int64_t k = part->panel * channels->panel;
    const int64_t n = step / blocks * plan->images;
    const int64_t images = fc_min(plan->images, convolution->y.n - n);
    if (plan->x_in_place)
        part->x_ahead =
            fc_ahead_patch(&convolution->x, job->element, &patch, n, images,
                           part->group * channels->c_in + part->c, part->channels, tiles);
    patch.x_row = fc_patch_row(&plan->blocks, &patch, 0);
    patch.x_row_gap = plan->blocks.row_phases;
    patch.x_rows = patch.rows;
    patch.x_column = patch.column;
    patch.x_columns = patch.columns;
    if (plan->dy_in_place)
        part->dy_ahead = fc_ahead_patch(
            &convolution->y, job->element, &patch, n, images, part->group * channels->c_out + k,
            fc_min(part->panels * channels->panel, channels->c_out - k), tiles);
}
