"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array
from fastconv.optimizers._base import Optimizer, OptimizerOptions
from fastconv.optimizers.schedules import LearningRateSchedule

__all__ = ["SGD"]


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum if asked for.

    With momentum m and learning rate a (Sutskever et al., 2013; Keras's form):

        v <- m v - a g
        w <- w + v              or, with `nesterov`,  w <- w + m v - a g

    PyTorch keeps v / -a instead, which is the same while a does not change.

    Parameters
    ----------
    learning_rate
        a, at least 0, or a `LearningRateSchedule`.
    momentum
        m, in [0, 1).
    nesterov
        Whether to look one step ahead along the velocity.
    **options
        weight_decay, clipnorm, clipvalue, global_clipnorm: see `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> SGD(0.5).update([np.ones(2)], [np.array([1.0, -1.0])])
    [array([0.5, 1.5])]
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = _checks.real("momentum", momentum, below=1.0)
        self.nesterov = _checks.flag("nesterov", nesterov)

    def _begin(self, weight: Array) -> tuple[Array, ...]:
        return (np.zeros_like(weight),) if self.momentum else ()

    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...], rate: float) -> Array:
        descent = grad * rate
        if not slots:
            return weight - descent
        (velocity,) = slots
        velocity *= self.momentum
        velocity -= descent
        if not self.nesterov:
            return weight + velocity
        return weight + (velocity * self.momentum - descent)
