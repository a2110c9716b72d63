/* depthwise_pixels.c: depthwise convolution where channels lie together.
 *
 * Two rows of outputs at a time, over a table of the pixels that they read. Rows are cut where those that a strip reads would not
 * stay in the second-level cache until the next one reads them again. */
#include "depthwise.h"
#include "parallel.h"
#include "pixel_table.h"
#include "workspace.h"

enum {
    STRIP_BYTES = 512 * 1024, /* of x that a strip of rows reads */
    LEAST_COLUMNS = 8,
    MOST_COLUMNS = 512,
    ITEMS_WANTED = 16
};

struct plan {
    const struct fc_depthwise_job *job;
    int64_t need, width; /* rows of the ring, and entries of a row */
    int64_t band, bands; /* rows of outputs of an item */
    int64_t columns, column_blocks;
    char *padding, *scratch;
    size_t worker_bytes;
};

static char *at(const fc_image *image, int64_t n, int64_t row, int64_t column, ptrdiff_t element)
{
    return (char *)image->data +
           (n * image->stride_n + row * image->stride_h + column * image->stride_w) * element;
}

static void compute_item(void *context, int64_t item, int worker)
{
    const struct plan *plan = context;
    const struct fc_depthwise_job *job = plan->job;
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_axis *axis = convolution->axis;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t column = item % plan->column_blocks * plan->columns;
    item /= plan->column_blocks;
    const int64_t begin = item % plan->bands * plan->band, n = item / plan->bands;
    const int64_t end = fc_min(begin + plan->band, axis[0].out);
    const struct fc_pixel_table table =
        fc_pixel_table_in(plan->scratch + (size_t)worker * plan->worker_bytes, convolution,
                          plan->padding, plan->need, plan->width);
    struct fc_depthwise_pixels strip = {
        .pixel = table.pixel,
        .kernel = job->packed,
        .bias = convolution->bias,
        .columns = fc_min(plan->columns, axis[1].out - column),
        .channels = y->c,
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .row_step = axis[0].stride,
        .row_tap = axis[0].dilation,
        .column_step = axis[1].stride,
        .column_tap = axis[1].dilation,
        .panel = job->channels.panel,
        .units = fc_ceil_div(y->c, job->channels.unit) * job->channels.unit,
        .y_row = y->stride_h,
        .y_pixel = y->stride_w,
        .residual_row = residual->stride_h,
        .residual_pixel = residual->stride_w,
        .activation = convolution->activation,
    };
    const int64_t first_column = column * axis[1].stride - axis[1].before;
    for (int64_t row = begin; row < end; row += strip.rows) {
        strip.rows = fc_min(FC_DEPTHWISE_ROWS, end - row);
        fc_pixel_table_aim(&table, n, row, strip.rows, first_column,
                           fc_window_reach(&axis[1], strip.columns));
        strip.y = at(y, n, row, column, job->element);
        if (residual->data)
            strip.residual = at(residual, n, row, column, job->element);
        job->kernels->depthwise.pixels(&strip);
    }
}

fc_status fc_depthwise_pixels(const struct fc_depthwise_job *job)
{
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_axis *axis = convolution->axis;
    const int64_t n = convolution->y.n, c = convolution->y.c;
    struct plan plan = {.job = job, .need = fc_window_reach(&axis[0], FC_DEPTHWISE_ROWS)};
    const int64_t fit = STRIP_BYTES / job->element / plan.need / c / axis[1].stride;
    const int64_t most = fc_max(fc_min(fit, MOST_COLUMNS), LEAST_COLUMNS);
    plan.column_blocks = fc_ceil_div(axis[1].out, most);
    plan.columns = fc_ceil_div(axis[1].out, plan.column_blocks);
    plan.width = fc_window_reach(&axis[1], plan.columns);
    const int64_t wanted = fc_ceil_div(ITEMS_WANTED, n * plan.column_blocks);
    plan.band = fc_ceil_div(axis[0].out, wanted);
    plan.band = fc_ceil_div(plan.band, FC_DEPTHWISE_ROWS) * FC_DEPTHWISE_ROWS;
    plan.bands = fc_ceil_div(axis[0].out, plan.band);

    const int64_t items = n * plan.bands * plan.column_blocks;
    const double outputs = (double)n * (double)axis[0].out * (double)axis[1].out * (double)c;
    const int width = fc_parallel_width(
        items, outputs * (2.0 * (double)(axis[0].taps * axis[1].taps) + FC_WORK_PER_ELEMENT));
    const size_t padding = fc_round_to_line((size_t)(c * job->element));
    plan.worker_bytes = fc_pixel_table_bytes(plan.need, plan.width);
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
