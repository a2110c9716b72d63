/* winograd_turns.c: what the products of a block with a piece of the kernel are, position by position. */
#include "winograd_turns.h"

/* Groups of tiles as equal as can be, or as V has them. */
static void cut_groups(const struct fc_winograd_layout *layout, int64_t tiles, int64_t most,
                       struct fc_winograd_turn *turn)
{
    turn->few = layout->few > most ? fc_ceil_div(tiles, fc_ceil_div(tiles, most)) : layout->few;
    turn->groups = tiles / turn->few;
    turn->left = tiles % turn->few;
    turn->v_group = layout->few > most ? turn->few * FC_SLAB : layout->v_few;
    turn->v = turn->position * layout->v_position + turn->begin * FC_SLAB;
    turn->next_row = tiles > turn->few ? FC_UNIT_BYTES : 2 * FC_UNIT_BYTES;
}

void fc_winograd_take_turns(const struct fc_winograd_plan *plan,
                            const struct fc_winograd_block *block, int64_t piece, int64_t most,
                            struct fc_winograd_turns *turns)
{
    if (turns->piece == piece)
        return;
    const struct fc_winograd_form *form = &plan->form;
    const struct fc_winograd_piece of = fc_winograd_piece_at(form, piece);
    const int64_t sharing = form->positions / fc_winograd_matrices(&of);
    struct fc_winograd_turn *turn = turns->of;
    for (int64_t i = 0; i < form->positions; i++) {
        const int64_t position = fc_winograd_position_of(form, &of, i);
        int64_t end;
        if (!fc_winograd_piece_has(form, &of, position))
            continue;
        fc_winograd_tiles_with(&plan->cut, block, position, &turn->begin, &end);
        if (turn->begin == end)
            continue;
        turn->position = position;
        turn->matrix = i / sharing;
        cut_groups(&plan->layout, end - turn->begin, most, turn);
        turn++;
    }
    *turn = (struct fc_winograd_turn){.matrix = form->positions / sharing,
                                      .v = form->positions * plan->layout.v_position};
    turns->piece = piece;
    turns->count = turn - turns->of;
    for (int64_t i = 0; i < turns->count; i++)
        turns->of[i].next = sharing > 1 ? turns->of[i].matrix + 1 : turns->of[i + 1].matrix;
}
