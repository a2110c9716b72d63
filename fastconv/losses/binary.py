"""Cross-entropy of yes or no, for each number of the output by itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastconv import _checks, functional
from fastconv._checks import Array
from fastconv.activations import row_sums
from fastconv.losses._base import Loss, LossBackprop, probabilities
from fastconv.losses.crossentropy import at_least_normal, finite

__all__ = ["BinaryCrossentropy"]


class BinaryCrossentropy(Loss):
    r"""``loss = -(t log p + (1 - t) log(1 - p))``, the mean over the last axis.

    From probabilities, p and 1 - p are at least the smallest normal number of their dtype, so that
    a loss is never infinite. From logits z, p = sigmoid(z), and

        loss = max(z, 0) - z t + log(1 + exp(-|z|)),    dz = p - t,

    where the gradient, too, is divided by the length of the last axis. With `label_smoothing` a,
    t is first made (1 - a) t + a / 2.

    Parameters
    ----------
    from_logits
        Whether `y_pred` holds logits, any real numbers, rather than probabilities.
    label_smoothing
        a, in [0, 1).
    name
        What the loss is called.

    Examples
    --------
    >>> import numpy as np
    >>> round(BinaryCrossentropy()([0, 1], np.array([[0.5], [0.25]])), 4)
    1.0397
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        name: str = "binary_crossentropy",
    ) -> None:
        self.from_logits = _checks.flag("from_logits", from_logits)
        self.label_smoothing = _checks.real("label_smoothing", label_smoothing, below=1.0)
        self.name = name

    def forward(self, y_true: npt.ArrayLike, y_pred: Array) -> tuple[Array, LossBackprop]:
        """Return ``(losses, backprop)``; see `Loss.forward`.

        Parameters
        ----------
        y_true
            Numbers of 0..1, shape (..., c), or (...) where c is 1.
        y_pred
            float32 or float64, shape (..., c).
        """
        t = probabilities(y_true, y_pred)
        if self.label_smoothing:
            t = t * (1.0 - self.label_smoothing) + self.label_smoothing / 2
        width = y_pred.shape[-1]
        if self.from_logits:
            positive = np.where(y_pred > 0, y_pred, y_pred * 0)
            each = positive - y_pred * t + _log1p(functional.exp(-np.abs(y_pred)))
        else:
            p, q = at_least_normal(y_pred), at_least_normal(1 - y_pred)
            each = -(t * functional.log(p) + (1 - t) * functional.log(q))

        def backprop(weight: float | Array) -> Array:
            scale: Array = np.asarray(weight, y_pred.dtype) / width
            slopes = functional.sigmoid(y_pred) - t if self.from_logits else (1 - t) / q - t / p
            with np.errstate(over="ignore"):
                return finite(slopes * scale[..., None])

        losses: Array = row_sums(each)[..., 0] / width
        return losses, backprop


def _log1p(x: Array) -> Array:
    """Return log(1 + x) for x in [0, 1], right where 1 + x is rounded.

    log(u) x / (u - 1) with u = 1 + x, in which the error of u cancels: W. Kahan's way, of
    D. Goldberg, "What every computer scientist should know about floating-point arithmetic" (1991),
    theorem 4.
    """
    u = 1 + x
    rounded = u - 1
    divisor = np.where(rounded == 0, 1, rounded)
    return np.where(rounded == 0, x, functional.log(u) * x / divisor)
