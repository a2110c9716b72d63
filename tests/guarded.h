/* guarded.h: a place for each array of a call, between two pages that fault when touched. */
#ifndef GUARDED_H
#define GUARDED_H

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "any_call.h"

static char *slots[ROLES];
static size_t slot_bytes;
static bool at_end; /* an array's last byte at the end of its slot, or its first at the beginning */

static inline void make_slots(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    slot_bytes = ((size_t)MOST_ELEMENTS * 8 + page - 1) / page * page;
    for (int i = 0; i < ROLES; i++) {
        char *pages =
            mmap(NULL, slot_bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) {
            perror("mmap");
            _exit(1);
        }
        slots[i] = pages + page;
    }
}

static inline void protect(int role, int protection)
{
    if (mprotect(slots[role], slot_bytes, protection) != 0) {
        perror("mprotect");
        _exit(1);
    }
}

static inline char *place_guarded(int role, size_t bytes)
{
    protect(role, PROT_READ | PROT_WRITE);
    return at_end ? slots[role] + slot_bytes - bytes : slots[role];
}

/* What is only read cannot be written from now on. */
static inline void protect_inputs(const struct call *call)
{
    for (int i = 0; i < ROLES; i++)
        if (call->arrays[i].present && !call->arrays[i].output)
            protect(i, PROT_READ);
}

#endif
