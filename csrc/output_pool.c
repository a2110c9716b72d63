/* output_pool.c: memory for large outputs, kept for the next call when its array dies.
 *
 * A fresh mapping is paid for in page faults, one for each 4 KB: 51 MB, the output of a first layer,
 * take 10 ms of them, as long as the layer. Huge pages cost a quarter of that, memory that was used
 * before nothing. So blocks are mapped on 2 MB with huge pages asked for, and those given back wait
 * here, the newest first; the oldest are unmapped where all together exceed the limit.
 *
 * The newest block that fits is handed out, since it is the likeliest to be in a cache still, and
 * none that is larger by more than a quarter: a small output must not sit on the memory that the next
 * large one needs. A list under a lock is enough, at one visit a large output. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, madvise */
#include "output_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workspace.h"

enum { HUGE_PAGE = 2 << 20, UNUSED_SHARE = 4, DEFAULT_LIMIT = 256 << 20 };

/* The cache line before the memory handed out. */
struct block {
    size_t mapped;               /* bytes, from the header on */
    struct block *newer, *older; /* while it waits */
};

_Static_assert(sizeof(struct block) <= FC_CACHE_LINE, "the header has one cache line");

static struct {
    pthread_mutex_t lock;
    struct block *newest, *oldest;
    size_t held;
    _Atomic size_t limit; /* read without the lock too */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = DEFAULT_LIMIT};

/* ---------------------------------------------------------------- mappings */

static char *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* mmap aligns to small pages alone: a huge page more is mapped, and what is not needed of it, before
 * and behind, given back. */
static char *map_on_huge_page(size_t bytes)
{
    char *memory = map(bytes + HUGE_PAGE);
    if (!memory)
        return NULL;
    const size_t before = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    if (before)
        munmap(memory, before);
    memory += before;
    if (before < HUGE_PAGE)
        munmap(memory + bytes, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: small pages serve too */
#endif
    return memory;
}

static struct block *map_block(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes > SIZE_MAX / 2)
        return NULL;
    const size_t mapped = (bytes + FC_CACHE_LINE + page - 1) / page * page;
    struct block *block =
        (struct block *)(void *)(mapped < HUGE_PAGE ? map(mapped) : map_on_huge_page(mapped));
    if (block)
        block->mapped = mapped;
    return block;
}

static void unmap_blocks(struct block *block)
{
    while (block) {
        struct block *older = block->older;
        munmap(block, block->mapped);
        block = older;
    }
}

/* ------------------------------------------------------ the list, under its lock */

static void take_out(struct block *block)
{
    *(block->newer ? &block->newer->older : &pool.newest) = block->older;
    *(block->older ? &block->older->newer : &pool.oldest) = block->newer;
    pool.held -= block->mapped;
}

static void put_in(struct block *block)
{
    block->newer = NULL;
    block->older = pool.newest;
    *(pool.newest ? &pool.newest->newer : &pool.oldest) = block;
    pool.newest = block;
    pool.held += block->mapped;
}

/* Takes the oldest blocks out until the rest is within the limit; they hang together by older. */
static struct block *take_excess(void)
{
    struct block *excess = NULL;
    while (pool.held > pool.limit) {
        struct block *block = pool.oldest;
        take_out(block);
        block->older = excess;
        excess = block;
    }
    return excess;
}

static struct block *take_fitting(size_t bytes)
{
    const size_t most = bytes + bytes / UNUSED_SHARE + HUGE_PAGE / 32;
    for (struct block *block = pool.newest; block; block = block->older)
        if (block->mapped - FC_CACHE_LINE >= bytes && block->mapped <= most) {
            take_out(block);
            return block;
        }
    return NULL;
}

/* ------------------------------------------------------------------- calls */

void *fc_output_acquire(size_t bytes)
{
    pthread_mutex_lock(&pool.lock);
    struct block *block = bytes <= SIZE_MAX / 2 ? take_fitting(bytes) : NULL;
    pthread_mutex_unlock(&pool.lock);
    if (!block)
        block = map_block(bytes);
    return block ? (char *)block + FC_CACHE_LINE : NULL;
}

static struct block *block_of(const void *memory)
{
    return (struct block *)(void *)((char *)memory - FC_CACHE_LINE);
}

void fc_output_release(void *memory)
{
    if (!memory)
        return;
    pthread_mutex_lock(&pool.lock);
    put_in(block_of(memory));
    struct block *excess = take_excess();
    pthread_mutex_unlock(&pool.lock);
    unmap_blocks(excess);
}

size_t fc_output_capacity(const void *memory) { return block_of(memory)->mapped - FC_CACHE_LINE; }

void fc_set_output_pool(size_t bytes)
{
    pthread_mutex_lock(&pool.lock);
    pool.limit = bytes;
    struct block *excess = take_excess();
    pthread_mutex_unlock(&pool.lock);
    unmap_blocks(excess);
}

size_t fc_get_output_pool(void) { return pool.limit; }

size_t fc_output_pool_held(void)
{
    pthread_mutex_lock(&pool.lock);
    const size_t held = pool.held;
    pthread_mutex_unlock(&pool.lock);
    return held;
}

/* -------------------------------------------------------------------- fork */

/* The child has the blocks too, as copies of its own. */
static void before_fork(void) { pthread_mutex_lock(&pool.lock); }

static void after_fork(void) { pthread_mutex_unlock(&pool.lock); }

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}
