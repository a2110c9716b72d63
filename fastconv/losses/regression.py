"""The losses of numbers against numbers: squared, absolute, and Huber's between the two."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array
from fastconv.activations import row_sums
from fastconv.losses._base import Loss, LossBackprop, targets

__all__ = ["Huber", "MeanAbsoluteError", "MeanSquaredError"]


class _ErrorLoss(Loss):
    """The mean over the last axis of a function of the errors d = y_pred - y_true."""

    @abstractmethod
    def _cost(self, errors: Array) -> tuple[Array, Array]:
        """Return the function of each error, and its derivative."""

    def forward(self, y_true: npt.ArrayLike, y_pred: Array) -> tuple[Array, LossBackprop]:
        """Return ``(losses, backprop)``; see `Loss.forward`.

        Parameters
        ----------
        y_true
            Real numbers, shape (..., c), or (...) where c is 1.
        y_pred
            float32 or float64, shape (..., c).
        """
        costs, slopes = self._cost(y_pred - targets(y_true, y_pred))
        width = y_pred.shape[-1]

        def backprop(weight: float | Array) -> Array:
            scale: Array = np.asarray(weight, y_pred.dtype) / width
            return slopes * scale[..., None]

        losses: Array = row_sums(costs)[..., 0] / width
        return losses, backprop


class MeanSquaredError(_ErrorLoss):
    r"""The mean over the last axis of d^2, d = y_pred - y_true; its derivative is 2 d.

    Parameters
    ----------
    name
        What the loss is called.

    Examples
    --------
    >>> MeanSquaredError()([[1.0, 2.0]], [[3.0, 2.0]])
    2.0
    """

    def __init__(self, *, name: str = "mean_squared_error") -> None:
        self.name = name

    def _cost(self, errors: Array) -> tuple[Array, Array]:
        return errors * errors, 2 * errors


class MeanAbsoluteError(_ErrorLoss):
    r"""The mean over the last axis of \|d\|, d = y_pred - y_true.

    Its derivative is the sign of d, 0 where d is 0.

    Parameters
    ----------
    name
        What the loss is called.

    Examples
    --------
    >>> MeanAbsoluteError()([[1.0, 2.0]], [[3.0, 2.0]])
    1.0
    """

    def __init__(self, *, name: str = "mean_absolute_error") -> None:
        self.name = name

    def _cost(self, errors: Array) -> tuple[Array, Array]:
        return np.abs(errors), np.sign(errors)


class Huber(_ErrorLoss):
    r"""Squared for small errors, absolute for large ones (P. J. Huber, 1964).

    The mean over the last axis of d^2 / 2 where \|d\| <= delta, and of delta (\|d\| - delta / 2)
    elsewhere, d = y_pred - y_true. Its derivative is d, cut at -delta and delta.

    Parameters
    ----------
    delta
        Where the square ends, at least 0.
    name
        What the loss is called.

    Examples
    --------
    >>> Huber()([[0.0, 0.0]], [[1.0, 3.0]])
    1.5
    """

    def __init__(self, delta: float = 1.0, *, name: str = "huber_loss") -> None:
        self.delta = _checks.real("delta", delta)
        self.name = name

    def _cost(self, errors: Array) -> tuple[Array, Array]:
        size = np.abs(errors)
        small = size <= self.delta
        costs = np.where(small, errors * errors / 2, self.delta * (size - self.delta / 2))
        return costs, np.where(small, errors, self.delta * np.sign(errors))
