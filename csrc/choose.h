/* choose.h: which algorithm computes a convolution. */
#ifndef FC_CHOOSE_H
#define FC_CHOOSE_H

#include "convolve.h"

enum { FC_DIRECT_FORM = -1, FC_FEW_FORM = -2 }; /* the latter: winograd_few.h */

/* What is computed: y or dx with a bare kernel, y with a packed one, or dkernel. */
enum fc_pass { FC_PASS_CALLED, FC_PASS_PACKED, FC_PASS_DKERNEL };

/* Whether a form of Winograd computes the convolution and its gradients. */
bool fc_winograd_possible(const struct fc_convolution *convolution);

/* The form of Winograd to take (winograd.h), FC_FEW_FORM or FC_DIRECT_FORM. It follows from the geometry of one
 * sample, the dtype and the pass alone: not from the batch, the threads or the instruction set. Where
 * the algorithm is FC_WINOGRAD, one must be possible. */
int fc_choose_form(fc_algorithm algorithm, enum fc_pass pass,
                   const struct fc_convolution *convolution);

/* y of a convolution or an input gradient, in a form, with what its kernel was transformed to beforehand or NULL. */
fc_status fc_convolve_in_form(int form, const struct fc_convolution *convolution,
                              const void *transformed);

/* The same by the algorithm chosen for a bare kernel. */
fc_status fc_convolve_by(fc_algorithm algorithm, const struct fc_convolution *convolution);

#endif
