"""The layers that move numbers without changing them."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback

__all__ = ["Flatten"]


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

    def _forward(self, x: Array, training: bool) -> tuple[Array, Pullback]:
        first = self.data_format == "channels_first" and x.ndim > 2
        moved = np.moveaxis(x, 1, -1) if first else x
        y = moved.reshape(x.shape[0], math.prod(x.shape[1:]))

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            dx = dy.reshape(moved.shape)
            return np.moveaxis(dx, -1, 1) if first else dx, []

        return y, pullback
