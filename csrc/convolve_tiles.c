/* convolve_tiles.c: one panel of the kernel times one block of channels, tile by tile.
 *
 * Taps that lie in zero padding are left out, by rows, and by columns too where lanes run over
 * channels: there the columns at the edges are tiles of one pixel with the taps that they have, so
 * that x need not be padded and can be read where it lies. */
#include "convolve_tiles.h"

/* ------------------------------------------------------------------- terms */

/* One tap, channels together: the whole block is one run. */
static void list_together(struct fc_convolve_item *item, int64_t channels)
{
    item->terms.slabs = item->terms.each = 1;
    item->terms.offset[0] = item->terms.kernel_offset[0] = 0;
    item->tile.runs.length = channels;
}

/* A run for each row of taps of each slab, or, where taps lie apart, for each tap. */
static void list_terms(struct fc_convolve_item *item, int64_t channels, int64_t slab,
                       const struct fc_source *source)
{
    const struct fc_channels *all = &item->job->plan->channels;
    const struct fc_axis *axis = item->job->convolution->axis;
    struct fc_terms *terms = &item->terms;
    const bool merged = axis[1].dilation == 1 && !all->lanes;
    terms->slabs = fc_ceil_div(channels, slab);
    terms->each = merged ? 1 : axis[1].taps;
    item->tile.runs.length = merged ? axis[1].taps * slab : slab;
    int64_t r = 0;
    for (int64_t s = 0; s < terms->slabs; s++)
        for (int64_t i = 0; i < axis[0].taps; i++)
            for (int64_t j = 0; j < terms->each; j++, r++) {
                terms->offset[r] =
                    s * source->slab + i * source->row + j * axis[1].dilation * source->pixel;
                terms->kernel_offset[r] =
                    (s * all->taps + i * axis[1].taps + j) * slab * item->tile.kernel_step;
            }
}

/* Some taps of a kernel: rows [0].begin to [0].end, columns [1].begin to [1].end. */
struct taps {
    struct {
        int64_t begin, end;
    } axis[2];
};

/* The runs of those taps alone; columns are chosen in lanes only, where each tap is a run. */
static void choose_terms(struct fc_convolve_item *item, const struct taps *taps)
{
    const struct fc_terms *all = &item->terms;
    const struct fc_axis *axis = item->job->convolution->axis;
    struct fc_runs *runs = &item->tile.runs;
    const bool cut = item->job->plan->channels.lanes;
    const int64_t first = cut ? taps->axis[1].begin : 0, end = cut ? taps->axis[1].end : all->each;
    if (taps->axis[0].end - taps->axis[0].begin == axis[0].taps && end - first == all->each) {
        runs->offset = all->offset;
        runs->kernel_offset = all->kernel_offset;
        runs->count = all->slabs * axis[0].taps * all->each;
        return;
    }
    int64_t count = 0;
    for (int64_t s = 0; s < all->slabs; s++)
        for (int64_t i = taps->axis[0].begin; i < taps->axis[0].end; i++)
            for (int64_t j = first; j < end; j++, count++) {
                const int64_t r = (s * axis[0].taps + i) * all->each + j;
                item->chosen.offset[count] = all->offset[r];
                item->chosen.kernel_offset[count] = all->kernel_offset[r];
            }
    runs->offset = item->chosen.offset;
    runs->kernel_offset = item->chosen.kernel_offset;
    runs->count = count;
}

/* ------------------------------------------------------------------- tiles */

static char *y_at(const struct fc_convolve_item *item, const fc_image *y, int64_t row, int64_t k)
{
    return (char *)y->data + (item->n * y->stride_n + row * y->stride_h +
                              item->patch.column * y->stride_w + k * y->stride_c) *
                                 item->job->element;
}

/* Whether a tile can finish y itself: channels lie together, in the residual too. */
static bool in_place(const struct fc_convolution *convolution)
{
    return convolution->y.stride_c == 1 &&
           (!convolution->residual.data || convolution->residual.stride_c == 1);
}

/* Where sums go: to the strip, or, for the last block of channels, finished into y. */
static void aim_row(struct fc_convolve_item *item, bool first, bool last, char *strip, int64_t row,
                    int64_t k)
{
    const struct fc_convolution *convolution = item->job->convolution;
    struct fc_tile *tile = &item->tile;
    tile->partial = first ? NULL : strip;
    tile->partial_step = item->job->plan->channels.panel;
    tile->bias = tile->residual = NULL;
    tile->activation = FC_LINEAR;
    if (!last || !in_place(convolution)) {
        tile->y = strip;
        tile->y_step = tile->partial_step;
        tile->columns = tile->units * (int)item->job->plan->channels.unit;
        return;
    }
    tile->y = y_at(item, &convolution->y, row, k);
    tile->y_step = convolution->y.stride_w;
    tile->activation = convolution->activation;
    if (convolution->bias)
        tile->bias = (const char *)convolution->bias + k * item->job->element;
    if (convolution->residual.data) {
        tile->residual = y_at(item, &convolution->residual, row, k);
        tile->residual_step = convolution->residual.stride_w;
    }
}

/* Columns [begin, end) of a row of outputs, in tiles of near-equal size. row is the tile of column 0. */
static void compute_columns(struct fc_convolve_item *item, const struct fc_tile *row, int64_t begin,
                            int64_t end)
{
    const struct fc_conv2d_kernels *kernels = item->job->kernels;
    const ptrdiff_t element = item->job->element;
    struct fc_tile *tile = &item->tile;
    const int64_t count = end - begin, tiles = fc_ceil_div(count, kernels->tile_pixels);
    int64_t first = begin;
    for (int64_t t = 1; t <= tiles; t++) {
        const int64_t next = begin + count * t / tiles;
        tile->pixels = (int)(next - first);
        tile->x = (const char *)row->x + first * tile->runs.step * element;
        tile->y = (char *)row->y + first * tile->y_step * element;
        if (row->partial)
            tile->partial = (const char *)row->partial + first * tile->partial_step * element;
        if (row->residual)
            tile->residual = (const char *)row->residual + first * tile->residual_step * element;
        if (item->job->plan->channels.lanes)
            kernels->lane_tile(tile);
        else
            kernels->conv_tile(tile);
        first = next;
    }
}

/* Columns at the edges of the image, one by one, each with the taps that read the image. */
static void compute_edge(struct fc_convolve_item *item, const struct fc_tile *row,
                         struct taps *taps, int64_t begin, int64_t end)
{
    for (int64_t column = begin; column < end; column++) {
        fc_axis_taps(&item->job->convolution->axis[1], item->patch.column + column,
                     &taps->axis[1].begin, &taps->axis[1].end);
        choose_terms(item, taps);
        compute_columns(item, row, column, column + 1);
    }
}

static void compute_row(struct fc_convolve_item *item, int64_t row, const char *x)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_axis *axis = item->job->convolution->axis;
    const int64_t columns = item->patch.columns;
    struct taps taps = {{{0, axis[0].taps}, {0, axis[1].taps}}};
    int64_t left = 0, right = columns, unused;
    if (plan->skip_rows)
        fc_axis_taps(&axis[0], row, &taps.axis[0].begin, &taps.axis[0].end);
    if (plan->skip_rows && plan->channels.lanes && axis[1].taps > 0) {
        fc_axis_outputs(&axis[1], 0, &left, &unused);
        fc_axis_outputs(&axis[1], axis[1].taps - 1, &unused, &right);
        left = fc_min(fc_max(left - item->patch.column, 0), columns);
        right = fc_max(fc_min(right - item->patch.column, columns), left);
    }
    struct fc_tile tile = item->tile;
    tile.x = x;
    choose_terms(item, &taps);
    compute_columns(item, &tile, left, right);
    compute_edge(item, &tile, &taps, 0, left);
    compute_edge(item, &tile, &taps, right, columns);
}

/* A channel's pixels lie apart from its neighbours': the strip's row is turned into place. */
static void turn_row(const struct fc_convolve_item *item, const char *strip, int64_t row, int64_t k,
                     int64_t columns)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    item->job->kernels->finish_block(&(struct fc_finish){
        .block = {.x = strip,
                  .y = y_at(item, y, row, k),
                  .x_pixel = item->job->plan->channels.panel,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = item->patch.columns,
                  .channels = columns},
        .bias = convolution->bias ? (const char *)convolution->bias + k * item->job->element : NULL,
        .residual = residual->data ? y_at(item, residual, row, k) : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = convolution->activation,
    });
}

void fc_compute_panel(struct fc_convolve_item *item, int64_t p, int64_t c, int64_t end,
                      int64_t slab, const struct fc_source *source, char *strip)
{
    const struct fc_convolve_job *job = item->job;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t width = fc_panel_width(channels, p), outputs = fc_panel_outputs(channels, p);
    const int64_t most = job->kernels->tile_units * channels->unit;
    const int64_t y_first = item->group * channels->c_out + p * channels->panel;
    const int64_t kernel =
        fc_panel_offset(channels, item->group, p) + fc_panel_row(channels, c) * width;
    const bool last = end == channels->c_in;

    item->tile.kernel_step = width;
    if (job->plan->direct && !channels->lanes)
        list_together(item, end - c);
    else
        list_terms(item, end - c, slab, source);
    item->tile.runs.step = job->convolution->axis[1].stride * source->pixel;
    for (int64_t k = 0; k < width; k += most) {
        item->tile.kernel = job->packed + (kernel + k) * job->element;
        item->tile.units = (int)(fc_min(width - k, most) / channels->unit);
        for (int64_t r = 0; r < item->patch.rows; r++) {
            const int64_t row = fc_patch_row(&job->plan->blocks, &item->patch, r);
            item->tile.columns = (int)fc_min(outputs - k, most);
            aim_row(item, c == 0, last,
                    strip + (r * item->patch.columns * channels->panel + k) * job->element, row,
                    y_first + k);
            compute_row(item, row,
                        source->x + (r * source->next + (channels->lanes ? k : 0)) * job->element);
        }
    }
    for (int64_t r = 0; last && !in_place(job->convolution) && r < item->patch.rows; r++)
        turn_row(item, strip + r * item->patch.columns * channels->panel * job->element,
                 fc_patch_row(&job->plan->blocks, &item->patch, r), y_first, outputs);
}
