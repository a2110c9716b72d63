"""The metrics: a value for every example, whose mean is shown and recorded during training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv.losses import class_labels, mean

__all__ = ["Metric", "SparseCategoricalAccuracy", "get"]


class Metric(ABC):
    """What is measured but not trained for. It has no state: means over batches are the model's."""

    name: str

    @abstractmethod
    def values(
        self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]
    ) -> npt.NDArray[np.floating | np.bool_]:
        """Return the metric of each example."""

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
        """Return the mean over the examples."""
        values = self.values(y_true, _checks.array("y_pred", y_pred))
        if values.size == 0:
            raise ValueError(f"the {self.name} of no examples is not defined; y_pred is empty")
        return mean(values)


class SparseCategoricalAccuracy(Metric):
    """The share of examples whose largest prediction is that of their class number.

    Of equal predictions the first counts as the largest.

    Examples
    --------
    >>> SparseCategoricalAccuracy()([1, 0], [[0.2, 0.8], [0.4, 0.6]])
    0.5
    """

    def __init__(self, *, name: str = "sparse_categorical_accuracy") -> None:
        self.name = name

    def values(
        self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]
    ) -> npt.NDArray[np.floating | np.bool_]:
        """Return a bool for each example, from y_true (...) or (..., 1) and y_pred (..., c)."""
        hits: npt.NDArray[np.bool_] = y_pred.argmax(axis=-1) == class_labels(y_true, y_pred)
        return hits


def get(identifier: str | Metric) -> Metric:
    """Return the metric that `compile` is given by a word or an object.

    "accuracy" and "acc" are the accuracy against class numbers, recorded under that word.

    Raises
    ------
    ValueError
        The word is not "accuracy", "acc" or "sparse_categorical_accuracy".
    TypeError
        It is neither a word nor a `Metric`.

    Examples
    --------
    >>> get("accuracy").name
    'accuracy'
    """
    if isinstance(identifier, Metric):
        return identifier
    return _checks.word("a metric", identifier, _BY_NAME, "a Metric")(name=identifier)


_BY_NAME = dict.fromkeys(
    ("accuracy", "acc", "sparse_categorical_accuracy"), SparseCategoricalAccuracy
)
