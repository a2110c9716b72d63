/* pool2d_fold.c: windows that are whole planes, which lie in one run each. */
#include "pool2d_fold.h"

#include "parallel.h"

enum { ITEM = 1 << 15 }; /* elements of x that an item reads */

struct work {
    const struct fc_pool2d_pass *pass;
    const fc_image *y;
    int64_t share, shares; /* planes of an item, and items of an image */
};

static void fold_item(void *context, int64_t item, int worker)
{
    (void)worker;
    const struct work *work = context;
    const struct fc_pool2d_pass *pass = work->pass;
    const fc_image *x = &pass->x, *y = work->y;
    const size_t size = fc_element_size(pass->dtype);
    const int64_t n = item / work->shares, c = item % work->shares * work->share;
    struct fc_pool2d_fold fold = {.x = fc_image_at(x, size, n, 0, 0, c),
                                  .y = fc_image_at(y, size, n, 0, 0, c),
                                  .planes = fc_min(work->share, x->c - c),
                                  .elements = x->h * x->w,
                                  .x_plane = x->stride_c,
                                  .y_plane = y->stride_c,
                                  .index_plane = pass->indices.stride_c,
                                  .divisor = (double)x->h * (double)x->w};
    if (pass->numbered)
        fold.index = (int64_t *)(void *)fc_image_at(&pass->indices, sizeof *fold.index, n, 0, 0, c);
    pass->kernels->pool2d.fold[pass->pooling](&fold);
}

fc_status fc_pool2d_fold_planes(const struct fc_pool2d_pass *pass, const fc_image *y)
{
    const fc_image *x = &pass->x;
    struct work work = {.pass = pass, .y = y};
    work.share = fc_ceil_div(ITEM, x->h * x->w * FC_POOL2D_CHAINS) * FC_POOL2D_CHAINS;
    work.shares = fc_ceil_div(x->c, work.share);
    const int64_t items = x->n * work.shares;
    const double elements = (double)x->n * (double)x->c * (double)x->h * (double)x->w;
    fc_parallel_for(items, fc_parallel_width(items, FC_WORK_PER_TAP * elements), FC_KEEP_DENORMALS,
                    fold_item, &work);
    return FC_OK;
}

fc_status fc_pool2d_fold_forward(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done)
{
    const fc_image *x = &pass->x;
    *done = pass->pooling != FC_AVG && fc_pool2d_is_run(x) && fc_pool2d_is_whole(pass) &&
            x->h * x->w >= FC_POOL2D_CHAINS && (!pass->numbered || x->h <= FC_POOL2D_FOUND / x->w);
    return *done ? fc_pool2d_fold_planes(pass, y) : FC_OK;
}
