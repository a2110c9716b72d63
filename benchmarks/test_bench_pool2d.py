"""Speed of the pooling layers of the named nets, forward and backward on one thread."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.shapes import Layer
from benchmarks.tracking import layers, track

pytestmark = pytest.mark.benchmark(max_time=0.2, min_rounds=3)


@layers("max_pool2d", "avg_pool2d", "global_max_pool2d", "global_avg_pool2d")
def test_pool2d(benchmark: Any, layer: Layer, pass_name: str) -> None:
    track(benchmark, layer, pass_name)
