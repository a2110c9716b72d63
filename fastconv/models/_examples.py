"""What `fit` and `evaluate` are given: inputs, labels and weights, checked and cut into batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.losses._base import class_labels


@dataclass(frozen=True)
class Examples:
    """Inputs and labels of one length, and the weight of each example in the loss, or None."""

    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    weights: Array | None = None

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.x)

    def __getitem__(self, chosen: slice | npt.NDArray[np.intp]) -> Examples:
        """Return some of them."""
        weights = None if self.weights is None else self.weights[chosen]
        return Examples(self.x[chosen], self.y[chosen], weights)


def examples(
    x: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, of: str = ""
) -> Examples:
    """Return array-likes as examples, at least one; `of` is the argument that held them."""
    names = [f"{of}[{i}]" for i in range(3)] if of else ["x", "y", "sample_weight"]
    inputs, labels = _checks.array(names[0], x), _checks.array(names[1], y)
    if inputs.ndim == 0 or labels.ndim == 0 or len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(
            f"{names[0]} and {names[1]} must hold the same number of examples, at least one, "
            f"received shapes {inputs.shape} and {labels.shape}"
        )
    if sample_weight is None:
        return Examples(inputs, labels)
    weights = _checks.floats(names[2], sample_weight)
    if weights.ndim == 0 or len(weights) != len(inputs) or not np.isfinite(weights).all():
        raise ValueError(
            f"{names[2]} must hold a finite number for each of the {len(inputs)} examples, "
            f"received an array of shape {weights.shape}"
        )
    return Examples(inputs, labels, weights)


def validation(data: object) -> Examples:
    """Return `fit`'s argument `validation_data` as examples."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ValueError("validation_data must be a pair (x, y) or a triple (x, y, sample_weight)")
    x, y, *weights = data
    return examples(x, y, weights[0] if weights else None, "validation_data")


def split(given: Examples, share: float) -> tuple[Examples, Examples]:
    """Return the first examples and the last ones, of which there is the share given."""
    count = math.floor(len(given) * (1.0 - _checks.real("validation_split", share, below=1.0)))
    if not 0 < count < len(given):
        raise ValueError(
            f"validation_split must leave at least one example on both sides, received {share} "
            f"for {len(given)} examples"
        )
    return given[:count], given[count:]


def weighed_by_class(
    given: Examples, class_weight: Mapping[int, float], output_shape: Shape
) -> Examples:
    """Return examples weighed by their classes, each class that has no weight by 1.

    The classes are class numbers, one-hot labels or, for one output, 0 and 1.
    """
    if given.weights is not None:
        raise ValueError("class_weight and sample_weight cannot both be given")
    classes = max(output_shape[-1] or 0, 2)
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight must be a dict such as {{0: 2.0}}, received {class_weight}")
    each = np.ones(classes, np.float32)
    for label, weight in class_weight.items():
        number = _checks.integer("a class of class_weight", label, 0)
        if number >= classes:
            raise ValueError(
                f"class_weight must have classes of 0..{classes - 1} as keys, received {label}"
            )
        each[number] = _checks.real(f"class_weight[{number}]", weight)
    return replace(given, weights=each[_classes(given.y, output_shape, classes)])


def _classes(y: npt.NDArray[Any], output_shape: Shape, classes: int) -> npt.NDArray[Any]:
    """Return the class of each example, or of each pixel of each."""
    if output_shape[-1] == 1:
        y = y.astype(np.int64) if (y == (y != 0)).all() else y
    elif y.ndim == len(output_shape) and y.shape[-1] == classes:
        found: npt.NDArray[np.intp] = y.argmax(axis=-1)
        return found
    sizes = y.shape if y.ndim < len(output_shape) else y.shape[:-1]
    return class_labels(y, np.broadcast_to(np.float32(0), (*sizes, classes)))


def batches(count: int, batch_size: int | None) -> Sequence[slice]:
    """Return 0..count - 1 cut into batches; None is Keras's 32."""
    size = 32 if batch_size is None else _checks.integer("batch_size", batch_size)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
