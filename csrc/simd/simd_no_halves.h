/* simd_no_halves.h: the words for half of a vector, where it would take as long as a whole one: a whole one. */
enum { HALVES = 0 };
typedef vreal vhalf;

FC_INLINE vhalf vlow(vreal a) { return a; }
FC_INLINE vreal vwiden(vhalf a) { return a; }
FC_INLINE vhalf vload_half(const real *p) { return vload(p); }
FC_INLINE vhalf vset1_half(real a) { return vset1(a); }
FC_INLINE vhalf vfma_half(vhalf a, vhalf b, vhalf c) { return vfma(a, b, c); }
