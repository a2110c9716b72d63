"""A small network and images to train it on, for the tests of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models import Sequential

Array = npt.NDArray[Any]


def small(seed: int | None = 0, *, input_shape: Any = (8, 8, 1), **options: Any) -> Sequential:
    """Make a network of a convolution, a pooling and a dense layer of ten classes."""
    layers = [
        Conv2D(4, 3, activation="relu", input_shape=input_shape, **options),
        MaxPooling2D(2, **options),
        Flatten(**options),
        Dense(10, activation="softmax", **options),
    ]
    return Sequential(layers, seed=seed)


def blobs(count: int, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Draw images that show their class as a bright square in one place."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.random((count, 8, 8, 1), np.float32) * 0.5
    for image, label in zip(x, y, strict=True):
        image[2:4, 2 * label : 2 * label + 2] += 1
    return x, y


def compiled(model: Sequential, optimizer: Any = "adam") -> Sequential:
    """Compile a network for class numbers."""
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
