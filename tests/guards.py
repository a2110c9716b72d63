"""Arrays with guard bytes around them, filled so that whatever a kernel forgets or oversteps shows.

An output starts as NaN, so that a value never written is seen; the bytes around it hold a pattern,
so that a value written beside it is seen. An input has NaN around it, so that a value read beside
it and put to use is seen in the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GUARD_BYTES = 256  # four of the widest vectors on either side
PATTERN = 0xA5


class GuardedOutput:
    """A NaN-filled array, ``array``, between guard bytes that ``assert_intact`` looks at."""

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike, offset: int = 0) -> None:
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        self._first, self._last = GUARD_BYTES + offset, GUARD_BYTES + offset + size
        self._bytes = np.full(self._last + GUARD_BYTES, PATTERN, np.uint8)
        self.array: Array = self._bytes[self._first : self._last].view(dtype).reshape(shape)
        self.array.fill(np.nan if dtype.kind == "f" else -7)

    def assert_intact(self) -> None:
        """Assert that no byte before or after the array was written."""
        assert (self._bytes[: self._first] == PATTERN).all(), "written before the array"
        assert (self._bytes[self._last :] == PATTERN).all(), "written after the array"


def guarded_input(values: Array, offset: int = 0) -> Array:
    """Return a copy of float values that has NaN directly before and after it in memory."""
    beside = GUARD_BYTES // values.dtype.itemsize
    memory = np.empty((values.size + 2 * beside) * values.itemsize + offset, np.uint8)
    floats = memory[offset:].view(values.dtype)
    floats.fill(np.nan)
    copy = floats[beside : beside + values.size].reshape(values.shape)
    copy[...] = values
    return copy
