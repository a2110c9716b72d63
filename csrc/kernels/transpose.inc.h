/* transpose.inc.h: squares of LANES x LANES elements, turned in registers.
 *
 * What is there already takes log2(LANES) rounds of interleaving, each of LANES instructions: 64 shuffles for 256
 * float32 in AVX-512, 48 for 64 in AVX2, all on one port. What is read whole comes in pieces of 16 bytes, straight to
 * where they belong, by loads that need other ports, and takes log2(PIECE) rounds: 32 shuffles, and 16. The rows of
 * a square then become columns PIECE at a time, which leaves the scheduler room for what is done with them. */

enum { MOST_INTERLEAVED = (int)LANES > FC_FEW_OUTPUTS ? (int)LANES : FC_FEW_OUTPUTS };

/* `count` vectors, a power of two, element by element: each round interleaves vector i with i + count / 2, as wholes
 * or piece by piece. */
FC_INLINE void interleave(vreal *a, const int count, const bool pieces)
{
    FC_UNROLLED for (int round = 1; round < count; round *= 2)
    {
        vreal b[MOST_INTERLEAVED];
        FC_UNROLL (i, count / 2) {
            const vreal second = a[i + count / 2];
            b[2 * i] = pieces ? vzip_pieces_low(a[i], second) : vzip_low(a[i], second);
            b[2 * i + 1] = pieces ? vzip_pieces_high(a[i], second) : vzip_high(a[i], second);
        }
        FC_UNROLL (i, count)
            a[i] = b[i];
    }
}

/* a[i][j] = a[j][i]. */
FC_INLINE void transpose(vreal a[LANES]) { interleave(a, LANES, false); }

/* A square of LANES rows, `step` apart, that is turned as it is read. Left to itself the compiler computes an address
 * for each load. */
struct turned {
    const real *row[LANES / PIECE];
    ptrdiff_t step, three;
};

FC_INLINE struct turned turned_at(const real *x, ptrdiff_t step)
{
    struct turned turned = {.step = step, .three = 3 * step};
    FC_UNROLL (i, LANES / PIECE) {
        turned.row[i] = x + i * PIECE * step;
        __asm__("" : "+r"(turned.row[i]));
    }
    __asm__("" : "+r"(turned.three));
    return turned;
}

/* a[j][i] = x[i * step + at + j] for j < PIECE; a line is asked for, `ahead` of as many rows, or none. Lines of 8 rows
 * that may fill a set of the nearest cache wait in the second-level one: 6 x 4096 to 4096 in AVX2 took 4.5 ms and takes
 * 4.05; of 4 rows that would cost 15 %. */
FC_INLINE void load_turned(const struct turned *turned, const int at, ptrdiff_t ahead,
                           const bool asks, vreal a[PIECE])
{
    FC_UNROLL (r, PIECE) {
        const ptrdiff_t row = r == 3 ? turned->three : r * turned->step;
        if (asks && LANES == 8)
            __builtin_prefetch(turned->row[at / PIECE] + row + ahead, 0, 2);
        else if (asks)
            __builtin_prefetch(turned->row[at / PIECE] + row + ahead);
        a[r] = vload_pieces(turned->row, row + at);
    }
    interleave(a, PIECE, true);
}

/* a[j][i] = x[i * step + j], row after row: those a multiple of 4 KB apart meet in one set of the nearest cache, where
 * 8 lines or 12 have room and none of 16 is left when the next piece is read. For the same reason what is `ahead` in
 * each row is asked for in the second-level cache alone. */
FC_INLINE void load_square(const struct turned *turned, ptrdiff_t ahead, vreal a[LANES])
{
    FC_UNROLL (r, PIECE) {
        const ptrdiff_t row = r == 3 ? turned->three : r * turned->step;
        FC_UNROLL (i, LANES / PIECE)
            __builtin_prefetch(turned->row[i] + row + ahead, 0, 2);
        FC_UNROLL (q, LANES / PIECE)
            a[q * PIECE + r] = vload_pieces(turned->row, row + q * PIECE);
    }
    FC_UNROLL (q, LANES / PIECE)
        interleave(a + q * PIECE, PIECE, true);
}

/* y[j * rows + i] = x[i * x_row + j] for at most `group` rows: log2(group) rounds of interleaving and the gaps
 * closed, where squares that are all but empty take log2(LANES) rounds and a store a column. What a whole store
 * leaves beyond its columns is covered by the next. */
FC_INLINE void interleave_rows(const real *x, ptrdiff_t x_row, real *y, int rows, int64_t columns,
                               const int group)
{
    for (int64_t j = 0; j < columns; j += LANES) {
        const int left = (int)(columns - j < LANES ? columns - j : LANES);
        vreal a[FC_FEW_OUTPUTS];
        FC_UNROLL (i, group)
            a[i] = i >= rows       ? vzero()
                   : left == LANES ? vload(x + i * x_row + j)
                                   : vload_first(x + i * x_row + j, left);
        interleave(a, group, false);
        if (rows < group)
            FC_UNROLL (i, group)
                a[i] = vcompact(a[i], group, rows);
        FC_UNROLL (i, group) {
            const int64_t at = (j + i * LANES / group) * rows, end = columns * rows;
            if (at + LANES <= end)
                vstore(y + at, a[i]);
            else if (at < end)
                vstore_first(y + at, a[i], (int)(end - at));
        }
    }
}

/* Rows that are interleaved, at most: of more than four only where a vector holds two groups of eight. 16 columns of 8
 * take 51 cycles on Zen 4, as a square 90. */
enum {
    FEWER_ROWS = FC_FEW_OUTPUTS / 2,
    FEW_ROWS = (int)LANES > FC_FEW_OUTPUTS ? FC_FEW_OUTPUTS : FEWER_ROWS
};

/* The same of three rows, or of six as three twice as long, of so many columns as whole vectors are: 18 shuffles and
 * whole stores for 16 columns of six, where gaps to close took MobileNet's input gradient 119 cycles on Zen 4. */
FC_INLINE void interleave_triples(const real *x, ptrdiff_t x_row, real *y, int64_t columns,
                                  const int rows)
{
    for (int64_t j = 0; j < columns; j += LANES, x += LANES) {
        FC_UNROLL (half, rows / 3) {
            vreal a[3];
            FC_UNROLL (i, 3) {
                a[i] = vload(x + i * x_row);
                if (rows == 6) {
                    const vreal second = vload(x + (i + 3) * x_row);
                    a[i] = half ? vzip_high(a[i], second) : vzip_low(a[i], second);
                }
            }
            vtriple(a);
            FC_UNROLL (i, 3)
                vstore(y + i * LANES, a[i]);
            y += 3 * LANES;
        }
    }
}

static void interleave_few(const real *x, ptrdiff_t x_row, real *y, int rows, int64_t columns)
{
    if (rows <= FEWER_ROWS)
        interleave_rows(x, x_row, y, rows, columns, FEWER_ROWS);
    else
        interleave_rows(x, x_row, y, rows, columns, FEW_ROWS);
}

/* Pixels to planes of whole lines, past the caches. By itself: with one question more in the other squares LeNet's
 * first layer took 2.5 % longer, MNIST's gradient 3.6. */
static void turn_past_caches(const struct fc_block *block)
{
    for (int64_t p = 0; p < block->pixels; p += LANES)
        for (int64_t c = 0; c < block->channels; c += LANES) {
            const real *x = (const real *)block->x + p * block->x_pixel + c;
            const struct turned turned = turned_at(x, block->x_pixel);
            vreal a[LANES];
            load_square(&turned, 256 / (int)sizeof(real), a);
            FC_UNROLL (j, LANES)
                vstream((real *)block->y + (c + j) * block->y_channel + p, a[j]);
        }
}
