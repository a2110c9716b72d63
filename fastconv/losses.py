"""The losses: a value for every example, and the gradient of the predictions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks, functional
from fastconv._checks import Array, Labels

__all__ = ["Loss", "SparseCategoricalCrossentropy", "get"]

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

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
        """Return the mean loss, its sum taken exactly."""
        losses, _ = self.forward(y_true, _checks.floats("y_pred", y_pred))
        if losses.size == 0:
            raise ValueError("the mean loss of no examples is not defined; y_pred is empty")
        return mean(losses)


def mean(values: npt.NDArray[np.floating | np.bool_]) -> float:
    """Return the mean, correctly rounded before the division, so that no order of adding counts."""
    return math.fsum(values.ravel().tolist()) / values.size


class SparseCategoricalCrossentropy(Loss):
    r"""Cross-entropy against class numbers: ``loss = -log p[label]``.

    From probabilities, p is `y_pred` as it is, but at least the smallest normal number of its
    dtype, so that a probability of 0 costs 87.3 in float32, not infinity. From logits,
    p = softmax(y_pred) over the last axis, and

        loss = log(sum_j exp(y_j)) - y[label],    dy_j = p_j - [j = label].

    A softmax layer before the loss from probabilities gives that same gradient, except where a
    probability has underflowed to 0.

    Parameters
    ----------
    from_logits
        Whether `y_pred` holds logits, any real numbers, rather than probabilities.
    name
        What the loss is called.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SparseCategoricalCrossentropy()
    >>> round(loss([0, 1], np.array([[0.5, 0.5], [0.75, 0.25]])), 4)
    1.0397
    """

    def __init__(
        self, from_logits: bool = False, *, name: str = "sparse_categorical_crossentropy"
    ) -> None:
        self.from_logits = _checks.flag("from_logits", from_logits)
        self.name = name

    def forward(self, y_true: npt.ArrayLike, y_pred: Array) -> tuple[Array, LossBackprop]:
        """Return ``(losses, backprop)``; see `Loss.forward`.

        Parameters
        ----------
        y_true
            Integers of 0..c - 1, shape (...) or (..., 1).
        y_pred
            float32 or float64, shape (..., c).
        """
        labels = class_labels(y_true, y_pred)
        rows = y_pred.reshape(labels.size, y_pred.shape[-1])
        each = (np.arange(labels.size), labels.ravel())
        losses, probabilities = (_from_logits if self.from_logits else _from_probabilities)(
            rows, each
        )

        def backprop(weight: float | Array) -> Array:
            weights = np.broadcast_to(np.asarray(weight, rows.dtype), labels.shape).ravel()
            if self.from_logits:
                dy = probabilities * weights[:, None]
                dy[each] -= weights
            else:
                dy = np.zeros_like(rows)
                dy[each] = -weights / probabilities
            return dy.reshape(y_pred.shape)

        return losses.reshape(labels.shape), backprop


Each: TypeAlias = tuple[Labels, Labels]


def _from_probabilities(rows: Array, each: Each) -> tuple[Array, Array]:
    """Return the losses and the probability of each label, both (n,)."""
    labelled = rows[each]
    least = np.finfo(rows.dtype).smallest_normal
    labelled = np.where(labelled < least, least, labelled)  # a NaN stays one
    return -functional.log(labelled), labelled


def _from_logits(rows: Array, each: Each) -> tuple[Array, Array]:
    """Return the losses (n,) and the probabilities (n, c)."""
    probabilities = functional.softmax(rows)
    # log(sum exp(y - max y)) is -log of the largest probability: no second sum, no overflow.
    scale = -functional.log(probabilities.max(axis=-1))
    return scale + (rows.max(axis=-1) - rows[each]), probabilities


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
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise ValueError(
            f"y_true must hold class numbers of 0..{classes - 1}, since y_pred has {classes} "
            f"classes, received {labels[wrong][0]}"
        )
    return labels.astype(np.intp, copy=False)


def get(identifier: str | Loss) -> Loss:
    """Return the loss that `compile` is given by a word or an object.

    Raises
    ------
    ValueError
        The word is not "sparse_categorical_crossentropy".
    TypeError
        It is neither a word nor a `Loss`.

    Examples
    --------
    >>> get("sparse_categorical_crossentropy").name
    'sparse_categorical_crossentropy'
    """
    if isinstance(identifier, Loss):
        return identifier
    return _checks.word("loss", identifier, _BY_NAME, "a Loss")()


_BY_NAME: dict[str, Callable[[], Loss]] = {
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy
}
