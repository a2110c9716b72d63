/* convolve_spread_planes_plan.c: when rows of taps become planes, and block sizes.
 *
 * Those that order a sum are the same for all instruction sets. */
#include "convolve_spread_planes_plan.h"

#include "convolve_spread_plan.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    T_BYTES = 256 * 1024,     /* of t, to stay in the second-level cache */
    X_BYTES = 32 * 1024,      /* of x, to stay in the nearest one, if a row does */
    IMAGE_BYTES = 128 * 1024, /* but of an image in planes all rows at once, if they are no more */
    MOST_ROWS = 64,           /* at a time */
    MOST_WIDTH = 2048,        /* so that scratch is bounded */
    MOST_ZEROS = 32,
    MOST_CHANNELS = 2048,
    MOST_COLUMNS = 12,   /* with 36 their weights leave the nearest cache: no gain */
    FEWEST_TERMS = 16,   /* to pay for t */
    FEWEST_PIXELS = 100, /* or one chain: 7x7 of 512 channels took 1.4 times lanes of taps */
    FEWEST_ROWS = 8,     /* of y, for each row that is multiplied twice */
    ITEMS = 4            /* for each thread */
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
    return fc_min(T_BYTES / (kernel->kh * kernel->c_out * pitch) - (kernel->kh - 1), MOST_ROWS);
}

bool fc_fits_spread_planes(const struct fc_spread *spread)
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

/* An odd number of units: planes a power of two apart would share a few sets of the nearest cache. */
static int64_t plane_of(int64_t length, int64_t unit)
{
    return (fc_ceil_div(length, unit) | 1) * unit;
}

void fc_plan_spread_planes(const struct fc_spread *spread, struct fc_spread_planes_plan *plan)
{
    const struct fc_kernel_view *kernel = &spread->kernel;
    const fc_image *x = &spread->x, *y = &spread->y;
    const int64_t element = (int64_t)fc_element_size(spread->dtype);
    plan->unit = fc_unit(spread->dtype);
    plan->columns = kernel->kh * kernel->c_out;
    plan->block = channels_of_chain(kernel);
    plan->zeros = zeros_of(spread);
    plan->pitch = spread->x.w + plan->zeros;

    const double work = 2.0 * (double)(y->n * spread->x.h * spread->x.w) * (double)kernel->c_in *
                        (double)(plan->columns * kernel->kw);
    const int64_t most_blocks = fc_max(y->h / (FEWEST_ROWS * kernel->kh), 1);
    plan->workers = fc_parallel_width(y->n * most_blocks, work);
    const int64_t wanted = plan->workers > 1 ? fc_ceil_div(ITEMS * plan->workers, y->n) : 1;
    plan->height = fc_ceil_div(y->h, fc_min(wanted, most_blocks));
    plan->row_blocks = fc_ceil_div(y->h, plan->height);
    plan->items = y->n * plan->row_blocks;
    const int64_t fit = fc_min(rows_that_fit(spread), plan->height);
    plan->rows = fc_ceil_div(plan->height, fc_ceil_div(plan->height, fit));

    /* Planes one after the other are a stream where all their rows are copied at once; in runs of 9 rows, 15
     * lines, they are none that the processor knows. */
    const int64_t rows = plan->rows + kernel->kh - 1, row = plan->block * plan->pitch * element;
    const bool whole = x->stride_w == 1 && plan->rows == y->h && x->h * row <= IMAGE_BYTES;
    plan->x_rows = fc_min(whole ? x->h : fc_max(X_BYTES / row, 1), rows);
    plan->x_plane = plane_of(plan->zeros + plan->x_rows * plan->pitch, plan->unit);
    plan->t_plane = plane_of(rows * plan->pitch, plan->unit);
    plan->weight_bytes =
        fc_round_to_line((size_t)(plan->columns * kernel->kw * kernel->c_in * element));
    /* Tiles and sums read whole units, FC_SUM_UNITS of them, beyond what they need. */
    const int64_t beyond = FC_SUM_UNITS * plan->unit;
    plan->x_bytes = (size_t)((plan->block * plan->x_plane + beyond) * element);
    plan->t_bytes = (size_t)((plan->columns * plan->t_plane + beyond) * element);
    plan->line = fc_ceil_div(y->w, plan->unit) * plan->unit;
    plan->line_bytes = (size_t)(kernel->c_out * plan->line * element);
    plan->worker_bytes = plan->x_bytes + plan->t_bytes + plan->line_bytes;
}
