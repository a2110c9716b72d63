"""Every operation of fastconv in NumPy and float64, written to be obviously right and never fast.

The functions carry the names, arguments and defaults of ``fastconv.functional`` and return float64
(elementwise functions: long double). Inputs are taken as they come: nothing is validated here.
Inside, arrays are channels_last; sizes along one axis of an image are one ``Axis``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reference_pooling import (
    average_weights,
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_max_pool2d,
    global_max_pool2d_backward,
    global_max_pool2d_with_indices,
    image_axes,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_with_indices,
    min_pool2d,
    min_pool2d_backward,
    min_pool2d_with_indices,
    pool_axes,
    scatter,
)
from reference_sizes import (
    Array,
    Axis,
    Float64,
    Padding,
    Pair,
    as_pair,
    explicit_sides,
    from_last,
    last_shape,
    make_axis,
    sides,
    split_same,
    to_last,
)

__all__ = [
    "Axis",
    "as_pair",
    "average_weights",
    "avg_pool2d",
    "avg_pool2d_backward",
    "explicit_sides",
    "from_last",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "global_max_pool2d_with_indices",
    "image_axes",
    "last_shape",
    "make_axis",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_with_indices",
    "min_pool2d",
    "min_pool2d_backward",
    "min_pool2d_with_indices",
    "pool_axes",
    "scatter",
    "sides",
    "split_same",
    "to_last",
]


class Gradients(NamedTuple):
    """What a backward pass returns."""

    dx: Float64
    dkernel: Float64
    dbias: Float64


# ---------------------------------------------------------------------------------- convolution


def source_positions(axis: Axis, padding_mode: str) -> npt.NDArray[np.int64]:
    """Say for each position of a padded axis which input position it repeats; -1: the constant."""
    positions = np.arange(axis.n)
    if padding_mode == "constant":
        return np.pad(positions, (axis.before, axis.after), constant_values=-1)
    return np.pad(positions, (axis.before, axis.after), mode=padding_mode)  # type: ignore[call-overload, no-any-return]


def pad(x: Float64, rows: Axis, cols: Axis, padding_mode: str, padding_value: float) -> Float64:
    """Return x with its padding around it."""
    r, c = source_positions(rows, padding_mode), source_positions(cols, padding_mode)
    padded = x[:, r][:, :, c]
    padded[:, r < 0] = padding_value
    padded[:, :, c < 0] = padding_value
    return padded


def pad_adjoint(dpadded: Float64, rows: Axis, cols: Axis, padding_mode: str) -> Float64:
    """Add every position of a padded array back to the input position that it repeats."""
    n, _, _, channels = dpadded.shape
    dx = np.zeros((n, rows.n, cols.n, channels))
    for i, r in enumerate(source_positions(rows, padding_mode)):
        for j, c in enumerate(source_positions(cols, padding_mode)):
            if r >= 0 and c >= 0:
                dx[:, r, c] += dpadded[:, i, j]
    return dx


def each_tap(
    rows: Axis, cols: Axis, groups: int, wide: int, narrow: int
) -> Iterator[tuple[tuple[int, int, slice, slice], tuple[slice, slice, slice, slice], slice]]:
    """Give, for every tap and group, the indices that name its three operands.

    The first index is for the kernel (kh, kw, wide // groups, narrow), the second for the padded
    image of ``wide`` channels, the third for the channels of the other image, which has ``narrow``.
    """
    everything = slice(None)
    for a in range(rows.k):
        for b in range(cols.k):
            for g in range(groups):
                into = slice(g * wide // groups, (g + 1) * wide // groups)
                out_of = slice(g * narrow // groups, (g + 1) * narrow // groups)
                window = (everything, rows.tap(a), cols.tap(b), into)
                yield (a, b, everything, out_of), window, out_of


def activate(y: Float64, activation: str | None) -> Float64:
    """Apply None, "relu" or "relu6"; NaN stays NaN."""
    if activation is None:
        return y
    y = np.where(y < 0, 0.0, y)
    return np.where(y > 6, 6.0, y) if activation == "relu6" else y


def conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Pair = 1,
    padding: Padding = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
    data_format: str = "channels_last",
    padding_mode: str = "constant",
    padding_value: float = 0.0,
    activation: str | None = None,
    residual: Array | None = None,
) -> Float64:
    """Sum x * kernel over every tap and channel of each window."""
    x, kernel = to_last(x, data_format), np.asarray(kernel, np.float64)
    kh, kw, _, c_out = kernel.shape
    rows = make_axis(0, x.shape[1:3], (kh, kw), strides, padding, dilation_rate)
    cols = make_axis(1, x.shape[1:3], (kh, kw), strides, padding, dilation_rate)
    padded = pad(x, rows, cols, padding_mode, padding_value)
    y = np.zeros((x.shape[0], rows.out, cols.out, c_out))
    for weights, window, out in each_tap(rows, cols, groups, x.shape[3], c_out):
        y[..., out] += padded[window] @ kernel[weights]
    if bias is not None:
        y += bias
    if residual is not None:
        y += to_last(residual, data_format)
    return from_last(activate(y, activation), data_format)


def conv2d_backward(
    dy: Array,
    x: Array,
    kernel: Array,
    *,
    strides: Pair = 1,
    padding: Padding = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
    data_format: str = "channels_last",
    padding_mode: str = "constant",
    padding_value: float = 0.0,
) -> Gradients:
    """Return the adjoint of conv2d, tap by tap."""
    dy, x = to_last(dy, data_format), to_last(x, data_format)
    kernel = np.asarray(kernel, np.float64)
    kh, kw, _, c_out = kernel.shape
    rows = make_axis(0, x.shape[1:3], (kh, kw), strides, padding, dilation_rate)
    cols = make_axis(1, x.shape[1:3], (kh, kw), strides, padding, dilation_rate)
    padded = pad(x, rows, cols, padding_mode, padding_value)
    dpadded, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
    for weights, window, out in each_tap(rows, cols, groups, x.shape[3], c_out):
        dpadded[window] += dy[..., out] @ kernel[weights].T
        dkernel[weights] += np.tensordot(padded[window], dy[..., out], axes=((0, 1, 2), (0, 1, 2)))
    dx = pad_adjoint(dpadded, rows, cols, padding_mode)
    return Gradients(from_last(dx, data_format), dkernel, dy.sum(axis=(0, 1, 2)))


# ------------------------------------------------------------------------ transposed convolution


def transposed_axis(
    dimension: int,
    size: tuple[int, int],
    window: tuple[int, int],
    strides: Pair,
    padding: Padding,
    dilation_rate: Pair,
    output_padding: Pair | None,
) -> Axis:
    """Return the axis of the convolution whose input gradient the transposed one is.

    Its ``n`` is the size of the transposed result and its ``out`` that of the transposed input.
    """
    h, k = size[dimension], window[dimension]
    stride, dilation = as_pair(strides)[dimension], as_pair(dilation_rate)[dimension]
    k_eff = (k - 1) * dilation + 1
    extra = 0 if output_padding is None else as_pair(output_padding)[dimension]
    if not isinstance(padding, str):
        before, after = explicit_sides(padding, dimension)
        n = (h - 1) * stride - before - after + k_eff + extra
        return Axis(n, before, after, k, stride, dilation, h)
    if padding == "valid":
        n = h * stride + max(k_eff - stride, 0)
        n = n if output_padding is None else (h - 1) * stride + k_eff + extra
        return Axis(n, 0, 0, k, stride, dilation, h)
    n = h * stride if output_padding is None else (h - 1) * stride + k_eff % 2 + extra
    before, after = split_same(max((h - 1) * stride + k_eff - n, 0), padding)
    return Axis(n, before, after, k, stride, dilation, h)


def reach(axis: Axis) -> int:
    """Size a canvas for everything that the taps touch and everything that is kept of it."""
    return max((axis.out - 1) * axis.stride + axis.k_eff, axis.before + axis.n)


def conv2d_transpose(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Pair = 1,
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation_rate: Pair = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> Float64:
    """Stamp x[i, j] * kernel on a canvas at (i, j) * strides, then keep what is not padding."""
    x, kernel = to_last(x, data_format), np.asarray(kernel, np.float64)
    kh, kw, c_out, c_in = kernel.shape[0], kernel.shape[1], kernel.shape[2] * groups, x.shape[3]
    geometry = (x.shape[1:3], (kh, kw), strides, padding, dilation_rate, output_padding)
    rows, cols = transposed_axis(0, *geometry), transposed_axis(1, *geometry)
    canvas = np.zeros((x.shape[0], reach(rows), reach(cols), c_out))
    for weights, window, into in each_tap(rows, cols, groups, c_out, c_in):
        canvas[window] += x[..., into] @ kernel[weights].T
    y = canvas[:, rows.before : rows.before + rows.n, cols.before : cols.before + cols.n]
    return from_last(y if bias is None else y + bias, data_format)


def conv2d_transpose_backward(
    dy: Array,
    x: Array,
    kernel: Array,
    *,
    strides: Pair = 1,
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation_rate: Pair = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> Gradients:
    """Return the adjoint of conv2d_transpose: lay dy on the canvas and read it tap by tap."""
    dy, x = to_last(dy, data_format), to_last(x, data_format)
    kernel = np.asarray(kernel, np.float64)
    kh, kw, c_out, c_in = kernel.shape[0], kernel.shape[1], kernel.shape[2] * groups, x.shape[3]
    geometry = (x.shape[1:3], (kh, kw), strides, padding, dilation_rate, output_padding)
    rows, cols = transposed_axis(0, *geometry), transposed_axis(1, *geometry)
    canvas = np.zeros((x.shape[0], reach(rows), reach(cols), c_out))
    canvas[:, rows.before : rows.before + rows.n, cols.before : cols.before + cols.n] = dy
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for weights, window, into in each_tap(rows, cols, groups, c_out, c_in):
        dx[..., into] += canvas[window] @ kernel[weights]
        dkernel[weights] += np.tensordot(canvas[window], x[..., into], axes=((0, 1, 2), (0, 1, 2)))
    return Gradients(from_last(dx, data_format), dkernel, dy.sum(axis=(0, 1, 2)))


# ---------------------------------------------------------------------------------------- dense


def dense(
    x: Array, kernel: Array, bias: Array | None = None, *, activation: str | None = None
) -> Float64:
    """Return x @ kernel + bias."""
    y = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    return activate(y if bias is None else y + bias, activation)


def dense_backward(dy: Array, x: Array, kernel: Array) -> Gradients:
    """Return the three gradients of x @ kernel + bias."""
    dy, x, kernel = (np.asarray(a, np.float64) for a in (dy, x, kernel))
    return Gradients(dy @ kernel.T, x.T @ dy, dy.sum(axis=0))


# ---------------------------------------------------------------------------------- elementwise


def exp(x: Array) -> Array:
    """Return e**x."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(np.asarray(x, np.longdouble))


def log(x: Array) -> Array:
    """Return the natural logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.asarray(x, np.longdouble))


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    return np.tanh(np.asarray(x, np.longdouble))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e**-x)."""
    return 1 / (1 + exp(-np.asarray(x, np.longdouble)))


def activation_backward(dy: Array, y: Array, activation: str | None) -> Array:
    """Return dy where the activation that gave y lets it through, +0 elsewhere."""
    everywhere = np.ones_like(y, bool)
    through = {None: everywhere, "relu": y > 0, "relu6": (y > 0) & (y < 6)}[activation]
    return np.where(through, dy, dy.dtype.type(0))


def softmax(x: Array) -> Array:
    """Return e**x over its sum along the last axis."""
    x = np.asarray(x, np.longdouble)
    powers = exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
