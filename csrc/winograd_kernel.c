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

enum { PIECE_TAPS = 4 }; /* of a kernel of 7 */

#define FC_FORM_AT(mh, rh, mw, rw)         \
    {.outputs = {mh, mw},                  \
     .taps = {rh, rw},                     \
     .points = {mh + rh - 1, mw + rw - 1}, \
     .positions = (mh + rh - 1) * (mw + rw - 1)},

struct fc_winograd_form fc_winograd_form_at(int form)
{
    static const struct fc_winograd_form forms[] = {FC_WINOGRAD_FORMS(FC_FORM_AT)};
    struct fc_winograd_form one = forms[form];
    for (int a = 0; a < 2; a++)
        one.kernel[a] = one.taps[a] == PIECE_TAPS ? 2 * PIECE_TAPS - 1 : one.taps[a];
    one.across = (int)fc_ceil_div(one.kernel[1], one.taps[1]);
    one.pieces = one.across * (int)fc_ceil_div(one.kernel[0], one.taps[0]);
    return one;
}

void fc_winograd_piece_at(const struct fc_winograd_form *form, int64_t piece, int64_t first[2])
{
    first[0] = piece / form->across * form->taps[0];
    first[1] = piece % form->across * form->taps[1];
}

int64_t fc_winograd_chunks(const struct fc_winograd_form *form, int64_t c_in)
{
    return form->pieces * fc_ceil_div(c_in, FC_WINOGRAD_CHUNK);
}

struct fc_winograd_chunk fc_winograd_chunk_at(int64_t c_in, int64_t chunk)
{
    const int64_t chunks = fc_ceil_div(c_in, FC_WINOGRAD_CHUNK);
    struct fc_winograd_chunk at = {.piece = chunk / chunks,
                                   .c = chunk % chunks * FC_WINOGRAD_CHUNK};
    at.channels = fc_min(FC_WINOGRAD_CHUNK, c_in - at.c);
    at.slab = at.piece * fc_ceil_div(c_in, FC_SLAB) + at.c / FC_SLAB;
    return at;
}

/* ------------------------------------------------------------------ layout */

int64_t fc_winograd_chunk_elements(const struct fc_winograd_kernel *kernel, int64_t p,
                                   int64_t chunk, int64_t *position)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t count = fc_winograd_chunk_at(channels->c_in, chunk).channels;
    *position = count * fc_panel_width(channels, p) + channels->unit;
    return kernel->form.positions * *position;
}

int64_t fc_winograd_kernel_offset(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                  int64_t chunk)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_chunk at = fc_winograd_chunk_at(channels->c_in, chunk);
    const int64_t chunks = fc_winograd_chunks(&kernel->form, channels->c_in);
    const int64_t panel =
        kernel->form.pieces * channels->c_in * channels->panel + chunks * channels->unit;
    const int64_t before =
        (at.piece * channels->c_in + at.c) * fc_panel_width(channels, p) + chunk * channels->unit;
    return kernel->form.positions * ((group * fc_panel_count(channels) + p) * panel + before);
}

bool fc_winograd_kernel_bytes(const struct fc_winograd_kernel *kernel, int64_t panels,
                              size_t *bytes)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t chunks = fc_winograd_chunks(&kernel->form, channels->c_in);
    const int64_t rows = kernel->form.pieces * channels->c_in;
    size_t panel;
    return !__builtin_mul_overflow((size_t)kernel->form.positions * (size_t)kernel->panels.element,
                                   (size_t)(rows * channels->panel + chunks * channels->unit),
                                   &panel) &&
           !__builtin_mul_overflow(panel, (size_t)panels, bytes);
}

/* --------------------------------------------------------------- transform */

int64_t fc_winograd_staging(const struct fc_winograd_kernel *kernel)
{
    const struct fc_channels *channels = kernel->panels.channels;
    return kernel->form.taps[0] * kernel->form.taps[1] * channels->slab * channels->panel;
}

void fc_winograd_copy_taps(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                           const struct fc_winograd_chunk *some, char *staging, bool to_staging)
{
    const struct fc_winograd_form *form = &kernel->form;
    const int64_t bytes = some->channels * fc_panel_width(kernel->panels.channels, p) *
                          (int64_t)kernel->panels.element;
    int64_t first[2];
    fc_winograd_piece_at(form, some->piece, first);
    const int64_t rows = fc_min(form->taps[0], form->kernel[0] - first[0]);
    const int64_t columns = fc_min(form->taps[1], form->kernel[1] - first[1]);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            fc_copy_tap(&kernel->panels, (first[0] + i) * form->kernel[1] + first[1] + j, group,
                        some->c, some->channels, p, staging + (i * form->taps[1] + j) * bytes,
                        to_staging);
}

/* Unused columns and taps are zero. */
static void stage(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                  const struct fc_winograd_chunk *some, char *staging)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_form *form = &kernel->form;
    const int64_t width = fc_panel_width(channels, p);
    if (fc_panel_outputs(channels, p) < width || form->pieces > 1)
        memset(staging, 0,
               (size_t)(form->taps[0] * form->taps[1] * some->channels * width) *
                   (size_t)kernel->panels.element);
    fc_winograd_copy_taps(kernel, group, p, some, staging, true);
}

void fc_winograd_transform_chunk(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                 int64_t chunk, void *staging, void *to)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t width = fc_panel_width(channels, p);
    const struct fc_winograd_chunk at = fc_winograd_chunk_at(channels->c_in, chunk);
    int64_t position;
    fc_winograd_chunk_elements(kernel, p, chunk, &position);
    for (int64_t done = 0; done < at.channels; done += channels->slab) {
        const int64_t rows = fc_min(channels->slab, at.channels - done);
        stage(kernel, group, p, &(struct fc_winograd_chunk){at.piece, at.c + done, rows, 0},
              staging);
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
    const int64_t chunks = fc_winograd_chunks(&kernel->form, channels->c_in);
    const int64_t group = transform->group, p = transform->panel + item / chunks;
    const int64_t chunk = item % chunks;
    const ptrdiff_t element = kernel->panels.element;
    fc_winograd_transform_chunk(
        kernel, group, p, chunk, transform->staging + (size_t)worker * transform->staging_bytes,
        transform->to + (fc_winograd_kernel_offset(kernel, group, p, chunk) -
                         fc_winograd_kernel_offset(kernel, group, transform->panel, 0)) *
                            element);
}

fc_status fc_winograd_transform_panels(const struct fc_winograd_kernel *kernel, int64_t group,
                                       int64_t panel, int64_t end, void *to)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t items = (end - panel) * fc_winograd_chunks(&kernel->form, channels->c_in);
    const double work = FC_WORK_PER_ELEMENT * (double)(kernel->form.pieces * channels->c_in) *
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
