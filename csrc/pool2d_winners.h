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

/* An entry of a table of whole numbers as wide as the elements of dtype. */
void fc_pool2d_set_entry(void *table, fc_dtype dtype, int64_t at, int64_t value);

/* Where the windows of a row of columns begin, and which of their taps lie on the image. */
struct fc_pool2d_origins {
    fc_dtype dtype;
    struct fc_axis axis[2];
    int64_t channels; /* of a column, which lie together */
    const char *tables;
};

size_t fc_pool2d_origin_bytes(const struct fc_pool2d_origins *self);
void fc_pool2d_set_origins(struct fc_pool2d_origins *self, void *tables);

/* What tells the winners of a row of windows; planes, their distances, index and numbers are left to the caller.
 * False where no tap lies on the image. */
bool fc_pool2d_name_row(const struct fc_pool2d_origins *self, int64_t row, const fc_image *indices,
                        struct fc_pool2d_names *names);

#endif
