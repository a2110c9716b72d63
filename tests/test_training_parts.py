"""Batches in parts: the step of the whole batch, whatever the model, the loss and the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from closeness import assert_same_bits
from fastconv.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D
from fastconv.losses import SparseCategoricalCrossentropy
from fastconv.metrics import SparseCategoricalAccuracy
from fastconv.models import Sequential, lenet5
from fastconv.models._parts import Parts
from fastconv.optimizers import SGD
from kinds_of_layers import every_layer

Array = npt.NDArray[Any]
LOSS = SparseCategoricalCrossentropy()


class OfBatch(SparseCategoricalCrossentropy):
    """The same loss, which could compare the examples of a batch for all that training knows."""


def deep(*more: Layer, dtype: str = "float64") -> Sequential:
    """Make a network whose outputs for 32 images are more than a part is to have."""
    layers: list[Layer] = [
        Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1), dtype=dtype),
        MaxPooling2D(2, dtype=dtype),
        Flatten(dtype=dtype),
        *more,
        Dense(10, activation="softmax", dtype=dtype),
    ]
    return Sequential(layers, seed=0)


def digits(count: int) -> tuple[Array, Array]:
    """Draw images that have something of their class."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, count)
    return rng.random((count, 28, 28, 1)) + y[:, None, None, None] / 10, y


def cut(model: Sequential, count: int, loss: Any = LOSS) -> list[int]:
    """Return how many examples the parts of a batch have."""
    parts = model.parts(model.input_shape[1:]).cut(count, loss)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == count
    return [part.stop - part.start for part in parts]


def stepped(model: Sequential, loss: Any, count: int, **words: Any) -> tuple[list[float], Array]:
    """Take one step and return what was measured and all weights in a row."""
    x, y = digits(count)
    model.compile(SGD(0.1), loss, metrics=["accuracy"])
    measured = model.train_on_batch(x, y, **words)
    return measured, np.concatenate([weight.ravel() for weight in model.get_weights()])


def test_where_batches_are_cut() -> None:
    assert cut(lenet5(), 128) == [128]  # all its arrays are 4.3 MB
    assert cut(deep(), 32) == [32]
    assert cut(deep(), 33) == [16, 17]
    assert cut(deep(), 130) == [26] * 5
    assert cut(deep(), 130, OfBatch()) == [130]
    assert cut(deep(BatchNormalization(dtype="float64")), 130) == [130]
    assert cut(deep(Dense(2000, dtype="float64")), 1000) == [250] * 4  # weights of 87 MB
    assert cut(deep(Dropout(0.5, (None, 1), dtype="float64")), 130) == [26] * 5


@pytest.mark.parametrize("shape", [(1, 5408), (66, 1)])
def test_a_mask_of_the_whole_batch_is_not_cut(shape: tuple[int, int]) -> None:
    model = deep(Dropout(0.5, shape, dtype="float64"))
    assert cut(model, 66) == [66]
    measured, _ = stepped(model, LOSS, 66)
    assert np.isfinite(measured).all()


def test_the_cut_follows_the_model() -> None:
    model = deep()
    parts = model.parts((28, 28, 1))
    assert model.parts((28, 28, 1)) is parts
    assert Parts.of(model.layers[:2], (14, 14, 1)).most == (5 << 20) // (180 * 32 * 8)
    model.add(BatchNormalization(dtype="float64"))
    assert cut(model, 130) == [130]


def test_the_cut_follows_what_is_frozen() -> None:
    model = deep(Dense(2000, dtype="float64"))
    assert cut(model, 1000) == [250] * 4
    for layer in model.layers[:-1]:
        layer.trainable = False
    frozen = deep(Dense(2000, dtype="float64", trainable=False))
    frozen.layers[0].trainable = False
    assert cut(model, 1000) == cut(frozen, 1000) != [250] * 4


@pytest.mark.parametrize("weighed", [False, True])
def test_a_step_in_parts_is_the_step_of_the_batch(weighed: bool) -> None:
    words = {"sample_weight": np.linspace(0.5, 2, 75)} if weighed else {}
    measured, weights = stepped(deep(), LOSS, 75, **words)
    whole, expected = stepped(deep(), OfBatch(), 75, **words)
    assert measured == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(weights, expected, rtol=1e-10, atol=1e-12)
    first = np.concatenate([weight.ravel() for weight in deep().get_weights()])
    assert abs(weights - first).max() > 1e-3


def test_parts_have_the_same_bits_on_threads() -> None:
    runs = []
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            runs.append(stepped(deep(dtype="float32"), LOSS, 75))
    for measured, weights in runs[1:]:
        assert measured == runs[0][0]
        assert_same_bits(weights, runs[0][1], "weights")


def test_each_part_draws_its_own_numbers() -> None:
    seen: list[Array] = []

    class Watched(SparseCategoricalAccuracy):
        def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> Any:
            seen.append(y_pred)
            return super().values(y_true, y_pred)

    x, y = digits(1)
    for _ in range(2):
        model = deep(Dropout(0.5, dtype="float64"))
        model.compile(SGD(0.0), LOSS, metrics=[Watched()])
        model.train_on_batch(np.repeat(x, 66, axis=0), np.repeat(y, 66))
    first, again = seen
    assert_same_bits(first, again, "the seed fixes what is drawn")
    assert len(np.unique(first[:, 0])) == 66  # of 5408 numbers some are dropped: no two alike


def test_a_wrong_label_in_the_last_part_changes_nothing() -> None:
    model = deep()
    model.compile("adam", LOSS)
    x, y = digits(75)
    y[74] = 10
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"y_true must hold class numbers of 0\.\.9"):
        model.train_on_batch(x, y)
    assert model.optimizer.iterations == 0
    for weight, old in zip(model.get_weights(), before, strict=True):
        assert_same_bits(weight, old, "weights")


@every_layer
def test_what_may_be_cut_treats_each_example_by_itself(
    layer: Layer, shape: tuple[int, ...]
) -> None:
    """The ground that parts stand on, for every layer that they are allowed for."""
    layer.build((None, *shape[1:]))
    if Parts.of([layer], shape[1:]).most is None:
        assert isinstance(layer, BatchNormalization)
        return
    if "Dropout" in type(layer).__name__:
        return  # apart, but each call draws from the beginning
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, *shape[1:]))
    y, backprop = layer.forward(x, training=True)
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)
    sums = [np.zeros_like(grad) for grad in grads]
    for part in (slice(0, 2), slice(2, 5)):
        y_part, backprop = layer.forward(x[part], training=True)
        dx_part, grads_part = backprop(dy[part])
        assert_same_bits(y_part, y[part], "y")
        assert isinstance(dx, np.ndarray)
        assert isinstance(dx_part, np.ndarray)
        assert_same_bits(dx_part, dx[part], "dx")
        sums = [a + b for a, b in zip(sums, grads_part, strict=True)]
    for grad, total in zip(grads, sums, strict=True):
        np.testing.assert_allclose(total, grad, rtol=1e-10, atol=1e-10)
