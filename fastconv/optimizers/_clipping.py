"""Gradients scaled down to a norm, with the same bits on every CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastconv import _checks, functional
from fastconv._checks import Array


def limit(name: str, value: float | None) -> float | None:
    """Return a limit of clipping, a positive number, or None."""
    if value is None:
        return None
    found = _checks.real(name, value)
    if not found > 0:
        raise ValueError(f"{name} must be a positive number or None, received {value}")
    return found


def by_norm(grads: Sequence[Array], largest: float) -> list[Array]:
    """Return gradients times largest / norm, if the norm of all of them is larger than `largest`.

    The norm is not finite where a gradient is not, and then no gradient stays finite.
    """
    norm = math.sqrt(math.fsum(map(_sum_of_squares, grads)))
    if norm <= largest:
        return list(grads)
    factor = largest / norm if norm < math.inf else math.nan
    return [g * factor for g in grads]


def _sum_of_squares(values: Array) -> float:
    """Return the sum of squares, in float64.

    As a dense product, whose order of summation is fixed; that of ``np.sum`` or ``np.dot`` is
    theirs to choose, CPU by CPU. For the 400,000 weights of a small network it takes 1 ms, where
    ``math.fsum`` takes 30.
    """
    row = values.astype(np.float64).reshape(1, -1)
    return float(functional.dense(row, row.reshape(-1, 1))[0, 0])
