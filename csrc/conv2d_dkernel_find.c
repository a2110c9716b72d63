/* conv2d_dkernel_find.c: where the tiles of a kernel gradient find x and dy: in place, or packed. */
#include <string.h>

#include "conv2d_dkernel_sums.h"

/* Rows x columns pixels of some images, `count` channels of each and nothing between: in as few
 * copies as the strides allow. */
struct piece {
    int64_t n, images, row, rows, row_gap, column, columns, c, count;
};

static void copy_piece(const struct fc_dkernel_job *job, const fc_image *image,
                       const struct piece *piece, int64_t pitch, char *to)
{
    int64_t images = piece->images, rows = piece->rows, pixels = piece->columns;
    const ptrdiff_t row = piece->row_gap * image->stride_h;
    if (row == pixels * image->stride_w || rows == 1) {
        pixels *= rows;
        rows = 1;
    }
    if (rows == 1 && image->stride_n == pixels * image->stride_w) {
        pixels *= images;
        images = 1;
    }
    const char *from =
        fc_image_at(image, job->element, piece->n, piece->row, piece->column, piece->c);
    for (int64_t i = 0; i < images * rows; i++)
        job->kernels->copy_block(&(struct fc_block){
            .x = from + (i / rows * image->stride_n + i % rows * row) * job->element,
            .y = to + i * pixels * pitch * job->element,
            .x_pixel = image->stride_w,
            .x_channel = image->stride_c,
            .y_pixel = pitch,
            .y_channel = 1,
            .pixels = pixels,
            .channels = piece->count,
        });
}

/* Panel p of dy: in place where its panels are whole, or packed. */
void fc_dkernel_find_dy(struct fc_dkernel_part *part, int64_t n, int64_t p)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const struct fc_blocks *blocks = &job->plan->blocks;
    const fc_image *dy = &job->convolution->y;
    const struct fc_patch *patch = &part->patch;
    const int64_t width = fc_panel_width(channels, p), outputs = fc_panel_outputs(channels, p);
    const struct piece piece = {n,
                                part->images,
                                fc_patch_row(blocks, patch, 0),
                                patch->rows,
                                blocks->row_phases,
                                patch->column,
                                patch->columns,
                                part->group * channels->c_out + p * channels->panel,
                                outputs};
    struct fc_dkernel_tile *tile = &part->tile;
    if (outputs == width && job->plan->dy_in_place) {
        part->tile_dy = fc_image_at(dy, job->element, n, piece.row, piece.column, piece.c);
        tile->dy_step = dy->stride_w;
        part->dy_row = piece.row_gap * dy->stride_h;
        part->dy_image = dy->stride_n;
        return;
    }
    char *to = part->dy;
    part->tile_dy = to;
    tile->dy_step = width;
    part->dy_row = patch->columns * width;
    part->dy_image = patch->rows * part->dy_row;
    if (outputs < width)
        memset(to, 0, (size_t)(part->images * part->dy_image * job->element));
    copy_piece(job, dy, &piece, width, to);
}

/* The patch of a tap whose columns are packed by themselves, or the patch that holds all taps. */
static struct fc_patch patch_of(const struct fc_dkernel_part *part, int64_t j)
{
    struct fc_patch patch = part->patch;
    patch.x_column += j * part->job->convolution->axis[1].dilation;
    return patch;
}

void fc_dkernel_pack_lanes(struct fc_dkernel_part *part, int64_t n, int64_t p)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const int64_t width = fc_panel_width(channels, p);
    const int64_t each = job->plan->grouped ? 1 : part->channels;
    const int64_t bytes = part->patch.x_rows * part->patch.x_columns * each * width * job->element;
    for (int64_t j = 0; j < (job->plan->apart ? job->convolution->kernel.kw : 1); j++) {
        const struct fc_patch patch = patch_of(part, j);
        if (job->plan->grouped) {
            fc_pack_slabs(&job->padded, n, &patch, channels->unit, p * channels->panel, width,
                          part->x + j * bytes);
            continue;
        }
        fc_pack_lanes(&job->padded, n, &patch, &job->convolution->kernel, p * channels->panel,
                      fc_panel_outputs(channels, p), width, part->c, part->channels,
                      part->x + j * bytes);
    }
}

/* The channels of the part, packed. */
void fc_dkernel_pack_x(struct fc_dkernel_part *part, int64_t n)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_dkernel_plan *plan = job->plan;
    const int64_t first = part->group * plan->channels.c_in + part->c;
    for (int64_t c = 0; c < part->channels; c += plan->channels.slab) {
        const int64_t count = fc_dkernel_slab_pitch(part, c);
        char *to = part->x + c / plan->channels.slab * plan->pitch *
                                 fc_dkernel_packed_pixels(part) * job->element;
        for (int64_t j = 0; j < (plan->apart ? job->convolution->kernel.kw : 1); j++) {
            const struct fc_patch patch = patch_of(part, j);
            for (int64_t i = 0; i < part->images; i++) {
                fc_pack_slabs(&job->padded, n + i, &patch, count, first + c, count, to);
                to += patch.x_rows * patch.x_columns * count * job->element;
            }
        }
    }
}
