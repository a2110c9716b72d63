"""Cross-entropy over classes, from class numbers or from a distribution for each example."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks, functional
from fastconv._checks import Array, Labels
from fastconv.activations import row_sums
from fastconv.losses._base import Loss, LossBackprop, class_labels, probabilities

__all__ = ["CategoricalCrossentropy", "SparseCategoricalCrossentropy"]


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
        losses, found = (_from_logits if self.from_logits else _from_probabilities)(rows, each)

        def backprop(weight: float | Array) -> Array:
            weights = np.asarray(weight, rows.dtype)
            if weights.ndim:
                weights = np.broadcast_to(weights, labels.shape).ravel()
            if self.from_logits:
                dy = found * weights[..., None]
                dy[each] -= weights
            else:
                dy = np.zeros(rows.shape, rows.dtype)
                with np.errstate(over="ignore"):
                    dy[each] = finite(-weights / found)
            return dy.reshape(y_pred.shape)

        return losses.reshape(labels.shape), backprop


class CategoricalCrossentropy(Loss):
    r"""Cross-entropy against one-hot labels, or any distribution t: ``loss = -sum_j t_j log p_j``.

    p is found from `y_pred` as in `SparseCategoricalCrossentropy`, whose values and gradients those
    of one-hot labels are; dy_j = -t_j / p_j from probabilities and p_j sum(t) - t_j from logits.
    With `label_smoothing` a, t is first made (1 - a) t + a / c (Szegedy et al., 2016).

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
    >>> loss = CategoricalCrossentropy()
    >>> round(loss([[1, 0], [0, 1]], np.array([[0.5, 0.5], [0.75, 0.25]])), 4)
    1.0397
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        name: str = "categorical_crossentropy",
    ) -> None:
        self.from_logits = _checks.flag("from_logits", from_logits)
        self.label_smoothing = _checks.real("label_smoothing", label_smoothing, below=1.0)
        self.name = name

    def forward(self, y_true: npt.ArrayLike, y_pred: Array) -> tuple[Array, LossBackprop]:
        """Return ``(losses, backprop)``; see `Loss.forward`.

        Parameters
        ----------
        y_true
            Numbers of 0..1, shape (..., c).
        y_pred
            float32 or float64, shape (..., c).
        """
        t = probabilities(y_true, y_pred)
        if self.label_smoothing:
            t = t * (1.0 - self.label_smoothing) + self.label_smoothing / y_pred.shape[-1]
        if self.from_logits:
            p = functional.softmax(y_pred)
            # Each term is t_j (log sum exp(y) - y_j), as in `_from_logits`: none is negative.
            scale = -functional.log(p.max(axis=-1, keepdims=True))
            # Where t_j is 0, it is 0 even at a logit of -inf, by which a class is ruled out.
            shortfalls = y_pred.max(axis=-1, keepdims=True) - y_pred
            losses = row_sums(t * np.where(t == 0, 0, scale + shortfalls))
        else:
            p = at_least_normal(y_pred)
            losses = row_sums(t * -functional.log(p))

        def backprop(weight: float | Array) -> Array:
            weights = np.asarray(weight, y_pred.dtype)[..., None]
            if self.from_logits:
                return (p * row_sums(t) - t) * weights
            with np.errstate(over="ignore"):
                return finite(-t / p * weights)

        return losses[..., 0], backprop


Each: TypeAlias = tuple[Labels, Labels]


def at_least_normal(values: Array) -> Array:
    """Return the values, those below the smallest normal number replaced by it; a NaN stays one."""
    found: Array = np.maximum(values, np.finfo(values.dtype).smallest_normal)
    return found


def finite(gradient: Array) -> Array:
    """Return a gradient with the largest number of its dtype in place of infinity.

    A weight of 5 and a probability that has become 0 overflow together in float32; a softmax or a
    sigmoid before the loss would multiply that infinity by 0, and every weight would be NaN.
    """
    most = np.finfo(gradient.dtype).max
    found: Array = np.minimum(np.maximum(gradient, -most), most)  # half of what np.clip takes
    return found


def _from_probabilities(rows: Array, each: Each) -> tuple[Array, Array]:
    """Return the losses and the probability of each label, both (n,)."""
    labelled = at_least_normal(rows[each])
    return -functional.log(labelled), labelled


def _from_logits(rows: Array, each: Each) -> tuple[Array, Array]:
    """Return the losses (n,) and the probabilities (n, c)."""
    found = functional.softmax(rows)
    # log(sum exp(y - max y)) is -log of the largest probability: no second sum, no overflow.
    scale = -functional.log(found.max(axis=-1))
    return scale + (rows.max(axis=-1) - rows[each]), found
