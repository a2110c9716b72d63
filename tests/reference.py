"""Every operation of fastconv in NumPy and float64, written to be obviously right and never fast.

The functions carry the names, arguments and defaults of ``fastconv.functional`` and return float64
(elementwise functions: long double). Inputs are taken as they come: nothing is validated here.
Inside, arrays are channels_last; sizes along one axis of an image are one ``Axis``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Pair = int | tuple[int, int]
Padding = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


class Gradients(NamedTuple):
    """What a backward pass returns."""

    dx: Float64
    dkernel: Float64
    dbias: Float64


# ---------------------------------------------------------------------------------------- sizes


def as_pair(value: Any) -> tuple[int, int]:
    """Return ``(value, value)`` for an int and the pair itself for a pair."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@dataclass(frozen=True)
class Axis:
    """A window of ``k`` taps that slides along one axis of an image."""

    n: int
    before: int
    after: int
    k: int
    stride: int
    dilation: int
    out: int

    @property
    def k_eff(self) -> int:
        """The distance from the first tap to the last, plus one."""
        return (self.k - 1) * self.dilation + 1

    def tap(self, a: int) -> slice:
        """Select, of a padded axis, what tap ``a`` meets at each output position."""
        first = a * self.dilation
        return slice(first, first + (self.out - 1) * self.stride + 1, self.stride)

    def inside(self, i: int) -> list[tuple[int, int]]:
        """List ``(tap, input position)`` of window ``i``, leaving out taps in the padding."""
        first = i * self.stride - self.before
        positions = [(a, first + a * self.dilation) for a in range(self.k)]
        return [(a, p) for a, p in positions if 0 <= p < self.n]

    def padded_taps(self, i: int) -> int:
        """Count the taps of window ``i`` over input or padding, not beyond both (ceil mode)."""
        first = i * self.stride - self.before
        positions = [first + a * self.dilation for a in range(self.k)]
        return sum(-self.before <= p < self.n + self.after for p in positions)


def split_same(total: int, padding: str) -> tuple[int, int]:
    """Share ``total`` rows of padding: the odd one after ("same") or before ("same_lower")."""
    small, large = total // 2, total - total // 2
    return (small, large) if padding == "same" else (large, small)


def explicit_sides(padding: Any, dimension: int) -> tuple[int, int]:
    """Return (before, after) of dimension 0 (height) or 1 (width) where padding is numbers."""
    return as_pair(padding if isinstance(padding, int) else padding[dimension])


def sides(padding: Padding, dimension: int, n: int, k_eff: int, stride: int) -> tuple[int, int]:
    """Return the rows of padding (before, after) along one axis."""
    if padding == "valid":
        return 0, 0
    if isinstance(padding, str):
        out = -(-n // stride)
        return split_same(max((out - 1) * stride + k_eff - n, 0), padding)
    return explicit_sides(padding, dimension)


def make_axis(
    dimension: int,
    size: tuple[int, int],
    window: tuple[int, int],
    strides: Pair,
    padding: Padding,
    dilation_rate: Pair,
    ceil_mode: bool = False,
) -> Axis:
    """Work out one axis of a convolution or a pooling: 0 is the height, 1 the width."""
    n, k = size[dimension], window[dimension]
    stride, dilation = as_pair(strides)[dimension], as_pair(dilation_rate)[dimension]
    k_eff = (k - 1) * dilation + 1
    before, after = sides(padding, dimension, n, k_eff, stride)
    room = n + before + after - k_eff
    out = room // stride + 1
    if ceil_mode:
        out = (room + stride - 1) // stride + 1
        if (out - 1) * stride >= n + before:
            out -= 1
    return Axis(n, before, after, k, stride, dilation, out)


def to_last(x: Array, data_format: str) -> Float64:
    """Return x as float64 in channels_last."""
    x = np.asarray(x, np.float64)
    return x if data_format == "channels_last" else np.moveaxis(x, 1, -1)


def from_last(x: Array, data_format: str) -> Array:
    """Return a channels_last array in the data format asked for."""
    return np.ascontiguousarray(x if data_format == "channels_last" else np.moveaxis(x, -1, 1))


def last_shape(shape: tuple[int, ...], data_format: str) -> tuple[int, int, int, int]:
    """Return (n, h, w, c) of a shape in the data format given."""
    if data_format == "channels_last":
        n, h, w, c = shape
    else:
        n, c, h, w = shape
    return n, h, w, c


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


# -------------------------------------------------------------------------------------- pooling


def pool_axes(
    size: tuple[int, int],
    pool_size: Pair,
    strides: Pair | None,
    padding: Padding,
    dilation_rate: Pair,
    ceil_mode: bool,
) -> tuple[Axis, Axis]:
    """Work out both axes of a pooling, whose strides are the pool size unless told."""
    window = as_pair(pool_size)
    steps = window if strides is None else as_pair(strides)
    geometry = (size, window, steps, padding, dilation_rate, ceil_mode)
    return make_axis(0, *geometry), make_axis(1, *geometry)


def max_pool2d_with_indices(
    x: Array,
    pool_size: Pair = 2,
    *,
    strides: Pair | None = None,
    padding: Padding = "valid",
    dilation_rate: Pair = 1,
    ceil_mode: bool = False,
    data_format: str = "channels_last",
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Walk each window in row-major order; a strictly larger value, or the first NaN, takes it."""
    x = to_last(x, data_format)
    n, h, w, channels = x.shape
    rows, cols = pool_axes((h, w), pool_size, strides, padding, dilation_rate, ceil_mode)
    y = np.full((n, rows.out, cols.out, channels), -np.inf)
    indices = np.full(y.shape, -1, np.int64)
    for i in range(rows.out):
        for j in range(cols.out):
            for _, r in rows.inside(i):
                for _, c in cols.inside(j):
                    value, best = x[:, r, c], y[:, i, j]
                    takes = indices[:, i, j] < 0
                    takes |= (value > best) | (np.isnan(value) & ~np.isnan(best))
                    y[:, i, j] = np.where(takes, value, best)
                    indices[:, i, j] = np.where(takes, r * w + c, indices[:, i, j])
    return from_last(y, data_format), from_last(indices, data_format)


def max_pool2d(x: Array, pool_size: Pair = 2, **geometry: Any) -> Float64:
    """Return the largest value of each window."""
    return max_pool2d_with_indices(x, pool_size, **geometry)[0]


def min_pool2d_with_indices(
    x: Array, pool_size: Pair = 2, **geometry: Any
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Return the smallest values and where they were: the largest of -x, negated."""
    y, indices = max_pool2d_with_indices(-np.asarray(x, np.float64), pool_size, **geometry)
    return -y, indices


def min_pool2d(x: Array, pool_size: Pair = 2, **geometry: Any) -> Float64:
    """Return the smallest value of each window."""
    return min_pool2d_with_indices(x, pool_size, **geometry)[0]


def scatter(
    dy: Array, indices: Array, input_shape: tuple[int, ...], data_format: str = "channels_last"
) -> Float64:
    """Add each dy to the input place that its index names; -1 names none."""
    n, h, w, channels = last_shape(input_shape, data_format)
    dy = to_last(dy, data_format)
    places = indices if data_format == "channels_last" else np.moveaxis(indices, 1, -1)
    dx = np.zeros((n, h * w, channels))
    somewhere = places >= 0
    image, _, _, channel = np.nonzero(somewhere)
    np.add.at(dx, (image, places[somewhere], channel), dy[somewhere])
    return from_last(dx.reshape(n, h, w, channels), data_format)


def max_pool2d_backward(dy: Array, x: Array, pool_size: Pair = 2, **geometry: Any) -> Float64:
    """Give each gradient to the first of the largest values of its window."""
    _, indices = max_pool2d_with_indices(x, pool_size, **geometry)
    return scatter(dy, indices, x.shape, geometry.get("data_format", "channels_last"))


def min_pool2d_backward(dy: Array, x: Array, pool_size: Pair = 2, **geometry: Any) -> Float64:
    """Give each gradient to the first of the smallest values of its window."""
    _, indices = min_pool2d_with_indices(x, pool_size, **geometry)
    return scatter(dy, indices, x.shape, geometry.get("data_format", "channels_last"))


def average_weights(rows: Axis, cols: Axis, count_include_pad: bool) -> Float64:
    """Return, for each output pixel, one over the number of taps that count; 0 where none does."""
    weights = np.zeros((rows.out, cols.out))
    for i in range(rows.out):
        for j in range(cols.out):
            count = len(rows.inside(i)) * len(cols.inside(j))
            if count_include_pad:
                count = rows.padded_taps(i) * cols.padded_taps(j)
            weights[i, j] = 1.0 / count if count else 0.0
    return weights


def avg_pool2d(
    x: Array,
    pool_size: Pair = 2,
    *,
    strides: Pair | None = None,
    padding: Padding = "valid",
    dilation_rate: Pair = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    data_format: str = "channels_last",
) -> Float64:
    """Return the mean of the taps of each window that count."""
    x = to_last(x, data_format)
    n, h, w, channels = x.shape
    rows, cols = pool_axes((h, w), pool_size, strides, padding, dilation_rate, ceil_mode)
    weights = average_weights(rows, cols, count_include_pad)
    y = np.zeros((n, rows.out, cols.out, channels))
    for i in range(rows.out):
        for j in range(cols.out):
            for _, r in rows.inside(i):
                for _, c in cols.inside(j):
                    y[:, i, j] += x[:, r, c]
            y[:, i, j] *= weights[i, j]
    return from_last(y, data_format)


def avg_pool2d_backward(
    dy: Array,
    input_shape: tuple[int, ...],
    pool_size: Pair = 2,
    *,
    strides: Pair | None = None,
    padding: Padding = "valid",
    dilation_rate: Pair = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    data_format: str = "channels_last",
) -> Float64:
    """Share each gradient among the taps that its mean was taken of."""
    dy = to_last(dy, data_format)
    n, h, w, channels = last_shape(input_shape, data_format)
    rows, cols = pool_axes((h, w), pool_size, strides, padding, dilation_rate, ceil_mode)
    weights = average_weights(rows, cols, count_include_pad)
    dx = np.zeros((n, h, w, channels))
    for i in range(rows.out):
        for j in range(cols.out):
            for _, r in rows.inside(i):
                for _, c in cols.inside(j):
                    dx[:, r, c] += dy[:, i, j] * weights[i, j]
    return from_last(dx, data_format)


# ------------------------------------------------------------------------------- global pooling


def image_axes(data_format: str) -> tuple[int, int]:
    """Return the two axes of a batch that are the image's."""
    return (1, 2) if data_format == "channels_last" else (2, 3)


def global_max_pool2d(
    x: Array, *, keepdims: bool = False, data_format: str = "channels_last"
) -> Float64:
    """Return the largest value of each plane; NaN if it holds one."""
    y: Float64 = np.asarray(x, np.float64).max(axis=image_axes(data_format), keepdims=keepdims)
    return y


def global_max_pool2d_backward(
    dy: Array, x: Array, *, keepdims: bool = False, data_format: str = "channels_last"
) -> Float64:
    """Give each gradient to the first of the largest values of its plane."""
    dy = dy if keepdims else np.expand_dims(dy, image_axes(data_format))
    _, h, w, _ = last_shape(x.shape, data_format)
    return max_pool2d_backward(dy, x, (h, w), data_format=data_format)


def global_avg_pool2d(
    x: Array, *, keepdims: bool = False, data_format: str = "channels_last"
) -> Float64:
    """Return the mean of each plane."""
    y: Float64 = np.asarray(x, np.float64).mean(axis=image_axes(data_format), keepdims=keepdims)
    return y


def global_avg_pool2d_backward(
    dy: Array,
    input_shape: tuple[int, ...],
    *,
    keepdims: bool = False,
    data_format: str = "channels_last",
) -> Float64:
    """Share each gradient evenly over its plane."""
    dy = np.asarray(dy, np.float64)
    dy = dy if keepdims else np.expand_dims(dy, image_axes(data_format))
    _, h, w, _ = last_shape(input_shape, data_format)
    return np.broadcast_to(dy / (h * w), input_shape).copy()


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


def softmax(x: Array) -> Array:
    """Return e**x over its sum along the last axis."""
    x = np.asarray(x, np.longdouble)
    powers = exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
