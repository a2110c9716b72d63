/* pool2d_winners.c: the winners of windows, from the indices that were stored forward.
 *
 * 8 bytes an index are most of what that gradient reads, so they are read once, in vectors, and become
 * the numbers that the search for winners would have left: then each element takes its gradients as
 * it does after a search. Indices outside of their windows, which max_pool2d never gives, are left to
 * the scatter. */
#include "pool2d_winners.h"

#include "workspace.h"

enum { MOST_ROWS = 16, MOST_PIXELS = 1 << 30 /* sums of them fit the lanes */ };

bool fc_pool2d_tells_winners(const struct fc_pool2d_pass *pass)
{
    const struct fc_axis *vertical = &pass->axis[0].axis, *horizontal = &pass->axis[1].axis;
    return vertical->dilation == 1 && horizontal->dilation == 1 && vertical->taps <= MOST_ROWS &&
           horizontal->taps <= horizontal->in && vertical->in <= MOST_PIXELS / horizontal->in &&
           (pass->wide || pass->channels == 1);
}

static bool lie_together(const struct fc_pool2d_pass *pass, const fc_image *indices)
{
    return pass->wide ? indices->stride_c == 1 || indices->c == 1 : indices->stride_w == 1;
}

size_t fc_pool2d_winner_bytes(const struct fc_pool2d_pass *pass, const fc_image *indices,
                              int64_t rows)
{
    if (lie_together(pass, indices))
        return 0;
    return fc_round_to_line((size_t)(rows * indices->w * pass->channels) * sizeof(int64_t));
}

/* `count` columns whose windows have one shape. */
static bool take_columns(const struct fc_pool2d_pass *pass, const struct fc_pool2d_winners *row,
                         int64_t image_row, int64_t column, int64_t count, int64_t pixel)
{
    const struct fc_pool2d_axis *horizontal = &pass->axis[1];
    struct fc_pool2d_winners winners = *row;
    int64_t first, taps;
    fc_pool2d_axis_window(horizontal, column, &first, &taps);
    winners.taps = taps;
    winners.origin = image_row * horizontal->axis.in + first;
    winners.first += first + horizontal->axis.before - column * horizontal->axis.stride;
    winners.index += column * winners.index_column;
    winners.numbers =
        (char *)winners.numbers + column * pixel * (ptrdiff_t)fc_element_size(pass->dtype);
    if (pass->wide) {
        winners.columns = count;
        winners.origin_column = horizontal->advance;
    } else {
        winners.lanes = count;
        winners.origin_lane = horizontal->advance;
    }
    return pass->kernels->pool2d.winners(&winners);
}

static bool take_row(const struct fc_pool2d_pass *pass, int64_t row, int64_t channels,
                     const int64_t *index, ptrdiff_t index_column, char *numbers)
{
    const struct fc_pool2d_axis *vertical = &pass->axis[0], *horizontal = &pass->axis[1];
    struct fc_pool2d_winners winners = {.index = index,
                                        .numbers = numbers,
                                        .columns = 1,
                                        .lanes = channels,
                                        .index_column = index_column,
                                        .number_column = pass->channels,
                                        .width = horizontal->axis.in,
                                        .first_row = horizontal->axis.taps};
    int64_t first;
    fc_pool2d_axis_window(vertical, row, &first, &winners.rows);
    winners.first =
        (first + vertical->axis.before - row * vertical->axis.stride) * horizontal->axis.taps;
    bool all = true;
    for (int64_t column = 0; column < horizontal->targets; column++) {
        const bool regular = column >= horizontal->begin && column < horizontal->end;
        const int64_t count = regular ? horizontal->end - column : 1;
        all &= take_columns(pass, &winners, first, column, count, pass->channels);
        column += count - 1;
    }
    return all;
}

bool fc_pool2d_take_winners(const struct fc_pool2d_pass *pass, const struct fc_pool2d_block *block,
                            const fc_image *indices, char *numbers, char *scratch)
{
    const bool staged = !lie_together(pass, indices);
    const int64_t row_pixels = indices->w * pass->channels;
    bool all = true;
    for (int64_t row = block->row; row < block->row_end; row++) {
        const void *index =
            fc_image_at(indices, sizeof(int64_t), block->image, row, 0, block->channel);
        if (staged) {
            char *to = scratch + (row - block->row) * row_pixels * (ptrdiff_t)sizeof(int64_t);
            /* A copy moves any 8 bytes. */
            fc_current_kernels(FC_FLOAT64)
                ->conv2d.copy_block(&(struct fc_block){.x = index,
                                                       .y = to,
                                                       .x_pixel = indices->stride_w,
                                                       .x_channel = indices->stride_c,
                                                       .y_pixel = pass->channels,
                                                       .y_channel = 1,
                                                       .pixels = indices->w,
                                                       .channels = block->channels});
            index = to;
        }
        all &= take_row(
            pass, row, block->channels, index, staged ? pass->channels : indices->stride_w,
            numbers + (row - block->row) * row_pixels * (ptrdiff_t)fc_element_size(pass->dtype));
    }
    return all;
}

/* ------------------------------------------------------------ rows of columns */

static int64_t origin_lanes(const struct fc_pool2d_origins *self)
{
    const int64_t unit = fc_unit(self->dtype);
    return fc_ceil_div(self->axis[1].out * self->channels, unit) * unit;
}

size_t fc_pool2d_origin_bytes(const struct fc_pool2d_origins *self)
{
    return fc_round_to_line((size_t)(4 * origin_lanes(self)) * fc_element_size(self->dtype));
}

void fc_pool2d_set_entry(void *table, fc_dtype dtype, int64_t at, int64_t value)
{
    if (dtype == FC_FLOAT32)
        ((int32_t *)table)[at] = (int32_t)value;
    else
        ((int64_t *)table)[at] = value;
}

void fc_pool2d_set_origins(struct fc_pool2d_origins *self, void *tables)
{
    const struct fc_axis *axis = &self->axis[1];
    const int64_t used = axis->out * self->channels, lanes = origin_lanes(self);
    self->tables = tables;
    for (int64_t lane = 0; lane < lanes; lane++) {
        const int64_t w = fc_min(lane, used - 1) / self->channels;
        int64_t begin, end;
        fc_axis_taps(axis, w, &begin, &end);
        fc_pool2d_set_entry(tables, self->dtype, lane, w * axis->stride - axis->before);
        fc_pool2d_set_entry(tables, self->dtype, lanes + lane, begin < end ? begin : 0);
        fc_pool2d_set_entry(tables, self->dtype, 2 * lanes + lane, begin < end ? end - 1 : -1);
        fc_pool2d_set_entry(tables, self->dtype, 3 * lanes + lane, lane < used ? -1 : 0);
    }
}

bool fc_pool2d_name_row(const struct fc_pool2d_origins *self, int64_t row, const fc_image *indices,
                        struct fc_pool2d_names *names)
{
    const struct fc_axis *vertical = &self->axis[0], *horizontal = &self->axis[1];
    const int64_t used = horizontal->out * self->channels, lanes = origin_lanes(self);
    const ptrdiff_t table = lanes * (ptrdiff_t)fc_element_size(self->dtype);
    int64_t begin, end;
    fc_axis_taps(vertical, row, &begin, &end);
    *names = (struct fc_pool2d_names){
        .origins = self->tables,
        .low = self->tables + table,
        .high = self->tables + 2 * table,
        .used = self->tables + 3 * table,
        .lanes = used,
        .rows = end - begin,
        .taps = horizontal->taps,
        .width = horizontal->in,
        .origin = (row * vertical->stride - vertical->before + begin) * horizontal->in,
        .first = begin * horizontal->taps,
        .more = indices->stride_h == used && (indices->h - row) * used >= lanes};
    return begin < end;
}
