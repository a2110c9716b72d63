/* refuse_memory.c: to be preloaded: a library's requests for memory, of which one can be refused.
 *
 * refuse_memory_arm(k, name) makes the calling thread's k-th request from a library whose path
 * contains the name fail; refuse_memory_disarm() ends that and tells how many there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static _Thread_local const char *library;
static _Thread_local long asked, refused_request;

void refuse_memory_arm(long request, const char *name)
{
    asked = 0;
    refused_request = request;
    library = name;
}

long refuse_memory_disarm(void)
{
    library = NULL;
    return asked;
}

static bool refused(const void *caller)
{
    Dl_info found;
    if (!library || !dladdr(caller, &found) || !strstr(found.dli_fname, library))
        return false;
    if (++asked != refused_request)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_realloc(block, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
}
