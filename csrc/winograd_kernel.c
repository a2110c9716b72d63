/* winograd_kernel.c: the forms, and a kernel taken to the positions of one.
 *
 * A slab of 16 channels of a panel is copied as the panels of a direct convolution are, tap by tap,
 * 18 KB that stay in the first-level cache; its vectors are then transformed: for F(4x4,3x3) 9 loads
 * and 36 stores for each. What leaves is 4 times what came, so memory is the limit of large kernels:
 * where few tiles use them, winograd.c transforms chunk by chunk instead, in the second-level cache. */
#include <string.h>

#include "dispatch.h"
#include "parallel.h"
#include "winograd.h"
#include "workspace.h"

#define FC_FORM_AT(mh, rh, mw, rw)         \
    {.outputs = {mh, mw},                  \
     .taps = {rh, rw},                     \
     .points = {mh + rh - 1, mw + rw - 1}, \
     .positions = (mh + rh - 1) * (mw + rw - 1)},

struct fc_winograd_form fc_winograd_form_at(int form)
{
    static const struct fc_winograd_form forms[] = {FC_WINOGRAD_FORMS(FC_FORM_AT)};
    return forms[form];
}

/* ------------------------------------------------------------------ layout */

int64_t fc_winograd_chunk_elements(const struct fc_winograd_kernel *kernel, int64_t p, int64_t c,
                                   int64_t *position)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t count = fc_min(FC_WINOGRAD_CHUNK, channels->c_in - c);
    *position = count * fc_panel_width(channels, p) + channels->unit;
    return kernel->form.positions * *position;
}

int64_t fc_winograd_kernel_offset(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                  int64_t c)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t chunks = fc_ceil_div(channels->c_in, FC_WINOGRAD_CHUNK);
    const int64_t panel = channels->c_in * channels->panel + chunks * channels->unit;
    const int64_t before = c * fc_panel_width(channels, p) + c / FC_WINOGRAD_CHUNK * channels->unit;
    return kernel->form.positions * ((group * fc_panel_count(channels) + p) * panel + before);
}

bool fc_winograd_kernel_bytes(const struct fc_winograd_kernel *kernel, int64_t panels,
                              size_t *bytes)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t chunks = fc_ceil_div(channels->c_in, FC_WINOGRAD_CHUNK);
    size_t panel;
    return !__builtin_mul_overflow(
               (size_t)kernel->form.positions * (size_t)kernel->panels.element,
               (size_t)(channels->c_in * channels->panel + chunks * channels->unit), &panel) &&
           !__builtin_mul_overflow(panel, (size_t)panels, bytes);
}

/* --------------------------------------------------------------- transform */

int64_t fc_winograd_staging(const struct fc_winograd_kernel *kernel)
{
    const struct fc_channels *channels = kernel->panels.channels;
    return channels->taps * channels->slab * channels->panel;
}

/* The taps of channels [c, c + rows) of a panel: [tap][channel][width], unused columns zero. */
static void stage(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p, int64_t c,
                  int64_t rows, char *staging)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t width = fc_panel_width(channels, p);
    const int64_t bytes = rows * width * kernel->panels.element;
    if (fc_panel_outputs(channels, p) < width)
        memset(staging, 0, (size_t)(channels->taps * bytes));
    for (int64_t tap = 0; tap < channels->taps; tap++)
        fc_copy_tap(&kernel->panels, tap, group, c, rows, p, staging + tap * bytes, true);
}

void fc_winograd_transform_chunk(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                 int64_t c, void *staging, void *to)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t width = fc_panel_width(channels, p);
    const int64_t count = fc_min(FC_WINOGRAD_CHUNK, channels->c_in - c);
    int64_t position;
    fc_winograd_chunk_elements(kernel, p, c, &position);
    for (int64_t done = 0; done < count; done += channels->slab) {
        const int64_t rows = fc_min(channels->slab, count - done);
        stage(kernel, group, p, c + done, rows, staging);
        kernel->transforms->kernel(&(struct fc_winograd_spread){
            .x = staging,
            .y = (char *)to + done * width * kernel->panels.element,
            .x_row = kernel->form.taps[1] * rows * width,
            .x_column = rows * width,
            .x_tile = width,
            .y_position = position,
            .y_tile = width,
            .y_slab = FC_SLAB,
            .tiles = rows,
            .channels = width,
        });
    }
}

struct transform {
    const struct fc_winograd_kernel *kernel;
    int64_t group, panel;
    size_t staging_bytes;
    char *staging, *to;
};

/* Item: a chunk of a panel. */
static void transform_item(void *context, int64_t item, int worker)
{
    const struct transform *transform = context;
    const struct fc_winograd_kernel *kernel = transform->kernel;
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t chunks = fc_ceil_div(channels->c_in, FC_WINOGRAD_CHUNK);
    const int64_t group = transform->group, p = transform->panel + item / chunks;
    const int64_t c = item % chunks * FC_WINOGRAD_CHUNK;
    const ptrdiff_t element = kernel->panels.element;
    fc_winograd_transform_chunk(
        kernel, group, p, c, transform->staging + (size_t)worker * transform->staging_bytes,
        transform->to + (fc_winograd_kernel_offset(kernel, group, p, c) -
                         fc_winograd_kernel_offset(kernel, group, transform->panel, 0)) *
                            element);
}

fc_status fc_winograd_transform_panels(const struct fc_winograd_kernel *kernel, int64_t group,
                                       int64_t panel, int64_t end, void *to)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t chunks = fc_ceil_div(channels->c_in, FC_WINOGRAD_CHUNK);
    const int64_t items = (end - panel) * chunks;
    const double work = FC_WORK_PER_ELEMENT * (double)channels->c_in *
                        (double)((end - panel) * channels->panel * kernel->form.positions);
    const int width = fc_parallel_width(items, work);
    const size_t staging =
        fc_round_to_line((size_t)(fc_winograd_staging(kernel) * kernel->panels.element));
    struct transform transform = {
        kernel, group, panel, staging, fc_workspace_acquire(staging * (size_t)width), to};
    if (!transform.staging)
        return FC_NO_MEMORY;
    fc_parallel_for(items, width, FC_FLUSH_DENORMALS, transform_item, &transform);
    fc_workspace_release(transform.staging);
    return FC_OK;
}
