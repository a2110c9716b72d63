"""Whether what was made for some layers and weights is still theirs."""

from __future__ import annotations

import operator
from collections.abc import Sequence


def same_objects(a: Sequence[object], b: Sequence[object]) -> bool:
    """Return whether two sequences hold the same objects, in the same order."""
    return len(a) == len(b) and all(map(operator.is_, a, b))
