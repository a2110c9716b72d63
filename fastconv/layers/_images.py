"""What the layers of images share: their axes, their borders, their output shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape

Sides: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

_OPEN = 1 << 15
"""Stands for a size that is open while the others are probed: larger than any window."""


def probed_shape(
    operation: Callable[[Array], Array], shape: Shape, dtype: np.dtype[np.floating[Any]]
) -> Shape:
    """Return the shape of the operation's result for an x of rank 4, None where a size is open.

    The operation runs on an empty batch, which computes nothing: the formula of output sizes, and
    the errors where there is no output, stand in one place, below.
    """
    probe = np.empty((0, *(_OPEN if size is None else size for size in shape[1:])), dtype)
    result = operation(probe).shape
    return (
        shape[0],
        *(None if x is None else y for x, y in zip(shape[1:], result[1:], strict=True)),
    )


def spatial_axes(data_format: str) -> tuple[int, int]:
    """Return the axes of height and width."""
    return (1, 2) if data_format == "channels_last" else (2, 3)


def channel_axis(data_format: str) -> int:
    """Return the axis of the channels."""
    return 3 if data_format == "channels_last" else 1


def resized(shape: Shape, data_format: str, size: Sequence[int | None]) -> Shape:
    """Return a shape with another height and width."""
    sizes = list(shape)
    for axis, side in zip(spatial_axes(data_format), size, strict=True):
        sizes[axis] = side
    return tuple(sizes)


def sides(name: str, value: object) -> Sides:
    """Return ((top, bottom), (left, right)) from that, a pair (height, width), or one int."""
    both = value
    if isinstance(value, (int, np.integer)):
        both = (value, value)
    if not isinstance(both, Sequence) or isinstance(both, str) or len(both) != 2:
        raise _wrong_sides(name, value)
    rows, columns = (_two(f"{name}[{axis}]", pair, name, value) for axis, pair in enumerate(both))
    return rows, columns


def _two(part: str, pair: object, name: str, value: object) -> tuple[int, int]:
    """Return the two sides of one direction, given as one int or two."""
    if isinstance(pair, (int, np.integer)):
        side = _checks.integer(part, pair, 0)
        return side, side
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise _wrong_sides(name, value)
    return _checks.integer(f"{part}[0]", pair[0], 0), _checks.integer(f"{part}[1]", pair[1], 0)


def _wrong_sides(name: str, value: object) -> TypeError:
    return TypeError(
        f"{name} must be an integer, a pair (height, width) or ((top, bottom), (left, right)), "
        f"received {value!r}"
    )
