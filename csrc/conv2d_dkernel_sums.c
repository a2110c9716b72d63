/* conv2d_dkernel_sums.c: one block of the batch added to one part of a kernel gradient.
 *
 * Where x is packed and no taps are one run, a slab is what one tile takes, so that it streams through
 * the first-level cache beside the panel of dy, which stays there: 91 % of the peak, where pixels 1 KB
 * apart give 85. Rows that follow each other in memory are one to a tile, also those of several small
 * images: a row of 7 pixels costs 7 %, one of 14 or more 2. */
#include "conv2d_dkernel_sums.h"

/* The rows and columns of a patch for which a tap reads the image, not padding. */
struct region {
    int64_t row, rows, column, columns;
};

static void cut_to(int64_t *first, int64_t *count, int64_t begin, int64_t end)
{
    const int64_t stop = fc_min(*first + *count, end);
    *first = fc_max(*first, begin);
    *count = fc_max(stop - *first, 0);
}

static struct region region_of(const struct fc_dkernel_part *part, int64_t i, int64_t j)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_patch *patch = &part->patch;
    const struct fc_axis *axis = job->convolution->axis;
    const int64_t phases = job->plan->blocks.row_phases;
    struct region region = {0, patch->rows, 0, patch->columns};
    if (!job->plan->skip)
        return region;
    int64_t first, stop;
    fc_axis_outputs(&axis[0], i, &first, &stop);
    const int64_t row = fc_patch_row(&job->plan->blocks, patch, 0);
    cut_to(&region.row, &region.rows, fc_ceil_div(first - row, phases),
           fc_ceil_div(stop - row, phases));
    if (job->plan->merged)
        return region;
    fc_axis_outputs(&axis[1], j, &first, &stop);
    cut_to(&region.column, &region.columns, first - patch->column, stop - patch->column);
    return region;
}

/* The tile's images, rows and columns: the same pixels in the same order, rows that follow each other
 * as one, and images that do. */
void fc_dkernel_lay_out_rows(struct fc_dkernel_part *part, int64_t rows, int64_t columns)
{
    struct fc_dkernel_tile *tile = &part->tile;
    tile->images = part->images;
    tile->rows = columns ? rows : 0;
    tile->width = columns;
    tile->x_row = part->x_row;
    tile->dy_row = part->dy_row;
    tile->x_image = part->x_image;
    tile->dy_image = part->dy_image;
    if (tile->rows == 1 || (tile->x_row == tile->width * tile->x_step &&
                            tile->dy_row == tile->width * tile->dy_step)) {
        tile->width *= tile->rows;
        tile->rows = fc_min(tile->rows, 1);
        if (tile->x_image == tile->width * tile->x_step &&
            tile->dy_image == tile->width * tile->dy_step) {
            tile->width *= tile->images;
            tile->images = 1;
        }
    }
}

/* Where a run of elements lies: in x, among the sums of the part and, if it lands there, in dkernel. */
struct run {
    const char *x;
    char *sums, *dkernel;
    int64_t elements;
    bool rows; /* three, in one tile */
};

/* Near-equal tiles of a run's elements, over the rows laid out. */
static void add_run(struct fc_dkernel_part *part, int64_t p, const struct run *run, const char *dy)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_conv2d_kernels *kernels = job->kernels;
    const struct fc_channels *channels = &job->plan->channels;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t width = fc_panel_width(channels, p);
    const int64_t most = kernels->tile_units * channels->unit;
    const int64_t tiles = run->rows ? 1 : fc_ceil_div(run->elements, kernels->dkernel_elements);
    struct fc_dkernel_tile *tile = &part->tile;
    tile->partial_step = width;
    tile->dkernel_step = run->dkernel ? kernel->stride_c_in : width;
    const bool mixes = job->plan->merged || channels->lanes; /* taps and padding */
    tile->finite = part->last && mixes ? &part->finite : NULL;
    for (int64_t k = 0; k < width; k += most) {
        tile->units = (int)(fc_min(width - k, most) / channels->unit);
        tile->dy = dy + k * job->element;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = run->elements * t / tiles;
            tile->elements = (int)(run->elements * (t + 1) / tiles - first);
            char *sums = run->sums + (first * width + k) * job->element;
            tile->partial = part->first ? NULL : sums;
            tile->dkernel = run->dkernel
                                ? run->dkernel + (first * kernel->stride_c_in + k) * job->element
                                : sums;
            if (channels->lanes) {
                tile->x = run->x + k * job->element;
                tile->offset = part->offset + first;
                kernels->lane_dkernel_tile(tile);
            } else {
                tile->x = run->x + first * job->element;
                fc_dkernel_ahead_take(&part->ahead, tile);
                (run->rows ? kernels->rows_dkernel_tile : kernels->dkernel_tile)(tile);
            }
        }
    }
}

/* The tile's steps through the x of slabs of so many channels, and where tap (i, j) begins in one. */
static int64_t enter_slab(struct fc_dkernel_part *part, int64_t i, int64_t j, int64_t pitch,
                          const struct region *region)
{
    const struct fc_dkernel_plan *plan = part->job->plan;
    const struct fc_axis *axis = part->job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t pixels = patch->x_rows * patch->x_columns;
    part->tile.x_step = axis[1].stride * pitch;
    part->x_row = plan->blocks.row_stride * patch->x_columns * pitch;
    part->x_image = pixels * pitch;
    const int64_t first = (i * plan->tap_row * patch->x_columns +
                           j * (plan->apart ? pixels * part->images : axis[1].dilation)) *
                          pitch;
    fc_dkernel_lay_out_rows(part, region->rows, region->columns);
    return first + region->row * part->x_row + region->column * part->tile.x_step;
}

/* Tap (i, j) or, if merged, row i of taps, or, if `whole`, all rows. */
static void add_tap(struct fc_dkernel_part *part, int64_t p, int64_t i, int64_t j,
                    const struct region *region, bool whole)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t width = fc_panel_width(channels, p), taps = channels->taps;
    const int64_t slab_x = plan->pitch * fc_dkernel_packed_pixels(part);
    const int64_t tap = i * kernel->kw + j;
    char *sums = part->sums + fc_dkernel_panel(part, p) * job->element;
    char *dkernel = (char *)kernel->data + (i * kernel->stride_kh + j * kernel->stride_kw +
                                            part->group * kernel->stride_group +
                                            part->c * kernel->stride_c_in + p * channels->panel) *
                                               job->element;
    const bool lands = part->last && fc_dkernel_lands(job, p);
    const char *dy =
        part->tile_dy +
        (region->row * part->dy_row + region->column * part->tile.dy_step) * job->element;
    int64_t pitch = 0, first = 0;
    for (int64_t c = 0; c < part->channels; c += channels->slab) {
        const int64_t slab = fc_min(channels->slab, part->channels - c), s = c / channels->slab;
        if (pitch != fc_dkernel_slab_pitch(part, c)) {
            pitch = fc_dkernel_slab_pitch(part, c);
            first = enter_slab(part, i, j, pitch, region);
        }
        const struct run run = {
            .x = part->x + (s * slab_x + first) * job->element,
            .sums = sums + (taps * c + tap * slab) * width * job->element,
            .dkernel = lands ? dkernel + c * kernel->stride_c_in * job->element : NULL,
            .elements = plan->merged ? kernel->kw * slab * (whole ? kernel->kh : 1) : slab,
            .rows = whole,
        };
        part->tile.x_element = plan->tap_row * part->patch.x_columns * pitch;
        add_run(part, p, &run, dy);
    }
}

/* Whether a tile takes all rows of taps. */
static bool takes_rows(const struct fc_dkernel_part *part)
{
    return part->job->plan->whole && part->job->kernels->tile_units > 1;
}

static void add_panel(struct fc_dkernel_part *part, int64_t p)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_axis *axis = job->convolution->axis;
    const bool whole = takes_rows(part);
    for (int64_t i = 0; i < (whole ? 1 : axis[0].taps); i++)
        for (int64_t j = 0; j < (job->plan->merged ? 1 : axis[1].taps); j++) {
            const struct region region = region_of(part, i, j);
            if (region.rows * region.columns > 0 || part->first || part->last)
                add_tap(part, p, i, j, &region, whole);
        }
}

/* One channel of every group, in lanes: all taps at once, since few taps make few chains. */
static void add_lanes(struct fc_dkernel_part *part, int64_t p, int64_t c)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(&plan->channels, p), taps = plan->channels.taps;
    const int64_t pixels = patch->x_rows * patch->x_columns;
    const int64_t together = plan->exact ? 1 : taps;
    part->tile.x_step = axis[1].stride * width;
    part->x_row = plan->blocks.row_stride * patch->x_columns * width;
    for (int64_t tap = 0; tap < taps; tap++) {
        const int64_t i = tap / axis[1].taps, j = tap % axis[1].taps;
        part->offset[tap] = (i * patch->x_columns +
                             j * (plan->apart ? pixels * part->channels : axis[1].dilation)) *
                            width;
    }
    for (int64_t tap = 0; tap < taps; tap += together) {
        const struct region region = plan->exact
                                         ? region_of(part, tap / axis[1].taps, tap % axis[1].taps)
                                         : (struct region){0, patch->rows, 0, patch->columns};
        fc_dkernel_lay_out_rows(part, region.rows, region.columns);
        const int64_t x = pixels * c * width + (plan->exact ? part->offset[tap] : 0) +
                          region.row * part->x_row + region.column * part->tile.x_step;
        const int64_t dy = region.row * part->dy_row + region.column * part->tile.dy_step;
        const struct run run = {
            .x = part->x + x * job->element,
            .sums =
                part->sums + (fc_dkernel_panel(part, p) + (taps * c + tap) * width) * job->element,
            .elements = together,
        };
        if (plan->exact)
            part->offset[tap] = 0;
        add_run(part, p, &run, part->tile_dy + dy * job->element);
    }
}

/* Some outputs of each group in turn, with x as it lies: the part's channels stand for them. */
static void add_groups(struct fc_dkernel_part *part, int64_t p)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const struct fc_axis *axis = job->convolution->axis;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(channels, p), taps = channels->taps, unit = channels->unit;
    const int64_t pixels = patch->x_rows * patch->x_columns;
    const int64_t tiles = fc_ceil_div(taps, job->few->group_taps);
    struct fc_dkernel_tile *tile = &part->tile;
    for (int64_t tap = 0; tap < taps; tap++)
        part->offset[tap] =
            (tap / axis[1].taps * patch->x_columns) * unit +
            tap % axis[1].taps * (plan->apart ? pixels * width : axis[1].dilation * unit);
    tile->x_step = axis[1].stride * unit;
    part->x_row = plan->blocks.row_stride * patch->x_columns * unit;
    fc_dkernel_lay_out_rows(part, patch->rows, patch->columns);
    tile->channels = job->convolution->kernel.c_out;
    tile->dkernel_step = width;
    tile->output_step = taps * width;
    tile->finite = part->last ? &part->finite : NULL;
    for (int64_t k = 0; k < width; k += unit)
        for (int64_t output = 0; output < part->channels; output += FC_FEWEST_GROUPED)
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t first = taps * t / tiles;
                tile->elements = (int)(taps * (t + 1) / tiles - first);
                tile->output = part->c + output;
                tile->offset = part->offset + first;
                tile->x = part->x + k * pixels * job->element;
                tile->dy = part->tile_dy + k * job->element;
                tile->dkernel =
                    part->sums + (fc_dkernel_panel(part, p) + (taps * output + first) * width + k) *
                                     job->element;
                tile->partial = part->first ? NULL : tile->dkernel;
                fc_dkernel_ahead_take(&part->ahead, tile);
                job->few->group_dkernel_tile(tile);
            }
}

void fc_dkernel_add(struct fc_dkernel_part *part, int64_t n)
{
    const struct fc_dkernel_job *job = part->job;
    const bool lanes = job->plan->channels.lanes;
    part->images = fc_min(job->plan->images, job->convolution->y.n - n);
    if (job->plan->direct) {
        fc_dkernel_add_dense(part, n);
        return;
    }
    if (!lanes)
        fc_dkernel_pack_x(part, n);
    for (int64_t p = part->panel; p < part->panel + part->panels; p++) {
        if (lanes)
            fc_dkernel_pack_lanes(part, n, p);
        fc_dkernel_find_dy(part, n, p);
        fc_dkernel_add_packed_bias(part, n, p);
        if (!lanes)
            add_panel(part, p);
        if (job->plan->grouped)
            add_groups(part, p);
        for (int64_t c = 0; lanes && !job->plan->grouped && c < part->channels; c++)
            add_lanes(part, p, c);
    }
}

/* -------------------------------------------------------------------- ahead */

/* What a block of images from n on reads of x, but for what lies in padding. */
static struct fc_dkernel_span span_of_x(const struct fc_dkernel_part *part,
                                        const struct fc_patch *patch, int64_t n, int64_t images)
{
    const struct fc_dkernel_plan *plan = part->job->plan;
    const struct fc_channels *channels = &plan->channels;
    const fc_image *x = &part->job->convolution->x;
    const int64_t gap = patch->x_row_gap, column = fc_max(patch->x_column, 0);
    const int64_t row = patch->x_row + fc_ceil_div(fc_max(-patch->x_row, 0), gap) * gap;
    const int64_t end = fc_min(patch->x_row + (patch->x_rows - 1) * gap + 1, x->h);
    return (struct fc_dkernel_span){
        .n = n,
        .images = images,
        .row = row,
        .rows = fc_ceil_div(end - row, gap),
        .row_gap = gap,
        .column = column,
        .columns = fc_min(patch->x_column + patch->x_columns, x->w) - column,
        .c = plan->grouped ? part->panel * channels->panel : part->group * channels->c_in + part->c,
        .channels = plan->grouped ? fc_panel_width(channels, part->panel) : part->channels,
    };
}

static struct fc_dkernel_span span_of_dy(const struct fc_dkernel_part *part,
                                         const struct fc_patch *patch, int64_t n, int64_t images)
{
    const struct fc_dkernel_plan *plan = part->job->plan;
    const struct fc_channels *channels = &plan->channels;
    const int64_t k = part->panel * channels->panel;
    return (struct fc_dkernel_span){
        .n = n,
        .images = images,
        .row = fc_patch_row(&plan->blocks, patch, 0),
        .rows = patch->rows,
        .row_gap = plan->blocks.row_phases,
        .column = patch->column,
        .columns = patch->columns,
        .c = part->group * channels->c_out + k,
        .channels = fc_min(part->panels * channels->panel, channels->c_out - k),
    };
}

void fc_dkernel_look_ahead(struct fc_dkernel_part *part, int64_t step)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const struct fc_channels *channels = &plan->channels;
    const fc_image *x = &job->convolution->x, *y = &job->convolution->y;
    const int64_t blocks = fc_block_count(&plan->blocks), n = step / blocks * plan->images;
    const bool alone = part->panels == 1 && fc_panel_width(channels, part->panel) == channels->unit;
    part->ahead = (struct fc_dkernel_ahead){
        .which = 2,
        .pixels = plan->grouped ? 1 : 2,
        .each = takes_rows(part) && alone ? FC_ROWS_AHEAD : 1,
    };
    /* Planes that are read where they lie are streams, which the prefetcher follows by itself: fetched
     * besides, 256 to 64 channels took 7.4 ms, not 6.9, MobileNet's first layer 2.4, not 2.1, and nothing
     * gained. */
    const bool planes = plan->grouped  ? x->stride_c != 1 || y->stride_c != 1
                        : plan->merged ? y->stride_c != 1
                                       : plan->direct && x->stride_c != 1;
    if ((channels->lanes && !plan->grouped) || plan->steps == 1 || planes)
        return;
    const struct fc_patch patch = fc_block_at(plan->axis, &plan->blocks, step % blocks);
    const int64_t images = fc_min(plan->images, y->n - n);
    const struct fc_dkernel_span of_x = span_of_x(part, &patch, n, images);
    const struct fc_dkernel_span of_dy = span_of_dy(part, &patch, n, images);
    part->ahead.which = 0;
    part->ahead.image[0] = fc_dkernel_runs_of(x, job->element, &of_x);
    part->ahead.image[1] = fc_dkernel_runs_of(y, job->element, &of_dy);
}
