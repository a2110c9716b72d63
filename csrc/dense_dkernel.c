/* dense_dkernel.c: the kernel gradient of a dense layer of few rows, which is written rather than
 * computed: 8 rows of 2048 -> 1000 make 8 MB with 4 operations a byte.
 *
 * An item is some channels, whose x is turned first, [channel][row of the batch]. Then a tile of rows of
 * dkernel is written from left to right by the kernel that reads the matrix in the forward pass
 * (convolve_rows.c): there a term is a row of the matrix, here one of dy. 0.45 ms, 18 GB/s; a tile of two
 * vectors a call took 0.64, a third of it for its start and end, and fetching lines of the next tile
 * gained nothing. 14 streams are as fast as 6. A sum is one chain over the rows of the batch, as it is
 * in parts and blocks.
 *
 * Up to 128 rows gain as well while dy stays in the second-level cache, since the sums of parts are laid out
 * as a kernel at their end: 64 rows of 2048 -> 1000 took 2.9 ms on Zen 4 and take 2.4 (AVX2 2.9 and 2.5),
 * 128 x 400 -> 120 in AVX2 0.130 and 0.120. With 1 MB of dy they lost a tenth in AVX2, with outputs that
 * leave half of a tile empty as much. */
#include "dense_dkernel.h"

#include "convolve_one_tap.h"
#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

enum { FEW_ROWS = 32, MOST_ROWS = 128, NEAR_BYTES = 512 * 1024, ITEM_CHANNELS = 64 };

struct job {
    const struct fc_convolution *convolution;
    const struct fc_kernels *kernels;
    ptrdiff_t element;
    char *turned;
};

static bool has_few_rows(const struct fc_convolution *convolution)
{
    const int64_t rows = convolution->y.w, c_out = convolution->kernel.c_out;
    const int64_t near = NEAR_BYTES / (int64_t)fc_element_size(convolution->dtype);
    return rows <= FEW_ROWS ||
           (rows <= MOST_ROWS && c_out > fc_unit(convolution->dtype) && c_out <= near / rows);
}

bool fc_fits_dense_dkernel(const struct fc_convolution *convolution)
{
    const fc_image *dy = &convolution->y;
    return fc_is_dense(convolution) && convolution->kernel.groups == 1 && dy->n == 1 &&
           dy->h == 1 && dy->stride_c == 1 && convolution->kernel.stride_c_out == 1 &&
           has_few_rows(convolution);
}

static void write_rows(void *context, int64_t item, int worker)
{
    const struct job *job = context;
    const fc_image *x = &job->convolution->x, *dy = &job->convolution->y;
    const struct fc_kernel_view *kernel = &job->convolution->kernel;
    const int64_t first = item * ITEM_CHANNELS, rows = dy->w;
    const int64_t channels = fc_min(kernel->c_in - first, ITEM_CHANNELS);
    const int64_t tiles = fc_ceil_div(channels, job->kernels->conv2d.tile_pixels);
    char *turned = job->turned + worker * ITEM_CHANNELS * rows * job->element;
    job->kernels->conv2d.copy_block(&(struct fc_block){
        .x = (const char *)x->data + first * x->stride_c * job->element,
        .y = turned,
        .x_pixel = x->stride_w,
        .x_channel = x->stride_c,
        .y_pixel = 1,
        .y_channel = rows,
        .pixels = rows,
        .channels = channels,
    });
    struct fc_dense_tile tile = {
        .kernel = dy->data,
        .x_step = rows,
        .kernel_step = dy->stride_w,
        .y_step = kernel->stride_c_in,
        .terms = rows,
        .columns = kernel->c_out,
        .begins = true,
        .ends = true,
    };
    for (int64_t t = 0, c = 0, next; t < tiles; t++, c = next) {
        next = channels * (t + 1) / tiles;
        tile.pixels = (int)(next - c);
        tile.x = turned + c * rows * job->element;
        tile.y = (char *)kernel->data + (first + c) * kernel->stride_c_in * job->element;
        job->kernels->dense.tile(&tile);
    }
}

fc_status fc_dense_dkernel(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    struct job job = {
        .convolution = convolution,
        .kernels = fc_current_kernels(convolution->dtype),
        .element = (ptrdiff_t)fc_element_size(convolution->dtype),
    };
    const int64_t items = fc_ceil_div(kernel->c_in, ITEM_CHANNELS);
    /* Of few rows writing is most of the work. */
    const double work = (double)fc_max(FC_WORK_PER_ELEMENT, 2 * convolution->y.w) *
                        (double)kernel->c_in * (double)kernel->c_out;
    const int width = fc_parallel_width(items, work);
    job.turned =
        fc_workspace_acquire((size_t)(width * ITEM_CHANNELS * convolution->y.w * job.element));
    if (!job.turned)
        return FC_NO_MEMORY;
    fc_parallel_for(items, width, FC_FLUSH_DENORMALS, write_rows, &job);
    fc_workspace_release(job.turned);
    return FC_OK;
}
