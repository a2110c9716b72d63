/* convolve.c: pack, and loop over what is packed.
 *
 * An item of work is one block of outputs of one image, or several small images whole, and one
 * group, for some or all panels of the kernel:
 *     for each chunk of channels:  pack the rows of x that the block needs, unless read in place
 *         for each panel, for each stretch of channels:
 *             for each tile: sum it, chain by chain, and finish y, or, before the last stretch, add it
 *             to the strip of partial sums
 * A kernel that is not packed beforehand is packed first, or, if one item uses it, stretch by stretch.
 */
#include "convolve.h"

#include "convolve_columns.h"
#include "convolve_crossed.h"
#include "convolve_groups.h"
#include "convolve_one_tap.h"
#include "convolve_planes.h"
#include "convolve_pointwise.h"
#include "convolve_rows.h"
#include "convolve_spread.h"
#include "convolve_tiles.h"
#include "convolve_turned.h"
#include "depthwise.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

/* Where fetching ahead gains: panels of an item that the second-level cache does not keep from item to
 * item, and x read in place by few panels. Elsewhere it costs 2 to 4 %. */
enum {
    WORTH_KERNEL = 1 << 20, /* bytes */
    WORTH_LINES = 16,       /* of x, a tile of FC_TILE_UNITS, */
    WORTH_APART_LINES = 4,  /* where pixels lie apart, which the processor does not foresee, */
    WORTH_RUN_LINES = 4     /* where a tile has few terms */
};

/* Leaves padding out of an item's patch, which none of its terms reads. */
static void stay_inside(struct fc_convolve_item *item, const fc_image *x)
{
    struct fc_patch *patch = &item->patch;
    item->top = fc_min(fc_max(fc_ceil_div(-patch->x_row, patch->x_row_gap), 0), patch->x_rows);
    patch->x_row += item->top * patch->x_row_gap;
    patch->x_rows = fc_max(
        fc_min(patch->x_rows - item->top, fc_ceil_div(x->h - patch->x_row, patch->x_row_gap)), 0);
    item->left = fc_min(fc_max(-patch->x_column, 0), patch->x_columns);
    patch->x_column += item->left;
    patch->x_columns = fc_max(fc_min(patch->x_columns - item->left, x->w - patch->x_column), 0);
}

static void decode_item(struct fc_convolve_item *item, int64_t index)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const int64_t blocks = fc_block_count(&plan->blocks);
    item->panel = index % plan->panel_shares * plan->panels;
    item->end_panel = fc_min(item->panel + plan->panels, fc_panel_count(&plan->channels));
    index /= plan->panel_shares;
    item->patch = fc_block_at(plan->axis, &plan->blocks, index % blocks);
    item->top = item->left = 0;
    if (plan->inside)
        stay_inside(item, &item->job->convolution->x);
    index /= blocks;
    item->group = index % plan->channels.groups;
    item->n = index / plan->channels.groups * plan->images;
    item->images = fc_min(plan->images, item->job->convolution->y.n - item->n);
}

/* Whether panel p reads x where it lies; lanes are read in whole units, so theirs must be full. */
static bool reads_in_place(const struct fc_convolve_item *item, int64_t p)
{
    const struct fc_channels *channels = &item->job->plan->channels;
    return item->job->plan->direct &&
           (!channels->lanes || fc_panel_outputs(channels, p) == fc_panel_width(channels, p));
}

/* Elements of a packed patch. */
static int64_t image_elements(const struct fc_patch *patch, int64_t channels)
{
    return patch->x_rows * patch->x_columns * channels;
}

/* The most channels whose pixels lie together in packed x: of one tap all that a chain sums, so that they
 * are one run of terms. */
static int64_t slab_of(const struct fc_channels *channels)
{
    return channels->taps == 1 && !channels->lanes ? channels->block : channels->slab;
}

/* Packs channels [c, c + count) for panel p (lanes) or for all. */
static void pack_chunk(struct fc_convolve_item *item, int64_t p, int64_t c, int64_t count)
{
    const struct fc_convolve_job *job = item->job;
    const struct fc_channels *channels = &job->plan->channels;
    if (reads_in_place(item, p))
        return;
    const int64_t width = channels->lanes ? fc_panel_width(channels, p) : 1;
    const int64_t bytes = image_elements(&item->patch, width * count) * job->element;
    char *to = item->x;
    for (int64_t i = 0; i < item->images; i++)
        for (int64_t j = 0; j < job->plan->patches; j++, to += bytes) {
            struct fc_patch patch = item->patch;
            patch.x_column += j * job->convolution->axis[1].dilation;
            if (channels->lanes)
                fc_pack_lanes(&job->padded, item->n + i, &patch, &job->convolution->kernel,
                              p * channels->panel, fc_panel_outputs(channels, p), width, c, count,
                              to);
            else
                fc_pack_slabs(&job->padded, item->n + i, &patch, slab_of(channels),
                              item->group * channels->c_in + c, count, to);
        }
}

/* Channel c of x for panel p, packed in slabs of `slab` from channel `chunk` on, count channels, or
 * in place. */
static struct fc_source find_source(const struct fc_convolve_item *item, int64_t p, int64_t chunk,
                                    int64_t count, int64_t c, int64_t slab)
{
    const struct fc_convolve_job *job = item->job;
    const fc_image *x = &job->convolution->x;
    const struct fc_channels *channels = &job->plan->channels;
    const struct fc_patch *patch = &item->patch;
    if (reads_in_place(item, p)) {
        const int64_t channel =
            channels->lanes ? p * channels->panel : item->group * channels->c_in + c;
        const int64_t row = patch->x_row_gap * x->stride_h;
        return (struct fc_source){
            .x = fc_image_at(x, job->element, item->n, patch->x_row, patch->x_column, channel),
            .row = row,
            .tap = job->convolution->axis[1].dilation * x->stride_w,
            .pixel = x->stride_w,
            .next = job->plan->blocks.row_stride * row,
            .image = x->stride_n,
        };
    }
    const int64_t width = channels->lanes ? fc_panel_width(channels, p) : 1;
    const int64_t pixel = slab * width, row = patch->x_columns * pixel;
    const int64_t elements = image_elements(patch, width * count);
    const struct fc_convolve_plan *plan = job->plan;
    return (struct fc_source){
        .x = item->x +
             (image_elements(patch, width * (c - chunk)) - item->top * row - item->left * pixel) *
                 job->element,
        .slab = patch->x_rows * row,
        .row = job->convolution->axis[0].dilation / plan->axis[0].dilation * row,
        .tap = job->plan->patches > 1 ? elements : job->convolution->axis[1].dilation * pixel,
        .pixel = pixel,
        .next = job->plan->blocks.row_stride * row,
        .image = job->plan->patches * elements,
    };
}

/* Tiles that a panel takes for one stretch of channels. */
static int64_t tiles_of(const struct fc_convolve_item *item, int64_t p)
{
    const struct fc_conv2d_kernels *kernels = item->job->kernels;
    const struct fc_channels *channels = &item->job->plan->channels;
    const int64_t rows = item->images * item->patch.rows, columns = item->patch.columns;
    return fc_ceil_div(rows * columns, kernels->tile_pixels) *
           fc_ceil_div(fc_panel_width(channels, p), kernels->tile_units * channels->unit);
}

/* Rows [c, end) of panel p, to be fetched by the tiles of the stretch before. */
static struct fc_ahead kernel_stretch(const struct fc_convolve_item *item, int64_t p, int64_t c,
                                      int64_t end)
{
    const struct fc_channels *channels = &item->job->plan->channels;
    const int64_t width = fc_panel_width(channels, p);
    if (item->job->plan->fused)
        return fc_ahead_none();
    if (fc_panel_offset(channels, item->group, item->end_panel) -
            fc_panel_offset(channels, item->group, item->panel) <
        WORTH_KERNEL / item->job->element)
        return fc_ahead_none();
    const int64_t first =
        fc_panel_offset(channels, item->group, p) + fc_panel_row(channels, c) * width;
    return fc_ahead_run(item->job->packed + first * item->job->element,
                        fc_panel_row(channels, end - c) * width * item->job->element,
                        tiles_of(item, p));
}

/* The x of the item that this worker is likely to compute next. */
static struct fc_ahead next_x(const struct fc_convolve_item *item, int64_t index)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_channels *channels = &plan->channels;
    struct fc_convolve_item next = {.job = item->job};
    struct fc_ahead ahead;
    const int64_t then = (index / plan->panel_shares + 1) * plan->panel_shares;
    if (channels->lanes || then >= plan->items)
        return fc_ahead_none();
    decode_item(&next, then);
    const int64_t stretches = fc_ceil_div(channels->c_in, plan->stretch);
    ahead =
        fc_ahead_patch(&item->job->convolution->x, item->job->element, &next.patch, next.n,
                       next.images, next.group * channels->c_in, channels->c_in,
                       tiles_of(item, item->panel) * (item->end_panel - item->panel) * stretches);
    const fc_image *x = &item->job->convolution->x;
    const bool apart = channels->taps == 1 && x->stride_w > x->c;
    const int64_t least = plan->runs_in_place ? WORTH_RUN_LINES
                          : apart             ? WORTH_APART_LINES
                                              : WORTH_LINES;
    const int64_t units = item->job->kernels->tile_pixels * item->job->kernels->tile_units;
    return ahead.each * FC_TILE_UNITS < least * units ? fc_ahead_none() : ahead;
}

/* The part of the kernel for channels [c, end) of panel p, and, where p is the first of some that are
 * packed abreast, slab by slab, of these: rows of outputs are then read in runs of 1 KB. */
static void pack_abreast(struct fc_convolve_item *item, int64_t p, int64_t c, int64_t end)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const struct fc_channels *channels = &plan->channels;
    const int64_t first = p - (p - item->panel) % plan->abreast;
    const int64_t last = fc_min(first + plan->abreast, item->end_panel);
    const int64_t bytes = (int64_t)plan->kernel_bytes / plan->abreast;
    item->kernel = item->kernels + (p - first) * bytes;
    for (int64_t slab = c; p == first && slab < end; slab += channels->slab)
        for (int64_t q = first; q < last; q++)
            fc_pack_block(&item->job->panels, item->group, q, slab,
                          fc_min(slab + channels->slab, end),
                          item->kernels + (q - first) * bytes +
                              fc_panel_row(channels, slab - c) * fc_panel_width(channels, q) *
                                  item->job->element);
}

/* Panel p times the packed chunk [c, c + count), stretch by stretch. Of packed x a last slab of fewer
 * channels is a stretch of its own, since its pixels have another pitch. */
static void compute_chunk(struct fc_convolve_item *item, int64_t p, int64_t c, int64_t count,
                          char *strip)
{
    const struct fc_convolve_plan *plan = item->job->plan;
    const int64_t stretch = plan->stretch;
    const int64_t pitch = reads_in_place(item, p) ? stretch : slab_of(&plan->channels);
    const int64_t chunk = c, end = c + count;
    const int64_t whole = reads_in_place(item, p) ? end : end - count % pitch;
    do {
        const int64_t stop = c < whole ? fc_min(c + stretch, whole) : end;
        const int64_t slab = fc_max(fc_min(pitch, stop - c), 1);
        item->kernel_ahead = stop < end ? kernel_stretch(item, p, stop, fc_min(stop + stretch, end))
                             : p + 1 < item->end_panel
                                 ? kernel_stretch(item, p + 1, chunk, fc_min(chunk + stretch, end))
                                 : fc_ahead_none();
        if (plan->fused)
            pack_abreast(item, p, c, stop);
        const struct fc_source source = find_source(item, p, chunk, count, c, slab);
        fc_compute_panel(item, p, c, stop, slab, &source, strip);
        c = stop;
    } while (c < end);
}

/* Returns what follows. */
static char *place_terms(const struct fc_convolve_plan *plan, char *scratch, struct fc_terms *terms)
{
    terms->chains = (struct fc_chain *)(void *)scratch;
    terms->offset = (ptrdiff_t *)(void *)(terms->chains + plan->chains);
    terms->kernel_offset = terms->offset + plan->runs;
    return scratch + fc_terms_bytes(plan);
}

static void compute_item(void *context, int64_t index, int worker)
{
    const struct fc_convolve_job *job = context;
    const struct fc_convolve_plan *plan = job->plan;
    char *scratch = job->scratch + (size_t)worker * plan->worker_bytes;
    char *terms = scratch + plan->x_bytes + plan->strip_bytes;
    struct fc_convolve_item item = {
        .job = job,
        .x = scratch,
        .strip = scratch + plan->x_bytes,
        .kernels = terms + plan->terms_bytes,
    };
    terms = place_terms(plan, terms, &item.terms);
    terms = place_terms(plan, terms, &item.chosen);
    item.tile.total = terms;
    decode_item(&item, index);
    if (item.patch.rows == 0)
        return;

    item.x_ahead = next_x(&item, index);
    const int64_t together = plan->channels.lanes ? 1 : plan->panels;
    const bool chunked = plan->chunk < plan->channels.c_in;
    const int64_t strip_bytes =
        item.images * item.patch.rows * item.patch.columns * plan->channels.panel * job->element;
    for (int64_t first = item.panel; first < item.end_panel; first += together) {
        const int64_t end = fc_min(first + together, item.end_panel);
        int64_t c = 0;
        do {
            const int64_t count = fc_min(plan->chunk, plan->channels.c_in - c);
            pack_chunk(&item, first, c, count);
            for (int64_t p = first; p < end; p++)
                compute_chunk(&item, p, c, count,
                              item.strip + (chunked ? p - first : 0) * strip_bytes);
            c += count;
        } while (c < plan->channels.c_in);
    }
}

/* -------------------------------------------------------------------- call */

/* Planes to planes by one tap, whose chains end where those of few outputs do. There x is read where it lies:
 * 64 channels to 2 outputs at 128x128 took 0.19 ms, most of it to copy x. */
static bool reads_planes(const struct fc_convolution *convolution)
{
    struct fc_convolution merged = *convolution;
    fc_merge_pixels(&merged);
    return convolution->kernel.c_in % FC_SLAB == 0 && fc_fits_pointwise(&merged);
}

/* Few channels or outputs, where a driver for them fits: *status is what it returned. */
static bool convolve_few(const struct fc_convolution *convolution, fc_status *status)
{
    struct fc_spread spread;
    if (fc_fits_columns(convolution))
        *status = fc_convolve_columns(convolution);
    else if (fc_convolution_spreads(convolution, &spread))
        *status = fc_spread(&spread);
    else if (fc_fits_planes(convolution) && !reads_planes(convolution))
        *status = fc_fits_turned(convolution) ? fc_convolve_turned(convolution)
                                              : fc_convolve_planes(convolution);
    else if (fc_fits_groups(convolution))
        *status = fc_convolve_groups(convolution);
    else
        return false;
    return true;
}

/* Panels of outputs, blocks of pixels. */
static fc_status convolve_blocks(const struct fc_convolution *convolution)
{
    struct fc_convolve_plan plan;
    if (!fc_plan_convolve(convolution, &plan))
        return FC_OVERFLOW;
    const bool packs = !convolution->packed && !plan.fused;
    size_t packed_bytes = 0;
    if (packs && !fc_packed_bytes(&plan.channels, convolution->dtype, &packed_bytes))
        return FC_OVERFLOW;
    packed_bytes = fc_round_to_line(packed_bytes);
    char *scratch;
    const fc_status status =
        fc_workspace_divide(packed_bytes, plan.worker_bytes, plan.width, &scratch);
    if (status != FC_OK)
        return status;

    const struct fc_conv2d_kernels *kernels = &fc_current_kernels(convolution->dtype)->conv2d;
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(convolution->dtype);
    struct fc_convolve_job job = {
        .convolution = convolution,
        .plan = &plan,
        .kernels = kernels,
        .padded = fc_padded_x(convolution, kernels, plan.skip_rows),
        .element = element,
        .panels = {&convolution->kernel, &plan.channels, kernels, element},
        .packed = convolution->packed,
        .scratch = scratch + packed_bytes,
    };
    if (packs) {
        fc_pack_panels(&job.panels, scratch);
        job.packed = scratch;
    }
    fc_parallel_for(plan.items, plan.width, FC_FLUSH_DENORMALS, compute_item, &job);
    fc_workspace_release(scratch);
    return FC_OK;
}

fc_status fc_convolve(const struct fc_convolution *given)
{
    struct fc_convolution convolution = *given;
    fc_status status;
    if (convolution.y.n * convolution.y.h * convolution.y.w * convolution.y.c == 0)
        return FC_OK;
    if (convolution.kernel.kh * convolution.kernel.kw == 0)
        convolution.kernel.c_in = 0; /* a phase without taps: the epilogue alone */
    const bool apart =
        fc_taps_apart(&convolution); /* what lies between them none but panels skip */
    if (!apart && fc_fits_depthwise(&convolution))
        return fc_convolve_depthwise(&convolution);
    fc_make_dense(&convolution);
    if (!apart && convolve_few(&convolution, &status))
        return status;
    fc_merge_pixels(&convolution);
    if (fc_fits_rows(&convolution))
        return fc_fits_crossed(&convolution) ? fc_convolve_crossed(&convolution)
                                             : fc_convolve_rows(&convolution);
    if (fc_fits_pointwise(&convolution))
        return fc_convolve_pointwise(&convolution);
    return convolve_blocks(&convolution);
}
