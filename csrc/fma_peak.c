/* fma_peak.c: the speed of multiply-adds that nothing holds up, the measure of other figures.
 *
 * Each thread repeats a window of about a quarter of a millisecond and keeps its best: short enough
 * that some windows pass undisturbed on a busy machine, long enough for the clock. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <time.h>

#include "dispatch.h"
#include "parallel.h"
#include "workspace.h"

static const double WINDOW_SECONDS = 250e-6;

/* A worker's best, on a cache line of its own. */
struct best {
    double flops;
    char rest_of_line[FC_CACHE_LINE - sizeof(double)];
};

/* best is indexed by worker: where a thread cannot be had another runs its item after its own, and
 * the peak is that of the threads there were. */
struct peak {
    const struct fc_kernels *kernels;
    double seconds;
    struct best *best;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run_peak(void *context, int64_t item, int worker)
{
    const struct peak *peak = context;
    double *best = &peak->best[worker].flops;
    const double begin = seconds_now();
    int64_t rounds = 1024;
    double now = begin;
    (void)item;
    do {
        const double start = now;
        const double flops = 2 * peak->kernels->conv2d.fma_burst(rounds);
        now = seconds_now();
        if (now - start < WINDOW_SECONDS / 2)
            rounds *= 2; /* too short for the clock */
        else if (flops > *best * (now - start))
            *best = flops / (now - start);
    } while (now - begin < peak->seconds || *best == 0);
}

double fc_fma_peak(fc_dtype dtype, int threads, double seconds)
{
    struct peak peak = {.seconds = seconds};
    if ((unsigned)dtype > FC_FLOAT64 || threads < 1)
        return 0;
    peak.kernels = fc_current_kernels(dtype);
    peak.best = fc_workspace_acquire((size_t)threads * sizeof *peak.best);
    double sum = 0;
    if (peak.kernels && peak.best) {
        for (int i = 0; i < threads; i++)
            peak.best[i].flops = 0;
        fc_parallel_for(threads, threads, FC_FLUSH_DENORMALS, run_peak, &peak);
        for (int i = 0; i < threads; i++)
            sum += peak.best[i].flops;
    }
    fc_workspace_release(peak.best);
    return sum;
}
