"""The handwritten digits that ship with scikit-learn: 1,797 images of 8x8."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks, _extras

__all__ = ["enlarge", "load_data"]

Split: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_data() -> tuple[Split, Split]:
    """Return ``(x_train, y_train), (x_test, y_test)``; every fifth of a class is for testing.

    Images are uint8 of 0..16, shape (1438, 8, 8) and (359, 8, 8); labels uint8 of 0..9.

    The data are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin
    and Kaynak, 1998).

    Raises
    ------
    ImportError
        scikit-learn is not installed.

    Examples
    --------
    >>> from fastconv.datasets import digits
    >>> (x_train, y_train), (x_test, y_test) = digits.load_data()
    >>> x_train.shape, x_test.shape
    ((1438, 8, 8), (359, 8, 8))
    """
    found = _extras.require("sklearn.datasets", "the digits data set").load_digits()
    x, y = found.images.astype(np.uint8), found.target.astype(np.uint8)
    tested = np.zeros(len(y), bool)
    tested[y.argsort(kind="stable")[4::5]] = True
    return (x[~tested], y[~tested]), (x[tested], y[tested])


def enlarge(images: npt.ArrayLike, size: int) -> npt.NDArray[np.float32]:
    """Return square images enlarged to `size` by bilinear interpolation.

    The centre of output pixel i lies at (i + 1/2) n / size - 1/2 of the n input pixels, and the
    border pixels reach outwards.

    Parameters
    ----------
    images
        Real numbers, shape (..., n, n).
    size
        Height and width of the result, (..., size, size), float32.

    Examples
    --------
    >>> from fastconv.datasets import digits
    >>> digits.enlarge([[[0, 1], [0, 1]]], 4)[0, 0]
    array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """
    found = _checks.array("images", images).astype(np.float32)
    if found.ndim < 2 or found.shape[-1] != found.shape[-2] or found.shape[-1] == 0:
        raise ValueError(f"images must be square, (..., n, n), received shape {found.shape}")
    before, after, share = _neighbours(found.shape[-1], _checks.integer("size", size))
    kept = np.float32(1) - share
    rows = found[..., before, :] * kept[:, None] + found[..., after, :] * share[:, None]
    enlarged: npt.NDArray[np.float32] = rows[..., before] * kept + rows[..., after] * share
    return enlarged


def _neighbours(
    old: int, new: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return, for each of `new` pixels, its two of `old` ones and the share of the second."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = place.astype(np.intp)
    after = np.minimum(before + 1, old - 1)
    return before, after, (place - before).astype(np.float32)
