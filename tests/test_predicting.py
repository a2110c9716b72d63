"""Predicting: the same for every batch size, with kernels packed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from closeness import assert_same_bits
from fastconv import activations, functional
from fastconv.layers import Conv2D, Dense
from fastconv.models import Sequential
from networks import blobs, compiled, small

Array = npt.NDArray[Any]


def test_predict_does_not_depend_on_the_batch_size() -> None:
    model, x = small(), blobs(23)[0]
    whole = model.predict(x, batch_size=23, verbose=0)
    assert whole.shape == (23, 10)
    np.testing.assert_allclose(whole, model(x), rtol=1e-5)
    for batch_size in (1, 5, 100, None):
        assert_same_bits(model.predict(x, batch_size, verbose=0), whole)
    assert model.predict(x[:0]).shape == (0, 10)


def test_predict_packs_once_and_again_when_weights_or_size_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[Any] = []
    pack = functional.pack_kernel

    def spy(kernel: Array, **geometry: Any) -> Any:
        packed.append(geometry["input_size"])
        return pack(kernel, **geometry)

    monkeypatch.setattr(functional, "pack_kernel", spy)
    model = compiled(small())
    x, y = blobs(10)
    for _ in range(3):
        model.predict(x, batch_size=4, verbose=0)
    once = [(8, 8), (1, 1)]  # the convolution and the dense layer
    assert packed == once
    before = model.predict(x, verbose=0)
    conv: Any = model.layers[0]
    conv.kernel = -conv.kernel
    after = model.predict(x, verbose=0)
    assert packed == once * 2
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, model(x), rtol=1e-5)
    model.fit(x, y, verbose=0, validation_data=(x, y))
    model.evaluate(x, y, verbose=0)
    assert packed == once * 2
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-5)

    free = Sequential([Conv2D(2, 3, input_shape=(None, None, 1))])
    for size in (8, 9, 9, 8):
        free.predict(np.zeros((1, size, size, 1)))
    assert packed == once * 3 + [(8, 8), (9, 9), (8, 8)]


@pytest.mark.parametrize("before", ["linear", "relu", "tanh"])
def test_predict_follows_an_activation_that_is_replaced(before: str) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3))
    model = Sequential([Dense(4, before, input_shape=(3,))], seed=0)
    model.predict(x)
    layer: Any = model.layers[0]
    layer.activation = activations.sigmoid
    np.testing.assert_allclose(model.predict(x), model(x), rtol=1e-5)
