# Dense layers: matrix products as convolutions with one tap.

cdef str _ROWS = "(n, c_in)"
cdef str _MATRIX = "(c_in, c_out)"

cdef fc_conv2d_params one_tap(fc_dtype dtype) except *:
    """A matrix product is a convolution of a row of pixels with one tap."""
    cdef fc_conv2d_params params
    params.dtype = dtype
    params.strides[0] = params.strides[1] = 1
    params.dilation_rate[0] = params.dilation_rate[1] = 1
    params.padding = padding_word("valid", params.explicit_padding)
    params.padding_mode, params.padding_value = FC_CONSTANT, 0
    params.groups, params.algorithm = 1, FC_AUTO
    return params


def dense(x, kernel, bias=None, *, activation=None, out=None):
    """Multiply rows by a matrix: ``y = activation(x @ kernel + bias)``.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, c_in)
    kernel : ndarray, shape (c_in, c_out)
    bias : ndarray, shape (c_out,), optional
    activation : {None, "relu", "relu6"}
    out : ndarray, shape (n, c_out), optional

    Returns
    -------
    ndarray, shape (n, c_out)
        A row's bits do not depend on the other rows, nor on threads or FMA instruction set.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit; nothing is written then.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import dense
    >>> dense(np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [2.0, -2.0]]), activation="relu")
    array([[5., 0.]])
    """
    cdef cnp.ndarray a = input_array(x, "x", 2, _ROWS)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 2, _MATRIX)
    same_dtype(k, "kernel", a, "x")
    cdef fc_conv2d_params params = one_tap(dtype_of(a))
    cdef fc_image x_image = row_of(a), y_image
    cdef fc_weights weights = weights_of(k)
    cdef fc_epilogue epilogue
    if weights.c_in != x_image.c:
        fail(FC_BAD_CHANNELS, {"x.shape": x.shape, "kernel.shape": kernel.shape})
    epilogue.bias, epilogue.residual = NULL, NULL
    epilogue.activation = activation_word(activation)
    cdef cnp.npy_intp size[2]
    size[0], size[1] = cnp.PyArray_DIM(a, 0), weights.c_out
    cdef cnp.ndarray b, y = output_array(out, "out", 2, size, cnp.PyArray_TYPE(a))
    if bias is not None:
        b = vector_array(bias, "bias", weights.c_out, a, "x")
        epilogue.bias = cnp.PyArray_DATA(b)
    if out is not None:
        no_overlap(out, x, "x")
        no_overlap(out, kernel, "kernel")
        no_overlap(out, bias, "bias")
    y_image = row_of(y)
    cdef fc_status status
    with nogil:
        status = fc_conv2d(&params, &x_image, &weights, &epilogue, &y_image)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape, "kernel.shape": kernel.shape})
    return delivered(out, y)


def dense_backward(dy, x, kernel, *, needs=("x", "kernel", "bias")):
    """Compute the gradients of :func:`dense`: dy @ kernel.T, x.T @ dy and the column sums of dy.

    Parameters
    ----------
    dy : ndarray, shape (n, c_out)
    x : ndarray, shape (n, c_in)
    kernel : ndarray, shape (c_in, c_out)
    needs : tuple of "x", "kernel", "bias"

    Returns
    -------
    Conv2DGradients
        (dx, dkernel, dbias); None for what was not asked.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import dense_backward
    >>> dense_backward(np.ones((1, 2)), np.array([[3.0]]), np.array([[1.0, 2.0]])).dx
    array([[3.]])
    """
    cdef cnp.ndarray d = input_array(dy, "dy", 2, "(n, c_out)")
    cdef cnp.ndarray a = input_array(x, "x", 2, _ROWS)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 2, _MATRIX)
    same_dtype(a, "x", d, "dy")
    same_dtype(k, "kernel", d, "dy")
    cdef fc_conv2d_params params = one_tap(dtype_of(d))
    cdef fc_image dy_image = row_of(d), x_image = row_of(a)
    cdef fc_weights weights = weights_of(k)
    if weights.c_in != x_image.c:
        fail(FC_BAD_CHANNELS, {"x.shape": x.shape, "kernel.shape": kernel.shape})
    if cnp.PyArray_DIM(d, 0) != cnp.PyArray_DIM(a, 0) or dy_image.c != weights.c_out:
        raise _errors.bad_shape("dy", dy.shape, (x.shape[0], weights.c_out))
    cdef GradientArrays gradients = gradient_arrays(needs, a, k, weights.c_out, True)
    cdef fc_status status
    with nogil:
        status = fc_conv2d_backward(&params, &dy_image, &x_image, &weights, gradients.x,
                                    gradients.kernel, gradients.bias)
    if status != FC_OK:
        fail(status, {"dy.shape": dy.shape, "x.shape": x.shape, "kernel.shape": kernel.shape})
    return gradients.result()
