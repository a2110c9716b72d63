/* pool2d_halves_planes_dx.c: the gradient of maxima over windows of 3 x 3 that step by two, where columns lie
 * together.
 *
 * As where channels do (pool2d_halves_dx.c): as soon as a row of windows is searched, or told from indices, two
 * rows of dx are made up. A plane is read and written in the order of memory, without being parted, and one
 * call does it all, or a band of it. */
#include <stdatomic.h>
#include <string.h>

#include "pool2d_halves_dx.h"
#include "stream.h"
#include "workspace.h"

enum {
    ENOUGH_ITEMS = 16, /* bands of rows are for threads that planes do not feed */
    MANY_UNITS = 3,    /* of a row of windows */
    LEAST_ROWS = 4,    /* of windows in a band, which searches one row twice */
    MOST_COLUMNS = 1 << 14,
    MOST_PIXELS = 1 << 30, /* of a plane: indices fit the lanes */
    ITEM = 1 << 13,        /* elements of dx that an item has, or a plane's */
    LEAST_STAGED =
        16 << 20, /* bytes of dx: 13 MB take 1.2 ms staged on Zen 4, and 1.0 in the cache */
    AHEAD = 4096  /* bytes, or more */
};

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *dy, *indices, *dx;
    size_t size, state_bytes, worker_bytes;
    int64_t planes, shares; /* of an item, and items of an image */
    int64_t bands, band;    /* of a plane, and rows of windows of one */
    bool stream;            /* dx goes past the caches */
    bool staged;            /* so it does from scratch: its rows begin amid cache lines */
    bool fetch;             /* it is fetched before it is stored: memory holds it */
    bool two;               /* planes come side by side */
    char *scratch;
    atomic_bool stray; /* an index lies outside its window */
};

/* Whether there are windows enough: from indices fewer are scattered, 28 in two thirds of the time. */
static bool is_worth(const struct work *work)
{
    const int64_t unit = fc_unit(work->pass->dtype);
    return work->indices ? work->dy->w >= MANY_UNITS * unit : 2 * work->dx->w > unit;
}

static bool make_plan(struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dx = work->dx, *dy = work->dy;
    const fc_image *read = work->indices ? work->indices : &pass->x;
    const int64_t unit = fc_unit(pass->dtype);
    if (!fc_pool2d_axis_halves(&pass->axis[0].axis) ||
        !fc_pool2d_axis_halves(&pass->axis[1].axis) || dx->stride_w != 1 || dy->stride_w != 1 ||
        read->stride_w != 1 || dx->w > MOST_COLUMNS || dx->h > MOST_PIXELS / dx->w ||
        !is_worth(work))
        return false;
    const int64_t pixels = dx->h * dx->w;
    const int64_t bytes = dx->n * dx->c * pixels * (int64_t)work->size;
    work->stream = dx->w % unit == 0 && fc_streams_image(dx, true, (ptrdiff_t)work->size);
    const int64_t staged = fc_max(fc_stream_bytes(), LEAST_STAGED);
    work->staged = bytes >= staged && !work->stream && dx->stride_h == dx->w;
    work->fetch = 4 * bytes >= 3 * staged && !work->stream && !work->staged;
    work->two = !work->indices && !work->staged &&
                dx->w <= pass->kernels->depthwise.vector_bytes / (int64_t)work->size;
    work->state_bytes = fc_round_to_line((size_t)(3 * dx->w + 6 * unit) * work->size);
    work->worker_bytes = work->state_bytes;
    if (work->staged)
        work->worker_bytes +=
            fc_round_to_line((size_t)(2 * FC_POOL2D_HALVES * dx->w) * work->size) + FC_CACHE_LINE;
    const int64_t rows = dy->h + 1;
    work->planes = work->staged ? 1 : fc_min(2 * fc_ceil_div(ITEM, 2 * pixels), dx->c);
    work->shares = fc_ceil_div(dx->c, work->planes);
    const int64_t items = dx->n * work->shares;
    const int64_t bands = items < ENOUGH_ITEMS ? fc_ceil_div(ENOUGH_ITEMS, items) : 1;
    work->band = fc_max(fc_ceil_div(rows, bands), LEAST_ROWS);
    work->bands = fc_ceil_div(rows, work->band);
    return true;
}

/* Bytes of dx that wait for a line to be whole: [skip, held) of those from line `to` on. */
struct stage {
    char *at, *to;
    size_t held, skip;
};

/* Whole lines of what is staged to dx, and the rest to the front. */
static void put_lines(const struct work *work, struct stage *stage)
{
    const size_t lines = stage->held / FC_CACHE_LINE, rest = stage->held % FC_CACHE_LINE;
    const size_t begun = stage->skip > 0 ? FC_CACHE_LINE : 0, all = lines * FC_CACHE_LINE;
    if (lines == 0)
        return;
    if (begun)
        memcpy(stage->to + stage->skip, stage->at + stage->skip, begun - stage->skip);
    work->pass->kernels->pool2d.put_lines(stage->at + begun, stage->to + begun,
                                          (int64_t)((all - begun) / FC_CACHE_LINE));
    memcpy(stage->at, stage->at + all, rest);
    stage->to += all;
    stage->held = rest;
    stage->skip = 0;
}

static bool give(const struct work *work, const struct fc_pool2d_halves_planes *halves)
{
    const struct fc_pool2d_pass *pass = work->pass;
    return pass->kernels->pool2d.halves_planes[work->indices ? FC_AVG : pass->pooling](halves);
}

/* Rows [begin, end) of windows, some at a time, by way of scratch. */
static bool run_staged(const struct work *work, struct fc_pool2d_halves_planes *halves, char *at)
{
    struct stage stage = {.at = at, .skip = (uintptr_t)halves->dx % FC_CACHE_LINE};
    stage.held = stage.skip;
    stage.to = (char *)halves->dx - stage.skip;
    const int64_t end = halves->end;
    bool all = true;
    for (; halves->begin < end; halves->begin = halves->end, halves->fresh = false) {
        halves->end = fc_min(halves->begin + FC_POOL2D_HALVES, end);
        const int64_t row_end = fc_min(2 * halves->end - halves->above, halves->height);
        halves->top = fc_max(2 * halves->begin - halves->above, 0);
        halves->dx = stage.at + stage.held;
        all &= give(work, halves);
        stage.held += (size_t)((row_end - halves->top) * halves->width) * work->size;
        put_lines(work, &stage);
    }
    if (stage.held > stage.skip)
        memcpy(stage.to + stage.skip, stage.at + stage.skip, stage.held - stage.skip);
    return all;
}

/* How far x, or indices, are fetched ahead, in bytes: rows that are walked at a time. */
static ptrdiff_t ahead(const struct work *work)
{
    const fc_image *indices = work->indices;
    const ptrdiff_t rows =
        indices ? FC_POOL2D_HALVES * indices->stride_h * (ptrdiff_t)sizeof(int64_t)
                : 2 * FC_POOL2D_HALVES * work->pass->x.stride_h * (ptrdiff_t)work->size;
    return fc_max(AHEAD, rows);
}

/* What planes of an image have in common. */
static struct fc_pool2d_halves_planes describe(const struct work *work)
{
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dy = work->dy, *dx = work->dx, *indices = work->indices;
    return (struct fc_pool2d_halves_planes){.columns = dy->w,
                                            .rows = dy->h,
                                            .width = dx->w,
                                            .height = dx->h,
                                            .above = pass->axis[0].axis.before,
                                            .before = pass->axis[1].axis.before,
                                            .x_row = pass->x.stride_h,
                                            .dy_row = dy->stride_h,
                                            .index_row = indices ? indices->stride_h : 0,
                                            .dx_row = work->staged ? dx->w : dx->stride_h,
                                            .x_plane = pass->x.stride_c,
                                            .dy_plane = dy->stride_c,
                                            .index_plane = indices ? indices->stride_c : 0,
                                            .dx_plane = dx->stride_c,
                                            .fresh = true,
                                            .two = work->two,
                                            .ahead = ahead(work),
                                            .stream = work->stream,
                                            .fetch = work->fetch};
}

static void run_item(void *context, int64_t item, int worker)
{
    struct work *work = context;
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *dy = work->dy, *dx = work->dx, *indices = work->indices;
    const int64_t first = item % work->bands * work->band;
    item /= work->bands;
    const int64_t n = item / work->shares, c = item % work->shares * work->planes;
    char *scratch = work->scratch + (size_t)worker * work->worker_bytes;
    struct fc_pool2d_halves_planes halves = describe(work);
    halves.planes = fc_min(work->planes, dx->c - c);
    halves.state = scratch;
    halves.begin = first;
    halves.end = fc_min(first + work->band, dy->h + 1);
    halves.top = fc_max(2 * first - halves.above, 0);
    halves.dy = fc_image_at(dy, work->size, n, 0, 0, c);
    halves.dx = fc_image_at(dx, work->size, n, halves.top, 0, c);
    if (indices)
        halves.index = (const int64_t *)(void *)fc_image_at(indices, sizeof(int64_t), n, 0, 0, c);
    else
        halves.x = fc_image_at(&pass->x, work->size, n, 0, 0, c);
    const bool all =
        work->staged ? run_staged(work, &halves, scratch + work->state_bytes) : give(work, &halves);
    if (!all)
        atomic_store_explicit(&work->stray, true, memory_order_relaxed);
}

fc_status fc_pool2d_halves_planes_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                     const fc_image *indices, const fc_image *dx, bool *done)
{
    struct work work = {
        .pass = pass, .dy = dy, .indices = indices, .dx = dx, .size = fc_element_size(pass->dtype)};
    *done = make_plan(&work);
    if (!*done)
        return FC_OK;
    const int64_t items = dx->n * work.shares * work.bands;
    const fc_status status =
        fc_pool2d_run_dx(items, dy, dx, work.worker_bytes, &work.scratch, run_item, &work);
    *done = !atomic_load(&work.stray);
    return status;
}
