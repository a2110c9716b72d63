/* pool2d_backward.c: the gradients of maximum, minimum and average pooling.
 *
 * An average's is a pass of its own that reads each output's gradient where it is wanted. That of a
 * maximum is scattered: the owner of a part of dx walks the outputs in order and adds each gradient
 * at its winner's index, so that the order of additions is that of the outputs, whoever the owner.
 * dx is zeroed just ahead of that walk, while it stays in the cache. */
#include <stdatomic.h>
#include <string.h>

#include "parallel.h"
#include "pool2d_avg_dx.h"
#include "pool2d_fold.h"
#include "pool2d_halves_dx.h"
#include "pool2d_lines.h"
#include "pool2d_max_dx.h"
#include "pool2d_pass.h"
#include "pool2d_planes.h"
#include "pool2d_quads.h"
#include "pool2d_whole_dx.h"
#include "workspace.h"

/* ----------------------------------------------------------------- scatter */

/* Bands of dx are for threads that images and channels do not feed: where windows overlap, winners
 * of the rows between two bands are found twice. */
enum { ENOUGH_PARTS = 16, BAND_WINDOWS = 4, SCATTER_CHANNELS = 64 };

struct scatter {
    struct fc_pool2d_pass pass;     /* finds winners again; not planned where indices are given */
    struct fc_pool2d_axis vertical; /* from rows of dx to rows of outputs */
    const fc_image *dy, *dx, *indices;
    size_t size;
    int64_t channels, channel_blocks, bands, band_outputs;
    char *scratch;
    size_t scratch_bytes, target_bytes;
    atomic_bool bad_index;
};

/* An owner's part of dx. */
struct part {
    int64_t image, channel, channels;
    int64_t row, row_end, filled; /* rows [row, filled) hold sums, the rest is not yet zeroed */
};

/* Rows of one channel that are one long row. */
static void zero_line(const struct scatter *self, char *out, int64_t columns)
{
    const fc_image *dx = self->dx;
    if (dx->stride_w == 1)
        memset(out, 0, (size_t)columns * self->size);
    else
        for (int64_t w = 0; w < columns; w++)
            memset(out + w * dx->stride_w * (ptrdiff_t)self->size, 0, self->size);
}

/* Rows of dx, which are one long row where there is more than one of them. */
static void zero_rows(const struct scatter *self, const struct part *part, int64_t row,
                      int64_t rows)
{
    const fc_image *dx = self->dx;
    const int64_t columns = rows * dx->w;
    char *out = fc_pool2d_at(dx, self->size, part->image, row, 0, part->channel);
    if (dx->stride_c == 1 && dx->stride_w == part->channels) {
        memset(out, 0, (size_t)(columns * part->channels) * self->size);
    } else if (dx->stride_c == 1) {
        for (int64_t w = 0; w < columns; w++)
            memset(out + w * dx->stride_w * (ptrdiff_t)self->size, 0,
                   (size_t)part->channels * self->size);
    } else if (dx->stride_w == 1 && dx->stride_c == columns) {
        memset(out, 0, (size_t)(columns * part->channels) * self->size);
    } else {
        for (int64_t c = 0; c < part->channels; c++)
            zero_line(self, out + c * dx->stride_c * (ptrdiff_t)self->size, columns);
    }
}

static void zero_until(const struct scatter *self, struct part *part, int64_t row)
{
    const int64_t end = fc_min(row, part->row_end);
    const bool together = self->dx->stride_h == self->dx->w * self->dx->stride_w;
    while (part->filled < end) {
        const int64_t rows = together ? end - part->filled : 1;
        zero_rows(self, part, part->filled, rows);
        part->filled += rows;
    }
}

/* Adds the gradients of outputs [column, column + columns) of a row; index points to the index of
 * the first, indices are index_column and index_channel apart. False: one lies outside its
 * plane. */
static bool scatter_row(const struct scatter *self, struct part *part, int64_t row, int64_t column,
                        int64_t columns, const int64_t *index, ptrdiff_t index_column,
                        ptrdiff_t index_channel)
{
    const fc_image *dy = self->dy, *dx = self->dx;
    const bool by_channel = part->channels > 1;
    struct fc_pool2d_scatter scatter = {
        .index = index,
        .dy = fc_pool2d_at(dy, self->size, part->image, row, column, part->channel),
        .dx = fc_pool2d_at(dx, self->size, part->image, 0, 0, part->channel),
        .rows = by_channel ? columns : 1,
        .lanes = by_channel ? part->channels : columns,
        .width = dx->w,
        .begin = part->row * dx->w,
        .end = part->filled * dx->w,
        .index_row = index_column,
        .index_lane = by_channel ? index_channel : index_column,
        .dy_row = dy->stride_w,
        .dy_lane = by_channel ? dy->stride_c : dy->stride_w,
        .dx_offset_lane = by_channel ? dx->stride_c : 0,
        .dx_row = dx->stride_h,
        .dx_pixel = dx->stride_w};
    const int64_t all = scatter.rows * scatter.lanes;
    int64_t at = 0;
    while ((at = self->pass.kernels->pool2d.scatter(&scatter, at)) < all) {
        const int64_t k =
            index[at / scatter.lanes * scatter.index_row + at % scatter.lanes * scatter.index_lane];
        if (k < -1 || k >= dx->h * dx->w)
            return false;
        if (k >= scatter.end && k < part->row_end * dx->w) {
            zero_until(self, part, k / dx->w + 1);
            scatter.end = part->filled * dx->w;
        } else {
            at++; /* no winner, or another owner's */
        }
    }
    return true;
}

/* ----------------------------------------------------------- given indices */

static void scatter_given(struct scatter *self, struct part *part)
{
    const fc_image *indices = self->indices;
    for (int64_t row = 0; row < self->dy->h; row++) {
        const int64_t *index = (const int64_t *)(const void *)fc_pool2d_at(
            indices, sizeof *index, part->image, row, 0, part->channel);
        if (!scatter_row(self, part, row, 0, self->dy->w, index, indices->stride_w,
                         indices->stride_c)) {
            atomic_store_explicit(&self->bad_index, true, memory_order_relaxed);
            return;
        }
    }
}

/* ------------------------------------------------------ winners found again */

/* A few rows of outputs, block of columns by block of columns; fc_pool2d_plan sees to it that there
 * are several of one of them alone. */
static void scatter_found(struct scatter *self, struct part *part, int64_t row, int64_t row_end,
                          char *scratch)
{
    const struct fc_pool2d_pass *pass = &self->pass;
    char *targets = scratch + fc_pool2d_scratch(pass);
    int64_t *indices = (int64_t *)(void *)(targets + self->target_bytes);
    int64_t first, count;
    for (int64_t column = 0; column < self->dy->w; column += pass->columns) {
        const struct fc_pool2d_block block = {.image = part->image,
                                              .row = row,
                                              .row_end = row_end,
                                              .column = column,
                                              .column_end =
                                                  fc_min(column + pass->columns, self->dy->w),
                                              .channel = part->channel,
                                              .channels = part->channels};
        fc_pool2d_run_block(pass, &block, targets, indices, scratch);
        for (int64_t r = row; r < row_end; r++) {
            fc_pool2d_axis_window(&pass->axis[0], r, &first, &count);
            zero_until(self, part, first + (count - 1) * pass->axis[0].step + 1);
            scatter_row(self, part, r, column, block.column_end - column,
                        indices + (r - row) * pass->indices.stride_h, pass->indices.stride_w, 1);
        }
    }
}

/* ------------------------------------------------------------------- parts */

/* The first row of dx that belongs to a band: where the window of its first output begins. */
static int64_t band_row(const struct scatter *self, int64_t band)
{
    const struct fc_axis *axis = &self->vertical.axis;
    if (band == 0)
        return 0;
    if (band == self->bands)
        return axis->in;
    const int64_t row = band * self->band_outputs * axis->stride - axis->before;
    return fc_min(fc_max(row, 0), axis->in);
}

static void scatter_part(void *context, int64_t item, int worker)
{
    struct scatter *self = context;
    const int64_t band = item % self->bands;
    item /= self->bands;
    struct part part = {.image = item / self->channel_blocks,
                        .channel = item % self->channel_blocks * self->channels,
                        .row = band_row(self, band),
                        .row_end = band_row(self, band + 1)};
    part.channels = fc_min(self->channels, self->dx->c - part.channel);
    part.filled = part.row;
    if (self->indices) {
        scatter_given(self, &part);
    } else {
        int64_t row, end;
        fc_pool2d_axis_reach(&self->vertical, part.row, part.row_end, &row, &end);
        for (; row < end; row += self->pass.rows)
            scatter_found(self, &part, row, fc_min(row + self->pass.rows, end),
                          self->scratch + (size_t)worker * self->scratch_bytes);
    }
    zero_until(self, &part, part.row_end);
}

static void choose_parts(struct scatter *self)
{
    const struct fc_axis *axis = &self->vertical.axis;
    const fc_image *dx = self->dx;
    self->channel_blocks = fc_ceil_div(dx->c, self->channels);
    const int64_t parts = dx->n * self->channel_blocks;
    const int64_t overlap = fc_ceil_div((axis->taps - 1) * axis->dilation + 1, axis->stride);
    self->band_outputs = axis->out;
    if (!self->indices && parts < ENOUGH_PARTS)
        self->band_outputs = fc_max(fc_ceil_div(axis->out * parts, ENOUGH_PARTS),
                                    BAND_WINDOWS * fc_min(overlap, axis->out));
    self->bands = fc_ceil_div(axis->out, self->band_outputs);
}

static fc_status run_scatter(struct scatter *self)
{
    const fc_image *dy = self->dy, *dx = self->dx;
    if (self->indices) {
        const bool planes = dx->stride_c != 1 && dx->stride_w == 1;
        self->channels = planes ? 1 : fc_min(dx->c, SCATTER_CHANNELS);
    } else {
        const fc_status status = fc_pool2d_plan(&self->pass);
        if (status != FC_OK)
            return status;
        const size_t targets = (size_t)(self->pass.rows * self->pass.columns * self->pass.channels);
        self->channels = self->pass.channels;
        self->target_bytes = fc_round_to_line(targets * self->size);
        self->scratch_bytes = fc_pool2d_scratch(&self->pass) + self->target_bytes +
                              fc_round_to_line(targets * sizeof(int64_t));
    }
    choose_parts(self);
    const int64_t items = dx->n * self->channel_blocks * self->bands;
    const int width = fc_pool2d_dx_width(items, dy, dx);
    if (self->scratch_bytes > 0) {
        self->scratch = fc_workspace_acquire((size_t)width * self->scratch_bytes);
        if (!self->scratch)
            return FC_NO_MEMORY;
    }
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, scatter_part, self);
    if (self->scratch)
        fc_workspace_release(self->scratch);
    return atomic_load(&self->bad_index) ? FC_BAD_INDEX : FC_OK;
}

/* -------------------------------------------------------------- both kinds */

static fc_status check(const fc_pool2d_params *params, const fc_image *dy, const fc_image *x,
                       const fc_image *indices, const fc_image *dx, struct fc_window *window)
{
    if (!params || !dy || !dx || (params->pooling != FC_AVG && !x && !indices))
        return FC_BAD_ARGUMENT;
    fc_status status = fc_check_image(dy, params->dtype);
    if (status == FC_OK)
        status = fc_check_image(dx, params->dtype);
    if (status == FC_OK && x)
        status = fc_check_image(x, params->dtype);
    if (status == FC_OK && indices)
        status = fc_check_image(indices, FC_FLOAT64);
    if (status == FC_OK)
        status = fc_pool2d_window(params, dx->h, dx->w, window);
    if (status != FC_OK)
        return status;
    const int64_t y_h = window->axis[0].out, y_w = window->axis[1].out;
    if (!fc_image_is(dy, dx->n, y_h, y_w, dx->c) ||
        (x && !fc_image_is(x, dx->n, dx->h, dx->w, dx->c)) ||
        (indices && !fc_image_is(indices, dx->n, y_h, y_w, dx->c)))
        return FC_BAD_SHAPE;
    return fc_current_isa() ? FC_OK : FC_BAD_ARGUMENT;
}

/* Windows that share nothing and are so large that searching them is all the work: what is left is to
 * clear dx and to write few elements. */
static bool is_sparse(const struct fc_window *window, bool searched)
{
    enum { MANY_TAPS = 25 };
    const struct fc_axis *vertical = &window->axis[0], *horizontal = &window->axis[1];
    const bool apart = (vertical->out == 1 || vertical->stride >= vertical->taps) &&
                       (horizontal->out == 1 || horizontal->stride >= horizontal->taps);
    return searched && apart && vertical->dilation == 1 && horizontal->dilation == 1 &&
           vertical->taps > MANY_TAPS / horizontal->taps;
}

/* dx by fc_pool2d_max_dx, with planes merged where they may be. */
static fc_status take_gradients(const struct fc_pool2d_pass *search,
                                const struct fc_pool2d_axis adjoint[2], const fc_image *dy,
                                const fc_image *indices, const fc_image *dx, bool *done)
{
    fc_status status = fc_pool2d_lines_dx(search, dy, indices, dx, done);
    if (!*done && status == FC_OK)
        status = fc_pool2d_halves_dx(search, dy, indices, dx, done);
    if (!*done && status == FC_OK)
        status = fc_pool2d_halves_planes_dx(search, dy, indices, dx, done);
    if (!*done && status == FC_OK)
        status = fc_pool2d_planes_max_dx(search, dy, indices, dx, done);
    if (*done || status != FC_OK)
        return status;
    struct fc_pool2d_pass pass = *search;
    fc_image dy_planes = *dy, dx_planes = *dx, index_planes;
    if (indices)
        index_planes = *indices;
    fc_pool2d_merge_planes((fc_image *[]){&pass.x, &dy_planes, &dx_planes, &index_planes},
                           indices ? 4 : 3);
    return fc_pool2d_max_dx(&pass, adjoint, &dy_planes, indices ? &index_planes : NULL, &dx_planes,
                            done);
}

fc_status fc_pool2d_backward(const fc_pool2d_params *params, const fc_image *dy, const fc_image *x,
                             const fc_image *indices, const fc_image *dx)
{
    struct fc_window window;
    fc_status status = check(params, dy, x, indices, dx, &window);
    if (status != FC_OK || dx->n == 0 || dx->c == 0)
        return status;
    const bool average = params->pooling == FC_AVG;
    const bool pixels = dx->h > 0 && dx->w > 0; /* else windows lie in padding alone */
    if (!pixels && (average || !indices))
        return FC_OK;
    struct fc_pool2d_pass pass = {.pooling = params->pooling,
                                  .dtype = params->dtype,
                                  .adjoint = average,
                                  .include_pad = params->count_include_pad,
                                  .numbered = !average,
                                  .targets_packed = !average,
                                  .kernels = fc_current_kernels(params->dtype)};
    for (int d = 0; d < 2; d++)
        fc_pool2d_axis_set(&pass.axis[d], &window.axis[d], average);
    bool done;
    pass.x = x ? *x : *dx;
    status = fc_pool2d_quads_dx(&pass, dy, indices, dx, &done);
    if (done || status != FC_OK)
        return status;
    if (average) {
        if (fc_pool2d_is_whole(&pass))
            return fc_global_avg_pool2d_backward(params->dtype, dy, dx);
        status = fc_pool2d_avg_dx(&pass, dy, dx, &done);
        if (done || status != FC_OK)
            return status;
        pass.x = *dy;
        pass.y = *dx;
        fc_pool2d_merge_planes((fc_image *[]){&pass.x, &pass.y}, 2);
        status = fc_pool2d_plan(&pass);
        return status == FC_OK ? fc_pool2d_run(&pass, dx->data, NULL) : status;
    }
    if (!indices) {
        status = fc_pool2d_whole_dx(&pass, dy, dx, &done);
        if (done || status != FC_OK)
            return status;
    }
    struct fc_pool2d_axis adjoint[2];
    for (int d = 0; d < 2; d++)
        fc_pool2d_axis_set(&adjoint[d], &window.axis[d], true);
    if (pixels && !is_sparse(&window, !indices)) {
        status = take_gradients(&pass, adjoint, dy, indices, dx, &done);
        if (done || status != FC_OK)
            return status;
    }
    struct scatter scatter = {.pass = pass,
                              .dy = dy,
                              .dx = dx,
                              .indices = indices,
                              .size = fc_element_size(params->dtype)};
    scatter.vertical = adjoint[0];
    return run_scatter(&scatter);
}
