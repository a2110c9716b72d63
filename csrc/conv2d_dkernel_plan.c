/* conv2d_dkernel_plan.c: block sizes of a kernel gradient.
 *
 * The gradient is cut into parts of some channels x a few panels, each small enough to stay in the
 * second-level cache while the blocks of the batch pass over it. A part has one owner, which adds
 * block after block in order: a chain of multiply-adds within a block of at most BLOCK_PIXELS
 * pixels, then one addition. A block holds several images where they are small (with 7 x 7 the
 * additions would take a tenth to a fifth of the time). Where there are fewer than PARTS_WANTED
 * parts, the blocks are divided into chunks with sums of their own. Each costs three passes over the
 * part, 7 to 10 % of the time of 512 to 512 channels at 14x14: there threads that are left over get
 * parts of fewer panels, which no sum heeds. Blocks and chunks follow from the sizes alone, so the bits
 * do not depend on threads or instruction set.
 *
 * What is packed costs some seven cycles a line: x once for each panel part, dy once for each channel
 * part. With one tap, 256 channels x 256 outputs, that were 5 % of the time each. There x and dy are
 * read where they lie, by conv2d_dkernel_dense.c, if in dy channels lie together; else dy is packed.
 * Up to 256 channels, or 512 outputs, are whole pixels of one part then: what the next block reads is
 * fetched in the order of memory. Of half pixels it comes column by column: float64 of 64 to 256 channels
 * at 56x56 took 16 ms in two parts of 128 outputs, and takes 12. Nor are 256 channels halved where parts
 * are few: 256 to 64 went from 5.7 to 5.1. With 512 outputs, not 256, x is read where it lies half as
 * often, which is 4 to 15 % of 256 to 512 with strides 2; 1024, or 512 channels, lose as much where sums
 * leave the second-level cache. Blocks of 128 or 192 pixels gain nothing. */
#include "conv2d_dkernel_plan.h"

#include "convolve_groups.h"
#include "convolve_one_tap.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"

enum {
    BLOCK_PIXELS = 256,
    BLOCK_COLUMNS = 64,
    X_BYTES = 1 << 20, /* of a block, if one row of outputs allows it */
    PART_ROWS = 576,   /* rows of a packed kernel, channels * taps, that one part holds */
    PART_CHANNELS = 256,
    PART_PANELS = 8,
    PART_OUTPUTS = 512,  /* of one tap */
    MERGED_CHANNELS = 8, /* a tile; with no more, the taps of a kernel row fill tiles together */
    LANE_ROWS = 1024,
    LANE_CHANNELS = 128,
    PARTS_WANTED = 8,
    CHUNK_OUTPUTS = 256,
    CHUNK_STEPS = 24, /* blocks of a chunk, unless panels are too few for all threads */
    APART = 64,  /* columns from a row's first tap to its last beyond which they are packed apart */
    NEAR = 1024, /* bytes from pixel to pixel that may be read in place */
};

/* Whether channels lie together, and pixels so near that all tiles may read them where they are. A tile
 * keeps 85 % of the peak with pixels of x and dy 1 KB apart and 91 where both are packed; with 4 KB
 * 70 %, since all pixels of a channel share one set of the first-level cache. */
static bool lies_within(const fc_image *image, int64_t element, int64_t bytes)
{
    return image->stride_c == 1 && image->stride_w > 0 && image->stride_w * element <= bytes;
}

/* With several taps a panel is met by so many tiles that it is packed, but for one that is whole pixels:
 * 3x3 with strides 2 took 3 to 8 % longer with 512 bytes to 1 KB from pixel to pixel, 7x7 of three
 * channels a tenth. Lanes meet it once, all taps in a tile. */
static bool dy_lies_in_place(const struct fc_convolution *convolution,
                             const struct fc_dkernel_plan *plan)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    if (plan->direct)
        return convolution->y.stride_c == 1;
    return lies_within(&convolution->y, element,
                       plan->channels.lanes ? NEAR : FC_PANEL_UNITS * FC_UNIT_BYTES);
}

/* The size of near-equal pieces of at most `largest`, rounded up to a multiple of `unit`. */
static int64_t even_pieces(int64_t size, int64_t largest, int64_t unit)
{
    const int64_t pieces = fc_max(fc_ceil_div(size, largest), 1);
    return fc_whole_units(fc_ceil_div(size, pieces), unit);
}

static void cut_panels(struct fc_dkernel_plan *plan, int64_t part_panels)
{
    plan->part_panels = part_panels;
    plan->panel_parts = fc_ceil_div(fc_panel_count(&plan->channels), part_panels);
    plan->parts = plan->channels.groups * plan->channel_parts * plan->panel_parts;
}

static void cut_parts(struct fc_dkernel_plan *plan, int64_t most_channels, int64_t most_panels)
{
    const struct fc_channels *channels = &plan->channels;
    plan->part_channels = fc_min(even_pieces(channels->c_in, most_channels, channels->slab),
                                 fc_max(channels->c_in, 1));
    plan->channel_parts = fc_ceil_div(channels->c_in, fc_max(plan->part_channels, 1));
    cut_panels(plan, even_pieces(fc_panel_count(channels), most_panels, 1));
}

static void plan_parts(struct fc_dkernel_plan *plan)
{
    struct fc_channels *channels = &plan->channels;
    const int64_t taps = fc_max(channels->taps, 1);
    if (channels->lanes) {
        cut_parts(plan, fc_max(fc_min(LANE_ROWS / taps, LANE_CHANNELS), 1), 1);
        return;
    }
    const int64_t slab = channels->slab;
    const int64_t most = fc_max(fc_min(PART_ROWS / taps, PART_CHANNELS) / slab * slab, slab);
    cut_parts(plan, most, taps == 1 ? PART_OUTPUTS / channels->panel : PART_PANELS);
}

/* Rows of few channels are taken whole, if they are no longer than a block: packing them costs little, and
 * planes of dy are read in long runs. Stems in planes took 10 to 30 % less time than in blocks of 64 columns,
 * in pixels up to 10. */
static bool takes_rows(const struct fc_convolution *convolution, const struct fc_dkernel_plan *plan)
{
    return !plan->channels.lanes && convolution->kernel.kw > 1 &&
           convolution->axis[1].dilation == 1 && plan->part_channels <= MERGED_CHANNELS;
}

/* Blocks of a dilated kernel have phases of rows, so that no row is packed in vain. But where an
 * image is so small that a phase has few rows, tiles would be short: there it is taken whole. */
static void cut_blocks(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan)
{
    const struct fc_axis *real = convolution->axis;
    struct fc_axis *axis = plan->axis;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t lanes = plan->channels.lanes ? plan->channels.panel : 1;
    int64_t pixels = fc_max(X_BYTES / (fc_max(plan->part_channels, 1) * lanes * element), 1);
    axis[0] = real[0];
    axis[1] = real[1];
    plan->apart =
        real[1].dilation > 1 && real[1].taps > 1 && real[1].dilation > APART / (real[1].taps - 1);
    if (plan->apart) {
        axis[1].taps = axis[1].dilation = 1;
        pixels = fc_max(pixels / real[1].taps, 1);
    }
    plan->tap_row = 1;
    const int64_t columns =
        plan->channels.taps == 1 || takes_rows(convolution, plan) ? BLOCK_PIXELS : BLOCK_COLUMNS;
    if (real[0].taps > 1 && real[0].dilation > 1 && !plan->channels.lanes &&
        real[0].dilation <= 2 * real[0].out / (real[0].taps - 1)) {
        const int64_t window = (real[0].taps - 1) * real[0].dilation + 1;
        axis[0].taps = window;
        axis[0].dilation = 1;
        fc_cut_blocks(axis, columns, BLOCK_PIXELS, pixels, &plan->blocks);
        plan->tap_row = real[0].dilation;
        if (plan->blocks.row_blocks * (window - 1) <= 2 * real[0].out)
            return;
        axis[0] = real[0];
        plan->tap_row = 1;
    }
    fc_cut_blocks(axis, columns, BLOCK_PIXELS, pixels, &plan->blocks);
}

/* Whether a tile takes all three rows of a kernel: of 3 numbers each, or up to 9 for one unit of outputs. Rows of
 * padding are zeros then, as columns are, on every instruction set, whatever its tiles take. */
static bool takes_whole(const struct fc_convolution *convolution,
                        const struct fc_dkernel_plan *plan)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    const int64_t row = kernel->kw * kernel->c_in;
    return plan->merged && kernel->kh == FC_TILE_ROWS &&
           (row == 3 || ((row == 6 || row == 9) && kernel->c_out <= plan->channels.unit));
}

/* How channels and taps fill tiles. A slab is what one tile takes, so that x streams through the
 * first-level cache, and is packed as whole vectors, some channels of the next slab among them. */
static void plan_slabs(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan)
{
    struct fc_channels *channels = &plan->channels;
    const int elements = fc_current_kernels(convolution->dtype)->conv2d.dkernel_elements;
    if (channels->lanes)
        return;
    const int64_t tile = even_pieces(plan->part_channels, elements, 1);
    plan->merged = convolution->kernel.kw > 1 && convolution->axis[1].dilation == 1 &&
                   plan->part_channels <= FC_SLAB && tile <= MERGED_CHANNELS && !plan->exact;
    plan->whole = takes_whole(convolution, plan);
    if (plan->whole)
        plan->skip = false;
    channels->slab = plan->direct || plan->merged ? plan->part_channels : tile;
    plan->pitch =
        plan->merged ? channels->slab : fc_ceil_div(channels->slab, FC_SLAB / 2) * (FC_SLAB / 2);
    if (plan->pitch > FC_SLAB / 2 && !plan->merged)
        plan->pitch = fc_whole_units(channels->slab, FC_SLAB);
}

/* As few as give all threads a part, half of a large one, a panel where parts are short, or a chunk. */
static int64_t count_chunks(const struct fc_dkernel_plan *plan)
{
    const int64_t outputs = plan->part_panels * plan->channels.panel;
    const int64_t parts = fc_max(plan->parts * fc_ceil_div(outputs, CHUNK_OUTPUTS), 1);
    const int64_t least = fc_ceil_div(PARTS_WANTED, fc_max(plan->parts * plan->part_panels, 1));
    const int64_t most = fc_max(plan->steps / CHUNK_STEPS, least);
    return fc_max(fc_min(fc_min(fc_ceil_div(PARTS_WANTED, parts), most), plan->steps), 1);
}

static void plan_blocks(const struct fc_convolution *convolution, int64_t chunks,
                        struct fc_dkernel_plan *plan)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const struct fc_channels *channels = &plan->channels;
    cut_blocks(convolution, plan);
    plan->direct = channels->taps == 1 && !channels->lanes && fc_is_dense(convolution);
    plan->images = 1;
    if (!channels->lanes && fc_block_count(&plan->blocks) == 1) {
        const int64_t fit = BLOCK_PIXELS / (plan->blocks.rows * plan->blocks.columns);
        plan->images = fc_max(even_pieces(convolution->y.n, fc_max(fit, 1), 1), 1);
    }
    plan->steps = fc_ceil_div(convolution->y.n, plan->images) * fc_block_count(&plan->blocks);
    plan->x_copied = plan->direct && convolution->x.stride_c == 1 &&
                     !lies_within(&convolution->x, element, NEAR);
    plan->dy_in_place = dy_lies_in_place(convolution, plan);
    plan->chunks = chunks ? chunks : count_chunks(plan);
    plan->skip = (!channels->lanes || plan->exact) && fc_pads_with_zero(convolution);
}

/* False where a count of bytes overflows. */
static bool plan_scratch(const struct fc_convolution *convolution, struct fc_dkernel_plan *plan)
{
    const struct fc_channels *channels = &plan->channels;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    const int64_t pixels = fc_block_pixels(plan->axis, &plan->blocks);
    const int64_t lanes = channels->lanes ? channels->panel : 1;
    const int64_t taps = plan->apart ? convolution->kernel.kw : 1;
    const int64_t packed = channels->lanes
                               ? (plan->grouped ? 1 : plan->part_channels)
                               : fc_ceil_div(plan->part_channels, channels->slab) * plan->pitch;
    int64_t x;
    if (pixels < 0 || __builtin_mul_overflow(pixels, plan->images * taps, &x) ||
        __builtin_mul_overflow(x, packed * lanes * element, &x))
        return false;
    plan->x_bytes = plan->direct && !plan->x_copied ? 0 : fc_round_to_line((size_t)x);
    plan->dy_bytes = (size_t)(plan->images * plan->blocks.rows * plan->blocks.columns *
                              channels->panel * element);
    plan->offset_bytes = fc_round_to_line((size_t)channels->taps * sizeof(ptrdiff_t));
    plan->part_elements =
        channels->taps * plan->part_channels * channels->panel * plan->part_panels;
    plan->sums_bytes = (size_t)(plan->part_elements * element);
    plan->worker_bytes = plan->x_bytes + plan->dy_bytes + plan->offset_bytes;
    if (plan->chunks == 1)
        plan->worker_bytes += plan->sums_bytes;
    const size_t apart = plan->chunks == 1 ? 0 : (size_t)(plan->parts * plan->chunks);
    return !__builtin_mul_overflow(apart, plan->sums_bytes, &plan->all_sums_bytes);
}

/* Parts of fewer panels where there are not enough for all threads, or a few too many. */
static void spread_parts(struct fc_dkernel_plan *plan, double work)
{
    const int64_t width = fc_parallel_width(INT64_MAX, work);
    while (plan->part_panels > 1 && plan->parts * plan->chunks % width != 0 &&
           plan->parts * plan->chunks < 4 * width)
        cut_panels(plan, fc_ceil_div(plan->part_panels, 2));
    plan->width = fc_parallel_width(plan->parts * plan->chunks, work);
}

bool fc_plan_dkernel(const struct fc_convolution *convolution, bool exact, int64_t chunks,
                     struct fc_dkernel_plan *plan)
{
    const fc_image *dy = &convolution->y;
    *plan = (struct fc_dkernel_plan){
        .channels = fc_plan_channels(&convolution->kernel, convolution->dtype),
        .exact = exact,
    };
    plan_parts(plan);
    plan->grouped = plan->channels.lanes && !exact && fc_fits_groups(convolution) &&
                    plan->part_channels % FC_FEWEST_GROUPED == 0;
    plan_blocks(convolution, chunks, plan);
    plan_slabs(convolution, plan);
    const double work = 2.0 * (double)(dy->n * dy->h * dy->w) * (double)dy->c *
                        (double)convolution->kernel.c_in * (double)plan->channels.taps;
    spread_parts(plan, work);
    return plan_scratch(convolution, plan);
}
