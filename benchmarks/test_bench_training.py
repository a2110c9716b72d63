"""Speed of whole training steps (forward, backward, optimizer) and of predicting one image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models import Sequential, lenet5

BATCH = 128


def small_cnn() -> Sequential:
    """The usual first network for 28x28 images: two convolutions, two poolings, 100 units."""
    return Sequential(
        [
            Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
            MaxPooling2D(2),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dense(100, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        seed=0,
    )


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
