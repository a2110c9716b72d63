"""The layers that add pixels around an image or take them away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._images import Sides, resized, sides, spatial_axes
from fastconv.layers._step import Step

__all__ = ["Cropping2D", "ZeroPadding2D"]


class ZeroPadding2D(Layer):
    """Zeros around each image: (n, h, w, c) to (n, top + h + bottom, left + w + right, c).

    dx is dy without the border.

    Parameters
    ----------
    padding
        ((top, bottom), (left, right)), (height, width) for both sides each, or one int.
    data_format
        "channels_last", the default, or "channels_first".
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import ZeroPadding2D
    >>> ZeroPadding2D(((1, 0), (2, 2)))(np.ones((1, 3, 3, 1))).shape
    (1, 4, 7, 1)
    """

    rank = 4

    def __init__(
        self,
        padding: int | Sequence[Any] = (1, 1),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.padding = sides("padding", padding)
        self.data_format = _checks.data_format(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        axes = spatial_axes(self.data_format)
        size = [
            None if (length := shape[axis]) is None else length + sum(pair)
            for axis, pair in zip(axes, self.padding, strict=True)
        ]
        return resized(shape, self.data_format, size)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        border, layout = self.padding, self.data_format

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            return (cropped(dy, border, layout) if need_dx else None), []

        return padded(x, border, layout), pullback


class Cropping2D(Layer):
    """Each image without its borders: (n, h, w, c) to (n, h - top - bottom, w - left - right, c).

    dx is dy with zeros around it.

    Parameters
    ----------
    cropping
        ((top, bottom), (left, right)), (height, width) for both sides each, or one int.
    data_format
        "channels_last", the default, or "channels_first".
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Cropping2D
    >>> Cropping2D(((1, 0), (2, 2)))(np.ones((1, 8, 8, 1))).shape
    (1, 7, 4, 1)
    """

    rank = 4

    def __init__(
        self,
        cropping: int | Sequence[Any] = ((0, 0), (0, 0)),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.cropping = sides("cropping", cropping)
        self.data_format = _checks.data_format(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        axes = spatial_axes(self.data_format)
        size = [
            None if (length := shape[axis]) is None else length - sum(pair)
            for axis, pair in zip(axes, self.cropping, strict=True)
        ]
        if any(side is not None and side < 1 for side in size):
            raise ValueError(
                f"layer {self.name!r} would crop {self.cropping} from an input of shape "
                f"{_checks.text(shape)}, which leaves {_checks.text(tuple(size))} pixels"
            )
        return resized(shape, self.data_format, size)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        border, layout = self.cropping, self.data_format
        self._output_shape(x.shape)  # raises where no pixel is left

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            return (padded(dy, border, layout) if need_dx else None), []

        return cropped(x, border, layout), pullback


def padded(x: Array, border: Sides, data_format: str, value: float = 0.0) -> Array:
    """Return images with a border of one value."""
    size = list(x.shape)
    for axis, pair in zip(spatial_axes(data_format), border, strict=True):
        size[axis] += sum(pair)
    y = np.full(size, value, x.dtype)
    cropped(y, border, data_format)[...] = x
    return y


def cropped(x: Array, border: Sides, data_format: str) -> Array:
    """Return a view of images without their borders."""
    inner = [slice(None)] * x.ndim
    for axis, (before, after) in zip(spatial_axes(data_format), border, strict=True):
        inner[axis] = slice(before, x.shape[axis] - after)
    return x[tuple(inner)]
