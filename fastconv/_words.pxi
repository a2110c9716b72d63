# The words of a call, such as strides and padding, turned into numbers.

cdef dict _STATUS_NAMES = {
    <int>FC_NO_MEMORY: "no_memory",
    <int>FC_BAD_ARGUMENT: "bad_argument",
    <int>FC_BAD_STRIDES: "bad_strides",
    <int>FC_BAD_DILATION: "bad_dilation",
    <int>FC_BAD_GROUPS: "bad_groups",
    <int>FC_BAD_CHANNELS: "bad_channels",
    <int>FC_BAD_PADDING: "bad_padding",
    <int>FC_PADDING_TOO_LARGE: "padding_too_large",
    <int>FC_BAD_OUTPUT_PADDING: "bad_output_padding",
    <int>FC_EMPTY_KERNEL: "empty_kernel",
    <int>FC_EMPTY_OUTPUT: "empty_output",
    <int>FC_OVERFLOW: "overflow",
    <int>FC_BAD_SHAPE: "bad_shape",
    <int>FC_BAD_INDEX: "bad_index",
    <int>FC_BAD_ALGORITHM: "bad_algorithm",
    <int>FC_PACKED_MISMATCH: "packed_mismatch",
}


cdef int fail(fc_status status, dict facts) except -1:
    """Raise what a status of the C library means; facts are the arguments, by name."""
    raise _errors.from_status(_STATUS_NAMES[<int>status], facts)


cdef extern from "Python.h":
    bint PyLong_CheckExact(object)
    int64_t PyLong_AsLongLongAndOverflow(object, int *) except? -1


cdef int64_t whole_number(object value, str name, str allowed) except? -1:
    """An int (not a bool) that fits into 62 bits."""
    cdef int overflow = 0
    cdef int64_t number
    if PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow and -(<int64_t>1 << 62) < number < <int64_t>1 << 62:
            return number
    if isinstance(value, bool) or isinstance(value, _numpy.bool_):
        raise _errors.bad_value(name, value, allowed, TypeError)
    try:
        value = _index(value)
    except TypeError:
        raise _errors.bad_value(name, value, allowed, TypeError) from None
    if not -(1 << 62) < value < 1 << 62:
        raise _errors.bad_value(name, value, allowed + " that fits into 62 bits", ValueError)
    return value


cdef int pair(object value, str name, int64_t *numbers) except -1:
    """One whole number for both directions, or (vertical, horizontal)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise _errors.bad_value(name, value, "an int or a pair of them", ValueError)
        numbers[0] = whole_number(value[0], name, "an int or a pair of them")
        numbers[1] = whole_number(value[1], name, "an int or a pair of them")
    else:
        numbers[0] = numbers[1] = whole_number(value, name, "an int or a pair of them")
    return 0


cdef str _PADDINGS = (
    "'valid', 'same', 'same_lower', an int, (vertical, horizontal) or "
    "((top, bottom), (left, right))"
)


cdef fc_padding padding_word(object padding, int64_t numbers[2][2]) except *:
    """The kind of padding, and its numbers where they are given."""
    cdef int i
    numbers[0][0] = numbers[0][1] = numbers[1][0] = numbers[1][1] = 0
    if isinstance(padding, str):
        if padding == "valid":
            return FC_VALID
        if padding == "same":
            return FC_SAME
        if padding == "same_lower":
            return FC_SAME_LOWER
        raise _errors.bad_value("padding", padding, _PADDINGS, ValueError)
    if isinstance(padding, (tuple, list)):
        if len(padding) != 2:
            raise _errors.bad_value("padding", padding, _PADDINGS, ValueError)
        for i in range(2):
            if not isinstance(padding[i], (tuple, list)):
                numbers[i][0] = numbers[i][1] = whole_number(padding[i], "padding", _PADDINGS)
            elif len(padding[i]) != 2:
                raise _errors.bad_value("padding", padding, _PADDINGS, ValueError)
            else:
                numbers[i][0] = whole_number(padding[i][0], "padding", _PADDINGS)
                numbers[i][1] = whole_number(padding[i][1], "padding", _PADDINGS)
    else:
        numbers[0][0] = whole_number(padding, "padding", _PADDINGS)
        numbers[0][1] = numbers[1][0] = numbers[1][1] = numbers[0][0]
    return FC_EXPLICIT


cdef bint is_channels_last(object data_format) except -1:
    if data_format == "channels_last":
        return True
    if data_format == "channels_first":
        return False
    raise _errors.bad_word("data_format", data_format, ("channels_last", "channels_first"))


cdef bint flag(object value, str name) except -1:
    if value is True:
        return True
    if value is False:
        return False
    raise _errors.bad_value(name, value, "True or False", TypeError)


cdef fc_activation activation_word(object activation) except *:
    if activation is None:
        return FC_LINEAR
    if activation == "relu":
        return FC_RELU
    if activation == "relu6":
        return FC_RELU6
    raise _errors.bad_word("activation", activation, (None, "relu", "relu6"))


cdef fc_padding_mode padding_mode_word(object padding_mode) except *:
    if padding_mode == "constant":
        return FC_CONSTANT
    if padding_mode == "reflect":
        return FC_REFLECT
    if padding_mode == "edge":
        return FC_EDGE
    if padding_mode == "wrap":
        return FC_WRAP
    raise _errors.bad_word("padding_mode", padding_mode, ("constant", "reflect", "edge", "wrap"))


cdef fc_algorithm algorithm_word(object algorithm) except *:
    if algorithm == "auto":
        return FC_AUTO
    if algorithm == "direct":
        return FC_DIRECT
    if algorithm == "winograd":
        return FC_WINOGRAD
    raise _errors.bad_word("algorithm", algorithm, ("auto", "direct", "winograd"))


cdef double real_number(object value, str name) except? -1:
    if type(value) is float:
        return value
    if isinstance(value, (bool, _numpy.bool_)) or not isinstance(value, _Real):
        raise _errors.bad_value(name, value, "a real number", TypeError)
    try:
        return float(value)
    except OverflowError:
        raise _errors.bad_value(name, value, "a real number that fits into a float",
                                ValueError) from None


cdef int needed(object needs, bint *x, bint *kernel, bint *bias) except -1:
    """Which gradients are asked for."""
    x[0] = kernel[0] = bias[0] = False
    if isinstance(needs, str) or not isinstance(needs, (tuple, list, set, frozenset)):
        raise _errors.bad_value("needs", needs, "a tuple of 'x', 'kernel' and 'bias'", TypeError)
    for word in needs:
        if word == "x":
            x[0] = True
        elif word == "kernel":
            kernel[0] = True
        elif word == "bias":
            bias[0] = True
        else:
            raise _errors.bad_word("needs", word, ("x", "kernel", "bias"))
    return 0
