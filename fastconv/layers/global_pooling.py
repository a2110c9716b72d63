"""The pooling layers whose window is the whole image."""

from __future__ import annotations

from typing import Unpack

from fastconv import _checks, functional
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._gates import Picked
from fastconv.layers._images import channel_axis, resized
from fastconv.layers._step import Step

__all__ = ["GlobalAveragePooling2D", "GlobalMaxPooling2D"]


class _GlobalPooling2D(Layer):
    rank = 4

    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.data_format = _checks.data_format(data_format)
        self.keepdims = _checks.flag("keepdims", keepdims)

    def _output_shape(self, shape: Shape) -> Shape:
        if self.keepdims:
            return resized(shape, self.data_format, (1, 1))
        return shape[0], shape[channel_axis(self.data_format)]


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The average of each channel of each image: (n, h, w, c) to (n, c).

    dx is dy / (h * w) at every pixel.

    Parameters
    ----------
    data_format
        "channels_last", the default, or "channels_first".
    keepdims
        Whether y keeps the axes of height and width, with length 1.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import GlobalAveragePooling2D
    >>> GlobalAveragePooling2D("channels_first")([[[[1, 2], [3, 6]]]])
    array([[3.]], dtype=float32)
    """

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        layout, keepdims, shape = self.data_format, self.keepdims, x.shape
        y = functional.global_avg_pool2d(x, keepdims=keepdims, data_format=layout)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return functional.global_avg_pool2d_backward(
                dy, shape, keepdims=keepdims, data_format=layout
            ), []

        return y, pullback


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The maximum of each channel of each image: (n, h, w, c) to (n, c).

    The gradient goes to the first of the largest pixels, in row-major order. Arguments are
    `GlobalAveragePooling2D`'s.

    Examples
    --------
    >>> from fastconv.layers import GlobalMaxPooling2D
    >>> GlobalMaxPooling2D("channels_first")([[[[1, 2], [3, 6]]]])
    array([[6.]], dtype=float32)
    """

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        layout, keepdims, indices = self.data_format, self.keepdims, None
        if training:  # they are few, and without them the way back searches x again
            y, indices = functional.global_max_pool2d(
                x, keepdims=keepdims, data_format=layout, return_indices=True
            )
        else:
            y = functional.global_max_pool2d(x, keepdims=keepdims, data_format=layout)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return functional.global_max_pool2d_backward(
                dy, x, keepdims=keepdims, data_format=layout, indices=indices
            ), []

        return y, Picked(y, pullback)
