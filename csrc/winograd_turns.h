/* winograd_turns.h: what the products of a block with a piece of the kernel are, position by position.
 *
 * It is the same for all panels and groups that meet a block, and found once: of 16 channels to 16 outputs, where the
 * products of a position are as few as 32 tiles', finding it for each of them took a tenth of the call. */
#ifndef FC_WINOGRAD_TURNS_H
#define FC_WINOGRAD_TURNS_H

#include "winograd_plan.h"

enum { FC_WINOGRAD_MOST_POSITIONS = 64 /* F(6x6,3x3) */ };

/* A position that the piece and some tiles of the block have: from tile `begin` on `groups` groups of `few`, and
 * `left` tiles more. */
struct fc_winograd_turn {
    int64_t position, begin;
    int64_t few, groups, left;
    int64_t matrix, next; /* of the piece's: its own, and the one that is fetched meanwhile */
    ptrdiff_t v;          /* where in V it begins */
    ptrdiff_t v_group, next_row; /* of fc_winograd_product */
};

/* Those of a piece, -1 where none is chosen yet, and one behind them, where nothing begins. */
struct fc_winograd_turns {
    int64_t piece, count;
    struct fc_winograd_turn of[FC_WINOGRAD_MOST_POSITIONS + 1];
};

/* Sets them to those of a piece, unless they are; `most` tiles are multiplied at once. */
void fc_winograd_take_turns(const struct fc_winograd_plan *plan,
                            const struct fc_winograd_block *block, int64_t piece, int64_t most,
                            struct fc_winograd_turns *turns);

#endif
