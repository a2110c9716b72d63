/* conv2d_dkernel_plan.c: block sizes of a kernel gradient.
 *
 * The gradient is cut into parts of OWNER channels x a few panels, each small enough to stay in the
 * second-level cache while the blocks of the batch pass over it. A part has one owner, which adds
 * block after block in order: a chain of multiply-adds within a block of at most BLOCK_PIXELS
 * pixels, then one addition. A block holds several images where they are small and x is not padded
 * (with 7 x 7 the additions would take a tenth of the time). Where there are fewer than PARTS_WANTED parts, the blocks are divided
 * into chunks with sums of their own: each costs three passes over the part, so that they are few.
 * Parts, blocks and chunks follow from the sizes alone, so the bits do not depend on threads or
 * instruction set. */
#include "conv2d_dkernel_plan.h"

#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum {
    BLOCK_PIXELS = 256,
    BLOCK_COLUMNS = 64,
    OWNER_ROWS = 1024,    /* rows of a packed kernel, channels * taps, that one part holds */
    OWNER_CHANNELS = 128, /* but no more channels than this */
    ONE_TAP_PANELS = 4,
    PARTS_WANTED = 8,
    X_PITCH = 2048, /* bytes from pixel to pixel that may be read in place */
    DY_PITCH = 1024
};

/* Whether channels lie together, and pixels near enough for the prefetcher of the first-level cache,
 * which follows strides of at most 2 KB: a tile keeps 97 % of the peak with 256 channels (1 KB) of both
 * or 512 of x, 90 with 512 of both, 66 with 1024. */
static bool lies_near(const fc_image *image, int64_t element, int64_t pitch)
{
    return image->stride_c == 1 && image->stride_w > 0 && image->stride_w * element <= pitch;
}

/* Whether several images' pixels can be read in place as a row an image. */
static bool rows_follow(const fc_image *image, int64_t images)
{
    return images == 1 || image->h == 1 || image->stride_h == image->w * image->stride_w;
}

static void plan_parts(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const bool one_tap = channels->taps == 1;
    const int64_t fit = OWNER_ROWS / fc_max(channels->taps, 1) / channels->slab * channels->slab;
    plan->part_channels = fc_max(fc_min(fit, OWNER_CHANNELS), channels->slab);
    plan->part_channels = fc_min(plan->part_channels, fc_max(channels->c_in, 1));
    /* A run of 16 channels is cut into tiles of 8 x 2; with one tap a longer one costs nothing. */
    if (one_tap && !channels->lanes)
        plan->channels.slab = plan->part_channels;
    plan->channel_parts = fc_ceil_div(channels->c_in, plan->part_channels);
    plan->part_panels = channels->lanes ? 1 : one_tap ? ONE_TAP_PANELS : FC_PANEL_UNITS;
    plan->part_panels = fc_min(plan->part_panels, fc_panel_count(channels));
    plan->panel_parts = fc_ceil_div(fc_panel_count(channels), plan->part_panels);
    plan->parts = channels->groups * plan->channel_parts * plan->panel_parts;
    fc_cut_blocks(convolution->axis, one_tap ? BLOCK_PIXELS : BLOCK_COLUMNS, BLOCK_PIXELS,
                  INT64_MAX, &plan->blocks);
    const bool dense = one_tap && !channels->lanes && fc_is_dense(convolution);
    plan->images = 1;
    if (dense && fc_block_count(&plan->blocks) == 1)
        plan->images = fc_max(
            fc_min(BLOCK_PIXELS / (plan->blocks.rows * plan->blocks.columns), convolution->y.n), 1);
    plan->steps = fc_ceil_div(convolution->y.n, plan->images) * fc_block_count(&plan->blocks);
    plan->x_in_place = dense && rows_follow(&convolution->x, plan->images) &&
                       lies_near(&convolution->x, element, X_PITCH);
    plan->dy_in_place =
        lies_near(&convolution->y, element, DY_PITCH) && rows_follow(&convolution->y, plan->images);
    plan->chunks =
        fc_max(fc_min(fc_ceil_div(PARTS_WANTED, fc_max(plan->parts, 1)), plan->steps), 1);
}

/* False where a count of bytes overflows. */
static bool plan_scratch(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan,
                         size_t *total)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t pixels = fc_block_pixels(convolution->axis, &plan->blocks);
    const int64_t lanes = channels->lanes ? channels->panel : 1;
    int64_t x;
    if (pixels < 0 ||
        __builtin_mul_overflow(pixels * plan->images, plan->part_channels * lanes * element, &x))
        return false;
    plan->x_bytes = fc_round_to_line((size_t)x);
    plan->dy_bytes = (size_t)(plan->images * plan->blocks.rows * plan->blocks.columns *
                              channels->panel * plan->part_panels * element);
    plan->offset_bytes = fc_round_to_line((size_t)channels->taps * sizeof(ptrdiff_t));
    plan->worker_bytes = plan->x_bytes + plan->dy_bytes + plan->offset_bytes;
    plan->part_elements =
        channels->taps * plan->part_channels * channels->panel * plan->part_panels;
    size_t sums;
    return !__builtin_mul_overflow((size_t)(plan->parts * plan->chunks),
                                   (size_t)(plan->part_elements * element), &sums) &&
           !__builtin_add_overflow(sums, plan->worker_bytes * (size_t)plan->width, total);
}

bool fc_plan_dkernel(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan,
                     size_t *total)
{
    const fc_image *dy = &convolution->y;
    plan->channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    plan_parts(convolution, plan);
    const double work = 2.0 * (double)(dy->n * dy->h * dy->w) * (double)dy->c *
                        (double)convolution->kernel.c_in * (double)plan->channels.taps;
    plan->width = fc_parallel_width(plan->parts * plan->chunks, work);
    return plan_scratch(convolution, plan, total);
}
