/* winograd_few_dkernel_spread.c: x and dy to the points of kernel gradients along rows. */
#include "winograd_few_dkernel.h"

void fc_spread_few_x(const struct fc_winograd_few_dkernel_block *block, int64_t image)
{
    const struct fc_winograd_few_dkernel_job *job = block->job;
    const struct fc_winograd_few *few = &job->plan->few;
    const struct fc_axis *axis = &job->convolution->axis[1];
    const int64_t c_in = job->convolution->kernel.c_in;
    struct fc_patch patch = block->patch;
    patch.x_columns = fc_window_reach(axis, block->tiles * FC_WINOGRAD_COLUMNS);
    fc_pack_slabs(&job->padded, block->n + image, &patch, FC_SLAB, 0, c_in, block->x);
    struct fc_winograd_few_row row = {
        .step = axis->stride * c_in,
        .last = (block->tiles - 1) * FC_WINOGRAD_COLUMNS * axis->stride * c_in,
        .tiles = block->tiles,
        .run = few->run,
        .v_point = block->v_point,
        .v_tile = block->v_tile,
        .points = few->points,
        .outputs = FC_WINOGRAD_COLUMNS,
    };
    for (int64_t i = 0; i < patch.x_rows; i++) {
        row.x = block->x + i * patch.x_columns * c_in * job->element;
        row.v = block->v + (image * block->v_image + i * few->run) * job->element;
        job->kernels->winograd.few_row(&row);
    }
}

/* A block of planes as pixels, in one piece where rows are. */
static void pack_dy(const struct fc_winograd_few_dkernel_block *block, const char *from)
{
    const struct fc_winograd_few_dkernel_job *job = block->job;
    const fc_image *dy = &job->convolution->y;
    const struct fc_patch *patch = &block->patch;
    const bool run = fc_rows_together(dy, patch->columns);
    const int64_t rows = run ? 1 : patch->rows, pixels = patch->rows * patch->columns / rows;
    for (int64_t r = 0; r < rows; r++)
        job->kernels->conv2d.copy_block(&(struct fc_block){
            .x = from + r * dy->stride_h * job->element,
            .y = block->dy + r * pixels * dy->c * job->element,
            .x_pixel = dy->stride_w,
            .x_channel = dy->stride_c,
            .y_pixel = dy->c,
            .y_channel = 1,
            .pixels = pixels,
            .channels = dy->c,
        });
}

void fc_spread_few_dy(const struct fc_winograd_few_dkernel_block *block, int64_t image)
{
    const struct fc_winograd_few_dkernel_job *job = block->job;
    const struct fc_winograd_few_dkernel_plan *plan = job->plan;
    const fc_image *dy = &job->convolution->y;
    const struct fc_patch *patch = &block->patch;
    const bool packs = dy->stride_c != 1;
    const char *from =
        fc_image_at(dy, job->element, block->n + image, patch->row, patch->column, 0);
    const int64_t line = (block->n + image) * dy->h + patch->row;
    if (packs)
        pack_dy(block, from);
    if (job->bias && packs)
        fc_add_packed_rows(job->bias, line, patch->rows, 0, dy->c, block->dy,
                           patch->columns * dy->c, dy->c);
    else if (job->bias)
        fc_add_rows(job->bias, line, patch->rows, 0, dy->c, block->worker);
    struct fc_winograd_few_dy row = {
        .dy_pixel = packs ? dy->c : dy->stride_w,
        .d_point = block->d_point,
        .d_tile = plan->columns,
        .pixels = patch->columns,
        .channels = dy->c,
        .points = plan->few.points,
    };
    for (int64_t r = 0; r < patch->rows; r++) {
        row.dy = packs ? block->dy + r * patch->columns * dy->c * job->element
                       : from + r * dy->stride_h * job->element;
        row.d =
            block->d + (image * block->d_image + r * block->tiles * plan->columns) * job->element;
        job->kernels->winograd.few_dy(&row);
    }
}
