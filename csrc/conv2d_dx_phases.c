/* conv2d_dx_phases.c: the input gradient, as s * s convolutions of stride 1.
 *
 * dx[p] sums dy[o] * kernel[i] over all o, i with o * stride + i * dilation - before = p. For the
 * positions p of one residue modulo the stride these are every (stride / g)-th tap, g the greatest
 * common divisor of stride and dilation, and o moves by one with p: a convolution of stride 1 and
 * dilation dilation / g over dy, with the taps in reverse, that writes every stride-th pixel. */
#include "conv2d_dx_phases.h"

#include "choose.h"
#include "convolve_groups.h"
#include "convolve_pointwise.h"
#include "depthwise.h"
#include "dispatch.h"
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

static struct fc_convolution find_convolution(const fc_conv2d_params *params,
                                              const struct phase phase[2], const fc_image *dy,
                                              const fc_weights *kernel, const void *bias,
                                              const struct fc_dx_region *region)
{
    const int64_t element = (int64_t)fc_element_size(params->dtype);
    const int64_t groups = params->groups, c_out = kernel->c_out / groups;
    fc_image y = region->dx;
    const int64_t apart = region->apart ? region->apart : y.stride_w;
    y.data = (char *)y.data + ((phase[0].first - region->begin[0]) * y.stride_h +
                               (phase[1].first - region->begin[1]) * apart) *
                                  element;
    y.h = phase[0].axis.out;
    y.w = phase[1].axis.out;
    y.stride_h *= fc_min(params->strides[0], region->end[0] - region->begin[0]);
    if (!region->apart)
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
        .phase = params->strides[0] > 1 || params->strides[1] > 1,
    };
}

/* Outputs that no tap reaches, with stride 2 and one tap three quarters of dx: rows of one phase, every
 * step[0]-th from the region's, and columns, every step[1]-th. */
static void zero_phase(const fc_conv2d_params *params, const struct fc_dx_region *region,
                       const int64_t first[2], const int64_t step[2])
{
    fc_image dx = region->dx;
    dx.data = fc_image_at(&dx, (ptrdiff_t)fc_element_size(params->dtype), 0, first[0], first[1], 0);
    dx.h = fc_ceil_div(region->end[0] - region->begin[0] - first[0], step[0]);
    dx.w = fc_ceil_div(region->end[1] - region->begin[1] - first[1], step[1]);
    dx.stride_h *= step[0];
    dx.stride_w *= step[1];
    fc_zero_image(&dx, params->dtype);
}

/* Whether no tap reaches some columns. */
static bool taps_miss(const struct fc_axis axis[2], const struct fc_dx_region *region,
                      int64_t phases)
{
    for (int64_t j = 0; j < phases; j++)
        if (find_phase(&axis[1], region->begin[1], region->end[1], j).axis.taps == 0)
            return true;
    return false;
}

/* In planes, columns that no tap reaches lie one by one between others: there whole rows are zeroed
 * first. */
fc_status fc_convolve_dx_region(const fc_conv2d_params *params, const struct fc_window *window,
                                const fc_image *dy, const fc_weights *kernel, const void *bias,
                                const struct fc_dx_region *region)
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
                          const struct fc_dx_region *region, fc_status *status)
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
    MOST_PHASES = FC_MOST_PARTS, /* in one call */
    NEAR_BYTES = 1 << 19,        /* of planes of dx whose phases follow each other */
    LEAST_GROUPS = 8,            /* at once: a call takes a microsecond or two */
    LEAST_MERGED = 48,           /* columns: with 28, in float64 even 1.3 times the time */
    LEAST_OF_GROUPS = 8,         /* of several channels, which a phase turns from pixels */
    MOST_MERGED = 1 << 20        /* bytes of planes that are merged: scratch */
};

/* Planes of phases of columns, and those that they are merged to. */
struct merge {
    const struct fc_kernels *kernels;
    const fc_image *from, *to;
    int64_t apart;
    ptrdiff_t element;
};

/* Rows of whole pairs that follow each other are one. */
static void merge_plane(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct merge *merge = context;
    const fc_image *from = merge->from, *to = merge->to;
    const int64_t n = item / to->c, c = item % to->c;
    const bool whole = to->stride_h == to->w && to->w % 2 == 0;
    const int64_t rows = whole ? 1 : to->h, width = whole ? to->h * to->w : to->w;
    for (int64_t h = 0; h < rows; h++) {
        const char *even = fc_image_at(from, merge->element, n, h, 0, c);
        char *y = fc_image_at(to, merge->element, n, h, 0, c);
        merge->kernels->pool2d.merge_pairs(even, even + merge->apart * merge->element, y, width);
    }
}

/* Columns in two phases, each with taps, of planes: each phase is stored whole, and both are merged. To store
 * every other number 64 channels of 112 x 112 took 5.9 ms on Zen 4, so 4.2. */
static bool merges(const struct fc_window *window, const struct fc_dx_region *region,
                   int64_t groups, int64_t element)
{
    const struct fc_axis *axis = window->axis;
    const fc_image *dx = &region->dx;
    const int64_t least = dx->c > groups ? LEAST_OF_GROUPS : LEAST_MERGED;
    if (axis[1].stride != 2 || dx->stride_w != 1 || dx->w < least ||
        dx->h * dx->w > MOST_MERGED / element / fc_max(dx->c, 1) / fc_max(dx->n, 1))
        return false;
    for (int d = 0; d < 2; d++)
        for (int64_t r = 0; r < axis[d].stride; r++)
            if (find_phase(&axis[d], 0, region->end[d], r).axis.taps == 0)
                return false;
    return true;
}

static fc_status convolve_merged(const fc_conv2d_params *params, const struct fc_window *window,
                                 const fc_image *dy, const fc_weights *kernel, const void *bias,
                                 const struct fc_dx_region *region)
{
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(params->dtype);
    fc_image planes = region->dx;
    planes.stride_h = fc_ceil_div(planes.w, 2);
    const int64_t apart = planes.h * planes.stride_h, all = 2 * apart * planes.c * planes.n;
    planes.stride_c = 2 * apart;
    planes.stride_n = planes.c * planes.stride_c;
    planes.data = fc_workspace_acquire((size_t)(all * element));
    if (!planes.data)
        return FC_NO_MEMORY;
    struct fc_dx_region phases = *region;
    phases.dx = planes;
    phases.apart = apart;
    const fc_status status = fc_convolve_dx_region(params, window, dy, kernel, bias, &phases);
    struct merge merge = {fc_current_kernels(params->dtype), &planes, &region->dx, apart, element};
    const int width = fc_parallel_width(planes.n * planes.c, FC_WORK_PER_ELEMENT * (double)all);
    if (status == FC_OK)
        fc_parallel_for(planes.n * planes.c, width, FC_FLUSH_DENORMALS, merge_plane, &merge);
    fc_workspace_release(planes.data);
    return status;
}

/* Some images of some groups. */
struct share {
    int64_t n, images, group, groups;
};

static fc_image share_of(const fc_image *image, const struct share *share, int64_t channels,
                         ptrdiff_t element)
{
    fc_image some = *image;
    some.data = fc_image_at(image, element, share->n, 0, 0, share->group * channels);
    some.n = share->images;
    some.c = share->groups * channels;
    return some;
}

/* All phases of a share. */
static fc_status convolve_share(const fc_conv2d_params *params, const struct fc_window *window,
                                const fc_image *dy, const fc_weights *kernel, const void *bias,
                                const fc_image *dx, const struct share *share)
{
    const ptrdiff_t element = (ptrdiff_t)fc_element_size(params->dtype);
    const int64_t outputs = kernel->c_out / params->groups;
    fc_conv2d_params some = *params;
    fc_weights of_some = *kernel;
    const fc_image dy_some = share_of(dy, share, outputs, element);
    const struct fc_dx_region region = {
        .begin = {0, 0}, .end = {dx->h, dx->w}, .dx = share_of(dx, share, kernel->c_in, element)};
    some.groups = share->groups;
    of_some.c_out = dy_some.c;
    of_some.data = (char *)kernel->data + share->group * outputs * kernel->stride_c_out * element;
    if (bias)
        bias = (const char *)bias + share->group * kernel->c_in * element;
    if (merges(window, &region, share->groups, element))
        return convolve_merged(&some, window, &dy_some, &of_some, bias, &region);
    return fc_convolve_dx_region(&some, window, &dy_some, &of_some, bias, &region);
}

/* How much of dx is computed phase by phase, the first share; of no groups, if all of it is. Where a phase does
 * little with each number, as a strided depthwise convolution does, all phases of an image follow each other: then
 * dy comes from the second-level cache for all but the first. Of planes, some follow each other so: each phase
 * stores numbers between those of the others, to lines that are still there. 64 channels of 112 x 112 took 5.5 ms
 * image by image, and take 4.0. So do planes of narrow groups that are merged, whole units of several images,
 * since each call packs its kernel. */
static struct share first_share(const fc_conv2d_params *params, const struct fc_window *window,
                                const fc_weights *kernel, const fc_image *dx)
{
    const int64_t element = (int64_t)fc_element_size(params->dtype), channels = kernel->c_in;
    const int64_t unit = fc_unit(params->dtype), group = dx->h * dx->w * channels * element;
    const bool phases = window->axis[0].stride > 1 || window->axis[1].stride > 1;
    const bool planes = dx->stride_w == 1;
    struct share share = {.images = 1};
    if (!phases || params->groups == 1 || channels > unit)
        return share;
    if (channels == 1) {
        const int64_t near = planes ? NEAR_BYTES / fc_max(group, 1) : params->groups;
        share.groups = fc_max(near, LEAST_GROUPS);
        return share;
    }
    const int64_t least = unit / fc_greatest_common_divisor(unit, channels);
    const int64_t fit = fc_max(MOST_MERGED / fc_max(group, 1) / least, 1) * least;
    share.groups = fc_min(fit, params->groups);
    share.images = fc_min(fc_max(fit / share.groups, 1), dx->n);
    const struct fc_dx_region region = {.end = {dx->h, dx->w},
                                        .dx = share_of(dx, &share, channels, element)};
    if (!merges(window, &region, share.groups, element))
        share.groups = 0;
    return share;
}

static bool convolve_depthwise(const struct fc_convolution *phases, const int64_t step[2],
                               fc_status *status)
{
    struct fc_depthwise_part parts[MOST_PHASES];
    const int64_t count = step[0] * step[1];
    for (int64_t q = 0; q < count; q++)
        parts[q] = (struct fc_depthwise_part){
            .axis = {phases[q].axis[0], phases[q].axis[1]},
            .kernel = phases[q].kernel,
            .x_step = {1, 1},
            .y_at = {q / step[1], q % step[1]},
            .y_step = {step[0], step[1]},
        };
    if (!fc_fits_parts(&phases[count - 1], parts, count))
        return false;
    *status = fc_convolve_parts(&phases[count - 1], parts, count);
    return true;
}

/* All phases of a depthwise convolution or of narrow groups in one call, where each has taps. *status is what it
 * returned. */
static bool convolve_together(const fc_conv2d_params *params, const struct fc_window *window,
                              const fc_image *dy, const fc_weights *kernel, const void *bias,
                              const struct fc_dx_region *region, fc_status *status)
{
    const struct fc_axis *axis = window->axis;
    const int64_t step[2] = {fc_min(axis[0].stride, region->dx.h),
                             fc_min(axis[1].stride, region->dx.w)};
    const bool depthwise = kernel->c_out == params->groups && kernel->c_in == 1;
    if (params->groups == 1 || params->algorithm == FC_WINOGRAD || step[0] > MOST_PHASES ||
        step[1] > MOST_PHASES / step[0])
        return false;
    struct fc_convolution phases[MOST_PHASES];
    bool direct = true;
    for (int64_t q = 0; q < step[0] * step[1]; q++) {
        const struct phase phase[2] = {find_phase(&axis[0], 0, region->dx.h, q / step[1]),
                                       find_phase(&axis[1], 0, region->dx.w, q % step[1])};
        phases[q] = find_convolution(params, phase, dy, kernel, bias, region);
        if (!depthwise && direct)
            direct =
                fc_choose_form(params->algorithm, FC_PASS_CALLED, &phases[q]) == FC_DIRECT_FORM;
        phases[q].y = region->dx;
        phases[q].phase = false;
    }
    if (depthwise)
        return convolve_depthwise(phases, step, status);
    if (!direct || !fc_fits_group_parts(phases, step[0] * step[1]))
        return false;
    *status = fc_convolve_group_parts(phases, step);
    return true;
}

/* All of dx. */
fc_status fc_convolve_dx(const fc_conv2d_params *params, const struct fc_window *window,
                         const fc_image *dy, const fc_weights *kernel, const void *bias,
                         const fc_image *dx)
{
    const struct fc_dx_region region = {.begin = {0, 0}, .end = {dx->h, dx->w}, .dx = *dx};
    fc_status status = FC_OK;
    if (convolve_gaps(params, window, dy, kernel, bias, &region, &status))
        return status;
    const bool strided = window->axis[0].stride > 1 || window->axis[1].stride > 1;
    if (strided && convolve_together(params, window, dy, kernel, bias, &region, &status))
        return status;
    const struct share first = first_share(params, window, kernel, dx);
    if (first.groups == 0)
        return fc_convolve_dx_region(params, window, dy, kernel, bias, &region);
    for (int64_t n = 0; n < dx->n; n += first.images)
        for (int64_t group = 0; group < params->groups && status == FC_OK; group += first.groups)
            status = convolve_share(params, window, dy, kernel, bias, dx,
                                    &(struct share){n, fc_min(first.images, dx->n - n), group,
                                                    fc_min(first.groups, params->groups - group)});
    return status;
}
