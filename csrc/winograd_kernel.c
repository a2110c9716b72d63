/* winograd_kernel.c: a kernel taken to the positions of a form.
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

struct fc_winograd_kernel fc_winograd_kernel_of(const struct fc_winograd_form *form, fc_dtype dtype,
                                                const struct fc_kernel_view *kernel,
                                                const struct fc_channels *channels)
{
    const struct fc_kernels *table = fc_current_kernels(dtype);
    return (struct fc_winograd_kernel){
        {kernel, channels, &table->conv2d, (ptrdiff_t)fc_element_size(dtype)},
        &table->winograd.transforms[form->transforms],
        *form,
    };
}

int64_t fc_winograd_chunk_elements(const struct fc_winograd_kernel *kernel, int64_t p,
                                   int64_t chunk, int64_t *matrix)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_chunk at = fc_winograd_chunk_at(channels->c_in, chunk);
    const struct fc_winograd_piece piece = fc_winograd_piece_at(&kernel->form, at.piece);
    *matrix = at.channels * fc_panel_width(channels, p) + channels->unit;
    return fc_winograd_matrices(&piece) * *matrix;
}

int64_t fc_winograd_kernel_offset(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                  int64_t chunk)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_form *form = &kernel->form;
    const struct fc_winograd_chunk at = fc_winograd_chunk_at(channels->c_in, chunk);
    const struct fc_winograd_piece piece = fc_winograd_piece_at(form, at.piece);
    const int64_t width = fc_panel_width(channels, p), unit = channels->unit;
    const int64_t units = fc_ceil_div(channels->c_in, FC_WINOGRAD_CHUNK) * unit;
    return (group * fc_panel_count(channels) + p) *
               fc_winograd_matrices_before(form, form->pieces) *
               (channels->c_in * channels->panel + units) +
           fc_winograd_matrices_before(form, at.piece) * (channels->c_in * width + units) +
           fc_winograd_matrices(&piece) * (at.c * width + at.c / FC_WINOGRAD_CHUNK * unit);
}

bool fc_winograd_kernel_bytes(const struct fc_winograd_kernel *kernel, int64_t panels,
                              size_t *bytes)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const int64_t chunks = fc_ceil_div(channels->c_in, FC_WINOGRAD_CHUNK);
    const int64_t matrices = fc_winograd_matrices_before(&kernel->form, kernel->form.pieces);
    size_t panel;
    return !__builtin_mul_overflow(
               (size_t)matrices * (size_t)kernel->panels.element,
               (size_t)(channels->c_in * channels->panel + chunks * channels->unit), &panel) &&
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
    const struct fc_winograd_piece piece = fc_winograd_piece_at(form, some->piece);
    for (int64_t i = 0; i < piece.taps[0]; i++)
        for (int64_t j = 0; j < piece.taps[1]; j++) {
            const int64_t row = piece.first[0] + i * form->stride;
            const int64_t column = piece.first[1] + j * form->stride;
            fc_copy_tap(&kernel->panels, row * form->kernel[1] + column, group, some->c,
                        some->channels, p, staging + (i * form->taps[1] + j) * bytes, to_staging);
        }
}

/* Unused columns and taps are zero. */
static void stage(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                  const struct fc_winograd_chunk *some, char *staging)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_form *form = &kernel->form;
    const struct fc_winograd_piece piece = fc_winograd_piece_at(form, some->piece);
    const int64_t width = fc_panel_width(channels, p);
    if (fc_panel_outputs(channels, p) < width || piece.taps[0] < form->taps[0] ||
        piece.taps[1] < form->taps[1])
        memset(staging, 0,
               (size_t)(form->taps[0] * form->taps[1] * some->channels * width) *
                   (size_t)kernel->panels.element);
    fc_winograd_copy_taps(kernel, group, p, some, staging, true);
}

/* A piece of one tap, which is what is stored. */
static void copy_tap(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                     const struct fc_winograd_chunk *all, void *to)
{
    const int64_t width = fc_panel_width(kernel->panels.channels, p);
    if (fc_panel_outputs(kernel->panels.channels, p) < width)
        memset(to, 0, (size_t)(all->channels * width) * (size_t)kernel->panels.element);
    fc_winograd_copy_taps(kernel, group, p, all, to, true);
}

void fc_winograd_transform_chunk(const struct fc_winograd_kernel *kernel, int64_t group, int64_t p,
                                 int64_t chunk, void *staging, void *to)
{
    const struct fc_channels *channels = kernel->panels.channels;
    const struct fc_winograd_form *form = &kernel->form;
    const int64_t width = fc_panel_width(channels, p);
    const struct fc_winograd_chunk at = fc_winograd_chunk_at(channels->c_in, chunk);
    const struct fc_winograd_piece piece = fc_winograd_piece_at(form, at.piece);
    const int64_t matrices = fc_winograd_matrices(&piece);
    const bool whole = matrices == form->positions, column = piece.stored[0] > piece.stored[1];
    int64_t matrix;
    fc_winograd_chunk_elements(kernel, p, chunk, &matrix);
    if (matrices == 1 && !whole) {
        copy_tap(kernel, group, p, &at, to);
        return;
    }
    for (int64_t done = 0; done < at.channels; done += channels->slab) {
        const int64_t rows = fc_min(channels->slab, at.channels - done);
        stage(kernel, group, p, &(struct fc_winograd_chunk){at.piece, at.c + done, rows, 0},
              staging);
        const struct fc_winograd_spread spread = {
            .x = staging,
            .y = (char *)to + done * width * kernel->panels.element,
            .x_row = form->taps[1] * rows * width,
            .x_column = (whole || !column ? 1 : form->taps[1]) * rows * width,
            .x_tile = width,
            .y_position = matrix,
            .y_tile = width,
            .y_slab = FC_SLAB,
            .tiles = rows,
            .channels = width,
        };
        if (!whole)
            kernel->transforms->line(&spread);
        else if (fc_winograd_leaves_factors(form))
            kernel->transforms->unscaled(&spread);
        else
            kernel->transforms->kernel(&spread);
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
    const double work =
        FC_WORK_PER_ELEMENT *
        (double)(fc_winograd_matrices_before(&kernel->form, kernel->form.pieces) * channels->c_in) *
        (double)((end - panel) * channels->panel);
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
