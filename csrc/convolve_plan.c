/* convolve_plan.c: block sizes.
 *
 * A block's packed rows should stay in the second-level cache (SCRATCH_BYTES, half of the smallest
 * such cache of AVX-512 machines) while all panels of the kernel pass over them, and its strip of
 * partial sums for one panel, 128 bytes a pixel, beside them: hence BLOCK_PIXELS. Wide rows are cut
 * to BLOCK_COLUMNS, so that a block has several rows: rows are packed again for each block that
 * touches them, (rows + kh - 1) / rows times, 1.5 for 4 rows of a 3x3 kernel (twice the pixels and
 * 1.25 measured the same).
 *
 * None of this changes a bit of the result: the order of a sum is fixed by fc_plan_channels. */
#include "convolve_plan.h"

#include "convolve_one_tap.h"
#include "dispatch.h"
#include "parallel.h"
#include "stream.h"
#include "workspace.h"

enum {
    SCRATCH_BYTES = 512 * 1024,
    ONE_TAP_SCRATCH_BYTES = 1024 * 1024, /* of x that only planes and other layouts need to pack */
    BLOCK_PIXELS = 224,
    FEW_CHANNELS = 4,
    FEW_PIXELS = 896,  /* of so few channels, or, where nothing is packed, */
    RUN_PIXELS = 1792, /* if they make */
    LEAST_BLOCKS = 32,
    WHOLE_PIXELS = 784,   /* where taps in padding are left out by columns too */
    ONE_TAP_PIXELS = 112, /* 28 KB of 64 channels, in the first-level cache: 185 GFLOP/s, not 167 */
    ONE_TAP_BYTES = 28 * 1024,
    MOST_ONE_TAP = 448,     /* of fewer channels */
    FAR_BYTES = 448 * 1024, /* of more, which come from the second-level cache at any rate */
    BLOCK_COLUMNS = 64,
    CHUNK_COLUMNS = 28, /* a block that is cut in channels is at least so wide */
    CHUNK_PANELS = 8,   /* and keeps strips of so many panels, */
    MOST_PANELS = 16,   /* or of so many where they take no more than */
    CHUNK_BYTES = 448 * 1024,
    STRETCH_BYTES = 96 * 1024, /* of a panel */
    ONE_TAP_STRETCH_BYTES = 128 * 1024,
    ABREAST = 8,
    MANY_PIXELS = 32,   /* of a block, whose kernel is then packed */
    FUSED_CHAINS = 4,   /* at a time */
    WIDE_ROW = 8192,    /* bytes */
    SETS_BYTES = 4096,  /* of which each has lines in every set of the nearest cache */
    LEAST_GAP = 3,      /* of taps whose columns are told apart, */
    MOST_TAPS = 42,     /* of a row of outputs that has one column apart, */
    LEAST_CHANNELS = 64 /* of so many channels, to so many */
};

bool fc_taps_apart(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = &convolution->axis[1];
    return axis->taps > 1 && axis->dilation > FC_MOST_GAP / (axis->taps - 1);
}

/* Columns that lack a tap. */
static int64_t lacking_columns(const struct fc_axis *axis)
{
    int64_t first, last, unused;
    fc_axis_outputs(axis, 0, &first, &unused);
    fc_axis_outputs(axis, axis->taps - 1, &unused, &last);
    return first + axis->out - last;
}

/* Taps apart, so that each is a run of terms anyway, and columns in stretches worth tiles of their own. */
bool fc_skips_columns(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = &convolution->axis[1];
    return fc_pads_with_zero(convolution) && axis->taps > 1 && axis->dilation >= LEAST_GAP &&
           !fc_taps_apart(convolution) && lacking_columns(axis) >= axis->out / 2;
}

/* Whether one column lacks a tap, and there are so few that it pays to take it alone: of 7 with strides of 2 it is
 * a 21st of the work, of which 512 channels keep half, tiles of 12 pixels being worse than of 14. Few channels
 * make short tiles, whose ends would take more. */
static bool skips_one_column(const struct fc_convolution *convolution)
{
    const struct fc_axis *axis = &convolution->axis[1];
    return axis->taps > 1 && axis->out <= MOST_TAPS / axis->taps && !fc_taps_apart(convolution) &&
           convolution->kernel.c_in >= LEAST_CHANNELS &&
           convolution->kernel.c_out >= LEAST_CHANNELS && lacking_columns(axis) == 1;
}

/* ------------------------------------------------------------------ blocks */

/* Pixels of x that are packed for a block, or -1 where their number overflows. */
static int64_t packed_pixels(const struct fc_convolve_plan *plan)
{
    int64_t pixels = fc_block_pixels(plan->axis, &plan->blocks), all;
    if (plan->inside) {
        const struct fc_patch patch = fc_block_at(plan->axis, &plan->blocks, 0);
        const int64_t rows = fc_ceil_div(plan->axis[0].in, patch.x_row_gap);
        if (__builtin_mul_overflow(fc_min(patch.x_rows, rows),
                                   fc_min(patch.x_columns, plan->axis[1].in), &pixels))
            return -1;
    }
    return pixels < 0 || __builtin_mul_overflow(pixels, plan->patches, &all) ? -1 : all;
}

/* Pixels of x that may be packed for so many channels. Of one tap as many as would be read where they lie: chunks of
 * channels are packed again for every 16 panels, 1024 channels of 14 x 14 planes with strides of 2 four times for 2048
 * outputs, which took 20.3 ms on Zen 4, so 19.0. */
static int64_t pixels_for(const struct fc_convolve_plan *plan, int64_t channels, size_t element)
{
    const int64_t lanes = plan->channels.lanes ? plan->channels.panel : 1;
    const int64_t most = plan->channels.taps == 1 ? ONE_TAP_SCRATCH_BYTES : SCRATCH_BYTES;
    return fc_max(most / (int64_t)element / lanes / fc_max(channels, 1), 1);
}

/* Near-equal chunks of channels, of which so many fit: the last of 640, 640, 640 and 128 has shorter tiles. */
static int64_t even_chunk(const struct fc_channels *channels, int64_t fit)
{
    const int64_t most = fc_max(fit / channels->block, 1);
    const int64_t blocks = fc_max(fc_ceil_div(channels->c_in, channels->block), 1);
    return fc_ceil_div(blocks, fc_ceil_div(blocks, most)) * channels->block;
}

/* A dilated kernel takes a block of every dilation-th row, 42 outputs of a 14 x 14 map, and 2048 channels of
 * it came from beyond the second-level cache 48 times. Where half of the taps lie in padding a block is a
 * whole image, or several, in which all outputs with the same taps lie side by side. */
static bool plan_whole(struct fc_convolve_plan *plan)
{
    struct fc_axis *axis = plan->axis;
    if (!plan->inside || axis[0].out * axis[1].out > WHOLE_PIXELS ||
        axis[0].in > WHOLE_PIXELS / fc_max(axis[1].in, 1))
        return false;
    axis[0].taps = fc_max(axis[0].taps - 1, 0) * axis[0].dilation + 1;
    axis[0].dilation = 1;
    fc_cut_blocks(axis, axis[1].out, INT64_MAX, INT64_MAX, &plan->blocks);
    return true;
}

static double work_of(const struct fc_convolution *convolution, const struct fc_convolve_plan *plan)
{
    return 2.0 * (double)(convolution->y.n * convolution->y.h * convolution->y.w) *
           (double)convolution->y.c * (double)convolution->kernel.c_in *
           (double)plan->channels.taps;
}

/* A few channels are packed in a moment and summed in another, so that a block's own cost shows, and the ends
 * of its short rows: in four times the pixels MNIST's first layer took 0.57 ms, not 0.73, Xception's 2.6, not
 * 3.0. Where nothing is packed twice as many in whole rows took the latter from 2.25 to 2.15. Not where a strip
 * of them would be turned into planes, and not so that threads would want for blocks: one thread took 8.3 us for one
 * image of MNIST in blocks of 224 pixels, and takes 6.8 for it whole. */
static int64_t block_pixels(const struct fc_convolution *convolution,
                            const struct fc_convolve_plan *plan)
{
    const fc_image *y = &convolution->y;
    const bool few = plan->channels.c_in <= FEW_CHANNELS && !plan->channels.lanes;
    const bool alone = fc_parallel_width(INT64_MAX, work_of(convolution, plan)) == 1;
    const int64_t share = y->n * y->h * y->w / (alone ? 1 : LEAST_BLOCKS);
    const int64_t most = plan->runs_in_place ? RUN_PIXELS : few ? FEW_PIXELS : BLOCK_PIXELS;
    return y->stride_c == 1 ? fc_max(fc_min(share, most), BLOCK_PIXELS) : BLOCK_PIXELS;
}

/* Of one tap, where it is read in place. With each block its x is one stream no more, and its tiles have those of
 * other panels to follow: 32 to 64 channels at 112x112 took 4.35 ms on Zen 4, and take 4.14. Many channels share what
 * comes of the kernel from beyond: 512 to 512 at 14x14 took 3.39 ms on Zen 5, now 3.33, in planes 3.58 and 3.44. */
static int64_t one_tap_pixels(const struct fc_convolution *convolution,
                              const struct fc_convolve_plan *plan)
{
    const fc_image *y = &convolution->y;
    const int64_t pixel = plan->channels.c_in * (int64_t)fc_element_size(convolution->dtype);
    const bool alone = fc_parallel_width(INT64_MAX, work_of(convolution, plan)) == 1;
    const int64_t share = y->n * y->h * y->w / (alone ? 1 : LEAST_BLOCKS);
    const int64_t near = ONE_TAP_BYTES / fc_max(pixel, 1), far = FAR_BYTES / fc_max(pixel, 1);
    if (near < ONE_TAP_PIXELS / 2)
        return fc_max(fc_min(far, BLOCK_PIXELS), ONE_TAP_PIXELS);
    const int64_t most = fc_min(fc_min(near, share), MOST_ONE_TAP);
    return plan->direct && y->stride_c == 1 ? fc_max(most, ONE_TAP_PIXELS) : ONE_TAP_PIXELS;
}

static void plan_block(const struct fc_convolution *convolution, struct fc_convolve_plan *plan)
{
    const struct fc_axis *axis = plan->axis;
    const size_t element = fc_element_size(convolution->dtype);
    const bool one_tap = plan->channels.taps == 1;
    const int64_t most_pixels =
        one_tap ? one_tap_pixels(convolution, plan) : block_pixels(convolution, plan);
    const int64_t most_columns =
        one_tap || plan->runs_in_place ? most_pixels : fc_max(most_pixels / 4, BLOCK_COLUMNS);

    plan->chunk = plan->channels.c_in;
    if (plan_whole(plan))
        return;
    if (plan->direct && !plan->channels.lanes) {
        fc_cut_blocks(axis, most_columns, most_pixels, INT64_MAX, &plan->blocks);
        return;
    }
    struct fc_blocks narrow;
    fc_cut_blocks(axis, CHUNK_COLUMNS, CHUNK_COLUMNS, INT64_MAX, &narrow);
    const int64_t pixels = fc_max(fc_block_pixels(axis, &narrow), 1);
    const int64_t least = fc_min(pixels, SCRATCH_BYTES) * plan->patches;
    if (least > pixels_for(plan, plan->chunk, element)) {
        const int64_t fit = pixels_for(plan, least, element);
        plan->chunk = even_chunk(&plan->channels, fit);
    }
    fc_cut_blocks(axis, most_columns, most_pixels,
                  fc_max(pixels_for(plan, plan->chunk, element) / plan->patches, 1), &plan->blocks);
}

/* Small images are computed several together, so that a pass over the kernel serves BLOCK_PIXELS
 * outputs: with the 49 of a 7 x 7 map the kernel would stream at 2.6 bytes a cycle from beyond the
 * second-level cache. Their x is packed in chunks of channels where it would not fit. */
static void plan_images(const struct fc_convolution *convolution, struct fc_convolve_plan *plan)
{
    const size_t element = fc_element_size(convolution->dtype);
    const int64_t n = convolution->y.n, outputs = plan->blocks.rows * plan->blocks.columns;
    const int64_t pixels = fc_min(fc_max(packed_pixels(plan), 1), SCRATCH_BYTES);
    plan->images = 1;
    if (plan->channels.lanes || fc_block_count(&plan->blocks) > 1)
        return;
    const int64_t block = plan->runs_in_place ? block_pixels(convolution, plan) : BLOCK_PIXELS;
    const int64_t together = plan->inside ? WHOLE_PIXELS : block;
    plan->images = fc_max(fc_min(together / outputs, n), 1);
    if (plan->direct)
        return;
    const int64_t fit = pixels_for(plan, plan->images * pixels, element);
    if (fit < plan->chunk)
        plan->chunk = even_chunk(&plan->channels, fit);
    plan->images = fc_min(plan->images, fc_max(pixels_for(plan, plan->chunk, element) / pixels, 1));
}

/* How many of `all` panels an item should compute. In units of one panel of one block: as many rounds
 * of items as the threads need, in each of which x is packed anew, and a tenth of an item at the end, when a
 * thread that began late, or was held up, keeps the others waiting. Half of one, which two idle CPUs never wait,
 * packed the x of 3x3 with strides 2, 512 channels, four times as often: 8.7 ms on Zen 4, not 8.2. */
static int64_t share_panels(const struct fc_convolve_plan *plan, int64_t all, int64_t blocks,
                            int width)
{
    /* Seven cycles a line of 16 elements packed, 16 * taps a panel that it is used in. In hundredths and
     * whole numbers, which leave the caller's inexact flag alone. */
    const int64_t outputs = plan->blocks.rows * plan->blocks.columns;
    const int64_t pixels = fc_min(packed_pixels(plan), INT32_MAX);
    const int64_t packing =
        plan->direct ? 2 : 44 * pixels / (outputs * fc_max(plan->channels.taps, 1));
    const int64_t strip = plan->images * outputs * FC_PANEL_UNITS * FC_UNIT_BYTES;
    const int64_t strips = fc_max(fc_min(CHUNK_BYTES / strip, MOST_PANELS), CHUNK_PANELS);
    const int64_t most = plan->chunk < plan->channels.c_in ? fc_min(all, strips) : all;
    int64_t best = most, least = 0;
    for (int64_t panels = most; panels > 0 && width > 1; panels--) {
        const int64_t rounds = fc_ceil_div(blocks * fc_ceil_div(all, panels), width);
        const int64_t cost = rounds * (100 * panels + packing) + 10 * panels;
        if (panels == most || cost < least) {
            least = cost;
            best = panels;
        }
    }
    return best;
}

static void plan_items(const struct fc_convolution *convolution, struct fc_convolve_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t all = fc_panel_count(channels);
    const int64_t blocks = fc_ceil_div(convolution->y.n, plan->images) * channels->groups *
                           fc_block_count(&plan->blocks);
    const double work = work_of(convolution, plan);
    plan->panels = share_panels(plan, all, blocks, fc_parallel_width(blocks * all, work));
    plan->panel_shares = fc_ceil_div(all, plan->panels);
    plan->items = blocks * plan->panel_shares;
    plan->width = fc_parallel_width(plan->items, work);
}

/* A kernel that only one block of outputs uses is packed where it is used and never reaches memory, 16
 * KB at a time: a dense layer of 4096 x 4096 on 8 rows took 50 ms, of which 45 to pack 64 MB. In the
 * chunks of one chain, so that a run of its rows is read for several panels while its pages are near, and
 * where each row has pages of its own for several panels at once: 1.3 times the speed at 4096 x 4096. Many
 * pixels take four chains at a time, whose totals stay in the tile: 512 to 512 at 14 x 14 0.45 ms on Zen 5, so 0.43. */
static void plan_fusion(const struct fc_convolution *convolution, struct fc_convolve_plan *plan)
{
    const int64_t pixels = plan->images * plan->blocks.rows * plan->blocks.columns;
    const int64_t wide = WIDE_ROW / (int64_t)fc_element_size(convolution->dtype);
    const bool alone = plan->images >= convolution->y.n && fc_block_count(&plan->blocks) == 1;
    plan->fused = alone && !convolution->packed && !plan->channels.lanes;
    plan->abreast = 1;
    if (plan->fused && plan->direct) {
        if (convolution->kernel.stride_c_out == 1 && convolution->kernel.stride_c_in >= wide)
            plan->abreast = ABREAST;
        const int64_t chains = plan->abreast == 1 && pixels >= MANY_PIXELS ? FUSED_CHAINS : 1;
        plan->chunk = fc_min(plan->chunk, chains * plan->channels.block);
    }
}

/* A tile sums a stretch of channels, chain after chain, while its total stays in the nearest cache. A
 * tile for each chain of 128 terms had its start and end with each, and two passes over the strip: 85 %
 * of the peak, not 95. The panel's part then comes from the second-level cache for each tile, 9 bytes a
 * cycle: of 16 to 512 KB, 64 were best for 3x3 and 7x7 (7 % faster than 16, 6 than 512), 128 for 1x1. On Zen
 * 4 96 are another 1 to 2 % faster for 3x3, whose chains then are five a tile, not three, and 32 4 % slower. */
static void plan_stretch(struct fc_convolve_plan *plan, size_t element)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t taps = fc_max(channels->taps, 1);
    const int64_t bytes = (int64_t)element * channels->panel * taps * channels->block;
    const int64_t most = taps == 1 ? ONE_TAP_STRETCH_BYTES : STRETCH_BYTES;
    const bool single = channels->lanes || (plan->fused && !plan->direct);
    const int64_t fit = single ? 1 : plan->fused ? FUSED_CHAINS : fc_max(most / bytes, 1);
    const int64_t blocks = fc_min(fit, fc_max(fc_ceil_div(plan->chunk, channels->block), 1));
    plan->stretch = blocks * channels->block;
    plan->runs = fc_ceil_div(plan->stretch, channels->slab) * taps + 1;
    plan->chains = blocks + 1;
}

size_t fc_terms_bytes(const struct fc_convolve_plan *plan)
{
    return fc_round_to_line((size_t)plan->chains * sizeof(struct fc_chain) +
                            (size_t)plan->runs * 2 * sizeof(ptrdiff_t));
}

static bool plan_scratch(const struct fc_convolution *convolution, struct fc_convolve_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t pixels = packed_pixels(plan);
    const int64_t strips = plan->chunk < channels->c_in && !channels->lanes ? plan->panels : 1;
    const bool packs = !plan->direct || channels->lanes; /* a last panel that is not full */
    int64_t x = 0;
    if (packs && (pixels < 0 || __builtin_mul_overflow(pixels, plan->chunk * plan->images, &x) ||
                  __builtin_mul_overflow(x, element * (channels->lanes ? channels->panel : 1), &x)))
        return false;
    plan->x_bytes = fc_round_to_line((size_t)x);
    plan->strip_bytes = (size_t)(plan->images * plan->blocks.rows * plan->blocks.columns *
                                 channels->panel * element * strips);
    plan->terms_bytes = 2 * fc_terms_bytes(plan) + FC_TILE_UNITS * FC_UNIT_BYTES;
    const int64_t rows = plan->fused ? plan->stretch * fc_max(channels->taps, 1) : 0;
    plan->kernel_bytes = (size_t)(plan->abreast * rows * channels->panel * element);
    plan->worker_bytes = plan->x_bytes + plan->strip_bytes + plan->terms_bytes + plan->kernel_bytes;
    return true;
}

/* Of a slab's channels a row of taps is a run where x lies, and one panel reads it but once: MobileNet's first
 * layer took 1.48 ms with copies of it, now 1.25, LeNet's second 0.50 and 0.45. Two panels lost up to 8 %. Columns
 * that lack taps are tiles of their own there: where they are more than a fifth copies are faster, by a tenth with
 * 7x7 at 28x28 and twice with 11x11 at 14x14. So they are where five rows of x or more lie in the same sets of the
 * nearest cache: 5x5 of 16 channels at 64x64 3.8 ms on Zen 4 instead of 5.1. */
static bool reads_runs(const struct fc_convolution *convolution,
                       const struct fc_convolve_plan *plan)
{
    const fc_image *x = &convolution->x;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_axis *axis = convolution->axis;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const bool share_sets = axis[0].taps >= 5 && x->stride_h * element % SETS_BYTES == 0;
    return !channels->lanes && channels->groups == 1 && x->c > 0 && x->c <= FC_SLAB &&
           fc_pixels_together(x) && axis[1].dilation == 1 && channels->taps > 1 &&
           channels->c_out <= channels->panel && plan->skip_rows &&
           lacking_columns(&axis[1]) <= axis[1].out / 5 && !share_sets;
}

/* Whether tiles of as many pixels as the chains allow had better read packed x. */
static bool crowds_cache(const struct fc_convolution *convolution,
                         const struct fc_channels *channels)
{
    const int64_t chains = fc_ceil_div(channels->c_in, channels->block);
    return fc_crowds_cache(convolution,
                           fc_tile_pixels(&fc_current_kernels(convolution->dtype)->conv2d, chains));
}

/* Whether y goes past the caches. Tiles that do have all pixels, which may crowd the cache where those of several
 * chains do not: with 1024 channels in the place of x the input gradient of 1x1 with strides of 2 took 19.8 ms on
 * Zen 4 past the caches, and takes 15.5. */
static bool streams(const struct fc_convolution *convolution, const struct fc_convolve_plan *plan)
{
    const int64_t pixels = fc_current_kernels(convolution->dtype)->conv2d.tile_pixels;
    return convolution->kernel.c_out % plan->channels.unit == 0 &&
           !(plan->direct && !plan->runs_in_place && fc_crowds_cache(convolution, pixels)) &&
           fc_streams_image(&convolution->y, false, (ptrdiff_t)fc_element_size(convolution->dtype));
}

bool fc_plan_convolve(const struct fc_convolution *convolution, struct fc_convolve_plan *plan)
{
    const fc_image *x = &convolution->x;
    plan->axis[0] = convolution->axis[0];
    plan->axis[1] = convolution->axis[1];
    plan->patches = 1;
    if (fc_taps_apart(convolution)) {
        plan->patches = convolution->axis[1].taps;
        plan->axis[1].taps = plan->axis[1].dilation = 1;
    }
    plan->channels = fc_plan_channels(&convolution->kernel, convolution->dtype);
    plan->skip_rows = fc_pads_with_zero(convolution);
    plan->inside = fc_skips_columns(convolution) && !plan->channels.lanes;
    plan->skip_columns = plan->inside || (plan->skip_rows &&
                                          (plan->channels.lanes || skips_one_column(convolution)));
    const bool one_tap = fc_is_dense(convolution);
    const bool depthwise = convolution->kernel.c_in == 1 && convolution->kernel.c_out == 1;
    plan->direct = x->stride_c == 1 &&
                   (plan->channels.lanes ? depthwise && plan->skip_rows
                                         : one_tap && !crowds_cache(convolution, &plan->channels));
    plan->runs_in_place = reads_runs(convolution, plan);
    if (plan->runs_in_place)
        plan->direct = plan->skip_columns = true;
    plan->stream = streams(convolution, plan);
    plan_block(convolution, plan);
    plan_images(convolution, plan);
    plan_fusion(convolution, plan);
    plan_stretch(plan, fc_element_size(convolution->dtype));
    plan_items(convolution, plan);
    return plan_scratch(convolution, plan);
}
