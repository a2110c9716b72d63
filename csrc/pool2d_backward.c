/* pool2d_backward.c: the gradients of maximum, minimum and average pooling, and who computes which of them.
 *
 * An average's is a pass of its own that reads each output's gradient where it is wanted. That of a maximum is
 * gathered by the elements from the windows that they won, or scattered to the windows' winners: both add up in
 * the order of the windows. */
#include "parallel.h"
#include "pool2d_avg_dx.h"
#include "pool2d_fold.h"
#include "pool2d_halves_dx.h"
#include "pool2d_lines.h"
#include "pool2d_max_dx.h"
#include "pool2d_means.h"
#include "pool2d_pass.h"
#include "pool2d_pixel_strips.h"
#include "pool2d_planes.h"
#include "pool2d_quads.h"
#include "pool2d_scatter_dx.h"
#include "pool2d_search_dx.h"
#include "pool2d_whole_dx.h"

static fc_status check(const fc_pool2d_params *params, const fc_image *dy, const fc_image *x,
                       const fc_image *indices, const fc_image *dx, struct fc_window *window)
{
    if (!params || !dy || !dx || (params->pooling != FC_AVG && !x && !indices))
        return FC_BAD_ARGUMENT;
    fc_status status = fc_check_image(dy, params->dtype);
    if (status == FC_OK)
        status = fc_check_image(dx, params->dtype);
    if (status == FC_OK && x)
        status = fc_check_image(x, params->dtype);
    if (status == FC_OK && indices)
        status = fc_check_image(indices, FC_FLOAT64);
    if (status == FC_OK)
        status = fc_pool2d_window(params, dx->h, dx->w, window);
    if (status != FC_OK)
        return status;
    const int64_t y_h = window->axis[0].out, y_w = window->axis[1].out;
    if (!fc_image_is(dy, dx->n, y_h, y_w, dx->c) ||
        (x && !fc_image_is(x, dx->n, dx->h, dx->w, dx->c)) ||
        (indices && !fc_image_is(indices, dx->n, y_h, y_w, dx->c)))
        return FC_BAD_SHAPE;
    return fc_current_isa() ? FC_OK : FC_BAD_ARGUMENT;
}

/* Windows that share nothing and are so large that searching them is all the work: what is left is to
 * clear dx and to write few elements. */
static bool is_sparse(const struct fc_window *window, bool searched)
{
    enum { MANY_TAPS = 8 };
    const struct fc_axis *vertical = &window->axis[0], *horizontal = &window->axis[1];
    const bool apart = (vertical->out == 1 || vertical->stride >= vertical->taps) &&
                       (horizontal->out == 1 || horizontal->stride >= horizontal->taps);
    return searched && apart && vertical->dilation == 1 && horizontal->dilation == 1 &&
           vertical->taps > MANY_TAPS / horizontal->taps;
}

/* Whether elements of dx look for what stored indices give them: a vector of channels among few windows that
 * overlap. Else gradients are scattered: 13 x 13 windows of 13 x 13 take a tenth of the time so. */
static bool gathers(const struct fc_pool2d_pass *pass, const fc_image *dx)
{
    enum { FEW_TAPS = 9 };
    const struct fc_axis *vertical = &pass->axis[0].axis, *horizontal = &pass->axis[1].axis;
    return dx->stride_c == 1 && dx->c >= fc_unit(pass->dtype) &&
           vertical->taps <= FEW_TAPS / horizontal->taps && vertical->stride < vertical->taps &&
           horizontal->stride < horizontal->taps;
}

/* dx by fc_pool2d_max_dx, with planes merged where they may be. */
static fc_status take_gradients(const struct fc_pool2d_pass *search,
                                const struct fc_pool2d_axis adjoint[2], const fc_image *dy,
                                const fc_image *indices, const fc_image *dx, bool *done)
{
    fc_status status = fc_pool2d_lines_dx(search, dy, indices, dx, done);
    if (!*done && status == FC_OK)
        status = fc_pool2d_halves_dx(search, dy, indices, dx, done);
    if (!*done && status == FC_OK)
        status = fc_pool2d_halves_planes_dx(search, dy, indices, dx, done);
    if (!*done && status == FC_OK && !indices)
        status = fc_pool2d_search_dx(search, dy, dx, done);
    if (!*done && status == FC_OK && !indices)
        status = fc_pool2d_planes_max_dx(search, dy, dx, done);
    if (*done || status != FC_OK || (indices && !gathers(search, dx)))
        return status;
    struct fc_pool2d_pass pass = *search;
    fc_image dy_planes = *dy, dx_planes = *dx, index_planes;
    if (indices)
        index_planes = *indices;
    fc_pool2d_merge_planes((fc_image *[]){&pass.x, &dy_planes, &dx_planes, &index_planes},
                           indices ? 4 : 3);
    return fc_pool2d_max_dx(&pass, adjoint, &dy_planes, indices ? &index_planes : NULL, &dx_planes,
                            done);
}

/* Whoever takes some kinds of windows or images of an average, those first that are faster at what both do. */
static fc_status (*const TAKERS[])(const struct fc_pool2d_pass *pass, const fc_image *dy,
                                   const fc_image *dx, bool *done) = {
    fc_pool2d_means_dx,
    fc_pool2d_pixel_strips_dx,
    fc_pool2d_avg_dx,
    fc_pool2d_avg_planes_dx,
};

static fc_status average(struct fc_pool2d_pass *pass, const fc_image *dy, const fc_image *dx)
{
    if (fc_pool2d_is_whole(pass))
        return fc_global_avg_pool2d_backward(pass->dtype, dy, dx);
    fc_status status = FC_OK;
    bool done = false;
    for (size_t i = 0; i < sizeof TAKERS / sizeof *TAKERS && !done && status == FC_OK; i++)
        status = TAKERS[i](pass, dy, dx, &done);
    if (done || status != FC_OK)
        return status;
    pass->x = *dy;
    pass->y = *dx;
    fc_pool2d_merge_planes((fc_image *[]){&pass->x, &pass->y}, 2);
    status = fc_pool2d_plan(pass);
    return status == FC_OK ? fc_pool2d_run(pass, dx->data, NULL) : status;
}

/* Of a maximum or minimum; where dx has no pixels windows lie in padding alone, and indices are asked about. */
static fc_status extreme(const struct fc_pool2d_pass *pass, const struct fc_window *window,
                         const fc_image *dy, const fc_image *indices, const fc_image *dx)
{
    fc_status status = FC_OK;
    bool done = false;
    if (!indices)
        status = fc_pool2d_whole_dx(pass, dy, dx, &done);
    if (done || status != FC_OK)
        return status;
    struct fc_pool2d_axis adjoint[2];
    for (int d = 0; d < 2; d++)
        fc_pool2d_axis_set(&adjoint[d], &window->axis[d], true);
    if (dx->h > 0 && dx->w > 0 && !is_sparse(window, !indices))
        status = take_gradients(pass, adjoint, dy, indices, dx, &done);
    return done || status != FC_OK ? status
                                   : fc_pool2d_scatter_dx(pass, &adjoint[0], dy, indices, dx);
}

fc_status fc_pool2d_backward(const fc_pool2d_params *params, const fc_image *dy, const fc_image *x,
                             const fc_image *indices, const fc_image *dx)
{
    struct fc_window window;
    fc_status status = check(params, dy, x, indices, dx, &window);
    if (status != FC_OK || dx->n == 0 || dx->c == 0)
        return status;
    const bool is_average = params->pooling == FC_AVG;
    if ((dx->h == 0 || dx->w == 0) && (is_average || !indices))
        return FC_OK;
    struct fc_pool2d_pass pass = {.pooling = params->pooling,
                                  .dtype = params->dtype,
                                  .adjoint = is_average,
                                  .include_pad = params->count_include_pad,
                                  .numbered = !is_average,
                                  .targets_packed = !is_average,
                                  .kernels = fc_current_kernels(params->dtype)};
    for (int d = 0; d < 2; d++)
        fc_pool2d_axis_set(&pass.axis[d], &window.axis[d], is_average);
    bool done;
    pass.x = x ? *x : *dx;
    status = fc_pool2d_quads_dx(&pass, dy, indices, dx, &done);
    if (done || status != FC_OK)
        return status;
    return is_average ? average(&pass, dy, dx) : extreme(&pass, &window, dy, indices, dx);
}
