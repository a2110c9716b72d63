/* counted_memory.h: what the library asks of the system, counted and, where armed, refused.
 *
 * The linker puts these functions in place of the system's (-Wl,--wrap=NAME) for the C core, and for
 * the program that includes this; what the system's own libraries ask for is not seen. */
#ifndef COUNTED_MEMORY_H
#define COUNTED_MEMORY_H

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_long asked, fail_at; /* requests since armed; the one that fails, 0 for none */
static atomic_long live_blocks, live_bytes, peak_bytes;

static inline void arm(long request)
{
    atomic_store(&asked, 0);
    atomic_store(&fail_at, request);
}

/* Ends it; whether that request came. */
static inline bool disarm(void)
{
    const long request = atomic_exchange(&fail_at, 0);
    return request > 0 && atomic_load(&asked) >= request;
}

static inline bool refused(void)
{
    return atomic_fetch_add(&asked, 1) + 1 == atomic_load(&fail_at);
}

static inline void *count_block(void *block)
{
    if (block) {
        const long bytes = (long)malloc_usable_size(block);
        const long live = atomic_fetch_add(&live_bytes, bytes) + bytes;
        atomic_fetch_add(&live_blocks, 1);
        for (long peak = atomic_load(&peak_bytes);
             live > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, live);)
            ;
    }
    return block;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *block);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *context);
int __real_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);
cpu_set_t *__real___sched_cpualloc(size_t count);
FILE *__real_fopen(const char *path, const char *mode);

void *__wrap_malloc(size_t bytes) { return refused() ? NULL : count_block(__real_malloc(bytes)); }

void *__wrap_calloc(size_t count, size_t bytes)
{
    return refused() ? NULL : count_block(__real_calloc(count, bytes));
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return refused() ? NULL : count_block(__real_aligned_alloc(alignment, bytes));
}

void __wrap_free(void *block)
{
    if (block) {
        atomic_fetch_sub(&live_bytes, (long)malloc_usable_size(block));
        atomic_fetch_sub(&live_blocks, 1);
    }
    __real_free(block);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *context)
{
    return refused() ? EAGAIN : __real_pthread_create(thread, attributes, start, context);
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    return refused() ? EAGAIN : __real_pthread_key_create(key, destroy);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return refused() ? ENOMEM : __real_pthread_setspecific(key, value);
}

cpu_set_t *__wrap___sched_cpualloc(size_t count)
{
    return refused() ? NULL : __real___sched_cpualloc(count);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    return refused() ? NULL : __real_fopen(path, mode);
}

#endif
