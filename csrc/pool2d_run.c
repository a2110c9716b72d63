/* pool2d_run.c: all blocks of a planned pooling pass, or of a gradient, shared among threads. */
#include "parallel.h"
#include "pool2d_pass.h"
#include "workspace.h"

struct whole {
    const struct fc_pool2d_pass *pass;
    void *y;
    int64_t *indices;
    char *scratch;
    size_t scratch_bytes;
    int64_t row_blocks, column_blocks, channel_blocks;
};

static void run_item(void *context, int64_t item, int worker)
{
    const struct whole *whole = context;
    const struct fc_pool2d_pass *pass = whole->pass;
    struct fc_pool2d_block block;
    block.channel = item % whole->channel_blocks * pass->channels;
    item /= whole->channel_blocks;
    block.column = item % whole->column_blocks * pass->columns;
    item /= whole->column_blocks;
    block.row = item % whole->row_blocks * pass->rows;
    block.image = item / whole->row_blocks;
    block.row_end = fc_min(block.row + pass->rows, pass->axis[0].targets);
    block.column_end = fc_min(block.column + pass->columns, pass->axis[1].targets);
    block.channels = fc_min(pass->channels, pass->x.c - block.channel);

    fc_image y = pass->y, indices = pass->indices;
    y.data = whole->y;
    indices.data = whole->indices;
    char *index_data = NULL;
    if (whole->indices)
        index_data = fc_image_at(&indices, sizeof(int64_t), block.image, block.row, block.column,
                                 block.channel);
    fc_pool2d_run_block(pass, &block,
                        fc_image_at(&y, fc_element_size(pass->dtype), block.image, block.row,
                                    block.column, block.channel),
                        (int64_t *)(void *)index_data,
                        whole->scratch + (size_t)worker * whole->scratch_bytes);
}

fc_status fc_pool2d_run(const struct fc_pool2d_pass *pass, void *y, int64_t *indices)
{
    struct whole whole = {.pass = pass,
                          .y = y,
                          .indices = indices,
                          .scratch_bytes = fc_pool2d_scratch(pass),
                          .row_blocks = fc_ceil_div(pass->axis[0].targets, pass->rows),
                          .column_blocks = fc_ceil_div(pass->axis[1].targets, pass->columns),
                          .channel_blocks = fc_ceil_div(pass->x.c, pass->channels)};
    const int64_t items = pass->x.n * whole.row_blocks * whole.column_blocks * whole.channel_blocks;
    const double pixels = (double)pass->axis[0].targets * (double)pass->axis[1].targets;
    const double taps = (double)pass->axis[0].axis.taps * (double)pass->axis[1].axis.taps;
    const int width = fc_parallel_width(items, FC_WORK_PER_TAP * (double)pass->x.n *
                                                   (double)pass->x.c * pixels * taps);
    if (whole.scratch_bytes > 0) {
        whole.scratch = fc_workspace_acquire((size_t)width * whole.scratch_bytes);
        if (!whole.scratch)
            return FC_NO_MEMORY;
    }
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, run_item, &whole);
    if (whole.scratch)
        fc_workspace_release(whole.scratch);
    return FC_OK;
}

/* An element of dx or dy is read, compared and written: 150 ps, where a tap takes 40 to 100. */
int fc_pool2d_dx_width(int64_t items, const fc_image *dy, const fc_image *dx)
{
    const double pixels = (double)dx->h * (double)dx->w + (double)dy->h * (double)dy->w;
    return fc_parallel_width(items, 3 * FC_WORK_PER_TAP * (double)dx->n * (double)dx->c * pixels);
}

fc_status fc_pool2d_run_dx(int64_t items, const fc_image *dy, const fc_image *dx,
                           size_t worker_bytes, char **scratch, fc_task *task, void *context)
{
    const int width = fc_pool2d_dx_width(items, dy, dx);
    *scratch = fc_workspace_acquire((size_t)width * worker_bytes);
    if (!*scratch)
        return FC_NO_MEMORY;
    fc_parallel_for(items, width, FC_KEEP_DENORMALS, task, context);
    fc_workspace_release(*scratch);
    return FC_OK;
}
