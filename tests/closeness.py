"""How near a result must be to the reference, and what it means for two results to be the same.

A sum of L terms makes L roundings, each at most eps / 2 of a partial sum, and no partial sum is
larger than M, the sum of the terms' absolute values. The roundings are independent, so they add up
like sqrt(L), not like L, even where all terms have one sign. Hence the one tolerance of all tests:

    |result - reference| <= eps * (8 + sqrt(L)) * M

On unit-normal data a direct sum uses about a tenth of it. The 8 is for what is not summing: bias,
residual, the transforms of a fast algorithm, the last rounding. M is the largest of the array, not
one per element, since a fast algorithm computes neighbouring outputs together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def assert_close(actual: Array, expected: Array, magnitude: Array, terms: int) -> None:
    """Assert that a float result is within the rounding errors of a sum of ``terms`` terms.

    ``magnitude`` is the reference's result on the absolute values of all inputs: M above.
    """
    assert actual.shape == expected.shape
    largest = float(np.max(magnitude, initial=0.0))
    tolerance = np.finfo(actual.dtype).eps * (8 + np.sqrt(terms)) * largest
    np.testing.assert_allclose(actual, expected, rtol=0, atol=float(tolerance))


def assert_within_ulps(actual: Array, expected: Array, ulps: float) -> None:
    """Assert that each value is within a number of units in the last place of its expected one.

    Below the smallest normal number the unit is that of the smallest normal.
    """
    assert actual.shape == expected.shape
    limits = np.finfo(actual.dtype)
    with np.errstate(over="ignore"):
        rounded = expected.astype(actual.dtype)
    ordinary = np.isfinite(rounded)
    np.testing.assert_array_equal(actual[~ordinary], rounded[~ordinary])
    unit = limits.eps * np.maximum(np.abs(expected[ordinary]), limits.smallest_normal)
    errors = np.abs(actual[ordinary] - expected[ordinary]) / unit
    assert np.max(errors, initial=0.0) <= ulps


def same_bits(a: Array, b: Array) -> bool:
    """Say whether two arrays agree in every bit; the sign and payload of a NaN are exempt."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    bits_a, bits_b = (np.ascontiguousarray(v).view(unsigned) for v in (a, b))
    return bool(np.all((bits_a == bits_b) | (np.isnan(a) & np.isnan(b))))


def assert_same_bits(a: Array, b: Array, what: str = "") -> None:
    """Assert that two arrays agree in every bit, NaNs exempt, and show where they do not."""
    assert a.shape == b.shape, what
    assert a.dtype == b.dtype, what
    if not same_bits(a, b):
        differ = ~((a == b) & (np.signbit(a) == np.signbit(b))) & ~(np.isnan(a) & np.isnan(b))
        first = tuple(int(i) for i in np.argwhere(differ)[0])
        raise AssertionError(
            f"{what}: {int(differ.sum())} of {a.size} values differ, "
            f"first at {first}: {a[first]!r} and {b[first]!r}"
        )
