/* depthwise_pixels.c: depthwise convolution with channels in the lanes.
 *
 * Two rows of outputs at a time, over a table of the pixels that they read. Rows are cut where those
 * that a strip reads would not stay in the second-level cache until the next one reads them again.
 *
 * Planes are transposed for it, some channels and a band of rows at a time, and their outputs transposed
 * back: half a cycle an element there and back, where columns in the lanes leave vectors ragged and
 * load most of them across two cache lines (7 x 7 planes, 5 x 5 taps: 1.2 ms, transposed 0.44; on Zen 4 144
 * channels of 56 x 56, 3 x 3 taps: 3.9 ms, now 2.0; 32 of 112 x 112: 3.3, now 1.9).
 *
 * Parts follow each other while x and y are near: the phases of a gradient through a stride, and those of
 * a dilation, whose taps lie together so. */
#include "depthwise.h"
#include "parallel.h"
#include "pixel_table.h"
#include "stream.h"
#include "transpose_channels.h"
#include "workspace.h"

enum {
    STRIP_BYTES = 512 * 1024, /* of x that a strip of rows reads */
    LEAST_COLUMNS = 8,
    MOST_COLUMNS = 512,
    ITEMS_WANTED = 16,
    WIDEST_TILE = 7, /* columns of a kernel's tile */
};

struct plan {
    const struct fc_depthwise_job *job;
    int64_t bands, column_blocks; /* that all parts are cut into */
    bool skips;                   /* rows of zero padding */
    bool transposed; /* bands of planes of blocks of channels; else all channels where they are */
    bool stream;     /* y goes past the caches */
    int64_t channels, channel_blocks;
    char *padding, *scratch;
    size_t table_bytes, x_bytes, worker_bytes;
};

/* Some outputs of all parts: a band of rows and a block of columns of those that each is cut into, of channels from
 * `channel` of the kernel on. */
struct item {
    const struct plan *plan;
    int64_t n, band, column_block, channel;
    char *scratch; /* one worker's */
    struct fc_depthwise_ahead ahead;
};

/* While a strip is computed, the rows that the next one has to itself are asked for: the channels of a pixel
 * come one vector a tile, which no prefetcher follows where they are few. On Zen 4 64 channels of 112 x 112 with
 * strides 2 took 2.8 ms, now 1.35; 32 with strides 1 1.4, now 1.07. To ask for the next rows of y lost. */
static void aim_ahead(struct item *item, const struct fc_convolution *convolution,
                      const struct fc_depthwise_pixels *strip, int64_t need, int64_t row)
{
    const struct plan *plan = item->plan;
    const struct fc_depthwise_kernels *kernels = &plan->job->kernels->depthwise;
    const struct fc_axis *axis = &convolution->axis[0];
    const fc_image *x = &convolution->x;
    const ptrdiff_t element = plan->job->element;
    if (plan->transposed || plan->column_blocks > 1 || !fc_asks_for_rows(x, element) ||
        !fc_pixels_together(x) || !fc_rows_together(x, x->w))
        return;
    const int64_t columns =
        strip->column_step == 1 ? kernels->wide_columns : kernels->strided_columns;
    const int64_t windows = fc_ceil_div(strip->columns, columns) *
                            fc_ceil_div(strip->channels * element, kernels->vector_bytes);
    const int64_t bytes = FC_DEPTHWISE_ROWS * axis->stride * x->stride_h * element;
    item->ahead.x = (struct fc_lines_ahead){
        fc_image_at(x, element, item->n, row * axis->stride - axis->before + need, 0, 0),
        fc_ceil_div(bytes, FC_UNIT_BYTES * windows * need)};
}

/* Every step-th row and column of an image, from `at` on: h rows, w columns. */
static fc_image every(const fc_image *image, const int64_t at[2], const int64_t step[2], int64_t h,
                      int64_t w, ptrdiff_t element)
{
    fc_image some = *image;
    if (some.data)
        some.data = fc_image_at(&some, element, 0, at[0], at[1], 0);
    some.h = h;
    some.w = w;
    some.stride_h *= step[0];
    some.stride_w *= step[1];
    return some;
}

/* What a part is of the whole. */
static struct fc_convolution part_of(const struct fc_convolution *whole,
                                     const struct fc_depthwise_part *part, ptrdiff_t element)
{
    const struct fc_axis *axis = part->axis;
    struct fc_convolution convolution = *whole;
    convolution.axis[0] = axis[0];
    convolution.axis[1] = axis[1];
    convolution.x = every(&whole->x, part->x_at, part->x_step, axis[0].in, axis[1].in, element);
    convolution.y = every(&whole->y, part->y_at, part->y_step, axis[0].out, axis[1].out, element);
    convolution.residual =
        every(&whole->residual, part->y_at, part->y_step, axis[0].out, axis[1].out, element);
    return convolution;
}

/* An item's outputs of one part. */
static void compute_part(struct item *item, const struct fc_convolution *whole,
                         const struct fc_depthwise_part *part)
{
    const struct plan *plan = item->plan;
    const struct fc_depthwise_job *job = plan->job;
    const struct fc_channels *channels = &part->channels;
    const struct fc_axis *axis = part->axis;
    const struct fc_convolution convolution = part_of(whole, part, job->element);
    const fc_image *y = &convolution.y, *residual = &convolution.residual;
    const int64_t begin = item->band * part->band, end = fc_min(begin + part->band, axis[0].out);
    const int64_t column = item->column_block * part->columns, channel = item->channel;
    if (column >= axis[1].out)
        return;
    const int64_t panel = channel / channels->panel, width = fc_panel_width(channels, panel);
    const struct fc_pixel_table table =
        fc_pixel_table_in(item->scratch, &convolution, plan->padding, part->need, part->width);
    struct fc_depthwise_pixels strip = {
        .pixel = table.pixel,
        .kernel = part->packed +
                  (fc_panel_offset(channels, 0, panel) + channel % channels->panel) * job->element,
        .columns = fc_min(part->columns, axis[1].out - column),
        .channels = y->c,
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .row_step = axis[0].stride,
        .row_tap = axis[0].dilation,
        .column_step = axis[1].stride,
        .column_tap = axis[1].dilation,
        .panel = width,
        .units = fc_max(fc_whole_units(y->c, channels->unit), width),
        .y_row = y->stride_h,
        .y_pixel = y->stride_w,
        .residual_row = residual->stride_h,
        .residual_pixel = residual->stride_w,
        .stream = plan->stream && !plan->transposed,
        .activation = convolution.activation,
        .ahead = &item->ahead,
    };
    if (convolution.bias)
        strip.bias = (const char *)convolution.bias + channel * job->element;
    const int64_t first_column = column * axis[1].stride - axis[1].before;
    for (int64_t row = begin; row < end; row += strip.rows) {
        strip.rows = fc_min(FC_DEPTHWISE_ROWS, end - row);
        const int64_t above = axis[0].before - row * axis[0].stride;
        strip.begin = plan->skips ? fc_max(above, 0) : 0;
        strip.end = plan->skips ? above + convolution.x.h : part->need;
        fc_pixel_table_aim(&table, item->n, row, strip.rows, first_column,
                           fc_window_reach(&axis[1], strip.columns));
        strip.y = fc_image_at(y, job->element, item->n, row, column, 0);
        if (residual->data)
            strip.residual = fc_image_at(residual, job->element, item->n, row, column, 0);
        aim_ahead(item, &convolution, &strip, part->need, row);
        job->kernels->depthwise.pixels(&strip);
    }
}

/* While planes are computed, those that x has next and those that y goes to are asked for: blocks of planes
 * are read and written in squares, which no prefetcher follows, and to wait for them took as long again as
 * all that is computed. 5 x 5 taps on 14 x 14 took 1.02 ms with 672 channels, now 0.88; 3 x 3 on 7 x 7 with
 * 1024 0.34, now 0.29. */
static struct fc_depthwise_ahead find_ahead(const struct plan *plan, int64_t n, int64_t channel,
                                            int64_t channels)
{
    const fc_image *x = &plan->job->convolution->x, *y = &plan->job->convolution->y;
    const ptrdiff_t element = plan->job->element;
    if (!fc_planes_together(x) || !fc_planes_together(y))
        return (struct fc_depthwise_ahead){0};
    const int64_t lines = channels * fc_max(x->stride_c, y->stride_c) * element / FC_UNIT_BYTES;
    const int64_t tiles = fc_ceil_div(y->h, FC_DEPTHWISE_ROWS) * fc_ceil_div(y->w, WIDEST_TILE) *
                          fc_ceil_div(channels, plan->job->parts->channels.unit);
    const char *to = fc_image_at(y, element, n, 0, 0, channel);
    const ptrdiff_t plane = y->stride_c * element;
    const bool streams = plan->stream && fc_whole_lines(to, plane, plane);
    return (struct fc_depthwise_ahead){
        .x = {fc_image_at(x, element, n, 0, 0, channel + channels),
              fc_ceil_div(lines, tiles * plan->job->parts->need)},
        .y = {to, streams ? 0 : fc_ceil_div(lines, tiles)},
    };
}

/* Rows [begin, end) of x that a band of all parts reads. */
static void find_rows(const struct plan *plan, int64_t band, int64_t *begin, int64_t *end)
{
    const struct fc_depthwise_job *job = plan->job;
    const int64_t h = job->convolution->x.h;
    *begin = plan->bands > 1 ? h : 0;
    *end = plan->bands > 1 ? 0 : h;
    for (int64_t p = 0; p < job->count; p++) {
        const struct fc_depthwise_part *part = &job->parts[p];
        const struct fc_axis *axis = part->axis;
        const int64_t first = band * part->band;
        const int64_t outputs = fc_min(part->band, axis->out - first);
        if (outputs <= 0)
            continue;
        const int64_t row = first * axis->stride - axis->before;
        const int64_t last = fc_min(row + fc_window_reach(axis, outputs), axis->in) - 1;
        *begin = fc_min(*begin, fc_max(row, 0) * part->x_step[0] + part->x_at[0]);
        *end = fc_max(*end, last * part->x_step[0] + part->x_at[0] + 1);
    }
    *begin = fc_min(*begin, *end);
}

static fc_image some_rows(const fc_image *image, int64_t begin, int64_t end, ptrdiff_t element)
{
    return every(image, (int64_t[]){begin, 0}, (int64_t[]){1, 1}, fc_max(end - begin, 0), image->w,
                 element);
}

/* A band of some channels of planes, whose rows are transposed, and all that they would lie among. */
static void compute_transposed(const struct item *item)
{
    const struct plan *plan = item->plan;
    const struct fc_depthwise_job *job = plan->job;
    const struct fc_convolution *convolution = job->convolution;
    const int64_t n = item->n, channel = item->channel;
    const int64_t channels = fc_min(plan->channels, convolution->y.c - channel);
    const int64_t height = job->parts->band * job->parts->y_step[0], top = item->band * height;
    int64_t begin, end;
    find_rows(plan, item->band, &begin, &end);
    const fc_image x = some_rows(&convolution->x, begin, end, job->element);
    const fc_image y =
        some_rows(&convolution->y, top, fc_min(top + height, convolution->y.h), job->element);
    char *packed = item->scratch + plan->table_bytes;
    const fc_image x_block = fc_packed_image(packed, &x, channels);
    const fc_image y_block = fc_packed_image(packed + plan->x_bytes, &y, channels);
    struct fc_convolution block = *convolution;
    block.x = some_rows(&x_block, -begin, convolution->x.h - begin, job->element);
    block.y = some_rows(&y_block, -top, convolution->y.h - top, job->element);
    struct item here = *item; /* in the one image that the blocks are */
    here.n = 0;
    if (plan->bands == 1)
        here.ahead = find_ahead(plan, n, channel, channels);
    fc_transpose_channels(job->kernels, job->element, &x, n, channel, &x_block, true, false);
    for (int64_t p = 0; p < job->count; p++)
        compute_part(&here, &block, &job->parts[p]);
    fc_transpose_channels(job->kernels, job->element, &y, n, channel, &y_block, false,
                          plan->stream);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct plan *plan = context;
    const struct fc_depthwise_job *job = plan->job;
    struct item item = {
        .plan = plan,
        .channel = index % plan->channel_blocks * plan->channels,
        .scratch = plan->scratch + (size_t)worker * plan->worker_bytes,
    };
    index /= plan->channel_blocks;
    item.column_block = index % plan->column_blocks;
    index /= plan->column_blocks;
    item.band = index % plan->bands;
    item.n = index / plan->bands;
    if (plan->transposed) {
        compute_transposed(&item);
        return;
    }
    for (int64_t p = 0; p < job->count; p++)
        compute_part(&item, job->convolution, &job->parts[p]);
}

/* Of a block that is transposed: a panel, or two where they leave items enough and are small: on Zen 4 1152
 * channels of 7 x 7, 5 x 5 taps, took 0.42 ms panel by panel, so 0.38. But 728 of 19 x 19, 185 KB a block, took
 * 7 % longer in float64 and 9 in AVX2. */
static int64_t block_channels(const struct fc_depthwise_job *job)
{
    const struct fc_convolution *convolution = job->convolution;
    const int64_t panel = job->parts->channels.panel, c = convolution->y.c;
    const bool items = convolution->y.n * fc_ceil_div(c, 2 * panel) >= ITEMS_WANTED;
    int64_t channels = panel;
    while (channels > job->parts->channels.unit && !fc_fits_transposed(convolution, channels))
        channels /= 2;
    return items && fc_fits_transposed(convolution, 8 * panel) ? 2 * panel : channels;
}

/* Bands and blocks of columns where all channels lie together, by what the first part reads. */
static void cut_rows(struct plan *plan)
{
    const struct fc_convolution *convolution = plan->job->convolution;
    const struct fc_depthwise_part *part = plan->job->parts;
    const struct fc_axis *axis = part->axis;
    const int64_t fit =
        STRIP_BYTES / plan->job->element / part->need / plan->channels / axis[1].stride;
    const int64_t most = fc_max(fc_min(fit, MOST_COLUMNS), LEAST_COLUMNS);
    plan->column_blocks = fc_ceil_div(axis[1].out, most);
    plan->bands = fc_ceil_div(ITEMS_WANTED, convolution->y.n * plan->column_blocks);
}

/* Bands of planes, of which all parts have as many rows. */
static void cut_planes(struct plan *plan)
{
    const struct fc_convolution *convolution = plan->job->convolution;
    const int64_t rows = fc_transposed_rows(convolution), step = plan->job->parts->y_step[0];
    const int64_t band = rows / step / FC_DEPTHWISE_ROWS * FC_DEPTHWISE_ROWS;
    if (rows < convolution->y.h)
        plan->bands =
            fc_ceil_div(fc_ceil_div(convolution->y.h, step), fc_max(band, FC_DEPTHWISE_ROWS));
}

/* The band and the columns of each part, the largest table, and what planes are transposed to. */
static void cut_parts(struct plan *plan)
{
    const struct fc_depthwise_job *job = plan->job;
    const fc_image *x = &job->convolution->x, *y = &job->convolution->y;
    const int64_t step = job->parts->y_step[0];
    const int64_t rows = fc_ceil_div(fc_ceil_div(y->h, step), plan->bands);
    const int64_t band = fc_whole_units(rows, FC_DEPTHWISE_ROWS);
    for (int64_t p = 0; p < job->count; p++) {
        struct fc_depthwise_part *part = &job->parts[p];
        part->columns = fc_ceil_div(part->axis[1].out, plan->column_blocks);
        part->band = band;
        part->width = fc_window_reach(&part->axis[1], part->columns);
        const size_t bytes = fc_pixel_table_bytes(part->need, part->width);
        plan->table_bytes = bytes > plan->table_bytes ? bytes : plan->table_bytes;
    }
    plan->worker_bytes = plan->table_bytes;
    if (!plan->transposed)
        return;
    int64_t most = 0;
    for (int64_t b = 0; b < plan->bands; b++) {
        int64_t begin, end;
        find_rows(plan, b, &begin, &end);
        most = fc_max(most, end - begin);
    }
    const int64_t pixel = plan->channels * job->element;
    const int64_t y_rows = fc_min(band * step, y->h);
    plan->x_bytes = fc_round_to_line((size_t)(most * x->w * pixel));
    plan->worker_bytes += plan->x_bytes + fc_round_to_line((size_t)(y_rows * y->w * pixel));
}

/* Whether y goes past the caches: the 26 MB of MobileNet's dx at strides of 2 took 2.9 ms on Zen 4, so 0.93. Squares
 * of half lines do not: AVX2's planes took 10.2 ms so, not 3.7. */
static bool streams(const struct fc_depthwise_job *job, bool transposed)
{
    const fc_image *y = &job->convolution->y;
    if (transposed)
        return job->kernels->depthwise.vector_bytes == FC_UNIT_BYTES &&
               fc_streams_planes(y, job->element);
    return fc_streams_image(y, false, job->element);
}

fc_status fc_depthwise_pixels(const struct fc_depthwise_job *job, bool transposed)
{
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y;
    const int64_t n = y->n, c = y->c;
    for (int64_t p = 0; p < job->count; p++)
        job->parts[p].need = fc_window_reach(&job->parts[p].axis[0], FC_DEPTHWISE_ROWS);
    struct plan plan = {.job = job,
                        .skips = fc_skips_padding(convolution),
                        .transposed = transposed,
                        .channels = transposed ? block_channels(job) : c,
                        .column_blocks = 1,
                        .bands = 1};
    plan.channel_blocks = fc_ceil_div(c, plan.channels);
    plan.stream = streams(job, transposed);
    if (transposed)
        cut_planes(&plan);
    else
        cut_rows(&plan);
    cut_parts(&plan);

    const int64_t items = n * plan.bands * plan.column_blocks * plan.channel_blocks;
    int64_t taps = 0; /* in whole numbers, which leave the caller's inexact flag alone */
    for (int64_t p = 0; p < job->count; p++)
        taps += job->parts[p].channels.taps;
    taps = fc_ceil_div(taps, job->count);
    const double outputs = (double)n * (double)y->h * (double)y->w * (double)c;
    const int width =
        fc_parallel_width(items, outputs * (2.0 * (double)taps + FC_WORK_PER_ELEMENT));
    const size_t padding = fc_round_to_line((size_t)(c * job->element));
    char *scratch = fc_workspace_acquire(padding + (size_t)width * plan.worker_bytes);
    if (!scratch)
        return FC_NO_MEMORY;
    plan.padding = scratch;
    plan.scratch = scratch + padding;
    fc_fill_padding_pixel(convolution, scratch);
    fc_parallel_for(items, width, FC_FLUSH_DENORMALS, compute_item, &plan);
    fc_workspace_release(scratch);
    return FC_OK;
}
