/* pool2d_planes.c: how planes are parted and cut, and the forward pass over them. */
#include "pool2d_planes.h"

#include <math.h>

#include "parallel.h"
#include "workspace.h"

enum {
    GROUP =
        12 * 1024,    /* elements of scratch for the planes, or band, of a step: 48 KB of float32 */
    MOST = 64 * 1024, /* elements that a band of few lines may take */
    FEW_LINES = 8,    /* of a band, for each that it shares with the one before */
    MOST_STRIDE = 4,
    MOST_SHARE = 16, /* groups of an item, for which padding is laid once */
    ENOUGH_ITEMS = 32,
    MANY_ELEMENTS = 1 << 20, /* more of x than second-level caches hold */
    FULL_VECTORS = 3         /* of a row where planes could be transposed as well */
};

/* -------------------------------------------------------------------- plan */

/* Pixels as columns: a few channels that lie together. */
static bool has_pixels(const fc_image *image)
{
    return (image->c == 1 || image->stride_c == 1) && image->stride_w == image->c;
}

static bool find_planes(struct fc_pool2d_planes *self, const fc_image *const *images, int count)
{
    const int64_t few = FC_UNIT_BYTES / (int64_t)self->size / 2;
    bool pixels = images[0]->c < few, planes = true;
    self->merged = true;
    for (int i = 0; i < count; i++) {
        const fc_image *image = images[i];
        pixels = pixels && has_pixels(image);
        planes = planes && image->stride_w == 1;
        self->merged = self->merged && image->stride_n == image->c * image->stride_c;
    }
    const int64_t n = images[0]->n, c = images[0]->c;
    self->pixels = pixels;
    self->channels = pixels ? c : 1;
    self->merged = self->merged || pixels;
    self->outer = self->merged ? 1 : n;
    self->inner = pixels ? n : self->merged ? n * c : c;
    if (!pixels && c >= few && images[0]->w < FULL_VECTORS * FC_UNIT_BYTES / (int64_t)self->size)
        return false;
    return (pixels || planes) && (self->channels > 1 || self->axis[1].stride <= 2);
}

/* Elements of scratch for a plane and a band of so many lines. */
static int64_t set_band(struct fc_pool2d_planes *self, int64_t band)
{
    const int64_t unit = FC_UNIT_BYTES / (int64_t)self->size;
    const int64_t classes = self->axis[0].stride * self->axis[1].stride;
    self->band = band;
    self->rows = band + (self->gradient ? self->beyond[0] : 0);
    self->part = (self->rows + self->beyond[0]) * self->pitch;
    self->parts = fc_ceil_div(classes * self->part, unit) * unit;
    const int64_t held = self->rows * self->pitch + self->beyond[1] * self->channels;
    self->windows = (fc_ceil_div(held, unit) + 2) * unit;
    return self->parts + self->windows +
           (self->gradient ? self->windows + classes * (band * self->pitch + 2 * unit) : 0);
}

static bool choose_band(struct fc_pool2d_planes *self)
{
    const struct fc_axis *vertical = &self->axis[0], *horizontal = &self->axis[1];
    const int64_t extent[2] = {(vertical->taps - 1) * vertical->dilation,
                               (horizontal->taps - 1) * horizontal->dilation};
    for (int d = 0; d < 2; d++)
        self->beyond[d] = extent[d] / self->axis[d].stride;
    const int64_t columns =
        fc_max(horizontal->out + self->beyond[1],
               fc_ceil_div(horizontal->before + horizontal->in, horizontal->stride));
    self->lines = vertical->out;
    if (self->gradient)
        self->lines = fc_max(vertical->out + self->beyond[0],
                             fc_ceil_div(vertical->before + vertical->in, vertical->stride));
    if (columns > MOST || self->beyond[0] > MOST || columns * self->channels > MOST)
        return false;
    self->pitch = columns * self->channels;

    int64_t band = fc_min(self->lines, MOST);
    const int64_t few = fc_min(band, FEW_LINES * (self->beyond[0] + 1));
    while (band > few && set_band(self, band) > GROUP)
        band = fc_max(fc_ceil_div(band, 2), few);
    while (band > 1 && set_band(self, band) > MOST)
        band = fc_ceil_div(band, 2);
    self->bands = fc_ceil_div(self->lines, band);
    const int64_t elements = set_band(self, fc_ceil_div(self->lines, self->bands));
    self->group = fc_min(fc_max(GROUP / elements, 1), self->inner);
    return elements <= MOST;
}

bool fc_pool2d_planes_plan(struct fc_pool2d_planes *self, const fc_image *const *images, int count)
{
    self->size = fc_element_size(self->dtype);
    for (int d = 0; d < 2; d++)
        if (self->axis[d].stride > MOST_STRIDE || self->axis[d].taps > FC_POOL2D_TAPS)
            return false;
    if (self->axis[0].taps * self->axis[1].taps > FC_POOL2D_TAPS ||
        !find_planes(self, images, count) || !choose_band(self))
        return false;
    self->groups = fc_ceil_div(self->inner, self->group);
    const int64_t all = self->outer * self->groups;
    self->share = fc_max(fc_min(all / ENOUGH_ITEMS, MOST_SHARE), 1);
    self->shares = fc_ceil_div(all, self->share);
    self->band_share = fc_ceil_div(self->bands * fc_min(self->shares, ENOUGH_ITEMS), ENOUGH_ITEMS);
    self->fetched = self->axis[0].in * self->axis[1].in >
                    MANY_ELEMENTS / (self->outer * self->inner * self->channels);
    self->items = self->shares * fc_ceil_div(self->bands, self->band_share);
    return true;
}

/* ------------------------------------------------------------------- parts */

bool fc_pool2d_planes_step(const struct fc_pool2d_planes *self, int64_t item, int64_t step,
                           struct fc_pool2d_band *band)
{
    const int64_t band_shares = fc_ceil_div(self->bands, self->band_share);
    const int64_t first = item % band_shares * self->band_share;
    const int64_t bands = fc_min(self->band_share, self->bands - first);
    const int64_t group = item / band_shares * self->share + step / bands;
    if (step / bands >= self->share || group >= self->outer * self->groups)
        return false;
    band->outer = group / self->groups;
    band->inner = group % self->groups * self->group;
    band->planes = fc_min(self->group, self->inner - band->inner);

    const struct fc_axis *vertical = &self->axis[0];
    const int64_t above = self->gradient ? self->beyond[0] : 0;
    band->line = (first + step % bands) * self->band;
    band->line_end = fc_min(band->line + self->band, self->lines);
    band->window = fc_max(band->line - above, 0);
    band->window_end = fc_max(fc_min(band->line_end, vertical->out), band->window);
    const int64_t top = band->window * vertical->stride - vertical->before;
    const int64_t held = (self->rows + self->beyond[0]) * vertical->stride;
    const bool padded =
        top < 0 || top + held > vertical->in || band->window_end - band->window < self->rows;
    band->fresh = step == 0 || (bands > 1 && padded);
    return true;
}

struct fc_pool2d_parts fc_pool2d_planes_rows(const struct fc_pool2d_planes *self,
                                             const struct fc_pool2d_band *band,
                                             const fc_image *image, int64_t row, int64_t rows)
{
    const ptrdiff_t inner = self->pixels ? image->stride_n : image->stride_c;
    const ptrdiff_t at =
        band->outer * image->stride_n + band->inner * inner + row * image->stride_h;
    return (struct fc_pool2d_parts){.image = (char *)image->data + at * (ptrdiff_t)self->size,
                                    .planes = band->planes,
                                    .rows = rows,
                                    .columns = image->w,
                                    .channels = self->channels,
                                    .image_plane = inner,
                                    .image_row = image->stride_h,
                                    .row_phases = 1,
                                    .column_phases = 1,
                                    .line = self->pitch};
}

void fc_pool2d_planes_lay(const struct fc_pool2d_planes *self, void *parts, ptrdiff_t part,
                          ptrdiff_t plane, int64_t row, struct fc_pool2d_parts *rows)
{
    rows->parts = parts;
    rows->parts_plane = plane;
    rows->row = row;
    rows->column = self->axis[1].before;
    rows->row_phases = self->axis[0].stride;
    rows->column_phases = self->axis[1].stride;
    rows->column_phase = part;
    rows->row_phase = self->axis[1].stride * part;
}

void fc_pool2d_planes_fill(const struct fc_pool2d_planes *self, double value, void *to,
                           int64_t elements)
{
    const float narrow = (float)value;
    const void *given = self->dtype == FC_FLOAT32 ? (const void *)&narrow : (const void *)&value;
    self->kernels->pool2d.spread(given, 1, elements, to, 0);
}

void fc_pool2d_planes_part(const struct fc_pool2d_planes *self, const struct fc_pool2d_band *band,
                           const fc_image *x, void *parts)
{
    const struct fc_axis *vertical = &self->axis[0];
    const int64_t top = band->window * vertical->stride - vertical->before;
    const int64_t held = band->window_end - band->window + self->beyond[0];
    const int64_t row = fc_max(top, 0), end = fc_min(top + held * vertical->stride, x->h);
    if (end <= row)
        return;
    struct fc_pool2d_parts to = fc_pool2d_planes_rows(self, band, x, row, end - row);
    fc_pool2d_planes_lay(self, parts, self->part, self->parts, row - top, &to);
    self->kernels->pool2d.part(&to);
}

struct fc_lines_ahead fc_pool2d_planes_ahead(const struct fc_pool2d_planes *self,
                                             const struct fc_pool2d_parts *rows, int64_t elements)
{
    const int64_t block = 4 * FC_UNIT_BYTES / (int64_t)self->size;
    const int64_t count = rows->planes * rows->rows * rows->columns * rows->channels;
    const int64_t lines = fc_ceil_div(count * (int64_t)self->size, FC_CACHE_LINE);
    return (struct fc_lines_ahead){
        .data = rows->image,
        .lines = !self->fetched ? 0 : fc_ceil_div(lines * block, fc_max(elements, block))};
}

/* The next group's rows of x, while the windows of this one are walked. What the second-level cache may
 * hold is not worth the instructions. */
static struct fc_lines_ahead next_rows(const struct fc_pool2d_planes *self, int64_t item,
                                       int64_t step, const fc_image *x, int64_t elements)
{
    struct fc_pool2d_band next;
    if (!self->fetched || !fc_pool2d_planes_step(self, item, step + 1, &next))
        return (struct fc_lines_ahead){.lines = 0};
    const struct fc_axis *vertical = &self->axis[0];
    const int64_t row = fc_max(next.window * vertical->stride - vertical->before, 0);
    const int64_t rows = (next.window_end - next.window) * vertical->stride;
    const struct fc_pool2d_parts at =
        fc_pool2d_planes_rows(self, &next, x, fc_min(row, x->h), fc_min(rows, x->h - row));
    return fc_pool2d_planes_ahead(self, &at, elements);
}

void fc_pool2d_planes_window(const struct fc_pool2d_planes *self, const struct fc_pool2d_band *band,
                             int64_t item, int64_t step, const fc_image *x,
                             struct fc_pool2d_window *window)
{
    const struct fc_axis *vertical = &self->axis[0], *horizontal = &self->axis[1];
    const int64_t rows = band->window_end - band->window;
    window->columns = band->planes;
    window->lanes = (rows - 1) * self->pitch + horizontal->out * self->channels;
    window->rows = vertical->taps;
    window->taps = horizontal->taps;
    window->x_column = self->parts;
    window->ahead = next_rows(self, item, step, x, window->columns * window->lanes);
    for (int64_t i = 0; i < vertical->taps; i++)
        for (int64_t j = 0; j < horizontal->taps; j++) {
            const int64_t tap = i * horizontal->taps + j;
            const int64_t u = i * vertical->dilation, v = j * horizontal->dilation;
            const int64_t part = u % vertical->stride * horizontal->stride + v % horizontal->stride;
            window->offset[tap] = part * self->part + u / vertical->stride * self->pitch +
                                  v / horizontal->stride * self->channels;
            window->number[tap] = tap;
        }
}

/* ----------------------------------------------------------------- forward */

struct forward {
    struct fc_pool2d_planes planes;
    const fc_image *x, *y;
    double padding, divisor;
    bool direct; /* windows lie in y as they do in scratch */
    char *scratch;
    size_t worker_bytes;
};

static void pool_item(void *context, int64_t item, int worker)
{
    const struct forward *self = context;
    const struct fc_pool2d_planes *planes = &self->planes;
    char *parts = self->scratch + (size_t)worker * self->worker_bytes;
    char *windows =
        parts + fc_round_to_line((size_t)(planes->group * planes->parts) * planes->size);
    struct fc_pool2d_band band;
    for (int64_t step = 0; fc_pool2d_planes_step(planes, item, step, &band); step++) {
        if (band.fresh)
            fc_pool2d_planes_fill(planes, self->padding, parts, planes->group * planes->parts);
        struct fc_pool2d_parts rows = fc_pool2d_planes_rows(planes, &band, self->y, band.window,
                                                            band.window_end - band.window);
        rows.parts = windows;
        rows.parts_plane = planes->windows;
        struct fc_pool2d_window window = {.x = parts,
                                          .y = self->direct ? rows.image : windows,
                                          .y_column =
                                              self->direct ? rows.image_plane : planes->windows,
                                          .divisor = self->divisor};
        fc_pool2d_planes_part(planes, &band, self->x, parts);
        fc_pool2d_planes_window(planes, &band, item, step, self->x, &window);
        planes->kernels->pool2d.window[planes->pooling](&window);
        if (!self->direct)
            planes->kernels->pool2d.join(&rows);
    }
}

/* Whether all windows of an average divide by the same. */
static bool divides_alike(const struct fc_pool2d_pass *pass)
{
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = &pass->axis[d].axis;
        if (fc_pool2d_axis_divisor(axis, 0, pass->include_pad) != axis->taps ||
            fc_pool2d_axis_divisor(axis, axis->out - 1, pass->include_pad) != axis->taps)
            return false;
    }
    return true;
}

fc_status fc_pool2d_planes_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done)
{
    const bool average = pass->pooling == FC_AVG;
    struct forward self = {.planes = {.pooling = pass->pooling,
                                      .dtype = pass->dtype,
                                      .kernels = pass->kernels,
                                      .axis = {pass->axis[0].axis, pass->axis[1].axis}},
                           .x = &pass->x,
                           .y = y,
                           .padding = average                   ? 0
                                      : pass->pooling == FC_MAX ? -INFINITY
                                                                : INFINITY,
                           .divisor = 1};
    struct fc_pool2d_planes *planes = &self.planes;
    *done = !pass->numbered && (!average || divides_alike(pass)) &&
            fc_pool2d_planes_plan(planes, (const fc_image *[]){&pass->x, y}, 2);
    if (!*done)
        return FC_OK;
    if (average)
        self.divisor = (double)pass->axis[0].axis.taps * (double)pass->axis[1].axis.taps;
    self.direct = y->stride_h == planes->pitch && y->w * planes->channels == planes->pitch;
    self.worker_bytes = fc_round_to_line((size_t)(planes->group * planes->parts) * planes->size) +
                        fc_round_to_line((size_t)(planes->group * planes->windows) * planes->size);
    const double taps = (double)pass->axis[0].axis.taps * (double)pass->axis[1].axis.taps;
    const int width =
        fc_parallel_width(planes->items, FC_WORK_PER_TAP * (double)y->n * (double)y->c *
                                             (double)y->h * (double)y->w * taps);
    self.scratch = fc_workspace_acquire((size_t)width * self.worker_bytes);
    if (!self.scratch)
        return FC_NO_MEMORY;
    fc_parallel_for(planes->items, width, FC_KEEP_DENORMALS, pool_item, &self);
    fc_workspace_release(self.scratch);
    return FC_OK;
}
