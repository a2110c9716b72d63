"""The pooling layers: the maximum, the minimum or the average of each window."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Unpack

from fastconv import _checks, functional
from fastconv._checks import Array, Shape
from fastconv._fastconv_core import marked_max_pool2d, marked_max_pool2d_backward
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._gates import Marked, Picked
from fastconv.layers._images import probed_shape
from fastconv.layers._step import Step

__all__ = ["AveragePooling2D", "AvgPool2D", "MaxPool2D", "MaxPooling2D", "MinPooling2D"]


class _Pooling2D(Layer):
    """A window that moves over each channel of x."""

    rank = 4
    _pool: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: str | int | Sequence[Any] = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.pool_size = _checks.pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else _checks.pair("strides", strides)
        self.padding = _checks.lasting(padding)
        self.data_format = _checks.data_format(data_format)
        self._geometry: dict[str, Any] = {
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }

    def prepare(self, input_shape: Sequence[int | None]) -> Callable[[Array], Array]:
        """Return the layer as a function for many calls; see `Layer.prepare`."""
        self.build(input_shape)
        return functools.partial(self._pool, **self._geometry)

    def _output_shape(self, shape: Shape) -> Shape:
        return probed_shape(lambda x: self._forward(x, False)[0], shape, self.dtype)


class _ExtremePooling2D(_Pooling2D):
    """Pooling that picks one number of each window."""

    _backward: ClassVar[Callable[..., Array]]

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        # The way back finds the winners again: indices are 8 bytes an output to write and to read.
        # Both ways of VGG-16's fourth pooling (8x28x28x512) take 1.8 ms, with indices kept 2.3.
        y = self._pool(x, **self._geometry)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return self._backward(dy, x, **self._geometry), []

        return y, Picked(y, pullback)


class MaxPooling2D(_ExtremePooling2D):
    """The maximum of each window of each channel.

    x is (n, h, w, c) and y (n, h_out, w_out, c), or with the channels after the batch in
    "channels_first". Sizes, NaN and ties, of which the first in row-major order gets the gradient,
    are those of `fastconv.functional.max_pool2d`.

    Parameters
    ----------
    pool_size
        Height and width of the window, or one int for both.
    strides
        The step of the window; None is `pool_size`.
    padding
        As in `fastconv.functional.max_pool2d`; padding never wins.
    data_format
        "channels_last", the default, or "channels_first".
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import MaxPooling2D
    >>> x = [[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]]
    >>> MaxPooling2D(2, data_format="channels_first")([[x]])[0, 0]
    array([[ 20.,  30.],
           [111.,  33.]], dtype=float32)
    """

    _pool = staticmethod(functional.max_pool2d)
    _backward = staticmethod(functional.max_pool2d_backward)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        found = marked_max_pool2d(x, **self._geometry) if training else None
        if found is None:
            return super()._forward(x, training)
        y, marks = found
        shape, geometry = x.shape, self._geometry

        def gate(word: Literal["relu", "relu6"] | None) -> Pullback:
            def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
                if not need_dx:
                    return None, []
                return marked_max_pool2d_backward(dy, marks, shape, word, **geometry), []

            return pullback

        return y, Marked(y, gate(None), gate)


class MinPooling2D(_ExtremePooling2D):
    """The minimum of each window of each channel; arguments and shapes are `MaxPooling2D`'s.

    Examples
    --------
    >>> from fastconv.layers import MinPooling2D
    >>> x = [[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]]
    >>> MinPooling2D(2, data_format="channels_first")([[x]])[0, 0]
    array([[ 8.,  0.],
           [34.,  5.]], dtype=float32)
    """

    _pool = staticmethod(functional.min_pool2d)
    _backward = staticmethod(functional.min_pool2d_backward)


class AveragePooling2D(_Pooling2D):
    """The average of each window of each channel; arguments and shapes are `MaxPooling2D`'s.

    Padding never counts: a window at the border is divided by the pixels it holds.

    Examples
    --------
    >>> from fastconv.layers import AveragePooling2D
    >>> x = [[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]]
    >>> AveragePooling2D(2, data_format="channels_first")([[x]])[0, 0]
    array([[13.25,  8.25],
           [73.75, 17.75]], dtype=float32)
    """

    _pool = staticmethod(functional.avg_pool2d)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        y, shape = functional.avg_pool2d(x, **self._geometry), x.shape

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return functional.avg_pool2d_backward(dy, shape, **self._geometry), []

        return y, pullback


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
