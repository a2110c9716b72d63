/* winograd_lanes_products.c: rows of x to planes of every 4th column, to the points, and multiplied.
 *
 * FC_LANES_CHANNELS channels of FC_LANES_UNITS units of tiles are 24 KB at the points. What tiles after these read is
 * asked for meanwhile. */
#include <string.h>

#include "fetch_rows.h"
#include "winograd_lanes_items.h"
#include "workspace.h"

/* Some tiles of rows of x, counted from those of row `row` on, and channels; where they lie in m. */
struct block {
    int64_t row, tile, tiles, c, channels, at;
};

/* ----------------------------------------------------------------- turning */

/* Whether tiles of a row and the next follow each other in planes. */
static bool is_run(const fc_image *x)
{
    return x->stride_w == 1 && x->stride_h == x->w && x->w % FC_WINOGRAD_COLUMNS == 0;
}

/* Pixels that lie together to planes of every 4th: in halves, and those again. */
static void part_pixels(const struct fc_lanes_job *job, const char *x, int64_t pixels, char *to)
{
    _Alignas(FC_CACHE_LINE) char halves[2][2 * FC_LANES_ALL_UNITS * FC_CACHE_LINE];
    const ptrdiff_t column = fc_lanes_plane(job) * job->element;
    job->kernels->pool2d.split_pairs(x, halves[0], halves[1], pixels);
    for (int i = 0; i < 2; i++)
        job->kernels->pool2d.split_pairs(halves[i], to + i * column, to + (2 + i) * column,
                                         (pixels + 1 - i) / 2);
}

/* Tiles [tile, tile + count) of a row, or of rows that are a run, to planes of every column, from lane `lane` on:
 * zeros beyond the row. */
static void part_columns(const struct fc_lanes_item *item, const struct block *block, int64_t row,
                         int64_t tile, int64_t count, int64_t lane)
{
    const struct fc_lanes_job *job = item->job;
    const fc_image *x = &job->spread->x;
    const bool planes = x->stride_w == 1;
    const int64_t wide = job->wide, most = count * FC_WINOGRAD_COLUMNS;
    const int64_t pixels = is_run(x) ? most : fc_min(x->w - tile * FC_WINOGRAD_COLUMNS, most);
    const char *from =
        fc_image_at(x, job->element, item->n, row, tile * FC_WINOGRAD_COLUMNS, block->c);
    char *to = item->x + lane * job->element;
    for (int64_t c = 0; c < block->channels && planes; c++)
        part_pixels(job, from + c * x->stride_c * job->element, pixels,
                    to + c * wide * job->element);
    for (int64_t i = 0; i < FC_WINOGRAD_COLUMNS; i++) {
        char *column = to + i * fc_lanes_plane(job) * job->element;
        const int64_t some = fc_ceil_div(pixels - i, FC_WINOGRAD_COLUMNS);
        if (!planes)
            job->kernels->conv2d.copy_block(&(struct fc_block){
                .x = from + i * x->stride_w * job->element,
                .y = column,
                .x_pixel = FC_WINOGRAD_COLUMNS * x->stride_w,
                .x_channel = x->stride_c,
                .y_pixel = 1,
                .y_channel = wide,
                .pixels = some,
                .channels = block->channels,
            });
        for (int64_t c = 0; c < block->channels && some < count; c++)
            memset(column + (c * wide + some) * job->element, 0, (size_t)job->element);
    }
}

static void turn_rows(const struct fc_lanes_item *item, const struct block *block)
{
    const struct fc_lanes_job *job = item->job;
    for (int64_t t = 0, count; t < block->tiles; t += count) {
        const int64_t tile = block->tile + t, row = tile / job->tiles;
        count = block->tiles - t;
        if (!is_run(&job->spread->x))
            count = fc_min(count, (row + 1) * job->tiles - tile);
        part_columns(item, block, block->row + row, tile % job->tiles, count, t);
    }
}

/* Pixels whose channels lie together: lanes come from where their tiles do, whatever rows these are of, and beyond a
 * row from zeros. */
static void turn_pixels(const struct fc_lanes_item *item, const struct block *block,
                        const fc_image *x)
{
    const struct fc_lanes_job *job = item->job;
    const ptrdiff_t zeros = (item->zeros - (const char *)x->data) / job->element;
    ptrdiff_t offset[FC_LANES_ALL_UNITS * FC_CACHE_LINE / sizeof(float)];
    for (int64_t i = 0; i < FC_WINOGRAD_COLUMNS; i++) {
        int64_t row = block->tile / job->tiles;
        int64_t column = block->tile % job->tiles * FC_WINOGRAD_COLUMNS + i;
        for (int64_t t = 0; t < block->tiles; t++) {
            offset[t] = column < x->w ? row * x->stride_h + column * x->stride_w : zeros;
            column += FC_WINOGRAD_COLUMNS;
            if (column - i < job->tiles * FC_WINOGRAD_COLUMNS)
                continue;
            column = i;
            row++;
        }
        job->kernels->conv2d.gather_lanes(&(struct fc_gather){
            .x = x->data,
            .y = item->x + i * fc_lanes_plane(job) * job->element,
            .offset = offset,
            .x_pixel = 1,
            .y_pixel = job->wide,
            .pixels = block->channels,
            .lanes = block->tiles,
        });
    }
}

/* Narrow planes become pixels first: 16 rows of 10 in parts took twice as long as all else. */
static void turn_narrow(const struct fc_lanes_item *item, const struct block *block,
                        const fc_image *x)
{
    const struct fc_lanes_job *job = item->job;
    const int64_t first = block->tile / job->tiles;
    const int64_t rows = (block->tile + block->tiles - 1) / job->tiles + 1 - first;
    fc_image pixels = {.data = item->pixels, .w = x->w, .stride_w = block->channels};
    pixels.stride_h = x->w * pixels.stride_w;
    for (int64_t r = 0; r < rows; r++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = (const char *)x->data + (first + r) * x->stride_h * job->element,
            .y = item->pixels + r * pixels.stride_h * job->element,
            .x_pixel = 1,
            .x_channel = x->stride_c,
            .y_pixel = pixels.stride_w,
            .y_channel = 1,
            .pixels = x->w,
            .channels = block->channels,
        });
    struct block some = *block;
    some.tile -= first * job->tiles;
    turn_pixels(item, &some, &pixels);
}

/* In whichever way they lie: of neither the channels nor the columns together, as arrays may have it, row by row. */
static void turn_block(const struct fc_lanes_item *item, const struct block *block)
{
    const fc_image *x = &item->job->spread->x;
    fc_image from = *x;
    from.data = fc_image_at(x, item->job->element, item->n, block->row, 0, block->c);
    if (x->stride_c == 1)
        turn_pixels(item, block, &from);
    else if (fc_lanes_narrow(x))
        turn_narrow(item, block, &from);
    else
        turn_rows(item, block);
}

/* ---------------------------------------------------------------- products */

/* What tiles and channels add to m. */
static void multiply_block(const struct fc_lanes_item *item, const struct block *block,
                           struct fc_later_rows *later)
{
    const struct fc_lanes_job *job = item->job;
    const struct fc_winograd_lanes *lanes = &job->lanes;
    const int64_t c_in = job->spread->kernel.c_in, wide = job->wide;
    const int64_t most = job->kernels->few.plane_outputs;
    const int64_t across = job->kernels->few.plane_units * job->unit;
    ptrdiff_t offset[FC_LANES_CHANNELS];
    for (int64_t i = 0; i < block->channels; i++)
        offset[i] = i * wide;
    job->kernels->winograd.lanes_points(&(struct fc_winograd_lanes_points){
        .x = item->x,
        .v = item->v,
        .column = fc_lanes_plane(job),
        .channel = wide,
        .channels = block->channels,
        .tiles = block->tiles,
        .taps = lanes->taps,
    });
    struct fc_plane_tile tile = {
        .offset = offset,
        .terms = block->channels,
        .weight_step = c_in,
        .partial_step = job->m_plane,
        .y_step = job->m_plane,
    };
    for (int p = 0; p < lanes->points; p++) {
        const int64_t lines = p + 1 < lanes->points ? lanes->lines : lanes->full;
        const int64_t sums = lines * job->spread->kernel.kh, tiles = fc_ceil_div(sums, most);
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t q = sums * i / tiles, sum = p * job->sums + q;
            tile.outputs = (int)(sums * (i + 1) / tiles - q);
            tile.weights = job->u + (sum * c_in + block->c) * job->element;
            for (int64_t t = 0; t < block->tiles; t += across) {
                tile.pixels = (int)fc_min(across, block->tiles - t);
                tile.units = (int)fc_ceil_div(tile.pixels, job->unit);
                tile.x = item->v + (p * fc_lanes_plane(job) + t) * job->element;
                tile.y = item->m + (sum * job->m_plane + block->at + t) * job->element;
                tile.partial = block->c ? tile.y : NULL;
                tile.ahead = fc_take_later_rows(later, block->channels);
                job->kernels->few.plane_tile(&tile);
            }
        }
    }
}

/* The tiles after a block's, of all channels. */
static struct fc_later_rows find_later(const struct fc_lanes_item *item, const struct block *block)
{
    const struct fc_lanes_job *job = item->job;
    const fc_image *x = &job->spread->x;
    const int64_t next = block->tile + block->tiles, row = block->row + next / job->tiles;
    const int64_t pixels = block->tiles * FC_WINOGRAD_COLUMNS;
    const int64_t tiles = fc_ceil_div(x->c, FC_LANES_CHANNELS) * job->lanes.points *
                          fc_ceil_div(job->sums, job->kernels->few.plane_outputs) *
                          fc_ceil_div(FC_LANES_UNITS, job->kernels->few.plane_units);
    if (row >= x->h)
        return (struct fc_later_rows){0};
    const char *at =
        fc_image_at(x, job->element, item->n, row, next % job->tiles * FC_WINOGRAD_COLUMNS, 0);
    if (x->stride_w == 1)
        return fc_plan_later_rows(at, x->stride_c * job->element, x->c, pixels * job->element,
                                  tiles);
    return fc_plan_later_rows(at, 0, 1, pixels * x->c * job->element, tiles);
}

void fc_multiply_lanes(const struct fc_lanes_item *item, int64_t row, int64_t count, int64_t at)
{
    const struct fc_lanes_job *job = item->job;
    const fc_image *x = &job->spread->x;
    const int64_t first = fc_max(row, 0), end = fc_min(row + count, x->h);
    if (first > row || end < row + count)
        for (int64_t i = 0; i < job->lanes.points * job->sums; i++)
            memset(item->m + (i * job->m_plane + at * job->tiles) * job->element, 0,
                   (size_t)(count * job->tiles * job->element));
    const int64_t tiles = (end - first) * job->tiles;
    struct block block = {.row = first};
    for (; block.tile < tiles; block.tile += block.tiles) {
        block.tiles = fc_min(job->wide, tiles - block.tile);
        block.at = (at + first - row) * job->tiles + block.tile;
        struct fc_later_rows later = find_later(item, &block);
        for (block.c = 0; block.c < x->c; block.c += FC_LANES_CHANNELS) {
            block.channels = fc_min(FC_LANES_CHANNELS, x->c - block.c);
            turn_block(item, &block);
            multiply_block(item, &block, &later);
        }
    }
}
