"""Speed of the convolutions and dense layers of the named nets, each pass on one thread."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.shapes import Layer
from benchmarks.tracking import layers, track

pytestmark = pytest.mark.benchmark(max_time=0.2, min_rounds=3)


@layers("conv2d")
def test_conv2d(benchmark: Any, layer: Layer, pass_name: str) -> None:
    track(benchmark, layer, pass_name)


@layers("dense")
def test_dense(benchmark: Any, layer: Layer, pass_name: str) -> None:
    track(benchmark, layer, pass_name)
