/* pool2d_scatter_dx.c: the gradient of a maximum or minimum, scattered to the winners of the windows.
 *
 * The owner of a part of dx walks the outputs in order and adds each gradient at its winner's index, so that the
 * order of additions is that of the outputs, whoever the owner. dx is zeroed just ahead of that walk, while it
 * stays in the cache. Stored indices cost the same whatever the windows are; else winners are found again. */
#include "pool2d_scatter_dx.h"

#include <stdatomic.h>

#include "parallel.h"
#include "pool2d_sums.h"
#include "transpose_channels.h"
#include "workspace.h"
#include "zero_image.h"

/* Bands of dx are for threads that images and channels do not feed: where windows overlap, winners
 * of the rows between two bands are found twice. */
enum {
    ENOUGH_PARTS = 16,
    BAND_WINDOWS = 4,
    SCATTER_CHANNELS = 256,
    LEAST_CHANNELS = 16,
    WHOLE_CHANNELS = 1 << 11,
    WHOLE_PLANES = 1 << 15 /* elements */
};

struct scatter {
    struct fc_pool2d_pass pass;     /* finds winners again; not planned where indices are given */
    struct fc_pool2d_axis vertical; /* from rows of dx to rows of outputs */
    const fc_image *dy, *dx, *indices;
    size_t size;
    bool planes; /* come side by side, or, where they are fewer, one by one */
    bool apart;  /* windows that share nothing: numbers of taps tell where in dx a winner is */
    int64_t channels, channel_blocks, bands, band_outputs;
    ptrdiff_t sum; /* elements from pixel to pixel of sums in scratch, or 0 */
    char *scratch;
    size_t scratch_bytes, target_bytes;
    atomic_bool bad_index;
};

/* An owner's part of dx. */
struct part {
    int64_t image, channel, channels;
    fc_image dx;                  /* those channels of that image, or their sums */
    int64_t row, row_end, filled; /* rows [row, filled) hold sums, the rest is not yet zeroed */
};

static void zero_until(const struct scatter *self, struct part *part, int64_t row)
{
    const int64_t end = fc_min(row, part->row_end);
    fc_zero_rows(&part->dx, (int64_t)self->size, 0, part->filled, end);
    part->filled = fc_max(part->filled, end);
}

/* Adds the gradients of outputs [column, column + columns) of a row; index points to the index of
 * the first, indices are index_column and index_channel apart. False: one lies outside its
 * plane. */
static bool scatter_row(const struct scatter *self, struct part *part, int64_t row, int64_t column,
                        int64_t columns, const int64_t *index, ptrdiff_t index_column,
                        ptrdiff_t index_channel)
{
    const fc_image *dy = self->dy, *dx = &part->dx;
    const bool by_channel = part->channels > 1;
    struct fc_pool2d_scatter scatter = {
        .index = index,
        .dy = fc_image_at(dy, self->size, part->image, row, column, part->channel),
        .dx = dx->data,
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

/* Rows of windows at a time, several of few columns where they lie without gaps; dx is zeroed as far as they
 * reach. */
static void scatter_given(struct scatter *self, struct part *part)
{
    enum { MANY_WINDOWS = 256 };
    const fc_image *indices = self->indices, *dy = self->dy;
    const struct fc_axis *axis = &self->vertical.axis;
    const bool together = fc_rows_together(indices, indices->w) && fc_rows_together(dy, dy->w);
    const int64_t rows = together ? fc_max(MANY_WINDOWS / fc_max(dy->w, 1), 1) : 1;
    for (int64_t row = 0; row < dy->h; row += rows) {
        const int64_t end = fc_min(row + rows, dy->h);
        const int64_t *index = (const int64_t *)(const void *)fc_image_at(
            indices, sizeof *index, part->image, row, 0, part->channel);
        zero_until(self, part,
                   (end - 1) * axis->stride + (axis->taps - 1) * axis->dilation + 1 - axis->before);
        if (!scatter_row(self, part, row, 0, (end - row) * dy->w, index, indices->stride_w,
                         indices->stride_c)) {
            atomic_store_explicit(&self->bad_index, true, memory_order_relaxed);
            return;
        }
    }
}

/* ------------------------------------------------------ winners found again */

/* Whether windows share nothing and lie in part on the image, and where their taps lie fits 31 bits. */
static bool are_apart(const struct fc_pool2d_pass *pass, const fc_image *dx)
{
    enum { MOST = 1 << 15 };
    const ptrdiff_t strides[2] = {dx->stride_h, dx->stride_w};
    bool all = true;
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = &pass->axis[d].axis;
        all &= axis->dilation == 1 && (axis->out == 1 || axis->stride >= axis->taps) &&
               axis->before < axis->taps && axis->taps <= MOST &&
               (axis->out - 1) * axis->stride - axis->before < axis->in &&
               strides[d] >= -(INT32_MAX / 2 / MOST) && strides[d] <= INT32_MAX / 2 / MOST;
    }
    return all;
}

/* Adds the gradients of outputs [column, column_end) of a row, whose winners' numbers lie packed. */
static void toss_row(const struct scatter *self, const struct part *part, int64_t row,
                     int64_t column, int64_t column_end, const char *numbers)
{
    const struct fc_axis *vertical = &self->pass.axis[0].axis;
    const struct fc_axis *horizontal = &self->pass.axis[1].axis;
    const fc_image *dy = self->dy, *dx = &part->dx;
    const ptrdiff_t first = (row * vertical->stride - vertical->before) * dx->stride_h +
                            (column * horizontal->stride - horizontal->before) * dx->stride_w;
    self->pass.kernels->pool2d.toss_apart(&(struct fc_pool2d_toss){
        .numbers = numbers,
        .dy = fc_image_at(dy, self->size, part->image, row, column, part->channel),
        .dx = (char *)dx->data + first * (ptrdiff_t)self->size,
        .windows = column_end - column,
        .lanes = part->channels,
        .number_window = self->pass.indices.stride_w,
        .dy_window = dy->stride_w,
        .dx_window = horizontal->stride * dx->stride_w,
        .dy_lane = dy->stride_c,
        .dx_lane = dx->stride_c});
}

/* A few rows of outputs, block of columns by block of columns; fc_pool2d_plan sees to it that there
 * are several of one of them alone. */
static void scatter_found(struct scatter *self, struct part *part, int64_t row, int64_t row_end,
                          char *scratch)
{
    const struct fc_pool2d_pass *pass = &self->pass;
    char *targets = scratch + fc_pool2d_scratch(pass);
    int64_t *winners = (int64_t *)(void *)(targets + self->target_bytes);
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
        fc_pool2d_run_block(pass, &block, targets, winners, scratch);
        for (int64_t r = row; r < row_end; r++) {
            fc_pool2d_axis_window(&pass->axis[0], r, &first, &count);
            zero_until(self, part, first + (count - 1) * pass->axis[0].step + 1);
            if (self->apart)
                toss_row(self, part, r, column, block.column_end,
                         (const char *)winners +
                             (r - row) * pass->indices.stride_h * (ptrdiff_t)self->size);
            else
                scatter_row(self, part, r, column, block.column_end - column,
                            winners + (r - row) * pass->indices.stride_h, pass->indices.stride_w,
                            1);
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
    char *scratch = self->scratch + (size_t)worker * self->scratch_bytes;
    struct part part = {.image = item / self->channel_blocks,
                        .channel = item % self->channel_blocks * self->channels,
                        .row = band_row(self, band),
                        .row_end = band_row(self, band + 1)};
    const int64_t end = fc_min(part.channel + self->channels, self->dx->c);
    const bool alone = self->indices && self->planes && end - part.channel < FC_POOL2D_ABREAST;
    part.channels = alone ? 1 : end - part.channel;
    for (; part.channel < end; part.channel += part.channels) {
        const fc_image dx =
            fc_pool2d_channels(self->dx, self->size, part.image, part.channel, part.channels);
        part.dx = self->sum ? fc_pool2d_sums(&dx, self->sum, scratch) : dx;
        part.filled = part.row;
        if (self->indices) {
            scatter_given(self, &part);
        } else {
            int64_t row, row_end;
            fc_pool2d_axis_reach(&self->vertical, part.row, part.row_end, &row, &row_end);
            for (; row < row_end; row += self->pass.rows)
                scatter_found(self, &part, row, fc_min(row + self->pass.rows, row_end), scratch);
        }
        zero_until(self, &part, part.row_end);
        if (self->sum)
            fc_transpose_channels(self->pass.kernels, (ptrdiff_t)self->size, &dx, 0, 0, &part.dx,
                                  false, false);
    }
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

/* Of images with a window each, where clearing dx is most of the work, so many that it is done in long runs. */
static int64_t owned_channels(const fc_image *dx, bool planes, bool whole)
{
    if (!planes)
        return whole ? WHOLE_CHANNELS : SCATTER_CHANNELS;
    return whole ? fc_max(WHOLE_PLANES / fc_max(dx->h * dx->w, 1), 1) : FC_POOL2D_ABREAST;
}

static void plan_given(struct scatter *self)
{
    const fc_image *dy = self->dy, *dx = self->dx;
    const bool planes = dx->stride_c != 1 && dx->stride_w == 1;
    const bool whole = dy->h * dy->w == 1;
    self->planes = planes && !whole;
    self->channels = fc_min(dx->c, owned_channels(dx, planes, whole));
    const int threads = fc_pool2d_dx_width(ENOUGH_PARTS, dy, dx);
    while (!planes && self->channels > LEAST_CHANNELS &&
           dx->n * fc_ceil_div(dx->c, self->channels) < threads)
        self->channels = fc_ceil_div(self->channels, 2);
    self->sum = fc_pool2d_sum_pixel(&self->pass, dx, self->channels);
    self->scratch_bytes = fc_round_to_line(fc_pool2d_sum_bytes(dx, self->sum, self->size));
}

/* Numbers of a block wait in scratch, which is bounded: wider rows keep indices. */
static fc_status plan_numbers(struct scatter *self)
{
    enum { MOST = 1 << 16 };
    const struct fc_pool2d_pass pass = self->pass;
    self->apart = are_apart(&self->pass, self->dx);
    if (self->apart) {
        fc_pool2d_number_taps(&self->pass, self->dx->stride_h, self->dx->stride_w);
        self->pass.few = true;
        const fc_status status = fc_pool2d_plan(&self->pass);
        if (status != FC_OK)
            return status;
        const int64_t pixels = MOST / self->pass.channels;
        self->apart = !self->pass.piecewise && self->pass.rows <= pixels / self->pass.columns;
        if (self->apart)
            return FC_OK;
        self->pass = pass;
    }
    return fc_pool2d_plan(&self->pass);
}

static fc_status plan_found(struct scatter *self)
{
    const fc_status status = plan_numbers(self);
    if (status != FC_OK)
        return status;
    const struct fc_pool2d_pass *pass = &self->pass;
    const size_t targets = (size_t)(pass->rows * pass->columns * pass->channels);
    self->channels = pass->channels;
    self->target_bytes = fc_round_to_line(targets * self->size);
    self->scratch_bytes = fc_pool2d_scratch(pass) + self->target_bytes +
                          fc_round_to_line(targets * sizeof(int64_t) + FC_UNIT_BYTES);
    return FC_OK;
}

static fc_status run_scatter(struct scatter *self)
{
    const fc_image *dy = self->dy, *dx = self->dx;
    if (self->indices) {
        plan_given(self);
    } else {
        const fc_status status = plan_found(self);
        if (status != FC_OK)
            return status;
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

fc_status fc_pool2d_scatter_dx(const struct fc_pool2d_pass *pass,
                               const struct fc_pool2d_axis *vertical, const fc_image *dy,
                               const fc_image *indices, const fc_image *dx)
{
    fc_image dy_planes = *dy, dx_planes = *dx;
    struct scatter scatter = {.pass = *pass,
                              .vertical = *vertical,
                              .dy = &dy_planes,
                              .dx = &dx_planes,
                              .indices = indices,
                              .size = fc_element_size(pass->dtype)};
    if (!indices)
        fc_pool2d_merge_planes((fc_image *[]){&scatter.pass.x, &dy_planes, &dx_planes}, 3);
    return run_scatter(&scatter);
}
