"""A lock that measurements on one machine hold in turn, so that no two run at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path | None) -> Iterator[None]:
    """Hold a lock on a file, if one is named; the same as `flock FILE` in a shell."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
