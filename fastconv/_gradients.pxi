# The arrays of a backward call: made for the gradients that are asked for.


class Conv2DGradients(_namedtuple("Conv2DGradients", ("dx", "dkernel", "dbias"))):
    """Gradients of a convolution by its input, kernel and bias; None for what was not asked."""

    __slots__ = ()


cdef class GradientArrays:
    """dx like x, dkernel like kernel and dbias; the pointers are NULL for what is not needed."""

    cdef cnp.ndarray dx, dkernel, dbias
    cdef fc_image x_image
    cdef fc_weights weights
    cdef fc_image *x
    cdef fc_weights *kernel
    cdef void *bias

    cdef object result(self):
        return Conv2DGradients(self.dx, self.dkernel, self.dbias)


cdef GradientArrays gradient_arrays(object needs, cnp.ndarray x, cnp.ndarray kernel,
                                    cnp.npy_intp c_out, bint channels_last):
    """x is a batch of images or a matrix of rows; kernel has 4 dimensions or 2."""
    cdef bint need_x, need_kernel, need_bias
    needed(needs, &need_x, &need_kernel, &need_bias)
    cdef GradientArrays made = GradientArrays.__new__(GradientArrays)
    if need_x:
        made.dx = like(x)
        made.x_image = (image_of(made.dx, channels_last) if cnp.PyArray_NDIM(x) == 4
                        else row_of(made.dx))
        made.x = &made.x_image
    if need_kernel:
        made.dkernel = like(kernel)
        made.weights = weights_of(made.dkernel)
        made.kernel = &made.weights
    if need_bias:
        made.dbias = cnp.PyArray_EMPTY(1, &c_out, cnp.PyArray_TYPE(x), 0)
        made.bias = cnp.PyArray_DATA(made.dbias)
    return made
