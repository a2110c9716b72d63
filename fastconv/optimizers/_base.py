"""The protocol of an optimizer: a step from weights and their gradients to the next weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypedDict, Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array
from fastconv._fastconv_core import flushed_denormals
from fastconv.optimizers import _clipping
from fastconv.optimizers._joining import Joining
from fastconv.optimizers.schedules import LearningRateSchedule


class OptimizerOptions(TypedDict, total=False):
    """The arguments that every optimizer takes beside its own."""

    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None


class Optimizer(ABC):
    """A rule that takes a list of weights one step down their gradients.

    What it remembers of one weight, such as a velocity, belongs to that weight's place in the
    list, so that one optimizer trains one model. `iterations` counts the steps.

    Each step first cuts the gradients, if asked to, then takes a share of the weights away, if
    asked to, then follows its rule. All that is computed has the same bits on every CPU. Denormal
    numbers are flushed to zero, unless `fastconv.set_flush_denormals` ends that: the means of a
    gradient that has become zero would stay among them, and a step take ten times as long.

    Parameters
    ----------
    learning_rate
        The length of a step, at least 0, or a `LearningRateSchedule`.
    weight_decay
        d: each step begins with ``w <- w - a d w``, a being the learning rate, as in Keras. That is
        AdamW's decoupled form (Loshchilov and Hutter, 2019) whatever the rule; PyTorch's SGD adds
        ``d w`` to the gradient instead, which is the same without momentum.
    clipnorm
        The largest norm of one weight's gradient: a larger one is scaled down to it.
    clipvalue
        The largest absolute value of an element of a gradient.
    global_clipnorm
        The largest norm of all gradients together; of the three, one may be given.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        unknown = set(options) - set(OptimizerOptions.__annotations__)
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no argument {min(unknown)!r}; beside its own it takes "
                f"{', '.join(OptimizerOptions.__annotations__)}"
            )
        self.iterations = 0
        self._rate: float | LearningRateSchedule = (
            learning_rate
            if isinstance(learning_rate, LearningRateSchedule)
            else _checks.real("learning_rate", learning_rate)
        )
        decay = options.get("weight_decay")
        self.weight_decay = None if decay is None else _checks.real("weight_decay", decay)
        self.clipnorm = _clipping.limit("clipnorm", options.get("clipnorm"))
        self.clipvalue = _clipping.limit("clipvalue", options.get("clipvalue"))
        self.global_clipnorm = _clipping.limit("global_clipnorm", options.get("global_clipnorm"))
        if [self.clipnorm, self.clipvalue, self.global_clipnorm].count(None) < 2:
            raise ValueError(
                "at most one of clipnorm, clipvalue and global_clipnorm may be given, received "
                f"{self.clipnorm}, {self.clipvalue} and {self.global_clipnorm}"
            )
        self._joining: Joining | None = None  # and no slots, before the first step
        self._slots: list[tuple[Array, ...]] = []
        self._trained: list[bool] = []

    @property
    def learning_rate(self) -> float:
        """The length of the next step; it may be set between steps, unless a schedule gives it."""
        if isinstance(self._rate, LearningRateSchedule):
            # Its float64 from NumPy would make float64 of float32 weights.
            return _checks.real("learning_rate", self._rate(self.iterations))
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if isinstance(self._rate, LearningRateSchedule):
            raise TypeError(
                "learning_rate cannot be set: this optimizer takes it from a schedule, "
                f"{type(self._rate).__name__}"
            )
        self._rate = _checks.real("learning_rate", value)

    def follow(self, trainable: list[bool]) -> None:
        """Take note of which layers are trained; what is remembered is of their weights alone.

        Raises
        ------
        ValueError
            They are others than in the first step.
        """
        if self._joining is None:
            self._trained = trainable
        elif self._trained != trainable:
            raise ValueError(
                "layers must be as frozen as in the optimizer's first step, received a model with "
                "others frozen or thawed: compile anew, with a new optimizer"
            )

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
        if self._joining is None:
            joining = Joining.of(weights)
            self._slots = [self._begin(w) for w in joining.join(weights)]
            self._joining = joining
        if self._joining.shapes != [w.shape for w in weights]:
            raise ValueError(
                "weights are not those that this optimizer began with: an optimizer trains one "
                "model; give each its own, and compile anew, with a new one, where layers were "
                "frozen or thawed"
            )
        rate = self.learning_rate
        with flushed_denormals():
            grads = self._joining.join(self._clipped(grads))
            weights = self._joining.join(weights)
            if self.weight_decay:
                weights = [w - w * (self.weight_decay * rate) for w in weights]
            self._advance()
            return self._joining.part(
                [
                    self._step(w, g, s, rate)
                    for w, g, s in zip(weights, grads, self._slots, strict=True)
                ]
            )

    def _clipped(self, grads: Sequence[Array]) -> Sequence[Array]:
        """Return the gradients within the limit that was given, if one was."""
        if self.clipvalue is not None:
            return [np.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        if self.clipnorm is not None:
            return [_clipping.by_norm([g], self.clipnorm)[0] for g in grads]
        if self.global_clipnorm is not None:
            return _clipping.by_norm(grads, self.global_clipnorm)
        return grads

    def _advance(self) -> None:
        """Count a step."""
        self.iterations += 1

    @abstractmethod
    def _begin(self, weight: Array) -> tuple[Array, ...]:
        """Return what is remembered of a weight, before its first step, in arrays of its shape."""

    @abstractmethod
    def _step(self, weight: Array, grad: Array, slots: tuple[Array, ...], rate: float) -> Array:
        """Return the weight after the step, a new array, and bring `slots` up to date in place.

        Each number by itself: several small weights come as one vector.
        """


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
