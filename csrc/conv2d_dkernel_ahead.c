/* conv2d_dkernel_ahead.c: the lines that each tile of a kernel gradient fetches for the next block. */
#include "conv2d_dkernel_ahead.h"

#include "geometry.h"
#include "workspace.h"

struct fc_dkernel_runs fc_dkernel_runs_of(const fc_image *image, ptrdiff_t element,
                                          const struct fc_dkernel_span *span)
{
    const int64_t rows = span->rows, row_gap = span->row_gap;
    struct fc_dkernel_runs runs = {
        .at = fc_image_at(image, element, span->n, span->row, span->column, span->c),
        .flat = true,
    };
    if (rows <= 0 || span->columns <= 0 || span->channels <= 0)
        return runs;
    if (image->stride_c == 1 && image->stride_w > 0) {
        runs.pitch = image->stride_w * element;
        runs.row = row_gap * image->stride_h * element;
        runs.lines = fc_ceil_div(span->channels * element, FC_CACHE_LINE);
        runs.flat = rows == 1 || (row_gap == 1 && fc_rows_together(image, image->w));
        runs.runs = span->columns;
        if (runs.flat)
            runs.runs += (rows - 1) * image->w + (span->images - 1) * image->h * image->w;
        if (runs.flat && fc_pixels_together(image) && runs.pitch < FC_CACHE_LINE) {
            /* A line holds several: one of 3 channels at a time few were fetched of what a block reads. On Zen 4
             * 320x320, 3 to 16 channels with strides 2, took 2.7 ms, now 2.5, 3.6 with AVX2, now 2.4. */
            runs.runs = fc_ceil_div(runs.runs * runs.pitch, FC_CACHE_LINE);
            runs.pitch = FC_CACHE_LINE;
        }
    } else if (image->stride_w > 0 && image->stride_h > 0) { /* planes: the span of each channel */
        const int64_t elements =
            (rows - 1) * row_gap * image->stride_h + span->columns * image->stride_w;
        runs.pitch = image->stride_c * element;
        runs.lines = fc_ceil_div(elements * element, FC_CACHE_LINE);
        runs.runs = span->channels;
    }
    return runs;
}

/* The next image where one has been fetched. */
static void next_line(struct fc_dkernel_ahead *ahead, int64_t lines)
{
    ahead->run = 0;
    if (++ahead->line < lines)
        return;
    ahead->line = 0;
    ahead->which++;
}

void fc_dkernel_ahead_take(struct fc_dkernel_ahead *ahead, struct fc_dkernel_tile *tile)
{
    const int64_t turns = tile->width / ahead->pixels * ahead->each;
    const int64_t pixels = ahead->each > 1 ? 1 : ahead->pixels;
    tile->ahead = tile->x;
    tile->ahead_step = tile->ahead_row = 0;
    tile->ahead_more = false;
    while (ahead->which < 2 && ahead->image[ahead->which].runs == 0)
        ahead->which++;
    if (ahead->which == 2 || turns == 0 || tile->rows * tile->images == 0)
        return;
    const struct fc_dkernel_runs *image = &ahead->image[ahead->which];
    tile->ahead_more = ahead->each > 1;
    if (!image->flat) { /* every second pixel of each row, then the others, or all */
        tile->ahead =
            image->at + ahead->line / pixels * FC_CACHE_LINE + ahead->line % pixels * image->pitch;
        tile->ahead_step = pixels * image->pitch;
        tile->ahead_row = image->row;
        next_line(ahead, pixels * image->lines);
        return;
    }
    const bool together = image->pitch == image->lines * FC_CACHE_LINE;
    const int64_t runs = together ? image->runs * image->lines : image->runs;
    tile->ahead_step = together ? FC_CACHE_LINE : image->pitch;
    tile->ahead_row = turns * tile->ahead_step;
    tile->ahead = image->at + ahead->line * FC_CACHE_LINE + ahead->run * tile->ahead_step;
    ahead->run += turns * tile->rows * tile->images;
    if (ahead->run >= runs)
        next_line(ahead, together ? 1 : image->lines);
}
