/* pool2d_marks.h: maxima of 2 x 2 windows that share nothing, with what their way back needs to know.
 *
 * A mark has the size of an element and says which of a window's four won, and whether a rectifier whose result
 * x is lets a gradient through to it. So neither x nor a rectifier's way back is needed any more: x, of a first
 * layer the largest array of a step, is memory for the next result as soon as it is pooled. */
#ifndef FC_POOL2D_MARKS_H
#define FC_POOL2D_MARKS_H

#include "fastconv.h"

/* y of fc_pool2d, and its marks, laid out as y may be; nothing is written where *done is false: windows or images
 * are others. */
fc_status fc_pool2d_marked(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                           const fc_image *marks, bool *done);

/* The bits of marks by which an activation's way back stops what goes to a window. */
int64_t fc_pool2d_stops(fc_activation activation);

/* dx of fc_pool2d, of what fc_activation_backward lets through: x is the activation's result. *done as before. */
fc_status fc_pool2d_marked_backward(const fc_pool2d_params *params, const fc_image *dy,
                                    const fc_image *marks, fc_activation activation,
                                    const fc_image *dx, bool *done);

#endif
