/* pool2d_search_dx.c: the gradient of a maximum or minimum, scattered to winners that are searched for.
 *
 * A window's winner is that of the winners of its rows, and theirs are found for all windows at once, a row being
 * made of narrower ones: what that takes grows with the logarithm of the window's size. Each then takes its
 * gradient, a load, an addition and a store, in the order of the windows.
 *
 * A block is some rows of windows, of channels that lie together or of a few planes. Its pixels are keys in
 * scratch, pixels beyond the edges copies of those at them: a copy wins nothing that its original has not won,
 * and has its number, which is where in dx it lies. */
#include "pool2d_search_dx.h"

#include <string.h>

#include "pool2d_winners.h"
#include "workspace.h"
#include "zero_image.h"

enum {
    BLOCK = 128 * 1024, /* bytes of keys, and as many of their numbers */
    MOST = 512 * 1024,  /* where a window's rows are so long */
    LONGEST = 1 << 14,  /* windows and steps */
    LONG = 8,           /* vectors of a row, which then is searched by itself */
    MANY_CHANNELS = 1 << 10,
    MOST_PIXELS = 1 << 12, /* of a step: beyond them the arithmetic below would overflow */
    ENOUGH_ITEMS = 16
};

struct work {
    const struct fc_pool2d_pass *pass;
    const struct fc_axis *vertical, *horizontal;
    const fc_image *x, *dy, *dx;
    size_t size;
    bool planes;                 /* columns lie together, not channels */
    int64_t channels, groups;    /* of a block, and blocks of channels */
    int64_t lanes;               /* channels that lie together in scratch */
    int64_t columns, used;       /* of a padded row, and those of the image */
    int64_t rows, held;          /* of windows in a block, and padded ones of the image */
    ptrdiff_t pixel, row, plane; /* elements from one to the next, in scratch */
    bool apart;                  /* rows are searched one by one */
    size_t array_bytes;
    char *table, *scratch;
};

/* A block at work. */
struct block {
    int64_t image, channel, channels;
    int64_t row, rows, held; /* of windows, and padded rows that they need */
    int64_t top, first, end; /* the first of those, and [first, end) that lie on the image */
    char *keys, *numbers;
};

/* -------------------------------------------------------------------- plan */

/* Bytes of keys for that many rows of windows. */
static int64_t set_rows(struct work *work, int64_t rows)
{
    const struct fc_axis *vertical = work->vertical;
    work->rows = rows;
    work->held = (rows - 1) * vertical->stride + vertical->taps;
    work->plane = work->held * work->row + fc_unit(work->pass->dtype);
    return work->plane * (work->planes ? work->channels : 1) * (int64_t)work->size;
}

/* Between rows, and between planes, there is room for what vectors write beyond their ends. */
static void set_channels(struct work *work, int64_t channels)
{
    const int64_t unit = fc_unit(work->pass->dtype);
    work->channels = channels;
    work->lanes = work->planes ? 1 : channels;
    work->pixel = work->lanes < unit ? work->lanes : fc_ceil_div(work->lanes, unit) * unit;
    work->row = work->columns * work->pixel;
    work->apart = work->pixel >= unit && work->row >= LONG * unit;
    work->row = work->apart ? work->row + unit : fc_max(work->row, unit);
}

/* Whether that is less than to look at every element of each window, and then of dx at every window that it lies
 * in. In cycles of Zen 4 a pixel's keys and their duels take 3 and a window 2; there an element takes 0.25, or
 * 0.5 where they are too many for a table, and more where few channels lie together, or planes are
 * rearranged. In hundredths and whole numbers, which leave the caller's inexact flag alone. */
static bool is_worth(const struct work *work)
{
    const int64_t taps = work->vertical->taps * work->horizontal->taps;
    const int64_t pixels = work->vertical->stride * work->horizontal->stride;
    const bool few = work->dx->c < fc_unit(work->pass->dtype);
    int64_t each = work->planes ? (few ? 45 : 30) : (few ? 125 : 25);
    if (taps > FC_POOL2D_TAPS)
        each *= 2;
    return pixels <= MOST_PIXELS && each * taps * (pixels + 1) > 100 * (3 * pixels + 2) * pixels;
}

static bool slides(const struct fc_axis *axis)
{
    return axis->dilation == 1 && axis->out > 0 && axis->taps <= LONGEST &&
           axis->before < axis->taps;
}

/* As many channels as leave room for rows that overlap little, and for the threads something to do. */
static void choose_channels(struct work *work)
{
    const struct fc_axis *vertical = work->vertical;
    const int64_t enough = fc_min(fc_ceil_div(vertical->taps, vertical->stride), vertical->out);
    const int64_t few = work->planes ? 1 : fc_unit(work->pass->dtype);
    const int threads = fc_pool2d_dx_width(ENOUGH_ITEMS, work->dy, work->dx);
    const int64_t c = work->dx->c, n = work->dx->n;
    set_channels(work, fc_min(c, work->planes ? FC_POOL2D_ABREAST : MANY_CHANNELS));
    while (work->channels > few &&
           (set_rows(work, enough) > BLOCK || fc_ceil_div(c, work->channels) * n < threads))
        set_channels(work, fc_ceil_div(work->channels, 2));
    work->groups = fc_ceil_div(c, work->channels);
}

static bool make_plan(struct work *work)
{
    const struct fc_axis *vertical = work->vertical, *horizontal = work->horizontal;
    const fc_image *images[] = {work->x, work->dy, work->dx}, *dx = work->dx;
    bool planes = true, pixels = true;
    for (int i = 0; i < 3; i++) {
        planes = planes && images[i]->stride_w == 1;
        pixels = pixels && images[i]->stride_c == 1;
    }
    work->planes = planes && !(pixels && dx->c >= fc_unit(work->pass->dtype));
    if ((!planes && !pixels) || !slides(vertical) || !slides(horizontal) ||
        horizontal->out > LONGEST / horizontal->stride || vertical->stride > LONGEST ||
        !is_worth(work))
        return false;
    work->columns = (horizontal->out - 1) * horizontal->stride + horizontal->taps;
    work->used = fc_min(horizontal->in, work->columns - horizontal->before);
    choose_channels(work);
    if (set_rows(work, 1) > MOST)
        return false;
    int64_t rows = vertical->out;
    while (rows > 1 && set_rows(work, rows) > BLOCK)
        rows = fc_ceil_div(rows, 2);
    work->array_bytes = fc_round_to_line((size_t)set_rows(work, rows) + 2 * FC_UNIT_BYTES);
    /* Numbers fit 31 bits. */
    return dx->stride_h >= 0 && dx->stride_w >= 0 && dx->stride_h <= INT32_MAX / work->held / 4 &&
           dx->stride_w <= INT32_MAX / work->columns / 4;
}

/* Where elements of a plane in scratch lie in dx, from the block's first row on: those of a row, and then the rows
 * below it. */
static void set_table(const struct work *work)
{
    const struct fc_axis *horizontal = work->horizontal;
    const int64_t row = work->row, all = work->held * row, stride = work->dx->stride_h;
    memset(work->table, 0, (size_t)row * work->size);
    for (int64_t c = 0; c < work->columns; c++) {
        const int64_t column = fc_max(fc_min(c - horizontal->before, horizontal->in - 1), 0);
        for (int64_t l = 0; l < work->lanes; l++)
            fc_pool2d_set_entry(work->table, work->pass->dtype, c * work->pixel + l,
                                column * work->dx->stride_w + l);
    }
    int32_t *narrow = (void *)work->table;
    int64_t *wide = (void *)work->table;
    if (work->size == sizeof *narrow)
        for (int64_t i = row; i < all; i++)
            narrow[i] = narrow[i - row] + (int32_t)stride;
    else
        for (int64_t i = row; i < all; i++)
            wide[i] = wide[i - row] + stride;
}

/* ------------------------------------------------------------------ search */

/* Elements of scratch, as bytes. */
static ptrdiff_t bytes(const struct work *work, ptrdiff_t elements)
{
    return elements * (ptrdiff_t)work->size;
}

/* The widths that make up a window: three of them as long as so many are less than it, and the last of two or
 * three that overlap. */
static int64_t widen(int64_t width, int64_t taps, ptrdiff_t step, struct fc_pool2d_duel *duel)
{
    const bool two = taps <= 2 * width || (taps > 3 * width && taps <= 4 * width);
    const int64_t all = fc_min(taps, (two ? 2 : 3) * width);
    duel->middle = two ? 0 : width * step;
    duel->last = (all - width) * step;
    return all;
}

static void search_columns(const struct work *work, const struct block *block)
{
    const int64_t rows = block->end - block->first, taps = work->horizontal->taps;
    const ptrdiff_t at = bytes(work, block->first * work->row);
    const bool apart = work->apart;
    const int64_t planes = work->planes ? block->channels : 1;
    struct fc_pool2d_duel duel = {.keys = block->keys + at,
                                  .numbers = block->numbers + at,
                                  .table = work->table + at,
                                  .rows = apart ? rows : planes,
                                  .row = apart ? work->row : work->plane,
                                  .table_row = apart ? work->row : 0};
    int64_t width = 1;
    do {
        width = widen(width, taps, work->pixel, &duel);
        duel.lanes =
            (work->columns - width + 1) * work->pixel + (apart ? 0 : (rows - 1) * work->row);
        work->pass->kernels->pool2d.duel(&duel);
        duel.table = NULL;
    } while (width < taps);
}

/* Winners of the rows beyond the image are those of the row at the edge. */
static void repeat_rows(const struct work *work, const struct block *block)
{
    const size_t row = (size_t)bytes(work, work->row);
    const int64_t planes = work->planes ? block->channels : 1;
    char *arrays[] = {block->keys, block->numbers};
    for (int64_t p = 0; p < 2 * planes; p++) {
        char *array = arrays[p % 2] + bytes(work, p / 2 * work->plane);
        for (int64_t r = 0; r < block->held; r++) {
            const int64_t from = r < block->first ? block->first : block->end - 1;
            if (r < block->first || r >= block->end)
                memcpy(array + (size_t)r * row, array + (size_t)from * row, row);
        }
    }
}

/* Of the last rows of windows those that are wanted. */
static void search_rows(const struct work *work, const struct block *block)
{
    const int64_t taps = work->vertical->taps, stride = work->vertical->stride;
    const int64_t lanes = (work->columns - work->horizontal->taps + 1) * work->pixel;
    const int64_t planes = work->planes ? block->channels : 1;
    for (int64_t width = 1; width < taps;) {
        struct fc_pool2d_duel duel = {.keys = block->keys, .numbers = block->numbers};
        width = widen(width, taps, work->row, &duel);
        const bool last = width == taps && stride > 1, apart = work->apart || last;
        duel.row = work->plane;
        duel.rows = planes;
        duel.lanes = (block->held - width + 1) * work->row;
        if (apart) {
            duel.row = last ? stride * work->row : work->row;
            duel.rows = last ? block->rows : block->held - width + 1;
            duel.lanes = lanes;
        }
        for (int64_t p = 0; p < (apart ? planes : 1); p++) {
            work->pass->kernels->pool2d.duel(&duel);
            duel.keys = (char *)duel.keys + bytes(work, work->plane);
            duel.numbers = (char *)duel.numbers + bytes(work, work->plane);
        }
    }
}

static void search(const struct work *work, const struct block *block)
{
    const fc_image *x = work->x;
    struct fc_pool2d_keys keys = {.keys = block->keys + bytes(work, block->first * work->row),
                                  .pooling = work->pass->pooling,
                                  .rows = block->end - block->first,
                                  .columns = work->used,
                                  .lanes = work->planes ? 1 : block->channels,
                                  .pixel = work->pixel,
                                  .before = work->horizontal->before,
                                  .x_row = x->stride_h,
                                  .x_pixel = x->stride_w,
                                  .key_row = work->row};
    keys.after = work->columns - keys.before - keys.columns;
    for (int64_t p = 0; p < (work->planes ? block->channels : 1); p++) {
        keys.x = fc_pool2d_at(x, work->size, block->image, block->top + block->first, 0,
                              block->channel + p);
        work->pass->kernels->pool2d.search_keys(&keys);
        keys.keys = (char *)keys.keys + bytes(work, work->plane);
    }
    search_columns(work, block);
    repeat_rows(work, block);
    search_rows(work, block);
}

/* ---------------------------------------------------------------------- dx */

static void toss(const struct work *work, const struct block *block)
{
    const fc_image *dy = work->dy, *dx = work->dx;
    const bool planes = work->planes;
    struct fc_pool2d_toss toss = {
        .numbers = block->numbers,
        .dx = fc_pool2d_at(dx, work->size, block->image, block->top, 0, block->channel),
        .windows = dy->w,
        .lanes = block->channels,
        .number_window = work->horizontal->stride * work->pixel,
        .number_lane = planes ? work->plane : 1,
        .dy_window = dy->stride_w,
        .dy_lane = planes ? dy->stride_c : 1,
        .dx_lane = planes ? dx->stride_c : 0};
    for (int64_t r = 0; r < block->rows; r++) {
        toss.dy = fc_pool2d_at(dy, work->size, block->image, block->row + r, 0, block->channel);
        work->pass->kernels->pool2d.toss(&toss);
        toss.numbers = (const char *)toss.numbers + bytes(work, work->vertical->stride * work->row);
    }
}

static void run_item(void *context, int64_t item, int worker)
{
    const struct work *work = context;
    const struct fc_axis *vertical = work->vertical;
    struct block block = {.image = item / work->groups,
                          .channel = item % work->groups * work->channels,
                          .keys = work->scratch + (size_t)worker * 2 * work->array_bytes};
    block.channels = fc_min(work->channels, work->dx->c - block.channel);
    block.numbers = block.keys + work->array_bytes;
    const fc_image dx = fc_pool2d_channels(work->dx, work->size, block.channel, block.channels);
    int64_t cleared = 0;
    for (block.row = 0; block.row < vertical->out; block.row += work->rows) {
        block.rows = fc_min(work->rows, vertical->out - block.row);
        block.held = (block.rows - 1) * vertical->stride + vertical->taps;
        block.top = block.row * vertical->stride - vertical->before;
        block.first = fc_max(-block.top, 0);
        block.end = fc_min(block.held, vertical->in - block.top);
        const int64_t end = block.top + block.end;
        fc_zero_rows(&dx, (int64_t)work->size, block.image, cleared, end);
        cleared = fc_max(cleared, end);
        search(work, &block);
        toss(work, &block);
    }
    fc_zero_rows(&dx, (int64_t)work->size, block.image, cleared, vertical->in);
}

fc_status fc_pool2d_search_dx(const struct fc_pool2d_pass *pass, const fc_image *dy,
                              const fc_image *dx, bool *done)
{
    struct work work = {.pass = pass,
                        .vertical = &pass->axis[0].axis,
                        .horizontal = &pass->axis[1].axis,
                        .x = &pass->x,
                        .dy = dy,
                        .dx = dx,
                        .size = fc_element_size(pass->dtype)};
    *done = make_plan(&work);
    if (!*done)
        return FC_OK;
    const int64_t items = dx->n * work.groups;
    const int width = fc_pool2d_dx_width(items, dy, dx);
    work.table = fc_workspace_acquire((size_t)(1 + 2 * width) * work.array_bytes);
    if (!work.table)
        return FC_NO_MEMORY;
    work.scratch = work.table + work.array_bytes;
    set_table(&work);
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, run_item, &work);
    fc_workspace_release(work.table);
    return FC_OK;
}
