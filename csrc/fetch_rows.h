/* fetch_rows.h: lines of rows that will soon be written, asked for so that the stores need not wait.
 *
 * Rows of planes are no stream that the processor would follow. */
#ifndef FC_FETCH_ROWS_H
#define FC_FETCH_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "workspace.h"

/* Every line that holds one of `bytes` bytes, at least one, of rows `step` bytes apart. Inline, since gcc
 * leaves out calls of a function that does nothing but fetch. */
static inline __attribute__((always_inline)) void fc_fetch_rows(const char *row, ptrdiff_t step,
                                                                int64_t rows, ptrdiff_t bytes)
{
    for (int64_t r = 0; r < rows; r++, row += step) {
        for (ptrdiff_t byte = 0; byte < bytes - 1; byte += FC_CACHE_LINE)
            __builtin_prefetch(row + byte, 1);
        __builtin_prefetch(row + bytes - 1, 1);
    }
}

#endif
