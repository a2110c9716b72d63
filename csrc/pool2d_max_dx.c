/* pool2d_max_dx.c: the gradient of a maximum or minimum, taken by those that won.
 *
 * Every element of dx adds up the gradients of the windows that it has won, in the order of the
 * windows: nothing is scattered, and each element is written once. The winners, as numbers of taps,
 * are kept for the few rows of windows that a step of rows of dx needs, with dy beside them where it
 * has to be transposed: they stay in the second-level cache, and rows that the next step needs too
 * move to the front. What is left is memory: x and dy are read once, dx is written. */
#include "pool2d_max_dx.h"

#include <stdatomic.h>
#include <string.h>

#include "pool2d_winners.h"
#include "stream.h"
#include "workspace.h"

enum {
    STEP_ELEMENTS = 96 * 1024, /* of scratch: 384 KB of float32 */
    LEAST_CHANNELS = 16,
    MANY_CHANNELS = 256, /* more only where a step has so many rows then: */
    MANY_ROWS = 4,
    ENOUGH_ITEMS = 16 /* bands of rows are for threads that images and channels do not feed */
};

struct plan {
    struct fc_pool2d_pass pass;
    const struct fc_pool2d_axis *adjoint;
    const fc_image *dy, *indices, *dx;
    size_t size;
    bool direct_dy, direct_dx, stream;
    int64_t rows;    /* of dx in a step */
    int64_t windows; /* rows of windows that a step needs, at most */
    int64_t channel_blocks, bands, band_rows;
    ptrdiff_t pixel, window_row; /* elements of a pixel, and of a row of windows */
    size_t window_bytes, row_bytes, line_bytes, search_bytes, worker_bytes;
    char *scratch;
    atomic_bool stray; /* an index lies outside its window */
};

/* A part of dx at work: [row, row_end) of some channels of an image. */
struct part {
    struct plan *plan;
    int64_t image, channel, channels;
    int64_t window, window_end; /* rows of windows that are held, from the front of each array */
    char *scratch, *y, *numbers, *dy, *line;
};

/* -------------------------------------------------------------------- plan */

static int64_t step_elements(const struct plan *plan, int64_t rows, int64_t channels)
{
    const int64_t windows = fc_pool2d_axis_span(&plan->adjoint[0], rows);
    const int64_t arrays = plan->direct_dy ? 1 : 2;
    const int64_t line = plan->direct_dx ? 0 : rows * plan->dx->w * channels;
    return arrays * windows * plan->dy->w * channels + line;
}

/* Few channels lie with their columns in the lanes: then classes of columns are lines of their own. */
static bool choose_step(struct plan *plan)
{
    struct fc_pool2d_pass *pass = &plan->pass;
    if (pass->piecewise || pass->columns < pass->axis[1].targets)
        return false;
    if (plan->dx->w > STEP_ELEMENTS || plan->dy->w > STEP_ELEMENTS ||
        fc_pool2d_axis_span(&plan->adjoint[0], 1) > STEP_ELEMENTS)
        return false;
    while (pass->wide && pass->channels > LEAST_CHANNELS &&
           step_elements(plan, pass->channels > MANY_CHANNELS ? MANY_ROWS : 1, pass->channels) >
               STEP_ELEMENTS)
        pass->channels = fc_ceil_div(pass->channels, 2);
    if (step_elements(plan, 1, pass->channels) > STEP_ELEMENTS)
        return false;
    for (plan->rows = 1; plan->rows < plan->dx->h; plan->rows *= 2)
        if (step_elements(plan, 2 * plan->rows, pass->channels) > STEP_ELEMENTS)
            break;
    return true;
}

static bool make_plan(struct plan *plan)
{
    struct fc_pool2d_pass *pass = &plan->pass;
    fc_pool2d_number_taps(pass, pass->axis[1].axis.taps, 1);
    if (fc_pool2d_plan(pass) != FC_OK || (plan->indices && !fc_pool2d_tells_winners(pass)))
        return false;
    const bool lanes_together = pass->wide || plan->adjoint[1].period == 1;
    const bool one = pass->channels == 1;
    plan->direct_dy =
        (one || plan->dy->stride_c == 1) && (pass->wide || plan->dy->stride_w == pass->channels);
    plan->direct_dx = lanes_together && (one || plan->dx->stride_c == 1) &&
                      (pass->wide || plan->dx->stride_w == pass->channels);
    if (!choose_step(plan))
        return false;
    const ptrdiff_t size = (ptrdiff_t)plan->size;
    plan->stream = plan->direct_dx && fc_streams_image(plan->dx, false, size) &&
                   pass->channels * size % FC_CACHE_LINE == 0;
    plan->pixel = pass->channels;
    plan->window_row = plan->dy->w * plan->pixel;
    pass->y.stride_c = pass->indices.stride_c = 1;
    pass->y.stride_w = pass->indices.stride_w = plan->pixel;
    pass->indices.stride_h = plan->window_row;
    pass->y.stride_h = 0; /* maxima are of no use: each row of them lies on the one before */
    plan->windows = fc_pool2d_axis_span(&plan->adjoint[0], plan->rows);
    plan->channel_blocks = fc_ceil_div(plan->dx->c, pass->channels);

    const int64_t parts = plan->dx->n * plan->channel_blocks;
    const int64_t bands = parts < ENOUGH_ITEMS ? fc_ceil_div(ENOUGH_ITEMS, parts) : 1;
    plan->band_rows = fc_ceil_div(fc_ceil_div(plan->dx->h, bands), plan->rows) * plan->rows;
    plan->bands = fc_ceil_div(plan->dx->h, plan->band_rows);

    const int64_t held = plan->windows * plan->window_row;
    const int64_t line = plan->direct_dx ? 0 : plan->rows * plan->dx->w * plan->pixel;
    plan->window_bytes = fc_round_to_line((size_t)held * plan->size + FC_UNIT_BYTES);
    plan->line_bytes = fc_round_to_line((size_t)line * plan->size);
    plan->search_bytes = plan->indices ? fc_pool2d_winner_bytes(pass, plan->indices, plan->windows)
                                       : fc_pool2d_scratch(pass);
    plan->row_bytes = fc_round_to_line((size_t)plan->window_row * plan->size + FC_UNIT_BYTES);
    plan->worker_bytes =
        plan->search_bytes + 2 * plan->window_bytes + plan->row_bytes + plan->line_bytes;
    return true;
}

/* ----------------------------------------------------------------- windows */

static void stage_dy(const struct part *part, int64_t row, int64_t row_end, char *to)
{
    const struct plan *plan = part->plan;
    const fc_image *dy = plan->dy;
    const bool together = fc_rows_together(dy, dy->w);
    const int64_t rows = together ? row_end - row : 1;
    for (int64_t r = row; r < row_end; r += rows)
        plan->pass.kernels->conv2d.copy_block(
            &(struct fc_block){.x = fc_image_at(dy, plan->size, part->image, r, 0, part->channel),
                               .y = to + (r - row) * plan->window_row * (ptrdiff_t)plan->size,
                               .x_pixel = dy->stride_w,
                               .x_channel = dy->stride_c,
                               .y_pixel = plan->pixel,
                               .y_channel = 1,
                               .pixels = rows * dy->w,
                               .channels = part->channels});
}

/* The numbers of rows [row, row_end) of windows, to the place of the first. */
static void number_windows(const struct part *part, int64_t row, int64_t row_end, ptrdiff_t at)
{
    struct plan *plan = part->plan;
    const struct fc_pool2d_block block = {.image = part->image,
                                          .row = row,
                                          .row_end = row_end,
                                          .column = 0,
                                          .column_end = plan->dy->w,
                                          .channel = part->channel,
                                          .channels = part->channels};
    char *numbers = part->numbers + at;
    if (!plan->indices)
        fc_pool2d_run_block(&plan->pass, &block, part->y, (int64_t *)(void *)numbers,
                            part->scratch);
    else if (!fc_pool2d_take_winners(&plan->pass, &block, plan->indices, numbers, part->scratch))
        atomic_store_explicit(&plan->stray, true, memory_order_relaxed);
}

/* Sees to it that rows [first, end) of windows are held. */
static void hold_windows(struct part *part, int64_t first, int64_t end)
{
    const struct plan *plan = part->plan;
    const ptrdiff_t row_bytes = plan->window_row * (ptrdiff_t)plan->size;
    const int64_t kept = fc_max(part->window_end - first, 0);
    if (kept > 0 && first > part->window) {
        char *arrays[2] = {part->numbers, part->dy};
        for (int i = 0; i < (plan->direct_dy ? 1 : 2); i++)
            memmove(arrays[i], arrays[i] + (first - part->window) * row_bytes,
                    (size_t)(kept * row_bytes));
    }
    part->window = first;
    for (int64_t row = first + kept; row < end; row += plan->pass.rows) {
        const int64_t row_end = fc_min(row + plan->pass.rows, end);
        const ptrdiff_t at = (row - first) * row_bytes;
        number_windows(part, row, row_end, at);
        if (!plan->direct_dy)
            stage_dy(part, row, row_end, part->dy + at);
    }
    part->window_end = fc_max(part->window_end, end);
}

/* ---------------------------------------------------------------------- dx */

/* The tap of an output that lies on a target. */
static int64_t tap_of(const struct fc_axis *axis, int64_t target, int64_t output)
{
    return (target + axis->before - output * axis->stride) / axis->dilation;
}

/* `count` columns of a row of dx from this one on, a period apart, or of `alike` rows. */
static void award_columns(const struct part *part, struct fc_pool2d_award *award, int64_t row,
                          int64_t alike, int64_t column, int64_t count, char *dx)
{
    const struct plan *plan = part->plan;
    const struct fc_pool2d_axis *vertical = &plan->adjoint[0], *horizontal = &plan->adjoint[1];
    const ptrdiff_t size = (ptrdiff_t)plan->size;
    int64_t first_row, first;
    fc_pool2d_axis_window(vertical, row, &first_row, &award->rows);
    fc_pool2d_axis_window(horizontal, column, &first, &award->taps);
    award->columns = plan->pass.wide ? count : alike;
    award->lanes = part->channels * (plan->pass.wide ? 1 : count);
    award->dx = dx;
    if (award->rows == 0 || award->taps == 0) {
        award->rows = 0;
    } else {
        const ptrdiff_t at = (first_row - part->window) * plan->window_row + first * plan->pixel;
        award->numbers = part->numbers + at * size;
        award->dy = plan->direct_dy ? fc_image_at(plan->dy, plan->size, part->image, first_row,
                                                  first, part->channel)
                                    : part->dy + at * size;
        award->first = tap_of(&vertical->axis, row, first_row) * horizontal->axis.taps +
                       tap_of(&horizontal->axis, column, first);
    }
    plan->pass.kernels->pool2d.award(award);
}

/* How far apart rows, taps and the kernel's columns are, which are rows where lanes are columns. */
static struct fc_pool2d_award set_steps(const struct part *part)
{
    const struct plan *plan = part->plan;
    const struct fc_pool2d_axis *vertical = &plan->adjoint[0], *horizontal = &plan->adjoint[1];
    const bool wide = plan->pass.wide;
    const struct fc_pool2d_axis *across = wide ? horizontal : vertical;
    const ptrdiff_t dy_row = plan->direct_dy ? plan->dy->stride_h : plan->window_row;
    const ptrdiff_t dy_pixel = plan->direct_dy ? plan->dy->stride_w : plan->pixel;
    const ptrdiff_t dx_row = plan->direct_dx ? plan->dx->stride_h : plan->dx->w * plan->pixel;
    const ptrdiff_t dx_pixel = plan->direct_dx ? plan->dx->stride_w : plan->pixel;
    return (struct fc_pool2d_award){
        .number_row = vertical->step * plan->window_row,
        .number_tap = horizontal->step * plan->pixel,
        .number_column = across->advance * (wide ? plan->pixel : plan->window_row),
        .dy_row = vertical->step * dy_row,
        .dy_tap = horizontal->step * dy_pixel,
        .dy_column = across->advance * (wide ? dy_pixel : dy_row),
        .dx_column = across->period * (wide ? dx_pixel : dx_row),
        .stream = plan->stream,
        .first_row = -(vertical->step * vertical->axis.stride / vertical->axis.dilation) *
                     horizontal->axis.taps,
        .first_tap = -(horizontal->step * horizontal->axis.stride / horizontal->axis.dilation),
    };
}

/* Where a column of dx goes: in dx, or in a line, which has columns in lanes class by class. */
static char *place(const struct part *part, int64_t row, int64_t column, char *line)
{
    const struct plan *plan = part->plan;
    const int64_t period = plan->adjoint[1].period, k = column % period;
    if (plan->direct_dx)
        return fc_image_at(plan->dx, plan->size, part->image, row, column, part->channel);
    if (!plan->pass.wide)
        column = k * (plan->dx->w / period) + fc_min(k, plan->dx->w % period) + column / period;
    return line + column * plan->pixel * (ptrdiff_t)plan->size;
}

/* A row of dx, or `alike` rows: regular columns class by class, those at the ends one by one. */
static void award_row(const struct part *part, struct fc_pool2d_award *award, int64_t row,
                      int64_t alike, char *line)
{
    const struct fc_pool2d_axis *horizontal = &part->plan->adjoint[1];
    const int64_t period = horizontal->period;
    for (int64_t column = 0; column < horizontal->targets; column++) {
        if (column < horizontal->begin || column >= horizontal->end) {
            award_columns(part, award, row, alike, column, 1, place(part, row, column, line));
            continue;
        }
        for (int64_t k = column; k < fc_min(column + period, horizontal->end); k++)
            award_columns(part, award, row, alike, k, (horizontal->end - k - 1) / period + 1,
                          place(part, row, k, line));
        column = horizontal->end - 1;
    }
}

/* Rows [row, row_end) of dx: where lanes are columns, regular rows of a class together. */
static void award_rows(const struct part *part, struct fc_pool2d_award *award, int64_t row,
                       int64_t row_end)
{
    const struct plan *plan = part->plan;
    const struct fc_pool2d_axis *vertical = &plan->adjoint[0];
    const ptrdiff_t line_bytes = plan->dx->w * plan->pixel * (ptrdiff_t)plan->size;
    const int64_t regular_end = fc_min(vertical->end, row_end), period = vertical->period;
    for (int64_t r = row; r < row_end; r++) {
        char *line = part->line + (r - row) * line_bytes;
        if (plan->pass.wide || r < vertical->begin || r >= regular_end) {
            award_row(part, award, r, 1, line);
            continue;
        }
        for (int64_t k = r; k < fc_min(r + period, regular_end); k++)
            award_row(part, award, k, (regular_end - k - 1) / period + 1,
                      line + (k - r) * line_bytes);
        r = regular_end - 1;
    }
}

/* Copies finished rows to dx: whole planes without gaps as one long row, columns in lanes class by
 * class. */
static void put_lines(const struct part *part, int64_t row, int64_t row_end)
{
    const struct plan *plan = part->plan;
    const fc_image *dx = plan->dx;
    const int64_t period = plan->pass.wide ? 1 : fc_min(plan->adjoint[1].period, dx->w);
    const bool together = plan->pass.wide && fc_rows_together(dx, dx->w);
    const int64_t rows = together ? row_end - row : 1;
    const ptrdiff_t line_bytes = dx->w * plan->pixel * (ptrdiff_t)plan->size;
    for (int64_t r = row; r < row_end; r += rows)
        for (int64_t k = 0; k < period; k++)
            plan->pass.kernels->conv2d.copy_block(&(struct fc_block){
                .x = place(part, r, k, part->line + (r - row) * line_bytes),
                .y = fc_image_at(dx, plan->size, part->image, r, k, part->channel),
                .x_pixel = plan->pixel,
                .x_channel = 1,
                .y_pixel = period * dx->stride_w,
                .y_channel = dx->stride_c,
                .pixels = rows * fc_ceil_div(dx->w - k, period),
                .channels = part->channels});
}

static void award_part(void *context, int64_t item, int worker)
{
    struct plan *plan = context;
    const int64_t band = item % plan->bands;
    item /= plan->bands;
    struct part part = {.plan = plan,
                        .image = item / plan->channel_blocks,
                        .channel = item % plan->channel_blocks * plan->pass.channels,
                        .scratch = plan->scratch + (size_t)worker * plan->worker_bytes};
    part.channels = fc_min(plan->pass.channels, plan->dx->c - part.channel);
    part.numbers = part.scratch + plan->search_bytes;
    part.y = part.numbers + plan->window_bytes;
    part.dy = part.y + plan->row_bytes;
    part.line = part.dy + plan->window_bytes;

    struct fc_pool2d_award award = set_steps(&part);
    const int64_t last = fc_min((band + 1) * plan->band_rows, plan->dx->h);
    for (int64_t row = band * plan->band_rows; row < last; row += plan->rows) {
        const int64_t row_end = fc_min(row + plan->rows, last);
        int64_t first, end;
        fc_pool2d_axis_reach(&plan->adjoint[0], row, row_end, &first, &end);
        hold_windows(&part, first, end);
        award_rows(&part, &award, row, row_end);
        if (!plan->direct_dx)
            put_lines(&part, row, row_end);
    }
}

fc_status fc_pool2d_max_dx(const struct fc_pool2d_pass *pass,
                           const struct fc_pool2d_axis adjoint[2], const fc_image *dy,
                           const fc_image *indices, const fc_image *dx, bool *done)
{
    struct plan plan = {.pass = *pass,
                        .adjoint = adjoint,
                        .dy = dy,
                        .indices = indices,
                        .dx = dx,
                        .size = fc_element_size(pass->dtype)};
    *done = make_plan(&plan);
    if (!*done)
        return FC_OK;
    const int64_t items = dx->n * plan.channel_blocks * plan.bands;
    const fc_status status =
        fc_pool2d_run_dx(items, dy, dx, plan.worker_bytes, &plan.scratch, award_part, &plan);
    *done = !atomic_load(&plan.stray);
    return status;
}
