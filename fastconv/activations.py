"""The activation functions, each with the derivative by which a gradient goes back through it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks, functional
from fastconv._checks import Array

__all__ = [
    "ActivationFunction",
    "get",
    "linear",
    "relu",
    "relu6",
    "sigmoid",
    "softmax",
    "swish",
    "tanh",
]


@dataclass(frozen=True)
class ActivationFunction:
    """A function of an array and its derivative.

    Calling it gives ``y = function(x)`` for an array-like x: float64 stays float64, any other
    dtype becomes float32.

    Parameters
    ----------
    name
        The word that layers accept for it.
    function
        y from x, an array of the same shape and dtype.
    gradient
        dx from ``(dy, y, x)``, all of one shape. x is None where `needs_input` is False.
    needs_input
        Whether `gradient` reads x. Where it does not, x need not be kept between the passes.
    fused
        The word by which `functional.conv2d` and `functional.dense` apply it, if they do.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.activations import relu
    >>> relu([-1.0, 2.0])
    array([0., 2.])
    >>> y, pull = relu.forward(np.array([-1.0, 2.0]))
    >>> pull(np.array([5.0, 5.0]))
    array([0., 5.])
    """

    name: str
    function: Callable[[Array], Array]
    gradient: Callable[[Array, Array, Array | None], Array]
    needs_input: bool = False
    fused: Literal["relu", "relu6"] | None = None

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return y for an array-like x."""
        return self.function(_checks.floats("x", x))

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Copy and pickle fastconv's own by their names: a copy of `relu` is `relu`."""
        own = _BY_NAME.get(self.name) is self
        return self.name if own else super().__reduce_ex__(protocol)

    def forward(self, x: Array, *, applied: bool = False) -> tuple[Array, Pull]:
        """Return ``(y, pull)``, where ``pull(dy)`` is dx.

        `applied` says that x is y already: made by a kernel in which the function is fused.
        """
        y = x if applied else self.function(x)
        kept = x if self.needs_input else None
        return y, lambda dy: self.gradient(dy, y, kept)


Pull: TypeAlias = Callable[[Array], Array]


def row_sums(x: Array) -> Array:
    """Return the sums over the last axis, kept as an axis of length 1.

    Taken as a product with ones, whose order of summation is fixed; that of ``np.sum`` is NumPy's
    to choose, CPU by CPU.
    """
    width = x.shape[-1]
    rows = x.reshape(math.prod(x.shape[:-1]), width)
    return functional.dense(rows, _ones(width, x.dtype)).reshape(*x.shape[:-1], 1)


@functools.lru_cache(maxsize=8)
def _ones(width: int, dtype: np.dtype[np.floating[Any]]) -> Array:
    """Return a column of ones that others have too; making it took as long as multiplying by it."""
    ones = np.ones((width, 1), dtype)
    ones.setflags(write=False)
    return ones


def kept(x: Array, where: npt.NDArray[np.bool_]) -> Array:
    """Return x where `where` is true, and +0 elsewhere.

    As ``np.where(where, x, 0)``, which takes ten times as long: 1.14 ms against 0.11 for the
    64x28x28x6 numbers of LeNet-5's first layer.
    """
    bits = x.view(np.dtype(f"i{x.itemsize}"))
    kept: Array = np.multiply(bits, where).view(x.dtype)  # by 1 or 0: no NaN comes of it
    return kept


def _relu(x: Array) -> Array:
    # Not np.maximum, whose choice between +0 and -0 depends on the CPU. A NaN stays.
    return kept(x, ~(x <= 0))


def _relu_gradient(dy: Array, y: Array, _: Array | None) -> Array:
    return functional.activation_backward(dy, y, "relu")


def _relu6(x: Array) -> Array:
    return np.minimum(_relu(x), 6)


def _relu6_gradient(dy: Array, y: Array, _: Array | None) -> Array:
    return functional.activation_backward(dy, y, "relu6")


def _softmax_gradient(dy: Array, y: Array, _: Array | None) -> Array:
    return y * (dy - row_sums(dy * y))


def _swish_gradient(dy: Array, y: Array, x: Array | None) -> Array:
    assert x is not None
    gate = functional.sigmoid(x)
    return dy * (gate + y * (1 - gate))


linear = ActivationFunction("linear", lambda x: x, lambda dy, y, x: dy)
"""y = x."""

relu = ActivationFunction("relu", _relu, _relu_gradient, fused="relu")
"""y = max(x, 0), with derivative 1 where y > 0 and 0 elsewhere; NaN stays NaN."""

relu6 = ActivationFunction("relu6", _relu6, _relu6_gradient, fused="relu6")
"""y = min(max(x, 0), 6), with derivative 1 where 0 < y < 6 and 0 elsewhere."""

sigmoid = ActivationFunction("sigmoid", functional.sigmoid, lambda dy, y, x: dy * (y * (1 - y)))
"""y = 1 / (1 + exp(-x)), with derivative y (1 - y)."""

tanh = ActivationFunction("tanh", functional.tanh, lambda dy, y, x: dy * (1 - y * y))
"""y = tanh(x), with derivative 1 - y^2."""

softmax = ActivationFunction("softmax", functional.softmax, _softmax_gradient)
"""y_i = exp(x_i) / sum_j exp(x_j) over the last axis; dx_i = y_i (dy_i - sum_j dy_j y_j)."""

swish = ActivationFunction(
    "swish", lambda x: x * functional.sigmoid(x), _swish_gradient, needs_input=True
)
"""y = x s with s = 1 / (1 + exp(-x)), with derivative s + y (1 - s) (Ramachandran et al., 2017)."""

_BY_NAME = {f.name: f for f in (linear, relu, relu6, sigmoid, tanh, softmax, swish)}


def get(identifier: str | ActivationFunction | None) -> ActivationFunction:
    """Return the activation that a layer's `activation` argument names; None is linear.

    Raises
    ------
    ValueError
        The word is not one of linear, relu, relu6, sigmoid, tanh, softmax, swish.
    TypeError
        It is neither a word nor an `ActivationFunction`.

    Examples
    --------
    >>> from fastconv import activations
    >>> activations.get("tanh") is activations.tanh
    True
    """
    if identifier is None:
        return linear
    if isinstance(identifier, ActivationFunction):
        return identifier
    return _checks.word("activation", identifier, _BY_NAME, "an ActivationFunction or None")
