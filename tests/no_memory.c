/* no_memory.c: what happens when the system refuses: memory, a thread, a key, a file.
 *
 * Random calls, each again and again with its first, second, ... request refused. The status must be
 * FC_NO_MEMORY, or the result right; nothing may leak; the next call must be right. Every call's
 * first run is in a process of its own that has not used the library yet, since that is when threads
 * and keys are made. no_memory COUNT. */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "counted_memory.h"

#include "any_run.h"
#include "parallel.h"

enum { MOST_REQUESTS = 100 };

static struct call call;
static uint64_t seed;

static void fail(const char *what, long request)
{
    printf("no_memory: seed %" PRIu64 ", request %ld: %s\n", seed, request, what);
    print_call(&call);
    fflush(stdout);
    _exit(1);
}

/* Arrays are this program's, and not counted. */
static char *place(int role, size_t bytes)
{
    (void)role;
    return __real_malloc(bytes + 1);
}

/* What a thread holds: a request that failed in it must leave nothing when it has ended. */
struct run {
    long request;
    fc_status status;
    bool came;
    uint64_t hash;
};

static void *run_thread(void *context)
{
    struct run *run = context;
    fill_call(&call);
    fc_force_worker_share(seed % 2); /* half are divided, however small: threads are asked for */
    arm(run->request);
    run->status = run_call(&call);
    run->came = disarm();
    run->hash = run->status == FC_OK ? hash_call(&call) : 0;
    const char *wrong = check_call(&call, run->status);
    if (wrong)
        fail(wrong, run->request);
    return NULL;
}

static struct run run_one(long request)
{
    struct run run = {.request = request};
    pthread_t thread;
    if (__real_pthread_create(&thread, NULL, run_thread, &run) != 0)
        fail("no thread", request);
    pthread_join(thread, NULL); /* and with it the memory that the library keeps for it */
    if (atomic_load(&live_blocks) != 0)
        fail("memory was lost", request);
    return run;
}

/* Whether the request came, and so was refused. */
static bool refuse(long request, const struct run *right)
{
    const struct run run = run_one(request);
    const bool same = run.status == right->status && run.hash == right->hash;
    if (!same && (run.status != FC_NO_MEMORY || !run.came))
        fail("neither the right result nor FC_NO_MEMORY", request);
    const struct run after = run_one(0);
    if (after.status != right->status || after.hash != right->hash)
        fail("the call after it is wrong", request);
    return run.came;
}

/* In a child, which has yet to start its threads: the parent learns whether the request came. */
static bool refuse_first(long request, const struct run *right)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        _exit(refuse(request, right) ? 0 : 2);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("no child", request);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 1)
        exit(1);
    return WEXITSTATUS(status) == 0;
}

/* The right result, from a child too: this process never uses the library. */
static struct run run_right(void)
{
    struct run right;
    int ends[2];
    if (pipe(ends) != 0)
        fail("no pipe", 0);
    const pid_t child = fork();
    if (child == 0) {
        right = run_one(0);
        _exit(write(ends[1], &right, sizeof right) != sizeof right);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &right, sizeof right) != sizeof right)
        fail("the call itself fails", 0);
    close(ends[0]);
    waitpid(child, NULL, 0);
    return right;
}

int main(int count, char **words)
{
    const long calls = count > 1 ? atol(words[1]) : 100;
    long requests = 0;
    unsetenv("FASTCONV_NUM_THREADS"); /* so that the CPUs are counted, from files and masks */
    unsetenv("OMP_NUM_THREADS");
    for (long done = 0; done < calls; done++) {
        struct source source;
        do
            source = (struct source){.state = ++seed, .random = true};
        while (!plan_call(&source, &call));
        place_call(&call, place);
        const struct run right = run_right();
        long request = 1;
        while (refuse_first(request, &right))
            if (request++ == MOST_REQUESTS)
                fail("more requests than a call should make", request);
        requests += request - 1;
        for (int i = 0; i < ROLES; i++)
            __real_free(call.arrays[i].memory);
    }
    printf("trust: no-memory calls=%ld refused=%ld lost=0 wrong=0\n", calls, requests);
    return 0;
}
