# Maxima of windows that share nothing, for training: what the way back needs is kept instead of x.


cdef cnp.ndarray marks_array(fc_image *image, bint last, fc_dtype dtype):
    """Return an array for the marks of y: integers as wide as its numbers."""
    cdef int integer = cnp.NPY_INT32 if dtype == FC_FLOAT32 else cnp.NPY_INT64
    return output_image(None, "marks", image, last, integer)


def marked_max_pool2d(x, pool_size, *, strides, padding, data_format):
    """Return (y, marks) of max_pool2d, or None where marks are not to be had.

    Marks tell the winners of 2 x 2 windows, and what a rectifier that made x stops.
    """
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format)
    cdef c_bool done = False
    pool2d_words(&params, FC_MAX, pool_size, strides, padding, 1, False)
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES), y, marks
    # y and marks lie as x does, so that the way back can do without x whatever the sizes.
    if (params.pool_size[0] != 2 or params.pool_size[1] != 2
            or not cnp.PyArray_IS_C_CONTIGUOUS(a)):
        return None
    cdef fc_image x_image = image_of(a, last), y_image, mark_image
    params.dtype = dtype_of(a)
    y_image.n, y_image.c = x_image.n, x_image.c
    cdef fc_status status = fc_pool2d_output_size(&params, x_image.h, x_image.w, &y_image.h,
                                                  &y_image.w)
    if status != FC_OK:
        return None  # max_pool2d says why
    y = output_image(None, "y", &y_image, last, cnp.PyArray_TYPE(a))
    marks = marks_array(&y_image, last, params.dtype)
    y_image, mark_image = image_of(y, last), image_of(marks, last)
    with nogil:
        status = fc_pool2d_marked(&params, &x_image, &y_image, &mark_image, &done)
    return (y, marks) if status == FC_OK and done else None


def marked_max_pool2d_backward(dy, marks, shape, activation, pool_size, *, strides, padding,
                               data_format):
    """Return dx, of that shape, of a gradient on which the way back through activation follows."""
    cdef fc_pool2d_params params
    cdef bint last = is_channels_last(data_format)
    cdef c_bool done = False
    pool2d_words(&params, FC_MAX, pool_size, strides, padding, 1, False)
    cdef cnp.ndarray d = cnp.PyArray_GETCONTIGUOUS(input_array(dy, "dy", 4, _IMAGES))
    cdef cnp.ndarray dx = image_array(shape, cnp.PyArray_TYPE(d))
    cdef fc_image dy_image = image_of(d, last), dx_image = image_of(dx, last)
    cdef fc_image mark_image = image_of(marks, last)
    cdef fc_activation gate = activation_word(activation)
    params.dtype = dtype_of(d)
    cdef fc_status status
    with nogil:
        status = fc_pool2d_marked_backward(&params, &dy_image, &mark_image, gate, &dx_image, &done)
    if status != FC_OK or not done:
        fail(FC_BAD_SHAPE, {"dy.shape": dy.shape, "x.shape": shape})
    return dx
