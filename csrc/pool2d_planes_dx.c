/* pool2d_planes_dx.c: the gradient of a maximum or minimum over parted planes.
 *
 * Lines of dx's parts lie where those of x's do, so that each class of them takes its windows at fixed
 * distances too. The winners of a band, with dy beside them, are kept in scratch, and rows that two
 * bands need are looked at twice. dy is zero between windows: whatever number stands there gives
 * nothing. */
#include <math.h>

#include "parallel.h"
#include "pool2d_planes.h"
#include "pool2d_winners.h"
#include "workspace.h"

struct gradient {
    struct fc_pool2d_planes planes;
    const fc_image *x, *dy, *dx;
    double padding;
    ptrdiff_t dx_part, dx_parts; /* elements of a part of dx, and of all parts of a plane */
    int64_t edge;                /* rows of windows whose first tap lies in padding */
    char *tables, *scratch;
    size_t parts_bytes, windows_bytes, worker_bytes;
};

/* ------------------------------------------------------------------ tables */

static int64_t first_tap(const struct fc_axis *axis, int64_t output)
{
    int64_t begin, end;
    fc_axis_taps(axis, output, &begin, &end);
    return begin < end ? begin : 0;
}

/* The first tap of each window that lies on the image: it has won where all are -inf. `edge` rows, and
 * then those of a band. */
static void set_first_taps(const struct gradient *self)
{
    const struct fc_pool2d_planes *planes = &self->planes;
    const struct fc_axis *vertical = &planes->axis[0], *horizontal = &planes->axis[1];
    for (int64_t r = 0; r < self->edge + planes->rows; r++) {
        const int64_t i = r < self->edge ? first_tap(vertical, r) : 0;
        for (int64_t w = 0; w < horizontal->out; w++) {
            const int64_t j = first_tap(horizontal, w);
            for (int64_t c = 0; c < planes->channels; c++)
                fc_pool2d_set_entry(self->tables, planes->dtype,
                                    r * planes->pitch + w * planes->channels + c,
                                    i * horizontal->taps + j);
        }
    }
}

/* ----------------------------------------------------------------- windows */

static void search(const struct gradient *self, const struct fc_pool2d_band *band, int64_t item,
                   int64_t step, char *parts, char *numbers)
{
    const struct fc_pool2d_planes *planes = &self->planes;
    struct fc_pool2d_window window = {
        .x = parts, .numbers = numbers, .number_column = planes->windows};
    if (planes->axis[0].before > 0 || planes->axis[1].before > 0)
        window.first = self->tables +
                       fc_min(band->window, self->edge) * planes->pitch * (ptrdiff_t)planes->size;
    fc_pool2d_planes_part(planes, band, self->x, parts);
    fc_pool2d_planes_window(planes, band, item, step, self->x, &window);
    planes->kernels->pool2d.window[planes->pooling](&window);
}

/* ---------------------------------------------------------------------- dx */

/* The windows that a class of rows and columns lies in, in their order. */
static void set_claims(const struct fc_pool2d_planes *planes, int64_t row_class,
                       int64_t column_class, struct fc_pool2d_claim *claim)
{
    const struct fc_axis *vertical = &planes->axis[0], *horizontal = &planes->axis[1];
    claim->taps = 0;
    for (int64_t i = vertical->taps - 1; i >= 0; i--)
        for (int64_t j = horizontal->taps - 1; j >= 0; j--) {
            const int64_t u = i * vertical->dilation, v = j * horizontal->dilation;
            if (u % vertical->stride != row_class || v % horizontal->stride != column_class)
                continue;
            claim->offset[claim->taps] =
                -(u / vertical->stride * planes->pitch + v / horizontal->stride * planes->channels);
            claim->number[claim->taps++] = i * horizontal->taps + j;
        }
}

/* The band of dx of a group, from numbers and dy at line 0 of it. */
static void put_gradients(const struct gradient *self, const struct fc_pool2d_band *band,
                          const char *numbers, const char *dy, char *parts)
{
    const struct fc_pool2d_planes *planes = &self->planes;
    const struct fc_axis *vertical = &planes->axis[0], *horizontal = &planes->axis[1];
    const int64_t top = band->line * vertical->stride - vertical->before;
    const int64_t end = fc_min(band->line_end * vertical->stride - vertical->before, self->dx->h);
    const int64_t row = fc_max(top, 0);
    if (end <= row)
        return;
    struct fc_pool2d_claim claim = {.numbers = numbers,
                                    .dy = dy,
                                    .planes = band->planes,
                                    .lanes = (band->line_end - band->line) * planes->pitch,
                                    .plane = planes->windows,
                                    .dx_plane = self->dx_parts};
    struct fc_pool2d_parts from = fc_pool2d_planes_rows(planes, band, self->dx, row, end - row);
    const int64_t classes = vertical->stride * horizontal->stride;
    claim.ahead = fc_pool2d_planes_ahead(planes, &from, classes * claim.planes * claim.lanes);
    for (int64_t a = 0; a < vertical->stride; a++)
        for (int64_t b = 0; b < horizontal->stride; b++) {
            set_claims(planes, a, b, &claim);
            claim.dx =
                parts + (a * horizontal->stride + b) * self->dx_part * (ptrdiff_t)planes->size;
            planes->kernels->pool2d.claim(&claim);
            claim.ahead.data += claim.ahead.lines * FC_CACHE_LINE * claim.planes *
                                (claim.lanes * (ptrdiff_t)planes->size / (4 * FC_UNIT_BYTES));
        }
    fc_pool2d_planes_lay(planes, parts, self->dx_part, self->dx_parts, row - top, &from);
    planes->kernels->pool2d.join(&from);
}

static void claim_item(void *context, int64_t item, int worker)
{
    struct gradient *self = context;
    const struct fc_pool2d_planes *planes = &self->planes;
    char *parts = self->scratch + (size_t)worker * self->worker_bytes;
    char *numbers = parts + self->parts_bytes, *dy = numbers + self->windows_bytes;
    char *dx_parts = dy + self->windows_bytes;
    /* Windows that begin before the first line, and columns before the first column, come first. */
    const ptrdiff_t size = (ptrdiff_t)planes->size;
    const ptrdiff_t line =
        (planes->beyond[1] * planes->channels + planes->beyond[0] * planes->pitch) * size;
    struct fc_pool2d_band band;
    for (int64_t step = 0; fc_pool2d_planes_step(planes, item, step, &band); step++) {
        const ptrdiff_t at = line + (band.window - band.line) * planes->pitch * size;
        if (band.fresh) {
            fc_pool2d_planes_fill(planes, self->padding, parts, planes->group * planes->parts);
            if (step == 0)
                fc_pool2d_planes_fill(planes, 0, numbers, planes->group * planes->windows);
            fc_pool2d_planes_fill(planes, 0, dy, planes->group * planes->windows);
        }
        if (band.window < band.window_end) {
            struct fc_pool2d_parts rows = fc_pool2d_planes_rows(
                planes, &band, self->dy, band.window, band.window_end - band.window);
            rows.parts = dy + at;
            rows.parts_plane = planes->windows;
            planes->kernels->pool2d.part(&rows);
            search(self, &band, item, step, parts, numbers + at);
        }
        put_gradients(self, &band, numbers + line, dy + line, dx_parts);
    }
}

fc_status fc_pool2d_planes_max_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                  const fc_image *dx, bool *done)
{
    struct gradient self = {.planes = {.pooling = pass->pooling,
                                       .dtype = pass->dtype,
                                       .kernels = pass->kernels,
                                       .axis = {pass->axis[0].axis, pass->axis[1].axis},
                                       .gradient = true},
                            .x = &pass->x,
                            .dy = dy,
                            .dx = dx,
                            .padding = pass->pooling == FC_MAX ? -INFINITY : INFINITY};
    struct fc_pool2d_planes *planes = &self.planes;
    const fc_image *images[] = {dx, dy, &pass->x};
    *done = fc_pool2d_planes_plan(planes, images, 3);
    if (!*done)
        return FC_OK;
    const struct fc_axis *vertical = &planes->axis[0];
    const int64_t classes = vertical->stride * planes->axis[1].stride;
    const int64_t unit = FC_UNIT_BYTES / (int64_t)planes->size;
    self.edge = fc_ceil_div(vertical->before, vertical->stride);
    self.dx_part = (fc_ceil_div(planes->band * planes->pitch, unit) + 1) * unit;
    self.dx_parts = classes * self.dx_part;
    const int64_t entries = (self.edge + planes->rows) * planes->pitch + unit;
    self.parts_bytes = fc_round_to_line((size_t)(planes->group * planes->parts) * planes->size);
    self.windows_bytes = fc_round_to_line((size_t)(planes->group * planes->windows) * planes->size);
    self.worker_bytes = self.parts_bytes + 2 * self.windows_bytes +
                        fc_round_to_line((size_t)(planes->group * self.dx_parts) * planes->size);
    const size_t table_bytes = fc_round_to_line((size_t)entries * planes->size);
    const int width = fc_pool2d_dx_width(planes->items, dy, dx);
    self.tables = fc_workspace_acquire(table_bytes + (size_t)width * self.worker_bytes);
    if (!self.tables)
        return FC_NO_MEMORY;
    self.scratch = self.tables + table_bytes;
    set_first_taps(&self);
    fc_parallel_for(planes->items, width, FC_KEEP_DENORMALS, claim_item, &self);
    fc_workspace_release(self.tables);
    return FC_OK;
}
