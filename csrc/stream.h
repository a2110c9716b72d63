/* stream.h: which results are stored past the caches.
 *
 * A store to a line that no cache holds reads the line from memory first, and later writes one back to
 * make room: two transfers for what a store past the caches does in one. */
#ifndef FC_STREAM_H
#define FC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of smaller results, whoever comes next finds a good part in a cache. */
enum { FC_STREAM_BYTES = 8 << 20 };

/* Whether a result of so many bytes goes past the caches; its vectors, `step` bytes apart, then all begin
 * with a line. */
static inline bool fc_streams(const void *y, int64_t bytes, ptrdiff_t step)
{
    return bytes >= FC_STREAM_BYTES && (uintptr_t)y % 64 == 0 && step % 64 == 0;
}

#endif
