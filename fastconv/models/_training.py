"""The loops over batches: training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.models import _random
from fastconv.models._history import History
from fastconv.models._progress import Progress
from fastconv.optimizers import Optimizer

if TYPE_CHECKING:
    from fastconv.models.model import Model

Examples: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Recipe:
    """What `compile` was given."""

    optimizer: Optimizer
    loss: Loss
    metrics: Sequence[Metric]


@dataclass(frozen=True)
class Course:
    """What `fit` was given beside the examples."""

    batch_size: int | None
    epochs: int
    shuffle: bool
    seed: int
    validation: Examples | None


class Means:
    """The means of the loss and the metrics over all batches so far, each sum taken exactly."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._names = ["loss", *(metric.name for metric in metrics)]
        self._sums = [0.0] * len(self._names)
        self._counts = [0] * len(self._names)

    def add(self, losses: Array, y_true: npt.NDArray[Any], y_pred: Array) -> None:
        """Take in a batch."""
        measured = [losses, *(metric.values(y_true, y_pred) for metric in self._metrics)]
        for index, values in enumerate(measured):
            self._sums[index] += math.fsum(values.ravel().tolist())
            self._counts[index] += values.size

    def values(self, prefix: str = "") -> dict[str, float]:
        """Return the means by name, the loss first."""
        means = (total / count for total, count in zip(self._sums, self._counts, strict=True))
        return {prefix + name: mean for name, mean in zip(self._names, means, strict=True)}


def examples(x: npt.ArrayLike, y: npt.ArrayLike, names: tuple[str, str] = ("x", "y")) -> Examples:
    """Return inputs and labels as arrays of one length, not 0."""
    inputs, labels = _checks.array(names[0], x), _checks.array(names[1], y)
    if inputs.ndim == 0 or labels.ndim == 0 or len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(
            f"{names[0]} and {names[1]} must hold the same number of examples, at least one, "
            f"received shapes {inputs.shape} and {labels.shape}"
        )
    return inputs, labels


def batches(count: int, batch_size: int | None) -> list[slice]:
    """Return 0..count - 1 cut into batches; None is Keras's 32."""
    size = 32 if batch_size is None else _checks.integer("batch_size", batch_size)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def train(
    model: Model, recipe: Recipe, given: Examples, course: Course, progress: Progress
) -> History:
    """Train for some epochs and return their record."""
    history = History()
    try:
        for epoch in range(course.epochs):
            progress.begin(epoch)
            values = _train_epoch(model, recipe, given, course, progress)
            progress.trained()
            if course.validation is not None:
                cut = batches(len(course.validation[0]), course.batch_size)
                measured = measure(model, recipe, course.validation, cut)
                values |= measured.values("val_")
            history.append(values)
            progress.end(values)
    finally:
        progress.close()
    return history


def measure(model: Model, recipe: Recipe, given: Examples, cut: Iterable[slice]) -> Means:
    """Return the means over the batches, with nothing trained."""
    (x, y), means = given, Means(recipe.metrics)
    for batch in cut:
        y_pred = model(x[batch])
        losses, _ = recipe.loss.forward(y[batch], y_pred)
        means.add(losses, y[batch], y_pred)
    return means


def _train_epoch(
    model: Model, recipe: Recipe, given: Examples, course: Course, progress: Progress
) -> dict[str, float]:
    """Take one step for each batch and return the means of the epoch."""
    x, y = given
    means = Means(recipe.metrics)
    # Keyed by the step, so that a later epoch, or a later fit, meets another order.
    rng = _random.stream(course.seed, _random.SHUFFLING, recipe.optimizer.iterations)
    order = _random.permutation(len(x), rng) if course.shuffle else np.arange(len(x))
    for batch in batches(len(x), course.batch_size):
        chosen = order[batch]
        _train_step(model, recipe, x[chosen], y[chosen], means)
        progress.advance(len(chosen), means.values())
    return means.values()


def _train_step(
    model: Model, recipe: Recipe, x: npt.NDArray[Any], y: npt.NDArray[Any], means: Means
) -> None:
    """Take one step of the optimizer, down the gradient of the batch's mean loss."""
    y_pred, backprop = model.forward(x, training=True)
    losses, loss_backprop = recipe.loss.forward(y, y_pred)
    means.add(losses, y, y_pred)
    _, grads = backprop(loss_backprop(1.0 / losses.size), need_dx=False)
    model.replace_trainable(recipe.optimizer.update(model.trainable_weights, grads))
