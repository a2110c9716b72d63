/* depthwise_dkernel.c: the kernel gradient of a depthwise convolution where channels lie together.
 *
 * Blocks of outputs and chunks of blocks are those of any kernel gradient, and so are the sums: a
 * chain of multiply-adds over a block, row by row, then one addition to the chunk's sum. But nothing
 * is packed: pixels are found through a table, for a row of a block with the channels innermost, or
 * under 3 x 3 taps for all its rows, line by line of channels (kernels/depthwise_dkernel_walk.inc.h).
 *
 * Of planes some channels at a time are transposed first. Where an image's fit the second-level cache those that
 * come next are asked for meanwhile: 512 channels of 14 x 14 took 0.59 ms with columns in the lanes, now 0.40. Of
 * others a band of rows: 32 channels of 112 x 112 took 4.0 ms on Zen 4 with all rows of a block of 256 pixels, the
 * shared ones too, turned for that block, now 2.2. */
#include "depthwise_dkernel.h"

#include <string.h>

#include "depthwise.h"
#include "dispatch.h"
#include "parallel.h"
#include "pixel_table.h"
#include "transpose_channels.h"
#include "workspace.h"

struct plan {
    const struct fc_convolution *convolution;
    const struct fc_blocks *blocks;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    int64_t steps, chunks;
    int64_t shares, share;        /* of the channels, for threads that chunks do not feed */
    int64_t need, width;          /* rows and columns of a table of pixels */
    int64_t unit, taps, elements; /* of the sums: [unit of channels][tap][channel of the unit] */
    bool walks;                   /* over all rows of a block at once */
    bool transposed;              /* the planes of a share, */
    int64_t rows;                 /* so many rows of dy and what they meet at once */
    size_t sum_bytes, table_bytes, ring_bytes, x_bytes, worker_bytes;
    char *padding, *sums, *scratch;
    struct fc_channel_sums *bias; /* of dy, which are added beside, or NULL */
};

/* Channels [begin, end) of a chunk at work. */
struct part {
    const struct plan *plan;
    int64_t begin, end;
    struct fc_convolution here; /* where channels lie together: transposed, those of one image */
    int64_t first, image;       /* the channel and the image that come first in it, */
    int64_t end_row;            /* and the end of the rows of dy */
    int64_t first_image, last_image;
    char *scratch, *block, *sums;
};

/* `rows` whole rows of an image, or columns of one row, if they lie together; else nothing. */
static struct fc_lines_ahead segment(const fc_image *image, int64_t n, int64_t row, int64_t rows,
                                     int64_t column, int64_t columns, ptrdiff_t element)
{
    const bool whole = columns == image->w && fc_rows_together(image, image->w);
    if (!fc_pixels_together(image) || columns <= 0 || (rows > 1 && !whole))
        return (struct fc_lines_ahead){0};
    return (struct fc_lines_ahead){
        fc_image_at(image, element, n, row, column, 0),
        fc_ceil_div(rows * columns * image->stride_w * element, FC_UNIT_BYTES)};
}

/* The rows of x that the next row of outputs of a block has to itself. */
static struct fc_lines_ahead x_ahead(const struct plan *plan, int64_t n, int64_t h,
                                     const struct fc_patch *patch)
{
    const fc_image *x = &plan->convolution->x;
    const struct fc_axis *axis = plan->convolution->axis;
    const int64_t row = h * axis[0].stride - axis[0].before + plan->need;
    const int64_t column = fc_max(patch->x_column, 0);
    const int64_t columns = fc_min(patch->x_column + patch->x_columns, x->w) - column;
    return segment(x, n, row, axis[0].stride, column, columns, plan->element);
}

/* Of the planes that are transposed next, what falls to row h of as many as dy has. */
static struct fc_lines_ahead planes_ahead(const struct part *part, const fc_image *image, int64_t h)
{
    const struct plan *plan = part->plan;
    const bool last = part->image == part->last_image;
    const int64_t n = last ? part->first_image : part->image + 1;
    const int64_t c = last ? part->end : part->begin;
    const int64_t lines = fc_ceil_div((part->end - part->begin) * image->stride_c * plan->element,
                                      FC_UNIT_BYTES * plan->convolution->y.h);
    if (!fc_planes_together(image))
        return (struct fc_lines_ahead){0};
    return (struct fc_lines_ahead){
        fc_image_at(image, plan->element, n, 0, 0, c) + h * lines * FC_UNIT_BYTES, lines};
}

/* What is read after row h of outputs. */
static void aim_ahead(const struct part *part, int64_t n, int64_t h, const struct fc_patch *patch,
                      struct fc_depthwise_dkernel *row)
{
    const struct plan *plan = part->plan;
    const fc_image *x = &plan->convolution->x, *dy = &plan->convolution->y;
    if (plan->transposed && plan->rows < dy->h)
        return;
    if (plan->transposed) {
        row->x_ahead = planes_ahead(part, x, h);
        row->dy_ahead = planes_ahead(part, dy, h);
    } else if (plan->shares == 1 && fc_asks_for_rows(dy, plan->element)) {
        row->x_ahead = x_ahead(plan, n, h, patch);
        row->dy_ahead = segment(dy, n, h + plan->blocks->row_phases, 1, patch->column,
                                patch->columns, plan->element);
    }
}

/* From where an image is transposed to the planes that are next: these are as many lines. */
static ptrdiff_t next_planes(const struct part *part, const fc_image *image, const fc_image *here)
{
    const char *next = planes_ahead(part, image, 0).data;
    return next ? ((intptr_t)next - (intptr_t)here->data) / part->plan->element : 0;
}

/* What a walk reads later: the next block, or of long pixels, of which a vector at a time is read, the second vector
 * from there. Of 32 images of 19x19x728, 67 MB, to ask for the next vector took 6.0 ms and this 3.3; of 4 MB, which the
 * last cache holds, to ask at all took up to a tenth more. */
static void aim_next(const struct part *part, const struct fc_patch *patch,
                     struct fc_depthwise_dkernel *block)
{
    enum { SHORT_PIXEL = 256, FAR_BYTES = 128 };
    const struct plan *plan = part->plan;
    const fc_image *x = &plan->convolution->x, *dy = &plan->convolution->y;
    if (plan->transposed && plan->rows < dy->h)
        return;
    if (plan->transposed) {
        block->x_next = next_planes(part, x, &part->here.x);
        block->dy_next = next_planes(part, dy, &part->here.y);
    } else if (dy->c * plan->element <= SHORT_PIXEL) {
        block->x_next = patch->rows * block->row_step * x->stride_h;
        block->dy_next = patch->rows * dy->stride_h;
    } else if (fc_asks_for_rows(dy, plan->element)) {
        block->x_next = block->dy_next = FAR_BYTES / plan->element;
    }
}

/* Adds a block's sum to those of the chunk. */
static void add_block(const struct part *part, int64_t n, const struct fc_patch *patch)
{
    const struct plan *plan = part->plan;
    const struct fc_convolution *here = &part->here;
    const struct fc_axis *axis = here->axis;
    const fc_image *dy = &here->y;
    const int64_t elements = fc_whole_units(part->end - part->begin, plan->unit) * plan->taps;
    char *block = part->block + part->begin * plan->taps * plan->element;
    const struct fc_pixel_table table =
        fc_pixel_table_in(part->scratch, here, plan->padding, plan->need, plan->width);
    struct fc_depthwise_dkernel strip = {
        .pixel = table.pixel,
        .sums = part->block + part->first * plan->taps * plan->element,
        .ring = part->block + plan->sum_bytes,
        .rows = plan->walks ? patch->rows : 1,
        .columns = patch->columns,
        .begin = part->begin - part->first,
        .end = part->end - part->first,
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .row_step = axis[0].stride,
        .row_tap = axis[0].dilation,
        .column_step = axis[1].stride,
        .column_tap = axis[1].dilation,
        .dy_row = dy->stride_h,
        .dy_pixel = dy->stride_w,
    };
    memset(block, 0, (size_t)(elements * plan->element));
    for (int64_t r = 0; r < patch->rows; r += strip.rows) {
        const int64_t h = fc_patch_row(plan->blocks, patch, r), image = n - part->image;
        fc_pixel_table_aim(&table, image, h, strip.rows, patch->x_column, patch->x_columns);
        strip.dy = fc_image_at(dy, plan->element, image, h, patch->column, 0);
        if (plan->walks) {
            aim_next(part, patch, &strip);
            plan->kernels->depthwise.dkernel_walk(&strip);
        } else {
            aim_ahead(part, n, h, patch, &strip);
            plan->kernels->depthwise.dkernel(&strip);
        }
    }
    plan->kernels->conv2d.channel_sums(
        &(struct fc_channel_rows){.x = block,
                                  .sums = part->sums + part->begin * plan->taps * plan->element,
                                  .rows = 1,
                                  .pixels = 1,
                                  .channels = elements});
}

/* Rows [begin, end) of planes of image n to `to`, as those of what is there then. */
static void transpose_image(const struct part *part, const fc_image *image, int64_t n,
                            int64_t begin, int64_t end, char *to, fc_image *here)
{
    const struct plan *plan = part->plan;
    fc_image rows = *image;
    rows.data = (char *)rows.data + begin * rows.stride_h * plan->element;
    rows.h = end - begin;
    fc_image packed = fc_packed_image(to, &rows, part->end - part->begin);
    fc_transpose_channels(plan->kernels, plan->element, &rows, n, part->begin, &packed, true,
                          false);
    packed.data = to - begin * packed.stride_h * plan->element;
    packed.h = image->h;
    *here = packed;
}

/* Planes of image n, or the band of them that a block is the first to read. */
static void transpose(struct part *part, int64_t n, const struct fc_patch *patch)
{
    const struct plan *plan = part->plan;
    const struct fc_axis *axis = plan->convolution->axis;
    const fc_image *x = &plan->convolution->x, *dy = &plan->convolution->y;
    const bool whole = plan->rows >= dy->h;
    if (!plan->transposed ||
        (part->image == n && (whole || patch->row + patch->rows <= part->end_row)))
        return;
    const int64_t begin = whole ? 0 : patch->row, end = fc_min(begin + plan->rows, dy->h);
    const int64_t top = begin * axis[0].stride - axis[0].before;
    const int64_t x_begin = whole ? 0 : fc_min(fc_max(top, 0), x->h);
    const int64_t x_end =
        whole ? x->h : fc_max(fc_min(top + fc_window_reach(&axis[0], end - begin), x->h), x_begin);
    char *to = part->block + plan->sum_bytes + plan->ring_bytes;
    part->image = n;
    part->end_row = end;
    transpose_image(part, x, n, x_begin, x_end, to, &part->here.x);
    transpose_image(part, dy, n, begin, end, to + plan->x_bytes, &part->here.y);
}

/* The whole rows of dy that have just been read, for dbias: a pass of its own took a fifth of the time. */
static void add_bias(const struct part *part, int64_t n, const struct fc_patch *patch, int worker)
{
    const struct plan *plan = part->plan;
    const fc_image *dy = &plan->convolution->y;
    if (!plan->bias || patch->column + patch->columns < dy->w)
        return;
    const int64_t row = n * dy->h + patch->row, channels = part->end - part->begin;
    const fc_image *here = &part->here.y;
    if (plan->transposed)
        fc_add_packed_rows(plan->bias, row, patch->rows, part->begin, channels,
                           (const char *)here->data + patch->row * here->stride_h * plan->element,
                           here->stride_h, channels);
    else
        fc_add_rows(plan->bias, row, patch->rows, part->begin, channels, worker);
}

static void sum_chunk(void *context, int64_t item, int worker)
{
    const struct plan *plan = context;
    const int64_t blocks = fc_block_count(plan->blocks), chunk = item / plan->shares;
    struct part part = {
        .plan = plan,
        .begin = item % plan->shares * plan->share,
        .here = *plan->convolution,
        .scratch = plan->scratch + (size_t)worker * plan->worker_bytes,
        .sums = plan->sums + (size_t)chunk * plan->sum_bytes,
    };
    part.block = part.scratch + plan->table_bytes;
    part.end = fc_min(part.begin + plan->share, plan->convolution->y.c);
    const int64_t begin = plan->steps * chunk / plan->chunks;
    const int64_t end = plan->steps * (chunk + 1) / plan->chunks;
    if (plan->transposed && begin < end) {
        part.first = part.begin;
        part.image = -1;
        part.first_image = begin / blocks;
        part.last_image = (end - 1) / blocks;
    }
    for (int64_t step = begin; step < end; step++) {
        const struct fc_patch patch =
            fc_block_at(plan->convolution->axis, plan->blocks, step % blocks);
        if (patch.rows) {
            transpose(&part, step / blocks, &patch);
            add_block(&part, step / blocks, &patch);
            add_bias(&part, step / blocks, &patch, worker);
        }
    }
}

/* The first chunk's sums, complete, to dkernel. */
static void store(const struct plan *plan)
{
    const struct fc_kernel_view *kernel = &plan->convolution->kernel;
    for (int64_t tap = 0; tap < plan->taps; tap++)
        for (int64_t c = 0; c < kernel->groups; c += plan->unit)
            plan->kernels->conv2d.copy_block(&(struct fc_block){
                .x = plan->sums + (c * plan->taps + tap * plan->unit) * plan->element,
                .y = (char *)kernel->data +
                     (tap / kernel->kw * kernel->stride_kh + tap % kernel->kw * kernel->stride_kw +
                      c * kernel->stride_group) *
                         plan->element,
                .x_channel = 1,
                .y_pixel = 1,
                .y_channel = kernel->stride_group,
                .pixels = 1,
                .channels = fc_min(plan->unit, kernel->groups - c)});
}

/* Bits do not depend on how channels are shared, so that the threads may decide. */
static void share_channels(struct plan *plan, int threads)
{
    const int64_t units = fc_ceil_div(plan->convolution->y.c, plan->unit);
    const int64_t wanted = threads > 1 ? fc_ceil_div(2 * threads, plan->chunks) : 1;
    if (!plan->transposed)
        plan->share = fc_ceil_div(units, fc_min(wanted, units)) * plan->unit;
    plan->shares = fc_ceil_div(plan->convolution->y.c, plan->share);
}

/* Whether the kernel that walks over blocks takes it. */
static bool walks(const struct fc_axis axis[2], int64_t strides)
{
    bool fit = axis[0].stride == axis[1].stride && axis[0].stride <= strides;
    for (int i = 0; i < 2; i++)
        fit = fit && axis[i].taps == 3 && axis[i].dilation == 1;
    return fit;
}

static void size_scratch(struct plan *plan)
{
    const struct fc_axis *axis = plan->convolution->axis;
    plan->unit = fc_unit(plan->convolution->dtype);
    plan->taps = axis[0].taps * axis[1].taps;
    plan->elements = fc_whole_units(plan->convolution->y.c, plan->unit) * plan->taps;
    plan->sum_bytes = (size_t)(plan->elements * plan->element);
    plan->walks = walks(axis, plan->kernels->depthwise.walk_strides);
    plan->ring_bytes =
        plan->walks ? (size_t)(3 * fc_window_reach(&axis[1], plan->blocks->columns) * FC_UNIT_BYTES)
                    : 0;
    plan->need = fc_window_reach(&axis[0], plan->walks ? plan->blocks->rows : 1);
    plan->width = fc_window_reach(&axis[1], plan->blocks->columns);
    plan->table_bytes = fc_pixel_table_bytes(plan->need, plan->width);
    plan->worker_bytes = plan->table_bytes + plan->sum_bytes + plan->ring_bytes;
    if (plan->transposed) {
        const fc_image *x = &plan->convolution->x, *dy = &plan->convolution->y;
        plan->share = fc_transposed_dkernel(plan->convolution, &plan->rows);
        plan->rows = fc_min(fc_max(plan->rows, plan->blocks->rows), dy->h);
        const int64_t bytes = plan->share * plan->element;
        const int64_t x_rows =
            plan->rows < dy->h ? fc_min(fc_window_reach(axis, plan->rows), x->h) : x->h;
        plan->x_bytes = fc_round_to_line((size_t)(x_rows * x->w * bytes));
        plan->worker_bytes +=
            plan->x_bytes + fc_round_to_line((size_t)(plan->rows * dy->w * bytes));
    }
}

/* An item of its own, so that it runs in the library's floating-point state. */
static void add_chunks(void *context, int64_t item, int worker)
{
    (void)item, (void)worker;
    const struct plan *plan = context;
    fc_add_chunks(&plan->kernels->conv2d, plan->sums, plan->chunks, plan->elements, plan->element);
}

fc_status fc_depthwise_dkernel(const struct fc_convolution *convolution,
                               const struct fc_blocks *blocks, int64_t steps, int64_t chunks,
                               struct fc_channel_sums *bias, bool *finite)
{
    struct plan plan = {.convolution = convolution,
                        .blocks = blocks,
                        .kernels = fc_current_kernels(convolution->dtype),
                        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
                        .steps = steps,
                        .chunks = chunks,
                        .transposed = !fc_channels_together(convolution),
                        .bias = bias};
    size_scratch(&plan);
    const fc_image *dy = &convolution->y;
    const double work = (double)dy->n * (double)dy->h * (double)dy->w * (double)dy->c *
                        (2.0 * (double)plan.taps + FC_WORK_PER_ELEMENT);
    share_channels(&plan, fc_parallel_width(chunks * dy->c, work));
    const int width = fc_parallel_width(chunks * plan.shares, work);
    const size_t pixel = fc_round_to_line((size_t)(convolution->x.c * plan.element));
    const size_t bytes =
        pixel + (size_t)chunks * plan.sum_bytes + (size_t)width * plan.worker_bytes;
    char *scratch = fc_workspace_acquire(bytes + (bias ? fc_channel_sums_bytes(bias, width) : 0));
    if (!scratch)
        return FC_NO_MEMORY;
    plan.padding = scratch;
    plan.sums = plan.padding + pixel;
    plan.scratch = plan.sums + (size_t)chunks * plan.sum_bytes;
    if (bias)
        fc_begin_channel_sums(bias, scratch + bytes);
    fc_fill_padding_pixel(convolution, plan.padding);
    memset(plan.sums, 0, (size_t)chunks * plan.sum_bytes);
    fc_parallel_for(chunks * plan.shares, width, FC_FLUSH_DENORMALS, sum_chunk, &plan);
    if (chunks > 1)
        fc_parallel_for(1, 1, FC_FLUSH_DENORMALS, add_chunks, &plan);
    if (bias)
        fc_end_channel_sums(bias);
    /* Of the sums, where they are one after the other: to find each number in dkernel took half the time of a batch of
     * 8 of 1152 channels of 7 x 7 with 5 x 5 taps. Lanes without a channel are zeros. */
    *finite = fc_all_finite(plan.sums, plan.elements, plan.element);
    store(&plan);
    fc_workspace_release(scratch);
    return FC_OK;
}
