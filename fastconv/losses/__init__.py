"""The losses, with Keras's names: what training makes small."""

from __future__ import annotations

from collections.abc import Callable

from fastconv import _checks
from fastconv.losses._base import Loss
from fastconv.losses.binary import BinaryCrossentropy
from fastconv.losses.crossentropy import CategoricalCrossentropy, SparseCategoricalCrossentropy
from fastconv.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
]

_BY_NAME: dict[str, Callable[[], Loss]] = {
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "huber": Huber,
    "huber_loss": Huber,
}


def get(identifier: str | Loss) -> Loss:
    """Return the loss that `compile` is given by a word or an object.

    Raises
    ------
    ValueError
        The word is no loss's; the message lists those that are.
    TypeError
        It is neither a word nor a `Loss`.

    Examples
    --------
    >>> get("mse").name
    'mean_squared_error'
    """
    if isinstance(identifier, Loss):
        return identifier
    return _checks.word("loss", identifier, _BY_NAME, "a Loss")()
