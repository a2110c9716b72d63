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

#define FC_FORM(kh, kw, s, mh, rh, mw, rw)                                                     \
    {                                                                                          \
        .transforms = FC_WINOGRAD_NAME(mh, rh, mw, rw), .outputs = {mh, mw}, .taps = {rh, rw}, \
        .points = {mh + rh - 1, mw + rw - 1}, .positions = (mh + rh - 1) * (mw + rw - 1),      \
        .kernel = {kh, kw}, .stride = s, .across = s > 1 ? s : (kw + rw - 1) / rw,             \
        .pieces = s > 1 ? s * s : (kw + rw - 1) / rw * ((kh + rh - 1) / rh)                    \
    }

struct fc_winograd_form fc_winograd_form_at(int form)
{
    static const struct fc_winograd_form forms[FC_WINOGRAD_FORM_COUNT] = {
        FC_FORM(3, 3, 1, 4, 3, 4, 3), FC_FORM(3, 3, 1, 6, 3, 6, 3), FC_FORM(5, 5, 1, 2, 5, 2, 5),
        FC_FORM(5, 5, 1, 2, 5, 3, 5), FC_FORM(7, 7, 1, 4, 4, 4, 4), FC_FORM(1, 3, 1, 1, 1, 4, 3),
        FC_FORM(3, 1, 1, 4, 3, 1, 1), FC_FORM(1, 5, 1, 1, 1, 4, 5), FC_FORM(5, 1, 1, 4, 5, 1, 1),
        FC_FORM(1, 7, 1, 1, 1, 4, 4), FC_FORM(7, 1, 1, 4, 4, 1, 1), FC_FORM(2, 2, 1, 4, 2, 4, 2),
        FC_FORM(3, 3, 2, 4, 2, 4, 2), FC_FORM(4, 4, 2, 4, 2, 4, 2),
    };
    return forms[form];
}

struct fc_winograd_piece fc_winograd_piece_at(const struct fc_winograd_form *form, int64_t piece)
{
    const int64_t at[] = {piece / form->across, piece % form->across};
    struct fc_winograd_piece one;
    for (int a = 0; a < 2; a++) {
        one.first[a] = form->stride > 1 ? at[a] : at[a] * form->taps[a];
        one.taps[a] =
            fc_min(form->taps[a], fc_ceil_div(form->kernel[a] - one.first[a], form->stride));
        one.stored[a] = form->taps[a] == 2 && one.taps[a] == 1 ? 1 : form->points[a];
    }
    return one;
}

bool fc_winograd_piece_has(const struct fc_winograd_form *form,
                           const struct fc_winograd_piece *piece, int64_t position)
{
    const int64_t at[] = {position / form->points[1], position % form->points[1]};
    for (int a = 0; a < 2; a++)
        if (piece->taps[a] < form->taps[a] && at[a] == form->points[a] - 1)
            return false;
    return true;
}

int64_t fc_winograd_positions_of_piece(const struct fc_winograd_form *form,
                                       const struct fc_winograd_piece *piece)
{
    int64_t positions = 1;
    for (int a = 0; a < 2; a++)
        positions *= form->points[a] - (piece->taps[a] < form->taps[a]);
    return positions;
}

int64_t fc_winograd_matrices(const struct fc_winograd_piece *piece)
{
    return piece->stored[0] * piece->stored[1];
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

struct fc_winograd_kernel fc_winograd_kernel_of(int form, fc_dtype dtype,
                                                const struct fc_kernel_view *kernel,
                                                const struct fc_channels *channels)
{
    const struct fc_kernels *table = fc_current_kernels(dtype);
    const struct fc_winograd_form shape = fc_winograd_form_at(form);
    return (struct fc_winograd_kernel){
        {kernel, channels, &table->conv2d, (ptrdiff_t)fc_element_size(dtype)},
        &table->winograd.transforms[shape.transforms],
        shape,
    };
}

int64_t fc_winograd_matrices_before(const struct fc_winograd_form *form, int64_t piece)
{
    int64_t matrices = 0;
    for (int64_t i = 0; i < piece; i++) {
        const struct fc_winograd_piece one = fc_winograd_piece_at(form, i);
        matrices += fc_winograd_matrices(&one);
    }
    return matrices;
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
        else if (form->stride > 1)
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
