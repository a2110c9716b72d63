/* dispatch.c: which instruction sets this build and this CPU have, and which one is used.
 *
 * The choice is made once, when the library is first used, and never changes; tests force another
 * one on their own thread. */
#include "dispatch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"

extern const struct fc_kernels fc_kernels_generic_f32, fc_kernels_generic_f64;
#if defined(__x86_64__)
extern const struct fc_kernels fc_kernels_avx2_f32, fc_kernels_avx2_f64;
extern const struct fc_kernels fc_kernels_avx512_f32, fc_kernels_avx512_f64;
#elif defined(__aarch64__)
extern const struct fc_kernels fc_kernels_neon_f32, fc_kernels_neon_f64;
#endif

/* What the build has, from what any CPU runs to the best. */
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

static const struct fc_isa *find_available(const char *name)
{
    for (int i = 0; i < available_count; i++)
        if (!strcmp(available[i]->name, name))
            return available[i];
    return NULL;
}

/* NEON is a part of every aarch64 CPU, and C of every one. */
static bool runs_here(const char *name, const struct fc_cpu *cpu)
{
    return !strcmp(name, "generic") || !strcmp(name, "neon") || fc_cpu_has(cpu, name);
}

static void choose(void)
{
    const struct fc_cpu cpu = fc_this_cpu();
    for (int i = 0; i < BUILT; i++)
        if (runs_here(built[i].name, &cpu))
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
