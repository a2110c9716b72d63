/* pool2d_sweep.c: how large windows are cut into blocks, and a block of them. */
#include "pool2d_sweep.h"

#include "transpose_channels.h"
#include "workspace.h"

enum {
    BLOCK = 480 * 1024, /* bytes of scratch: half of a second-level cache */
    MOST = 1 << 20,     /* where a row of windows, or a window, is so large */
    LONGEST = 1 << 12,  /* window */
    TOGETHER = 8,     /* units of channels of a block: 512 bytes of a pixel are read in one run, and
                           from the third-level cache 128 take twice as long */
    TRANSPOSED = 4,   /* where they do not lie together */
    FEW_COLUMNS = 32, /* of a block */
    MOST_STRIDE = 1 << 10,
    MOST_WINDOWS = 1 << 16 /* of a block, either way: products of sizes fit */
};

/* -------------------------------------------------------------------- plan */

static int64_t held(const struct fc_axis *axis, int64_t windows)
{
    return fc_min((windows - 1) * axis->stride + axis->taps, axis->in);
}

/* Elements of scratch for blocks of that size, but for what is kept. */
static int64_t set_block(struct fc_pool2d_sweeps *self, int64_t rows, int64_t columns,
                         int64_t channels)
{
    const int64_t unit = fc_unit(self->pass->dtype);
    const int64_t held_rows = held(self->axis[0], rows);
    const int64_t held_columns = held(self->axis[1], columns);
    self->rows = rows;
    self->columns = columns;
    self->channels = channels;
    self->pixel = self->wide ? fc_ceil_div(channels, unit) * unit : channels;
    /* Rows that lie a power of two apart would share sets of the first-level cache. */
    self->row = (fc_ceil_div(columns * self->pixel, 2 * unit) * 2 + 1) * unit;
    /* Results of planes are one row without gaps, which squares fill better. */
    const bool ragged = self->staged && !self->numbered && columns % unit > 0;
    self->result_row = ragged ? columns * self->pixel : self->row;
    self->abreast = fc_min(fc_ceil_div(held_rows, unit), 4) * unit;
    self->elements[0] = 0;
    if (!self->wide)
        self->elements[0] =
            (held_columns + columns * (self->numbered ? 2 : 1)) * channels * self->abreast;
    else if (self->staged)
        self->elements[0] = held_rows * held_columns * self->pixel;
    self->elements[1] = held_rows * self->row;
    self->elements[2] = self->direct_y ? 0 : rows * self->row;
    return self->elements[0] + (self->numbered ? 2 : 1) * (self->elements[1] + self->elements[2]);
}

/* Whether all threads have something to do. */
static bool feeds(const struct fc_pool2d_sweeps *self, int64_t rows, int64_t channels)
{
    const fc_image *x = self->x;
    const int64_t groups = fc_ceil_div(x->c, channels);
    const int64_t bands = self->whole_rows ? 1 : fc_ceil_div(self->axis[0]->out, rows);
    return x->n * groups * bands >= self->threads;
}

/* Halves what loses least by it. */
static bool choose_block(struct fc_pool2d_sweeps *self)
{
    const struct fc_axis *vertical = self->axis[0], *horizontal = self->axis[1];
    const int64_t unit = fc_unit(self->pass->dtype), c = self->x->c;
    const int64_t some_rows = fc_ceil_div(vertical->taps, vertical->stride);
    int64_t rows = fc_min(vertical->out, MOST_WINDOWS);
    int64_t columns = fc_min(horizontal->out, MOST_WINDOWS);
    int64_t channels = self->x->stride_c == 1 ? c : 1;
    if (self->wide)
        channels = fc_min((self->staged ? TRANSPOSED : TOGETHER) * unit, c);
    if (self->whole_rows && columns < horizontal->out)
        return false;
    while (self->wide && channels > unit && !feeds(self, rows, channels))
        channels = fc_ceil_div(channels, 2 * unit) * unit;
    while (!self->whole_rows && rows > some_rows && !feeds(self, rows, channels))
        rows = fc_max(fc_ceil_div(rows, 2), some_rows);
    while (set_block(self, rows, columns, channels) * (int64_t)self->size > BLOCK) {
        if (rows > some_rows)
            rows = fc_max(fc_ceil_div(rows, 2), some_rows);
        else if (!self->whole_rows && columns > FEW_COLUMNS)
            columns = fc_ceil_div(columns, 2);
        else if (self->wide && channels > unit)
            channels = fc_ceil_div(channels, 2 * unit) * unit;
        else if (set_block(self, rows, columns, channels) * (int64_t)self->size <= MOST)
            break;
        else if (rows > 1)
            rows = fc_ceil_div(rows, 2);
        else
            return false;
    }
    self->groups = fc_ceil_div(c, channels);
    self->bands = fc_ceil_div(vertical->out, rows);
    self->column_bands = fc_ceil_div(horizontal->out, columns);
    return true;
}

void fc_pool2d_sweep_merge(fc_image *const *images, int count)
{
    for (int i = 0; i < count; i++)
        if (images[i]->c == 1)
            images[i]->stride_c = images[i]->stride_n;
    fc_pool2d_merge_planes(images, count);
}

static bool slides(const struct fc_axis *axis)
{
    return axis->dilation == 1 && axis->out > 0 && axis->taps <= LONGEST &&
           axis->stride <= MOST_STRIDE && axis->stride < axis->taps && axis->before < axis->taps &&
           axis->out <= INT32_MAX / axis->stride &&
           (axis->out - 1) * axis->stride - axis->before < axis->in;
}

/* Chooses lanes. */
static bool find_lanes(struct fc_pool2d_sweeps *self)
{
    const fc_image *x = self->x, *y = self->y;
    const bool pixels = x->stride_c == 1 && (!y || y->stride_c == 1);
    const bool planes = x->stride_w == 1 && (!y || y->stride_w == 1);
    self->wide = x->c >= fc_unit(self->pass->dtype);
    self->staged = self->wide && x->stride_c != 1;
    self->direct_y = y && !self->numbered && y->stride_c == 1;
    if (self->wide)
        return pixels || planes;
    if (pixels && x->stride_w == x->c) {
        self->direct_y = self->direct_y && y->stride_w == x->c;
        return true;
    }
    self->direct_y = y && !self->numbered;
    return planes;
}

bool fc_pool2d_sweep_plan(struct fc_pool2d_sweeps *self)
{
    const struct fc_pool2d_pass *pass = self->pass;
    for (int d = 0; d < 2; d++)
        self->axis[d] = &pass->axis[d].axis;
    self->size = fc_element_size(pass->dtype);
    if (pass->pooling == FC_AVG || !slides(self->axis[0]) || !slides(self->axis[1]) ||
        !find_lanes(self) || !choose_block(self))
        return false;
    const int64_t room = fc_unit(pass->dtype);
    const int64_t taps = fc_max(self->axis[0]->taps, self->axis[1]->taps);
    for (int i = 0; i < 3; i++)
        self->elements[i] += self->elements[i] ? room : 0;
    self->elements[3] = taps * FC_POOL2D_SWEPT * room;
    int64_t all = self->elements[0] + self->elements[3];
    all += (self->numbered ? 2 : 1) * (self->elements[1] + self->elements[2]);
    self->bytes = (size_t)all * self->size;
    return true;
}

/* ------------------------------------------------------------------- block */

/* A block at work: its pixels of x, and arrays in scratch. */
struct work {
    const struct fc_pool2d_sweeps *self;
    const struct fc_pool2d_block *block;
    int64_t first[2], held[2], before[2], out[2];
    char *staged, *kept;
    char *best[2], *numbers[2]; /* of windows of rows, and of windows */
};

static ptrdiff_t bytes(const struct fc_pool2d_sweeps *self, ptrdiff_t elements)
{
    return elements * (ptrdiff_t)self->size;
}

static char *pixel_of_x(const struct work *work, int64_t row)
{
    return fc_image_at(work->self->x, work->self->size, work->block->image, work->first[0] + row,
                       work->first[1], work->block->channel);
}

static void set_work(struct work *work, char *scratch)
{
    const struct fc_pool2d_sweeps *self = work->self;
    const int64_t from[2] = {work->block->row, work->block->column};
    const int64_t end[2] = {work->block->row_end, work->block->column_end};
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = self->axis[d];
        const int64_t begin = from[d] * axis->stride - axis->before;
        work->out[d] = end[d] - from[d];
        work->first[d] = fc_max(begin, 0);
        work->before[d] = work->first[d] - begin;
        work->held[d] = fc_min((end[d] - 1) * axis->stride - axis->before + axis->taps, axis->in) -
                        work->first[d];
    }
    work->kept = scratch;
    scratch += bytes(self, self->elements[3]);
    work->staged = scratch;
    scratch += bytes(self, self->elements[0]);
    for (int i = 0; i < 2; i++) {
        work->best[i] = scratch;
        scratch += bytes(self, self->elements[i + 1]);
        work->numbers[i] = self->numbered ? scratch : NULL;
        scratch += bytes(self, self->numbered ? self->elements[i + 1] : 0);
    }
}

/* What windows in direction d are. */
static struct fc_pool2d_sweep sweep_of(const struct work *work, int d)
{
    const struct fc_axis *axis = work->self->axis[d];
    return (struct fc_pool2d_sweep){.kept = work->kept,
                                    .in = work->held[d],
                                    .out = work->out[d],
                                    .taps = axis->taps,
                                    .stride = axis->stride,
                                    .before = work->before[d],
                                    .number_step = work->self->number_step[d]};
}

static void run(const struct work *work, const struct fc_pool2d_sweep *sweep)
{
    const struct fc_pool2d_pass *pass = work->self->pass;
    pass->kernels->pool2d.sweep[pass->pooling](sweep);
}

/* Pixels of an image, or of a part that it shows, to what is packed in such rows, or from there. */
static void put(const struct work *work, const fc_image *image, char *at, ptrdiff_t row, bool pack)
{
    const struct fc_pool2d_sweeps *self = work->self;
    const fc_image packed = {.data = at,
                             .c = work->block->channels,
                             .stride_h = row,
                             .stride_w = self->pixel,
                             .stride_c = 1};
    fc_transpose_channels(self->pass->kernels, (ptrdiff_t)self->size, image, 0, 0, &packed, pack,
                          false);
}

/* Windows of rows, channels as lanes. */
static void sweep_channels(const struct work *work)
{
    const struct fc_pool2d_sweeps *self = work->self;
    const fc_image *x = self->x;
    struct fc_pool2d_sweep sweep = sweep_of(work, 1);
    sweep.columns = work->held[0];
    sweep.lanes = work->block->channels;
    sweep.x = pixel_of_x(work, 0);
    sweep.x_column = x->stride_h;
    sweep.x_step = x->stride_w;
    sweep.y = work->best[0];
    sweep.numbers = work->numbers[0];
    sweep.y_column = self->row;
    sweep.y_step = self->pixel;
    if (self->staged) {
        fc_image here = *x;
        here.data = pixel_of_x(work, 0);
        here.h = work->held[0];
        here.w = work->held[1];
        put(work, &here, work->staged, here.w * self->pixel, true);
        sweep.x = work->staged;
        sweep.lanes = self->pixel;
        sweep.x_column = here.w * self->pixel;
        sweep.x_step = self->pixel;
    }
    run(work, &sweep);
}

/* Windows of rows, rows as lanes. */
static void sweep_rows(const struct work *work)
{
    const struct fc_pool2d_sweeps *self = work->self;
    const struct fc_kernels *kernels = self->pass->kernels;
    const int64_t channels = work->block->channels, lanes = self->abreast;
    const int64_t in = work->held[1] * channels, out = work->out[1] * channels;
    char *turned = work->staged + bytes(self, in * lanes),
         *numbers = turned + bytes(self, out * lanes);
    struct fc_pool2d_sweep sweep = sweep_of(work, 1);
    sweep.columns = channels;
    sweep.x = work->staged;
    sweep.y = turned;
    sweep.numbers = self->numbered ? numbers : NULL;
    sweep.x_column = sweep.y_column = lanes;
    sweep.x_step = sweep.y_step = channels * lanes;
    for (int64_t r = 0; r < work->held[0]; r += lanes) {
        sweep.lanes = fc_min(work->held[0] - r, lanes);
        kernels->conv2d.copy_block(&(struct fc_block){.x = pixel_of_x(work, r),
                                                      .y = work->staged,
                                                      .x_pixel = 1,
                                                      .x_channel = self->x->stride_h,
                                                      .y_pixel = lanes,
                                                      .y_channel = 1,
                                                      .pixels = in,
                                                      .channels = sweep.lanes});
        const int64_t rows = sweep.lanes;
        sweep.lanes = fc_ceil_div(rows, fc_unit(self->pass->dtype)) * fc_unit(self->pass->dtype);
        run(work, &sweep);
        struct fc_block back = {.x = turned,
                                .y = work->best[0] + r * bytes(self, self->row),
                                .x_pixel = 1,
                                .x_channel = lanes,
                                .y_pixel = self->row,
                                .y_channel = 1,
                                .pixels = rows,
                                .channels = out};
        kernels->conv2d.copy_block(&back);
        if (self->numbered) {
            back.x = numbers;
            back.y = work->numbers[0] + r * bytes(self, self->row);
            kernels->conv2d.copy_block(&back);
        }
    }
}

/* Windows of the results, to y or to scratch. */
static void sweep_results(const struct work *work, char *y)
{
    const struct fc_pool2d_sweeps *self = work->self;
    const int64_t channels = work->block->channels;
    struct fc_pool2d_sweep sweep = sweep_of(work, 0);
    sweep.columns = self->wide ? work->out[1] : 1;
    sweep.lanes = self->wide ? channels : work->out[1] * channels;
    sweep.x = work->best[0];
    sweep.given = work->numbers[0];
    sweep.y = self->y ? work->best[1] : NULL;
    sweep.numbers = work->numbers[1];
    sweep.x_column = sweep.y_column = self->pixel;
    sweep.x_step = self->row;
    sweep.y_step = self->result_row;
    if (self->direct_y) {
        sweep.y = y;
        sweep.y_column = self->y->stride_w;
        sweep.y_step = self->y->stride_h;
    }
    run(work, &sweep);
}

struct fc_pool2d_found fc_pool2d_sweep_block(const struct fc_pool2d_sweeps *self,
                                             const struct fc_pool2d_block *block, char *scratch)
{
    struct work work = {.self = self, .block = block};
    set_work(&work, scratch);
    if (self->wide)
        sweep_channels(&work);
    else
        sweep_rows(&work);
    char *y = NULL;
    if (self->y)
        y = fc_image_at(self->y, self->size, block->image, block->row, block->column,
                        block->channel);
    sweep_results(&work, y);
    if (y && !self->direct_y) {
        fc_image here = *self->y;
        here.data = y;
        here.h = work.out[0];
        here.w = work.out[1];
        put(&work, &here, work.best[1], self->result_row, false);
    }
    return (struct fc_pool2d_found){.row = work.first[0],
                                    .column = work.first[1],
                                    .numbers = work.numbers[1],
                                    .numbers_row = self->row,
                                    .numbers_column = self->pixel};
}
