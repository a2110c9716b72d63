/* conv2d_dx.c: the input gradient, phase by phase (conv2d_dx_phases.c), and that of padding. */
#include "conv2d.h"

#include "conv2d_dx_phases.h"
#include "convolve_spread.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "winograd_lanes.h"
#include "workspace.h"

/* ----------------------------------------------------------------- padding */

/* Reflected, repeated and wrapped padding are pixels of the image: their gradients are computed in
 * strips of bounded size and added to the pixels they came from, row by row. */

struct fold {
    const fc_conv2d_params *params;
    const struct fc_dx_region *strip;
    fc_image dx;
};

static void add_rows(void *context, int64_t n, int worker)
{
    (void)worker;
    const struct fold *fold = context;
    const fc_image *dx = &fold->dx, *strip = &fold->strip->dx;
    for (int64_t h = 0; h < strip->h; h++)
        for (int64_t w = 0; w < strip->w; w++) {
            const int64_t to_h =
                fc_padding_source(fold->params->padding_mode, fold->strip->begin[0] + h, dx->h);
            const int64_t to_w =
                fc_padding_source(fold->params->padding_mode, fold->strip->begin[1] + w, dx->w);
            const int64_t from = n * strip->stride_n + h * strip->stride_h + w * strip->stride_w;
            const int64_t to = n * dx->stride_n + to_h * dx->stride_h + to_w * dx->stride_w;
            for (int64_t c = 0; c < dx->c; c++)
                if (fold->params->dtype == FC_FLOAT32)
                    ((float *)dx->data)[to + c * dx->stride_c] += ((float *)strip->data)[from + c];
                else
                    ((double *)dx->data)[to + c * dx->stride_c] +=
                        ((double *)strip->data)[from + c];
        }
}

/* A strip of the padding of image n. */
static fc_status fold_strip(const fc_conv2d_params *params, const struct fc_window *window,
                            const fc_image *dy, const fc_weights *kernel, const fc_image *dx,
                            int64_t n, const struct fc_dx_region *strip)
{
    const int64_t element = (int64_t)fc_element_size(params->dtype);
    fc_image one = *dy, target = *dx;
    one.data = (char *)dy->data + n * dy->stride_n * element;
    target.data = (char *)dx->data + n * dx->stride_n * element;
    one.n = target.n = 1;
    const fc_status status = fc_convolve_dx_region(params, window, &one, kernel, NULL, strip);
    struct fold fold = {params, strip, target};
    if (status == FC_OK)
        fc_parallel_for(1, 1, FC_FLUSH_DENORMALS, add_rows, &fold);
    return status;
}

/* Rows [begin, end) x columns [begin, end) of the padding, some rows at a time, or a part of one. */
static fc_status fold_rectangle(const fc_conv2d_params *params, const struct fc_window *window,
                                const fc_image *dy, const fc_weights *kernel, const fc_image *dx,
                                const int64_t begin[2], const int64_t end[2])
{
    enum { STRIP_ELEMENTS = 1 << 18 };
    if (dx->c == 0 || begin[0] >= end[0] || begin[1] >= end[1])
        return FC_OK;
    const int64_t columns = fc_min(fc_max(STRIP_ELEMENTS / dx->c, 1), end[1] - begin[1]);
    const int64_t row = columns * dx->c;
    const int64_t rows = fc_min(fc_max(STRIP_ELEMENTS / row, 1), end[0] - begin[0]);
    void *scratch = fc_workspace_acquire((size_t)(rows * row) * fc_element_size(params->dtype));
    if (!scratch)
        return FC_NO_MEMORY;
    fc_status status = FC_OK;
    for (int64_t n = 0; n < dx->n; n++)
        for (int64_t h = begin[0]; h < end[0]; h += rows)
            for (int64_t w = begin[1]; w < end[1] && status == FC_OK; w += columns) {
                const int64_t stop = fc_min(h + rows, end[0]), last = fc_min(w + columns, end[1]);
                const fc_image some = {scratch, 1, stop - h, last - w, dx->c, 0, row, dx->c, 1};
                status = fold_strip(params, window, dy, kernel, dx, n,
                                    &(struct fc_dx_region){{h, w}, {stop, last}, some, 0});
            }
    fc_workspace_release(scratch);
    return status;
}

/* Pixels of a direction of the padded image, [begin, end). */
struct interval {
    int64_t begin, end;
};

static struct interval common(struct interval a, struct interval b)
{
    return (struct interval){fc_max(a.begin, b.begin), fc_min(a.end, b.end)};
}

/* What outputs read of a direction: `count` intervals of `length` pixels, `step` from one to the next. */
struct reads {
    int64_t count, first, step, length;
};

/* Of each tap, or of each output, where these lie so far apart that any number of pixels between is read by
 * none; else all there are. */
static struct reads find_reads(const struct fc_axis *axis)
{
    const int64_t reach = (axis->taps - 1) * axis->dilation + 1;
    const int64_t span = (axis->out - 1) * axis->stride + 1;
    if (axis->taps > 1 && axis->dilation > fc_max(span, FC_MOST_GAP))
        return (struct reads){axis->taps, -axis->before, axis->dilation, span};
    if (axis->out > 1 && axis->stride > fc_max(reach, FC_MOST_GAP))
        return (struct reads){axis->out, -axis->before, axis->stride, reach};
    return (struct reads){1, -axis->before, 0, axis->before + axis->in + fc_max(axis->after, 0)};
}

static struct interval read_at(const struct reads *reads, int64_t i)
{
    const int64_t begin = reads->first + i * reads->step;
    return (struct interval){begin, begin + reads->length};
}

/* What is read of a rectangle of padding. */
static fc_status fold_side(const fc_conv2d_params *params, const struct fc_window *window,
                           const fc_image *dy, const fc_weights *kernel, const fc_image *dx,
                           const struct interval side[2])
{
    const struct reads of_rows = find_reads(&window->axis[0]);
    const struct reads of_columns = find_reads(&window->axis[1]);
    fc_status status = FC_OK;
    for (int64_t i = 0; i < of_rows.count; i++)
        for (int64_t j = 0; j < of_columns.count && status == FC_OK; j++) {
            const struct interval rows = common(side[0], read_at(&of_rows, i));
            const struct interval columns = common(side[1], read_at(&of_columns, j));
            status = fold_rectangle(params, window, dy, kernel, dx,
                                    (int64_t[]){rows.begin, columns.begin},
                                    (int64_t[]){rows.end, columns.end});
        }
    return status;
}

/* Above, below, left and right of the image, in this order. */
static fc_status fold_padding(const fc_conv2d_params *params, const struct fc_window *window,
                              const fc_image *dy, const fc_weights *kernel, const fc_image *dx)
{
    const struct fc_axis *axis = window->axis;
    const struct interval top = {-axis[0].before, 0}, left = {-axis[1].before, 0};
    const struct interval bottom = {dx->h, dx->h + fc_max(axis[0].after, 0)};
    const struct interval right = {dx->w, dx->w + fc_max(axis[1].after, 0)};
    const struct interval rows = {0, dx->h}, all = {left.begin, right.end};
    const struct interval sides[4][2] = {{top, all}, {bottom, all}, {rows, left}, {rows, right}};
    fc_status status = FC_OK;
    for (int i = 0; i < 4 && status == FC_OK; i++)
        status = fold_side(params, window, dy, kernel, dx, sides[i]);
    return status;
}

/* dx as all taps of each pixel of dy spread over it, if any does so. */
static bool find_spread(const fc_conv2d_params *params, const struct fc_window *window,
                        const fc_image *dy, const fc_weights *kernel, const void *bias,
                        const fc_image *dx, struct fc_spread *spread)
{
    const struct fc_axis *axis = window->axis;
    if (axis[0].dilation != 1 || axis[1].dilation != 1)
        return false;
    struct fc_kernel_view view = fc_view_kernel(kernel, params->groups);
    view.c_in = view.c_out;
    view.c_out = kernel->c_in;
    view.stride_c_in = kernel->stride_c_out;
    view.stride_c_out = kernel->stride_c_in;
    *spread = (struct fc_spread){
        .dtype = params->dtype,
        .x = *dy,
        .y = *dx,
        .kernel = view,
        .stride = {axis[0].stride, axis[1].stride},
        .before = {axis[0].before, axis[1].before},
        .bias = bias,
    };
    return true;
}

/* With few channels of dx, phases would leave lanes idle and write every stride-th pixel of them; at
 * stride 1 the one phase finds out for itself, but for tiles along rows. *status is what it returned. */
static bool spread_dx(const fc_conv2d_params *params, const struct fc_window *window,
                      const fc_image *dy, const fc_weights *kernel, const void *bias,
                      const fc_image *dx, fc_status *status)
{
    struct fc_spread spread;
    const bool strided = window->axis[0].stride > 1 || window->axis[1].stride > 1;
    if (!find_spread(params, window, dy, kernel, bias, dx, &spread))
        return false;
    if (params->algorithm != FC_DIRECT && fc_fits_winograd_lanes(&spread))
        *status = fc_winograd_lanes(&spread);
    else if (strided && fc_fits_spread(&spread))
        *status = fc_spread(&spread);
    else
        return false;
    return true;
}

fc_status fc_conv2d_dx(const fc_conv2d_params *params, const struct fc_window *window,
                       const fc_image *dy, const fc_weights *kernel, const void *bias,
                       const fc_image *dx)
{
    fc_status status;
    if (dx->n == 0 || dx->h == 0 || dx->w == 0 || dx->c == 0) /* rows without columns may be many */
        return FC_OK;
    if (!spread_dx(params, window, dy, kernel, bias, dx, &status))
        status = fc_convolve_dx(params, window, dy, kernel, bias, dx);
    if (status != FC_OK || params->padding_mode == FC_CONSTANT)
        return status;
    return fold_padding(params, window, dy, kernel, dx);
}
