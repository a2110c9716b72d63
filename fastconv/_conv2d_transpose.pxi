# Transposed convolution: forward and backward.


cdef const int64_t *output_padding_word(object output_padding, int64_t *numbers) except? NULL:
    """The numbers of output_padding, or NULL where it is None."""
    if output_padding is None:
        return NULL
    pair(output_padding, "output_padding", numbers)
    return numbers


cdef fc_status transposed_sizes(const fc_conv2d_params *params, const int64_t *output_padding,
                                const fc_image *x, const fc_weights *kernel,
                                fc_image *y) noexcept:
    """The sizes of y, whose channels the kernel's third size and groups give."""
    y.n, y.c = x.n, kernel.c_in * params.groups
    cdef fc_status status = fc_conv2d_transpose_output_size(
        params, output_padding, x.h, x.w, kernel.kh, kernel.kw, &y.h, &y.w)
    if status == FC_OK and x.c % params.groups:
        return FC_BAD_GROUPS
    if status == FC_OK and kernel.c_out != x.c:
        return FC_BAD_CHANNELS
    return countable(y) if status == FC_OK else status


def conv2d_transpose(x, kernel, bias=None, *, strides=1, padding="valid", output_padding=None,
                     dilation_rate=1, groups=1, data_format="channels_last", algorithm="auto",
                     out=None):
    """Apply the adjoint of a convolution: the input gradient of :func:`conv2d`, plus a bias.

    ``y[n, a, b, c] = bias[c] + sum of x[n, i, j, k] * kernel[p, q, c, k]`` over all i, j, p, q with
    ``i * s + p * d - top == a`` and ``j * s + q * d - left == b``.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c_in)
        (n, c_in, h, w) for channels_first.
    kernel : ndarray, shape (kh, kw, c_out // groups, c_in)
    bias : ndarray, shape (c_out,), optional
    strides, padding, dilation_rate, groups, data_format, algorithm, out
        As in :func:`conv2d`.
    output_padding : None, int or (vertical, horizontal)
        ``0 <= output_padding < max(strides, dilation_rate)``.

    Returns
    -------
    ndarray, shape (n, h_out, w_out, c_out) or (n, c_out, h_out, w_out)
        With ``k = (kh - 1) * d + 1``: "same" gives ``h * s``, "valid" ``h * s + max(k - s, 0)``;
        with output_padding op "same" ``(h - 1) * s + k % 2 + op``, "valid" ``(h - 1) * s + k + op``;
        explicit padding ``(h - 1) * s - before - after + k + op``.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d`.

    References
    ----------
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import conv2d_transpose
    >>> x = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    >>> conv2d_transpose(x, np.ones((2, 2, 1, 1), np.float32), strides=2)[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]], dtype=float32)
    """
    cdef fc_conv2d_params params
    cdef int64_t numbers[2]
    cdef bint last = is_channels_last(data_format)
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 4, "(kh, kw, c_out // groups, c_in)")
    cdef cnp.ndarray b, y
    same_dtype(k, "kernel", a, "x")
    conv2d_words(&params, strides, padding, dilation_rate, groups, "constant", 0.0, algorithm)
    params.dtype = dtype_of(a)
    cdef const int64_t *extra = output_padding_word(output_padding, numbers)
    cdef fc_image x_image = image_of(a, last), y_image
    cdef fc_weights weights = weights_of(k)
    cdef void *bias_data = NULL
    cdef fc_status status = transposed_sizes(&params, extra, &x_image, &weights, &y_image)
    if status == FC_OK:
        y = output_image(out, "out", &y_image, last, cnp.PyArray_TYPE(a))
        y_image = image_of(y, last)
        if bias is not None:
            b = vector_array(bias, "bias", y_image.c, a, "x")
            bias_data = cnp.PyArray_DATA(b)
        if out is not None:
            no_overlap(out, x, "x")
            no_overlap(out, kernel, "kernel")
            no_overlap(out, bias, "bias")
        with nogil:
            status = fc_conv2d_transpose(&params, extra, &x_image, &weights, bias_data, &y_image)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape, "kernel.shape": kernel.shape, "strides": strides,
                      "padding": padding, "output_padding": output_padding,
                      "dilation_rate": dilation_rate, "groups": groups,
                      "data_format": data_format,
                      "algorithm": algorithm})
    return delivered(out, y)


def conv2d_transpose_backward(dy, x, kernel, *, strides=1, padding="valid", output_padding=None,
                              dilation_rate=1, groups=1, data_format="channels_last",
                              algorithm="auto", needs=("x", "kernel", "bias")):
    """Compute the gradients of :func:`conv2d_transpose` by x, kernel and bias.

    ``dx`` is :func:`conv2d` of dy with the same kernel; ``dkernel`` is the kernel gradient of that
    convolution with x as its output gradient; ``dbias[c] = sum over n, i, j of dy[n, i, j, c]``.

    Parameters
    ----------
    dy : ndarray, shape of conv2d_transpose's result
    x, kernel : ndarray
        What :func:`conv2d_transpose` was given.
    strides, padding, output_padding, dilation_rate, groups, data_format, algorithm
        As in :func:`conv2d_transpose`.
    needs : tuple of "x", "kernel", "bias"
        The gradients to compute.

    Returns
    -------
    Conv2DGradients
        (dx, dkernel, dbias) with the shapes of x, kernel and bias; None for what was not asked.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import conv2d_transpose_backward
    >>> x, kernel = np.ones((1, 2, 2, 1), np.float32), np.ones((2, 2, 1, 1), np.float32)
    >>> dy = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> conv2d_transpose_backward(dy, x, kernel, strides=2, needs=("x",)).dx[0, :, :, 0]
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    """
    cdef fc_conv2d_params params
    cdef int64_t numbers[2]
    cdef bint last = is_channels_last(data_format)
    cdef cnp.ndarray d = input_array(dy, "dy", 4, _IMAGES)
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 4, "(kh, kw, c_out // groups, c_in)")
    same_dtype(a, "x", d, "dy")
    same_dtype(k, "kernel", d, "dy")
    conv2d_words(&params, strides, padding, dilation_rate, groups, "constant", 0.0, algorithm)
    params.dtype = dtype_of(d)
    cdef const int64_t *extra = output_padding_word(output_padding, numbers)
    cdef fc_image y_image, dy_image = image_of(d, last), x_image = image_of(a, last)
    cdef fc_weights weights = weights_of(k)
    cdef GradientArrays gradients
    cdef fc_status status = transposed_sizes(&params, extra, &x_image, &weights, &y_image)
    if status == FC_OK:
        same_sizes("dy", d, &dy_image, &y_image, last)
        gradients = gradient_arrays(needs, a, k, y_image.c, last)
        with nogil:
            status = fc_conv2d_transpose_backward(&params, extra, &dy_image, &x_image, &weights,
                                                  gradients.x, gradients.kernel, gradients.bias)
    if status != FC_OK:
        fail(status, {"dy.shape": dy.shape, "x.shape": x.shape, "kernel.shape": kernel.shape,
                      "strides": strides, "padding": padding, "output_padding": output_padding,
                      "dilation_rate": dilation_rate, "groups": groups,
                      "data_format": data_format,
                      "algorithm": algorithm})
    return gradients.result()
