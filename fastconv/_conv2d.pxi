# Convolution: forward, backward, packed kernels, dense layers.


cdef str _IMAGES = "(n, h, w, c) or, channels_first, (n, c, h, w)"
cdef str _KERNEL = "(kh, kw, c_in // groups, c_out)"


cdef int conv2d_words(fc_conv2d_params *params, object strides, object padding,
                      object dilation_rate, object groups, object padding_mode,
                      object padding_value, object algorithm) except -1:
    pair(strides, "strides", params.strides)
    pair(dilation_rate, "dilation_rate", params.dilation_rate)
    params.padding = padding_word(padding, params.explicit_padding)
    params.groups = whole_number(groups, "groups", "an int of at least 1")
    params.padding_mode = padding_mode_word(padding_mode)
    params.padding_value = real_number(padding_value, "padding_value")
    params.algorithm = algorithm_word(algorithm)
    return 0


cdef class PackedKernel:
    """A kernel laid out for :func:`conv2d`, made by :func:`pack_kernel`; immutable."""

    cdef fc_packed_kernel *packed
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly tuple input_size

    def __init__(self):
        raise TypeError("PackedKernel is made by pack_kernel(kernel, input_size)")

    def __dealloc__(self):
        fc_packed_kernel_free(self.packed)

    def __repr__(self):
        return f"PackedKernel(shape={self.shape}, dtype={self.dtype}, input_size={self.input_size})"


def pack_kernel(kernel, input_size, *, strides=1, padding="valid", dilation_rate=1, groups=1,
                data_format="channels_last", padding_mode="constant", padding_value=0.0,
                algorithm="auto"):
    """Lay a kernel out once for many calls of :func:`conv2d`, which takes it in place of kernel.

    Parameters
    ----------
    kernel : ndarray of float32 or float64, shape (kh, kw, c_in // groups, c_out)
    input_size : (h, w)
        The size of the images it will be used with.
    strides, padding, dilation_rate, groups, padding_mode, padding_value, algorithm
        As in :func:`conv2d`, which must be called with the same ones.
    data_format : {"channels_last", "channels_first"}
        Checked and otherwise not used: a packed kernel serves both.

    Returns
    -------
    PackedKernel
        Immutable and good for any thread; its ``shape``, ``dtype`` and ``input_size`` can be read.
        Results with it are the same from call to call, and may differ in their last bits from
        those with the bare kernel, for which another layout may be chosen.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import conv2d, pack_kernel
    >>> x, kernel = np.ones((1, 5, 5, 1), np.float32), np.ones((3, 3, 1, 2), np.float32)
    >>> packed = pack_kernel(kernel, input_size=(5, 5), padding="same")
    >>> bool((conv2d(x, packed, padding="same") == conv2d(x, kernel, padding="same")).all())
    True
    """
    cdef fc_conv2d_params params
    cdef int64_t size[2]
    is_channels_last(data_format)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 4, _KERNEL)
    conv2d_words(&params, strides, padding, dilation_rate, groups, padding_mode, padding_value,
                 algorithm)
    pair(input_size, "input_size", size)
    params.dtype = dtype_of(k)
    cdef fc_weights weights = weights_of(k)
    cdef PackedKernel made = PackedKernel.__new__(PackedKernel)
    cdef fc_status status
    with nogil:
        status = fc_pack_kernel(&params, &weights, size[0], size[1], &made.packed)
    if status != FC_OK:
        fail(status, {"kernel.shape": kernel.shape, "input_size": input_size, "strides": strides,
                      "padding": padding, "dilation_rate": dilation_rate, "groups": groups,
                      "padding_mode": padding_mode, "algorithm": algorithm})
    made.shape, made.dtype, made.input_size = kernel.shape, k.dtype, (size[0], size[1])
    return made


def conv2d(x, kernel, bias=None, *, strides=1, padding="valid", dilation_rate=1, groups=1,
           data_format="channels_last", padding_mode="constant", padding_value=0.0,
           activation=None, residual=None, algorithm="auto", out=None):
    """Convolve images with a kernel (the cross-correlation that networks call convolution).

    ``y[n, i, j, k] = activation(sum over p, q, c of x[n, i * s + p * d - top, j * s + q * d - left, c]
    * kernel[p, q, c, k] + bias[k] + residual[n, i, j, k])``, c over the channels of k's group.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c_in)
        (n, c_in, h, w) for channels_first. Any strides; all arrays of a call have one dtype.
    kernel : ndarray, shape (kh, kw, c_in // groups, c_out), or PackedKernel
        The same order for both data formats.
    bias : ndarray, shape (c_out,), optional
    strides, dilation_rate : int or (vertical, horizontal)
    padding : {"valid", "same", "same_lower"}, int, (vertical, horizontal) or ((t, b), (l, r))
        "same" gives ``ceil(h / stride)``, the odd row of padding after ("same_lower": before);
        otherwise ``floor((h + before + after - (kh - 1) * dilation - 1) / stride) + 1``.
    groups : int
        Divides c_in and c_out; output group g sees input group g alone.
    data_format : {"channels_last", "channels_first"}
    padding_mode : {"constant", "reflect", "edge", "wrap"}
        What padding holds, in NumPy's words; reflect at most h - 1, wrap at most h.
    padding_value : float
        For "constant".
    activation : {None, "relu", "relu6"}
    residual : ndarray, shape of y, optional
        Added before the activation.
    algorithm : {"auto", "direct", "winograd"}
        "winograd" takes a fraction of the multiplications, for kernels of 2x2 to 12x12 and of 1x3 to
        1x36 (and upright) with strides 1, and for those of 3x3 to 8x8 with strides 2; its rounding
        errors are about 3 times those of a direct sum (float64: up to 16). "auto" chooses, from
        one sample's shape alone.
    out : ndarray, shape of y, optional
        Receives the result; must not overlap an input.

    Returns
    -------
    ndarray, shape (n, h_out, w_out, c_out) or (n, c_out, h_out, w_out)
        Its bits do not depend on threads, batch, layout, strides or FMA instruction set.

    Raises
    ------
    TypeError
        For an array that is no ndarray, or not of float32 or float64, or not of x's dtype.
    ValueError
        For shapes and numbers that do not fit; nothing is written then.

    References
    ----------
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.functional import conv2d
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    >>> conv2d(x, np.ones((2, 2, 1, 1), np.float32))[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    cdef fc_conv2d_params params
    cdef fc_epilogue epilogue
    cdef fc_image x_image, y_image, residual_image
    cdef fc_weights weights
    cdef fc_status status
    cdef bint last = is_channels_last(data_format)
    cdef PackedKernel packed = None
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES), k = None, b, r, y
    conv2d_words(&params, strides, padding, dilation_rate, groups, padding_mode, padding_value,
                 algorithm)
    params.dtype = dtype_of(a)
    x_image = image_of(a, last)
    if isinstance(kernel, PackedKernel):
        packed = kernel
        if packed.dtype != a.dtype:
            fail(FC_PACKED_MISMATCH, {"x.dtype": a.dtype.name, "kernel.dtype": packed.dtype.name})
        weights.kh, weights.kw = packed.shape[0], packed.shape[1]
        weights.c_out = packed.shape[3]
    else:
        k = input_array(kernel, "kernel", 4, _KERNEL)
        same_dtype(k, "kernel", a, "x")
        weights = weights_of(k)

    y_image.n, y_image.c = x_image.n, weights.c_out
    status = fc_conv2d_output_size(&params, x_image.h, x_image.w, weights.kh, weights.kw,
                                   &y_image.h, &y_image.w)
    if status == FC_OK:
        status = channels_status(&params, x_image.c, kernel, &weights, packed is None)
    if status == FC_OK:
        status = countable(&y_image)
    if status == FC_OK:
        y = output_image(out, "out", &y_image, last, cnp.PyArray_TYPE(a))
        y_image = image_of(y, last)
        epilogue.activation = activation_word(activation)
        epilogue.bias, epilogue.residual = NULL, NULL
        if bias is not None:
            b = vector_array(bias, "bias", y_image.c, a, "x")
            epilogue.bias = cnp.PyArray_DATA(b)
        if residual is not None:
            r = input_array(residual, "residual", 4, _IMAGES)
            same_dtype(r, "residual", a, "x")
            if residual.shape != (<object>y).shape:
                raise _errors.bad_shape("residual", residual.shape, (<object>y).shape)
            residual_image = image_of(r, last)
            epilogue.residual = &residual_image
        if out is not None:
            no_overlap(out, x, "x")
            no_overlap(out, kernel if packed is None else None, "kernel")
            no_overlap(out, bias, "bias")
            no_overlap(out, residual, "residual")
        if packed is None:
            with nogil:
                status = fc_conv2d(&params, &x_image, &weights, &epilogue, &y_image)
        else:
            with nogil:
                status = fc_conv2d_packed(&params, &x_image, packed.packed, &epilogue, &y_image)
    if status != FC_OK:
        fail(status, {"x.shape": x.shape, "kernel.shape": kernel.shape, "strides": strides,
                      "padding": padding, "dilation_rate": dilation_rate, "groups": groups,
                      "data_format": data_format, "padding_mode": padding_mode,
                      "algorithm": algorithm, "kernel": kernel if packed is not None else "bare"})
    return delivered(out, y)


cdef fc_status channels_status(const fc_conv2d_params *params, int64_t c_in, object kernel,
                               const fc_weights *weights, bint bare):
    """Whether the kernel's channels fit, before an output is made for them."""
    cdef int64_t c_in_of_group = weights.c_in if bare else kernel.shape[2]
    if c_in % params.groups or weights.c_out % params.groups:
        return FC_BAD_GROUPS
    return FC_OK if c_in_of_group == c_in // params.groups else FC_BAD_CHANNELS


def conv2d_backward(dy, x, kernel, *, strides=1, padding="valid", dilation_rate=1, groups=1,
                    data_format="channels_last", padding_mode="constant", padding_value=0.0,
                    algorithm="auto", needs=("x", "kernel", "bias")):
    """Compute the gradients of :func:`conv2d` by x, kernel and bias.

    ``dx`` is the adjoint of the convolution applied to dy, padding modes included; ``dkernel[p, q,
    c, k] = sum over n, i, j of x[n, i * s + p * d - top, j * s + q * d - left, c] * dy[n, i, j, k]``
    over the padded x; ``dbias[k] = sum over n, i, j of dy[n, i, j, k]``.

    Parameters
    ----------
    dy : ndarray, shape of conv2d's result before the activation
    x, kernel : ndarray
        What :func:`conv2d` was given.
    strides, padding, dilation_rate, groups, data_format, padding_mode, padding_value, algorithm
        As in :func:`conv2d`.
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
    >>> from fastconv.functional import conv2d_backward
    >>> x, kernel = np.ones((1, 3, 3, 1), np.float32), np.ones((2, 2, 1, 1), np.float32)
    >>> gradients = conv2d_backward(np.ones((1, 2, 2, 1), np.float32), x, kernel)
    >>> gradients.dx[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    >>> gradients.dbias
    array([4.], dtype=float32)
    """
    cdef fc_conv2d_params params
    cdef bint last = is_channels_last(data_format)
    cdef cnp.ndarray d = input_array(dy, "dy", 4, _IMAGES)
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 4, _KERNEL)
    same_dtype(a, "x", d, "dy")
    same_dtype(k, "kernel", d, "dy")
    conv2d_words(&params, strides, padding, dilation_rate, groups, padding_mode, padding_value,
                 algorithm)
    params.dtype = dtype_of(d)

    cdef fc_image y_image, dy_image = image_of(d, last), x_image = image_of(a, last)
    cdef fc_weights weights = weights_of(k)
    cdef GradientArrays gradients
    y_image.n, y_image.c = x_image.n, weights.c_out
    cdef fc_status status = fc_conv2d_output_size(&params, x_image.h, x_image.w, weights.kh,
                                                  weights.kw, &y_image.h, &y_image.w)
    if status == FC_OK:
        status = channels_status(&params, x_image.c, kernel, &weights, True)
    if status == FC_OK:
        same_sizes("dy", d, &dy_image, &y_image, last)
        gradients = gradient_arrays(needs, a, k, weights.c_out, last)
        with nogil:
            status = fc_conv2d_backward(&params, &dy_image, &x_image, &weights, gradients.x,
                                        gradients.kernel, gradients.bias)
    if status != FC_OK:
        fail(status, {"dy.shape": dy.shape, "x.shape": x.shape, "kernel.shape": kernel.shape,
                      "strides": strides, "padding": padding, "dilation_rate": dilation_rate,
                      "groups": groups, "data_format": data_format,
                      "padding_mode": padding_mode, "algorithm": algorithm})
    return gradients.result()


cdef int same_sizes(str name, cnp.ndarray array, const fc_image *got, const fc_image *wanted,
                    bint last) except -1:
    """An image array must have the sizes that follow from the others."""
    if (got.n != wanted.n or got.h != wanted.h or got.w != wanted.w or got.c != wanted.c):
        raise _errors.bad_shape(
            name, (<object>array).shape,
            (wanted.n, wanted.h, wanted.w, wanted.c) if last
            else (wanted.n, wanted.c, wanted.h, wanted.w))
    return 0
