/* convolve_spread_sums.c: rows of y from planes of sums, of which each adds its taps.
 *
 * Every stride-th column of y is a phase: its taps lie in planes of their own, and each plane is read a column further
 * for each tap, so that a sum is loads and additions of whole vectors. The phases of a row are lines, which are
 * interleaved as they are stored. Lines of a row of y are asked for while the one before is computed. */
#include "convolve_spread_planes.h"
#include "fetch_rows.h"

/* ------------------------------------------------------------------ finish */

/* A phase of columns to row `row` of y. */
static void finish_phase(const struct fc_spread_item *item, int64_t row, int64_t phase)
{
    const struct fc_spread_job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const fc_image *y = &spread->y, *residual = &spread->residual;
    const int64_t stride = job->plan->phases, column = item->column * stride + phase;
    job->kernels->conv2d.finish_block(&(struct fc_finish){
        .block = {.x = item->line + phase * y->c * job->plan->line * job->element,
                  .y = fc_spread_row(item, y, row) + column * y->stride_w * job->element,
                  .x_pixel = 1,
                  .x_channel = job->plan->line,
                  .y_pixel = stride * y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = item->whole + (phase < item->rest),
                  .channels = y->c},
        .bias = spread->bias,
        .residual = residual->data ? fc_spread_row(item, residual, row) +
                                         column * residual->stride_w * job->element
                                   : NULL,
        .residual_pixel = stride * residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = spread->activation,
    });
}

/* Pixels of `count` lines, `step` apart, to where they follow each other: those that all have, then one of the
 * first. */
static void join_lines(const struct fc_spread_item *item, char *y, const char *line, ptrdiff_t step,
                       int64_t count, int64_t rest)
{
    const struct fc_spread_job *job = item->job;
    struct fc_block block = {.x = line,
                             .y = y,
                             .x_pixel = 1,
                             .x_channel = step,
                             .y_pixel = count,
                             .y_channel = 1,
                             .pixels = item->whole,
                             .channels = count};
    job->kernels->conv2d.copy_block(&block);
    if (rest == 0)
        return;
    block.x = line + item->whole * job->element;
    block.y = y + item->whole * count * job->element;
    block.pixels = 1;
    block.channels = rest;
    job->kernels->conv2d.copy_block(&block);
}

/* The lines of sums to row `row` of y. */
static void finish_row(const struct fc_spread_item *item, int64_t row)
{
    const struct fc_spread_job *job = item->job;
    const struct fc_spread *spread = job->spread;
    const fc_image *y = &spread->y;
    const int64_t stride = job->plan->phases, line = job->plan->line;
    const bool planes = y->stride_w == 1 && stride > 1;
    const bool pixels = fc_pixels_together(y) && y->c > 1;
    char *to = fc_spread_row(item, y, row) + item->column * stride * y->stride_w * job->element;
    if (spread->residual.data || !(planes || pixels)) {
        for (int64_t p = 0; p < stride; p++)
            finish_phase(item, row, p);
        return;
    }
    if (spread->bias || spread->activation != FC_LINEAR)
        job->kernels->conv2d.finish_block(&(struct fc_finish){
            .block = {.x = item->line,
                      .y = item->line,
                      .x_pixel = 1,
                      .x_channel = line,
                      .y_pixel = 1,
                      .y_channel = line,
                      .pixels = line,
                      .channels = stride * y->c},
            .bias = spread->bias ? job->bias : NULL,
            .activation = spread->activation,
        });
    if (pixels) {
        join_lines(item, to, item->line, line, stride * y->c, item->rest * y->c);
        return;
    }
    for (int64_t k = 0; k < y->c; k++) {
        const char *first = item->line + k * line * job->element;
        const ptrdiff_t step = y->c * line;
        if (stride == 2)
            job->kernels->pool2d.merge_pairs(first, first + step * job->element, to,
                                             2 * item->whole + item->rest);
        else
            join_lines(item, to, first, step, stride, item->rest);
        to += y->stride_c * job->element;
    }
}

/* Where a phase of columns of row `row` of y finds its terms in t: how many they are. */
static int64_t list_sums(const struct fc_spread_item *item, int64_t row,
                         const struct fc_spread_phase *phase, ptrdiff_t *offset)
{
    const struct fc_spread_job *job = item->job;
    const struct fc_spread_planes_plan *plan = job->plan;
    const ptrdiff_t taps = plan->row_of_taps, step = plan->phase_of_taps;
    const int64_t i = row + job->before - item->first * job->stride;
    int64_t slot = item->first - item->base, count = 0;
    if (slot < 0)
        slot += plan->slots;
    ptrdiff_t at = i * taps + slot * plan->pitch + item->at + phase->shift;
    for (int64_t r = item->first; r < item->last; r++) {
        for (ptrdiff_t j = phase->tap, from = at; j < taps; j += step, from--)
            offset[count++] = from + j;
        at += plan->down;
        if (++slot == plan->slots) {
            at -= plan->slots * plan->pitch;
            slot = 0;
        }
    }
    return count;
}

/* Asks for the lines of a row of y. */
static void fetch_y(const struct fc_spread_item *item, int64_t row)
{
    const fc_image *y = &item->job->spread->y;
    const ptrdiff_t element = item->job->element;
    const int64_t stride = item->job->plan->phases;
    const char *to = fc_spread_row(item, y, row) + item->column * stride * y->stride_w * element;
    const ptrdiff_t bytes = (item->whole * stride + item->rest) * y->stride_w * element;
    if (y->stride_w == 1)
        fc_fetch_rows(to, y->stride_c * element, y->c, bytes);
    else
        fc_fetch_rows(to, 0, 1, bytes);
}

/* At stride 1 the row before finds its terms a row of t before, unless the ring begins anew between them. To list them
 * takes 30 cycles a row, 3 % of the time of MNIST's first layer. */
static bool slides(struct fc_spread_item *item, int64_t terms)
{
    const bool next = item->first == item->listed + 1 && item->last - item->first == terms;
    const bool may = item->job->stride == 1 && item->job->plan->phases == 1 &&
                     item->job->plan->taps == 1 && item->first >= item->base;
    item->listed = may ? item->first : FC_NO_ROW;
    return next && may;
}

/* Row `row` of y: direct, or by lines. */
void fc_add_spread_row(struct fc_spread_item *item, int64_t row)
{
    const struct fc_spread_job *job = item->job;
    const struct fc_spread_planes_plan *plan = job->plan;
    const fc_image *y = &job->spread->y;
    const ptrdiff_t step = (job->direct ? y->stride_c : plan->line) * job->element;
    struct fc_shifted_sums *sums = &item->sums;
    sums->y = item->line;
    if (job->direct)
        sums->y = fc_spread_row(item, y, row) + item->column * job->element;
    else if (row + 1 < y->h)
        fetch_y(item, row + 1);
    const bool sliding = slides(item, sums->terms);
    item->slid = sliding ? item->slid + plan->pitch * job->element : 0;
    for (int64_t p = 0; p < plan->phases; p++) {
        if (!sliding) {
            sums->terms = list_sums(item, row, &job->phase[p], item->offset);
            sums->pixels = fc_min(item->pixels, job->phase[p].pixels - item->column);
        }
        sums->x = item->t + item->slid;
        for (int64_t k = 0; k < y->c; k++) {
            job->kernels->few.shifted_sums(sums);
            sums->x = (const char *)sums->x + plan->t_plane * job->element;
            sums->y = (char *)sums->y + step;
        }
    }
    if (!job->direct)
        finish_row(item, row);
}
