/* fetch_rows.h: lines of rows that will soon be written or read, asked for so that nothing need wait.
 *
 * Rows of planes are no stream that the processor would follow. */
#ifndef FC_FETCH_ROWS_H
#define FC_FETCH_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "few_kernels.h"
#include "geometry.h"
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

/* Rows that tiles read later and others ask for meanwhile, as many lines with each: a row that begins within one may
 * end in one more, without which 32 channels of 149 x 149 in planes took 7.2 ms on Zen 4, not 5.1. */
struct fc_later_rows {
    const char *first;
    ptrdiff_t step;
    int64_t rows, lines, done, share;
};

static inline struct fc_later_rows fc_plan_later_rows(const char *first, ptrdiff_t step,
                                                      int64_t rows, ptrdiff_t bytes, int64_t tiles)
{
    const bool whole = ((intptr_t)first | step) % FC_CACHE_LINE == 0;
    const int64_t lines = fc_ceil_div(bytes + (whole ? 0 : FC_CACHE_LINE - 1), FC_CACHE_LINE);
    return (struct fc_later_rows){first, step, rows, lines, 0, fc_ceil_div(rows * lines, tiles)};
}

/* What a tile of so many terms asks for. */
static inline struct fc_rows_ahead fc_take_later_rows(struct fc_later_rows *later, int64_t terms)
{
    const int64_t turns = fc_ceil_div(terms, FC_AHEAD_TERMS);
    if (later->done >= later->rows * later->lines)
        return (struct fc_rows_ahead){0};
    const int64_t line = later->done % later->lines;
    const struct fc_rows_ahead ahead = {
        .at = later->first + later->done / later->lines * later->step + line * FC_CACHE_LINE,
        .gap = later->step - later->lines * FC_CACHE_LINE,
        .each = fc_ceil_div(later->share, turns),
        .left = later->lines - line,
        .lines = later->lines,
    };
    later->done += ahead.each * turns;
    return ahead;
}

#endif
