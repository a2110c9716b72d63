"""The layer that enlarges images by whole factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._images import resized, spatial_axes
from fastconv.layers._resample import interpolation_word, resize
from fastconv.layers._step import Step

__all__ = ["UpSampling2D"]


class UpSampling2D(Layer):
    """Each image enlarged by whole factors: (n, h, w, c) to (n, size[0] h, size[1] w, c).

    "nearest" repeats every pixel; "bilinear" mixes the four around a place, as `Resizing` does. dx
    is the adjoint: each pixel adds up what it gave, by its weights.

    Parameters
    ----------
    size
        The factors (height, width), or one int for both.
    data_format
        "channels_last", the default, or "channels_first".
    interpolation
        "nearest" or "bilinear".
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import UpSampling2D
    >>> UpSampling2D((1, 2), "channels_first")([[[[1, 2], [3, 4]]]])[0, 0]
    array([[1., 1., 2., 2.],
           [3., 3., 4., 4.]], dtype=float32)
    """

    rank = 4

    def __init__(
        self,
        size: int | Sequence[int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.size = _checks.pair("size", size)
        self.data_format = _checks.data_format(data_format)
        self.interpolation = interpolation_word(interpolation)

    def _output_shape(self, shape: Shape) -> Shape:
        size = [
            None if (length := shape[axis]) is None else length * factor
            for axis, factor in zip(spatial_axes(self.data_format), self.size, strict=True)
        ]
        return resized(shape, self.data_format, size)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        h, w = (x.shape[axis] for axis in spatial_axes(self.data_format))
        size = h * self.size[0], w * self.size[1]
        y, pull = resize(x, size, self.data_format, self.interpolation)
        return y, lambda dy, need_dx: (pull(dy) if need_dx else None, [])
