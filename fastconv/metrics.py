"""The metrics: a value for every example, whose mean is shown and recorded during training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array
from fastconv.activations import row_sums
from fastconv.losses._base import class_labels, mean, probabilities, targets

__all__ = [
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
]

Values: TypeAlias = npt.NDArray[np.floating | np.bool_]


class Metric(ABC):
    """What is measured but not trained for. It has no state: means over batches are the model's.

    Attributes
    ----------
    name
        The word under which it is recorded.
    mode
        "max" where a larger value is a better one, "min" where a smaller one is; None leaves it to
        the callbacks that compare values to be told.
    """

    name: str
    mode: str | None = None

    @abstractmethod
    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return the metric of each example."""

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
        """Return the mean over the examples."""
        values = self.values(y_true, _checks.array("y_pred", y_pred))
        if values.size == 0:
            raise ValueError(f"the {self.name} of no examples is not defined; y_pred is empty")
        return mean(values)


class SparseCategoricalAccuracy(Metric):
    """How often the largest of the predictions is that of the class number.

    Of equal predictions the first counts as the largest.

    Examples
    --------
    >>> SparseCategoricalAccuracy()([1, 0], [[0.2, 0.8], [0.4, 0.6]])
    0.5
    """

    mode = "max"

    def __init__(self, *, name: str = "sparse_categorical_accuracy") -> None:
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return a bool for each example, from y_true (...) or (..., 1) and y_pred (..., c)."""
        hits: npt.NDArray[np.bool_] = y_pred.argmax(axis=-1) == class_labels(y_true, y_pred)
        return hits


class CategoricalAccuracy(Metric):
    """How often the largest of the predictions is the largest of the one-hot labels.

    Examples
    --------
    >>> CategoricalAccuracy()([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])
    0.5
    """

    mode = "max"

    def __init__(self, *, name: str = "categorical_accuracy") -> None:
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return a bool for each example, from two arrays of shape (..., c)."""
        hits: npt.NDArray[np.bool_] = y_pred.argmax(axis=-1) == _classes(y_true, y_pred)
        return hits


class BinaryAccuracy(Metric):
    """How often predictions lie above the threshold where y_true is 1, and not where it is 0.

    Parameters
    ----------
    name
        The word under which it is recorded.
    threshold
        What a prediction of yes lies above; 0 suits logits.

    Examples
    --------
    >>> BinaryAccuracy()([0, 1, 1], [[0.4], [0.6], [0.2]])
    0.6666666666666666
    """

    mode = "max"

    def __init__(self, *, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        self.name = name
        self.threshold = _checks.real("threshold", threshold, least=-float("inf"))

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return a bool for each number, from y_true (..., c), or (...) where c is 1."""
        predicted = _checks.floats("y_pred", y_pred)
        hits: npt.NDArray[np.bool_] = (y_pred > self.threshold) == probabilities(y_true, predicted)
        return hits


class SparseTopKCategoricalAccuracy(Metric):
    """How often fewer than `k` predictions are larger than that of the class number.

    A prediction that is not finite is no hit.

    Parameters
    ----------
    k
        How many classes are looked at.
    name
        The word under which it is recorded.

    Examples
    --------
    >>> SparseTopKCategoricalAccuracy(2)([2, 0], [[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    0.5
    """

    mode = "max"

    def __init__(self, k: int = 5, *, name: str = "sparse_top_k_categorical_accuracy") -> None:
        self.k = _checks.integer("k", k)
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return a bool for each example, from y_true (...) or (..., 1) and y_pred (..., c)."""
        return _among(self.k, class_labels(y_true, y_pred), y_pred)


class TopKCategoricalAccuracy(Metric):
    """`SparseTopKCategoricalAccuracy` against one-hot labels.

    Examples
    --------
    >>> TopKCategoricalAccuracy(2)([[0, 0, 1], [1, 0, 0]], [[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    0.5
    """

    mode = "max"

    def __init__(self, k: int = 5, *, name: str = "top_k_categorical_accuracy") -> None:
        self.k = _checks.integer("k", k)
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return a bool for each example, from two arrays of shape (..., c)."""
        return _among(self.k, _classes(y_true, y_pred), y_pred)


class MeanAbsoluteError(Metric):
    """The mean of the absolute errors.

    Examples
    --------
    >>> MeanAbsoluteError()([[1.0, 2.0]], [[3.0, 2.0]])
    1.0
    """

    mode = "min"

    def __init__(self, *, name: str = "mean_absolute_error") -> None:
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return the mean over the last axis, from y_true (..., c), or (...) where c is 1."""
        predicted = _checks.floats("y_pred", y_pred)
        return _row_means(np.abs(predicted - targets(y_true, predicted)))


class MeanSquaredError(Metric):
    """The mean of the squared errors.

    Examples
    --------
    >>> MeanSquaredError()([[1.0, 2.0]], [[3.0, 2.0]])
    2.0
    """

    mode = "min"

    def __init__(self, *, name: str = "mean_squared_error") -> None:
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        """Return the mean over the last axis, from y_true (..., c), or (...) where c is 1."""
        predicted = _checks.floats("y_pred", y_pred)
        errors = predicted - targets(y_true, predicted)
        return _row_means(errors * errors)


class _Accuracy(Metric):
    """What Keras means by "accuracy": the kind that the shapes ask for.

    Predictions with a last axis of length 1 are yes or no; otherwise labels that lack that axis, or
    have it of length 1, are class numbers, and the rest are one-hot.
    """

    mode = "max"

    def __init__(self, *, name: str) -> None:
        self.name = name

    def values(self, y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> Values:
        shape = np.shape(y_true)
        kind: type[Metric] = CategoricalAccuracy
        if y_pred.ndim and y_pred.shape[-1] == 1:
            kind = BinaryAccuracy
        elif len(shape) < y_pred.ndim or (shape and shape[-1] == 1):
            kind = SparseCategoricalAccuracy
        return kind().values(y_true, y_pred)


def _classes(y_true: npt.ArrayLike, y_pred: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the classes of one-hot labels or distributions; predictions may be integers."""
    shares = probabilities(y_true, _checks.floats("y_pred", y_pred))
    found: npt.NDArray[np.intp] = shares.argmax(axis=-1)
    return found


def _among(k: int, labels: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> Values:
    """Return whether each label's prediction has fewer than k larger ones beside it."""
    labelled = np.take_along_axis(y_pred, labels[..., None], -1)
    found: npt.NDArray[np.bool_] = (y_pred > labelled).sum(-1) < k
    found &= np.isfinite(labelled[..., 0])
    return found


def _row_means(values: Array) -> Array:
    """Return the means over the last axis."""
    means: Array = row_sums(values)[..., 0] / values.shape[-1]
    return means


def get(identifier: str | Metric) -> Metric:
    """Return the metric that `compile` is given by a word or an object.

    It is recorded under that very word, such as "acc". "accuracy" and "acc" are the accuracy
    against class numbers, one-hot labels or yes and no, as the shapes of labels and predictions
    tell.

    Raises
    ------
    ValueError
        The word is no metric's; the message lists those that are.
    TypeError
        It is neither a word nor a `Metric`.

    Examples
    --------
    >>> get("accuracy").name
    'accuracy'
    """
    if isinstance(identifier, Metric):
        return identifier
    make: Callable[..., Metric] = _checks.word("a metric", identifier, _BY_NAME, "a Metric")
    return make(name=identifier)


_BY_NAME: dict[str, Callable[..., Metric]] = {
    "accuracy": _Accuracy,
    "acc": _Accuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "binary_accuracy": BinaryAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
}
