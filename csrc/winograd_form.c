/* winograd_form.c: the forms, which of them fit a kernel, and the pieces that it is cut in.
 *
 * Up to 12 x 12 taps, or 36 of one row or column, are a sum of pieces of as many taps as transforms take, whichever
 * multiply least. Four outputs in a row take r + 3 products for each piece of r taps, one fewer of a last piece that
 * lacks some: of 9 taps 18 in threes and 20 in fours, of 7 17 and 13, of 11 23 and 20. Transforms of two dimensions
 * take as many taps each way: 3 x 2 are one piece of 3 x 3, 36 products where two of 2 x 2 take 45. */
#include "winograd.h"

enum { MOST_SIDE = 12, LEAST_LINE = 3, MOST_LINE = 36 };

#define FC_FORM(s, mh, rh, mw, rw)                                                             \
    {                                                                                          \
        .transforms = FC_WINOGRAD_NAME(mh, rh, mw, rw), .outputs = {mh, mw}, .taps = {rh, rw}, \
        .points = {mh + rh - 1, mw + rw - 1}, .positions = (mh + rh - 1) * (mw + rw - 1),      \
        .stride = s                                                                            \
    }

static const struct fc_winograd_form FORMS[FC_WINOGRAD_FORM_COUNT] = {
    FC_FORM(1, 4, 3, 4, 3), FC_FORM(1, 6, 3, 6, 3), FC_FORM(1, 2, 5, 2, 5), FC_FORM(1, 2, 5, 3, 5),
    FC_FORM(1, 4, 4, 4, 4), FC_FORM(1, 1, 1, 4, 3), FC_FORM(1, 4, 3, 1, 1), FC_FORM(1, 1, 1, 4, 5),
    FC_FORM(1, 4, 5, 1, 1), FC_FORM(1, 1, 1, 4, 4), FC_FORM(1, 4, 4, 1, 1), FC_FORM(1, 4, 2, 4, 2),
    FC_FORM(2, 4, 2, 4, 2), FC_FORM(2, 4, 3, 4, 3), FC_FORM(2, 4, 4, 4, 4),
};

static int64_t pieces_along(const struct fc_winograd_form *form, int axis)
{
    return form->stride > 1 ? form->stride : fc_ceil_div(form->kernel[axis], form->taps[axis]);
}

struct fc_winograd_form fc_winograd_form_of(int form, const struct fc_kernel_view *kernel)
{
    struct fc_winograd_form one = FORMS[form];
    one.kernel[0] = kernel->kh;
    one.kernel[1] = kernel->kw;
    one.across = pieces_along(&one, 1);
    one.pieces = pieces_along(&one, 0) * one.across;
    return one;
}

/* ------------------------------------------------------------------ choice */

/* What four outputs multiply of a row of taps in pieces of r. */
static int64_t row_products(int64_t taps, int64_t r)
{
    const int64_t pieces = fc_ceil_div(taps, r);
    return pieces * (r + 3) - (pieces > 1 && taps % r > 0);
}

/* A direction of one tap is not cut. */
static int64_t products(int64_t down, int64_t across, int64_t r)
{
    return (down > 1 ? row_products(down, r) : 1) * (across > 1 ? row_products(across, r) : 1);
}

/* One piece of 4 x 4 taps, of 7 points both ways, has 3.5 to 3.9 times the rounding of a direct sum in float32, the
 * sum of four of them twice. */
static int64_t taps_of_pieces(int64_t down, int64_t across, fc_dtype dtype)
{
    const int64_t least = fc_min(down, across);
    const bool line = least == 1, rounds = dtype == FC_FLOAT32 && least <= 4;
    const int64_t last = fc_min(line ? 5 : rounds ? 3 : 4, fc_max(down, across));
    if (down == 5 && across == 5)
        return 5;
    int64_t best = line ? LEAST_LINE : 2;
    for (int64_t r = best + 1; r <= last; r++)
        if (products(down, across, r) < products(down, across, best))
            best = r;
    return best;
}

struct fc_winograd_taps fc_winograd_taps_of(const struct fc_kernel_view *kernel, int64_t stride,
                                            fc_dtype dtype)
{
    const int64_t down = kernel->kh, across = kernel->kw;
    const int64_t least = fc_min(down, across), most = fc_max(down, across);
    const bool line = least == 1 && most >= LEAST_LINE && most <= MOST_LINE;
    struct fc_winograd_taps cut = {.stride = stride, .dtype = dtype};
    if (stride > 1) {
        cut.taps[0] = fc_ceil_div(down, stride);
        cut.taps[1] = fc_ceil_div(across, stride);
    } else if (line || (least > 1 && most <= MOST_SIDE)) {
        const int64_t taps = taps_of_pieces(down, across, dtype);
        cut.taps[0] = down > 1 ? taps : 1;
        cut.taps[1] = across > 1 ? taps : 1;
    }
    return cut;
}

/* 8 points each way cost 8 times the rounding of a direct sum in float32. */
bool fc_winograd_has(int form, const struct fc_winograd_taps *taps)
{
    const struct fc_winograd_form *one = &FORMS[form];
    return one->stride == taps->stride && one->taps[0] == taps->taps[0] &&
           one->taps[1] == taps->taps[1] &&
           (taps->dtype == FC_FLOAT64 || one->points[0] <= 7 || one->points[1] <= 7);
}

/* ------------------------------------------------------------------ pieces */

struct fc_winograd_piece fc_winograd_piece_at(const struct fc_winograd_form *form, int64_t piece)
{
    const int64_t at[] = {piece / form->across, piece % form->across};
    struct fc_winograd_piece one;
    for (int a = 0; a < 2; a++) {
        one.first[a] = form->stride > 1 ? at[a] : at[a] * form->taps[a];
        one.taps[a] =
            fc_min(form->taps[a], fc_ceil_div(form->kernel[a] - one.first[a], form->stride));
        one.lacks[a] = at[a] > 0 && one.taps[a] < form->taps[a];
        one.stored[a] = fc_winograd_leaves_factors(form) && one.taps[a] == 1 ? 1 : form->points[a];
    }
    return one;
}

bool fc_winograd_piece_has(const struct fc_winograd_form *form,
                           const struct fc_winograd_piece *piece, int64_t position)
{
    const int64_t at[] = {position / form->points[1], position % form->points[1]};
    for (int a = 0; a < 2; a++)
        if (piece->lacks[a] && at[a] == form->points[a] - 1)
            return false;
    return true;
}

int64_t fc_winograd_positions_of_piece(const struct fc_winograd_form *form,
                                       const struct fc_winograd_piece *piece)
{
    int64_t positions = 1;
    for (int a = 0; a < 2; a++)
        positions *= form->points[a] - piece->lacks[a];
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

int64_t fc_winograd_matrices_before(const struct fc_winograd_form *form, int64_t piece)
{
    int64_t matrices = 0;
    if (form->stride == 1)
        return piece * form->positions;
    for (int64_t i = 0; i < piece; i++) {
        const struct fc_winograd_piece one = fc_winograd_piece_at(form, i);
        matrices += fc_winograd_matrices(&one);
    }
    return matrices;
}
