/* pool2d_plan.c: how a pooling pass is cut into lanes and blocks. */
#include "pool2d_pass.h"
#include "workspace.h"

enum {
    STAGED = 1 << 15, /* elements staged at once: half of a small L2 in float32 */
    LINE = 1 << 12,   /* targets of a row that wait in scratch: they stay in L1 */
    DIRECT_CHANNELS = 1 << 10,
    STAGED_CHANNELS = 32, /* 2 cache lines; piecewise, FC_POOL2D_PIECE of them fill STAGED */
    BLOCK_WORK = 1 << 17  /* elements read for a block: some 10 microseconds */
};

/* Whether the channels of a pixel lie closer together than pixels. */
static bool is_channels_last(const fc_image *image)
{
    const int64_t channel = image->stride_c < 0 ? -image->stride_c : image->stride_c;
    const int64_t pixel = image->stride_w < 0 ? -image->stride_w : image->stride_w;
    return image->c > 1 && (image->w == 1 || channel <= pixel);
}

/* Wide where channels fill half of the widest vector, also where planes have to be transposed for it:
 * that takes half a cycle an element there and back, while columns as lanes cost more than it by
 * their ends and their phases (17 x 17 planes, 3 x 3 windows: 5.3 ms, transposed 1.6). The larger
 * image decides: the other one is the one to be rearranged. */
static void choose_lanes(struct fc_pool2d_pass *pass)
{
    const fc_image *image = pass->adjoint ? &pass->y : &pass->x;
    const int64_t enough = fc_unit(pass->dtype) / 2;
    pass->wide = image->c >= enough || (pass->few && is_channels_last(image));
    if (pass->wide)
        pass->channels = fc_min(image->c, DIRECT_CHANNELS);
    else
        pass->channels = is_channels_last(image) ? image->c : 1;
}

/* Whether the kernel can read or write the lanes of image where they are, given that targets of one
 * class are `apart` columns of it apart. */
static bool has_lanes(const struct fc_pool2d_pass *pass, const fc_image *image, int64_t apart)
{
    if (pass->channels > 1 && image->stride_c != 1)
        return false;
    return pass->wide || (apart == 1 && image->stride_w == pass->channels);
}

/* Elements of a staged row for a block of that many columns. */
static int64_t staged_row(const struct fc_pool2d_pass *pass, int64_t columns)
{
    const int64_t span = fc_pool2d_axis_span(&pass->axis[1], columns);
    return fc_ceil_div(span, pass->phases) * pass->phases * pass->channels;
}

static bool fits(const struct fc_pool2d_pass *pass, int64_t rows, int64_t columns)
{
    const bool packed = pass->targets_packed && !pass->tap_numbers;
    const bool line = !pass->direct_y || packed || (pass->numbered && !pass->tap_numbers);
    if (line && columns > LINE / pass->channels)
        return false;
    if (packed && rows > 1 &&
        (columns < pass->axis[1].targets || rows > LINE / (columns * pass->channels)))
        return false;
    return pass->direct_x || staged_row(pass, columns) <=
                                 STAGED / fc_max(fc_pool2d_axis_span(&pass->axis[0], rows), 1);
}

/* The largest block that fits: columns are halved down to 8 first, then channels, then the rest. */
static void choose_block(struct fc_pool2d_pass *pass)
{
    const struct fc_pool2d_axis *vertical = &pass->axis[0], *horizontal = &pass->axis[1];
    const int64_t longest =
        fc_min(horizontal->axis.taps, fc_ceil_div(horizontal->sources, horizontal->step));
    pass->rows = 1;
    pass->columns = horizontal->targets;
    pass->piecewise = longest > FC_POOL2D_PIECE;
    while (!pass->piecewise && !fits(pass, 1, pass->columns)) {
        if (pass->columns > 8 || (pass->columns > 1 && pass->channels <= STAGED_CHANNELS))
            pass->columns = fc_ceil_div(pass->columns, 2);
        else if (pass->wide && pass->channels > STAGED_CHANNELS)
            pass->channels = fc_ceil_div(pass->channels, 2);
        else
            pass->piecewise = true;
    }
    if (pass->piecewise) {
        pass->channels = fc_min(pass->channels, STAGED_CHANNELS);
        pass->columns = fc_min(horizontal->targets, LINE / STAGED_CHANNELS);
        return;
    }
    const int64_t taps = fc_min(vertical->axis.taps, vertical->sources) * longest;
    const double row_work = (double)taps * (double)pass->columns * (double)pass->channels;
    while (2 * pass->rows <= vertical->targets && 2 * (double)pass->rows * row_work < BLOCK_WORK &&
           fits(pass, 2 * pass->rows, pass->columns))
        pass->rows *= 2;
    if (pass->rows * 2 > vertical->targets && fits(pass, vertical->targets, pass->columns))
        pass->rows = vertical->targets;
}

static void size_scratch(struct fc_pool2d_pass *pass)
{
    const size_t size = fc_element_size(pass->dtype);
    const int64_t period = pass->axis[1].period;
    const int64_t classes = fc_min(period, pass->columns);
    int64_t staged = 0;
    if (!pass->direct_x && pass->piecewise)
        staged = FC_POOL2D_PIECE * pass->channels;
    else if (!pass->direct_x)
        staged = staged_row(pass, pass->columns) * fc_pool2d_axis_span(&pass->axis[0], pass->rows);
    pass->phase_columns =
        fc_ceil_div(fc_pool2d_axis_span(&pass->axis[1], pass->columns), pass->phases);
    pass->line_columns = fc_ceil_div(pass->columns, period);

    const int64_t line = pass->direct_y ? 0 : classes * pass->line_columns * pass->channels;
    pass->stage_bytes = fc_round_to_line((size_t)staged * size);
    pass->line_bytes = fc_round_to_line((size_t)line * size);
    pass->number_bytes = 0;
    if (pass->numbered && !pass->tap_numbers)
        pass->number_bytes =
            fc_round_to_line((size_t)(pass->columns * pass->channels) * size + FC_UNIT_BYTES);
}

/* Where a window's elements are told apart, their distance in pixels must fit the kernel's
 * lanes. */
static bool numbers_fit(const struct fc_pool2d_pass *pass)
{
    int64_t last;
    if (pass->tap_numbers)
        return !__builtin_mul_overflow(pass->axis[0].axis.taps, pass->axis[1].axis.taps, &last) &&
               last <= INT32_MAX;
    const int64_t rows = fc_pool2d_axis_span(&pass->axis[0], 1);
    const int64_t columns = fc_pool2d_axis_span(&pass->axis[1], 1);
    return !__builtin_mul_overflow(rows - 1, pass->x.w, &last) && last + columns <= INT32_MAX;
}

void fc_pool2d_merge_planes(fc_image *const *images, int count)
{
    for (int i = 0; i < count; i++)
        if (images[i]->c >= STAGED_CHANNELS || is_channels_last(images[i]) ||
            images[i]->stride_n != images[i]->c * images[i]->stride_c)
            return;
    for (int i = 0; i < count; i++) {
        images[i]->c *= images[i]->n;
        images[i]->n = 1;
    }
}

fc_status fc_pool2d_plan(struct fc_pool2d_pass *pass)
{
    if (pass->numbered && !numbers_fit(pass))
        return FC_OVERFLOW;
    choose_lanes(pass);
    pass->direct_x = !pass->adjoint && has_lanes(pass, &pass->x, pass->axis[1].advance);
    if (pass->wide && pass->x.stride_c != 1)
        pass->channels = fc_min(pass->channels, STAGED_CHANNELS);
    else if (pass->wide && !pass->tap_numbers && (pass->numbered || !pass->direct_x))
        pass->channels = fc_min(pass->channels, LINE / 16);
    pass->direct_y = pass->targets_packed || has_lanes(pass, &pass->y, pass->axis[1].period);
    /* With fewer sources than phases no two targets of a class are regular. */
    pass->phases = pass->wide ? 1 : fc_max(fc_min(pass->axis[1].advance, pass->axis[1].sources), 1);
    choose_block(pass);
    if (pass->targets_packed) {
        pass->y.stride_c = pass->indices.stride_c = 1;
        pass->y.stride_w = pass->indices.stride_w = pass->channels;
        pass->y.stride_h = pass->indices.stride_h = pass->columns * pass->channels;
    }
    size_scratch(pass);
    return FC_OK;
}
