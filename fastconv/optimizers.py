"""The optimizers: from weights and their gradients to the next weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from fastconv import _checks
from fastconv._checks import Array

__all__ = ["SGD", "Adam", "Optimizer", "get"]


class Optimizer(ABC):
    """A rule that takes a list of weights one step down their gradients.

    What it remembers of one weight, such as a velocity, belongs to that weight's place in the
    list, so that one optimizer trains one model. `iterations` counts the steps.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.iterations = 0
        self._slots: list[tuple[Array, ...]] | None = None

    @property
    def learning_rate(self) -> float:
        """The length of a step; it may be set between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _checks.real("learning_rate", value)

    def update(self, weights: Sequence[Array], grads: Sequence[Array]) -> list[Array]:
        """Return the weights after a step, as new arrays.

        Parameters
        ----------
        weights
            Arrays of float32 or float64, the same list in every step.
        grads
            The gradient of each, of its shape and dtype.

        Raises
        ------
        ValueError
            The lists differ in length, shapes or dtypes, from each other or from the first step's.
        """
        _matching("grads", grads, weights)
        if self._slots is None:
            self._slots = [self._begin(w) for w in weights]
        if len(self._slots) != len(weights) or any(
            s.shape != w.shape for slots, w in zip(self._slots, weights, strict=True) for s in slots
        ):
            raise ValueError(
                "weights are not those that this optimizer began with: an optimizer trains one "
                "model; give each its own"
            )
        self._advance()
        return [self._step(w, g, s) for w, g, s in zip(weights, grads, self._slots, strict=True)]

    def _advance(self) -> None:
        """Count a step."""
        self.iterations += 1

    @abstractmethod
    def _begin(self, weight: Array) -> tuple[Array, ...]:
        """Return what is remembered of a weight, before its first step."""

    @abstractmethod
    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...]) -> Array:
        """Return the weight after the step, a new array, and bring `slots` up to date in place."""


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum if asked for.

    With momentum m and learning rate a (Sutskever et al., 2013; Keras's form):

        v <- m v - a g
        w <- w + v              or, with `nesterov`,  w <- w + m v - a g

    Parameters
    ----------
    learning_rate
        a, at least 0.
    momentum
        m, in [0, 1).
    nesterov
        Whether to look one step ahead along the velocity.

    Examples
    --------
    >>> import numpy as np
    >>> SGD(0.5).update([np.ones(2)], [np.array([1.0, -1.0])])
    [array([0.5, 1.5])]
    """

    def __init__(
        self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = _checks.real("momentum", momentum, below=1.0)
        self.nesterov = _checks.flag("nesterov", nesterov)

    def _begin(self, weight: Array) -> tuple[Array, ...]:
        return (np.zeros_like(weight),) if self.momentum else ()

    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...]) -> Array:
        descent = grad * self.learning_rate
        if not slots:
            return weight - descent
        (velocity,) = slots
        velocity *= self.momentum
        velocity -= descent
        if not self.nesterov:
            return weight + velocity
        return weight + (velocity * self.momentum - descent)


class Adam(Optimizer):
    r"""Adam (Kingma and Ba, 2015), in the form with the bias corrections in the learning rate.

    At step t, with learning rate a:

        m <- m + (1 - beta_1) (g - m)
        v <- v + (1 - beta_2) (g^2 - v)
        w <- w - a sqrt(1 - beta_2^t) / (1 - beta_1^t)  m / (sqrt(v) + epsilon)

    PyTorch's epsilon is this one divided by sqrt(1 - beta_2^t).

    Parameters
    ----------
    learning_rate
        a, at least 0.
    beta_1, beta_2
        How slowly the means of the gradient and of its square move, in [0, 1).
    epsilon
        At least 0.

    Examples
    --------
    >>> import numpy as np
    >>> Adam(0.1).update([np.zeros(1)], [np.array([5.0])])[0].round(4)
    array([-0.1])
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = _checks.real("beta_1", beta_1, below=1.0)
        self.beta_2 = _checks.real("beta_2", beta_2, below=1.0)
        self.epsilon = _checks.real("epsilon", epsilon)
        self._power_1 = self._power_2 = 1.0

    def _advance(self) -> None:
        super()._advance()
        # Running products, since the C library's pow need not give the same bits everywhere.
        self._power_1 *= self.beta_1
        self._power_2 *= self.beta_2

    def _begin(self, weight: Array) -> tuple[Array, ...]:
        return np.zeros_like(weight), np.zeros_like(weight)

    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...]) -> Array:
        first, second = slots
        first += (grad - first) * (1.0 - self.beta_1)
        second += (grad * grad - second) * (1.0 - self.beta_2)
        rate = self.learning_rate * math.sqrt(1.0 - self._power_2) / (1.0 - self._power_1)
        step = np.sqrt(second)
        step += self.epsilon
        np.divide(first, step, out=step)
        step *= rate
        return np.subtract(weight, step, out=step)


def _matching(name: str, given: Sequence[Array], wanted: Sequence[Array]) -> None:
    """Raise ValueError unless the two lists agree in length, shapes and dtypes."""
    if len(given) != len(wanted):
        raise ValueError(
            f"{name} must be {len(wanted)} arrays, one a weight, received {len(given)}"
        )
    for index, (one, other) in enumerate(zip(given, wanted, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise ValueError(
                f"{name}[{index}] must be {other.dtype} of shape {other.shape}, as its weight is, "
                f"received {one.dtype} of shape {one.shape}"
            )


_BY_NAME: dict[str, Callable[[], Optimizer]] = {"sgd": SGD, "adam": Adam}


def get(identifier: str | Optimizer) -> Optimizer:
    """Return the optimizer that `compile` is given by a word ("sgd", "adam") or an object.

    Raises
    ------
    ValueError
        The word is neither.
    TypeError
        It is neither a word nor an `Optimizer`.

    Examples
    --------
    >>> get("adam").learning_rate
    0.001
    """
    if isinstance(identifier, Optimizer):
        return identifier
    return _checks.word("optimizer", identifier, _BY_NAME, "an Optimizer")()
