/* copy_block.inc.h: blocks of pixels x channels from one layout to another.
 *
 * Where the channels lie together on one side and the pixels on the other, LANES x LANES squares are
 * transposed in registers (transpose.inc.h): an eighth to a quarter of a cycle an element, where a loop over
 * elements takes one to two. */

/* y[j * y_row + i] = x[i * x_row + j] for LANES rows and columns; what is `ahead` in each row is asked for. */
static __attribute__((noinline)) void transpose_square(const real *x, ptrdiff_t x_row, real *y,
                                                       ptrdiff_t y_row, ptrdiff_t ahead)
{
    vreal a[LANES];
    const struct turned turned = turned_at(x, x_row);
    load_square(&turned, ahead, a);
    FC_UNROLL (j, LANES)
        vstore(y + j * y_row, a[j]);
}

/* Fewer of either. */
static void transpose_ragged(const real *x, ptrdiff_t x_row, real *y, ptrdiff_t y_row, int rows,
                             int columns)
{
    vreal a[LANES];
    FC_UNROLL (i, LANES)
        a[i] = i < rows ? vload_first(x + i * x_row, columns) : vzero();
    transpose(a);
    FC_UNROLL (j, LANES)
        if (j < columns)
            vstore_first(y + j * y_row, a[j], rows);
}

/* LANES rows of fewer columns, PIECE of them at a time: a square with its gaps takes as many shuffles as a whole
 * one, 90 cycles on Zen 4 for 16 rows of 8 columns, so 30. Whole pieces are read, beyond the columns too: of the
 * last row at most PIECE - 1 elements. */
static void transpose_pieces(const real *x, ptrdiff_t x_row, real *y, ptrdiff_t y_row, int columns)
{
    const struct turned turned = turned_at(x, x_row);
    for (int j = 0; j < columns; j += PIECE) {
        vreal a[PIECE];
        FC_UNROLL (r, PIECE)
            a[r] = vload_pieces(turned.row, (r == 3 ? turned.three : r * turned.step) + j);
        interleave(a, PIECE, true);
        FC_UNROLL (r, PIECE)
            if (j + r < columns)
                vstore(y + (j + r) * y_row, a[r]);
    }
}

/* The last squares of a row or column of them overlap those before. Of planes so small that 256 bytes on is beyond
 * them, as many as are next are asked for: 512 to 2048 channels of 7 x 7 took 1.3 of 9.2 ms for the planes of dy on
 * Zen 4, now 0.6. Of larger ones, or of the next pixels, it took 3 to 8 % of depthwise layers, whose next planes are
 * near. */
static void transpose_block(const real *x, ptrdiff_t x_row, real *y, ptrdiff_t y_row, int64_t rows,
                            int64_t columns, bool planes)
{
    if (TRIPLES && y_row == rows && (rows == 3 || rows == 6)) {
        const int64_t whole = columns - columns % LANES;
        if (rows == 3)
            interleave_triples(x, x_row, y, whole, 3);
        else
            interleave_triples(x, x_row, y, whole, 6);
        x += whole;
        y += whole * rows;
        columns -= whole;
    }
    if ((int)LANES >= FEWER_ROWS && y_row == rows && rows >= 2 && rows <= FEW_ROWS) {
        interleave_few(x, x_row, y, (int)rows, columns);
        return;
    }
    const bool small = planes && x_row < 2 * columns && columns <= 64;
    const ptrdiff_t ahead = small ? LANES * x_row : 256 / (int)sizeof(real);
    const bool whole = rows >= LANES && columns >= LANES;
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < columns; j += LANES) {
            const int64_t r = whole && i > rows - LANES ? rows - LANES : i;
            const int64_t c = whole && j > columns - LANES ? columns - LANES : j;
            const bool more = x_row == columns && (rows - i - LANES) * columns >= PIECE;
            if (whole)
                transpose_square(x + r * x_row + c, x_row, y + c * y_row + r, y_row, ahead);
            else if (i + LANES <= rows && (more || columns % PIECE == 0))
                transpose_pieces(x + i * x_row, x_row, y + i, y_row, (int)columns);
            else
                transpose_ragged(x + r * x_row + c, x_row, y + c * y_row + r, y_row,
                                 (int)(rows - i < LANES ? rows - i : LANES),
                                 (int)(columns - j < LANES ? columns - j : LANES));
        }
}

/* The first so many of every other element. */
FC_INLINE vreal load_evens(const real *x, int count)
{
    const int span = 2 * count - 1;
    const vreal low = vload_first(x, span < LANES ? span : LANES);
    return vevens(low, span > LANES ? vload_first(x + LANES, span - LANES) : vzero());
}

/* Every other pixel of planes, as strides of 2 read them: element by element 1024 channels of 14 x 14 took
 * a sixth of a convolution to 2048. The same pixels of the next LANES planes are asked for meanwhile: half as many
 * lines of a plane as it has are no stream, and 128 channels of 74 x 74 took 1.9 ms on Zen 4, now 0.8. */
static void transpose_evens(const struct fc_block *block)
{
    for (int64_t c = 0; c < block->channels; c += LANES)
        for (int64_t p = 0; p < block->pixels; p += LANES) {
            const real *x = (const real *)block->x + 2 * p + c * block->x_channel;
            real *y = (real *)block->y + p * block->y_pixel + c;
            const int channels = (int)(block->channels - c < LANES ? block->channels - c : LANES);
            const int pixels = (int)(block->pixels - p < LANES ? block->pixels - p : LANES);
            vreal a[LANES];
            FC_UNROLL (i, LANES) {
                const real *row = x + i * block->x_channel, *next = row + LANES * block->x_channel;
                __builtin_prefetch(next, 0, 2);
                __builtin_prefetch(next + LANES, 0, 2);
                a[i] = i < channels ? load_evens(row, pixels) : vzero();
            }
            transpose(a);
            FC_UNROLL (j, LANES)
                if (j < pixels)
                    vstore_first(y + j * block->y_pixel, a[j], channels);
        }
}

/* A unit at a turn: with a vector of AVX2 at a turn, whether the loop crossed a line of code decided if a vector
 * took one cycle or two. */
FC_INLINE void copy_unit(const real *x, real *y)
{
    FC_UNROLL (v, UNIT_VECTORS)
        vstore(y + v * LANES, vload(x + v * LANES));
}

static void copy_line(const real *x, real *y, int64_t count)
{
    int64_t i = 0;
    for (; i + UNIT_VECTORS * LANES <= count; i += UNIT_VECTORS * LANES)
        copy_unit(x + i, y + i);
    for (; UNIT_VECTORS > 1 && i + LANES <= count; i += LANES)
        vstore(y + i, vload(x + i));
    if (i < count)
        vstore_first(y + i, vload_first(x + i, (int)(count - i)), (int)(count - i));
}

/* Pixels of whole units: where their number is a constant, with no loop over channels. */
FC_INLINE void copy_units(const struct fc_block *block, const int units)
{
    for (int64_t p = 0; p < block->pixels; p++) {
        const real *x = (const real *)block->x + p * block->x_pixel;
        real *y = (real *)block->y + p * block->y_pixel;
        for (int u = 0; u < units; u++)
            copy_unit(x + u * UNIT, y + u * UNIT);
    }
}

static void copy_pixels(const struct fc_block *block)
{
    const int channels = (int)block->channels;
    if (block->channels == FC_SLAB)
        copy_units(block, FC_SLAB / UNIT);
    else if (block->channels == 2 * FC_SLAB)
        copy_units(block, 2 * FC_SLAB / UNIT);
    else if (block->channels % UNIT == 0)
        copy_units(block, (int)(block->channels / UNIT));
    else if (block->channels < LANES)
        for (int64_t p = 0; p < block->pixels; p++)
            vstore_first((real *)block->y + p * block->y_pixel,
                         vload_first((const real *)block->x + p * block->x_pixel, channels),
                         channels);
    else
        for (int64_t p = 0; p < block->pixels; p++)
            copy_line((const real *)block->x + p * block->x_pixel,
                      (real *)block->y + p * block->y_pixel, block->channels);
}

static void copy_block(const struct fc_block *block)
{
    const real *x = block->x;
    real *y = block->y;
    if (block->x_channel == 1 && block->y_channel == 1) {
        if (block->x_pixel == block->channels && block->y_pixel == block->channels) {
            copy_line(x, y, block->pixels * block->channels);
            return;
        }
        copy_pixels(block);
    } else if (block->x_pixel == 1 && block->y_pixel == 1) {
        for (int64_t c = 0; c < block->channels; c++)
            copy_line(x + c * block->x_channel, y + c * block->y_channel, block->pixels);
    } else if (block->x_pixel == 1 && block->y_channel == 1) {
        transpose_block(x, block->x_channel, y, block->y_pixel, block->channels, block->pixels,
                        true);
    } else if (block->x_pixel == 2 && block->y_channel == 1) {
        transpose_evens(block);
    } else if (block->stream) {
        turn_past_caches(block);
    } else if (block->x_channel == 1 && block->y_pixel == 1) {
        transpose_block(x, block->x_pixel, y, block->y_channel, block->pixels, block->channels,
                        false);
    } else {
        for (int64_t p = 0; p < block->pixels; p++)
            for (int64_t c = 0; c < block->channels; c++)
                y[p * block->y_pixel + c * block->y_channel] =
                    x[p * block->x_pixel + c * block->x_channel];
    }
}

/* Whole slabs, pixel by pixel: x is read in one stream, which slab by slab the memory beyond the
 * second-level cache would hand out a line a latency. */
static void copy_slabs(const struct fc_slabs *slabs)
{
    enum { AHEAD = 4096 / (int)sizeof(real), VECTORS = FC_SLAB / LANES };
    for (int64_t p = 0; p < slabs->pixels; p++) {
        const real *x = (const real *)slabs->x + p * slabs->x_pixel;
        real *y = (real *)slabs->y + p * FC_SLAB;
        for (int64_t s = 0; s < slabs->slabs; s++, x += FC_SLAB, y += slabs->slab) {
            __builtin_prefetch(x + AHEAD);
            FC_UNROLL (v, VECTORS)
                vstore(y + v * LANES, vload(x + v * LANES));
        }
    }
}

/* ------------------------------------------------------------------ finish */

/* One channel's pixels: the arithmetic of finish_vector, in the same order. */
static void finish_row(const struct fc_finish *finish, const real *row, int64_t first,
                       int64_t pixels, int64_t channel)
{
    const struct fc_block *block = &finish->block;
    real *y = (real *)block->y + first * block->y_pixel + channel * block->y_channel;
    const real *residual = finish->residual;
    if (residual)
        residual += first * finish->residual_pixel + channel * finish->residual_channel;
    real line[LANES];
    for (int64_t p = 0; p < pixels; p += LANES) {
        const int lanes = (int)(pixels - p < LANES ? pixels - p : LANES);
        vreal a = vload_first(row + p, lanes);
        if (finish->bias)
            a = vadd(a, vset1(((const real *)finish->bias)[channel]));
        if (residual) {
            for (int i = 0; i < lanes; i++)
                line[i] = residual[(p + i) * finish->residual_pixel];
            a = vadd(a, vload_first(line, lanes));
        }
        a = activate(a, finish->activation);
        if (block->y_pixel == 1) {
            vstore_first(y + p, a, lanes);
            continue;
        }
        if (block->y_pixel == 2) { /* where strides of 2 make an input gradient in phases */
            vstore_evens(y + 2 * p, a, lanes);
            continue;
        }
        vstore(line, a);
        for (int i = 0; i < lanes; i++)
            y[(p + i) * block->y_pixel] = line[i];
    }
}

/* A square that goes from registers to y: bias is added before it is turned, the residual after. */
static void finish_square(const struct fc_finish *finish, int64_t first, int64_t channel,
                          int pixels, int channels)
{
    const struct fc_block *block = &finish->block;
    const real *x = (const real *)block->x + first * block->x_pixel + channel;
    real *y = (real *)block->y + first + channel * block->y_channel;
    const real *residual = finish->residual;
    const bool whole = pixels == LANES && channels == LANES;
    vreal a[LANES];
    FC_UNROLL (i, LANES)
        a[i] = whole        ? vload(x + i * block->x_pixel)
               : i < pixels ? vload_first(x + i * block->x_pixel, channels)
                            : vzero();
    if (finish->bias) {
        const vreal bias = vload_first((const real *)finish->bias + channel, channels);
        FC_UNROLL (i, LANES)
            a[i] = vadd(a[i], bias);
    }
    transpose(a);
    if (residual) {
        residual += first + channel * finish->residual_channel;
        FC_UNROLL (j, LANES)
            if (j < channels)
                a[j] = vadd(a[j], vload_first(residual + j * finish->residual_channel, pixels));
    }
    FC_UNROLL (j, LANES) {
        a[j] = activate(a[j], finish->activation);
        if (whole && block->stream)
            vstream(y + j * block->y_channel, a[j]);
        else if (whole)
            vstore(y + j * block->y_channel, a[j]);
        else if (j < channels)
            vstore_first(y + j * block->y_channel, a[j], pixels);
    }
}

static void finish_squares(const struct fc_finish *finish)
{
    const int64_t pixels = finish->block.pixels, channels = finish->block.channels;
    for (int64_t c = 0; c < channels; c += LANES)
        for (int64_t p = 0; p < pixels; p += LANES)
            finish_square(finish, p, c, (int)(pixels - p < LANES ? pixels - p : LANES),
                          (int)(channels - c < LANES ? channels - c : LANES));
}

/* The channels of a block that leaves in planes: transposed in squares, in memory first where pixels of
 * y lie apart, unless x has planes too: then each channel's row is finished where its pixels lie
 * together. */
static void finish_block(const struct fc_finish *finish)
{
    const struct fc_block *block = &finish->block;
    enum { PIXELS = 64 };
    if (block->x_channel != 1) {
        for (int64_t c = 0; c < block->channels; c++)
            finish_row(finish, (const real *)block->x + c * block->x_channel, 0, block->pixels, c);
        return;
    }
    if (block->y_pixel == 1 && (!finish->residual || finish->residual_pixel == 1)) {
        finish_squares(finish);
        return;
    }
    real rows[LANES][PIXELS];
    for (int64_t p = 0; p < block->pixels; p += PIXELS) {
        const int64_t pixels = block->pixels - p < PIXELS ? block->pixels - p : PIXELS;
        for (int64_t c = 0; c < block->channels; c += LANES) {
            const int64_t channels = block->channels - c < LANES ? block->channels - c : LANES;
            transpose_block((const real *)block->x + p * block->x_pixel + c, block->x_pixel,
                            rows[0], PIXELS, pixels, channels, false);
            for (int64_t i = 0; i < channels; i++)
                finish_row(finish, rows[i], p, pixels, c + i);
        }
    }
}
