/* depthwise_pixels.c: depthwise convolution with channels in the lanes.
 *
 * Two rows of outputs at a time, over a table of the pixels that they read. Rows are cut where those
 * that a strip reads would not stay in the second-level cache until the next one reads them again.
 *
 * Small planes are transposed for it, a panel of channels at a time, and their outputs transposed
 * back: half a cycle an element there and back, where columns in the lanes leave vectors ragged and
 * load most of them across two cache lines (7 x 7 planes, 5 x 5 taps: 1.2 ms, transposed 0.44). */
#include "depthwise.h"
#include "parallel.h"
#include "pixel_table.h"
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
    int64_t need, width; /* rows of the ring, and entries of a row */
    int64_t band, bands; /* rows of outputs of an item */
    int64_t columns, column_blocks;
    bool skips;      /* rows of zero padding */
    bool transposed; /* whole planes of blocks of channels; else all channels where they are */
    int64_t channels, channel_blocks;
    char *padding, *scratch;
    size_t table_bytes, x_bytes, worker_bytes;
};

static char *at(const fc_image *image, int64_t n, int64_t row, int64_t column, ptrdiff_t element)
{
    return (char *)image->data +
           (n * image->stride_n + row * image->stride_h + column * image->stride_w) * element;
}

/* While a strip is computed, the rows that the next one has to itself are asked for: the channels of a pixel
 * come one vector a tile, which no prefetcher follows. On Zen 4 64 channels of 112 x 112 with strides 2 took
 * 2.8 ms, now 1.35; 32 with strides 1 1.4, now 1.07. To ask for the next rows of y lost. */
static void aim_ahead(const struct plan *plan, const struct fc_depthwise_pixels *strip, int64_t n,
                      int64_t row, struct fc_depthwise_ahead *ahead)
{
    const struct fc_convolution *convolution = plan->job->convolution;
    const struct fc_depthwise_kernels *kernels = &plan->job->kernels->depthwise;
    const struct fc_axis *axis = &convolution->axis[0];
    const fc_image *x = &convolution->x;
    const ptrdiff_t element = plan->job->element;
    if (plan->transposed || plan->column_blocks > 1 || x->c * element > FC_SHORT_PIXEL ||
        x->stride_w != x->c || x->stride_h != x->w * x->c)
        return;
    const int64_t columns =
        strip->column_step == 1 ? kernels->wide_columns : kernels->strided_columns;
    const int64_t windows = fc_ceil_div(strip->columns, columns) *
                            fc_ceil_div(strip->channels * element, kernels->vector_bytes);
    const int64_t bytes = FC_DEPTHWISE_ROWS * axis->stride * x->stride_h * element;
    ahead->x = (struct fc_lines_ahead){
        at(x, n, row * axis->stride - axis->before + plan->need, 0, element),
        fc_ceil_div(bytes, FC_UNIT_BYTES * windows * plan->need)};
}

/* Outputs of rows [begin, end) from `column` on, of channels from `channel` of the kernel on. */
static void compute_band(const struct plan *plan, const struct fc_convolution *convolution,
                         int64_t n, int64_t begin, int64_t end, int64_t column, int64_t channel,
                         void *scratch, struct fc_depthwise_ahead *ahead)
{
    const struct fc_depthwise_job *job = plan->job;
    const struct fc_channels *channels = &job->channels;
    const struct fc_axis *axis = convolution->axis;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const struct fc_pixel_table table =
        fc_pixel_table_in(scratch, convolution, plan->padding, plan->need, plan->width);
    struct fc_depthwise_pixels strip = {
        .pixel = table.pixel,
        .kernel =
            job->packed + fc_panel_offset(channels, 0, channel / channels->panel) * job->element,
        .columns = fc_min(plan->columns, axis[1].out - column),
        .channels = y->c,
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .row_step = axis[0].stride,
        .row_tap = axis[0].dilation,
        .column_step = axis[1].stride,
        .column_tap = axis[1].dilation,
        .panel = channels->panel,
        .units = fc_ceil_div(y->c, channels->unit) * channels->unit,
        .y_row = y->stride_h,
        .y_pixel = y->stride_w,
        .residual_row = residual->stride_h,
        .residual_pixel = residual->stride_w,
        .activation = convolution->activation,
        .ahead = ahead,
    };
    if (convolution->bias)
        strip.bias = (const char *)convolution->bias + channel * job->element;
    const int64_t first_column = column * axis[1].stride - axis[1].before;
    for (int64_t row = begin; row < end; row += strip.rows) {
        strip.rows = fc_min(FC_DEPTHWISE_ROWS, end - row);
        const int64_t above = axis[0].before - row * axis[0].stride;
        strip.begin = plan->skips ? fc_max(above, 0) : 0;
        strip.end = plan->skips ? above + convolution->x.h : plan->need;
        fc_pixel_table_aim(&table, n, row, strip.rows, first_column,
                           fc_window_reach(&axis[1], strip.columns));
        strip.y = at(y, n, row, column, job->element);
        if (residual->data)
            strip.residual = at(residual, n, row, column, job->element);
        aim_ahead(plan, &strip, n, row, ahead);
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
                          fc_ceil_div(channels, plan->job->channels.unit);
    return (struct fc_depthwise_ahead){
        .x = {(const char *)x->data +
                  (n * x->stride_n + (channel + channels) * x->stride_c) * element,
              fc_ceil_div(lines, tiles * plan->need)},
        .y = {(const char *)y->data + (n * y->stride_n + channel * y->stride_c) * element,
              fc_ceil_div(lines, tiles)},
    };
}

static void compute_item(void *context, int64_t item, int worker)
{
    const struct plan *plan = context;
    const struct fc_depthwise_job *job = plan->job;
    const struct fc_convolution *convolution = job->convolution;
    char *scratch = plan->scratch + (size_t)worker * plan->worker_bytes;
    const int64_t channel = item % plan->channel_blocks * plan->channels;
    item /= plan->channel_blocks;
    const int64_t column = item % plan->column_blocks * plan->columns;
    item /= plan->column_blocks;
    const int64_t begin = item % plan->bands * plan->band, n = item / plan->bands;
    const int64_t end = fc_min(begin + plan->band, convolution->axis[0].out);
    if (!plan->transposed) {
        compute_band(plan, convolution, n, begin, end, column, channel, scratch,
                     &(struct fc_depthwise_ahead){0});
        return;
    }
    struct fc_convolution block = *convolution;
    const int64_t channels = fc_min(plan->channels, convolution->y.c - channel);
    char *x = scratch + plan->table_bytes;
    block.x = fc_packed_image(x, &convolution->x, channels);
    block.y = fc_packed_image(x + plan->x_bytes, &convolution->y, channels);
    struct fc_depthwise_ahead ahead = find_ahead(plan, n, channel, channels);
    fc_transpose_channels(job->kernels, job->element, &convolution->x, n, channel, &block.x, true);
    compute_band(plan, &block, 0, begin, end, column, channel, scratch, &ahead);
    fc_transpose_channels(job->kernels, job->element, &convolution->y, n, channel, &block.y, false);
}

/* Of a block that is transposed: a panel, or two where they leave items enough and are small: on Zen 4 1152
 * channels of 7 x 7, 5 x 5 taps, took 0.42 ms panel by panel, so 0.38. But 728 of 19 x 19, 185 KB a block, took
 * 7 % longer in float64 and 9 in AVX2. */
static int64_t block_channels(const struct fc_depthwise_job *job)
{
    const struct fc_convolution *convolution = job->convolution;
    const int64_t panel = job->channels.panel, c = convolution->y.c;
    const bool items = convolution->y.n * fc_ceil_div(c, 2 * panel) >= ITEMS_WANTED;
    return items && fc_fits_transposed(convolution, 8 * panel) ? 2 * panel : panel;
}

/* What planes that are not transposed multiply by zeros, which gives other bits where weights are infinite or
 * products vanish, is left out in neither layout. 7 x 7 taps on 7 x 7 took 0.41 ms, so 0.31. */
static bool skips_padding(const struct fc_depthwise_job *job)
{
    const struct fc_convolution *convolution = job->convolution;
    return convolution->padding_mode == FC_CONSTANT && convolution->padding_value == 0 &&
           fc_fits_transposed(convolution, job->channels.panel);
}

/* Bands and columns where all channels lie together. */
static void cut_rows(struct plan *plan)
{
    const struct fc_convolution *convolution = plan->job->convolution;
    const struct fc_axis *axis = convolution->axis;
    const int64_t fit =
        STRIP_BYTES / plan->job->element / plan->need / plan->channels / axis[1].stride;
    const int64_t most = fc_max(fc_min(fit, MOST_COLUMNS), LEAST_COLUMNS);
    plan->column_blocks = fc_ceil_div(axis[1].out, most);
    plan->columns = fc_ceil_div(axis[1].out, plan->column_blocks);
    const int64_t wanted = fc_ceil_div(ITEMS_WANTED, convolution->y.n * plan->column_blocks);
    plan->band = fc_ceil_div(axis[0].out, wanted);
    plan->band = fc_ceil_div(plan->band, FC_DEPTHWISE_ROWS) * FC_DEPTHWISE_ROWS;
    plan->bands = fc_ceil_div(axis[0].out, plan->band);
}

fc_status fc_depthwise_pixels(const struct fc_depthwise_job *job, bool transposed)
{
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_axis *axis = convolution->axis;
    const int64_t n = convolution->y.n, c = convolution->y.c;
    struct plan plan = {.job = job,
                        .need = fc_window_reach(&axis[0], FC_DEPTHWISE_ROWS),
                        .skips = skips_padding(job),
                        .transposed = transposed,
                        .channels = transposed ? block_channels(job) : c,
                        .columns = axis[1].out,
                        .column_blocks = 1,
                        .band = axis[0].out,
                        .bands = 1};
    plan.channel_blocks = fc_ceil_div(c, plan.channels);
    if (!transposed)
        cut_rows(&plan);
    plan.width = fc_window_reach(&axis[1], plan.columns);

    const int64_t items = n * plan.bands * plan.column_blocks * plan.channel_blocks;
    const double outputs = (double)n * (double)axis[0].out * (double)axis[1].out * (double)c;
    const int width = fc_parallel_width(
        items, outputs * (2.0 * (double)(axis[0].taps * axis[1].taps) + FC_WORK_PER_ELEMENT));
    const size_t padding = fc_round_to_line((size_t)(c * job->element));
    plan.table_bytes = fc_pixel_table_bytes(plan.need, plan.width);
    plan.worker_bytes = plan.table_bytes;
    if (transposed) {
        const int64_t x_pixels = convolution->x.h * convolution->x.w;
        const int64_t y_pixels = axis[0].out * axis[1].out;
        plan.x_bytes = fc_round_to_line((size_t)(x_pixels * plan.channels * job->element));
        plan.worker_bytes +=
            plan.x_bytes + fc_round_to_line((size_t)(y_pixels * plan.channels * job->element));
    }
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
