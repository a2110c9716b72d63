/* unroll.h: loops over compile-time counts that must leave no loop behind.
 *
 * Accumulators live in arrays; they become registers only where every index is a constant. A loop around
 * such loops that clang would unroll as well, before them, is marked as one that stays. */
#ifndef FC_UNROLL_H
#define FC_UNROLL_H

#if defined(__clang__)
#define FC_UNROLLED _Pragma("clang loop unroll(full)")
#define FC_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define FC_UNROLLED _Pragma("GCC unroll 64")
#define FC_ROLLED
#endif
#define FC_UNROLL(i, count) FC_UNROLLED for (int i = 0; i < (count); i++)

/* A body for every count up to the tile size of an instruction set, as the cases of a switch. */
#define FC_CASES_1(body) body(1)
#define FC_CASES_2(body) FC_CASES_1(body) body(2)
#define FC_CASES_3(body) FC_CASES_2(body) body(3)
#define FC_CASES_6(body) FC_CASES_3(body) body(4) body(5) body(6)
#define FC_CASES_7(body) FC_CASES_6(body) body(7)
#define FC_CASES_14(body) \
    FC_CASES_7(body) body(8) body(9) body(10) body(11) body(12) body(13) body(14)

/* What lies behind a pointer is read again after this, where it is used, and not kept: what exceeds the registers
 * goes to the stack, 27 stores at the start of a tile of 14 x 2, which wait in line behind the 28 of the tile
 * before, and the multiply-adds behind them. So it is 1, and a twentieth less code. The 30 registers of aarch64 hold it
 * all: to read again there is a twentieth more loads of planes. */
#if defined(__aarch64__)
enum { FC_READS_AGAIN = 0 };
#define FC_AGAIN(pointer) (void)(pointer)
#else
enum { FC_READS_AGAIN = 1 };
#define FC_AGAIN(pointer) __asm__("" : "+r"(pointer))
#endif

#define FC_INLINE static inline __attribute__((always_inline, unused))

#endif
