"""Adam, and AdamW, which lets the weights decay beside it."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array
from fastconv.optimizers._base import Optimizer, OptimizerOptions
from fastconv.optimizers.schedules import LearningRateSchedule

__all__ = ["Adam", "AdamW"]


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
        a, at least 0, or a `LearningRateSchedule`.
    beta_1, beta_2
        How slowly the means of the gradient and of its square move, in [0, 1).
    epsilon
        At least 0.
    **options
        weight_decay, clipnorm, clipvalue, global_clipnorm: see `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> Adam(0.1).update([np.zeros(1)], [np.array([5.0])])[0].round(4)
    array([-0.1])
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, **options)
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

    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...], rate: float) -> Array:
        first, second = slots
        rate = rate * math.sqrt(1.0 - self._power_2) / (1.0 - self._power_1)
        step = grad - first  # the one new array, in which all is worked out
        step *= 1.0 - self.beta_1
        first += step
        np.multiply(grad, grad, out=step)
        step -= second
        step *= 1.0 - self.beta_2
        second += step
        np.sqrt(second, out=step)
        step += self.epsilon
        np.divide(first, step, out=step)
        step *= rate
        return np.subtract(weight, step, out=step)


class AdamW(Adam):
    r"""Adam with weights that decay by themselves (Loshchilov and Hutter, 2019).

    Each step begins with ``w <- w - a d w``, where a is the learning rate and d `weight_decay`; the
    rest is `Adam`.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon
        `Adam`'s.
    weight_decay
        d, at least 0.
    **options
        clipnorm, clipvalue, global_clipnorm: see `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> AdamW(0.1, weight_decay=0.5).update([np.ones(1)], [np.array([5.0])])[0].round(4)
    array([0.85])
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
        )
