# Pooling over whole images.


cdef cnp.ndarray pooled_array(str name, const fc_image *x, bint last, bint keepdims, int kind):
    """An output of one pixel an image: (n, c), or with keepdims four dimensions."""
    cdef fc_image one
    cdef cnp.npy_intp size[2]
    if keepdims:
        one.n, one.h, one.w, one.c = x.n, 1, 1, x.c
        return output_image(None, name, &one, last, kind)
    size[0], size[1] = x.n, x.c
    return output_array(None, name, 2, size, kind)


cdef fc_image pooled_image(cnp.ndarray array, bint last) noexcept:
    return image_of(array, last) if cnp.PyArray_NDIM(array) == 4 else rows_of(array)


cdef cnp.ndarray pooled_gradient(object dy, object shape, bint last, bint keepdims):
    """dy, whose shape must follow from that of x."""
    cdef cnp.ndarray d = input_array(dy, "dy", 4 if keepdims else 2,
                                     _IMAGES if keepdims else "(n, c)")
    n, c = shape[0], shape[3 if last else 1]
    wanted = (n, c) if not keepdims else (n, 1, 1, c) if last else (n, c, 1, 1)
    if dy.shape != wanted:
        raise _errors.bad_shape("dy", dy.shape, wanted)
    return d


cdef int whole_image(fc_pool2d_params *params, const fc_image *x, object shape) except -1:
    """The window of a global maximum."""
    if x.h == 0 or x.w == 0:
        fail(FC_EMPTY_OUTPUT, {"x.shape": shape})
    params.pooling = FC_MAX
    params.pool_size[0], params.pool_size[1] = x.h, x.w
    params.strides[0] = params.strides[1] = 1
    params.dilation_rate[0] = params.dilation_rate[1] = 1
    params.padding, params.ceil_mode, params.count_include_pad = FC_VALID, False, False
    return 0


def global_max_pool2d(x, *, keepdims=False, data_format="channels_last", return_indices=False):
    """Take the maximum of each channel over the whole image; NaN propagates.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c)
        (n, c, h, w) for channels_first.
    keepdims : bool
    data_format : {"channels_last", "channels_first"}
    return_indices : bool
        Whether to return ``h * w_in + w`` of each winner too (int64, the first in row-major order
        of equal ones).

    Returns
    -------
    ndarray, shape (n, c); with keepdims (n, 1, 1, c) or (n, c, 1, 1)
        Or (ndarray, indices), of the same shape.

    Raises
    ------
    TypeError, ValueError
        For arrays and words that do not fit, and for images without pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import global_max_pool2d
    >>> global_max_pool2d(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[6., 7.]])
    >>> global_max_pool2d(np.arange(8.0).reshape(1, 2, 2, 2), return_indices=True)[1]
    array([[3, 3]])
    """
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format), keep = flag(keepdims, "keepdims")
    cdef bint indices = flag(return_indices, "return_indices")
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES), winners
    cdef fc_image x_image = image_of(a, last), y_image, index_image
    cdef fc_image *index_given = NULL
    whole_image(&params, &x_image, x.shape)
    params.dtype = dtype_of(a)
    cdef cnp.ndarray y = pooled_array("y", &x_image, last, keep, cnp.PyArray_TYPE(a))
    y_image = pooled_image(y, last)
    if indices:
        winners = pooled_array("indices", &x_image, last, keep, cnp.NPY_INT64)
        index_image = pooled_image(winners, last)
        index_given = &index_image
    cdef fc_status status
    with nogil:
        status = fc_pool2d(&params, &x_image, &y_image, index_given)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape})
    return (y, winners) if indices else y


def global_max_pool2d_backward(dy, x, *, keepdims=False, data_format="channels_last",
                               indices=None):
    """Compute the input gradient of :func:`global_max_pool2d`: dy where each maximum lies.

    Parameters
    ----------
    dy : ndarray, shape of global_max_pool2d's result
    x : ndarray
        What :func:`global_max_pool2d` was given.
    keepdims, data_format
        As in :func:`global_max_pool2d`.
    indices : ndarray of int64, shape of dy, optional
        What :func:`global_max_pool2d` returned; without them the winners are found again.

    Returns
    -------
    ndarray, shape of x
        The first of equal values in row-major order is the winner.

    Raises
    ------
    TypeError, ValueError
        For arrays and words that do not fit, for images without pixels, and for indices outside
        their plane.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import global_max_pool2d_backward
    >>> x = np.array([[1.0, 2.0], [4.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> global_max_pool2d_backward(np.ones((1, 1)), x)[0, :, :, 0]
    array([[0., 0.],
           [1., 0.]])
    """
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format), keep = flag(keepdims, "keepdims")
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef cnp.ndarray d = pooled_gradient(dy, x.shape, last, keep), dx, winners
    same_dtype(a, "x", d, "dy")
    cdef fc_image x_image = image_of(a, last), dy_image = pooled_image(d, last), dx_image
    cdef fc_image index_image
    cdef fc_image *index_given = NULL
    whole_image(&params, &x_image, x.shape)
    params.dtype = dtype_of(a)
    if indices is not None:
        winners = index_array(indices, dy)
        index_image = pooled_image(winners, last)
        index_given = &index_image
    dx = like(a)
    dx_image = image_of(dx, last)
    cdef fc_status status
    with nogil:
        status = fc_pool2d_backward(&params, &dy_image, &x_image, index_given, &dx_image)
    if status != FC_OK:
        fail(status, {"dy.shape": dy.shape, "x.shape": x.shape})
    return dx


def global_avg_pool2d(x, *, keepdims=False, data_format="channels_last"):
    """Take the mean of each channel over the whole image.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c)
        (n, c, h, w) for channels_first.
    keepdims : bool
    data_format : {"channels_last", "channels_first"}

    Returns
    -------
    ndarray, shape (n, c); with keepdims (n, 1, 1, c) or (n, c, 1, 1)
        Its bits do not depend on threads or FMA instruction set.

    Raises
    ------
    TypeError, ValueError
        For arrays and words that do not fit, and for images without pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import global_avg_pool2d
    >>> global_avg_pool2d(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """
    cdef bint last = is_channels_last(data_format), keep = flag(keepdims, "keepdims")
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef fc_image x_image = image_of(a, last), y_image
    if x_image.h == 0 or x_image.w == 0:
        fail(FC_EMPTY_OUTPUT, {"x.shape": x.shape})
    cdef cnp.ndarray y = pooled_array("y", &x_image, last, keep, cnp.PyArray_TYPE(a))
    y_image = pooled_image(y, last)
    cdef fc_dtype dtype = dtype_of(a)
    cdef fc_status status
    with nogil:
        status = fc_global_avg_pool2d(dtype, &x_image, &y_image)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape})
    return y


def global_avg_pool2d_backward(dy, input_shape, *, keepdims=False, data_format="channels_last"):
    """Compute the input gradient of :func:`global_avg_pool2d`: dy / (h * w) for every pixel.

    Parameters
    ----------
    dy : ndarray, shape of global_avg_pool2d's result
    input_shape : four ints
        The shape of x.
    keepdims, data_format
        As in :func:`global_avg_pool2d`.

    Returns
    -------
    ndarray, shape input_shape

    Raises
    ------
    TypeError, ValueError
        For arrays and words that do not fit, and for images without pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import global_avg_pool2d_backward
    >>> global_avg_pool2d_backward(np.ones((1, 1)), (1, 2, 2, 1))[0, :, :, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    cdef bint last = is_channels_last(data_format), keep = flag(keepdims, "keepdims")
    cdef cnp.ndarray d = input_array(dy, "dy", 4 if keep else 2, _IMAGES if keep else "(n, c)")
    cdef cnp.ndarray dx = image_array(input_shape, cnp.PyArray_TYPE(d))
    pooled_gradient(dy, (<object>dx).shape, last, keep)
    cdef fc_image dy_image = pooled_image(d, last), dx_image = image_of(dx, last)
    if dx_image.h == 0 or dx_image.w == 0:
        fail(FC_EMPTY_OUTPUT, {"input_shape": input_shape})
    cdef fc_dtype dtype = dtype_of(d)
    cdef fc_status status
    with nogil:
        status = fc_global_avg_pool2d_backward(dtype, &dy_image, &dx_image)
    if status != FC_OK:
        fail(status, {"dy.shape": dy.shape, "input_shape": input_shape})
    return dx
