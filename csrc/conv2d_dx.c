/* conv2d_dx.c: the input gradient, as s * s convolutions of stride 1.
 *
 * dx[p] sums dy[o] * kernel[i] over all o, i with o * stride + i * dilation - before = p. For the
 * positions p of one residue modulo the stride these are every (stride / g)-th tap, g the greatest
 * common divisor of stride and dilation, and o moves by one with p: a convolution of stride 1 and
 * dilation dilation / g over dy, with the taps in reverse, that writes every stride-th pixel. */
#include "conv2d.h"

#include "choose.h"
#include "convolve_pointwise.h"
#include "convolve_spread.h"
#include "dispatch.h"
#include "pack_rows.h"
#include "parallel.h"
#include "workspace.h"
#include "zero_image.h"

/* One residue in one direction: outputs first + t * stride of dx and the taps that reach them. */
struct phase {
    struct fc_axis axis;
    int64_t first, last_tap, tap_step;
};

/* Positions [begin, end) of the padded input, those congruent to begin + r modulo the stride. */
static struct phase find_phase(const struct fc_axis *axis, int64_t begin, int64_t end, int64_t r)
{
    struct phase phase = {.first = begin + r};
    const int64_t shift = phase.first + axis->before;
    const int64_t common = fc_greatest_common_divisor(axis->stride, axis->dilation);
    const int64_t step = fc_min(axis->stride / common, axis->taps);
    int64_t first_tap = 0;
    while (first_tap < step && (shift - first_tap * axis->dilation) % axis->stride)
        first_tap++;
    const int64_t taps = first_tap < step ? fc_ceil_div(axis->taps - first_tap, step) : 0;
    phase.tap_step = step;
    phase.last_tap = first_tap + (taps - 1) * step;
    phase.axis = (struct fc_axis){
        .in = axis->out,
        .out = fc_max(fc_ceil_div(end - phase.first, axis->stride), 0),
        .taps = taps,
        .stride = 1,
        .dilation = axis->dilation / common,
    };
    if (taps)
        phase.axis.before = -(shift - phase.last_tap * axis->dilation) / axis->stride;
    return phase;
}

/* A rectangle of positions of the padded input; dx holds just these. */
struct region {
    int64_t begin[2], end[2];
    fc_image dx;
};

static struct fc_convolution find_convolution(const fc_conv2d_params *params,
                                              const struct phase phase[2], const fc_image *dy,
                                              const fc_weights *kernel, const void *bias,
                                              const struct region *region)
{
    const int64_t element = (int64_t)fc_element_size(params->dtype);
    const int64_t groups = params->groups, c_out = kernel->c_out / groups;
    fc_image y = region->dx;
    y.data = (char *)y.data + ((phase[0].first - region->begin[0]) * y.stride_h +
                               (phase[1].first - region->begin[1]) * y.stride_w) *
                                  element;
    y.h = phase[0].axis.out;
    y.w = phase[1].axis.out;
    y.stride_h *= fc_min(params->strides[0], region->end[0] - region->begin[0]);
    y.stride_w *= fc_min(params->strides[1], region->end[1] - region->begin[1]);
    const char *last =
        (const char *)kernel->data +
        (phase[0].last_tap * kernel->stride_kh + phase[1].last_tap * kernel->stride_kw) * element;
    return (struct fc_convolution){
        .dtype = params->dtype,
        .x = *dy,
        .y = y,
        .kernel = {.data = last,
                   .kh = phase[0].axis.taps,
                   .kw = phase[1].axis.taps,
                   .c_in = c_out,
                   .c_out = kernel->c_in,
                   .groups = groups,
                   .stride_kh = -phase[0].tap_step * kernel->stride_kh,
                   .stride_kw = -phase[1].tap_step * kernel->stride_kw,
                   .stride_c_in = kernel->stride_c_out,
                   .stride_c_out = kernel->stride_c_in,
                   .stride_group = c_out * kernel->stride_c_out},
        .axis = {phase[0].axis, phase[1].axis},
        .bias = bias,
    };
}

/* Outputs that no tap reaches, with stride 2 and one tap three quarters of dx: rows of one phase, every
 * step[0]-th from the region's, and columns, every step[1]-th. */
static void zero_phase(const fc_conv2d_params *params, const struct region *region,
                       const int64_t first[2], const int64_t step[2])
{
    fc_image dx = region->dx;
    dx.data = (char *)dx.data + (first[0] * dx.stride_h + first[1] * dx.stride_w) *
                                    (ptrdiff_t)fc_element_size(params->dtype);
    dx.h = fc_ceil_div(region->end[0] - region->begin[0] - first[0], step[0]);
    dx.w = fc_ceil_div(region->end[1] - region->begin[1] - first[1], step[1]);
    dx.stride_h *= step[0];
    dx.stride_w *= step[1];
    fc_zero_image(&dx, params->dtype);
}

/* Whether no tap reaches some columns. */
static bool taps_miss(const struct fc_axis axis[2], const struct region *region, int64_t phases)
{
    for (int64_t j = 0; j < phases; j++)
        if (find_phase(&axis[1], region->begin[1], region->end[1], j).axis.taps == 0)
            return true;
    return false;
}

/* In planes, columns that no tap reaches lie one by one between others: there whole rows are zeroed
 * first. */
static fc_status convolve_region(const fc_conv2d_params *params, const struct fc_window *window,
                                 const fc_image *dy, const fc_weights *kernel, const void *bias,
                                 const struct region *region)
{
    const struct fc_axis *axis = window->axis;
    const int64_t phases[2] = {fc_min(axis[0].stride, region->end[0] - region->begin[0]),
                               fc_min(axis[1].stride, region->end[1] - region->begin[1])};
    const bool planes = region->dx.stride_w == 1 && taps_miss(axis, region, phases[1]);
    for (int64_t i = 0; i < phases[0]; i++) {
        struct phase phase[2] = {find_phase(&axis[0], region->begin[0], region->end[0], i)};
        if (!bias && (phase[0].axis.taps == 0 || planes)) /* whole rows */
            zero_phase(params, region, (int64_t[]){i, 0}, (int64_t[]){phases[0], 1});
        if (!bias && phase[0].axis.taps == 0)
            continue;
        for (int64_t j = 0; j < phases[1]; j++) {
            phase[1] = find_phase(&axis[1], region->begin[1], region->end[1], j);
            if (phase[1].axis.taps == 0 && !bias) {
                if (!planes)
                    zero_phase(params, region, (int64_t[]){i, j}, phases);
                continue;
            }
            const struct fc_convolution convolution =
                find_convolution(params, phase, dy, kernel, bias, region);
            const fc_status status = fc_convolve_by(params->algorithm, &convolution);
            if (status != FC_OK)
                return status;
        }
    }
    return FC_OK;
}

/* One tap, to planes at strides of 2: the one phase that it reaches stores what lies between, too. *status
 * is what it returned. */
static bool convolve_gaps(const fc_conv2d_params *params, const struct fc_window *window,
                          const fc_image *dy, const fc_weights *kernel, const void *bias,
                          const struct region *region, fc_status *status)
{
    const struct fc_axis *axis = window->axis;
    if (bias || axis[0].taps != 1 || axis[1].taps != 1)
        return false;
    const struct phase phase[2] = {find_phase(&axis[0], region->begin[0], region->end[0], 0),
                                   find_phase(&axis[1], region->begin[1], region->end[1], 0)};
    const struct fc_convolution convolution =
        find_convolution(params, phase, dy, kernel, bias, region);
    const struct fc_gaps gaps = {region->dx, axis[0].stride, axis[1].stride};
    if (!fc_fits_gaps(&convolution, &gaps))
        return false;
    *status = fc_convolve_with_gaps(&convolution, &gaps);
    return true;
}

enum {
    NEAR_BYTES = 1 << 19, /* of planes of dx whose phases follow each other */
    LEAST_GROUPS = 8      /* at once: a call takes a microsecond or two */
};

/* All phases of groups [group, group + count) of image n, one channel of dx each. */
static fc_status convolve_groups(const fc_conv2d_params *params, const struct fc_window *window,
                                 const fc_image *dy, const fc_weights *kernel, const void *bias,
                                 const fc_image *dx, int64_t n, int64_t group, int64_t count)
{
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(params->dtype);
    const int64_t outputs = kernel->c_out / params->groups;
    fc_conv2d_params some = *params;
    fc_weights of_some = *kernel;
    fc_image dy_some = *dy;
    struct region region = {.begin = {0, 0}, .end = {dx->h, dx->w}, .dx = *dx};
    some.groups = region.dx.c = count;
    of_some.c_out = dy_some.c = count * outputs;
    dy_some.n = region.dx.n = 1;
    of_some.data = (char *)kernel->data + group * outputs * kernel->stride_c_out * element;
    dy_some.data = (char *)dy->data + (n * dy->stride_n + group * outputs * dy->stride_c) * element;
    region.dx.data = (char *)dx->data + (n * dx->stride_n + group * dx->stride_c) * element;
    if (bias)
        bias = (const char *)bias + group * element;
    return convolve_region(&some, window, &dy_some, &of_some, bias, &region);
}

/* All of dx. Where a phase does little with each number, as a strided depthwise convolution does, all
 * phases of an image follow each other: then dy comes from the second-level cache for all but the
 * first. Of planes, some follow each other so: each phase stores numbers between those of the others, to
 * lines that are still there. 64 channels of 112 x 112 took 5.5 ms image by image, and take 4.0. */
static fc_status convolve_images(const fc_conv2d_params *params, const struct fc_window *window,
                                 const fc_image *dy, const fc_weights *kernel, const void *bias,
                                 const fc_image *dx)
{
    const bool phases = window->axis[0].stride > 1 || window->axis[1].stride > 1;
    const bool alone = phases && params->groups > 1 && kernel->c_in == 1;
    const struct region region = {.begin = {0, 0}, .end = {dx->h, dx->w}, .dx = *dx};
    fc_status status = FC_OK;
    if (convolve_gaps(params, window, dy, kernel, bias, &region, &status))
        return status;
    if (!alone)
        return convolve_region(params, window, dy, kernel, bias, &region);
    const int64_t plane = dx->h * dx->w * (int64_t)fc_element_size(params->dtype);
    const int64_t some = dx->stride_w == 1 ? NEAR_BYTES / fc_max(plane, 1) : params->groups;
    const int64_t most = fc_max(some, LEAST_GROUPS);
    for (int64_t n = 0; n < dx->n; n++)
        for (int64_t group = 0; group < params->groups && status == FC_OK; group += most)
            status = convolve_groups(params, window, dy, kernel, bias, dx, n, group,
                                     fc_min(most, params->groups - group));
    return status;
}

/* ----------------------------------------------------------------- padding */

/* Reflected, repeated and wrapped padding are pixels of the image: their gradients are computed in
 * strips of bounded size and added to the pixels they came from, row by row. */

struct fold {
    const fc_conv2d_params *params;
    const struct region *strip;
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
                            int64_t n, const struct region *strip)
{
    const int64_t element = (int64_t)fc_element_size(params->dtype);
    fc_image one = *dy, target = *dx;
    one.data = (char *)dy->data + n * dy->stride_n * element;
    target.data = (char *)dx->data + n * dx->stride_n * element;
    one.n = target.n = 1;
    const fc_status status = convolve_region(params, window, &one, kernel, NULL, strip);
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
                                    &(struct region){{h, w}, {stop, last}, some});
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

/* The pixels that the outputs read by a tap; or all there are, unless taps lie far apart: then what is
 * between them, which may be any number of pixels, is read by none. */
static struct interval read_by(const struct fc_axis *axis, bool apart, int64_t tap)
{
    const int64_t first = tap * axis->dilation - axis->before;
    return apart ? (struct interval){first, first + (axis->out - 1) * axis->stride + 1}
                 : (struct interval){-axis->before, axis->in + fc_max(axis->after, 0)};
}

/* A rectangle of padding, tap by tap where taps are apart. */
static fc_status fold_side(const fc_conv2d_params *params, const struct fc_window *window,
                           const fc_image *dy, const fc_weights *kernel, const fc_image *dx,
                           const struct interval side[2])
{
    bool apart[2];
    for (int a = 0; a < 2; a++) {
        const struct fc_axis *axis = &window->axis[a];
        const int64_t span = (axis->out - 1) * axis->stride + 1;
        apart[a] = axis->taps > 1 && axis->dilation > fc_max(span, FC_MOST_GAP);
    }
    for (int64_t i = 0; i < (apart[0] ? window->axis[0].taps : 1); i++)
        for (int64_t j = 0; j < (apart[1] ? window->axis[1].taps : 1); j++) {
            const struct interval rows = common(side[0], read_by(&window->axis[0], apart[0], i));
            const struct interval columns = common(side[1], read_by(&window->axis[1], apart[1], j));
            const fc_status status = fold_rectangle(params, window, dy, kernel, dx,
                                                    (int64_t[]){rows.begin, columns.begin},
                                                    (int64_t[]){rows.end, columns.end});
            if (status != FC_OK)
                return status;
        }
    return FC_OK;
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

/* With few channels of dx, phases would leave lanes idle and write every stride-th pixel of them; at
 * stride 1 the one phase finds out for itself. */
static bool spreads(const fc_conv2d_params *params, const struct fc_window *window,
                    const fc_image *dy, const fc_weights *kernel, const void *bias,
                    const fc_image *dx, struct fc_spread *spread)
{
    const struct fc_axis *axis = window->axis;
    const bool strided = axis[0].stride > 1 || axis[1].stride > 1;
    if (!strided || axis[0].dilation != 1 || axis[1].dilation != 1)
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
    return fc_fits_spread(spread);
}

fc_status fc_conv2d_dx(const fc_conv2d_params *params, const struct fc_window *window,
                       const fc_image *dy, const fc_weights *kernel, const void *bias,
                       const fc_image *dx)
{
    struct fc_spread spread;
    if (dx->n == 0 || dx->h == 0 || dx->w == 0 || dx->c == 0) /* rows without columns may be many */
        return FC_OK;
    const fc_status status = spreads(params, window, dy, kernel, bias, dx, &spread)
                                 ? fc_spread(&spread)
                                 : convolve_images(params, window, dy, kernel, bias, dx);
    if (status != FC_OK || params->padding_mode == FC_CONSTANT)
        return status;
    return fold_padding(params, window, dy, kernel, dx);
}
