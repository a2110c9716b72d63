/* pool2d_winners.h: the winners of windows, from the indices that were stored forward. */
#ifndef FC_POOL2D_WINNERS_H
#define FC_POOL2D_WINNERS_H

#include "pool2d_pass.h"

/* Whether an index tells the tap that won, for windows of this pass. */
bool fc_pool2d_tells_winners(const struct fc_pool2d_pass *pass);

/* Bytes of scratch that fc_pool2d_take_winners needs for that many rows of windows. */
size_t fc_pool2d_winner_bytes(const struct fc_pool2d_pass *pass, const fc_image *indices,
                              int64_t rows);

/* numbers[row][column][channel] = the tap that index names, row by row of the window, or -1, for the
 * windows of a block: whole rows, packed. False: an index lies outside its window. */
bool fc_pool2d_take_winners(const struct fc_pool2d_pass *pass, const struct fc_pool2d_block *block,
                            const fc_image *indices, char *numbers, char *scratch);

#endif
