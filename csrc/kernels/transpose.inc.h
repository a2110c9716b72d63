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

/* a[j][i] = x[i * step + at + j] for j < PIECE; a line is asked for, `ahead` of as many rows. */
FC_INLINE void load_turned(const struct turned *turned, const int at, ptrdiff_t ahead,
                           vreal a[PIECE])
{
    FC_UNROLL (r, PIECE) {
        const ptrdiff_t row = r == 3 ? turned->three : r * turned->step;
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
