"""The loops over batches: training and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastconv._checks import Array
from fastconv.callbacks._base import CallbackList
from fastconv.layers import Step
from fastconv.losses import Loss
from fastconv.losses._base import exact_sum, spread
from fastconv.metrics import Metric
from fastconv.models import _interrupts, _random
from fastconv.models._examples import Examples, batches
from fastconv.models._history import History
from fastconv.models._parts import added
from fastconv.models._progress import Progress
from fastconv.optimizers import Optimizer

if TYPE_CHECKING:
    from fastconv.models._trained import Trained


@dataclass(frozen=True)
class Recipe:
    """What `compile` was given."""

    optimizer: Optimizer
    loss: Loss
    metrics: Sequence[Metric]

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of what is measured, the loss first."""
        return [prefix + name for name in ("loss", *(metric.name for metric in self.metrics))]


@dataclass(frozen=True)
class Course:
    """What `fit` was given beside the examples."""

    batch_size: int | None
    epochs: range
    shuffle: bool
    seed: int
    validation: Examples | None


class Means:
    """The means of the loss and the metrics over all batches so far, each sum taken exactly."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._sums = [0.0] * len(recipe.names())
        self._counts = [0] * len(self._sums)

    def add(self, losses: Array, y_true: npt.NDArray[Any], y_pred: Array) -> None:
        """Take in a batch."""
        measured = [losses, *(metric.values(y_true, y_pred) for metric in self._recipe.metrics)]
        for index, values in enumerate(measured):
            self._sums[index] += exact_sum(values)
            self._counts[index] += values.size

    def values(self, prefix: str = "") -> dict[str, float]:
        """Return the means by name, the loss first."""
        means = (total / count for total, count in zip(self._sums, self._counts, strict=True))
        return dict(zip(self._recipe.names(prefix), means, strict=True))


def train(
    model: Trained,
    recipe: Recipe,
    given: Examples,
    course: Course,
    callbacks: CallbackList,
    progress: Progress,
) -> History:
    """Train for some epochs and return their record, which the model has from the beginning."""
    history = model.history = History(course.epochs.start)
    model.stop_training = False
    try:
        callbacks.on_train_begin({})
        for epoch in course.epochs:
            progress.begin(epoch)
            callbacks.on_epoch_begin(epoch, {})
            values = _train_epoch(model, recipe, given, course, callbacks, progress)
            progress.trained()
            if course.validation is not None:
                cut = batches(len(course.validation), course.batch_size)
                values |= measure(model, recipe, course.validation, cut).values("val_")
            progress.end(values)
            callbacks.on_epoch_end(epoch, values)
            history.append(values)
            if model.stop_training:
                break
        callbacks.on_train_end({})
    finally:
        progress.close()
    return history


def measure(model: Trained, recipe: Recipe, given: Examples, cut: Iterable[slice]) -> Means:
    """Return the means over the batches, with nothing trained."""
    means = Means(recipe)
    for batch in cut:
        part = given[batch]
        y_pred = model(part.x)
        losses, _ = recipe.loss.forward(part.y, y_pred)
        means.add(_weighed(losses, part)[0], part.y, y_pred)
    return means


def _train_epoch(
    model: Trained,
    recipe: Recipe,
    given: Examples,
    course: Course,
    callbacks: CallbackList,
    progress: Progress,
) -> dict[str, float]:
    """Take one step for each batch and return the means of the epoch."""
    means = Means(recipe)
    # Keyed by the step, so that a later epoch, or a later fit, meets another order.
    rng = _random.stream(course.seed, _random.SHUFFLING, recipe.optimizer.iterations)
    order = _random.permutation(len(given), rng) if course.shuffle else np.arange(len(given))
    for index, batch in enumerate(batches(len(given), course.batch_size)):
        callbacks.on_train_batch_begin(index, {})
        step(model, recipe, course.seed, given[order[batch]], means)
        values = means.values()
        progress.advance(batch.stop - batch.start, values)
        callbacks.on_train_batch_end(index, values)
        if model.stop_training:
            break
    return means.values()


def step(model: Trained, recipe: Recipe, seed: int, given: Examples, means: Means) -> None:
    """Take one step of the optimizer, down the gradient of the batch's mean loss.

    An interrupt comes before all changes of weights and optimizer, or after them.
    """
    number = recipe.optimizer.iterations
    recipe.optimizer.follow([layer.trainable for layer in model.layers if layer.weights])
    passes: list[_Pass] = []
    grads: list[Array] = []
    for index, part in enumerate(model.parts(given.x.shape[1:]).cut(len(given), recipe.loss)):
        of_part = Step(seed, number, part=index)
        passed, own = _pass(model, recipe.loss, of_part, given[part], len(given))
        passes.append(passed)
        grads = added(grads, own) if grads else own
    means.add(_joined([p.losses for p in passes]), given.y, _joined([p.y_pred for p in passes]))
    with _interrupts.held_back():
        model.replace_trainable(recipe.optimizer.update(model.trainable_weights, grads))
        model.commit(passes[-1].updates)


@dataclass(frozen=True)
class _Pass:
    """What is kept of a part of a batch that was sent through the model and back."""

    y_pred: Array
    losses: Array
    updates: Mapping[str, Array]


def _pass(
    model: Trained, loss: Loss, of_part: Step, given: Examples, batch: int
) -> tuple[_Pass, list[Array]]:
    """Go through the model and back with some of a batch's examples, which is `batch` in all.

    A function of its own, so that what the way back holds is given up before the next part.
    """
    y_pred, backprop = model.forward(given.x, training=of_part)
    losses, loss_backprop = loss.forward(given.y, y_pred)
    losses, weights = _weighed(losses, given)
    in_all = losses.size * batch / len(given)
    _, grads = backprop(loss_backprop(weights / in_all), need_dx=False)
    return _Pass(y_pred, losses, backprop.updates), grads


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _weighed(losses: Array, given: Examples) -> tuple[Array, Array | float]:
    """Return the losses times the examples' weights, and the weights as they broadcast to them."""
    if given.weights is None:
        return losses, 1.0
    weights = spread(given.weights, losses)
    return losses * weights, weights
