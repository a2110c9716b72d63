/* pool2d_quads.c: pooling by windows of 2 x 2 that share nothing, where they lie: channels are lanes where
 * they lie together, few as they may be, else columns are. No scratch: x is read once, and dx written
 * once. */
#include "pool2d_quads.h"

#include <stdatomic.h>
#include <string.h>

#include "parallel.h"
#include "stream.h"

enum {
    ITEM = 1 << 15,        /* elements of x that an item reads */
    FEW_COLUMNS = 4,       /* of windows: fewer of them fill lanes less than channels would */
    MOST_PIXELS = 1 << 30, /* of a plane: indices fit the lanes */
    LEAST_ALONE =
        16 << 20,        /* bytes of a result that is stored past the caches, where x is not read */
    FETCHED = 2,         /* windows at a time, whose x is asked for ahead, */
    FETCHED_LANES = 128, /* or of a row of planes */
    AHEAD = 1 << 14,     /* bytes that it lies ahead, */
    AHEAD_PIXELS = 1 << 12,         /* or where channels are lanes */
    LEAST_FETCHED_QUADS = 16 << 20, /* bytes of such an x, */
    LEAST_PIXEL = 1 << 8,           /* and of a pixel of it, */
    MOST_PIXEL = 1 << 12,
    LEAST_ROW = 640 /* or of a row of planes */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *x, *dy, *indices, *dx; /* NULL where there is none */
    bool marks;                            /* are what `indices` holds */
    const fc_image *y;
    struct fc_pool2d_quads quads;
    bool columns;                 /* are lanes */
    bool fetches;                 /* x ahead */
    bool follow;                  /* do the lines of a plane those of the one before it */
    int64_t planes, lines, share; /* lines of windows of a plane, and of an item */
    atomic_bool stray;
};

static bool has_quads(const struct fc_axis *axis)
{
    return axis->taps == 2 && axis->stride == 2 && axis->dilation == 1 && axis->before == 0 &&
           2 * axis->out <= axis->in;
}

/* Chooses lanes; false where they do not lie together in all images. */
static bool choose_lanes(struct work *work, const fc_image *const *images, int count)
{
    bool pixels = true, planes = true;
    for (int i = 0; i < count; i++) {
        pixels = pixels && (images[i]->c == 1 || images[i]->stride_c == 1);
        planes = planes && images[i]->stride_w == 1;
    }
    const struct fc_axis *axis = &work->pass->axis[1].axis;
    work->columns = planes && (images[0]->c == 1 || !pixels);
    return work->columns ? axis->out >= FEW_COLUMNS : pixels;
}

/* Whether results of whole vectors, side by side, are stored past the caches: dx of VGG's first pooling, 103 MB,
 * took 18 ms, and takes 9. Where x is read too 13 MB went from 0.87 to 0.44 on Zen 4, but an average's gradient, which
 * reads a quarter of what it writes, from 0.21 to 0.45. */
static bool streams(const struct work *work)
{
    const fc_image *to = work->dx ? work->dx : work->y;
    const ptrdiff_t size = (ptrdiff_t)fc_element_size(work->pass->dtype);
    const ptrdiff_t apart =
        work->columns ? to->stride_c | work->quads.columns : to->stride_w | work->quads.lanes;
    const ptrdiff_t steps = to->stride_n | to->stride_h | apart;
    const int64_t bytes = to->n * to->h * to->w * to->c * size;
    return (work->x || bytes >= LEAST_ALONE) && fc_streams(to->data, bytes, steps * size);
}

/* Whether x is fetched before it is read. Two rows of planes side by side, of 640 bytes and more, are followed so badly
 * that VGG's first pooling took 10.0 ms on Zen 4 and takes 3.7, in float64 18.9 and 11.6, and back 12.5 and takes 8.6;
 * of 512 bytes the asking takes a quarter longer, and dy needs none. Four runs of lines, of a pixel each, break off
 * when the prefetcher has just begun: on Zen 5 VGG's first pooling with channels together, 256 bytes a pixel, takes 3.4
 * ms, not 3.8, back 4.9 and not 6.2, in float64 8.3 and not 12.1, back 9.7 and not 15, an average of 8x56x56x128 of
 * float64 0.65, not 0.75. Planes want their lines 16 KB ahead, these no more than 4; and near caches, since of what
 * is asked for at once for farther ones there Zen 5 forgets some: 10.7 for those 8.3. Pixels of 8 KB lost up to a
 * tenth, and in the kernel what the cache holds did: to ask by the vector there took 0.91 ms of 1.38 for a maximum of
 * 8x56x56x256, but a question more in it 9 % of all others. */
static bool fetches(const struct work *work)
{
    const fc_image *x = work->x;
    const int64_t size = (int64_t)fc_element_size(work->pass->dtype);
    if (!x || x->n * x->h * x->w * x->c < LEAST_FETCHED_QUADS / size)
        return false;
    if (work->columns)
        return 2 * work->quads.columns * size >= LEAST_ROW;
    return work->quads.lanes >= LEAST_PIXEL / size && work->quads.lanes <= MOST_PIXEL / size;
}

/* Whether the lines of windows of all planes follow each other in an image, of `rows` rows each. */
static bool follow(const struct work *work, const fc_image *image, int64_t rows)
{
    if (!image)
        return true;
    const ptrdiff_t plane = image->h * image->stride_h;
    const int64_t channels = work->columns ? image->c : 1;
    return image->h == rows * work->pass->axis[0].axis.out &&
           (image->n == 1 || image->stride_n == channels * plane) &&
           (channels == 1 || image->stride_c == plane);
}

static bool make_plan(struct work *work, const fc_image *const *images, int count)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const struct fc_axis *vertical = &pass->axis[0].axis, *horizontal = &pass->axis[1].axis;
    struct fc_pool2d_quads *quads = &work->quads;
    if (!has_quads(vertical) || !has_quads(horizontal) ||
        vertical->in > MOST_PIXELS / horizontal->in || !choose_lanes(work, images, count))
        return false;
    const fc_image *windows = work->dy ? work->dy : work->y;
    quads->columns = windows->w;
    quads->lanes = work->columns ? 1 : windows->c;
    quads->width = horizontal->in;
    quads->rows = vertical->out;
    work->follow = follow(work, work->x, 2) && follow(work, work->dx, 2) &&
                   follow(work, windows, 1) && follow(work, work->indices, 1);
    fc_pool2d_steps(windows, &quads->y_row, &quads->y_pixel);
    fc_pool2d_steps(work->x, &quads->x_row, &quads->x_pixel);
    fc_pool2d_steps(work->dx, &quads->dx_row, &quads->dx_pixel);
    fc_pool2d_steps(work->indices, &quads->index_row, &quads->index_pixel);
    work->planes = images[0]->n * (work->columns ? images[0]->c : 1);
    work->lines = vertical->out;
    quads->stream = streams(work);
    work->fetches = fetches(work);
    work->share = fc_max(ITEM / (4 * quads->columns * quads->lanes), 1);
    return true;
}

/* --------------------------------------------------------------------- work */

/* Pixels that no window holds: [row, row_end) x [column, column_end). */
static void clear(const struct work *work, char *plane, int64_t row, int64_t row_end,
                  int64_t column, int64_t column_end)
{
    const fc_image *dx = work->dx;
    const size_t size = fc_element_size(work->pass->dtype);
    const int64_t channels = work->columns ? 1 : dx->c;
    const int64_t together = dx->stride_w == channels ? column_end - column : 1;
    for (int64_t r = row; column < column_end && r < row_end; r++)
        for (int64_t w = column; w < column_end; w += together)
            memset(plane + (r * dx->stride_h + w * dx->stride_w) * (ptrdiff_t)size, 0,
                   (size_t)(together * channels) * size);
}

static char *plane_of(const struct work *work, const fc_image *image, size_t size, int64_t plane,
                      int64_t row)
{
    const int64_t channels = work->columns ? image->c : 1;
    return fc_image_at(image, size, plane / channels, row, 0, plane % channels);
}

static void run_quads(struct work *work, const struct fc_pool2d_quads *quads)
{
    const struct fc_pool2d_pass *pass = work->pass;
    if (!work->dx)
        pass->kernels->pool2d.quads[pass->pooling](quads);
    else if (!pass->kernels->pool2d.quads_dx[pass->pooling](quads) && !work->marks)
        atomic_store_explicit(&work->stray, true, memory_order_relaxed);
}

/* Lines of windows a few at a time, while what comes later in either row of x is asked for. */
static void fetch_lines(struct work *work, const struct fc_pool2d_quads *lines)
{
    const ptrdiff_t size = (ptrdiff_t)fc_element_size(work->pass->dtype);
    const int64_t together = work->columns ? FETCHED_LANES : FETCHED;
    const ptrdiff_t ahead = work->columns ? AHEAD : AHEAD_PIXELS;
    for (int64_t line = 0; line < lines->lines; line++)
        for (int64_t column = 0; column < lines->columns; column += together) {
            struct fc_pool2d_quads some = *lines;
            const ptrdiff_t x = 2 * (line * lines->x_row + column * lines->x_pixel);
            const ptrdiff_t y = line * lines->y_row + column * lines->y_pixel;
            const ptrdiff_t dx = 2 * (line * lines->dx_row + column * lines->dx_pixel);
            const ptrdiff_t mark = line * lines->index_row + column * lines->index_pixel;
            some.lines = 1;
            some.columns = fc_min(lines->columns - column, together);
            some.x = (const char *)lines->x + x * size;
            some.y = work->dx ? NULL : (char *)lines->y + y * size;
            some.dy = work->dx ? (const char *)lines->dy + y * size : NULL;
            some.dx = work->dx ? (char *)lines->dx + dx * size : NULL;
            some.mark = lines->mark ? (char *)lines->mark + mark * size : NULL;
            const ptrdiff_t bytes = 2 * some.columns * lines->x_pixel * size;
            for (ptrdiff_t at = ahead; at < ahead + bytes; at += FC_CACHE_LINE)
                for (int i = 0; i < 2; i++)
                    __builtin_prefetch((const char *)some.x + i * lines->x_row * size + at, 0, 3);
            run_quads(work, &some);
        }
}

/* Lines [line, end) of windows of a plane, or of those from it on. */
static void run_lines(struct work *work, int64_t plane, int64_t line, int64_t end)
{
    const size_t size = fc_element_size(work->pass->dtype);
    struct fc_pool2d_quads quads = work->quads;
    quads.lines = end - line;
    if (work->x)
        quads.x = plane_of(work, work->x, size, plane, 2 * line);
    if (work->marks)
        quads.mark = plane_of(work, work->indices, size, plane, line);
    if (!work->dx) {
        quads.y = plane_of(work, work->y, size, plane, line);
        (work->fetches ? fetch_lines : run_quads)(work, &quads);
        return;
    }
    quads.dy = plane_of(work, work->dy, size, plane, line);
    quads.dx = plane_of(work, work->dx, size, plane, 2 * line);
    if (work->indices && !work->marks) {
        quads.index =
            (const int64_t *)(void *)plane_of(work, work->indices, sizeof(int64_t), plane, line);
        quads.row = line;
        const bool rows_together = quads.index_row == quads.columns * quads.lanes;
        const bool together = rows_together && quads.index_pixel == quads.lanes;
        quads.together = together ? quads.lines : 0;
    }
    (work->fetches ? fetch_lines : run_quads)(work, &quads);
    const fc_image *dx = work->dx;
    char *first = plane_of(work, dx, size, plane, 0);
    clear(work, first, 2 * line, 2 * end, 2 * work->dy->w, dx->w);
    if (end == work->lines)
        clear(work, first, 2 * end, dx->h, 0, dx->w);
}

static void run_item(void *context, int64_t item, int worker)
{
    (void)worker;
    struct work *work = context;
    const int64_t all = work->planes * work->lines;
    const int64_t last = fc_min((item + 1) * work->share, all);
    for (int64_t at = item * work->share, count; at < last; at += count) {
        const int64_t line = at % work->lines;
        count = work->follow ? last - at : fc_min(work->lines - line, last - at);
        run_lines(work, at / work->lines, line, line + count);
    }
}

static void run(struct work *work)
{
    const int64_t items = fc_ceil_div(work->planes * work->lines, work->share);
    const double windows = (double)work->planes * (double)work->lines *
                           (double)work->quads.columns * (double)work->quads.lanes;
    fc_parallel_for(items, fc_parallel_width(items, 4 * FC_WORK_PER_TAP * windows),
                    FC_KEEP_DENORMALS, run_item, work);
}

fc_status fc_pool2d_quads_forward(const struct fc_pool2d_pass *pass, const fc_image *y,
                                  const fc_image *marks, bool *done)
{
    struct work work = {.pass = pass, .x = &pass->x, .y = y, .indices = marks, .marks = marks};
    const fc_image *images[] = {work.x, y, marks ? marks : y};
    *done = !pass->numbered && make_plan(&work, images, 3);
    if (*done)
        run(&work);
    return FC_OK;
}

static fc_status quads_dx(struct work *work, bool *done)
{
    const fc_image *more = work->x ? work->x : work->indices ? work->indices : work->dy;
    *done = make_plan(work, (const fc_image *[]){work->dx, work->dy, more}, 3);
    if (!*done)
        return FC_OK;
    run(work);
    *done = !atomic_load(&work->stray);
    return FC_OK;
}

fc_status fc_pool2d_quads_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                             const fc_image *indices, const fc_image *dx, bool *done)
{
    const bool searched = pass->pooling != FC_AVG && !indices;
    struct work work = {
        .pass = pass, .x = searched ? &pass->x : NULL, .dy = dy, .indices = indices, .dx = dx};
    return quads_dx(&work, done);
}

fc_status fc_pool2d_quads_marked_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                    const fc_image *marks, int64_t stops, const fc_image *dx,
                                    bool *done)
{
    struct work work = {
        .pass = pass, .dy = dy, .indices = marks, .marks = true, .dx = dx, .quads.stops = stops};
    return quads_dx(&work, done);
}
