/* simd_16_bytes.h: what vectors of 16 bytes share, in NEON and in plain C: words of the vocabulary for which they
 * have no instruction, lane by lane, and those that mean less where a vector is no more than 16 bytes. */

#include "simd_no_halves.h"

/* The first n lanes; the others are read as zero and not written, nor may they be touched. */
FC_INLINE vreal vload_first(const real *p, int n)
{
    real lanes[LANES] = {0};
    if (n >= LANES)
        return vload(p);
    for (int i = 0; i < n; i++)
        lanes[i] = p[i];
    return vload(lanes);
}
/* Where m; all other lanes are zero, and not touched. */
FC_INLINE vreal vload_where(vmask m, const real *p)
{
    real lanes[LANES];
    vstore(lanes, vselect(m, vset1(1), vzero()));
    for (int i = 0; i < LANES; i++)
        lanes[i] = lanes[i] != 0 ? p[i] : 0;
    return vload(lanes);
}
FC_INLINE void vstore_first(real *p, vreal a, int n)
{
    if (n >= LANES) {
        vstore(p, a);
        return;
    }
    real lanes[LANES];
    vstore(lanes, a);
    for (int i = 0; i < n; i++)
        p[i] = lanes[i];
}
/* What lies at p and then at q, where the lower half of m has lanes. */
FC_INLINE vreal vload_halves(vmask m, const real *p, const real *q)
{
    const vmask lower = vmask_andnot(m, vgreater(vhalves(vzero(), vset1(1)), vzero()));
    return vhalves(vload_where(lower, p), vload_where(lower, q));
}
/* The first n lanes of the upper half. */
FC_INLINE void vstore_second(real *p, vreal a, int n)
{
    real lanes[LANES];
    vstore(lanes, a);
    for (int i = 0; i < n; i++)
        p[i] = lanes[LANES / 2 + i];
}

/* a where m, zero elsewhere; and the other way about. */
FC_INLINE vreal vkeep(vmask m, vreal a) { return vselect(m, a, vzero()); }
FC_INLINE vreal vdrop(vmask m, vreal a) { return vselect(m, vzero(), a); }
FC_INLINE vmask vnumbers_too(vmask m, vreal a, vreal b)
{
    return visnumber_too(visnumber_too(m, a), b);
}
/* A NaN in a or in b, and whether there is a lane of m or of n. */
FC_INLINE vmask vnans_of(vreal a, vreal b) { return vmask_or(visnan(a), visnan(b)); }
FC_INLINE bool vany(vmask m, vmask n)
{
    real lanes[LANES];
    bool any = false;
    vstore(lanes, vselect(vmask_or(m, n), vset1(1), vzero()));
    for (int i = 0; i < LANES; i++)
        any |= lanes[i] != 0;
    return any;
}

/* a[order[i]] in lane i. */
FC_INLINE vreal vpermute(vreal a, vint order)
{
    real from[LANES], to[LANES];
    integer number[LANES];
    vstore(from, a);
    vistore(number, order);
    for (int i = 0; i < LANES; i++)
        to[i] = from[number[i]];
    return vload(to);
}
/* Of two vectors it is not one instruction, and not used. */
enum { PERMUTES_TWO = 0, TRIPLES = 0 };
FC_INLINE vreal vpermute_two(vreal a, vreal b, vint order)
{
    (void)b;
    return vpermute(a, order);
}

FC_INLINE void vtriple(vreal a[3]) { (void)a; }

/* 16 bytes from each row: a vector is one such piece. */
enum { PIECE = LANES };
FC_INLINE vreal vload_pieces(const real *const row[1], ptrdiff_t at) { return vload(row[0] + at); }

/* The lower and the upper halves of each piece of a and b, interleaved. */
FC_INLINE vreal vzip_pieces_low(vreal a, vreal b) { return vzip_low(a, b); }
FC_INLINE vreal vzip_pieces_high(vreal a, vreal b) { return vzip_high(a, b); }

/* p[2 * i] = a[i] for the first n lanes; what lies between may be another's, and is not touched. */
FC_INLINE void vstore_evens(real *p, vreal a, int n)
{
    real lanes[LANES];
    vstore(lanes, a);
    for (int i = 0; i < n; i++)
        p[2 * i] = lanes[i];
}

/* The first `channels` of every `group` lanes, side by side; what follows is undefined. A vector here
 * holds no more than a group. */
FC_INLINE vreal vcompact(vreal a, int group, int channels)
{
    (void)group;
    (void)channels;
    return a;
}
