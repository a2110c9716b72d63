/* stream.c: how large a result must be to go past the caches of this CPU.
 *
 * The C library's answer is not to be had everywhere, and wrong for some CPUs (320 MiB, all of a
 * socket's caches, where a core has 32), so CPUID itself is asked. */
#include "stream.h"

#include <pthread.h>

enum {
    LEAST = 8 << 20,
    MOST = 32 << 20,
    INTEL_CACHES = 4, /* leaves of CPUID, with a subleaf for each cache, in the same words */
    MOST_CACHES = 8,
    INSTRUCTIONS = 2 /* the kind of a cache that keeps no data */
};
static const uint32_t AMD_CACHES = UINT32_C(0x8000001d);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int64_t least_bytes;

#if defined(__x86_64__)

#include <cpuid.h>

/* Bytes of the largest cache of data in a leaf; 0 where the CPU has not that leaf, or leaves it empty. */
static int64_t largest_cache(uint32_t leaf)
{
    int64_t most = 0;
    uint32_t eax, ebx, ecx, edx;
    for (uint32_t i = 0; i < MOST_CACHES && __get_cpuid_count(leaf, i, &eax, &ebx, &ecx, &edx);
         i++) {
        const uint32_t kind = eax & 31;
        if (!kind)
            break;
        const int64_t ways = (ebx >> 22) + 1, parts = (ebx >> 12 & 1023) + 1;
        const int64_t line = (ebx & 4095) + 1, sets = (int64_t)ecx + 1;
        const int64_t bytes = ways * parts * line * sets;
        if (kind != INSTRUCTIONS && bytes > most)
            most = bytes;
    }
    return most;
}

#else

static int64_t largest_cache(uint32_t leaf)
{
    (void)leaf;
    return 0;
}

#endif

static void find_least_bytes(void)
{
    const int64_t intel = largest_cache(INTEL_CACHES), amd = largest_cache(AMD_CACHES);
    const int64_t quarter = (intel > amd ? intel : amd) / 4;
    least_bytes = quarter == 0 || quarter > MOST ? MOST : quarter < LEAST ? LEAST : quarter;
}

int64_t fc_stream_bytes(void)
{
    pthread_once(&once, find_least_bytes);
    return least_bytes;
}
