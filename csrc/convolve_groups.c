/* convolve_groups.c: convolutions in groups of 4 or 8 channels, several groups in the lanes.
 *
 * A unit of 16 outputs is 4 groups of 4, and its inputs are the 16 channels beside it: group_tile
 * spreads each group's channel over the group's lanes by a permutation. Gathered beforehand, as lanes
 * of narrow groups are otherwise, x becomes 4 times as many numbers, which took longer than the sums.
 *
 * An item is a block of one image and a few units, whose x is packed with its padding. The kernel and
 * the order of the sums are those of other narrow groups: channels, then rows of taps, then columns. */
#include "convolve_groups.h"

#include "blocks.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 256 * 1024, /* packed rows of x, to stay in the second-level cache */
    MOST_UNITS = 4,             /* 256 bytes of each pixel */
    BLOCK_COLUMNS = 112,
    BLOCK_OUTPUTS = 2048
};

struct plan {
    struct fc_channels channels;
    struct fc_blocks blocks;
    int64_t units, shares; /* of an item; items that share a block */
    size_t packed_bytes, x_bytes, worker_bytes;
    int64_t items;
    int width;
};

struct job {
    const struct fc_convolution *convolution;
    const struct plan *plan;
    const struct fc_kernels *kernels;
    struct fc_padded padded;
    ptrdiff_t element;
    const char *packed;
    char *scratch;
};

bool fc_fits_groups(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t unit = FC_UNIT_BYTES / (int64_t)fc_element_size(convolution->dtype);
    const int64_t taps = kernel->kh * kernel->kw;
    return kernel->groups > 1 && kernel->c_in == kernel->c_out &&
           (kernel->c_out == 4 || kernel->c_out == 8) && kernel->c_out < unit &&
           kernel->groups * kernel->c_out % unit == 0 && taps > 0 &&
           taps * kernel->c_in <= FC_BLOCK_TERMS;
}

static bool make_plan(const struct fc_convolution *convolution, struct plan *plan)
{
    const fc_image *y = &convolution->y;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    plan->channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    const int64_t unit = plan->channels.unit, all = plan->channels.c_out / unit;
    plan->shares = fc_ceil_div(all, MOST_UNITS);
    plan->units = fc_ceil_div(all, plan->shares);
    fc_cut_blocks(convolution->axis, BLOCK_COLUMNS, BLOCK_OUTPUTS,
                  SCRATCH_BYTES / (FC_UNIT_BYTES * plan->units), &plan->blocks);
    const int64_t pixels = fc_block_pixels(convolution->axis, &plan->blocks);
    int64_t x;
    if (pixels < 0 || __builtin_mul_overflow(pixels, plan->units * FC_UNIT_BYTES, &x) ||
        !fc_packed_bytes(&plan->channels, convolution->dtype, &plan->packed_bytes))
        return false;
    plan->packed_bytes = convolution->packed ? 0 : fc_round_to_line(plan->packed_bytes);
    plan->x_bytes = (size_t)x;
    plan->worker_bytes = plan->x_bytes + (size_t)(plan->blocks.columns * unit * element);
    plan->items = y->n * fc_block_count(&plan->blocks) * plan->shares;
    const double work = 2.0 * (double)(y->n * y->h * y->w) * (double)y->c *
                        (double)(convolution->kernel.c_in * plan->channels.taps);
    plan->width = fc_parallel_width(plan->items, work);
    return true;
}

static char *row_of(const struct job *job, const fc_image *image, const struct fc_patch *patch,
                    int64_t n, int64_t r, int64_t k)
{
    const int64_t row = fc_patch_row(&job->plan->blocks, patch, r);
    return (char *)image->data + (n * image->stride_n + row * image->stride_h +
                                  patch->column * image->stride_w + k * image->stride_c) *
                                     job->element;
}

/* Outputs [k, k + unit) of row r: in tiles, and, where something else is to be done than storing them
 * together, through a strip. x is that of the row's first pixel and tap. */
static void compute_row(const struct job *job, const struct fc_patch *patch, int64_t n, int64_t r,
                        int64_t k, struct fc_group_tile *tile, const char *x, char *strip)
{
    const struct fc_convolution *convolution = job->convolution;
    const fc_image *y = &convolution->y, *residual = &convolution->residual;
    const int64_t unit = job->plan->channels.unit, most = job->kernels->few.group_pixels;
    const int64_t tiles = fc_ceil_div(patch->columns, most);
    const bool plain = y->stride_c == 1 && !residual->data;
    const char *bias =
        convolution->bias ? (const char *)convolution->bias + k * job->element : NULL;
    char *to = row_of(job, y, patch, n, r, k);
    tile->bias = plain ? bias : NULL;
    tile->activation = plain ? convolution->activation : FC_LINEAR;
    tile->y_step = plain ? y->stride_w : unit;
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t p = patch->columns * t / tiles;
        tile->pixels = (int)(patch->columns * (t + 1) / tiles - p);
        tile->x = x + p * tile->stride * FC_UNIT_BYTES;
        tile->y = (plain ? to : strip) + p * tile->y_step * job->element;
        job->kernels->few.group_tile(tile);
    }
    if (plain)
        return;
    job->kernels->conv2d.finish_block(&(struct fc_finish){
        .block = {.x = strip,
                  .y = to,
                  .x_pixel = unit,
                  .x_channel = 1,
                  .y_pixel = y->stride_w,
                  .y_channel = y->stride_c,
                  .pixels = patch->columns,
                  .channels = unit},
        .bias = bias,
        .residual = residual->data ? row_of(job, residual, patch, n, r, k) : NULL,
        .residual_pixel = residual->stride_w,
        .residual_channel = residual->stride_c,
        .activation = convolution->activation,
    });
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct job *job = context;
    const struct plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_axis *axis = job->convolution->axis;
    char *x = job->scratch + (size_t)worker * plan->worker_bytes;
    const int64_t blocks = fc_block_count(&plan->blocks);
    const int64_t first = index % plan->shares * plan->units * channels->unit;
    const int64_t count = fc_min(plan->units * channels->unit, channels->c_out - first);
    index /= plan->shares;
    const int64_t n = index / blocks;
    const struct fc_patch patch = fc_block_at(axis, &plan->blocks, index % blocks);
    if (patch.rows == 0 || count <= 0)
        return;
    fc_pack_slabs(&job->padded, n, &patch, channels->unit, first, count, x);
    const int64_t row_bytes = patch.x_columns * FC_UNIT_BYTES;
    struct fc_group_tile tile = {
        .kh = axis[0].taps,
        .kw = axis[1].taps,
        .x_row = patch.x_columns * channels->unit,
        .stride = axis[1].stride,
        .dilation = axis[1].dilation,
        .channels = job->convolution->kernel.c_in,
    };
    for (int64_t k = first; k < first + count; k += channels->unit) {
        const int64_t p = k / channels->panel;
        const char *slab = x + (k - first) / channels->unit * patch.x_rows * row_bytes;
        tile.kernel_step = fc_panel_width(channels, p);
        tile.kernel =
            job->packed + (fc_panel_offset(channels, 0, p) + k % channels->panel) * job->element;
        for (int64_t r = 0; r < patch.rows; r++)
            compute_row(job, &patch, n, r, k, &tile, slab + r * plan->blocks.row_stride * row_bytes,
                        x + plan->x_bytes);
    }
}

fc_status fc_convolve_groups(const struct fc_convolution *convolution)
{
    struct plan plan;
    size_t total;
    if (!make_plan(convolution, &plan) ||
        __builtin_mul_overflow(plan.worker_bytes, (size_t)plan.width, &total) ||
        __builtin_add_overflow(total, plan.packed_bytes, &total))
        return FC_OVERFLOW;
    char *scratch = fc_workspace_acquire(total);
    if (!scratch)
        return FC_NO_MEMORY;
    const struct fc_kernels *kernels = fc_current_kernels(convolution->dtype);
    struct job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(convolution, &kernels->conv2d, false),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
        .packed = convolution->packed ? convolution->packed : scratch,
        .scratch = scratch + plan.packed_bytes,
    };
    if (!convolution->packed)
        fc_pack_panels(&(struct fc_panels){&convolution->kernel, &plan.channels, &kernels->conv2d,
                                           job.element},
                       scratch);
    fc_parallel_for(plan.items, plan.width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}
