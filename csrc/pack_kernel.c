/* pack_kernel.c: how the channels of a kernel meet those of x, and the kernel laid out for that. */
#include <string.h>

#include "convolve.h"
#include "dispatch.h"
#include "parallel.h"

struct fc_kernel_view fc_view_kernel(const fc_weights *kernel, int64_t groups)
{
    const int64_t c_out = kernel->c_out / groups;
    return (struct fc_kernel_view){
        .data = kernel->data,
        .kh = kernel->kh,
        .kw = kernel->kw,
        .c_in = kernel->c_in,
        .c_out = c_out,
        .groups = groups,
        .stride_kh = kernel->stride_kh,
        .stride_kw = kernel->stride_kw,
        .stride_c_in = kernel->stride_c_in,
        .stride_c_out = kernel->stride_c_out,
        .stride_group = c_out * kernel->stride_c_out,
    };
}

struct fc_channels fc_plan_channels(const struct fc_kernel_view *kernel, fc_dtype dtype)
{
    struct fc_channels channels = {
        .groups = kernel->groups,
        .c_in = kernel->c_in,
        .c_out = kernel->c_out,
        .taps = kernel->kh * kernel->kw,
        .slab = FC_SLAB,
        .unit = FC_UNIT_BYTES / (int64_t)fc_element_size(dtype),
    };
    channels.panel = FC_PANEL_UNITS * channels.unit;
    channels.lanes = kernel->groups > 1 && kernel->c_out < channels.unit;
    if (channels.lanes) {
        channels.groups = 1;
        channels.c_out *= kernel->groups;
        channels.slab = 1;
    }
    const int64_t terms = fc_max(FC_BLOCK_TERMS / fc_max(channels.taps, 1), channels.slab);
    channels.block = terms / channels.slab * channels.slab;
    return channels;
}

int64_t fc_panel_outputs(const struct fc_channels *channels, int64_t p)
{
    return fc_min(channels->c_out - p * channels->panel, channels->panel);
}

int64_t fc_panel_width(const struct fc_channels *channels, int64_t p)
{
    return fc_ceil_div(fc_panel_outputs(channels, p), channels->unit) * channels->unit;
}

bool fc_packed_bytes(const struct fc_channels *channels, fc_dtype dtype, size_t *bytes)
{
    return !__builtin_mul_overflow(fc_panel_offset(channels, channels->groups, 0),
                                   fc_element_size(dtype), bytes);
}

/* ------------------------------------------------------------------ panels */

struct packing {
    const struct fc_kernel_view *kernel;
    const struct fc_channels *channels;
    const struct fc_conv2d_kernels *kernels;
    size_t element;
    char *packed;
};

static const char *element_of(const struct packing *packing, int64_t i, int64_t j, int64_t group,
                              int64_t c, int64_t k)
{
    const struct fc_kernel_view *kernel = packing->kernel;
    return (const char *)kernel->data +
           (i * kernel->stride_kh + j * kernel->stride_kw + group * kernel->stride_group +
            c * kernel->stride_c_in + k * kernel->stride_c_out) *
               (ptrdiff_t)packing->element;
}

/* Rows [c, c + rows) of one tap, columns [k, k + columns) of the outputs of `group` or, in lanes, of
 * all groups: as many copies as groups are touched. */
static void pack_tap(const struct packing *packing, int64_t i, int64_t j, int64_t group, int64_t c,
                     int64_t rows, int64_t k, int64_t columns, char *to, int64_t width)
{
    const struct fc_kernel_view *kernel = packing->kernel;
    for (int64_t done = 0; done < columns;) {
        const int64_t g = packing->channels->lanes ? (k + done) / kernel->c_out : group;
        const int64_t first = packing->channels->lanes ? (k + done) % kernel->c_out : k + done;
        const int64_t run = fc_min(kernel->c_out - first, columns - done);
        packing->kernels->copy_block(&(struct fc_block){
            .x = element_of(packing, i, j, g, c, first),
            .y = to + done * (int64_t)packing->element,
            .x_pixel = kernel->stride_c_in,
            .x_channel = kernel->stride_c_out,
            .y_pixel = width,
            .y_channel = 1,
            .pixels = rows,
            .channels = run,
        });
        done += run;
    }
    for (int64_t r = 0; r < rows && columns < width; r++)
        memset(to + (r * width + columns) * (int64_t)packing->element, 0,
               (size_t)(width - columns) * packing->element);
}

static void pack_panel(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct packing *packing = context;
    const struct fc_channels *channels = packing->channels;
    const int64_t panels = fc_panel_count(channels), group = item / panels, p = item % panels;
    const int64_t width = fc_panel_width(channels, p), columns = fc_panel_outputs(channels, p);
    char *to = packing->packed +
               fc_panel_offset(channels, group, p) * (int64_t)packing->element;
    for (int64_t c = 0; c < channels->c_in; c += channels->slab) {
        const int64_t rows = fc_min(channels->slab, channels->c_in - c);
        for (int64_t i = 0; i < packing->kernel->kh; i++)
            for (int64_t j = 0; j < packing->kernel->kw; j++) {
                pack_tap(packing, i, j, group, c, rows, p * channels->panel, columns, to, width);
                to += rows * width * (int64_t)packing->element;
            }
    }
}

void fc_pack_panels(const struct fc_kernel_view *kernel, const struct fc_channels *channels,
                    fc_dtype dtype, const struct fc_conv2d_kernels *kernels, void *packed)
{
    struct packing packing = {kernel, channels, kernels, fc_element_size(dtype), packed};
    const int64_t items = channels->groups * fc_panel_count(channels);
    const double elements =
        (double)channels->taps * (double)channels->c_in * (double)(items * channels->panel);
    fc_parallel_for(items, fc_parallel_width(items, elements), FC_KEEP_DENORMALS, pack_panel,
                    &packing);
}
