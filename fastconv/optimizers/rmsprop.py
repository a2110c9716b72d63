"""RMSprop: steps divided by the size that gradients lately had."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array
from fastconv.optimizers._base import Optimizer, OptimizerOptions
from fastconv.optimizers.schedules import LearningRateSchedule

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    r"""RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012), in Keras's form.

    With learning rate a and momentum m:

        s <- rho s + (1 - rho) g^2
        d = g / sqrt(s + epsilon)
        w <- w - a d            or, with momentum,  v <- m v + a d,  w <- w - v

    With `centered`, the variance s - c^2, or 0 where rounding makes it less, takes the place of s
    below the root, where c <- rho c + (1 - rho) g (Graves, 2013). PyTorch adds epsilon to the root,
    not below it.

    Parameters
    ----------
    learning_rate
        a, at least 0, or a `LearningRateSchedule`.
    rho
        How slowly the mean of the square moves, in [0, 1).
    momentum
        m, in [0, 1).
    epsilon
        At least 0.
    centered
        Whether to divide by the standard deviation.
    **options
        weight_decay, clipnorm, clipvalue, global_clipnorm: see `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> RMSprop(0.1, rho=0.75).update([np.zeros(1)], [np.array([5.0])])[0].round(4)
    array([-0.2])
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = _checks.real("rho", rho, below=1.0)
        self.momentum = _checks.real("momentum", momentum, below=1.0)
        self.epsilon = _checks.real("epsilon", epsilon)
        self.centered = _checks.flag("centered", centered)

    def _begin(self, weight: Array) -> tuple[Array, ...]:
        # The mean of squares, the mean where it is asked for, the velocity where there is one.
        count = 1 + self.centered + (self.momentum > 0)
        return tuple(np.zeros_like(weight) for _ in range(count))

    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...], rate: float) -> Array:
        square = slots[0]
        square *= self.rho
        square += grad * grad * (1.0 - self.rho)
        spread: Array = square + self.epsilon
        if self.centered:
            centre = slots[1]
            centre *= self.rho
            centre += grad * (1.0 - self.rho)
            spread -= centre * centre
            # Of a gradient that hardly changes, rounding may make the variance negative.
            np.maximum(spread, self.epsilon, out=spread)
        step: Array = grad * rate / np.sqrt(spread)
        if not self.momentum:
            return weight - step
        velocity = slots[-1]
        velocity *= self.momentum
        velocity += step
        return weight - velocity
