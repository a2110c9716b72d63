/* depthwise_planes.c: depthwise convolution of planes, with columns in the lanes.
 *
 * A band of rows of a plane is packed with its padding and, for a stride, in phases (row % stride,
 * column % stride): then every tap is a shift of the band, the same for all its outputs. A band and
 * its outputs stay in the first-level cache. */
#include "depthwise.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    MOST_COLUMNS = 2048,
    BAND_ELEMENTS = 4096, /* of x in a band, and about as many outputs */
    SLACK = 80            /* elements that vectors may read and write behind the last one */
};

struct plan {
    const struct fc_depthwise_job *job;
    struct fc_padded padded;
    int64_t rows, bands; /* rows of outputs in a band */
    int64_t columns, column_blocks;
    int64_t x_columns; /* that the outputs of a row read */
    int64_t phase_rows, phase_elements, pitch;
    size_t raw_bytes, x_bytes, strip_bytes, worker_bytes;
    ptrdiff_t *offset; /* of each tap */
    char *scratch;
};

/* One packed row, of all columns, to the phases it has a part of. */
static void split_row(const struct plan *plan, const char *raw, int64_t row, char *x)
{
    const struct fc_depthwise_job *job = plan->job;
    const int64_t stride = job->convolution->axis[1].stride;
    const int64_t row_stride = job->convolution->axis[0].stride;
    const ptrdiff_t size = job->element;
    const int64_t phase = row % row_stride * stride;
    char *to = x + (phase * plan->phase_elements + row / row_stride * plan->pitch) * size;
    if (stride == 2) {
        job->kernels->pool2d.split_pairs(raw, to, to + plan->phase_elements * size,
                                         plan->x_columns);
        return;
    }
    for (int64_t p = 0; p < stride; p++)
        job->kernels->conv2d.copy_block(
            &(struct fc_block){.x = raw + p * size,
                               .y = to + p * plan->phase_elements * size,
                               .x_pixel = stride,
                               .x_channel = 0,
                               .y_pixel = 1,
                               .y_channel = 0,
                               .pixels = fc_ceil_div(plan->x_columns - p, stride),
                               .channels = 1});
}

/* What of a patch lies on the image, amid the padding's value. */
static void fill_band(const struct plan *plan, int64_t n, int64_t c, const struct fc_patch *patch,
                      char *x)
{
    const fc_image *image = &plan->padded.x;
    const struct fc_axis *axis = plan->job->convolution->axis;
    const int64_t row = fc_max(patch->x_row, 0), column = fc_max(patch->x_column, 0);
    const int64_t rows = fc_min(patch->x_row + patch->x_rows, image->h) - row;
    const int64_t columns = fc_min(patch->x_column + patch->x_columns, image->w) - column;
    plan->job->kernels->depthwise.pack_band(&(struct fc_depthwise_band){
        .x = (const char *)image->data +
             (n * image->stride_n + row * image->stride_h + column + c * image->stride_c) *
                 plan->job->element,
        .to = x,
        .rows = columns > 0 ? rows : 0,
        .columns = columns,
        .top = row - patch->x_row,
        .left = column - patch->x_column,
        .elements = axis[0].stride * axis[1].stride * plan->phase_elements,
        .row_phases = axis[0].stride,
        .column_phases = axis[1].stride,
        .phase_elements = plan->phase_elements,
        .pitch = plan->pitch,
        .x_row = image->stride_h,
        .value = plan->padded.value});
}

/* The x of `rows` rows of outputs from `row` on, in phases. */
static void pack_band(const struct plan *plan, int64_t n, int64_t c, int64_t row, int64_t rows,
                      int64_t column, int64_t columns, char *raw, char *x)
{
    const struct fc_axis *axis = plan->job->convolution->axis;
    const struct fc_patch patch = {
        .x_row = row * axis[0].stride - axis[0].before,
        .x_row_gap = 1,
        .x_rows = fc_window_reach(&axis[0], rows),
        .x_column = column * axis[1].stride - axis[1].before,
        .x_columns = fc_window_reach(&axis[1], columns),
    };
    if (plan->padded.mode == FC_CONSTANT && plan->padded.x.stride_w == 1) {
        fill_band(plan, n, c, &patch, x);
        return;
    }
    if (axis[0].stride == 1 && axis[1].stride == 1) {
        fc_pack_planes(&plan->padded, n, &patch, plan->pitch, c, 1, x);
        return;
    }
    fc_pack_planes(&plan->padded, n, &patch, plan->x_columns, c, 1, raw);
    for (int64_t r = 0; r < patch.x_rows; r++)
        split_row(plan, raw + r * plan->x_columns * plan->job->element, r, x);
}

/* All bands of one plane, or of some columns of it. */
static void compute_plane(void *context, int64_t item, int worker)
{
    const struct plan *plan = context;
    const struct fc_depthwise_job *job = plan->job;
    const struct fc_convolution *convolution = job->convolution;
    const struct fc_channels *channels = &job->parts->channels;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t column = item % plan->column_blocks * plan->columns;
    item /= plan->column_blocks;
    const int64_t c = item % y->c, n = item / y->c, panel = c / channels->panel;
    char *raw = plan->scratch + (size_t)worker * plan->worker_bytes, *x = raw + plan->raw_bytes;
    struct fc_depthwise_plane plane = {
        .x = x,
        .kernel = job->parts->packed +
                  (fc_panel_offset(channels, 0, panel) + c % channels->panel) * job->element,
        .kernel_step = fc_panel_width(channels, panel),
        .strip = x + plan->x_bytes,
        .offset = plan->offset,
        .taps = channels->taps,
        .columns = fc_min(plan->columns, y->w - column),
        .pitch = plan->pitch,
        .y_row = y->stride_h,
        .y_pixel = y->stride_w,
        .residual_row = residual->stride_h,
        .residual_pixel = residual->stride_w,
        .activation = convolution->activation,
    };
    if (convolution->bias)
        plane.bias = (const char *)convolution->bias + c * job->element;
    for (int64_t row = 0; row < y->h; row += plan->rows) {
        plane.rows = fc_min(plan->rows, y->h - row);
        pack_band(plan, n, c, row, plane.rows, column, plane.columns, raw, x);
        plane.y = fc_image_at(y, job->element, n, row, column, c);
        if (residual->data)
            plane.residual = fc_image_at(residual, job->element, n, row, column, c);
        job->kernels->depthwise.plane(&plane);
    }
}

/* -------------------------------------------------------------------- plan */

static void set_offsets(const struct plan *plan)
{
    const struct fc_axis *vertical = &plan->job->convolution->axis[0];
    const struct fc_axis *horizontal = &plan->job->convolution->axis[1];
    for (int64_t a = 0; a < vertical->taps; a++)
        for (int64_t b = 0; b < horizontal->taps; b++) {
            const int64_t row = a * vertical->dilation, column = b * horizontal->dilation;
            const int64_t phase =
                row % vertical->stride * horizontal->stride + column % horizontal->stride;
            plan->offset[a * horizontal->taps + b] = phase * plan->phase_elements +
                                                     row / vertical->stride * plan->pitch +
                                                     column / horizontal->stride;
        }
}

static void make_plan(struct plan *plan)
{
    const struct fc_axis *axis = plan->job->convolution->axis;
    const size_t element = (size_t)plan->job->element;
    plan->column_blocks = fc_ceil_div(axis[1].out, MOST_COLUMNS);
    plan->columns = fc_ceil_div(axis[1].out, plan->column_blocks);
    plan->x_columns = fc_window_reach(&axis[1], plan->columns);
    plan->pitch = fc_ceil_div(plan->x_columns, axis[1].stride);
    const int64_t row_elements = axis[0].stride * plan->x_columns;
    const int64_t most = fc_max(BAND_ELEMENTS / row_elements, 1);
    plan->bands = fc_ceil_div(axis[0].out, most);
    plan->rows = fc_ceil_div(axis[0].out, plan->bands);

    const int64_t x_rows = fc_window_reach(&axis[0], plan->rows);
    const bool split = axis[0].stride * axis[1].stride > 1;
    plan->phase_rows = fc_ceil_div(x_rows, axis[0].stride);
    plan->phase_elements = (plan->phase_rows + 1) * plan->pitch + SLACK;
    plan->raw_bytes = split ? fc_round_to_line((size_t)(x_rows * plan->x_columns) * element) : 0;
    plan->x_bytes = fc_round_to_line(
        (size_t)(axis[0].stride * axis[1].stride * plan->phase_elements) * element);
    plan->strip_bytes = fc_round_to_line((size_t)(plan->rows * plan->pitch + SLACK) * element);
    plan->worker_bytes = plan->raw_bytes + plan->x_bytes + plan->strip_bytes;
}

fc_status fc_depthwise_planes(const struct fc_depthwise_job *job)
{
    const struct fc_convolution *convolution = job->convolution;
    struct plan plan = {
        .job = job,
        .padded = fc_padded_x(convolution, &job->kernels->conv2d, false),
    };
    make_plan(&plan);
    const fc_image *y = &convolution->y;
    const int64_t items = y->n * y->c * plan.column_blocks;
    const double outputs = (double)y->n * (double)y->c * (double)y->h * (double)y->w;
    const int width = fc_parallel_width(
        items, outputs * (2.0 * (double)job->parts->channels.taps + FC_WORK_PER_ELEMENT));
    const size_t offset_bytes =
        fc_round_to_line((size_t)job->parts->channels.taps * sizeof(ptrdiff_t));
    char *scratch = fc_workspace_acquire(offset_bytes + (size_t)width * plan.worker_bytes);
    if (!scratch)
        return FC_NO_MEMORY;
    plan.offset = (ptrdiff_t *)(void *)scratch;
    plan.scratch = scratch + offset_bytes;
    set_offsets(&plan);
    fc_parallel_for(items, width, FC_FLUSH_DENORMALS, compute_plane, &plan);
    fc_workspace_release(scratch);
    return FC_OK;
}
