/* pool2d_avg_dx.c: the gradient of an average, a row of windows at a time.
 *
 * An element of dx is a chain over rows of windows of what each row gives to its column, and that is a
 * chain over the windows of the row: a sum that all rows of dx have in common which these windows hold.
 * So gradients are divided once, their rows are summed once, and rows of dx add up rows of sums: with 7 x 7
 * windows by strides of 2 four numbers and four, where each element by itself took sixteen.
 *
 * A row of gradients is stretched so that columns line up: with stride s and m * s - s + r taps, column u of
 * the padded row has
 *     first[u] + whole[u + s] + ... + whole[u + m * s - s]
 * where whole repeats each gradient s times, first r times and then has zeros, and m - 1 zeros stand before
 * the first. Of windows that share no columns, first is the row of sums, and of those that share no rows that is
 * stored as it is. Many channels are lanes, and need no stretching to be summed.
 *
 * A column that is stretched takes a vector store, which crosses cache lines, and planes whose windows share columns
 * are faster transposed (pool2d_avg_planes_dx.c). Too few of them to be transposed are stretched where rows are short,
 * or parted into more than two phases. */
#include "pool2d_avg_dx.h"

#include <string.h>

#include "parallel.h"
#include "workspace.h"

enum {
    GROUP = 4 * 1024, /* elements of scratch for the planes of a step: they stay in L1 */
    MOST = 1 << 16,   /* elements that a plane's block of channels may take */
    ENOUGH_ITEMS = 16,
    BAND_WINDOWS = 8 /* rows of windows of a band, for each that it shares with the next */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *dy, *dx;
    struct fc_axis axis[2];
    size_t size;
    bool pixels; /* a plane is an image, and a column a pixel of some channels */
    bool packed; /* rows lie in one run in dy and dx */
    bool wide;   /* channels are lanes */
    int64_t outer, inner, group, groups; /* planes, of which `group` at once */
    int64_t channels, blocks;            /* of a column, and their blocks */
    int64_t times, kept, shared[2];      /* s and r of columns; m of rows and of columns */
    int64_t reached,
        columns;         /* of dx with padding before it; of gradients with zeros around them */
    int64_t band, bands; /* rows of dx */
    ptrdiff_t first, whole, sums, slot, plane; /* elements: where rows lie in a plane's scratch */
    ptrdiff_t dy_inner, dx_inner;
    char *scratch;
    size_t given_bytes; /* of a plane's gradients */
};

/* Planes of a band at work. */
struct step {
    int64_t outer, inner, planes, channel, channels;
    char *scratch;
};

static char *plane_at(const struct work *work, const struct step *step, const fc_image *image,
                      ptrdiff_t inner, int64_t row, int64_t column)
{
    char *first = fc_image_at(image, work->size, step->outer, row, column, step->channel);
    return first + step->inner * inner * (ptrdiff_t)work->size;
}

static void run_window(const struct work *work, const struct fc_pool2d_window *window)
{
    work->pass->kernels->pool2d.window[FC_AVG](window);
}

/* ---------------------------------------------------------- rows of windows */

/* Gradients of a row, divided by their windows' elements: alike ones together. */
static void divide_row(const struct work *work, const struct step *step, int64_t row)
{
    const fc_image *dy = work->dy;
    const struct fc_axis *axis = &work->pass->axis[1].axis;
    const bool include_pad = work->pass->include_pad;
    const double rows = (double)fc_pool2d_axis_divisor(&work->pass->axis[0].axis, row, include_pad);
    int64_t begin, end, ignored, alike;
    fc_axis_outputs(axis, 0, &begin, &ignored);
    fc_axis_outputs(axis, axis->taps - 1, &ignored, &end);
    for (int64_t j = 0; j < axis->out; j += alike) {
        alike = j >= begin && j < end ? end - j : 1;
        const double columns = (double)fc_pool2d_axis_divisor(axis, j, include_pad);
        run_window(work, &(struct fc_pool2d_window){
                             .x = plane_at(work, step, dy, work->dy_inner, row, j),
                             .y = step->scratch + (work->shared[1] - 1 + j) * step->channels *
                                                      (ptrdiff_t)work->size,
                             .columns = work->packed ? step->planes : alike,
                             .lanes = (work->packed ? alike : 1) * step->channels,
                             .rows = 1,
                             .taps = 1,
                             .x_column = work->packed ? work->dy_inner : dy->stride_w,
                             .y_column = work->packed ? work->plane : step->channels,
                             .divisor = rows * columns});
    }
}

static void stretch_row(const struct work *work, const struct step *step, int64_t kept, char *to)
{
    work->pass->kernels->pool2d.stretch(&(struct fc_pool2d_stretch){.x = step->scratch,
                                                                    .y = to,
                                                                    .planes = step->planes,
                                                                    .columns = work->columns,
                                                                    .channels = step->channels,
                                                                    .times = work->times,
                                                                    .kept = kept,
                                                                    .x_plane = work->plane,
                                                                    .y_plane = work->plane});
}

/* Where the sums of a row of windows wait. */
static char *slot_of(const struct work *work, const struct step *step, int64_t row)
{
    return step->scratch +
           (work->sums + row % work->shared[0] * work->slot) * (ptrdiff_t)work->size;
}

/* Columns of the padded row, from rows that were stretched. */
static void sum_lanes(const struct work *work, const struct step *step, char *slot)
{
    char *first = step->scratch + work->first * (ptrdiff_t)work->size;
    char *whole = step->scratch + work->whole * (ptrdiff_t)work->size;
    if (work->first != work->whole)
        stretch_row(work, step, work->kept, first);
    if (work->whole > 0)
        stretch_row(work, step, work->times, whole);
    struct fc_pool2d_window window = {.x = first,
                                      .y = slot,
                                      .columns = step->planes,
                                      .lanes = work->reached * step->channels,
                                      .rows = 1,
                                      .taps = work->shared[1],
                                      .x_column = work->plane,
                                      .y_column = work->plane,
                                      .divisor = 1};
    for (int64_t k = 1; k < window.taps; k++)
        window.offset[k] = work->whole - work->first + k * work->times * step->channels;
    run_window(work, &window);
}

/* Columns of many channels, from gradients as they are, those that lie alike in their windows together. */
static void sum_pixels(const struct work *work, const struct step *step, char *slot)
{
    const ptrdiff_t pixel = step->channels * (ptrdiff_t)work->size;
    struct fc_pool2d_window window = {.lanes = step->channels,
                                      .rows = 1,
                                      .x_column = step->channels,
                                      .y_column = work->times * step->channels,
                                      .divisor = 1};
    for (int64_t k = 1; k < work->shared[1]; k++)
        window.offset[k] = k * step->channels;
    for (int64_t u = 0; u < fc_min(work->times, work->reached); u++) {
        const int64_t missing = u < work->kept ? 0 : 1;
        window.x = step->scratch + missing * pixel;
        window.y = slot + u * pixel;
        window.taps = work->shared[1] - missing;
        window.columns = fc_ceil_div(work->reached - u, work->times);
        run_window(work, &window);
    }
}

static void sum_row(const struct work *work, const struct step *step, int64_t row)
{
    char *slot = slot_of(work, step, row);
    divide_row(work, step, row);
    if (work->shared[1] == 1)
        stretch_row(work, step, work->kept, slot);
    else if (work->wide)
        sum_pixels(work, step, slot);
    else
        sum_lanes(work, step, slot);
}

/* --------------------------------------------------------------- rows of dx */

/* Rows of dx, alike, which rows of windows [first, end) hold. */
static void put_rows(const struct work *work, const struct step *step, int64_t row, int64_t alike,
                     int64_t first, int64_t end)
{
    const fc_image *dx = work->dx;
    const ptrdiff_t size = (ptrdiff_t)work->size;
    const bool planes = work->packed && step->planes > alike;
    struct fc_pool2d_window window = {
        .rows = first < end, .taps = fc_max(end - first, 0), .divisor = 1};
    const char *x = slot_of(work, step, first) + work->axis[1].before * step->channels * size;
    for (int64_t i = 1; i < window.taps; i++)
        window.offset[i] = (slot_of(work, step, first + i) - slot_of(work, step, first)) / size;
    window.lanes = (work->packed ? dx->w : 1) * step->channels;
    window.columns = planes ? step->planes : work->packed ? alike : dx->w;
    window.x_column = planes ? work->plane : work->packed ? 0 : step->channels;
    window.y_column = planes ? work->dx_inner : work->packed ? dx->stride_h : dx->stride_w;
    const int64_t rows = work->packed && !planes ? 1 : alike, each = planes ? 1 : step->planes;
    for (int64_t p = 0; p < each; p++)
        for (int64_t r = 0; r < rows; r++) {
            window.x = x + p * work->plane * size;
            window.y =
                plane_at(work, step, dx, work->dx_inner, row + r, 0) + p * work->dx_inner * size;
            run_window(work, &window);
        }
}

static void run_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const struct fc_axis *vertical = &work->axis[0];
    struct step step = {.scratch = work->scratch +
                                   (size_t)(worker * work->group * work->plane) * work->size};
    const int64_t top = item % work->bands * work->band;
    const int64_t bottom = fc_min(top + work->band, vertical->in);
    item /= work->bands;
    step.channel = item % work->blocks * work->channels;
    step.channels =
        work->pixels ? fc_min(work->channels, work->dx->c - step.channel) : work->channels;
    item /= work->blocks;
    step.outer = item / work->groups;
    step.inner = item % work->groups * work->group;
    step.planes = fc_min(work->group, work->inner - step.inner);
    for (int64_t p = 0; p < step.planes; p++)
        memset(step.scratch + p * work->plane * (ptrdiff_t)work->size, 0, work->given_bytes);
    int64_t next = 0;
    for (int64_t row = top, alike; row < bottom; row += alike) {
        const int64_t v = row + vertical->before;
        const int64_t first = fc_max(fc_ceil_div(v - vertical->taps + 1, vertical->stride), 0);
        const int64_t last = fc_min(v / vertical->stride, vertical->out - 1);
        alike = bottom - row;
        if (first <= last)
            alike = fc_min(alike, first * vertical->stride + vertical->taps - v);
        if (last + 1 < vertical->out)
            alike = fc_min(alike, (last + 1) * vertical->stride - v);
        for (next = fc_max(next, first); next <= last; next++)
            sum_row(work, &step, next);
        put_rows(work, &step, row, alike, first, last + 1);
    }
}

/* --------------------------------------------------------------------- plan */

static bool find_planes(struct work *work)
{
    const fc_image *dy = work->dy, *dx = work->dx;
    const int64_t n = dx->n, c = dx->c;
    const bool pixels = c == 1 || (dx->stride_c == 1 && dy->stride_c == 1);
    const bool merged = dx->stride_n == c * dx->stride_c && dy->stride_n == c * dy->stride_c;
    work->pixels = pixels;
    work->outer = pixels || merged ? 1 : n;
    work->inner = pixels ? n : merged ? n * c : c;
    work->channels = pixels ? fc_min(c, MOST) : 1;
    work->dy_inner = pixels ? dy->stride_n : dy->stride_c;
    work->dx_inner = pixels ? dx->stride_n : dx->stride_c;
    work->wide = work->channels >= fc_unit(work->pass->dtype) && work->shared[1] > 1;
    const int64_t unit = fc_unit(work->pass->dtype);
    const bool untransposed = n * c < unit / 2 && (work->axis[1].stride > 2 || dx->w < 2 * unit);
    if (work->shared[1] > 1 && !untransposed)
        return pixels && c > 1;
    return pixels || (dx->stride_w == 1 && dy->stride_w == 1);
}

/* Elements of scratch for a plane: the gradients of a row, what they are stretched to, and rows of sums. */
static int64_t lay_rows(struct work *work)
{
    const int64_t unit = FC_UNIT_BYTES / (int64_t)work->size, channels = work->channels;
    const int64_t given = fc_whole_units(work->columns * channels, unit) + unit;
    const int64_t row = fc_whole_units(work->columns * work->times * channels, unit) + unit;
    work->given_bytes = (size_t)given * work->size;
    work->first = work->whole = 0;
    work->sums = given;
    if (work->shared[1] > 1 && work->times > 1 && !work->wide) {
        work->first = given;
        work->whole = given + (work->kept < work->times ? row : 0);
        work->sums = work->whole + row;
    }
    work->slot = row;
    work->plane = work->sums + work->shared[0] * work->slot;
    return work->plane;
}

static bool cut_axes(struct work *work)
{
    for (int d = 0; d < 2; d++) {
        struct fc_axis *axis = &work->axis[d];
        *axis = work->pass->axis[d].axis;
        if (axis->out == 1)
            axis->stride = axis->taps;
        if (axis->dilation != 1 || axis->in > MOST || axis->taps > MOST || axis->stride > MOST)
            return false;
        work->shared[d] = fc_ceil_div(axis->taps, axis->stride);
        if (work->shared[d] > FC_POOL2D_TAPS)
            return false;
    }
    const struct fc_axis *axis = &work->axis[1];
    work->times = axis->stride;
    work->kept = axis->taps - (work->shared[1] - 1) * work->times;
    work->reached = axis->before + axis->in;
    work->columns =
        fc_max(axis->out, fc_ceil_div(work->reached, axis->stride)) + work->shared[1] - 1;
    return true;
}

static bool make_plan(struct work *work)
{
    const fc_image *dy = work->dy, *dx = work->dx;
    if (!cut_axes(work) || !find_planes(work))
        return false;
    while (lay_rows(work) > MOST && work->channels > 1)
        work->channels = fc_ceil_div(work->channels, 2);
    work->blocks = work->pixels ? fc_ceil_div(dx->c, work->channels) : 1;
    work->packed = work->blocks == 1 && (dx->w == 1 || dx->stride_w == work->channels) &&
                   (dy->w == 1 || dy->stride_w == work->channels);
    const int64_t all = work->outer * work->inner * work->blocks;
    work->group = fc_min(GROUP / work->plane, fc_ceil_div(all, ENOUGH_ITEMS));
    work->group = work->packed ? fc_max(fc_min(work->group, work->inner), 1) : 1;
    work->groups = fc_ceil_div(work->inner, work->group);
    const int64_t items = work->outer * work->groups * work->blocks;
    const struct fc_axis *vertical = &work->axis[0];
    const int64_t windows = fc_ceil_div(vertical->in * items, vertical->stride * ENOUGH_ITEMS);
    work->band = fc_max(windows, BAND_WINDOWS * work->shared[0]) * vertical->stride;
    work->bands = fc_ceil_div(vertical->in, work->band);
    return work->plane <= MOST;
}

static int64_t items_of(const struct work *work)
{
    return work->outer * work->groups * work->blocks * work->bands;
}

static size_t bytes_of(const struct work *work)
{
    return (size_t)(work->group * work->plane) * work->size;
}

bool fc_pool2d_avg_some_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                           const fc_image *dx, void *scratch, size_t *bytes)
{
    struct work work = {
        .pass = pass, .dy = dy, .dx = dx, .size = fc_element_size(pass->dtype), .scratch = scratch};
    if (!make_plan(&work))
        return false;
    *bytes = bytes_of(&work);
    for (int64_t i = 0; scratch && i < items_of(&work); i++)
        run_item(&work, i, 0);
    return true;
}

fc_status fc_pool2d_avg_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                           const fc_image *dx, bool *done)
{
    struct work work = {.pass = pass, .dy = dy, .dx = dx, .size = fc_element_size(pass->dtype)};
    *done = make_plan(&work);
    return *done ? fc_pool2d_run_dx(items_of(&work), dy, dx, bytes_of(&work), &work.scratch,
                                    run_item, &work)
                 : FC_OK;
}
