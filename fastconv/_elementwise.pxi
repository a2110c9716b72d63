# Elementwise functions with the same bits on every CPU.


cdef cnp.ndarray contiguous_floats(object x, str name="x"):
    """x as a C-contiguous array of native float32 or float64, of any rank."""
    if not cnp.PyArray_Check(x) or is_masked(x):
        raise _errors.not_an_array(name, x)
    cdef cnp.ndarray a = input_array(x, name, cnp.PyArray_NDIM(x), "")
    return cnp.PyArray_GETCONTIGUOUS(a)


cdef object elementwise(fc_function function, object x):
    cdef cnp.ndarray a = contiguous_floats(x), y = like(a)
    cdef fc_status status
    cdef int64_t count = cnp.PyArray_SIZE(a)
    cdef void *source = cnp.PyArray_DATA(a)
    cdef void *target = cnp.PyArray_DATA(y)
    cdef fc_dtype dtype = dtype_of(a)
    with nogil:
        status = fc_elementwise(dtype, function, count, source, target)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape})
    return y


def exp(x):
    """Compute e ** x of each element, with the same bits on every CPU with FMA.

    Parameters
    ----------
    x : ndarray of float32 or float64

    Returns
    -------
    ndarray, shape and dtype of x

    Raises
    ------
    TypeError
        For anything but an ndarray of float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import exp
    >>> exp(np.array([0.0, -np.inf]))
    array([1., 0.])
    """
    return elementwise(FC_EXP, x)


def log(x):
    """Compute the natural logarithm of each element, with the same bits on every CPU with FMA.

    Parameters
    ----------
    x : ndarray of float32 or float64

    Returns
    -------
    ndarray, shape and dtype of x
        -inf for 0, NaN below 0.

    Raises
    ------
    TypeError
        For anything but an ndarray of float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import log
    >>> log(np.array([1.0, 0.0]))
    array([  0., -inf])
    """
    return elementwise(FC_LOG, x)


def tanh(x):
    """Compute the hyperbolic tangent of each element, with the same bits on every CPU with FMA.

    Parameters
    ----------
    x : ndarray of float32 or float64

    Returns
    -------
    ndarray, shape and dtype of x

    Raises
    ------
    TypeError
        For anything but an ndarray of float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import tanh
    >>> tanh(np.array([0.0, np.inf]))
    array([0., 1.])
    """
    return elementwise(FC_TANH, x)


def sigmoid(x):
    """Compute 1 / (1 + exp(-x)) of each element, with the same bits on every CPU with FMA.

    Parameters
    ----------
    x : ndarray of float32 or float64

    Returns
    -------
    ndarray, shape and dtype of x

    Raises
    ------
    TypeError
        For anything but an ndarray of float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import sigmoid
    >>> sigmoid(np.array([0.0, -np.inf]))
    array([0.5, 0. ])
    """
    return elementwise(FC_SIGMOID, x)


def softmax(x):
    """Compute exp(x) / sum(exp(x)) over the last axis, with the same bits on every CPU with FMA.

    Parameters
    ----------
    x : ndarray of float32 or float64, at least one dimension

    Returns
    -------
    ndarray, shape and dtype of x
        Rows are shifted by their maximum first; a row's bits do not depend on the other rows.

    Raises
    ------
    TypeError
        For anything but an ndarray of float32 or float64.
    ValueError
        For an array without dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import softmax
    >>> softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    cdef cnp.ndarray a = contiguous_floats(x), y
    cdef int rank = cnp.PyArray_NDIM(a)
    if rank == 0:
        raise _errors.bad_rank("x", x.shape, "(..., classes)")
    y = like(a)
    cdef int64_t columns = cnp.PyArray_DIM(a, rank - 1)
    cdef int64_t rows = cnp.PyArray_SIZE(a) // columns if columns else 0
    cdef void *source = cnp.PyArray_DATA(a)
    cdef void *target = cnp.PyArray_DATA(y)
    cdef fc_dtype dtype = dtype_of(a)
    cdef fc_status status
    with nogil:
        status = fc_softmax(dtype, rows, columns, source, target)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape})
    return y


def activation_backward(dy, y, activation):
    """Compute the gradient through the activation of :func:`conv2d` and :func:`dense`.

    ``dx = dy`` where ``y > 0`` ("relu") or ``0 < y < 6`` ("relu6"), and +0 elsewhere, where y is the
    result of the activation; a y of NaN lets nothing through. With None, dx is a copy of dy.

    Parameters
    ----------
    dy : ndarray of float32 or float64, shape of y
    y : ndarray, dtype of dy
    activation : {None, "relu", "relu6"}

    Returns
    -------
    ndarray, shape and dtype of y

    Raises
    ------
    TypeError
        For anything but ndarrays of float32 or float64, both of one dtype.
    ValueError
        For another activation, or a dy of another shape than y's.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import activation_backward
    >>> activation_backward(np.array([1.0, 2.0, 3.0]), np.array([0.0, 5.0, 6.0]), "relu6")
    array([0., 2., 0.])
    """
    cdef cnp.ndarray g = contiguous_floats(dy, "dy"), a = contiguous_floats(y, "y"), dx
    same_dtype(a, "y", g, "dy")
    if dy.shape != y.shape:
        raise _errors.bad_shape("dy", dy.shape, y.shape)
    dx = like(g)
    cdef int64_t count = cnp.PyArray_SIZE(g)
    cdef void *gradient = cnp.PyArray_DATA(g)
    cdef void *result = cnp.PyArray_DATA(a)
    cdef void *target = cnp.PyArray_DATA(dx)
    cdef fc_dtype dtype = dtype_of(g)
    cdef fc_activation word = activation_word(activation)
    cdef fc_status status
    with nogil:
        status = fc_activation_backward(dtype, word, count, gradient, result, target)
    if status != FC_OK:
        fail(status, {"y.shape": y.shape})
    return dx
