"""The layers that apply a function to each number, or along one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from fastconv import _checks, activations
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._step import Step

__all__ = ["Activation", "Softmax"]


class Activation(Layer):
    """``y = activation(x)``, of x's shape.

    Parameters
    ----------
    activation
        A name (linear, relu, relu6, sigmoid, tanh, softmax, swish) or an `ActivationFunction`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import Activation
    >>> Activation("relu6")([[-1.0, 2.0, 7.0]])
    array([[0., 2., 6.]], dtype=float32)
    """

    def __init__(
        self, activation: str | ActivationFunction, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        y, pull = self.activation.forward(x)
        return y, lambda dy, need_dx: (pull(dy) if need_dx else None, [])


class Softmax(Layer):
    """``y_i = exp(x_i) / sum_j exp(x_j)`` along one axis or over several, of x's shape.

    dx_i = y_i (dy_i - sum_j dy_j y_j).

    Parameters
    ----------
    axis
        The axis along which y adds up to 1, or a list of axes over which it does; not the batch.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import Softmax
    >>> Softmax()([[1.0, 1.0, 1.0, 1.0]])
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """

    def __init__(self, axis: int | Sequence[int] = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = _checks.axis_or_axes("axis", axis)

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        return _checks.axes_of(self.name, axes, shape)

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        self._axes(shape)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        axes = self._axes(x.shape)
        order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
        moved = x.transpose(order).shape
        rows = math.prod(moved[: -len(axes)]), math.prod(moved[-len(axes) :])

        def forth(values: Array) -> Array:
            return values.transpose(order).reshape(rows)

        def back(values: Array) -> Array:
            return values.reshape(moved).transpose(np.argsort(order))

        y, pull = activations.softmax.forward(forth(x))
        return back(y), lambda dy, need_dx: (back(pull(forth(dy))) if need_dx else None, [])
