/* races.c: the thread pool under pressure, for ThreadSanitizer to watch.
 *
 * For some seconds: callers that compute at once, each with results it knows, in memory of the pool of
 * outputs, which one gives back for another; one thread that keeps changing the number of threads, a
 * limit, the denormal switch and what that pool may keep; one that forks, whose children compute too
 * and must leave with status 0. races SECONDS. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fastconv.h"
#include "output_pool.h"

enum { CALLERS = 5, N = 4, SIZE = 44, CHANNELS = 16, ELEMENTS = N * SIZE * SIZE * CHANNELS };

static atomic_bool over;
static atomic_long calls, forks, changes;

static void require(bool truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "races: %s\n", what);
        _exit(1);
    }
}

/* What a caller owns: nobody else may write it. */
struct work {
    float x[ELEMENTS], dy[ELEMENTS], dx[ELEMENTS], pooled[ELEMENTS], first[ELEMENTS];
    float kernel[9 * CHANNELS * CHANNELS], dkernel[9 * CHANNELS * CHANNELS], dbias[CHANNELS];
};

static fc_image image(float *data, int64_t size)
{
    return (fc_image){data,     N, size, size, CHANNELS, size * size * CHANNELS, size * CHANNELS,
                      CHANNELS, 1};
}

static void fill(float *data, int count)
{
    for (int i = 0; i < count; i++)
        data[i] = (float)(i * 7919 % 1000) / 500 - 1;
}

/* Every driver that has loops of its own, each large enough for several threads. */
static void compute(struct work *work, float *y)
{
    const fc_conv2d_params params = {.dtype = FC_FLOAT32,
                                     .strides = {1, 1},
                                     .dilation_rate = {1, 1},
                                     .padding = FC_SAME,
                                     .groups = 1};
    const fc_pool2d_params pool = {.dtype = FC_FLOAT32,
                                   .pool_size = {3, 3},
                                   .strides = {2, 2},
                                   .dilation_rate = {1, 1},
                                   .padding = FC_SAME};
    const fc_image x = image(work->x, SIZE), result = image(y, SIZE), dy = image(work->dy, SIZE);
    const fc_image dx = image(work->dx, SIZE), pooled = image(work->pooled, SIZE / 2);
    const fc_weights kernel = {
        work->kernel,        3,        3, CHANNELS, CHANNELS, 3 * CHANNELS * CHANNELS,
        CHANNELS * CHANNELS, CHANNELS, 1};
    fc_weights dkernel = kernel;
    dkernel.data = work->dkernel;
    require(fc_conv2d(&params, &x, &kernel, NULL, &result) == FC_OK, "conv2d");
    require(fc_conv2d_backward(&params, &dy, &x, &kernel, &dx, &dkernel, work->dbias) == FC_OK,
            "conv2d_backward");
    require(fc_pool2d(&pool, &x, &pooled, NULL) == FC_OK, "pool2d");
    require(fc_pool2d_backward(&pool, &pooled, &x, NULL, &dx) == FC_OK, "pool2d_backward");
    require(fc_elementwise(FC_FLOAT32, FC_EXP, ELEMENTS, work->x, work->dx) == FC_OK, "exp");
    require(fc_softmax(FC_FLOAT32, ELEMENTS / 64, 64, work->x, work->dx) == FC_OK, "softmax");
    require(fc_activation_backward(FC_FLOAT32, FC_RELU, ELEMENTS, work->x, work->x, work->dx) ==
                FC_OK,
            "activation_backward");
    atomic_fetch_add(&calls, 7);
}

static struct work *new_work(void)
{
    struct work *work = malloc(sizeof *work);
    require(work != NULL, "no memory");
    fill(work->x, ELEMENTS);
    fill(work->dy, ELEMENTS);
    fill(work->kernel, 9 * CHANNELS * CHANNELS);
    compute(work, work->first);
    return work;
}

static void repeat(struct work *work)
{
    float *y = fc_output_acquire(sizeof work->first);
    require(y != NULL, "no memory for an output");
    require(fc_output_capacity(y) >= sizeof work->first, "too little memory for an output");
    compute(work, y);
    require(memcmp(y, work->first, sizeof work->first) == 0, "a result changed");
    fc_output_release(y);
}

static void *call(void *unused)
{
    struct work *work = new_work();
    while (!atomic_load(&over))
        repeat(work);
    free(work);
    return unused;
}

/* The number of threads, in the middle of everything. */
static void *change(void *unused)
{
    for (int n = 1; !atomic_load(&over); n = n % 6 + 1, atomic_fetch_add(&changes, 1)) {
        require(fc_set_num_threads(n) == FC_OK, "set_num_threads");
        fc_set_thread_limit(n / 2);
        require(fc_get_num_threads() >= 1, "get_num_threads");
        require(fc_get_flush_denormals(), "denormals are flushed from the start");
        fc_set_flush_denormals(true);
        fc_set_output_pool((size_t)(n % 3) << 18);
        require(fc_get_output_pool() <= 2 << 18, "get_output_pool");
        require(fc_output_pool_held() < 1 << 20, "the pool keeps more than it may");
        usleep(300);
    }
    return unused;
}

/* Forks while others are inside a kernel; the child's pool begins with no workers. */
static void *split(void *unused)
{
    struct work *work = new_work();
    for (; !atomic_load(&over); atomic_fetch_add(&forks, 1)) {
        const pid_t child = fork();
        require(child >= 0, "fork");
        if (child == 0) {
            alarm(60); /* a child that hangs must not hang the test */
            repeat(work);
            repeat(work);
            _exit(0);
        }
        int status;
        require(waitpid(child, &status, 0) == child, "waitpid");
        require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
        repeat(work);
        usleep(2000);
    }
    free(work);
    return unused;
}

/* Of this process, the library's among them. */
static int threads_now(void)
{
    char line[256];
    int found = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        sscanf(line, "Threads: %d", &found);
    if (status)
        fclose(status);
    return found;
}

int main(int count, char **words)
{
    const time_t end = time(NULL) + (count > 1 ? atoi(words[1]) : 5);
    pthread_t threads[CALLERS + 2];
    for (int i = 0; i < CALLERS + 2; i++)
        require(pthread_create(&threads[i], NULL,
                               i == 0   ? change
                               : i == 1 ? split
                                        : call,
                               NULL) == 0,
                "pthread_create");
    while (time(NULL) < end)
        usleep(100000);
    const int workers = threads_now() - 1 - (CALLERS + 2);
    require(workers >= 2, "the pool has had nothing to do: larger calls are wanted here");
    atomic_store(&over, true);
    for (int i = 0; i < CALLERS + 2; i++)
        pthread_join(threads[i], NULL);
    printf("trust: races calls=%ld workers=%d forks=%ld changes=%ld reports=0\n",
           atomic_load(&calls), workers, atomic_load(&forks), atomic_load(&changes));
    return 0;
}
