# A convolution and the maximum of 2 x 2 windows after it as one, for training.


cdef fc_conv2d_params words_of(cnp.ndarray a, dict words) except *:
    cdef fc_conv2d_params params
    conv2d_words(&params, words["strides"], words["padding"], words["dilation_rate"],
                 words["groups"], "constant", 0.0, "auto")
    params.dtype = dtype_of(a)
    return params


def pooled_conv2d(x, kernel, bias, activation, dict words, dict pool_words):
    """Return (y, marks) of max_pool2d after conv2d, and the shape of what that makes.

    None where these are better called in turn. words and pool_words are what conv2d and max_pool2d
    are given, of one data format.
    """
    cdef fc_pool2d_params pool
    cdef fc_epilogue epilogue
    cdef c_bool done = False
    cdef bint last = is_channels_last(words["data_format"])
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 4, _KERNEL)
    cdef cnp.ndarray b, y, marks
    cdef fc_conv2d_params params = words_of(a, words)
    pool2d_words(&pool, FC_MAX, pool_words["pool_size"], pool_words["strides"],
                 pool_words["padding"], 1, False)
    pool.dtype = params.dtype
    cdef fc_image x_image = image_of(a, last), between, y_image, mark_image
    cdef fc_weights weights = weights_of(k)
    cdef fc_status status = fc_conv2d_output_size(&params, x_image.h, x_image.w, weights.kh,
                                                  weights.kw, &between.h, &between.w)
    if status == FC_OK:
        status = channels_status(&params, x_image.c, kernel, &weights, True)
    if status == FC_OK:
        status = fc_pool2d_output_size(&pool, between.h, between.w, &y_image.h, &y_image.w)
    if status != FC_OK:
        return None  # what is wrong, the functions themselves say
    y_image.n, y_image.c, y_image.stride_c = x_image.n, weights.c_out, 1 if last else 2
    if not fc_fits_conv2d_pooled(&params, &x_image, &weights, &y_image):
        return None
    epilogue.activation = activation_word(activation)
    epilogue.bias, epilogue.residual = NULL, NULL
    if bias is not None:
        b = vector_array(bias, "bias", y_image.c, a, "x")
        epilogue.bias = cnp.PyArray_DATA(b)
    y = output_image(None, "y", &y_image, last, cnp.PyArray_TYPE(a))
    marks = marks_array(&y_image, last, params.dtype)
    y_image, mark_image = image_of(y, last), image_of(marks, last)
    with nogil:
        status = fc_conv2d_pooled(&params, &pool, &x_image, &weights, &epilogue, &y_image,
                                  &mark_image, &done)
    if status != FC_OK or not done:
        return None
    n, h, w, c = x_image.n, between.h, between.w, weights.c_out
    return y, marks, ((n, h, w, c) if last else (n, c, h, w))


def pooled_conv2d_backward(dy, marks, x, kernel, activation, needs, dict words):
    """Return the gradients of pooled_conv2d's kernel and bias, or None where they are had in turn."""
    cdef c_bool done = False
    cdef bint last = is_channels_last(words["data_format"])
    cdef cnp.ndarray a = input_array(x, "x", 4, _IMAGES)
    cdef cnp.ndarray k = input_array(kernel, "kernel", 4, _KERNEL)
    cdef cnp.ndarray d = cnp.PyArray_GETCONTIGUOUS(input_array(dy, "dy", 4, _IMAGES))
    cdef fc_conv2d_params params = words_of(a, words)
    cdef fc_image x_image = image_of(a, last), dy_image = image_of(d, last)
    cdef fc_image mark_image = image_of(marks, last)
    cdef fc_activation gate = activation_word(activation)
    cdef GradientArrays gradients = gradient_arrays(needs, a, k, dy_image.c, last)
    if gradients.x != NULL or gradients.kernel == NULL:
        return None
    cdef fc_status status
    with nogil:
        status = fc_conv2d_pooled_backward(&params, &dy_image, &mark_image, gate, &x_image,
                                           gradients.kernel, gradients.bias, &done)
    return gradients.result() if status == FC_OK and done else None
