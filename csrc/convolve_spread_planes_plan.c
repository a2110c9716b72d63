/* convolve_spread_planes_plan.c: when taps or rows of them become planes, and block sizes.
 *
 * Those that order a sum are the same for all instruction sets. */
#include "convolve_spread_planes_plan.h"

#include "convolve_spread_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    CHAINED_BYTES = 256 * 1024, /* of t where rows of taps are chains, which orders sums; */
    T_BYTES = 384 * 1024,       /* of any, to stay in the second-level cache */
    X_BYTES = 32 * 1024,        /* of x, to stay in the nearest one, if a row does; */
    WIDE_BYTES = 128 * 1024,    /* where taps are no chain, it is enough that a tile's pixels do */
    IMAGE_BYTES = 128 * 1024, /* but of an image in planes all rows at once, if they are no more */
    MOST_ROWS = 64,           /* at a time */
    MOST_WIDTH = 2048,        /* so that scratch is bounded */
    MOST_ZEROS = 32,
    MOST_CHANNELS = 2048,
    MOST_COLUMNS = 12,   /* with 36 their weights leave the nearest cache: no gain */
    FEWEST_TERMS = 16,   /* to pay for t */
    FEWEST_PIXELS = 100, /* or one chain: 7x7 of 512 channels took 1.4 times lanes of taps */
    FEWEST_ROWS = 8,     /* of y, for each row that is multiplied twice */
    ITEMS = 4,           /* for each thread */
    MOST_PLANES = 256,   /* of t: 363 took 4 % more than lanes of taps */
    FEWEST_COLUMNS = 48, /* of x, to fill tiles */
    LEAST_SAVED = 16,    /* one of so many lanes, to pay for turning x */
    NEAREST_SETS = 64,   /* lines of 4 KB, each of which has so many ways in the nearest cache */
    NEAREST_WAYS = 8,
    TILE_LINES = 5 /* of a row of x that a tile reads */
};

/* Between rows: as many zeros as the taps beyond an edge read. */
static int64_t zeros_of(const struct fc_spread *spread)
{
    const int64_t left = spread->kernel.kw - 1 - spread->before[1];
    return fc_max(fc_max(left, spread->y.w - spread->x.w + spread->before[1]), 0);
}

/* Channels of a chain: blocks of near-equal length. */
static int64_t channels_of_chain(const struct fc_kernel_view *kernel)
{
    const int64_t most = fc_max(FC_BLOCK_TERMS / kernel->kw, 1);
    return fc_ceil_div(kernel->c_in, fc_ceil_div(kernel->c_in, most));
}

/* Rows of y for which t fits. */
static int64_t rows_that_fit(const struct fc_spread *spread)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t pitch =
        (spread->x.w + zeros_of(spread)) * (int64_t)fc_element_size(spread->dtype);
    return fc_min(CHAINED_BYTES / (kernel->kh * kernel->c_out * pitch) - (kernel->kh - 1),
                  MOST_ROWS);
}

bool fc_chains_rows(const struct fc_spread *spread)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t unit = fc_unit(spread->dtype);
    if (spread->stride[0] != 1 || spread->stride[1] != 1 || kernel->groups != 1 || kernel->kh < 2 ||
        kernel->kw < 2 || kernel->kh > FC_MOST_SPREAD_TAPS || kernel->kw > FC_MOST_SPREAD_TAPS ||
        kernel->c_out >= unit || kernel->kh * kernel->c_out > MOST_COLUMNS ||
        kernel->c_in > MOST_CHANNELS || kernel->c_in * kernel->kw < FEWEST_TERMS)
        return false;
    if (spread->x.w < 1 || spread->x.w > MOST_WIDTH || zeros_of(spread) > MOST_ZEROS ||
        rows_that_fit(spread) < 1)
        return false;
    return channels_of_chain(kernel) == kernel->c_in ||
           spread->x.h >= fc_ceil_div(FEWEST_PIXELS, spread->x.w);
}

/* Rows of 28 pixels in planes took 3 to 20 % less than with taps in the lanes, rows of 14 as much more; 96 channels of
 * 56 x 56 to 48 sums 15 % more where x must be turned. */
bool fc_prefers_planes(const struct fc_spread *spread)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t unit = fc_unit(spread->dtype), sums = kernel->kh * kernel->kw * kernel->c_out;
    const int64_t lanes = fc_whole_units(sums, unit);
    if (sums > MOST_PLANES)
        return false;
    return spread->x.stride_w == 1
               ? spread->x.w >= FEWEST_COLUMNS / 2
               : spread->x.w >= FEWEST_COLUMNS && LEAST_SAVED * (lanes - sums) >= sums;
}

/* An odd number of units: planes a power of two apart would share a few sets of the nearest cache. */
static int64_t plane_of(int64_t length, int64_t unit)
{
    return (fc_ceil_div(length, unit) | 1) * unit;
}

/* Columns: all of a row, with zeros between rows that those before and after share, or as many as t fits for,
 * and what they read beyond. */
static void cut_columns(const struct fc_spread *spread, struct fc_spread_planes_plan *plan,
                        int64_t element)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t stride = spread->stride[1], before = spread->before[1], width = spread->x.w;
    plan->pixels = fc_ceil_div(spread->y.w, stride);
    plan->width = plan->pixels;
    plan->blocks = 1;
    plan->reach[0] = -width;
    plan->reach[1] = width;
    plan->zeros = zeros_of(spread);
    plan->pitch = width + plan->zeros;
    plan->cut = false;
    plan->head = plan->x_head = 0;
    if (plan->chained > 1) {
        plan->x_head = plan->zeros;
        return;
    }
    plan->reach[0] = fc_floor_div(before, stride) - (fc_ceil_div(kernel->kw, stride) - 1);
    plan->reach[1] = fc_floor_div(before + stride - 1, stride);
    plan->zeros = fc_max(fc_max(-plan->reach[0], plan->pixels + plan->reach[1] - width), 0);
    const int64_t row = fc_ceil_div(kernel->kh, spread->stride[0]) * plan->columns * element;
    const int64_t most = fc_max(fc_min(T_BYTES / row, MOST_WIDTH), FEWEST_COLUMNS);
    plan->pitch = width + plan->zeros;
    plan->head = fc_whole_units(plan->zeros, plan->unit);
    plan->cut = plan->pitch > most || plan->reach[0] > 0;
    if (!plan->cut)
        return;
    plan->head = 0;
    plan->blocks = fc_ceil_div(plan->pixels, most);
    plan->width = fc_ceil_div(plan->pixels, plan->blocks);
    plan->pitch = plan->width + plan->reach[1] - plan->reach[0];
}

static void cut_rows(const struct fc_spread *spread, struct fc_spread_planes_plan *plan)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const fc_image *y = &spread->y;
    const double work = 2.0 * (double)(y->n * spread->x.h * spread->x.w) * (double)kernel->c_in *
                        (double)(plan->columns * plan->chained);
    const int64_t columns = y->n * plan->blocks;
    const int64_t most_blocks = fc_max(y->h / (FEWEST_ROWS * kernel->kh), 1);
    plan->workers = fc_parallel_width(columns * most_blocks, work);
    const int64_t wanted = plan->workers > 1 ? fc_ceil_div(ITEMS * plan->workers, columns) : 1;
    plan->height = fc_ceil_div(y->h, fc_min(wanted, most_blocks));
    plan->row_blocks = fc_ceil_div(y->h, plan->height);
    plan->items = columns * plan->row_blocks;
}

/* Planes that a tile may read where they lie, since their rows do not meet in a few sets of the nearest cache. */
static bool reads_in_place(const struct fc_spread *spread, const struct fc_spread_planes_plan *plan,
                           int64_t element)
{
    const int64_t page = NEAREST_SETS * FC_CACHE_LINE;
    const int64_t apart = fc_greatest_common_divisor(spread->x.stride_c * element, page);
    const int64_t sets = fc_min(page / apart * TILE_LINES, NEAREST_SETS);
    return plan->chained == 1 && spread->x.stride_w == 1 && spread->x.w >= FEWEST_COLUMNS &&
           plan->block * TILE_LINES <= sets * NEAREST_WAYS;
}

/* Rows of t that are kept, whole blocks of x_rows, for those of an item or of a row of y. */
static int64_t slots_of(int64_t x_rows, int64_t all, int64_t reach)
{
    return x_rows >= all ? x_rows : fc_whole_units(x_rows + reach - 1, x_rows);
}

/* Units of t that so many rows of x take, one for the last to begin within. */
static int64_t units_of(const struct fc_spread_planes_plan *plan, int64_t rows, int64_t length)
{
    return fc_ceil_div((rows - 1) * plan->pitch + length, plan->unit) + 1;
}

/* Rows of x at a time: those that leave the fewest lanes empty. Planes one after the other are a stream where all their
 * rows are copied at once; in runs of 9 rows, 15 lines, they are none that the processor knows. */
static void choose_rows(const struct fc_spread *spread, struct fc_spread_planes_plan *plan,
                        int64_t element)
{
    const fc_image *x = &spread->x, *y = &spread->y;
    const int64_t stride = spread->stride[0], reach = fc_ceil_div(spread->kernel.kh, stride);
    const int64_t all = fc_max(fc_min(fc_ceil_div(plan->height, stride) + reach, x->h), 1);
    const int64_t row = plan->block * plan->pitch * element,
                  t = plan->columns * plan->pitch * element;
    const int64_t length = plan->chained > 1 ? y->w : x->w;
    const bool whole = x->stride_w == 1 && plan->height == y->h && x->h * row <= IMAGE_BYTES;
    int64_t most =
        plan->cut || plan->in_place
            ? 1
            : fc_min(whole ? x->h : fc_max((plan->chained > 1 ? X_BYTES : WIDE_BYTES) / row, 1),
                     all);
    while (most > 1 && slots_of(most, all, reach) * t > T_BYTES)
        most--;
    plan->x_rows = most;
    for (int64_t rows = most - 1; rows > 0 && plan->chained == 1; rows--)
        if (units_of(plan, rows, length) * plan->x_rows <
            units_of(plan, plan->x_rows, length) * rows)
            plan->x_rows = rows;
    plan->slots = slots_of(plan->x_rows, all, reach);
}

void fc_plan_spread_planes(const struct fc_spread *spread, struct fc_spread_planes_plan *plan)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const int64_t element = (int64_t)fc_element_size(spread->dtype);
    const bool chains = fc_chains_rows(spread);
    plan->unit = fc_unit(spread->dtype);
    plan->chained = chains ? kernel->kw : 1;
    plan->taps = kernel->kw / plan->chained;
    plan->columns = kernel->kh * plan->taps * kernel->c_out;
    plan->block = chains ? channels_of_chain(kernel) : fc_min(kernel->c_in, FC_BLOCK_TERMS);
    cut_columns(spread, plan, element);
    cut_rows(spread, plan);
    plan->in_place = reads_in_place(spread, plan, element);
    choose_rows(spread, plan, element);
    plan->x_plane = plane_of(plan->x_head + plan->x_rows * plan->pitch, plan->unit);
    plan->t_plane = plane_of(plan->head + plan->slots * plan->pitch, plan->unit);
    plan->phases = spread->stride[1];
    plan->tap = kernel->c_out * plan->t_plane;
    plan->phase_of_taps = plan->phases * plan->tap;
    plan->row_of_taps = plan->taps * plan->tap;
    plan->down = plan->pitch - spread->stride[0] * plan->row_of_taps;
    plan->line = fc_whole_units(plan->width, plan->unit);
    plan->bias_bytes =
        spread->bias ? fc_round_to_line((size_t)(spread->stride[1] * kernel->c_out * element)) : 0;
    plan->weight_bytes =
        plan->bias_bytes +
        fc_round_to_line((size_t)(plan->columns * plan->chained * kernel->c_in * element));
    /* Tiles and sums read whole units, FC_SUM_UNITS of them, beyond what they need. */
    const int64_t beyond = FC_SUM_UNITS * plan->unit;
    plan->x_bytes = (size_t)((plan->block * plan->x_plane + beyond) * element);
    plan->t_bytes = (size_t)((plan->columns * plan->t_plane + beyond) * element);
    const int64_t lines = spread->stride[1] * kernel->c_out * plan->line;
    plan->worker_bytes = plan->x_bytes + plan->t_bytes + (size_t)(lines * element);
}
