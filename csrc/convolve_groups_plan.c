/* convolve_groups_plan.c: when several groups share the lanes, and block sizes.
 *
 * None of the sizes changes a bit of the result. */
#include "convolve_groups_plan.h"

#include "dispatch.h"
#include "few_kernels.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 384 * 1024, /* packed rows of x, to stay in the second-level cache */
    BLOCK_COLUMNS = 112,
    BLOCK_OUTPUTS = 2048,
    NEAR_OUTPUTS = 28,  /* of a unit before the next: its 9 KB of weights stay near, */
    PLANE_OUTPUTS = 112 /* or of a strip, which planes take in longer runs */
};

bool fc_fits_groups(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t count = kernel->c_out;
    if (kernel->groups == 1 || kernel->c_in != count || count < FC_FEWEST_GROUPED ||
        (count & (count - 1)) != 0 || kernel->kh < 1 || kernel->kw < 1)
        return false;
    const struct fc_channels channels = fc_plan_channels(kernel, convolution->dtype);
    return count <= channels.unit && kernel->groups * count % channels.unit == 0;
}

bool fc_fits_group_parts(const struct fc_convolution *parts, int64_t count)
{
    if (count > FC_MOST_GROUP_PARTS)
        return false;
    for (int64_t i = 0; i < count; i++) {
        const struct fc_axis *axis = parts[i].axis;
        if (!fc_fits_groups(&parts[i]) || !fc_pads_with_zero(&parts[i]) || axis[0].stride != 1 ||
            axis[1].stride != 1 || axis[0].dilation != 1 || axis[1].dilation != 1)
            return false;
    }
    return true;
}

/* Whether three taps slide over each row and at most one of them leaves it, whose column the tiles at
 * the edges leave out. */
static bool pads_one_column(const struct fc_axis axis[2])
{
    const struct fc_axis *across = &axis[1];
    return axis[0].dilation == 1 && across->taps == 3 && across->stride == 1 &&
           across->dilation == 1 && across->before <= 1 &&
           across->out + 2 - across->before - across->in <= 1;
}

/* What all parts read of x, as one that has all their taps. */
static void cover_parts(const struct fc_convolution *parts, int64_t count, struct fc_axis axis[2])
{
    for (int a = 0; a < 2; a++) {
        axis[a] = parts[0].axis[a];
        int64_t after = axis[a].taps - axis[a].before;
        for (int64_t i = 1; i < count; i++) {
            const struct fc_axis *part = &parts[i].axis[a];
            axis[a].before = fc_max(axis[a].before, part->before);
            axis[a].out = fc_max(axis[a].out, part->out);
            after = fc_max(after, part->taps - part->before);
        }
        axis[a].taps = axis[a].before + after;
    }
}

/* The packed kernels of all parts, one after the other. False: overflow. */
static bool plan_parts(const struct fc_convolution *parts, struct fc_groups_plan *plan)
{
    plan->packed_bytes = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        struct fc_groups_part *part = &plan->part[i];
        size_t bytes;
        part->channels = fc_plan_channels(&parts[i].kernel, parts[i].dtype);
        part->packed = plan->packed_bytes;
        part->at[0] = i / plan->step[1];
        part->at[1] = i % plan->step[1];
        part->slides = plan->skip_rows && pads_one_column(parts[i].axis);
        for (int a = 0; a < 2; a++)
            part->shift[a] = plan->axis[a].before - parts[i].axis[a].before;
        if (!fc_packed_bytes(&part->channels, parts[i].dtype, &bytes))
            return false;
        plan->packed_bytes += fc_round_to_line(bytes);
    }
    if (parts[0].packed)
        plan->packed_bytes = 0;
    return true;
}

bool fc_plan_groups(const struct fc_convolution *parts, const int64_t step[2],
                    struct fc_groups_plan *plan)
{
    const fc_image *y = &parts[0].y;
    const int64_t element = (int64_t)fc_element_size(parts[0].dtype);
    plan->step[0] = step[0];
    plan->step[1] = step[1];
    plan->count = step[0] * step[1];
    plan->skip_rows = fc_pads_with_zero(&parts[0]);
    cover_parts(parts, plan->count, plan->axis);
    if (!plan_parts(parts, plan))
        return false;
    const int64_t unit = plan->unit = plan->part[0].channels.unit, all = y->c / unit;
    plan->shares = fc_ceil_div(all, FC_MOST_GROUP_UNITS);
    plan->units = fc_ceil_div(all, plan->shares);
    fc_cut_blocks(plan->axis, BLOCK_COLUMNS, BLOCK_OUTPUTS,
                  SCRATCH_BYTES / (FC_UNIT_BYTES * plan->units), &plan->blocks);
    const int64_t pixels = fc_block_pixels(plan->axis, &plan->blocks);
    int64_t x;
    if (pixels < 0 || __builtin_mul_overflow(pixels, plan->units * FC_UNIT_BYTES, &x))
        return false;
    /* Two rows of 56 are whole lines of planes, which may go past the caches: 8 images of 128 channels took 3.47 ms and
     * take 3.14, 28x28 of 256 2.71 and 2.60. Where channels lie together, 112 gain nothing. */
    const int64_t near = y->stride_c == 1 ? NEAR_OUTPUTS : PLANE_OUTPUTS;
    plan->rows = fc_max(fc_min(near / plan->blocks.columns, plan->blocks.rows), 1);
    plan->inside = plan->count == 1 && plan->part[0].slides;
    plan->x_bytes = (size_t)(x + FC_UNIT_BYTES);
    plan->worker_bytes =
        plan->x_bytes + (size_t)(plan->rows * plan->blocks.columns * plan->count * unit * element);
    plan->items = y->n * fc_block_count(&plan->blocks) * plan->shares;
    double taps = 0;
    for (int64_t i = 0; i < plan->count; i++)
        taps += (double)plan->part[i].channels.taps;
    const double work = 2.0 * (double)(y->n * plan->axis[0].out * plan->axis[1].out) *
                        (double)y->c * (double)parts[0].kernel.c_in * taps;
    plan->width = fc_parallel_width(plan->items, work);
    return true;
}
