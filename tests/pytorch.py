"""PyTorch, where it is installed, on one thread: beside small problems its pool only spins."""

from __future__ import annotations

from typing import Any

import pytest


def torch() -> Any:
    """Return the module, or skip the test."""
    found = pytest.importorskip("torch")
    found.set_num_threads(1)
    return found
