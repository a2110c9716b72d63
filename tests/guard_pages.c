/* guard_pages.c: no byte outside an array is read or written, on any instruction set.
 *
 * Random calls, every array between two pages that fault when touched: first with each array's last
 * byte at the end of its pages, then with its first byte at their beginning, by several threads, half
 * of the calls however small. Inputs cannot be written. The results must also be the same, bit for
 * bit, wherever they lie and whatever ran them.
 *
 * guard_pages COUNT [SEED]: a fault or a difference prints the seed that shows it again. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "any_run.h"
#include "guarded.h"
#include "parallel.h"

enum { THREADS = 3 };

static uint64_t seed;
static const char *isa;
static struct call call;

static void fail(const char *what)
{
    printf("guard_pages: %s: guard_pages 1 %" PRIu64 ", %s, arrays at the %s of their pages\n",
           what, seed, isa, at_end ? "end" : "beginning");
    print_call(&call);
    fflush(stdout);
    _exit(1);
}

static void on_signal(int number)
{
    fail(number == SIGILL ? "an instruction that this CPU lacks" : "a page fault");
}

/* One call at one place on one instruction set: its status, and the hash of its outputs. */
static fc_status run(uint64_t *hash)
{
    place_call(&call, place_guarded);
    fill_call(&call);
    protect_inputs(&call);
    const fc_status status = run_call(&call);
    *hash = status == FC_OK ? hash_call(&call) : 0;
    const char *wrong = check_call(&call, status);
    if (wrong)
        fail(wrong);
    return status;
}

/* One call everywhere; how many times it ran, 0 where no call came of the seed. */
static int run_everywhere(void)
{
    struct source source = {.state = seed, .random = true};
    uint64_t first_hash = 0;
    fc_status first = FC_OK;
    int runs = 0;
    if (!plan_call(&source, &call))
        return 0;
    for (int i = 0; (isa = fc_available_isa(i)) != NULL; i++) {
        const bool fused = strcmp(isa, "generic") != 0;
        fc_force_isa(isa);
        fc_force_worker_share(seed % 2);
        for (at_end = false;; at_end = true) {
            uint64_t hash;
            fc_set_thread_limit(at_end ? THREADS : 1);
            const fc_status status = run(&hash);
            if (runs == 0)
                first = status;
            if (status != first)
                fail("another status than elsewhere");
            if (fused && call.plain && first_hash && hash != first_hash)
                fail("other bits than elsewhere");
            if (fused)
                first_hash = hash;
            runs++;
            if (at_end)
                break;
        }
    }
    return first == FC_OK ? runs : -runs;
}

int main(int count, char **words)
{
    const long problems = count > 1 ? atol(words[1]) : 1000;
    long calls = 0, refused = 0;
    uint64_t next = count > 2 ? strtoull(words[2], NULL, 10) : 1;
    static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        signal(caught[i], on_signal);
    make_slots();
    fc_set_num_threads(THREADS);
    for (long done = 0; done < problems; next++) {
        seed = next;
        const int runs = run_everywhere();
        done += runs != 0;
        calls += runs > 0 ? runs : 0;
        refused += runs < 0 ? -runs : 0;
    }
    printf("trust: guard-pages problems=%ld calls=%ld refused=%ld faults=0\n", problems, calls,
           refused);
    return 0;
}
