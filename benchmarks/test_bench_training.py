"""Speed of whole training steps (forward, backward, optimizer) and of predicting one image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from benchmarks.program_fastconv import small_cnn
from fastconv.models import lenet5

BATCH = 128


@pytest.mark.parametrize("make", [lambda: lenet5(seed=0), small_cnn], ids=["lenet5", "small_cnn"])
def test_training_step(benchmark: Any, make: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((BATCH, 28, 28, 1), dtype=np.float32)
    y = rng.integers(10, size=BATCH)
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy")
    with fastconv.threads(1):
        before = model.fit(x, y, batch_size=BATCH, verbose=0).history["loss"][0]
        benchmark(lambda: model.fit(x, y, batch_size=BATCH, verbose=0))
        assert model.evaluate(x, y, verbose=0)[0] < before


def test_predict_one_image(benchmark: Any) -> None:
    x = np.random.default_rng(0).random((1, 28, 28, 1), dtype=np.float32)
    model = lenet5(seed=0)
    with fastconv.threads(1):
        y = benchmark(lambda: model.predict(x, verbose=0))
    np.testing.assert_allclose(y.sum(), 1.0, rtol=1e-5)
