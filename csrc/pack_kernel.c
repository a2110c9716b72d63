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
        .unit = fc_unit(dtype),
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
    return fc_whole_units(fc_panel_outputs(channels, p), channels->unit);
}

bool fc_packed_bytes(const struct fc_channels *channels, fc_dtype dtype, size_t *bytes)
{
    return !__builtin_mul_overflow(fc_panel_offset(channels, channels->groups, 0),
                                   fc_element_size(dtype), bytes);
}

/* ------------------------------------------------------------------ panels */

void fc_copy_tap(const struct fc_panels *panels, int64_t tap, int64_t group, int64_t c,
                 int64_t rows, int64_t p, void *panel, bool to_panel)
{
    const struct fc_kernel_view *kernel = panels->kernel;
    const struct fc_channels *channels = panels->channels;
    const int64_t outputs = fc_panel_outputs(channels, p);
    /* The outputs of all groups are evenly spaced in a whole kernel, and where a group has one. */
    const bool single = channels->lanes && kernel->c_out == 1;
    const ptrdiff_t spacing = single ? kernel->stride_group : kernel->stride_c_out;
    const bool even = channels->lanes && kernel->stride_group == kernel->c_out * spacing;
    for (int64_t done = 0; done < outputs;) {
        const int64_t k = p * channels->panel + done;
        const int64_t g = channels->lanes ? k / kernel->c_out : group;
        const int64_t first = channels->lanes ? k % kernel->c_out : k;
        const ptrdiff_t offset = tap / kernel->kw * kernel->stride_kh +
                                 tap % kernel->kw * kernel->stride_kw + g * kernel->stride_group +
                                 c * kernel->stride_c_in + first * kernel->stride_c_out;
        struct fc_block block = {
            .x = (char *)kernel->data + offset * panels->element,
            .y = (char *)panel + done * panels->element,
            .x_pixel = kernel->stride_c_in,
            .x_channel = spacing,
            .y_pixel = fc_panel_width(channels, p),
            .y_channel = 1,
            .pixels = rows,
            .channels = even ? outputs - done : fc_min(kernel->c_out - first, outputs - done),
        };
        if (!to_panel)
            block = (struct fc_block){.x = block.y,
                                      .y = (void *)block.x,
                                      .x_pixel = block.y_pixel,
                                      .x_channel = 1,
                                      .y_pixel = block.x_pixel,
                                      .y_channel = block.x_channel,
                                      .pixels = rows,
                                      .channels = block.channels};
        panels->kernels->copy_block(&block);
        done += block.channels;
    }
}

enum { LONG_ROW = 8 }; /* panels */

struct packing {
    struct fc_panels panels;
    char *packed;
};

static void clear_columns(char *row, int64_t rows, int64_t first, int64_t width, ptrdiff_t element)
{
    for (int64_t r = 0; r < rows && first < width; r++)
        memset(row + (r * width + first) * element, 0, (size_t)((width - first) * element));
}

void fc_pack_block(const struct fc_panels *panels, int64_t group, int64_t p, int64_t c, int64_t end,
                   void *to)
{
    const struct fc_channels *channels = panels->channels;
    const int64_t width = fc_panel_width(channels, p), outputs = fc_panel_outputs(channels, p);
    char *row = to;
    for (; c < end; c += channels->slab) {
        const int64_t rows = fc_min(channels->slab, end - c);
        for (int64_t tap = 0; tap < channels->taps; tap++) {
            fc_copy_tap(panels, tap, group, c, rows, p, row, true);
            clear_columns(row, rows, outputs, width, panels->element);
            row += rows * width * panels->element;
        }
    }
}

/* Channels [c, c + most) of one tap of panel p, as they lie in the packed kernel. */
static void pack_tap(const struct packing *packing, int64_t group, int64_t p, int64_t c,
                     int64_t most, int64_t tap)
{
    const struct fc_panels *panels = &packing->panels;
    const struct fc_channels *channels = panels->channels;
    const int64_t rows = fc_min(most, channels->c_in - c);
    const int64_t width = fc_panel_width(channels, p);
    char *to = packing->packed + (fc_panel_offset(channels, group, p) +
                                  (fc_panel_row(channels, c) + tap * rows) * width) *
                                     panels->element;
    fc_copy_tap(panels, tap, group, c, rows, p, to, true);
    clear_columns(to, rows, fc_panel_outputs(channels, p), width, panels->element);
}

/* The same of all whole panels, row by row of the kernel. Returns how many these are. */
static int64_t pack_rows(const struct packing *packing, int64_t group, int64_t c, int64_t tap)
{
    const struct fc_kernel_view *kernel = packing->panels.kernel;
    const struct fc_channels *channels = packing->panels.channels;
    const ptrdiff_t element = packing->panels.element;
    const int64_t rows = fc_min(channels->slab, channels->c_in - c), panel = channels->panel;
    const int64_t first = fc_panel_offset(channels, group, 0);
    const ptrdiff_t from = tap / kernel->kw * kernel->stride_kh +
                           tap % kernel->kw * kernel->stride_kw + group * kernel->stride_group;
    struct fc_block block = {
        .x_pixel = panel,
        .x_channel = 1,
        .y_pixel = fc_panel_offset(channels, group, 1) - first,
        .y_channel = 1,
        .pixels = channels->c_out / panel,
        .channels = panel,
    };
    for (int64_t r = 0; r < rows; r++) {
        const int64_t row = fc_panel_row(channels, c) + tap * rows + r;
        block.x = (const char *)kernel->data + (from + (c + r) * kernel->stride_c_in) * element;
        block.y = packing->packed + (first + row * panel) * element;
        packing->panels.kernels->copy_block(&block);
    }
    return block.pixels;
}

/* A slab of channels of all panels: where a kernel's outputs lie together, its rows are read from end to
 * end, in whatever pages they lie. Row after row where they are long: where each panel reads 128 bytes of 16
 * rows no stream is seen, and 512 x 512 x 9 took 1.45 ms on Zen 4, so 1.0. Runs of 8 panels, 1 KB, gained nothing,
 * nor did to ask for a slab's rows beforehand. */
static void pack_slab(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct packing *packing = context;
    const struct fc_channels *channels = packing->panels.channels;
    const int64_t slabs = fc_ceil_div(channels->c_in, channels->slab), group = item / slabs;
    const int64_t c = item % slabs * channels->slab;
    const bool rows = !channels->lanes && channels->c_out >= LONG_ROW * channels->panel;
    for (int64_t tap = 0; tap < channels->taps; tap++)
        for (int64_t p = rows ? pack_rows(packing, group, c, tap) : 0; p < fc_panel_count(channels);
             p++)
            pack_tap(packing, group, p, c, channels->slab, tap);
}

/* A panel: where its channels lie together, as in a kernel that is transposed. Of one tap all of them at once,
 * so that a unit's rows are read from end to end and not a line of each in turn: 512 x 2048 took 0.18 ms on Zen
 * 4, now 0.13, and 0.30 before squares were read row by row. */
static void pack_panel(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct packing *packing = context;
    const struct fc_channels *channels = packing->panels.channels;
    const int64_t count = fc_panel_count(channels), group = item / count;
    const int64_t run = channels->taps == 1 ? channels->c_in : channels->slab;
    for (int64_t tap = 0; tap < channels->taps; tap++)
        for (int64_t c = 0; c < channels->c_in; c += run)
            pack_tap(packing, group, item % count, c, run, tap);
}

/* Panel by panel in any case, a kernel of 512 x 512 x 9 took a fifth of the time of the convolution. */
void fc_pack_panels(const struct fc_panels *panels, void *packed)
{
    struct packing packing = {*panels, packed};
    const struct fc_channels *channels = panels->channels;
    const bool rows = panels->kernel->stride_c_out == 1;
    const int64_t items = channels->groups * (rows ? fc_ceil_div(channels->c_in, channels->slab)
                                                   : fc_panel_count(channels));
    const double work = FC_WORK_PER_ELEMENT * (double)channels->taps * (double)channels->c_in *
                        (double)(channels->groups * fc_panel_count(channels) * channels->panel);
    fc_parallel_for(items, fc_parallel_width(items, work), FC_KEEP_DENORMALS,
                    rows ? pack_slab : pack_panel, &packing);
}
