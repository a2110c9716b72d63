# Pooling: maximum, minimum, average; windows and whole images; forward and backward.


# The arguments that a message may tell, in the order of the tuples below.
cdef tuple _POOL_WORDS = ("pool_size", "strides", "padding", "dilation_rate", "ceil_mode",
                          "data_format")


cdef int pool2d_words(fc_pool2d_params *params, fc_pooling pooling, object pool_size,
                      object strides, object padding, object dilation_rate,
                      object ceil_mode) except -1:
    params.pooling = pooling
    pair(pool_size, "pool_size", params.pool_size)
    pair(pool_size if strides is None else strides, "strides", params.strides)
    pair(dilation_rate, "dilation_rate", params.dilation_rate)
    params.padding = padding_word(padding, params.explicit_padding)
    params.ceil_mode = flag(ceil_mode, "ceil_mode")
    params.count_include_pad = False
    return 0


cdef object pool2d(fc_pool2d_params *params, object x, object out, bint last, bint indices,
                   tuple words):
    """y, or (y, indices)."""
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES), y, winners = None
    cdef fc_image x_image = image_of(a, last), y_image, index_image
    cdef fc_image *index_given = NULL
    params.dtype = dtype_of(a)
    y_image.n, y_image.c = x_image.n, x_image.c
    cdef fc_status status = fc_pool2d_output_size(params, x_image.h, x_image.w, &y_image.h,
                                                  &y_image.w)
    if status == FC_OK:
        status = countable(&y_image)
    if status == FC_OK:
        y = output_image(out, "out", &y_image, last, cnp.PyArray_TYPE(a))
        if out is not None:
            no_overlap(out, x, "x")
        if indices:
            winners = output_image(None, "indices", &y_image, last, cnp.NPY_INT64)
            index_image = image_of(winners, last)
            index_given = &index_image
        y_image = image_of(y, last)
        with nogil:
            status = fc_pool2d(params, &x_image, &y_image, index_given)
    if status != FC_OK:
        fail(status, dict({"x.shape": x.shape}, **dict(zip(_POOL_WORDS, words))))
    result = delivered(out, y)
    return (result, winners) if indices else result


cdef object pool2d_backward(fc_pool2d_params *params, object dy, cnp.ndarray x, object shape,
                            object indices, bint last, tuple words):
    """dx; x is None for averages, whose input has the given shape."""
    cdef cnp.ndarray d = input_array(dy, "dy", 4, _IMAGES), dx, winners
    cdef fc_image dy_image = image_of(d, last), dx_image, x_image, y_image, index_image
    cdef fc_image *x_given = NULL
    cdef fc_image *index_given = NULL
    if x is not None:
        same_dtype(x, "x", d, "dy")
        x_image = image_of(x, last)
        x_given = &x_image
    params.dtype = dtype_of(d)
    dx = image_array(shape, cnp.PyArray_TYPE(d))
    dx_image = image_of(dx, last)
    y_image.n, y_image.c = dx_image.n, dx_image.c
    cdef fc_status status = fc_pool2d_output_size(params, dx_image.h, dx_image.w, &y_image.h,
                                                  &y_image.w)
    if status == FC_OK:
        same_sizes("dy", d, &dy_image, &y_image, last)
        if indices is not None:
            winners = index_array(indices, dy)
            index_image = image_of(winners, last)
            index_given = &index_image
        with nogil:
            status = fc_pool2d_backward(params, &dy_image, x_given, index_given, &dx_image)
    if status != FC_OK:
        fail(status, dict({"dy.shape": dy.shape, "x.shape": shape},
                          **dict(zip(_POOL_WORDS, words))))
    return dx


cdef cnp.ndarray image_array(object shape, int kind):
    """A new array of that shape, which the caller may have misspelt."""
    cdef cnp.npy_intp size[4]
    cdef int i
    if not isinstance(shape, (tuple, list)) or len(shape) != 4:
        raise _errors.bad_value("input_shape", shape, "four ints", TypeError)
    for i in range(4):
        size[i] = whole_number(shape[i], "input_shape", "four ints")
        if size[i] < 0:
            raise _errors.bad_value("input_shape", shape, "four ints of at least 0", ValueError)
    cdef fc_image sizes
    sizes.n, sizes.h, sizes.w, sizes.c = size[0], size[1], size[2], size[3]
    if countable(&sizes) != FC_OK:
        fail(FC_OVERFLOW, {"input_shape": shape})
    return output_array(None, "dx", 4, size, kind)


cdef cnp.ndarray index_array(object indices, object dy):
    """The int64 winners of a maximum, in the shape of dy."""
    if not cnp.PyArray_Check(indices) or is_masked(indices):
        raise _errors.bad_value("indices", type(indices).__name__, "a numpy.ndarray of int64",
                                TypeError)
    cdef cnp.ndarray array = indices
    if cnp.PyArray_TYPE(array) != cnp.NPY_INT64 or not PyArray_ISNOTSWAPPED(array):
        raise _errors.bad_value("indices.dtype", array.dtype, "int64", TypeError)
    if indices.shape != dy.shape:
        raise _errors.bad_shape("indices", indices.shape, dy.shape)
    return array if addressable(array) else cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)


cdef object extreme_pool2d(fc_pooling pooling, object x, object pool_size, object strides,
                           object padding, object dilation_rate, object ceil_mode,
                           object data_format, object return_indices, object out):
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format), indices = flag(return_indices, "return_indices")
    pool2d_words(&params, pooling, pool_size, strides, padding, dilation_rate, ceil_mode)
    return pool2d(&params, x, out, last, indices,
                  (pool_size, strides, padding, dilation_rate, ceil_mode, data_format))


cdef object extreme_pool2d_backward(fc_pooling pooling, object dy, object x, object pool_size,
                                    object strides, object padding, object dilation_rate,
                                    object ceil_mode, object data_format, object indices):
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format)
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    pool2d_words(&params, pooling, pool_size, strides, padding, dilation_rate, ceil_mode)
    return pool2d_backward(&params, dy, a, x.shape, indices, last,
                           (pool_size, strides, padding, dilation_rate, ceil_mode, data_format))


def max_pool2d(x, pool_size=2, *, strides=None, padding="valid", dilation_rate=1,
               ceil_mode=False, data_format="channels_last", return_indices=False, out=None):
    """Take the maximum of each window of each channel.

    ``y[n, i, j, c] = max over p, q of x[n, i * s + p * d - top, j * s + q * d - left, c]``; padding
    never wins, a window all in padding gives -inf, NaN propagates.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c)
        (n, c, h, w) for channels_first.
    pool_size : int or (vertical, horizontal)
    strides : None, int or (vertical, horizontal)
        None means pool_size.
    padding : {"valid", "same", "same_lower"}, int, (vertical, horizontal) or ((t, b), (l, r))
        Smaller than the window, ``(pool_size - 1) * dilation_rate + 1``.
    dilation_rate : int or (vertical, horizontal)
    ceil_mode : bool
        Whether a last window that reaches over the padded image counts, if it begins within it.
    data_format : {"channels_last", "channels_first"}
    return_indices : bool
        Whether to return ``h * w_in + w`` of each winner too (int64, the first in row-major order
        of equal ones, -1 for a window all in padding).
    out : ndarray, shape of y, optional
        Receives y; must not overlap x.

    Returns
    -------
    ndarray, or (ndarray, indices)
        Sizes ``floor((h + before + after - (pool_size - 1) * d - 1) / s) + 1``, "same"
        ``ceil(h / s)``.

    Raises
    ------
    TypeError, ValueError
        For arrays, words and numbers that do not fit; nothing is written then.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import max_pool2d
    >>> x = np.array([[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]])
    >>> max_pool2d(x.astype(np.float32).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[ 20.,  30.],
           [111.,  33.]], dtype=float32)
    """
    return extreme_pool2d(FC_MAX, x, pool_size, strides, padding, dilation_rate, ceil_mode,
                          data_format, return_indices, out)


def max_pool2d_backward(dy, x, pool_size=2, *, strides=None, padding="valid", dilation_rate=1,
                        ceil_mode=False, data_format="channels_last", indices=None):
    """Compute the input gradient of :func:`max_pool2d`.

    ``dx`` is zero but where a window's winner lies: there it is the sum of dy over the windows it
    wins. The first of equal values in row-major order wins, the first NaN before all.

    Parameters
    ----------
    dy : ndarray, shape of max_pool2d's result
    x : ndarray
        What :func:`max_pool2d` was given.
    pool_size, strides, padding, dilation_rate, ceil_mode, data_format
        As in :func:`max_pool2d`.
    indices : ndarray of int64, shape of dy, optional
        What :func:`max_pool2d` returned; without them the winners are found again.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        For arrays, words and numbers that do not fit, and for indices outside their plane.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import max_pool2d_backward
    >>> x = np.array([[1.0, 2.0], [4.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> max_pool2d_backward(np.ones((1, 1, 1, 1)), x)[0, :, :, 0]
    array([[0., 0.],
           [1., 0.]])
    """
    return extreme_pool2d_backward(FC_MAX, dy, x, pool_size, strides, padding,
                                   dilation_rate, ceil_mode, data_format, indices)


def min_pool2d(x, pool_size=2, *, strides=None, padding="valid", dilation_rate=1,
               ceil_mode=False, data_format="channels_last", return_indices=False, out=None):
    """Take the minimum of each window of each channel.

    ``y[n, i, j, c] = min over p, q of x[n, i * s + p * d - top, j * s + q * d - left, c]``; padding
    never wins, a window all in padding gives inf, NaN propagates.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c)
        (n, c, h, w) for channels_first.
    pool_size : int or (vertical, horizontal)
    strides : None, int or (vertical, horizontal)
        None means pool_size.
    padding : {"valid", "same", "same_lower"}, int, (vertical, horizontal) or ((t, b), (l, r))
        Smaller than the window, ``(pool_size - 1) * dilation_rate + 1``.
    dilation_rate : int or (vertical, horizontal)
    ceil_mode : bool
        Whether a last window that reaches over the padded image counts, if it begins within it.
    data_format : {"channels_last", "channels_first"}
    return_indices : bool
        Whether to return ``h * w_in + w`` of each winner too (int64, the first in row-major order
        of equal ones, -1 for a window all in padding).
    out : ndarray, shape of y, optional
        Receives y; must not overlap x.

    Returns
    -------
    ndarray, or (ndarray, indices)
        Sizes ``floor((h + before + after - (pool_size - 1) * d - 1) / s) + 1``, "same"
        ``ceil(h / s)``.

    Raises
    ------
    TypeError, ValueError
        For arrays, words and numbers that do not fit; nothing is written then.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import min_pool2d
    >>> x = np.array([[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]])
    >>> min_pool2d(x.astype(np.float32).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[ 8.,  0.],
           [34.,  5.]], dtype=float32)
    """
    return extreme_pool2d(FC_MIN, x, pool_size, strides, padding, dilation_rate, ceil_mode,
                          data_format, return_indices, out)


def min_pool2d_backward(dy, x, pool_size=2, *, strides=None, padding="valid", dilation_rate=1,
                        ceil_mode=False, data_format="channels_last", indices=None):
    """Compute the input gradient of :func:`min_pool2d`.

    ``dx`` is zero but where a window's winner lies: there it is the sum of dy over the windows it
    wins. The first of equal values in row-major order wins, the first NaN before all.

    Parameters
    ----------
    dy : ndarray, shape of min_pool2d's result
    x : ndarray
        What :func:`min_pool2d` was given.
    pool_size, strides, padding, dilation_rate, ceil_mode, data_format
        As in :func:`min_pool2d`.
    indices : ndarray of int64, shape of dy, optional
        What :func:`min_pool2d` returned; without them the winners are found again.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        For arrays, words and numbers that do not fit, and for indices outside their plane.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import min_pool2d_backward
    >>> x = np.array([[1.0, 2.0], [4.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> min_pool2d_backward(np.ones((1, 1, 1, 1)), x)[0, :, :, 0]
    array([[1., 0.],
           [0., 0.]])
    """
    return extreme_pool2d_backward(FC_MIN, dy, x, pool_size, strides, padding,
                                   dilation_rate, ceil_mode, data_format, indices)


def avg_pool2d(x, pool_size=2, *, strides=None, padding="valid", dilation_rate=1, ceil_mode=False,
               count_include_pad=False, data_format="channels_last", out=None):
    """Take the average of each window of each channel.

    ``y[n, i, j, c] = sum over p, q of x[n, i * s + p * d - top, j * s + q * d - left, c] / count``,
    where count is the number of the window's pixels that lie in the image; a window all in padding
    gives 0.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c)
        (n, c, h, w) for channels_first.
    pool_size : int or (vertical, horizontal)
    strides : None, int or (vertical, horizontal)
        None means pool_size.
    padding : {"valid", "same", "same_lower"}, int, (vertical, horizontal) or ((t, b), (l, r))
        Smaller than the window, ``(pool_size - 1) * dilation_rate + 1``.
    dilation_rate : int or (vertical, horizontal)
    ceil_mode : bool
        Whether a last window that reaches over the padded image counts, if it begins within it.
    count_include_pad : bool
        Whether count includes padding; what only ceil_mode adds never counts.
    data_format : {"channels_last", "channels_first"}
    out : ndarray, shape of y, optional
        Receives y; must not overlap x.

    Returns
    -------
    ndarray
        Sizes as in :func:`max_pool2d`.

    Raises
    ------
    TypeError, ValueError
        For arrays, words and numbers that do not fit; nothing is written then.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import avg_pool2d
    >>> x = np.array([[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]])
    >>> avg_pool2d(x.astype(np.float32).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[13.25,  8.25],
           [73.75, 17.75]], dtype=float32)
    """
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format)
    pool2d_words(&params, FC_AVG, pool_size, strides, padding, dilation_rate, ceil_mode)
    params.count_include_pad = flag(count_include_pad, "count_include_pad")
    return pool2d(&params, x, out, last, False,
                  (pool_size, strides, padding, dilation_rate, ceil_mode, data_format))


def avg_pool2d_backward(dy, input_shape, pool_size=2, *, strides=None, padding="valid",
                        dilation_rate=1, ceil_mode=False, count_include_pad=False,
                        data_format="channels_last"):
    """Compute the input gradient of :func:`avg_pool2d`: each window gives dy / count to its pixels.

    Parameters
    ----------
    dy : ndarray, shape of avg_pool2d's result
    input_shape : four ints
        The shape of x.
    pool_size, strides, padding, dilation_rate, ceil_mode, count_include_pad, data_format
        As in :func:`avg_pool2d`.

    Returns
    -------
    ndarray, shape input_shape

    Raises
    ------
    TypeError, ValueError
        For arrays, words and numbers that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import avg_pool2d_backward
    >>> avg_pool2d_backward(np.ones((1, 1, 1, 1)), (1, 2, 2, 1))[0, :, :, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format)
    pool2d_words(&params, FC_AVG, pool_size, strides, padding, dilation_rate, ceil_mode)
    params.count_include_pad = flag(count_include_pad, "count_include_pad")
    return pool2d_backward(&params, dy, None, input_shape, None, last,
                           (pool_size, strides, padding, dilation_rate, ceil_mode, data_format))
