# Arrays in and out: what is accepted, what is copied, and how the C library sees it.


cdef bint is_masked(object value):
    """Whether value is a masked array; there is none before numpy.ma, which is slow to import."""
    masked = _sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


cdef cnp.ndarray input_array(object value, str name, int ndim, str meaning):
    """An ndarray of native float32 or float64 with ndim dimensions, aligned to its elements."""
    if not cnp.PyArray_Check(value) or (
        not cnp.PyArray_CheckExact(value) and is_masked(value)
    ):
        raise _errors.not_an_array(name, value)
    cdef cnp.ndarray array = value
    cdef int kind = cnp.PyArray_TYPE(array)
    if (kind != cnp.NPY_FLOAT32 and kind != cnp.NPY_FLOAT64) or not PyArray_ISNOTSWAPPED(array):
        raise _errors.bad_dtype(name, array.dtype)
    if cnp.PyArray_NDIM(array) != ndim:
        raise _errors.bad_rank(name, value.shape, meaning)
    if not addressable(array):
        array = cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)
    return array


cdef bint addressable(cnp.ndarray array) noexcept:
    """Whether every element is aligned and a whole number of elements from the first."""
    cdef cnp.npy_intp size = cnp.PyArray_ITEMSIZE(array)
    cdef int i
    if not cnp.PyArray_ISALIGNED(array):
        return False
    for i in range(cnp.PyArray_NDIM(array)):
        if cnp.PyArray_STRIDE(array, i) % size:
            return False
    return True


cdef int same_dtype(cnp.ndarray array, str name, cnp.ndarray first, str first_name) except -1:
    if cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(first):
        raise _errors.other_dtype(name, array.dtype, first_name, first.dtype)
    return 0


cdef inline fc_dtype dtype_of(cnp.ndarray array) noexcept:
    return FC_FLOAT32 if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32 else FC_FLOAT64


cdef fc_image image_of(cnp.ndarray array, bint channels_last) noexcept:
    """A batch of images in the given layout, as the C library sees it."""
    cdef cnp.npy_intp *size = cnp.PyArray_DIMS(array)
    cdef cnp.npy_intp *stride = cnp.PyArray_STRIDES(array)
    cdef cnp.npy_intp item = cnp.PyArray_ITEMSIZE(array)
    cdef int h = 1 if channels_last else 2, c = 3 if channels_last else 1
    cdef fc_image image
    image.data = cnp.PyArray_DATA(array)
    image.n, image.h, image.w, image.c = size[0], size[h], size[h + 1], size[c]
    image.stride_n, image.stride_h = stride[0] // item, stride[h] // item
    image.stride_w, image.stride_c = stride[h + 1] // item, stride[c] // item
    return image


cdef fc_image rows_of(cnp.ndarray array) noexcept:
    """A matrix (n, c) as n images of one pixel."""
    cdef cnp.npy_intp item = cnp.PyArray_ITEMSIZE(array)
    cdef fc_image image
    image.data = cnp.PyArray_DATA(array)
    image.n, image.h, image.w, image.c = cnp.PyArray_DIM(array, 0), 1, 1, cnp.PyArray_DIM(array, 1)
    image.stride_n = image.stride_h = image.stride_w = cnp.PyArray_STRIDE(array, 0) // item
    image.stride_c = cnp.PyArray_STRIDE(array, 1) // item
    return image


cdef fc_image row_of(cnp.ndarray array) noexcept:
    """A matrix (n, c) as one image of n pixels in a row: what a dense layer sums over."""
    cdef fc_image image = rows_of(array)
    if image.n:
        image.n, image.w = 1, image.n
    return image


cdef fc_weights weights_of(cnp.ndarray array) noexcept:
    """A kernel (kh, kw, c_in, c_out), or a matrix (c_in, c_out) as one tap."""
    cdef int taps = cnp.PyArray_NDIM(array) - 2
    cdef cnp.npy_intp *size = cnp.PyArray_DIMS(array)
    cdef cnp.npy_intp *stride = cnp.PyArray_STRIDES(array)
    cdef cnp.npy_intp item = cnp.PyArray_ITEMSIZE(array)
    cdef fc_weights weights
    weights.data = cnp.PyArray_DATA(array)
    weights.kh = size[0] if taps else 1
    weights.kw = size[1] if taps else 1
    weights.stride_kh = stride[0] // item if taps else 0
    weights.stride_kw = stride[1] // item if taps else 0
    weights.c_in, weights.c_out = size[taps], size[taps + 1]
    weights.stride_c_in, weights.stride_c_out = stride[taps] // item, stride[taps + 1] // item
    return weights


cdef cnp.ndarray vector_array(object value, str name, cnp.npy_intp size, cnp.ndarray first,
                              str first_name):
    """A contiguous vector of that size and of the dtype of the first array."""
    cdef cnp.ndarray array = input_array(value, name, 1, "(c_out,)")
    same_dtype(array, name, first, first_name)
    if cnp.PyArray_DIM(array, 0) != size:
        raise _errors.bad_shape(name, value.shape, (size,))
    return cnp.PyArray_GETCONTIGUOUS(array)


cdef fc_status countable(const fc_image *sizes) noexcept:
    """Whether the bytes of an image can be counted."""
    cdef int64_t bytes = 1 << 4, size
    for size in (sizes.n, sizes.h, sizes.w, sizes.c):
        if size and bytes > (<int64_t>1 << 62) // size:
            return FC_OVERFLOW
        bytes *= size if size else 1
    return FC_OK


cdef cnp.ndarray output_array(object out, str name, int ndim, cnp.npy_intp *size, int kind):
    """The array to compute into: a new one where `out` is None or not aligned, else `out`."""
    cdef int i
    if out is None:
        return new_array(ndim, size, kind)
    if not cnp.PyArray_Check(out):
        raise _errors.bad_out(name, out, "")
    cdef cnp.ndarray array = out
    cdef bint fits = cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_TYPE(array) == kind
    for i in range(ndim if fits else 0):
        fits = fits and cnp.PyArray_DIM(array, i) == size[i]
        fits = fits and (size[i] < 2 or cnp.PyArray_STRIDE(array, i) != 0)
    if (not fits or not PyArray_ISNOTSWAPPED(array) or not cnp.PyArray_ISWRITEABLE(array)
            or is_masked(out)):
        raise _errors.bad_out(name, out, "be a writeable array of shape %s and dtype %s" % (
            tuple([size[j] for j in range(ndim)]), cnp.PyArray_DescrFromType(kind)))
    return array if addressable(array) else new_array(ndim, size, kind)


cdef object delivered(object out, cnp.ndarray y):
    """The result where the caller wants it: copied, if `out` could not be computed into."""
    if out is None or out is y:
        return y
    cnp.PyArray_CopyInto(out, y)
    return out


cdef cnp.ndarray output_image(object out, str name, const fc_image *sizes, bint channels_last,
                              int kind):
    """The output of a call on images: n x h x w x c in the given layout."""
    cdef cnp.npy_intp size[4]
    size[0] = sizes.n
    size[1] = sizes.h if channels_last else sizes.c
    size[2] = sizes.w if channels_last else sizes.h
    size[3] = sizes.c if channels_last else sizes.w
    return output_array(out, name, 4, size, kind)


cdef int no_overlap(object out, object first, str first_name) except -1:
    """A given output must not share memory with an input."""
    if out is not None and first is not None and _numpy.may_share_memory(out, first):
        try:
            shared = _numpy.shares_memory(out, first, max_work=1000)
        except _numpy.exceptions.TooHardError:
            shared = True
        if shared:
            raise _errors.overlap("out", first_name)
    return 0


cdef cnp.ndarray like(cnp.ndarray array):
    """A new C-contiguous array of the same shape and dtype."""
    return new_array(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array))
