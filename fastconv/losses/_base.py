"""The protocol of a loss: a value for every example, and the gradient of the predictions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Labels

LossBackprop: TypeAlias = Callable[[float | Array], Array]


class Loss(ABC):
    """What training makes small.

    ``loss(y_true, y_pred)`` is the mean over the batch. `forward` gives what training needs.
    """

    name: str

    @abstractmethod
    def forward(self, y_true: npt.ArrayLike, y_pred: Array) -> tuple[Array, LossBackprop]:
        """Return ``(losses, backprop)``.

        `losses` holds one value for each example. ``backprop(weight)`` is the gradient of
        sum(weight * losses) with respect to `y_pred`, where `weight` is a number, such as 1 / n
        for the mean, or an array like `losses`.
        """

    def __call__(
        self,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float:
        """Return the mean loss, its sum taken exactly.

        With `sample_weight`, an array like the losses, it is sum(weight * loss) / n: Keras's rule,
        in which the weights need not have the mean 1.
        """
        losses, _ = self.forward(y_true, _checks.floats("y_pred", y_pred))
        if losses.size == 0:
            raise ValueError("the mean loss of no examples is not defined; y_pred is empty")
        return mean(losses if sample_weight is None else losses * spread(sample_weight, losses))


def mean(values: npt.NDArray[np.floating | np.bool_]) -> float:
    """Return the mean, correctly rounded before the division, so that no order of adding counts."""
    return exact_sum(values) / values.size


def exact_sum(values: npt.NDArray[Any]) -> float:
    """Return the sum, correctly rounded; infinite or NaN where it has no other value."""
    numbers = values.ravel().tolist()
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # beyond float64, or infinities of both signs
        return float(sum(numbers))


def spread(sample_weight: npt.ArrayLike, losses: Array) -> Array:
    """Return the weights of examples as an array that broadcasts against their losses.

    Weights of shape (n,) weigh the losses of all pixels of an example alike.
    """
    weights = _checks.cast("sample_weight", sample_weight, losses.dtype)
    if weights.shape != losses.shape[: weights.ndim] or weights.ndim == 0 < losses.ndim:
        raise ValueError(
            f"sample_weight must have shape {losses.shape}, or that of its first axes, as the "
            f"losses have, received {weights.shape}"
        )
    return weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim))


def class_labels(y_true: npt.ArrayLike, y_pred: Array) -> Labels:
    """Return `y_true` as class numbers of shape ``y_pred.shape[:-1]``, each one checked.

    Raises
    ------
    TypeError
        They are not integers.
    ValueError
        Their shape is not that of the predictions without the last axis, or a number lies outside
        0..c - 1.
    """
    labels = _checks.array("y_true", y_true)
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(f"y_true must hold integers, the class numbers, received {labels.dtype}")
    if y_pred.ndim == 0:
        raise ValueError("y_pred must have an axis of classes, received a single number")
    if labels.shape == (*y_pred.shape[:-1], 1):
        labels = labels[..., 0]
    if labels.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"y_true has shape {labels.shape}, where y_pred of shape {y_pred.shape} asks for "
            f"{y_pred.shape[:-1]}: one class number for each prediction"
        )
    classes = y_pred.shape[-1]
    found = labels.astype(np.intp, copy=False)
    wrong = found.view(np.uintp) >= classes  # those below 0 are large ones
    if np.count_nonzero(wrong):  # a quarter of what any() takes
        raise ValueError(
            f"y_true must hold class numbers of 0..{classes - 1}, since y_pred has {classes} "
            f"classes, received {labels[wrong][0]}"
        )
    return found


def targets(y_true: npt.ArrayLike, y_pred: Array) -> Array:
    """Return `y_true` in the shape and dtype of the predictions.

    Where these have a last axis of length 1, `y_true` may lack it.
    """
    found = _checks.cast("y_true", y_true, y_pred.dtype)
    if y_pred.ndim and y_pred.shape[-1] == 1 and found.shape == y_pred.shape[:-1]:
        found = found[..., None]
    if y_pred.ndim == 0 or found.shape != y_pred.shape:
        raise ValueError(
            f"y_true must have the shape of y_pred, {y_pred.shape}, with at least one axis, "
            f"received {found.shape}"
        )
    return found


def probabilities(y_true: npt.ArrayLike, y_pred: Array) -> Array:
    """Return `targets`, each of which must lie between 0 and 1."""
    found = targets(y_true, y_pred)
    wrong = ~((found >= 0) & (found <= 1))
    if wrong.any():
        raise ValueError(
            f"y_true must hold probabilities of 0..1, as one-hot labels are, received "
            f"{found[wrong][0]:g}; for class numbers there is sparse_categorical_crossentropy"
        )
    return found
