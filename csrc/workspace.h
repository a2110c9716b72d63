/* workspace.h: scratch memory, aligned to a cache line and reused by the next call of a thread.
 *
 * The calling thread takes the scratch of all workers at once, before the loop begins: there is one
 * place a call where memory can be missing, and workers cannot fail. */
#ifndef FC_WORKSPACE_H
#define FC_WORKSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"

enum { FC_CACHE_LINE = 64 };

/* Rounds a count of bytes up to whole cache lines. */
static inline size_t fc_round_to_line(size_t bytes)
{
    return (bytes + FC_CACHE_LINE - 1) / FC_CACHE_LINE * FC_CACHE_LINE;
}

/* NULL where there is no memory. The contents are undefined. Each is given back by a release on the
 * same thread; one may be taken while another is held. */
void *fc_workspace_acquire(size_t bytes);

/* The same for what a call has once and what each of its workers has, one after the other. */
fc_status fc_workspace_divide(size_t shared, size_t each, int64_t workers, char **scratch);

void fc_workspace_release(void *scratch);

#endif
