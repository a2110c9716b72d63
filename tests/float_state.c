/* float_state.c: a call leaves the floating-point state as it found it, and does not heed it.
 *
 * Random calls, valid and refused, under every rounding mode, with denormals flushed or kept, with
 * exceptions raised before, on every instruction set, with 1 thread and with 3: the state after
 * must be the state before to the bit, and the result that of a caller with the usual state.
 * float_state COUNT. */
#define _GNU_SOURCE
#include <fenv.h>
#include <inttypes.h>
#include <stdio.h>

#include "any_run.h"
#include "parallel.h"

enum { THREADS = 3 };

static struct call call;
static uint64_t seed;

static void fail(const char *what)
{
    printf("float_state: seed %" PRIu64 ": %s\n", seed, what);
    print_call(&call);
    exit(1);
}

/* The registers: of SSE and of x87 (a long double in a caller's code), or of aarch64. */
struct state {
    uint64_t control, flags;
};

#if defined(__x86_64__)

#include <xmmintrin.h>

enum { FLUSH = 0x8000 | 0x40 };

static struct state get_state(void)
{
    uint16_t x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (struct state){_mm_getcsr(), x87};
}

static void set_flush(void) { _mm_setcsr(_mm_getcsr() | FLUSH); }

#elif defined(__aarch64__)

static struct state get_state(void)
{
    struct state state;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(state.control), "=r"(state.flags));
    return state;
}

static void set_flush(void)
{
    const uint64_t control = get_state().control | UINT64_C(1) << 24;
    __asm__ volatile("msr fpcr, %0" : : "r"(control) : "memory");
}

#endif

static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
enum { STATES = 4 * 2 * 2 };

static void set_state(int which)
{
    fesetenv(FE_DFL_ENV);
    fesetround(roundings[which % 4]);
    if (which / 4 % 2)
        set_flush();
    if (which / 8)
        feraiseexcept(FE_INEXACT | FE_DIVBYZERO);
}

static char *place(int role, size_t bytes)
{
    (void)role;
    return malloc(bytes + 1);
}

/* One call in one state: its status, and the hash of what it made. */
static fc_status run(int which, uint64_t *hash)
{
    fill_call(&call);
    set_state(which);
    const struct state before = get_state();
    const fc_status status = run_call(&call);
    const struct state after = get_state();
    fesetenv(FE_DFL_ENV);
    if (after.control != before.control || after.flags != before.flags) {
        printf("%" PRIx64 " %" PRIx64 " became %" PRIx64 " %" PRIx64 "\n", before.control,
               before.flags, after.control, after.flags);
        fail("the caller's floating-point state was changed");
    }
    *hash = status == FC_OK ? hash_call(&call) : 0;
    return status;
}

static long run_all(void)
{
    long runs = 0;
    for (int isa = 0; fc_available_isa(isa); isa++) {
        uint64_t first_hash = 0;
        fc_status first = FC_OK;
        fc_force_isa(fc_available_isa(isa));
        fc_force_worker_share(seed % 2); /* half are divided, however small */
        for (int which = 0; which < STATES; which++) {
            uint64_t hash;
            fc_set_thread_limit(which % 2 ? THREADS : 1);
            const fc_status status = run(which, &hash);
            if (which == 0)
                first = status, first_hash = hash;
            if (status != first || hash != first_hash)
                fail("another result in another state");
            runs++;
        }
    }
    return runs;
}

int main(int count, char **words)
{
    const long problems = count > 1 ? atol(words[1]) : 500;
    long calls = 0;
    fc_set_num_threads(THREADS);
    for (long done = 0; done < problems; done++) {
        struct source source;
        do
            source = (struct source){.state = ++seed, .random = true};
        while (!plan_call(&source, &call));
        place_call(&call, place);
        calls += run_all();
        for (int i = 0; i < ROLES; i++)
            free(call.arrays[i].memory);
    }
    printf("trust: float-state problems=%ld calls=%ld changed=0\n", problems, calls);
    return 0;
}
