"""The layers that apply a function to each number, or along one axis."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from fastconv import _checks, activations
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.layers._base import Layer, LayerOptions, Pullback

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

    def _forward(self, x: Array, training: bool) -> tuple[Array, Pullback]:
        y, pull = self.activation.forward(x)
        return y, lambda dy, need_dx: (pull(dy) if need_dx else None, [])


class Softmax(Layer):
    """``y_i = exp(x_i) / sum_j exp(x_j)`` along one axis, of x's shape.

    Parameters
    ----------
    axis
        The axis along which y adds up to 1; not the batch.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import Softmax
    >>> Softmax()([[1.0, 1.0, 1.0, 1.0]])
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = _checks.integer("axis", axis, least=-32)

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        if not (-len(shape) < self.axis < len(shape)) or self.axis == 0:
            raise ValueError(
                f"layer {self.name!r} has axis {self.axis}, which is not an axis after the batch "
                f"of an input of shape {_checks.text(shape)}"
            )

    def _forward(self, x: Array, training: bool) -> tuple[Array, Pullback]:
        y, pull = activations.softmax.forward(np.moveaxis(x, self.axis, -1))

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return np.moveaxis(pull(np.moveaxis(dy, self.axis, -1)), -1, self.axis), []

        return np.moveaxis(y, -1, self.axis), pullback
