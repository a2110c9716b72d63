/* pool2d_halves_dx.c: the gradient of maxima over windows of 3 x 3 that step by two, where channels lie
 * together.
 *
 * The winners of two rows of windows are kept, as numbers of taps, with a column of no window's at either end;
 * each row that is searched, or told from indices, makes up two rows of dx. So x is read, and dx written, in
 * the order of memory and by turns. Where vectors are lines and x has no NaN, both are one walk, which keeps no
 * numbers. */
#include "pool2d_halves_dx.h"

#include <stdatomic.h>
#include <string.h>

#include "pool2d_winners.h"
#include "stream.h"
#include "workspace.h"

enum {
    ENOUGH_ITEMS = 16, /* bands of rows are for threads that images do not feed */
    LEAST_ROWS = 4,    /* of windows in a band, which searches one row twice */
    ROW = 1 << 15,     /* elements of a row of windows, at most */
    AHEAD = 6          /* rows of x; 3 to 8 do alike */
};

struct work {
    struct fc_pool2d_pass pass;
    const fc_image *dy, *indices, *dx;
    size_t size, row_bytes, spare_bytes, search_bytes, worker_bytes;
    int64_t bands, band; /* of an image, and rows of windows of one */
    ptrdiff_t row;       /* elements of a row of windows */
    bool stream, walks;
    char *scratch;
    atomic_bool stray; /* an index lies outside its window */
};

/* Whether winners are searched for and take their gradients in one walk, and what that keeps. */
static bool walks(const struct work *work, size_t *bytes)
{
    const fc_image *dx = work->dx, *dy = work->dy;
    const struct fc_pool2d_pass *pass = &work->pass;
    const size_t vector = (size_t)pass->kernels->depthwise.vector_bytes;
    *bytes = ((size_t)dx->c * work->size / vector + 1) * (size_t)(4 * dy->w + 5) * vector;
    return !work->indices && pass->kernels->pool2d.halves_pixels[pass->pooling] &&
           fc_pool2d_axis_halves(&pass->axis[0].axis) && fc_pool2d_axis_halves(&pass->axis[1].axis);
}

static bool make_plan(struct work *work)
{
    struct fc_pool2d_pass *pass = &work->pass;
    const fc_image *dx = work->dx, *dy = work->dy;
    const fc_image *read = work->indices ? work->indices : &pass->x;
    if (!fc_pool2d_axis_steps_by_two(&pass->axis[0].axis) ||
        !fc_pool2d_axis_steps_by_two(&pass->axis[1].axis) || dx->stride_c != 1 ||
        dx->stride_w != dx->c || dy->stride_c != 1 || read->stride_c != 1 ||
        dx->c < fc_unit(pass->dtype) || dx->c > ROW / (dy->w + 2))
        return false;
    fc_pool2d_number_taps(pass, pass->axis[1].axis.taps, 1);
    if (fc_pool2d_plan(pass) != FC_OK || (work->indices && !fc_pool2d_tells_winners(pass)) ||
        pass->piecewise || pass->channels < dx->c || pass->columns < dy->w)
        return false;
    pass->y.stride_c = pass->indices.stride_c = 1;
    pass->y.stride_w = pass->indices.stride_w = dx->c;
    pass->y.stride_h = pass->indices.stride_h = 0;
    work->row = (dy->w + 2) * dx->c;
    work->row_bytes = fc_round_to_line((size_t)work->row * work->size + FC_UNIT_BYTES);
    work->search_bytes = work->indices ? 0 : fc_pool2d_scratch(pass);
    size_t state_bytes;
    work->walks = walks(work, &state_bytes);
    if (work->walks)
        work->search_bytes = work->search_bytes > state_bytes ? work->search_bytes : state_bytes;
    work->spare_bytes = fc_round_to_line((size_t)(dx->w * dx->c) * work->size);
    work->worker_bytes = work->search_bytes + 3 * work->row_bytes + work->spare_bytes;
    work->stream = (size_t)dx->c * work->size % FC_CACHE_LINE == 0 &&
                   fc_streams_image(dx, false, (ptrdiff_t)work->size);
    const int64_t rows = dy->h + 1;
    const bool bands_help = dx->n < ENOUGH_ITEMS && fc_pool2d_dx_width(ENOUGH_ITEMS, dy, dx) > 1;
    const int64_t bands = bands_help ? fc_ceil_div(ENOUGH_ITEMS, dx->n) : 1;
    work->band = fc_max(fc_ceil_div(rows, bands), LEAST_ROWS);
    work->bands = fc_ceil_div(rows, work->band);
    return true;
}

/* The winners of a row of windows of an image, none where there is no such row. */
static void number_row(struct work *work, int64_t n, int64_t row, char *numbers, char *scratch)
{
    const fc_image *dy = work->dy;
    const size_t pixel = (size_t)dy->c * work->size;
    if (row < 0 || row >= dy->h) {
        memset(numbers, -1, (size_t)work->row * work->size);
        return;
    }
    const struct fc_pool2d_block block = {
        .image = n, .row = row, .row_end = row + 1, .column_end = dy->w, .channels = dy->c};
    char *first = numbers + pixel;
    if (!work->indices)
        fc_pool2d_run_block(&work->pass, &block, scratch + work->search_bytes,
                            (int64_t *)(void *)first, scratch);
    else if (!fc_pool2d_take_winners(&work->pass, &block, work->indices, first, NULL))
        atomic_store_explicit(&work->stray, true, memory_order_relaxed);
    memset(numbers, -1, pixel);
    memset(first + (size_t)dy->w * pixel, -1, pixel);
}

/* The rows of dx beside row h of windows. */
static void put_rows(const struct work *work, int64_t n, int64_t h, const char *above,
                     const char *numbers, char *spare)
{
    const fc_image *dy = work->dy, *dx = work->dx, *x = &work->pass.x;
    const int64_t row = 2 * h - work->pass.axis[0].axis.before;
    struct fc_pool2d_halves halves = {
        .numbers = {above, numbers},
        .dy = {fc_image_at(dy, work->size, n, fc_max(h - 1, 0), 0, 0),
               fc_image_at(dy, work->size, n, fc_min(h, dy->h - 1), 0, 0)},
        .columns = dy->w,
        .width = dx->w,
        .lanes = dx->c,
        .before = work->pass.axis[1].axis.before,
        .dy_column = dy->stride_w,
        .dx_column = dx->stride_w,
        .x_row = x->stride_h,
        .x_ahead = !work->indices && row + AHEAD < dx->h
                       ? fc_image_at(x, work->size, n, row + AHEAD, 0, 0)
                       : NULL,
        .stream = work->stream && row >= 0 && row + 1 < dx->h};
    for (int r = 0; r < 2; r++)
        halves.dx[r] =
            row + r >= 0 && row + r < dx->h ? fc_image_at(dx, work->size, n, row + r, 0, 0) : spare;
    work->pass.kernels->pool2d.halves(&halves);
}

/* The same for all rows of a band. False: x has a NaN. */
static bool walk_band(const struct work *work, int64_t n, int64_t first, int64_t end, char *state)
{
    const fc_image *dy = work->dy, *dx = work->dx, *x = &work->pass.x;
    const int64_t above = work->pass.axis[0].axis.before;
    const bool below = 2 * (end - 1) - above < dx->h;
    return work->pass.kernels->pool2d.halves_pixels[work->pass.pooling](
        &(struct fc_pool2d_halves_pixels){.x = fc_image_at(x, work->size, n, 0, 0, 0),
                                          .dy = fc_image_at(dy, work->size, n, 0, 0, 0),
                                          .dx = fc_image_at(dx, work->size, n, 0, 0, 0),
                                          .state = state,
                                          .columns = dy->w,
                                          .rows = dy->h,
                                          .width = dx->w,
                                          .height = dx->h,
                                          .lanes = dx->c,
                                          .above = above,
                                          .before = work->pass.axis[1].axis.before,
                                          .begin = fc_max(first - 1, 0),
                                          .end = below ? end : end - 1,
                                          .top = fc_max(2 * first - above, 0),
                                          .x_row = x->stride_h,
                                          .x_pixel = x->stride_w,
                                          .dy_row = dy->stride_h,
                                          .dy_pixel = dy->stride_w,
                                          .dx_row = dx->stride_h,
                                          .dx_pixel = dx->stride_w,
                                          .stream = work->stream});
}

static void run_band(void *context, int64_t item, int worker)
{
    struct work *work = context;
    const int64_t n = item / work->bands, first = item % work->bands * work->band;
    const int64_t end = fc_min(first + work->band, work->dy->h + 1);
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    if (work->walks && walk_band(work, n, first, end, scratch))
        return;
    char *numbers[2], *spare = scratch + work->search_bytes + 3 * work->row_bytes;
    for (int i = 0; i < 2; i++)
        numbers[i] = scratch + work->search_bytes + (size_t)(1 + i) * work->row_bytes;
    number_row(work, n, first - 1, numbers[0], scratch);
    for (int64_t h = first, at = 1; h < end; h++, at = 1 - at) {
        number_row(work, n, h, numbers[at], scratch);
        put_rows(work, n, h, numbers[1 - at], numbers[at], spare);
    }
}

fc_status fc_pool2d_halves_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                              const fc_image *indices, const fc_image *dx, bool *done)
{
    struct work work = {.pass = *pass,
                        .dy = dy,
                        .indices = indices,
                        .dx = dx,
                        .size = fc_element_size(pass->dtype)};
    *done = make_plan(&work);
    if (!*done)
        return FC_OK;
    const int64_t items = dx->n * work.bands;
    const fc_status status =
        fc_pool2d_run_dx(items, dy, dx, work.worker_bytes, &work.scratch, run_band, &work);
    *done = !atomic_load(&work.stray);
    return status;
}
