"""The sizes of the reference: windows along an axis, padding, data formats; NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Pair = int | tuple[int, int]
Padding = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


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
