/* pool2d_halves_planes_dx.c: the gradient of maxima over windows of 3 x 3 that step by two, where columns lie
 * together.
 *
 * As where channels do (pool2d_halves_dx.c): a row of windows is searched, or told from indices, and two rows
 * of dx are made up at once. A plane is read and written in the order of memory, without being parted. */
#include <stdatomic.h>
#include <string.h>

#include "pool2d_halves_dx.h"
#include "pool2d_winners.h"
#include "stream.h"
#include "workspace.h"

enum {
    ENOUGH_ITEMS = 16, /* bands of rows are for threads that planes do not feed */
    LEAST_ROWS = 4,    /* of windows in a band, which searches one row twice */
    MOST_COLUMNS = 1 << 14,
    MANY_UNITS =
        3, /* of a row of windows: fewer are scattered by indices, 28 in a third of the time */
    AHEAD = 4096 /* bytes of x */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *dy, *indices, *dx;
    size_t size, row_bytes, spare_bytes, worker_bytes;
    int64_t bands, band; /* of a plane, and rows of windows of one */
    bool stream;         /* dx goes past the caches */
    bool staged;         /* so it does from scratch: its rows begin amid cache lines */
    struct fc_pool2d_origins origins;
    char *scratch;
    atomic_bool stray; /* an index lies outside its window */
};

/* What a worker holds of two rows of windows, in turn; and the bytes of dx that wait for a line to be whole:
 * [skip, held) of those from line `to` on. */
struct rows {
    char *numbers[2], *dy[2], *best[2], *columns_won[2], *spare;
    char *stage, *to;
    size_t held, skip;
};

static bool halves(const struct fc_axis *axis)
{
    return axis->taps == 3 && axis->stride == 2 && axis->dilation == 1 && axis->before <= 1 &&
           axis->out > 0 && axis->in + axis->before >= 2 * axis->out &&
           axis->in + axis->before <= 2 * axis->out + 2;
}

static bool make_plan(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dx = work->dx, *dy = work->dy;
    const fc_image *read = work->indices ? work->indices : &pass->x;
    const int64_t unit = fc_unit(pass->dtype);
    struct fc_pool2d_pass narrow = *pass;
    narrow.wide = true;
    if (!halves(&pass->axis[0].axis) || !halves(&pass->axis[1].axis) || dx->stride_w != 1 ||
        dy->stride_w != 1 || read->stride_w != 1 || dy->w < unit || dx->w < 2 * unit ||
        dx->w > MOST_COLUMNS || (work->indices && dy->w < MANY_UNITS * unit) ||
        (work->indices && !fc_pool2d_tells_winners(&narrow)))
        return false;
    work->row_bytes = fc_round_to_line((size_t)(dy->w + 2 * unit) * work->size);
    work->spare_bytes = fc_round_to_line((size_t)dx->w * work->size);
    work->worker_bytes = 8 * work->row_bytes + 3 * work->spare_bytes + FC_CACHE_LINE;
    work->stream = dx->w % unit == 0 && fc_streams_image(dx, true, (ptrdiff_t)work->size);
    work->staged = !work->stream && dx->stride_h == dx->w &&
                   dx->n * dx->c * dx->h * dx->w * (ptrdiff_t)work->size >= fc_stream_bytes();
    const int64_t rows = dy->h + 1, planes = dx->n * dx->c;
    const int64_t bands = planes < ENOUGH_ITEMS ? fc_ceil_div(ENOUGH_ITEMS, planes) : 1;
    work->band = fc_max(fc_ceil_div(rows, bands), LEAST_ROWS);
    work->bands = fc_ceil_div(rows, work->band);
    return true;
}

/* The winners of a row of windows of a plane, none where there is no such row, and its dy. */
static void number_row(struct work *work, int64_t n, int64_t c, int64_t row, bool first,
                       const struct rows *rows, int64_t at)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dy = work->dy;
    char *numbers = rows->numbers[at];
    if (row < 0 || row >= dy->h) {
        memset(numbers - work->size, -1, work->row_bytes - FC_UNIT_BYTES + work->size);
        return;
    }
    if (work->indices) {
        struct fc_pool2d_names names;
        fc_pool2d_name_row(&work->origins, row, work->indices, &names);
        names.index =
            (const int64_t *)(void *)fc_pool2d_at(work->indices, sizeof(int64_t), n, row, 0, c);
        names.numbers = numbers;
        names.planes = 1;
        if (!pass->kernels->pool2d.name(&names))
            atomic_store_explicit(&work->stray, true, memory_order_relaxed);
    } else {
        const struct fc_axis *vertical = &pass->axis[0].axis, *horizontal = &pass->axis[1].axis;
        const int64_t top = row * 2 - vertical->before;
        const int64_t last = top + 2 < vertical->in ? top + 2 : top + 1;
        struct fc_pool2d_halves_search search = {
            .x = {NULL, fc_pool2d_at(&pass->x, work->size, n, top + 1, 0, c),
                  fc_pool2d_at(&pass->x, work->size, n, last, 0, c)},
            .best = {rows->best[1 - at], rows->best[at]},
            .columns_won = {rows->columns_won[1 - at], rows->columns_won[at]},
            .numbers = numbers,
            .columns = dy->w,
            .width = horizontal->in,
            .before = horizontal->before,
            .ahead = AHEAD,
            .first = top < 0 ? 3 : 0};
        if (first || row == 0)
            search.x[0] = fc_pool2d_at(&pass->x, work->size, n, fc_max(top, 0), 0, c);
        pass->kernels->pool2d.halves_search[pass->pooling](&search);
    }
    memset(numbers - work->size, -1, work->size);
    memset(numbers + (size_t)dy->w * work->size, -1, work->size);
    memcpy(rows->dy[at], fc_pool2d_at(dy, work->size, n, row, 0, c), (size_t)dy->w * work->size);
}

/* Whole lines of what is staged to dx, and the rest to the front. */
static void put_lines(const struct work *work, struct rows *rows)
{
    const size_t lines = rows->held / FC_CACHE_LINE, rest = rows->held % FC_CACHE_LINE;
    const size_t begun = rows->skip > 0 ? FC_CACHE_LINE : 0, all = lines * FC_CACHE_LINE;
    if (lines == 0)
        return;
    if (begun)
        memcpy(rows->to + rows->skip, rows->stage + rows->skip, begun - rows->skip);
    work->pass->kernels->pool2d.put_lines(rows->stage + begun, rows->to + begun,
                                          (int64_t)((all - begun) / FC_CACHE_LINE));
    memcpy(rows->stage, rows->stage + all, rest);
    rows->to += all;
    rows->held = rest;
    rows->skip = 0;
}

/* The rows of dx beside row h of windows. */
static void put_rows(const struct work *work, int64_t n, int64_t c, int64_t h, struct rows *rows,
                     int64_t at)
{
    const fc_image *dx = work->dx;
    const int64_t row = 2 * h - work->pass->axis[0].axis.before;
    struct fc_pool2d_halves halves = {.numbers = {rows->numbers[1 - at], rows->numbers[at]},
                                      .dy = {rows->dy[1 - at], rows->dy[at]},
                                      .columns = work->dy->w,
                                      .width = dx->w,
                                      .before = work->pass->axis[1].axis.before,
                                      .stream = work->stream};
    for (int r = 0; r < 2; r++) {
        halves.dx[r] = rows->spare;
        if (row + r < 0 || row + r >= dx->h)
            continue;
        halves.dx[r] = fc_pool2d_at(dx, work->size, n, row + r, 0, c);
        if (work->staged) {
            halves.dx[r] = rows->stage + rows->held;
            rows->held += (size_t)dx->w * work->size;
        }
    }
    work->pass->kernels->pool2d.halves_planes(&halves);
    if (work->staged)
        put_lines(work, rows);
}

static struct rows begin(const struct work *work, int64_t n, int64_t c, int64_t first, int worker)
{
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    struct rows rows = {.spare = scratch + 8 * work->row_bytes};
    for (int i = 0; i < 2; i++) {
        char *row = scratch + (size_t)(4 * i) * work->row_bytes + FC_UNIT_BYTES;
        rows.numbers[i] = row;
        rows.dy[i] = row + work->row_bytes;
        rows.best[i] = row + 2 * work->row_bytes;
        rows.columns_won[i] = row + 3 * work->row_bytes;
    }
    const int64_t row = fc_max(2 * first - work->pass->axis[0].axis.before, 0);
    char *dx = fc_pool2d_at(work->dx, work->size, n, row, 0, c);
    rows.stage = rows.spare + work->spare_bytes;
    rows.held = rows.skip = (uintptr_t)dx % FC_CACHE_LINE;
    rows.to = dx - rows.skip;
    return rows;
}

static void run_band(void *context, int64_t item, int worker)
{
    struct work *work = context;
    const int64_t plane = item / work->bands, first = item % work->bands * work->band;
    const int64_t n = plane / work->dx->c, c = plane % work->dx->c;
    const int64_t end = fc_min(first + work->band, work->dy->h + 1);
    struct rows rows = begin(work, n, c, first, worker);
    number_row(work, n, c, first - 1, true, &rows, 0);
    for (int64_t h = first, at = 1; h < end; h++, at = 1 - at) {
        number_row(work, n, c, h, false, &rows, at);
        put_rows(work, n, c, h, &rows, at);
    }
    if (work->staged && rows.held > rows.skip)
        memcpy(rows.to + rows.skip, rows.stage + rows.skip, rows.held - rows.skip);
}

fc_status fc_pool2d_halves_planes_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                     const fc_image *indices, const fc_image *dx, bool *done)
{
    struct work work = {
        .pass = pass, .dy = dy, .indices = indices, .dx = dx, .size = fc_element_size(pass->dtype)};
    *done = make_plan(&work);
    if (!*done)
        return FC_OK;
    work.origins = (struct fc_pool2d_origins){
        .dtype = pass->dtype, .axis = {pass->axis[0].axis, pass->axis[1].axis}, .channels = 1};
    const size_t table_bytes = indices ? fc_pool2d_origin_bytes(&work.origins) : 0;
    const int64_t items = dx->n * dx->c * work.bands;
    const int width = fc_pool2d_dx_width(items, dy, dx);
    char *scratch = fc_workspace_acquire(table_bytes + (size_t)width * work.worker_bytes);
    if (!scratch)
        return FC_NO_MEMORY;
    if (indices)
        fc_pool2d_set_origins(&work.origins, scratch);
    work.scratch = scratch + table_bytes;
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, run_band, &work);
    fc_workspace_release(scratch);
    *done = !atomic_load(&work.stray);
    return FC_OK;
}
