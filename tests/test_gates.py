"""Rectifiers that move behind a pooling on the way back: the bits of each layer's own way back."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.layers import (
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalMaxPooling2D,
    Layer,
    MaxPooling2D,
    MinPooling2D,
)
from fastconv.layers._gates import Gated, swapped
from fastconv.models import Sequential
from fastconv.models._reach import reached

POOLS = {
    "max": MaxPooling2D(2),
    "overlapping": MaxPooling2D(3, strides=2, padding="same"),
    "min": MinPooling2D(3, strides=1),
    "average": AveragePooling2D(2),
    "global": GlobalMaxPooling2D(),
}


@pytest.mark.parametrize("activation", ["relu", "relu6", "tanh"])
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_model_has_the_gradients_of_its_layers(pool: Layer, activation: str) -> None:
    between = [Conv2D(3, 2, activation=activation), MaxPooling2D(2), Flatten()]
    layers = [
        Conv2D(5, 3, activation=activation, bias_initializer="ones"),
        pool.from_config(pool.get_config()),
        *(() if isinstance(pool, GlobalMaxPooling2D) else between),
        Dense(4, activation=activation),
    ]
    model = Sequential(layers, seed=1)
    rng = np.random.default_rng(2)
    # Read to the last pixel, or the model would compute less than its layers.
    size = (9, 7) if isinstance(pool, MinPooling2D) else (8, 12)
    x = rng.standard_normal((6, *size, 2), np.float32)
    assert reached(layers, x.shape) == ()
    x[0] = np.nan
    y, backprop = model.forward(x, training=True)
    dy = rng.standard_normal(y.shape, np.float32)

    ways, value = [], x
    for layer in layers:
        value, way = layer.forward(value, training=True)
        ways.append(way)
    gradient, expected = dy, []
    for way in reversed(ways):
        gradient, own = way(gradient)
        expected = own + expected

    assert y.tobytes() == value.tobytes()
    dx, grads = backprop(dy)
    assert dx.tobytes() == gradient.tobytes()
    assert [g.tobytes() for g in grads] == [g.tobytes() for g in expected]


def test_the_rectifier_sees_the_pooled_numbers_alone() -> None:
    y, convolution = Conv2D(4, 3, activation="relu").forward(np.ones((1, 10, 10, 1)))
    for pool, shape in ((MaxPooling2D(2), (1, 4, 4, 4)), (GlobalMaxPooling2D(), (1, 4))):
        _, pooling = pool.forward(y)
        before, after = swapped(convolution, pooling)
        assert not isinstance(before.pullback, Gated)
        assert isinstance(after.pullback, Gated)
        assert after.pullback.y.shape == shape
    _, averaging = AveragePooling2D(2).forward(y)
    assert swapped(convolution, averaging) == (convolution, averaging)
