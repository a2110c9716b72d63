/* pool2d.c: maximum, minimum and average pooling, forward. */
#include "pool2d_fold.h"
#include "pool2d_halves_forward.h"
#include "pool2d_lines.h"
#include "pool2d_means.h"
#include "pool2d_pixel_strips.h"
#include "pool2d_planes.h"
#include "pool2d_quads.h"
#include "pool2d_sweep.h"

static fc_status quads(const struct fc_pool2d_pass *pass, const fc_image *y, bool *done)
{
    return fc_pool2d_quads_forward(pass, y, NULL, done);
}

/* Whoever takes some kinds of windows or images, those first that are faster at what both do. */
static fc_status (*const TAKERS[])(const struct fc_pool2d_pass *pass, const fc_image *y,
                                   bool *done) = {
    quads,
    fc_pool2d_fold_forward,
    fc_pool2d_lines_forward,
    fc_pool2d_means_forward,
    fc_pool2d_pixel_strips_forward,
    fc_pool2d_sweep_forward,
    fc_pool2d_halves_forward,
    fc_pool2d_planes_forward,
};

fc_status fc_pool2d(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                    const fc_image *indices)
{
    struct fc_window window;
    fc_status status = fc_pool2d_check(params, x, y, indices, FC_FLOAT64, &window);
    if (status == FC_OK && !fc_current_isa())
        return FC_BAD_ARGUMENT;
    if (status != FC_OK || x->n == 0 || x->c == 0)
        return status;
    struct fc_pool2d_pass pass = {.pooling = params->pooling,
                                  .dtype = params->dtype,
                                  .include_pad = params->count_include_pad,
                                  .numbered = indices != NULL,
                                  .x = *x,
                                  .y = *y,
                                  .kernels = fc_current_kernels(params->dtype)};
    if (indices)
        pass.indices = *indices;
    for (int d = 0; d < 2; d++)
        fc_pool2d_axis_set(&pass.axis[d], &window.axis[d], false);
    bool done = false;
    for (size_t i = 0; i < sizeof TAKERS / sizeof *TAKERS && !done && status == FC_OK; i++)
        status = TAKERS[i](&pass, y, &done);
    if (done || status != FC_OK)
        return status;
    fc_pool2d_merge_planes((fc_image *[]){&pass.x, &pass.y, &pass.indices}, indices ? 3 : 2);
    status = fc_pool2d_plan(&pass);
    return status == FC_OK ? fc_pool2d_run(&pass, y->data, indices ? indices->data : NULL) : status;
}
