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
 * so that a result must be larger than what the last cache keeps of one process. Above, on a Xeon, layers alone
 * gained up to a quarter from 8 MB on where other processes had filled that cache, but MobileNet's first layers, one
 * reading the other, took 11.7 ms, not 9.0: 32 MB there. With 32 MiB (Zen 4) a quarter of it is the better, since x
 * passes through the cache as well. 13 MB of y, and what reads it, in ms:
 *
 *                                              1x1   depthwise   ReLU   max pooling
 *     1x1, 64 to 128 channels, 56x56   stored    8.6      6.4       5.7       5.0
 *                                      past      8.3      4.9       5.3       5.1
 *     1x1 s2, 256 to 512 channels      stored   30.5     17.6      17.2      17.1
 *                                      past     29.7     16.9      16.5      16.4
 *
 * and the latter alone 15.1, not 16.0; 3x3 max pooling's gradient 0.8, not 1.5. Of 6 MB a pooling that reads them loses
 * a tenth, and a convolution gains as much.
 *
 * Other stores may overtake these: fc_parallel_for waits for them before its loop is done. */
#ifndef FC_STREAM_H
#define FC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fastconv.h"
#include "workspace.h"

/* Bytes of the least result that goes past the caches of this CPU: 8 to 32 MiB. */
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

/* Whether images are so large that they come from memory; empty ones may have any size. */
static inline bool fc_is_far(const fc_image *x, ptrdiff_t element)
{
    const bool any = x->n > 0 && x->h > 0 && x->w > 0;
    return any && x->n * x->c * x->h * x->w * element >= fc_stream_bytes();
}

/* Whether planes of a result are; which of its rows are whole lines is left to see. */
static inline bool fc_streams_planes(const fc_image *y, ptrdiff_t element)
{
    return y->stride_w == 1 && fc_is_far(y, element);
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
