/* convolve_tiles.c: one panel of the kernel times one stretch of channels, tile by tile.
 *
 * Taps that lie in zero padding are left out, by rows, and by columns too where lanes run over
 * channels: there the columns at the edges are tiles of one pixel with the taps that they have, so
 * that x need not be padded and can be read where it lies. */
#include "convolve_tiles.h"

#include "workspace.h"

/* ------------------------------------------------------------------- terms */

static struct fc_taps all_taps(const struct fc_convolve_item *item)
{
    const struct fc_axis *axis = item->job->convolution->axis;
    return (struct fc_taps){{{0, axis[0].taps}, {0, axis[1].taps}}};
}

/* The runs of those taps alone. */
static void choose_terms(struct fc_convolve_item *item, const struct fc_source *source,
                         const struct fc_taps *taps)
{
    const struct fc_axis *axis = item->job->convolution->axis;
    const struct fc_terms *terms = &item->terms;
    if (taps->axis[0].end - taps->axis[0].begin < axis[0].taps ||
        taps->axis[1].end - taps->axis[1].begin < axis[1].taps) {
        fc_list_terms(item, source, taps, &item->chosen);
        terms = &item->chosen;
    }
    item->tile.runs.offset = terms->offset;
    item->tile.runs.kernel_offset = terms->kernel_offset;
    item->tile.runs.count = terms->count;
    item->tile.chains = terms->chains;
    item->tile.chain_count = terms->chain_count;
}

/* ------------------------------------------------------------------- tiles */

static char *y_at(const struct fc_convolve_item *item, const fc_image *y, int64_t image,
                  int64_t row, int64_t k)
{
    return (char *)y->data + ((item->n + image) * y->stride_n + row * y->stride_h +
                              item->patch.column * y->stride_w + k * y->stride_c) *
                                 item->job->element;
}

/* Whether a tile can finish y itself: channels lie together, in the residual too. */
static bool in_place(const struct fc_convolution *convolution)
{
    return convolution->y.stride_c == 1 &&
           (!convolution->residual.data || convolution->residual.stride_c == 1);
}

/* Columns k to k + units of a panel: of the strip, and, from y_k on, of y. */
struct aim {
    const struct fc_source *source;
    char *strip;
    int64_t k, y_k;
    int columns;
    bool first, last; /* stretch of channels of the reduction */
};

/* Where the outputs of a row come from and go to: the strip, or, for the last stretch of channels, y.
 * Kept apart from the tile, and no struct is copied here: a wide load of what narrow stores have just
 * written waits until they reach the cache, behind all the arithmetic in flight (4 % of the time). */
struct row {
    const char *x, *partial, *residual;
    char *y;
    const char *planes; /* of y, where the strip is turned into them afterwards, or NULL */
};

/* Row r of an image, and, in the tile, what all rows share. */
static void aim_row(struct fc_convolve_item *item, const struct aim *aim, int64_t image, int64_t r,
                    struct row *at)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const struct fc_convolve_plan *plan = item->job->plan;
    const ptrdiff_t element = item->job->element;
    const int64_t row = fc_patch_row(&plan->blocks, &item->patch, r);
    const int64_t pixel = (image * item->patch.rows + r) * item->patch.columns;
    const int64_t lane = plan->channels.lanes ? aim->k : 0;
    char *strip = aim->strip + (pixel * plan->channels.panel + aim->k) * element;
    at->x = aim->source->x + (image * aim->source->image + r * aim->source->next + lane) * element;
    at->partial = aim->first ? NULL : strip;
    at->residual = at->planes = NULL;
    at->y = strip;
    if (aim->last && !in_place(convolution) && convolution->y.stride_w <= 2)
        at->planes = y_at(item, &convolution->y, image, row, aim->y_k);
    if (aim->last && in_place(convolution)) {
        at->y = y_at(item, &convolution->y, image, row, aim->y_k);
        if (convolution->residual.data)
            at->residual = y_at(item, &convolution->residual, image, row, aim->y_k);
    }
}

/* What the tiles of all rows share. */
static void aim_tile(struct fc_convolve_item *item, const struct aim *aim)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const struct fc_channels *channels = &item->job->plan->channels;
    struct fc_tile *tile = &item->tile;
    tile->partial = tile->bias = tile->residual = NULL;
    tile->partial_step = tile->y_step = channels->panel;
    tile->activation = FC_LINEAR;
    tile->columns = tile->units * (int)channels->unit;
    if (!aim->last || !in_place(convolution))
        return;
    tile->columns = aim->columns;
    tile->y_step = convolution->y.stride_w;
    tile->residual_step = convolution->residual.stride_w;
    tile->activation = convolution->activation;
    if (convolution->bias)
        tile->bias = (const char *)convolution->bias + aim->y_k * item->job->element;
}

/* The lines of y's planes that some columns will be turned into, asked for while these are summed:
 * 1x1, 64 to 256 channels at 56x56, took 1.7 times as long without. Inline, since gcc leaves out calls
 * of a function that does nothing but fetch. */
static inline __attribute__((always_inline)) void fetch_planes(const struct fc_convolve_item *item,
                                                               const char *planes, int64_t first,
                                                               int64_t columns)
{
    if (!planes)
        return;
    const fc_image *y = &item->job->convolution->y;
    const ptrdiff_t step = y->stride_w * item->job->element, last = (columns - 1) * step;
    const char *at = planes + first * step;
    for (int k = 0; k < item->tile.units * (int)item->job->plan->channels.unit; k++) {
        for (ptrdiff_t byte = 0; byte < last; byte += FC_CACHE_LINE)
            __builtin_prefetch(at + byte, 1);
        __builtin_prefetch(at + last, 1);
        at += y->stride_c * item->job->element;
    }
}

/* Columns [begin, end) of one row, or of each row of a pair, in tiles of near-equal size. */
static void compute_columns(struct fc_convolve_item *item, const struct row *row, int64_t begin,
                            int64_t end, const struct row *pair)
{
    const struct fc_conv2d_kernels *kernels = item->job->kernels;
    const ptrdiff_t element = item->job->element;
    struct fc_tile *tile = &item->tile;
    const int64_t count = end - begin, most = kernels->tile_pixels / (pair ? 2 : 1);
    const int64_t tiles = fc_ceil_div(count, most);
    int64_t first = begin;
    for (int64_t t = 1; t <= tiles; t++) {
        const int64_t next = begin + count * t / tiles;
        tile->pixels = (int)(next - first) * (pair ? 2 : 1);
        tile->x = row->x + first * tile->runs.step * element;
        tile->y = row->y + first * tile->y_step * element;
        if (row->partial)
            tile->partial = row->partial + first * tile->partial_step * element;
        if (row->residual)
            tile->residual = row->residual + first * tile->residual_step * element;
        fetch_planes(item, row->planes, first, next - first);
        if (pair)
            fetch_planes(item, pair->planes, first, next - first);
        fc_ahead_share(&item->kernel_ahead, tile->runs.count, &tile->ahead[0]);
        fc_ahead_share(&item->x_ahead, tile->runs.count, &tile->ahead[1]);
        if (item->job->plan->channels.lanes)
            kernels->lane_tile(tile);
        else if (pair)
            kernels->conv_pair(tile);
        else
            kernels->conv_tile(tile);
        first = next;
    }
}

/* Columns at the edges of the image, one by one, each with the taps that read the image. */
static void compute_edge(struct fc_convolve_item *item, const struct fc_source *source,
                         const struct row *row, struct fc_taps *taps, int64_t begin, int64_t end)
{
    for (int64_t column = begin; column < end; column++) {
        fc_axis_taps(&item->job->convolution->axis[1], item->patch.column + column,
                     &taps->axis[1].begin, &taps->axis[1].end);
        choose_terms(item, source, taps);
        compute_columns(item, row, column, column + 1, NULL);
    }
}

static struct fc_taps taps_of_row(const struct fc_convolve_item *item, int64_t r)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_axis *axis = item->job->convolution->axis;
    struct fc_taps taps = all_taps(item);
    if (plan->skip_rows)
        fc_axis_taps(&axis[0], fc_patch_row(&plan->blocks, &item->patch, r), &taps.axis[0].begin,
                     &taps.axis[0].end);
    return taps;
}

static void compute_row(struct fc_convolve_item *item, const struct aim *aim, int64_t image,
                        int64_t r)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_axis *axis = item->job->convolution->axis;
    const int64_t columns = item->patch.columns;
    struct fc_taps taps = taps_of_row(item, r);
    int64_t left = 0, right = columns, unused;
    if (plan->skip_rows && plan->channels.lanes && axis[1].taps > 0) {
        fc_axis_outputs(&axis[1], 0, &left, &unused);
        fc_axis_outputs(&axis[1], axis[1].taps - 1, &unused, &right);
        left = fc_min(fc_max(left - item->patch.column, 0), columns);
        right = fc_max(fc_min(right - item->patch.column, columns), left);
    }
    struct row row;
    aim_row(item, aim, image, r, &row);
    choose_terms(item, aim->source, &taps);
    compute_columns(item, &row, left, right, NULL);
    compute_edge(item, aim->source, &row, &taps, 0, left);
    compute_edge(item, aim->source, &row, &taps, right, columns);
}

/* Two rows with the same taps: tiles with columns of both. */
static void compute_pair(struct fc_convolve_item *item, const struct aim *aim, int64_t image,
                         int64_t r, int64_t second_image, int64_t second_r)
{
    const ptrdiff_t element = item->job->element;
    const struct fc_taps taps = taps_of_row(item, r);
    struct fc_tile *tile = &item->tile;
    struct row row, second;
    aim_row(item, aim, image, r, &row);
    aim_row(item, aim, second_image, second_r, &second);
    tile->x_second = (second.x - row.x) / element;
    tile->y_second = (second.y - row.y) / element;
    if (row.partial)
        tile->partial_second = (second.partial - row.partial) / element;
    if (row.residual)
        tile->residual_second = (second.residual - row.residual) / element;
    choose_terms(item, aim->source, &taps);
    compute_columns(item, &row, 0, item->patch.columns, &second);
}

/* Whether two rows together make fewer tiles than one after the other. */
static bool pairs_rows(const struct fc_convolve_item *item)
{
    const int64_t columns = item->patch.columns, pixels = item->job->kernels->tile_pixels;
    return !item->job->plan->channels.lanes &&
           fc_ceil_div(columns, pixels / 2) < 2 * fc_ceil_div(columns, pixels);
}

static bool same_taps(const struct fc_convolve_item *item, int64_t r, int64_t s)
{
    const struct fc_taps a = taps_of_row(item, r), b = taps_of_row(item, s);
    return a.axis[0].begin == b.axis[0].begin && a.axis[0].end == b.axis[0].end;
}

/* Every row of every image: a row is paired with that of the next image, which has the same taps, or
 * in the last of an odd number of images with the next row. */
static void compute_rows(struct fc_convolve_item *item, const struct aim *aim)
{
    const int64_t rows = item->patch.rows;
    const bool pairs = pairs_rows(item);
    int64_t image = 0;
    aim_tile(item, aim);
    for (; pairs && image + 1 < item->images; image += 2)
        for (int64_t r = 0; r < rows; r++)
            compute_pair(item, aim, image, r, image + 1, r);
    for (; image < item->images; image++)
        for (int64_t r = 0; r < rows; r++)
            if (pairs && r + 1 < rows && same_taps(item, r, r + 1)) {
                compute_pair(item, aim, image, r, image, r + 1);
                r++;
            } else {
                compute_row(item, aim, image, r);
            }
}

/* A channel's pixels lie apart from its neighbours': the strip's row is turned into place. */
static void turn_row(const struct fc_convolve_item *item, const char *strip, int64_t image,
                     int64_t row, int64_t k, int64_t columns)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    item->job->kernels->finish_block(&(struct fc_finish){
        .block = {.x = strip,
                  .y = y_at(item, y, image, row, k),
                  .x_pixel = item->job->plan->channels.panel,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = item->patch.columns,
                  .channels = columns},
        .bias = convolution->bias ? (const char *)convolution->bias + k * item->job->element : NULL,
        .residual = residual->data ? y_at(item, residual, image, row, k) : NULL,
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
    const char *kernel = item->kernel;
    if (!job->plan->fused)
        kernel = job->packed +
                 (fc_panel_offset(channels, item->group, p) + fc_panel_row(channels, c) * width) *
                     job->element;
    const bool last = end == channels->c_in;

    item->tile.kernel_step = width;
    item->channels = end - c;
    item->slab = slab;
    const struct fc_taps taps = all_taps(item);
    fc_list_terms(item, source, &taps, &item->terms);
    item->tile.runs.step = job->convolution->axis[1].stride * source->pixel;
    for (int64_t k = 0; k < width; k += most) {
        item->tile.kernel = kernel + k * job->element;
        item->tile.units = (int)(fc_min(width - k, most) / channels->unit);
        compute_rows(item, &(struct aim){.source = source,
                                         .strip = strip,
                                         .k = k,
                                         .y_k = y_first + k,
                                         .columns = (int)fc_min(outputs - k, most),
                                         .first = c == 0,
                                         .last = last});
    }
    if (!last || in_place(job->convolution))
        return;
    for (int64_t i = 0; i < item->images; i++)
        for (int64_t r = 0; r < item->patch.rows; r++)
            turn_row(item,
                     strip + (i * item->patch.rows + r) * item->patch.columns * channels->panel *
                                 job->element,
                     i, fc_patch_row(&job->plan->blocks, &item->patch, r), y_first, outputs);
}
