/* cpu_features.c: CPUID, XGETBV, and what they must say for each instruction set of x86-64.
 *
 * A CPU has instructions that its system must not be trusted with: where a switch of threads does
 * not save a register, another program's numbers are found in it. CPUID tells of the instructions,
 * XCR0 of the registers. __builtin_cpu_supports asks for both, but answers for this CPU alone. */
#include "cpu_features.h"

#include <string.h>

enum {
    FMA = 1 << 12, /* leaf 1, ECX */
    OSXSAVE = 1 << 27,
    AVX = 1 << 28,
    AVX2 = 1 << 5, /* leaf 7, EBX */
    AVX512F = 1 << 16,
    AVX512DQ = 1 << 17,
    AVX512BW = 1 << 30,
    SAVED_YMM = 0x6, /* XCR0: the registers of SSE, and the upper halves of AVX's */
    SAVED_ZMM = 0xe6 /* and masks, the upper halves of zmm0-15, and zmm16-31 */
};
static const uint32_t AVX512VL = UINT32_C(1) << 31;

static bool all_of(uint64_t found, uint64_t wanted) { return (found & wanted) == wanted; }

bool fc_cpu_has(const struct fc_cpu *cpu, const char *name)
{
    const bool avx2 = all_of(cpu->leaf_1_ecx, OSXSAVE | AVX | FMA) &&
                      all_of(cpu->leaf_7_ebx, AVX2) && all_of(cpu->xcr0, SAVED_YMM);
    if (!strcmp(name, "avx512"))
        return avx2 && all_of(cpu->leaf_7_ebx, AVX512F | AVX512DQ | AVX512BW | AVX512VL) &&
               all_of(cpu->xcr0, SAVED_ZMM);
    return avx2 && !strcmp(name, "avx2");
}

#if defined(__x86_64__)

#include <cpuid.h>

struct fc_cpu fc_this_cpu(void)
{
    struct fc_cpu cpu = {0};
    uint32_t eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        cpu.leaf_1_ecx = ecx;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        cpu.leaf_7_ebx = ebx;
    if (cpu.leaf_1_ecx & OSXSAVE) { /* the system's leave to ask, without which XGETBV faults */
        __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
        cpu.xcr0 = (uint64_t)edx << 32 | eax;
    }
    return cpu;
}

#else

struct fc_cpu fc_this_cpu(void) { return (struct fc_cpu){0}; }

#endif
