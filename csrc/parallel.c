/* parallel.c: one pool of POSIX threads, which one caller at a time has to itself.
 *
 * A loop is published under the pool's lock; workers that come in time take a seat and then items,
 * one after the other, from an atomic counter. The caller works too. When no item is left it closes
 * the loop and waits for those seated alone: a worker that the system wakes late, or not at all,
 * costs nothing but its share. Workers are started when first needed and never end; idle ones spin
 * for SPIN_NANOSECONDS, since layers follow each other closely, and then sleep.
 *
 * Each thread begins with a run of items of its own, the same in every loop, and ends with what others have
 * left of theirs: what a layer writes is then in the caches of the core that reads it for the next. Items
 * dealt out one by one crossed from core to core: on two of Zen 4 ResNet's first pooling took 0.57 ms and
 * takes 0.31, a step of training of a small network 15.5 and 13.8 where the cores share no cache.
 *
 * Beside another library's threads on the same CPUs, a call loses its share of them, and waits at the
 * end for a worker whose CPU has been given away in the middle of an item: a time slice (3 ms). Two
 * threads beside two of BLAS took 1.25 times their share in calls of 4 ms, 1.00 in calls of 18; without
 * any spinning the same. */
#define _GNU_SOURCE /* pthread_setname_np */
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <time.h>

#include "cpu_count.h"
#include "fastconv.h"
#include "floating_point.h"

/* The least share of a worker: 40 us at 50 GFLOP/s, which is what a core does on small problems, 20 on
 * middling ones. A sleeping worker is woken by 2 us of the caller's time and runs 14 us later (140 on
 * a busy machine), a spinning one 0.4 us later. By these figures two shares of 20 us take 29 us
 * instead of 40, and two of 10 us 19 instead of 20: not worth a core. */
enum {
    WORK_PER_WORKER = 2000000,
    SPIN_NANOSECONDS = 20000,
    STACK_BYTES = 1 << 20, /* of address space; memory is taken where it is touched */
    MOST_RUNS = 32         /* of a loop's items; further threads begin with another's */
};

/* Items that follow each other, from the next that nobody has taken; on a cache line of its own. */
struct run {
    alignas(64) _Atomic int64_t next;
    int64_t end;
};

struct loop {
    fc_task *task;
    void *context;
    int64_t items;
    int width, run_count;
    bool flush;
    struct run *runs;
};

/* What is not atomic is read and written under the lock alone. */
static struct {
    atomic_bool taken; /* by a caller, from before it publishes until its loop is done */
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    struct loop *loop;     /* valid while seats > 0 */
    int seats;             /* workers that may still join it */
    int workers;           /* threads that exist */
    int sleepers;          /* those of them that wait for wake */
    atomic_int seated;     /* workers inside the loop; written under the lock */
    atomic_uint published; /* loops so far; written under the lock */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static atomic_int process_threads; /* 0: not yet asked for */
static atomic_bool keep_all_denormals;
static _Thread_local int thread_limit;     /* 0: none */
static _Thread_local int64_t forced_share; /* 0: none */
static _Thread_local bool inside_task;

/* --------------------------------------------------------------- shares of a loop */

/* What tasks stored past the caches (stream.h) is there before the loop is done. Once a share: of items, 28 KB
 * each, every one would wait some 150 ns. */
static void end_streams(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_sfence();
#endif
}

static void run_alone(const struct loop *loop)
{
    const bool nested = inside_task;
    const fc_float_state before = fc_float_enter(loop->flush);
    inside_task = true;
    for (int64_t i = 0; i < loop->items; i++)
        loop->task(loop->context, i, 0);
    end_streams();
    inside_task = nested;
    fc_float_leave(before);
}

/* The next item of a run, or its end. */
static int64_t take_item(struct run *run)
{
    if (atomic_load_explicit(&run->next, memory_order_relaxed) >= run->end)
        return run->end;
    return atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
}

/* The thread's own run, and then what is left of the others'. */
static void run_share(struct loop *loop, int thread, int worker)
{
    const fc_float_state before = fc_float_enter(loop->flush);
    inside_task = true;
    for (int k = 0; k < loop->run_count; k++) {
        struct run *run = &loop->runs[(thread + k) % loop->run_count];
        for (int64_t i; (i = take_item(run)) < run->end;)
            loop->task(loop->context, i, worker);
    }
    end_streams();
    inside_task = false;
    fc_float_leave(before);
}

/* ------------------------------------------------------------------------ waiting */

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* yield is a no-op on most cores, isb waits about as long as pause */
#endif
}

/* Spins, without the lock, until a loop is published after the one numbered seen. */
static void spin_for_loop(unsigned seen)
{
    const int64_t end = nanoseconds() + SPIN_NANOSECONDS;
    while (atomic_load_explicit(&pool.published, memory_order_relaxed) == seen) {
        relax();
        if (nanoseconds() > end)
            break;
    }
}

static void spin_for_seated(void)
{
    const int64_t end = nanoseconds() + SPIN_NANOSECONDS;
    while (atomic_load_explicit(&pool.seated, memory_order_relaxed) > 0) {
        relax();
        if (nanoseconds() > end)
            break;
    }
}

/* ------------------------------------------------------------------------ workers */

/* Takes and gives back the lock held by the caller. */
static void wait_for_seat(void)
{
    if (pool.seats == 0) {
        const unsigned seen = atomic_load_explicit(&pool.published, memory_order_relaxed);
        pthread_mutex_unlock(&pool.lock);
        spin_for_loop(seen);
        pthread_mutex_lock(&pool.lock);
    }
    while (pool.seats == 0) {
        pool.sleepers++;
        pthread_cond_wait(&pool.wake, &pool.lock);
        pool.sleepers--;
    }
}

static void *serve(void *number)
{
    const int thread = (int)(intptr_t)number;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        wait_for_seat();
        struct loop *loop = pool.loop;
        const int worker = pool.seats--;
        atomic_fetch_add_explicit(&pool.seated, 1, memory_order_relaxed);
        pthread_mutex_unlock(&pool.lock);
        run_share(loop, thread, worker);
        pthread_mutex_lock(&pool.lock);
        if (atomic_fetch_sub_explicit(&pool.seated, 1, memory_order_relaxed) == 1)
            pthread_cond_signal(&pool.done);
    }
    return NULL;
}

/* Signals are the program's business and go to its own threads; those that the hardware raises on a
 * worker cannot be blocked without losing the handler that reports them. */
static void block_signals(sigset_t *before)
{
    static const int raised_here[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t signals;
    sigfillset(&signals);
    for (unsigned i = 0; i < sizeof raised_here / sizeof raised_here[0]; i++)
        sigdelset(&signals, raised_here[i]);
    pthread_sigmask(SIG_SETMASK, &signals, before);
}

static bool start_worker(int number)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const bool started = pthread_create(&thread, &attributes, serve, (void *)(intptr_t)number) == 0;
#if defined(__linux__)
    if (started)
        pthread_setname_np(thread, "fastconv");
#endif
    pthread_attr_destroy(&attributes);
    return started;
}

/* As many as there are to be, or as many as can be had. The lock is held. */
static void start_workers(int wanted)
{
    if (pool.workers >= wanted)
        return;
    sigset_t before;
    block_signals(&before);
    while (pool.workers < wanted && start_worker(pool.workers + 1))
        pool.workers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* -------------------------------------------------------------------- the caller */

static void cut_runs(struct loop *loop, struct run *runs)
{
    loop->run_count = loop->width < MOST_RUNS ? loop->width : MOST_RUNS;
    const int64_t each = loop->items / loop->run_count, more = loop->items % loop->run_count;
    int64_t begin = 0;
    for (int k = 0; k < loop->run_count; k++) {
        atomic_init(&runs[k].next, begin);
        begin += each + (k < more ? 1 : 0);
        runs[k].end = begin;
    }
    loop->runs = runs;
}

static void publish(struct loop *loop)
{
    pthread_mutex_lock(&pool.lock);
    start_workers(loop->width - 1);
    const int seats = loop->width - 1 < pool.workers ? loop->width - 1 : pool.workers;
    const int awake = pool.workers - pool.sleepers; /* these will see it by themselves */
    const int wanted = seats - awake < pool.sleepers ? seats - awake : pool.sleepers;
    pool.loop = loop;
    pool.seats = seats;
    atomic_fetch_add_explicit(&pool.published, 1, memory_order_relaxed);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < wanted; i++)
        pthread_cond_signal(&pool.wake);
}

static void close_loop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.loop = NULL;
    pool.seats = 0;
    if (atomic_load_explicit(&pool.seated, memory_order_relaxed) > 0) {
        pthread_mutex_unlock(&pool.lock);
        spin_for_seated();
        pthread_mutex_lock(&pool.lock);
    }
    while (atomic_load_explicit(&pool.seated, memory_order_relaxed) > 0)
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

void fc_parallel_for(int64_t items, int width, enum fc_denormals denormals, fc_task *task,
                     void *context)
{
    struct loop loop = {.task = task, .context = context, .items = items, .width = width};
    loop.flush = denormals == FC_FLUSH_DENORMALS && fc_get_flush_denormals();
    if (width <= 1 || items <= 1 || inside_task || atomic_exchange(&pool.taken, true)) {
        run_alone(&loop);
        return;
    }
    struct run runs[MOST_RUNS];
    cut_runs(&loop, runs);
    publish(&loop);
    run_share(&loop, 0, 0);
    close_loop();
    atomic_store(&pool.taken, false);
}

/* In whole numbers, since a division of doubles would raise the caller's inexact flag. */
int fc_parallel_width(int64_t items, double work)
{
    const int64_t share = forced_share > 0 ? forced_share : WORK_PER_WORKER;
    if (work < 2 * (double)share || items < 2 || inside_task)
        return 1;
    const int allowed = fc_get_num_threads();
    const int64_t worth = work < 1e18 ? (int64_t)work / share : INT64_MAX;
    const int64_t width = worth < items ? worth : items;
    return width < allowed ? (int)width : allowed;
}

void fc_force_worker_share(int64_t work) { forced_share = work; }

/* -------------------------------------------------------------------------- fork */

/* Only the forking thread lives on in the child, and it holds the pool's lock: a loop of another
 * thread may have been half-way, but no change to the pool. The child begins with no workers. */
static void before_fork(void) { pthread_mutex_lock(&pool.lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&pool.lock); }

static void after_fork_in_child(void)
{
    pool.loop = NULL;
    pool.seats = pool.workers = pool.sleepers = 0;
    atomic_store(&pool.seated, 0);
    pthread_cond_init(&pool.wake, NULL); /* forgets the sleepers that were left behind */
    pthread_cond_init(&pool.done, NULL);
    atomic_store(&pool.taken, false);
    pthread_mutex_unlock(&pool.lock);
}

/* At load, not at first use: two threads that both get there first would register twice. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ----------------------------------------------------------------------- control */

int fc_get_num_threads(void)
{
    int threads = atomic_load_explicit(&process_threads, memory_order_relaxed);
    if (threads == 0) {
        const int found = fc_default_threads();
        if (atomic_compare_exchange_strong(&process_threads, &threads, found))
            threads = found; /* otherwise another thread was first, and threads is its number */
    }
    return thread_limit > 0 && thread_limit < threads ? thread_limit : threads;
}

fc_status fc_set_num_threads(int n)
{
    if (n < 1)
        return FC_BAD_ARGUMENT;
    atomic_store(&process_threads, n);
    return FC_OK;
}

int fc_set_thread_limit(int n)
{
    const int before = thread_limit;
    thread_limit = n > 0 ? n : 0;
    return before;
}

void fc_set_flush_denormals(bool flush) { atomic_store(&keep_all_denormals, !flush); }

bool fc_get_flush_denormals(void)
{
    return !atomic_load_explicit(&keep_all_denormals, memory_order_relaxed);
}
