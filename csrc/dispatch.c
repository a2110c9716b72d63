/* dispatch.c: which instruction sets this build and this CPU have, and which one is used.
 *
 * The choice is made once, when the library is first used, and never changes; tests force another
 * one on their own thread. __builtin_cpu_supports asks CPUID and, for every AVX word, XGETBV too: a
 * register that the operating system does not save counts as missing (gcc since 7.4, clang). */
#include "dispatch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const struct fc_kernels fc_kernels_generic_f32, fc_kernels_generic_f64;
#if defined(__x86_64__)
extern const struct fc_kernels fc_kernels_avx2_f32, fc_kernels_avx2_f64;
extern const struct fc_kernels fc_kernels_avx512_f32, fc_kernels_avx512_f64;
#elif defined(__aarch64__)
extern const struct fc_kernels fc_kernels_neon_f32, fc_kernels_neon_f64;
#endif

/* What the build has, from what any CPU runs to the best; NEON is a part of every aarch64 CPU. */
static const struct fc_isa built[] = {
    {"generic", {&fc_kernels_generic_f32, &fc_kernels_generic_f64}},
#if defined(__x86_64__)
    {"avx2", {&fc_kernels_avx2_f32, &fc_kernels_avx2_f64}},
    {"avx512", {&fc_kernels_avx512_f32, &fc_kernels_avx512_f64}},
#elif defined(__aarch64__)
    {"neon", {&fc_kernels_neon_f32, &fc_kernels_neon_f64}},
#endif
};
enum { BUILT = sizeof built / sizeof built[0] };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct fc_isa *available[BUILT];
static int available_count;
static const struct fc_isa *chosen;
static _Thread_local const struct fc_isa *forced;

static bool cpu_has(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    (void)name;
    return true;
}

static const struct fc_isa *find_available(const char *name)
{
    for (int i = 0; i < available_count; i++)
        if (!strcmp(available[i]->name, name))
            return available[i];
    return NULL;
}

static void choose(void)
{
    for (int i = 0; i < BUILT; i++)
        if (cpu_has(built[i].name))
            available[available_count++] = &built[i];
    const char *wanted = getenv("FASTCONV_ISA");
    chosen = wanted && *wanted ? find_available(wanted) : available[available_count - 1];
}

const struct fc_isa *fc_current_isa(void)
{
    if (forced)
        return forced;
    pthread_once(&once, choose);
    return chosen;
}

const char *fc_isa_name(void)
{
    const struct fc_isa *isa = fc_current_isa();
    return isa ? isa->name : NULL;
}

const char *fc_available_isa(int i)
{
    pthread_once(&once, choose);
    return i >= 0 && i < available_count ? available[i]->name : NULL;
}

bool fc_force_isa(const char *name)
{
    pthread_once(&once, choose);
    const struct fc_isa *isa = name ? find_available(name) : NULL;
    if (name && !isa)
        return false;
    forced = isa;
    return true;
}
