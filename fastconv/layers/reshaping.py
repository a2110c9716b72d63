"""The layers that move numbers without changing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._step import Step

__all__ = ["Flatten", "Reshape"]


class Flatten(Layer):
    """Each example as one row: (n, ...) to (n, size).

    Parameters
    ----------
    data_format
        "channels_last", the default, leaves the order of the numbers as it is. "channels_first"
        takes the channels of (n, c, ...) last, so that a network gives the same rows, and can
        exchange weights, in both layouts.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Flatten
    >>> Flatten()(np.zeros((2, 5, 5, 16))).shape
    (2, 400)
    """

    def __init__(self, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.data_format = _checks.data_format(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        sizes = [size for size in shape[1:] if size is not None]
        return shape[0], math.prod(sizes) if len(sizes) == len(shape) - 1 else None

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        first = self.data_format == "channels_first" and x.ndim > 2
        moved = np.moveaxis(x, 1, -1) if first else x
        y = moved.reshape(x.shape[0], math.prod(x.shape[1:]))

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            dx = dy.reshape(moved.shape)
            return np.moveaxis(dx, -1, 1) if first else dx, []

        return y, pullback


class Reshape(Layer):
    """Each example in another shape, its numbers in the same order: (n, ...) to (n, *target_shape).

    Parameters
    ----------
    target_shape
        Without the batch; one size may be -1, which is then what is left.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Reshape
    >>> Reshape((-1, 4))(np.zeros((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.target_shape = _checks.integers("target_shape", target_shape, least=-1)
        if self.target_shape.count(-1) > 1:
            raise ValueError(f"target_shape must have at most one -1, received {target_shape}")

    def _output_shape(self, shape: Shape) -> Shape:
        sizes = [size for size in shape[1:] if size is not None]
        known = math.prod(size for size in self.target_shape if size != -1)
        if len(sizes) < len(shape) - 1:  # open: checked when there is an x
            return shape[0], *(None if size == -1 else size for size in self.target_shape)
        total, free = math.prod(sizes), -1 in self.target_shape
        if (free and (known == 0 or total % known)) or (not free and known != total):
            raise ValueError(
                f"layer {self.name!r} cannot give {_checks.text(shape)}, {total} numbers an "
                f"example, the shape {_checks.text(self.target_shape)}"
            )
        return shape[0], *(total // known if size == -1 else size for size in self.target_shape)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        shape = x.shape
        target = [size or 0 for size in self._output_shape(shape)]
        return x.reshape(target), lambda dy, need_dx: (dy.reshape(shape) if need_dx else None, [])
