"""Learning rates that change with the steps taken, with the same bits on every CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from fastconv import _checks, functional

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
]


class LearningRateSchedule(ABC):
    """A function from the number of steps taken to the learning rate of the next one."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` steps."""


class ExponentialDecay(LearningRateSchedule):
    r"""``a r^(step / n)``, of which `staircase` takes the whole part of step / n.

    The power is exp(step / n log r) by `fastconv.functional`, since the C library's pow need not
    give the same bits everywhere.

    Parameters
    ----------
    initial_learning_rate
        a, at least 0.
    decay_steps
        n, after which the rate has been multiplied by r.
    decay_rate
        r, positive.
    staircase
        Whether the rate falls every n steps only.

    Examples
    --------
    >>> rate = ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)
    >>> [round(rate(step), 4) for step in (0, 50, 100, 200)]
    [0.1, 0.0707, 0.05, 0.025]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = _checks.real("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _checks.integer("decay_steps", decay_steps)
        self.decay_rate = _checks.real("decay_rate", decay_rate)
        if not self.decay_rate > 0:
            raise ValueError(f"decay_rate must be a positive number, received {decay_rate}")
        self.staircase = _checks.flag("staircase", staircase)

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` steps."""
        passed = step // self.decay_steps if self.staircase else step / self.decay_steps
        power = functional.exp(functional.log(np.array([self.decay_rate])) * passed)
        return self.initial_learning_rate * float(power[0])


class CosineDecay(LearningRateSchedule):
    r"""Half a cosine from a to ``alpha a`` in n steps, then constant (Loshchilov and Hutter, 2017).

    ``a ((1 - alpha) (1 + cos(pi step / n)) / 2 + alpha)``. With `warmup_target` b, the rate first
    climbs from a to b on a straight line in `warmup_steps`, and the cosine goes from there to
    ``alpha b``.

    Parameters
    ----------
    initial_learning_rate
        a, at least 0.
    decay_steps
        n, the steps of the cosine.
    alpha
        The share of the rate that is left at the end.
    warmup_target
        b, or None for no warm-up.
    warmup_steps
        The steps of the climb.

    Examples
    --------
    >>> rate = CosineDecay(0.1, decay_steps=100)
    >>> [round(rate(step), 4) for step in (0, 25, 50, 100, 200)]
    [0.1, 0.0854, 0.05, 0.0, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        *,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = _checks.real("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _checks.integer("decay_steps", decay_steps)
        self.alpha = _checks.real("alpha", alpha)
        self.warmup_target = (
            None if warmup_target is None else _checks.real("warmup_target", warmup_target)
        )
        self.warmup_steps = _checks.integer("warmup_steps", warmup_steps, 0)
        if self.warmup_steps and self.warmup_target is None:
            raise ValueError(
                f"warmup_steps needs warmup_target, the rate that they lead to, received "
                f"warmup_steps={warmup_steps} and warmup_target=None"
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` steps."""
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            peak = self.warmup_target
            if step < self.warmup_steps:
                climb = peak - self.initial_learning_rate
                return self.initial_learning_rate + climb * (step / self.warmup_steps)
            step -= self.warmup_steps
        share = 0.5 * (1.0 + _cos_pi(min(step / self.decay_steps, 1.0)))
        return peak * ((1.0 - self.alpha) * share + self.alpha)


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and with step ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries
        Steps, each larger than the one before it.
    values
        The rates, one more than the boundaries.

    Examples
    --------
    >>> rate = PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
    >>> [rate(step) for step in (0, 100, 101, 201)]
    [0.1, 0.1, 0.01, 0.001]
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        for name, given in (("boundaries", boundaries), ("values", values)):
            if not isinstance(given, (Sequence, np.ndarray)) or not getattr(given, "ndim", True):
                raise TypeError(f"{name} must be a list of numbers, received {given!r}")
        self.boundaries = [_checks.integer("boundaries", b, 0) for b in boundaries]
        self.values = [_checks.real("values", v) for v in values]
        if sorted(set(self.boundaries)) != self.boundaries:
            raise ValueError(f"boundaries must be increasing, received {self.boundaries}")
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"values must be one more than boundaries, received {len(self.values)} values "
                f"and {len(self.boundaries)} boundaries"
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` steps."""
        return self.values[sum(step > boundary for boundary in self.boundaries)]


_PI = 3.141592653589793


def _cos_pi(x: float) -> float:
    """Return cos(pi x) for x in [0, 1], by operations whose result IEEE 754 fixes.

    The C library's cos need not give the same bits everywhere. The Taylor series is summed from
    its smallest term, at an angle of at most pi / 2; the first term left out is below 1e-18.
    """
    if x > 0.5:
        return -_cos_pi(1.0 - x)
    square = -(_PI * x) * (_PI * x)
    total = 1.0
    for n in range(22, 0, -2):
        total = 1.0 + total * square / (n * (n - 1))
    return total
