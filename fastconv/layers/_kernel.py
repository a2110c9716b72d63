"""The layers that are linear in their kernels: y = activation(x * kernel + bias)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from fastconv import _checks, activations, functional, initializers
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._gates import Gated
from fastconv.layers._step import Step
from fastconv.layers._weights import Weight


class BiasLayer(Layer):
    """An optional bias of one number a unit, and an activation.

    An activation that the operation can apply itself is left to it.
    """

    def __init__(
        self,
        activation: str | ActivationFunction | None,
        use_bias: bool,
        bias_initializer: str | Initializer,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.bias_initializer = initializers.get("bias_initializer", bias_initializer)

    @property
    def bias(self) -> Array | None:
        """The bias, read-only, or None without `use_bias`; assign an array to replace it."""
        return self._weight("bias") if self.use_bias else None

    @bias.setter
    def bias(self, value: npt.ArrayLike) -> None:
        if not self.use_bias:
            raise ValueError(f"layer {self.name!r} has no bias: use_bias is False")
        self._set_weight("bias", value)

    def _first_bias(self, units: int, rng: np.random.Generator) -> dict[str, Array]:
        """Return the bias among the first weights, if there is one."""
        return {"bias": self.bias_initializer((units,), self.dtype, rng)} if self.use_bias else {}

    def _activate(self, y: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Apply the activation to the operation's result, unless it is fused."""
        return self.activation.forward(y, applied=self.activation.fused is not None)

    def _prepared(
        self, function: Callable[..., Array], kernel: object, words: Mapping[str, Any]
    ) -> Callable[[Array], Array]:
        """Return ``function(x, kernel, bias, **words)`` and the activation as a function of x."""
        bias = self.bias
        if self.activation.fused is not None:
            return lambda x: function(x, kernel, bias, **words)
        activate = self.activation.function
        return lambda x: activate(function(x, kernel, bias, **words))

    def _features(self, shape: Shape) -> int:
        """Return how many numbers of the input meet one unit of the kernel at one place."""
        axis = self._feature_axis
        size = None if axis is None else shape[axis]
        if size is None:
            raise ValueError(
                f"layer {self.name!r} needs to know axis {axis} of its input, "
                f"which is open in shape {_checks.text(shape)}"
            )
        return size


class KernelLayer(BiasLayer):
    """A kernel, an optional bias and an activation.

    A subclass gives the kernel's shape, the operation and its gradients.
    """

    kernel = Weight("The kernel, read-only; assign an array of its shape and dtype to replace it.")

    def __init__(
        self,
        activation: str | ActivationFunction | None,
        use_bias: bool,
        kernel_initializer: str | Initializer,
        bias_initializer: str | Initializer,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(activation, use_bias, bias_initializer, **options)
        self.kernel_initializer = initializers.get("kernel_initializer", kernel_initializer)

    @abstractmethod
    def _units(self, shape: Shape) -> int:
        """Return the size of the bias for inputs of this shape."""

    @abstractmethod
    def _kernel_shape(self, shape: Shape) -> tuple[int, ...]:
        """Return the kernel's shape for inputs of this shape."""

    @abstractmethod
    def _apply(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        """Return y, with the activation if the operation fuses it."""

    @abstractmethod
    def _gradients(
        self, dy: Array, x: Array, kernel: Array, needs: Collection[str]
    ) -> functional.Conv2DGradients:
        """Return the gradients asked for, before the activation."""

    def _build(self, shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
        kernel = self.kernel_initializer(self._kernel_shape(shape), self.dtype, rng)
        return {"kernel": kernel, **self._first_bias(self._units(shape), rng)}

    def _linear(
        self, gradients: Callable[[Array, Collection[str]], functional.Conv2DGradients]
    ) -> Callable[[Array, bool], tuple[Array | None, list[Array]]]:
        """Return the way back through the operation, of the gradients that `gradients` gives."""
        of_weights = ("kernel", "bias")[: 1 + self.use_bias] if self.trainable else ()

        def linear(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            needs = (*of_weights, "x") if need_dx else of_weights
            if not needs:
                return None, []
            dx, *of_both = gradients(dy, needs)
            return dx, [gradient for gradient in of_both if gradient is not None]

        return linear

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        kernel, bias = self.kernel, self.bias
        y, pull = self._activate(self._apply(x, kernel, bias))
        linear = self._linear(lambda dy, needs: self._gradients(dy, x, kernel, needs))
        if self.activation.fused is not None:
            return y, Gated(self.activation, y, linear)
        return y, lambda dy, need_dx: linear(pull(dy), need_dx)
