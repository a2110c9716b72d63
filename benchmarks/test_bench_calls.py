"""What a call costs besides its arithmetic: the smallest layers, where it is nearly all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import functional as F

pytestmark = pytest.mark.benchmark(min_rounds=1000, warmup=True)


@pytest.mark.parametrize(("c_in", "c_out"), [(1, 4), (16, 16)])
def test_tiny_conv2d(benchmark: Any, c_in: int, c_out: int) -> None:
    x = np.ones((1, 8, 8, c_in), np.float32)
    kernel = np.ones((3, 3, c_in, c_out), np.float32)
    y = benchmark(lambda: F.conv2d(x, kernel))
    assert y.shape == (1, 6, 6, c_out)
    np.testing.assert_allclose(y, 9 * c_in, rtol=2e-6)  # tiles of Winograd's round


def test_tiny_max_pool2d(benchmark: Any) -> None:
    x = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    y = benchmark(lambda: F.max_pool2d(x))
    assert np.array_equal(y, x[:, 1::2, 1::2])
