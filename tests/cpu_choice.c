/* cpu_choice.c: which instruction sets are chosen on CPUs and systems that are not at hand.
 *
 * A CPU that has everything is robbed of each bit of what it says, one at a time: a bit that an
 * instruction set takes must end it, and no other bit may. Then CPUs that exist, with systems that
 * save less than their registers. Last, this CPU, against the compiler's word. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu_features.h"

static long decisions;

static void require(bool truth, const char *what, const struct fc_cpu *cpu)
{
    if (!truth) {
        printf("cpu_choice: %s: leaf 1 ecx %08" PRIx32 ", leaf 7 ebx %08" PRIx32
               ", xcr0 %016" PRIx64 "\n",
               what, cpu->leaf_1_ecx, cpu->leaf_7_ebx, cpu->xcr0);
        exit(1);
    }
    decisions++;
}

/* The bits that each instruction set takes, by the manuals: Intel's SDM, volume 1, 13 and 14, 15. */
static bool avx2_takes(int word, int bit)
{
    static const int bits[3][3] = {{12, 27, 28}, {5, 5, 5}, {1, 2, 2}};
    return bit == bits[word][0] || bit == bits[word][1] || bit == bits[word][2];
}

static bool avx512_takes(int word, int bit)
{
    const bool of_leaf_7 = bit == 16 || bit == 17 || bit == 30 || bit == 31;
    const bool of_xcr0 = bit == 5 || bit == 6 || bit == 7;
    return avx2_takes(word, bit) || (word == 1 && of_leaf_7) || (word == 2 && of_xcr0);
}

static void lose(struct fc_cpu *cpu, int word, int bit)
{
    if (word == 0)
        cpu->leaf_1_ecx &= ~(UINT32_C(1) << bit);
    if (word == 1)
        cpu->leaf_7_ebx &= ~(UINT32_C(1) << bit);
    if (word == 2)
        cpu->xcr0 &= ~(UINT64_C(1) << bit);
}

static void lose_each_bit(void)
{
    const struct fc_cpu whole = {UINT32_MAX, UINT32_MAX, UINT64_MAX};
    struct fc_cpu least2 = whole, least512 = whole; /* nothing but what is taken */
    for (int word = 0; word < 3; word++)
        for (int bit = 0; bit < (word == 2 ? 64 : 32); bit++) {
            struct fc_cpu cpu = whole;
            lose(&cpu, word, bit);
            require(fc_cpu_has(&cpu, "avx2") != avx2_takes(word, bit), "avx2", &cpu);
            require(fc_cpu_has(&cpu, "avx512") != avx512_takes(word, bit), "avx512", &cpu);
            if (!avx2_takes(word, bit))
                lose(&least2, word, bit);
            if (!avx512_takes(word, bit))
                lose(&least512, word, bit);
        }
    require(fc_cpu_has(&least2, "avx2"), "what avx2 takes is not enough", &least2);
    require(!fc_cpu_has(&least2, "avx512"), "avx512 of avx2 alone", &least2);
    require(fc_cpu_has(&least512, "avx512"), "what avx512 takes is not enough", &least512);
    require(!fc_cpu_has(&whole, "generic") && !fc_cpu_has(&whole, ""), "another name", &whole);
}

static void meet_cpus(void)
{
    static const struct {
        const char *name;
        struct fc_cpu cpu;
        bool avx2, avx512;
    } met[] = {
        {"Skylake-SP, Linux", {0x7ffefbff, 0xd39ffffb, 0x2ff}, true, true},
        {"Skylake-SP, no system that saves", {0x77fefbff, 0xd39ffffb, 0}, false, false},
        {"Skylake-SP, masks and zmm not saved", {0x7ffefbff, 0xd39ffffb, 0x7}, true, false},
        {"Skylake-SP, zmm16-31 not saved", {0x7ffefbff, 0xd39ffffb, 0x67}, true, false},
        {"Skylake-SP, masks not saved", {0x7ffefbff, 0xd39ffffb, 0xc7}, true, false},
        {"Skylake-SP, SSE alone saved", {0x7ffefbff, 0xd39ffffb, 0x3}, false, false},
        {"Knights Landing: F without BW, DQ, VL", {0x7ff8f3bf, 0x1c0d23ab, 0xe7}, true, false},
        {"Haswell", {0x7ffafbff, 0x000027ab, 0x7}, true, false},
        {"Sandy Bridge", {0x1fbae3ff, 0, 0x7}, false, false},
        {"Nehalem", {0x009ce3bd, 0, 0}, false, false},
    };
    for (size_t i = 0; i < sizeof met / sizeof met[0]; i++) {
        require(fc_cpu_has(&met[i].cpu, "avx2") == met[i].avx2, met[i].name, &met[i].cpu);
        require(fc_cpu_has(&met[i].cpu, "avx512") == met[i].avx512, met[i].name, &met[i].cpu);
    }
}

static void meet_this_cpu(void)
{
    const struct fc_cpu cpu = fc_this_cpu();
    bool avx2 = false, avx512 = false;
#if defined(__x86_64__)
    __builtin_cpu_init();
    avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    require(fc_cpu_has(&cpu, "avx2") == avx2, "avx2 of this CPU", &cpu);
    require(fc_cpu_has(&cpu, "avx512") == avx512, "avx512 of this CPU", &cpu);
}

int main(void)
{
    lose_each_bit();
    meet_cpus();
    meet_this_cpu();
    printf("trust: cpu-choice decisions=%ld wrong=0\n", decisions);
    return 0;
}
