/* stream.h: which results are stored past the caches.
 *
 * A store to a line that no cache holds reads the line from memory first, and later writes one back to
 * make room: two transfers for what a store past the caches does in one. What was stored past them comes
 * from memory when it is read, though, and a store past them to a line that they hold is slow. One thread,
 * GB/s, memory written again and again, and read each time:
 *
 *            26 MB         52 MB         103 MB
 *     stored 29.9, read 29.9    17.5, 25.6    11.0, 21.4
 *     past   23.6, read 19.5    24.7, 19.3    25.0, 18.9
 *
 * so that a result must be larger than what the last cache keeps of one process: half of it, where it has 32
 * to 64 MiB. Above, on a Xeon, layers alone gained up to a quarter from 8 MB on where other processes had
 * filled that cache, but MobileNet's first layers, one reading the other, took 11.7 ms, not 9.0. With 32 MiB
 * (Zen 4) 64 to 256 channels of 56x56 and a pooling that reads them took, for an image, in ms:
 *
 *            13 MB   16 MB   19 MB   26 MB
 *     stored  1.19    1.36    1.40    1.47
 *     past    1.27    1.30    1.28    1.27
 *
 * and MobileNet's first layers 15.1, not 16.7; the 26 MB alone 7.9, not 10.1.
 *
 * Other stores may overtake these: fc_parallel_for waits for them before its loop is done. */
#ifndef FC_STREAM_H
#define FC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"
#include "workspace.h"

/* Bytes of the least result that goes past the caches of this CPU: 16 to 32 MiB. */
int64_t fc_stream_bytes(void);

/* Whether a result of so many bytes goes past the caches; what of it is stored together, `step` bytes apart,
 * then all begins with a line. */
static inline bool fc_streams(const void *y, int64_t bytes, ptrdiff_t step)
{
    return bytes >= fc_stream_bytes() && (uintptr_t)y % FC_CACHE_LINE == 0 &&
           step % FC_CACHE_LINE == 0;
}

/* Whether so many bytes from y on are whole lines, and so are those `step` bytes apart. */
static inline bool fc_whole_lines(const void *y, ptrdiff_t step, ptrdiff_t bytes)
{
    return ((ptrdiff_t)(intptr_t)y | step | bytes) % FC_CACHE_LINE == 0;
}

/* Whether the result of an image with planes is so large; which of its rows are whole lines is left to see. */
static inline bool fc_streams_planes(const fc_image *y, ptrdiff_t element)
{
    const bool any = y->n > 0 && y->h > 0 && y->w > 0; /* if not, any size */
    return any && y->stride_w == 1 && y->n * y->c * y->h * y->w * element >= fc_stream_bytes();
}

/* Whether an image does whose channels lie together, each pixel beginning with a line, or, where `rows`, the
 * pixels of a row, each row beginning with one. */
static inline bool fc_streams_image(const fc_image *y, bool rows, ptrdiff_t element)
{
    const int64_t last = (y->n - 1) * y->stride_n + (y->h - 1) * y->stride_h +
                         (y->w - 1) * y->stride_w + (y->c - 1) * y->stride_c;
    const int64_t across = rows ? y->c : y->w;
    const ptrdiff_t together = rows ? y->stride_w : y->stride_c;
    const ptrdiff_t apart = rows ? y->stride_c : y->stride_w;
    const ptrdiff_t steps =
        (y->n > 1 ? y->stride_n : 0) | (y->h > 1 ? y->stride_h : 0) | (across > 1 ? apart : 0);
    return together == 1 && fc_streams(y->data, last * element, steps * element);
}

#endif
