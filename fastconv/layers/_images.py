"""The output shapes of image operations, from the operations themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._checks import Array, Shape

_OPEN = 1 << 15
"""Stands for a size that is open while the others are probed: larger than any window."""


def probed_shape(
    operation: Callable[[Array], Array], shape: Shape, dtype: np.dtype[np.floating[Any]]
) -> Shape:
    """Return the shape of the operation's result for an x of rank 4, None where a size is open.

    The operation runs on an empty batch, which computes nothing: the formula of output sizes, and
    the errors where there is no output, stand in one place, below.
    """
    probe = np.empty((0, *(_OPEN if size is None else size for size in shape[1:])), dtype)
    result = operation(probe).shape
    return (
        shape[0],
        *(None if x is None else y for x, y in zip(shape[1:], result[1:], strict=True)),
    )
