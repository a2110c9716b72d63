/* cpu_features.h: what a CPU of x86-64 and its system say, and the instruction sets that follow. */
#ifndef FC_CPU_FEATURES_H
#define FC_CPU_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/* Words of CPUID, zero for a leaf that the CPU has not, and the registers that the system saves when
 * it switches threads: XCR0, zero where it may not be asked for. */
struct fc_cpu {
    uint32_t leaf_1_ecx, leaf_7_ebx;
    uint64_t xcr0;
};

struct fc_cpu fc_this_cpu(void);

/* Of what the CPU says alone, so that a test can be any CPU. A name of x86-64's, "avx2" or "avx512",
 * takes each instruction set in the target region of its kernels, and registers that are saved. */
bool fc_cpu_has(const struct fc_cpu *cpu, const char *name);

#endif
