/* convolve_tiles.c: one panel of the kernel times one stretch of channels, tile by tile.
 *
 * Taps that lie in zero padding are left out, by rows, and by columns too where much is padding, where one
 * column lacks one, or lanes run over channels: then x need not be padded and, in lanes, can be read where
 * it lies. Outputs with the same taps make regions, 9 of a 14 x 14 map at dilation 6, whose tiles run along
 * rows, columns or images; of 6 x 6 outputs two rows are a tile of 12 pixels. There 2048 to 256 channels
 * took 105 ms when rows alone were left out and each block had a sixth of an image, and takes 57. Its tiles
 * are then at two thirds of the peak, with runs of 16 terms and chains of 64. */
#include "convolve_tiles.h"

#include "fetch_rows.h"

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
                  int64_t row, int64_t column, int64_t k)
{
    return fc_image_at(y, item->job->element, item->n + image, row, item->patch.column + column, k);
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

/* Outputs of a patch with the same taps: the same rows and columns of each image. */
struct region {
    int64_t row, rows, column, columns;
};

/* The outputs of a region that follow each other in a tile: a row's, a column's, or one of each image. */
enum way { ALONG, UPRIGHT, ACROSS };

/* Where the outputs of a line come from and go to: the strip, or, for the last stretch of channels, y.
 * Kept apart from the tile, and no struct is copied here: a wide load of what narrow stores have just
 * written waits until they reach the cache, behind all the arithmetic in flight (4 % of the time). */
struct line {
    const char *x, *partial, *residual;
    char *y;
    const char *planes; /* of y, where the strip is turned into them afterwards, or NULL */
};

/* A line of a region: one of its rows or columns, counted through all images, or of its pixels. */
static void aim_line(const struct fc_convolve_item *item, const struct aim *aim,
                     const struct region *region, enum way way, int64_t index, struct line *at)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_source *source = aim->source;
    const ptrdiff_t element = item->job->element;
    const int64_t lines = way == ALONG ? region->rows : region->columns;
    const int64_t outer = index / lines, i = index % lines, image = way == ACROSS ? 0 : outer;
    const int64_t r = region->row + (way == ALONG ? i : way == ACROSS ? outer : 0);
    const int64_t column = region->column + (way == ALONG ? 0 : i);
    const int64_t row = fc_patch_row(&plan->blocks, &item->patch, r);
    const int64_t pixel = (image * item->patch.rows + r) * item->patch.columns + column;
    const int64_t lane = plan->channels.lanes ? aim->k : 0;
    const ptrdiff_t step = convolution->axis[1].stride * source->pixel;
    char *strip = aim->strip + (pixel * plan->channels.panel + aim->k) * element;
    at->x = source->x + (image * source->image + r * source->next + column * step + lane) * element;
    at->partial = aim->first ? NULL : strip;
    at->residual = at->planes = NULL;
    at->y = strip;
    if (aim->last && !in_place(convolution) && convolution->y.stride_w <= 2 && way == ALONG)
        at->planes = y_at(item, &convolution->y, image, row, column, aim->y_k);
    if (aim->last && in_place(convolution)) {
        at->y = y_at(item, &convolution->y, image, row, column, aim->y_k);
        if (convolution->residual.data)
            at->residual = y_at(item, &convolution->residual, image, row, column, aim->y_k);
    }
}

/* From output to output of a line. */
static ptrdiff_t step_of(const struct fc_convolve_item *item, const fc_image *image, enum way way)
{
    return way == ACROSS    ? image->stride_n
           : way == UPRIGHT ? item->job->plan->blocks.row_phases * image->stride_h
                            : image->stride_w;
}

/* What the tiles of all lines share. */
static void aim_tile(struct fc_convolve_item *item, const struct aim *aim, enum way way)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const struct fc_channels *channels = &item->job->plan->channels;
    const struct fc_source *source = aim->source;
    const struct fc_patch *patch = &item->patch;
    struct fc_tile *tile = &item->tile;
    tile->partial = tile->bias = tile->residual = NULL;
    tile->runs.step = way == ACROSS    ? source->image
                      : way == UPRIGHT ? source->next
                                       : convolution->axis[1].stride * source->pixel;
    tile->partial_step = tile->y_step =
        channels->panel * (way == ALONG ? 1 : patch->columns) * (way == ACROSS ? patch->rows : 1);
    tile->activation = FC_LINEAR;
    tile->columns = tile->units * (int)channels->unit;
    tile->stream = tile->narrow = false;
    if (!aim->last || !in_place(convolution))
        return;
    tile->narrow = 2 * (tile->columns - aim->columns) >= channels->unit;
    tile->columns = aim->columns;
    tile->stream = item->job->plan->stream;
    tile->y_step = step_of(item, &convolution->y, way);
    tile->residual_step = step_of(item, &convolution->residual, way);
    tile->activation = convolution->activation;
    if (convolution->bias)
        tile->bias = (const char *)convolution->bias + aim->y_k * item->job->element;
}

/* The lines of y's planes that some columns will be turned into, asked for while these are summed:
 * 1x1, 64 to 256 channels at 56x56, took 1.7 times as long without. */
static inline __attribute__((always_inline)) void fetch_planes(const struct fc_convolve_item *item,
                                                               const char *planes, int64_t first,
                                                               int64_t columns)
{
    const fc_image *y = &item->job->convolution->y;
    const ptrdiff_t element = item->job->element, step = y->stride_w * element;
    if (planes)
        fc_fetch_rows(planes + first * step, y->stride_c * element, item->tile.columns,
                      (columns - 1) * step + 1);
}

/* Only tiles of all their pixels go past the caches. */
static int64_t tile_pixels(const struct fc_convolve_item *item)
{
    const struct fc_conv2d_kernels *kernels = item->job->kernels;
    return fc_tile_pixels(kernels, item->job->plan->stream ? 1 : item->tile.chain_count);
}

/* The outputs of one line, or of each line of a pair, in tiles of near-equal size. A pair whose second line
 * shares rows of x with the first is as wide as one. No tile divides: one of AVX2 has 160 cycles for 27 terms. */
static void compute_line(struct fc_convolve_item *item, const struct line *line, int64_t count,
                         const struct line *pair, bool shared)
{
    const struct fc_conv2d_kernels *kernels = item->job->kernels;
    const ptrdiff_t element = item->job->element;
    struct fc_tile *tile = &item->tile;
    const int64_t most = tile_pixels(item) / (pair && !shared ? 2 : 1);
    const int64_t tiles = fc_ceil_div(count, most), least = count / tiles;
    const ptrdiff_t x_step = tile->runs.step * element, y_step = tile->y_step * element;
    void (*compute)(struct fc_tile *) = pair ? kernels->conv_pair : kernels->conv_tile;
    if (item->job->plan->channels.lanes)
        compute = kernels->lane_tile;
    else if (shared)
        compute = kernels->conv_shared;
    int64_t first = 0, larger = count % tiles;
    while (first < count) {
        const int64_t pixels = least + (larger-- > 0);
        tile->pixels = (int)pixels * (pair ? 2 : 1);
        tile->x = line->x + first * x_step;
        tile->y = line->y + first * y_step;
        if (line->partial)
            tile->partial = line->partial + first * tile->partial_step * element;
        if (line->residual)
            tile->residual = line->residual + first * tile->residual_step * element;
        fetch_planes(item, line->planes, first, pixels);
        if (pair)
            fetch_planes(item, pair->planes, first, pixels);
        fc_ahead_share(&item->kernel_ahead, tile->runs.count, &tile->ahead[0]);
        fc_ahead_share(&item->x_ahead, tile->runs.count, &tile->ahead[1]);
        compute(tile);
        first += pixels;
    }
}

/* The second line of a pair, as far from the first as it lies. */
static void aim_second(struct fc_convolve_item *item, const struct line *first,
                       const struct line *second)
{
    const ptrdiff_t element = item->job->element;
    struct fc_tile *tile = &item->tile;
    tile->x_second = (second->x - first->x) / element;
    tile->y_second = (second->y - first->y) / element;
    if (first->partial)
        tile->partial_second = (second->partial - first->partial) / element;
    if (first->residual)
        tile->residual_second = (second->residual - first->residual) / element;
}

/* Whether it is worth another shape of tile to make so many instead. Where y goes past the caches only if
 * they are an eighth less: the short lines of upright tiles do not, nor small tiles, and one tile of 76 less
 * took VGG's first layer in AVX2 24.5 ms, not 16.7. */
static bool saves_tiles(const struct fc_convolve_item *item, int64_t tiles, int64_t instead)
{
    return item->job->plan->stream ? instead < tiles - tiles / 8 : instead < tiles;
}

/* Whether two lines together make fewer tiles than one after the other. */
static bool pairs_lines(const struct fc_convolve_item *item, int64_t length)
{
    const int64_t pixels = tile_pixels(item);
    return !item->job->plan->channels.lanes &&
           saves_tiles(item, 2 * fc_ceil_div(length, pixels), fc_ceil_div(length, pixels / 2));
}

static int64_t tiles_of(const struct fc_convolve_item *item, int64_t lines, int64_t length)
{
    const int64_t pixels = tile_pixels(item);
    return pairs_lines(item, length) && lines > 1
               ? fc_ceil_div(lines, 2) * fc_ceil_div(length, pixels / 2)
               : lines * fc_ceil_div(length, pixels);
}

/* Whether rows of outputs that follow each other share rows of x, each a run: of one unit, whose tiles load a
 * number for each multiply-add, two such rows load one for two. 3x3 of 16 to 16 channels and 5x5 of 6 to 16 went
 * from 66 and 61 % of the peak to 77. */
static bool shares_rows(const struct fc_convolve_item *item, const struct fc_source *source)
{
    const struct fc_axis *axis = item->job->convolution->axis;
    return item->tile.units == 1 && item->job->kernels->tile_units > 1 &&
           item->channels <= item->slab && axis[0].taps > 1 && fc_rows_are_runs(item, source) &&
           source->next == source->row && item->tile.runs.count > 1;
}

/* Every output of a region with those taps, in lines of whichever way takes fewest tiles: an edge 2 columns
 * wide and 6 rows high is one tile, not three, and so are the corners of some images. */
static void compute_region(struct fc_convolve_item *item, const struct aim *aim,
                           const struct region *region, const struct fc_taps *taps)
{
    const int64_t images = item->images, rows = region->rows, columns = region->columns;
    const int64_t lengths[3] = {columns, rows, images}, all = images * rows * columns;
    enum way way = ALONG;
    choose_terms(item, aim->source, taps);
    const int64_t least = fc_ceil_div(all, tile_pixels(item));
    int64_t tiles = tiles_of(item, all / columns, columns);
    for (enum way other = UPRIGHT; other <= ACROSS && tiles > least; other++) {
        const int64_t instead = tiles_of(item, all / lengths[other], lengths[other]);
        if (saves_tiles(item, tiles, instead)) {
            way = other;
            tiles = instead;
        }
    }
    const int64_t length = lengths[way], lines = all / length;
    aim_tile(item, aim, way);
    const bool shared = way == ALONG && shares_rows(item, aim->source);
    const bool pairs = !shared && pairs_lines(item, length);
    for (int64_t i = 0; i < lines; i++) {
        struct line line, second;
        aim_line(item, aim, region, way, i, &line);
        if ((pairs && i + 1 < lines) || (shared && (i + 1) % rows != 0)) {
            aim_line(item, aim, region, way, ++i, &second);
            aim_second(item, &line, &second);
            compute_line(item, &line, length, &second, shared);
        } else {
            compute_line(item, &line, length, NULL, false);
        }
    }
}

/* The taps of row, or column, `at` of the patch, and the end of those that follow and have the same. */
static int64_t same_taps(const struct fc_convolve_item *item, int a, int64_t at, int64_t size,
                         struct fc_taps *taps)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_axis *axis = &item->job->convolution->axis[a];
    int64_t begin, end;
    if (!(a == 0 ? plan->skip_rows : plan->skip_columns))
        return size;
    const int64_t first = a == 0 ? plan->blocks.row_phases : 1;
    const int64_t offset =
        a == 0 ? fc_patch_row(&plan->blocks, &item->patch, 0) : item->patch.column;
    fc_axis_taps(axis, offset + at * first, &taps->axis[a].begin, &taps->axis[a].end);
    while (++at < size) {
        fc_axis_taps(axis, offset + at * first, &begin, &end);
        if (begin != taps->axis[a].begin || end != taps->axis[a].end)
            break;
    }
    return at;
}

/* All outputs, region by region. */
static void compute_patch(struct fc_convolve_item *item, const struct aim *aim)
{
    struct fc_taps taps = all_taps(item);
    struct region region = {.row = 0};
    for (; region.row < item->patch.rows; region.row += region.rows) {
        region.rows = same_taps(item, 0, region.row, item->patch.rows, &taps) - region.row;
        for (region.column = 0; region.column < item->patch.columns;
             region.column += region.columns) {
            region.columns =
                same_taps(item, 1, region.column, item->patch.columns, &taps) - region.column;
            compute_region(item, aim, &region, &taps);
        }
    }
}

/* Whether an image's rows lie one after the other, as those of the strip do. */
static bool rows_follow(const struct fc_convolve_item *item, const fc_image *image)
{
    return item->patch.columns == image->w && fc_rows_together(image, image->w) &&
           item->job->plan->blocks.row_phases == 1;
}

/* A channel's pixels lie apart from its neighbours': the strip's rows are turned into place. */
static void turn_rows(const struct fc_convolve_item *item, const char *strip, int64_t image,
                      int64_t row, int64_t rows, int64_t k, int64_t columns)
{
    const struct fc_convolution *convolution = item->job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    item->job->kernels->finish_block(&(struct fc_finish){
        .block = {.x = strip,
                  .y = y_at(item, y, image, row, 0, k),
                  .x_pixel = item->job->plan->channels.panel,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = rows * item->patch.columns,
                  .channels = columns},
        .bias = convolution->bias ? (const char *)convolution->bias + k * item->job->element : NULL,
        .residual = residual->data ? y_at(item, residual, image, row, 0, k) : NULL,
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
    for (int64_t k = 0; k < width; k += most) {
        item->tile.kernel = kernel + k * job->element;
        item->tile.units = (int)(fc_min(width - k, most) / channels->unit);
        compute_patch(item, &(struct aim){.source = source,
                                          .strip = strip,
                                          .k = k,
                                          .y_k = y_first + k,
                                          .columns = (int)fc_min(outputs - k, most),
                                          .first = c == 0,
                                          .last = last});
    }
    if (!last || in_place(job->convolution))
        return;
    /* A square is 16 pixels: 7 of a 10 x 10 map where row by row they would be 10. */
    const fc_image *residual = &job->convolution->residual;
    const bool together =
        rows_follow(item, &job->convolution->y) && (!residual->data || rows_follow(item, residual));
    const int64_t rows = together ? item->patch.rows : 1;
    for (int64_t i = 0; i < item->images; i++)
        for (int64_t r = 0; r < item->patch.rows; r += rows)
            turn_rows(item,
                      strip + (i * item->patch.rows + r) * item->patch.columns * channels->panel *
                                  job->element,
                      i, fc_patch_row(&job->plan->blocks, &item->patch, r), rows, y_first, outputs);
}
