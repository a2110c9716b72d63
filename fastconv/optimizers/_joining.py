"""The small arrays of a list as one vector, for what is done to each number by itself.

A call of NumPy for a hundred numbers takes as long as one for a few thousand. Of LeNet-5's ten
weights eight are small: a step of Adam, 12 calls a weight, took 138 us, with those joined 113.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastconv._checks import Array

_SMALL = 4096  # numbers at most: what is copied to and fro is near


@dataclass(frozen=True)
class Joining:
    """Which arrays of a list are joined, by their places; none or at least two, of one dtype."""

    shapes: list[tuple[int, ...]]
    small: list[int]
    ends: list[int]

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> Joining:
        """Return the joining of arrays of these shapes and dtypes."""
        small = [i for i, a in enumerate(arrays) if a.size <= _SMALL and a.dtype == arrays[0].dtype]
        ends = [*itertools.accumulate(arrays[i].size for i in small)]
        shapes = [a.shape for a in arrays]
        return cls(shapes, small, ends) if len(small) > 1 else cls(shapes, [], [])

    def join(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the arrays that are not joined, in their order, and then the vector."""
        if not self.small:
            return list(arrays)
        joined = np.concatenate([arrays[i] for i in self.small], axis=None)
        return [*(a for i, a in enumerate(arrays) if i not in self.small), joined]

    def part(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the arrays as they were before `join`: those that were joined as views."""
        if not self.small:
            return list(arrays)
        *found, joined = arrays
        for i, end in zip(self.small, self.ends, strict=True):
            shape = self.shapes[i]
            found.insert(i, joined[end - math.prod(shape) : end].reshape(shape))
        return found
