/* pool2d_pass.h: one pass of windows over images, which is what every pooling comes to: a maximum,
 * a minimum or an average forward, and the gradient of an average, which sums the other way round.
 *
 * A pass works on lanes: outputs that lie together. In a wide pass they are channels, where there
 * are enough of them; in a narrow one they are columns, each with its few channels. Sources that do
 * not lie so are staged: copied into scratch, in blocks of a bounded size, and for a narrow pass of
 * stride s parted into s phases (column % s), so that neighbouring outputs read neighbouring
 * elements. None of that changes a bit of the result. */
#ifndef FC_POOL2D_PASS_H
#define FC_POOL2D_PASS_H

#include <stddef.h>

#include "dispatch.h"
#include "parallel.h"
#include "pool2d_axis.h"

struct fc_pool2d_pass {
    /* What is wanted. */
    fc_pooling pooling;
    fc_dtype dtype;
    bool adjoint; /* sources are divided before they are summed; else sums are divided */
    bool include_pad;
    bool numbered;       /* indices of the winners are wanted too */
    bool targets_packed; /* targets go to the caller's scratch, [row][column][channel] of a block */
    bool tap_numbers; /* indices are left as the kernel's numbers, which grow so from tap to tap: */
    ptrdiff_t number_step[2]; /* from a row of the window to the next, and to the next column */
    bool few;                 /* channels that lie together are lanes however few they are */
    struct fc_pool2d_axis axis[2];
    fc_image x;       /* the sources */
    fc_image y;       /* the targets; data is not used */
    fc_image indices; /* where numbered; data is not used */
    const struct fc_kernels *kernels;

    /* How it is done: filled by fc_pool2d_plan. */
    bool wide, direct_x, direct_y;
    bool piecewise;                  /* windows that cannot be staged whole are walked row by row */
    int64_t rows, columns, channels; /* of a block of targets, at most */
    int64_t phases, phase_columns;   /* of a staged row; its pixels are packed */
    int64_t line_columns;            /* of each class of columns (column % period) of a line */
    size_t stage_bytes, line_bytes, number_bytes;
};

/* Targets [row, row_end) x [column, column_end) of channels [channel, channel + channels) of an
 * image. */
struct fc_pool2d_block {
    int64_t image, row, row_end, column, column_end, channel, channels;
};

enum { FC_POOL2D_PIECE = 1024 }; /* elements of a row of a window that are summed in one chain */

/* Chooses lanes and block sizes. FC_OVERFLOW: numbers of a window's elements exceed 31 bits. */
fc_status fc_pool2d_plan(struct fc_pool2d_pass *pass);

/* Winners are told by numbers of taps, in packed targets. */
static inline void fc_pool2d_number_taps(struct fc_pool2d_pass *pass, ptrdiff_t row_step,
                                         ptrdiff_t column_step)
{
    pass->numbered = pass->targets_packed = pass->tap_numbers = true;
    pass->number_step[0] = row_step;
    pass->number_step[1] = column_step;
}

/* Planes of a batch of few channels each, and without gaps, become those of one image, where all the
 * images have them: windows know neither images nor channels, and so the lanes are filled. */
void fc_pool2d_merge_planes(fc_image *const *images, int count);

/* Bytes of scratch that fc_pool2d_run_block needs. */
static inline size_t fc_pool2d_scratch(const struct fc_pool2d_pass *pass)
{
    return pass->stage_bytes + pass->line_bytes + pass->number_bytes;
}

/* Fills a block of targets; y and indices point to its first element, indices may be NULL where
 * numbered is not set. With tap_numbers, indices are elements of the size of y's and laid out as
 * they are; whole vectors of them are written. */
void fc_pool2d_run_block(const struct fc_pool2d_pass *pass, const struct fc_pool2d_block *block,
                         void *y, int64_t *indices, void *scratch);

/* Fills all targets, on all threads that it is worth. */
fc_status fc_pool2d_run(const struct fc_pool2d_pass *pass, void *y, int64_t *indices);

/* Threads for a gradient in so many items: each number of dx and of dy is met. */
int fc_pool2d_dx_width(int64_t items, const fc_image *dy, const fc_image *dx);

/* Runs them, with memory for each worker, which *scratch is while they run. */
fc_status fc_pool2d_run_dx(int64_t items, const fc_image *dy, const fc_image *dx,
                           size_t worker_bytes, char **scratch, fc_task *task, void *context);

/* Windows of few taps as tables, which tiles that differ by where they lie have in common. */
struct fc_pool2d_table {
    struct fc_pool2d_window window;
    int64_t phase;
};

/* The rows of x that the next row of targets has to itself, from `row` on, asked for while a row of so many is
 * filled. */
struct fc_lines_ahead fc_pool2d_rows_ahead(const struct fc_pool2d_pass *pass,
                                           const struct fc_pool2d_block *block, int64_t row,
                                           int64_t columns);

/* Fills a tile, of few taps by a table that was kept from one of the same steps, or is all zero. */
void fc_pool2d_run_tile(const struct fc_pool2d_pass *pass, const struct fc_pool2d_tile *tile,
                        struct fc_pool2d_table *table);

/* The strides of an image's rows and pixels, where there is one. */
static inline void fc_pool2d_steps(const fc_image *image, ptrdiff_t *row, ptrdiff_t *pixel)
{
    if (image) {
        *row = image->stride_h;
        *pixel = image->stride_w;
    }
}

/* Some channels of image n, which then is the first. */
static inline fc_image fc_pool2d_channels(const fc_image *image, size_t size, int64_t n,
                                          int64_t channel, int64_t channels)
{
    fc_image some = *image;
    some.data = fc_image_at(image, size, n, 0, 0, channel);
    some.c = channels;
    return some;
}

#endif
