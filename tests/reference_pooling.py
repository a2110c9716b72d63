"""Every pooling of the reference: window by window, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reference_sizes import (
    Array,
    Axis,
    Float64,
    Padding,
    Pair,
    as_pair,
    from_last,
    last_shape,
    make_axis,
    to_last,
)

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


def global_max_pool2d_with_indices(
    x: Array, *, keepdims: bool = False, data_format: str = "channels_last"
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Return the largest value of each plane, and ``h * w_in + w`` of the first."""
    _, h, w, _ = last_shape(x.shape, data_format)
    y, indices = max_pool2d_with_indices(x, (h, w), data_format=data_format)
    axes = image_axes(data_format)
    return (y, indices) if keepdims else (y.squeeze(axes), indices.squeeze(axes))


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
