/* lines_ahead.h: memory that is used soon, and is asked for meanwhile. */
#ifndef FC_LINES_AHEAD_H
#define FC_LINES_AHEAD_H

#include <stdint.h>

/* Cache lines from `data` on, so many with each step of what is computed meanwhile. */
struct fc_lines_ahead {
    const char *data;
    int64_t lines;
};

#endif
