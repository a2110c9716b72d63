/* depthwise.c: which convolutions are depthwise, and their kernel.
 *
 * Both layouts take every tap in order, padding too: one chain of multiply-adds an output, the same
 * bits whichever of them runs. */
#include "depthwise.h"

#include "depthwise_dkernel.h"
#include "dispatch.h"
#include "stream.h"
#include "workspace.h"

/* A larger window goes to the tiles of fc_convolve, whose terms are found block by block. */
enum { MOST_TAPS = 1024, MOST_REACH = 128, FEW_CHANNELS = 4 };

enum {
    BLOCK_BYTES = 512 * 1024, /* of x and y transposed */
    LEAST_BAND = 8            /* rows, and twice what bands share */
};

static bool fits_window(const struct fc_axis axis[2])
{
    for (int d = 0; d < 2; d++)
        if (axis[d].dilation > MOST_REACH || axis[d].stride > MOST_REACH ||
            fc_window_reach(&axis[d], 2) > MOST_REACH)
            return false;
    return axis[0].taps * axis[1].taps > 0 && axis[0].taps * axis[1].taps <= MOST_TAPS;
}

bool fc_fits_depthwise(const struct fc_convolution *convolution)
{
    const struct fc_kernel_view *kernel = &convolution->kernel;
    return kernel->groups > 1 && kernel->c_in == 1 && kernel->c_out == 1 &&
           fits_window(convolution->axis);
}

bool fc_asks_for_rows(const fc_image *image, ptrdiff_t element)
{
    enum { SHORT_PIXEL = 1024 }; /* bytes */
    return image->c * element <= SHORT_PIXEL || fc_is_far(image, element);
}

bool fc_channels_together(const struct fc_convolution *convolution)
{
    return convolution->x.stride_c == 1 && convolution->y.stride_c == 1 &&
           (!convolution->residual.data || convolution->residual.stride_c == 1) &&
           convolution->x.c >= FEW_CHANNELS;
}

/* Elements of x and y in a channel, or too many to be counted. */
static int64_t plane_elements(const struct fc_convolution *convolution)
{
    const fc_image *x = &convolution->x, *y = &convolution->y;
    if (x->h > BLOCK_BYTES || x->w > BLOCK_BYTES || y->h > BLOCK_BYTES || y->w > BLOCK_BYTES)
        return BLOCK_BYTES;
    return x->h * x->w + y->h * y->w;
}

bool fc_fits_transposed(const struct fc_convolution *convolution, int64_t channels)
{
    const int64_t element = (int64_t)fc_element_size(convolution->dtype);
    return convolution->x.c >= channels && !convolution->residual.data &&
           plane_elements(convolution) <= BLOCK_BYTES / element / channels;
}

/* Planes that are not transposed multiply padding by zeros, too, which gives other bits where weights are
 * infinite or products vanish: it is left out where both layouts come here. 7 x 7 taps on 7 x 7 took 0.314 ms
 * on Zen 4, so 0.256. */
bool fc_skips_padding(const struct fc_convolution *convolution)
{
    return !convolution->phase && convolution->padding_mode == FC_CONSTANT &&
           convolution->padding_value == 0 &&
           fc_fits_transposed(convolution, fc_unit(convolution->dtype));
}

/* Rows of y in a band of planes of so many channels. */
static int64_t band_rows(const struct fc_convolution *convolution, int64_t channels)
{
    const fc_image *x = &convolution->x, *y = &convolution->y;
    const int64_t element = (int64_t)fc_element_size(convolution->dtype), most = BLOCK_BYTES;
    if (fc_fits_transposed(convolution, channels))
        return y->h;
    if (x->c < channels || convolution->residual.data || convolution->padding_mode != FC_CONSTANT ||
        fc_max(fc_max(x->h, x->w), fc_max(y->h, y->w)) > most)
        return 0;
    const int64_t shared = (convolution->axis[0].taps - 1) * convolution->axis[0].dilation;
    const int64_t row = y->w + fc_ceil_div(x->h, y->h) * x->w;
    const int64_t rows = (most / element / channels - shared * x->w) / row;
    return rows >= 2 * shared + LEAST_BAND ? rows : 0;
}

int64_t fc_transposed_rows(const struct fc_convolution *convolution)
{
    return band_rows(convolution, fc_unit(convolution->dtype));
}

int64_t fc_transposed_dkernel(const struct fc_convolution *convolution, int64_t *rows)
{
    const int64_t unit = fc_unit(convolution->dtype), c = convolution->x.c;
    int64_t channels = 4 * unit;
    *rows = convolution->y.h;
    for (; channels >= unit; channels /= 2)
        if (fc_fits_transposed(convolution, fc_min(channels, c)))
            return channels;
    if (convolution->axis[0].dilation > 1 || c < unit)
        return 0;
    for (channels = fc_min(4 * unit, c / unit * unit); channels >= unit; channels -= unit)
        if ((*rows = band_rows(convolution, channels)) > 0)
            return channels;
    return 0;
}

bool fc_fits_depthwise_dkernel(const struct fc_convolution *convolution)
{
    int64_t rows;
    return fc_fits_depthwise(convolution) &&
           (fc_channels_together(convolution) ||
            (convolution->x.c >= FEW_CHANNELS && fc_transposed_dkernel(convolution, &rows) > 0));
}

static bool uses_pixels(const struct fc_convolution *convolution)
{
    return fc_channels_together(convolution) || fc_transposed_rows(convolution) > 0;
}

bool fc_fits_parts(const struct fc_convolution *whole, const struct fc_depthwise_part *parts,
                   int64_t count)
{
    for (int64_t p = 0; p < count; p++)
        if (!fits_window(parts[p].axis))
            return false;
    return uses_pixels(whole);
}

/* The kernels of all parts in panels, one after the other, but for one that all share. */
static fc_status pack_parts(const struct fc_depthwise_job *job, char **panels)
{
    struct fc_depthwise_part *parts = job->parts;
    const fc_dtype dtype = job->convolution->dtype;
    size_t begin[FC_MOST_PARTS], total = 0;
    for (int64_t p = 0; p < job->count; p++) {
        size_t bytes;
        parts[p].channels = fc_plan_channels(&parts[p].kernel, dtype);
        if (!fc_packed_bytes(&parts[p].channels, dtype, &bytes))
            return FC_OVERFLOW;
        const bool shared = p > 0 && parts[p].kernel.data == parts->kernel.data &&
                            parts[p].kernel.kh == parts->kernel.kh &&
                            parts[p].kernel.kw == parts->kernel.kw;
        begin[p] = shared ? 0 : total;
        total += shared ? 0 : fc_round_to_line(bytes);
    }
    *panels = job->convolution->packed ? NULL : fc_workspace_acquire(total);
    if (!job->convolution->packed && !*panels)
        return FC_NO_MEMORY;
    for (int64_t p = 0; p < job->count; p++) {
        parts[p].packed = *panels ? *panels + begin[p] : job->convolution->packed;
        if (*panels && (p == 0 || begin[p] > 0))
            fc_pack_panels(&(struct fc_panels){&parts[p].kernel, &parts[p].channels,
                                               &job->kernels->conv2d, job->element},
                           *panels + begin[p]);
    }
    return FC_OK;
}

fc_status fc_convolve_parts(const struct fc_convolution *whole, struct fc_depthwise_part *parts,
                            int64_t count)
{
    const struct fc_depthwise_job job = {
        .convolution = whole,
        .kernels = fc_current_kernels(whole->dtype),
        .parts = parts,
        .count = count,
        .element = (ptrdiff_t)fc_element_size(whole->dtype),
    };
    char *panels;
    const fc_status packs = pack_parts(&job, &panels);
    if (packs != FC_OK)
        return packs;
    fc_status status;
    if (fc_fits_walk(whole) && count == 1)
        status = fc_depthwise_walk(&job);
    else if (uses_pixels(whole))
        status = fc_depthwise_pixels(&job, !fc_channels_together(whole));
    else
        status = fc_depthwise_planes(&job);
    fc_workspace_release(panels);
    return status;
}

/* Outputs as far apart as a dilation is wide read every dilation-th pixel: a convolution whose taps lie
 * together, one of as many as there are residues. Outputs from `residue` on. */
static void thin_axis(const struct fc_axis *axis, int64_t residue, int d,
                      struct fc_depthwise_part *part)
{
    const int64_t common = fc_greatest_common_divisor(axis->stride, axis->dilation);
    const int64_t shift = residue * axis->stride - axis->before;
    part->x_step[d] = axis->dilation;
    part->x_at[d] = (shift % axis->dilation + axis->dilation) % axis->dilation;
    part->y_step[d] = axis->dilation / common;
    part->y_at[d] = residue;
    part->axis[d] = (struct fc_axis){
        .in = fc_max(fc_ceil_div(axis->in - part->x_at[d], axis->dilation), 0),
        .out = fc_ceil_div(axis->out - residue, part->y_step[d]),
        .taps = axis->taps,
        .stride = axis->stride / common,
        .dilation = 1,
        .before = (part->x_at[d] - shift) / axis->dilation,
    };
}

fc_status fc_convolve_depthwise(const struct fc_convolution *convolution)
{
    struct fc_depthwise_part parts[FC_MOST_PARTS] = {{
        .axis = {convolution->axis[0], convolution->axis[1]},
        .kernel = convolution->kernel,
        .x_step = {1, 1},
        .y_step = {1, 1},
    }};
    int64_t residues[2], count = 0;
    for (int d = 0; d < 2; d++) {
        const struct fc_axis *axis = &convolution->axis[d];
        const int64_t common = fc_greatest_common_divisor(axis->stride, axis->dilation);
        residues[d] = fc_min(axis->dilation / common, axis->out);
    }
    const bool thin = residues[0] * residues[1] <= FC_MOST_PARTS &&
                      convolution->padding_mode == FC_CONSTANT && uses_pixels(convolution);
    for (int64_t i = 0; thin && i < residues[0]; i++)
        for (int64_t j = 0; j < residues[1]; j++, count++) {
            parts[count].kernel = convolution->kernel;
            thin_axis(&convolution->axis[0], i, 0, &parts[count]);
            thin_axis(&convolution->axis[1], j, 1, &parts[count]);
        }
    return fc_convolve_parts(convolution, parts, fc_max(count, 1));
}
