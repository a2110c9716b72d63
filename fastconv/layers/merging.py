"""The layers that make one array of several: x is a list, and so is dx."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.activations import kept
from fastconv.layers._base import LayerOptions
from fastconv.layers._merging import Elementwise, Merging, Pull

__all__ = ["Add", "Average", "Concatenate", "Maximum", "Multiply"]


class Add(Elementwise):
    """``y = x[0] + x[1] + ...``, added in this order; every dx is dy.

    Shapes may differ in axes of length 1, which are stretched; the gradient adds up over them.

    Parameters
    ----------
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import Add
    >>> layer = Add()
    >>> y, backprop = layer.forward([[[1.0, 2.0]], [[10.0, 20.0]]])
    >>> y
    array([[11., 22.]], dtype=float32)
    >>> backprop([[1.0, 1.0]])[0]
    [array([[1., 1.]], dtype=float32), array([[1., 1.]], dtype=float32)]
    """

    def _merge(self, parts: list[Array]) -> tuple[Array, Pull]:
        return _total(parts), lambda dy: [dy] * len(parts)


class Average(Elementwise):
    """``y = (x[0] + x[1] + ...) / count``; every dx is dy / count. Shapes are `Add`'s.

    Examples
    --------
    >>> from fastconv.layers import Average
    >>> Average()([[[1.0, 2.0]], [[3.0, 6.0]]])
    array([[2., 4.]], dtype=float32)
    """

    def _merge(self, parts: list[Array]) -> tuple[Array, Pull]:
        count = len(parts)
        return _total(parts) / count, lambda dy: [dy / count] * count


class Multiply(Elementwise):
    """``y = x[0] * x[1] * ...``; dx[i] is dy times all the others. Shapes are `Add`'s.

    Examples
    --------
    >>> from fastconv.layers import Multiply
    >>> Multiply()([[[1.0, 2.0]], [[3.0, 6.0]]])
    array([[ 3., 12.]], dtype=float32)
    """

    def _merge(self, parts: list[Array]) -> tuple[Array, Pull]:
        y = parts[0]
        for part in parts[1:]:
            y = y * part

        def pull(dy: Array) -> list[Array]:
            grads = []
            for index in range(len(parts)):
                grad = dy
                for other in parts[:index] + parts[index + 1 :]:
                    grad = grad * other
                grads.append(grad)
            return grads

        return y, pull


class Maximum(Elementwise):
    """``y = max(x[0], x[1], ...)``, number by number. Shapes are `Add`'s.

    dy goes to the largest, among equals to the first. A NaN wins, the first one before others.

    Examples
    --------
    >>> from fastconv.layers import Maximum
    >>> Maximum()([[[1.0, 6.0]], [[3.0, 2.0]]])
    array([[3., 6.]], dtype=float32)
    """

    def _merge(self, parts: list[Array]) -> tuple[Array, Pull]:
        y, *others = np.broadcast_arrays(*parts)
        winner = np.zeros(y.shape, np.intp)
        for index, part in enumerate(others, 1):
            better = (part > y) | (np.isnan(part) & ~np.isnan(y))
            y = np.where(better, part, y)
            winner[better] = index
        return y, lambda dy: [kept(dy, winner == index) for index in range(len(parts))]


class Concatenate(Merging):
    """The inputs one after the other along an axis; dx[i] is its part of dy.

    Parameters
    ----------
    axis
        Not the batch; the other axes have one size in all inputs.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Concatenate
    >>> Concatenate()([np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 5))]).shape
    (2, 4, 4, 8)
    """

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = _checks.integer("axis", axis, least=-32)

    def _output_shape(self, shape: Any) -> Shape:
        first: Shape = shape[0]
        (axis,) = _checks.axes_of(self.name, (self.axis,), first)
        sizes: list[int | None] = list(first)
        for part in shape[1:]:
            if len(part) != len(first):
                raise self.misfit(shape)
            for index, length in enumerate(part):
                known = sizes[index]
                if index == axis:
                    sizes[index] = None if None in (known, length) else known + length
                elif known is None:
                    sizes[index] = length
                elif length not in (None, known):
                    raise self.misfit(shape)
        return tuple(sizes)

    def _merge(self, parts: list[Array]) -> tuple[Array, Pull]:
        axis = self.axis
        ends = np.cumsum([part.shape[axis] for part in parts])[:-1]
        return np.concatenate(parts, axis), lambda dy: np.split(dy, ends, axis)


def _total(parts: list[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
