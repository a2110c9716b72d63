"""What layers do in a model: the shapes of known networks, and what training alone changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from closeness import same_bits
from fastconv.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    LayerNormalization,
    MaxPooling2D,
    PReLU,
    SpatialDropout2D,
    Step,
)
from fastconv.models import Sequential


def test_the_shapes_of_a_convolution() -> None:
    model = Sequential()
    model.add(
        Conv2D(filters=32, kernel_size=(3, 3), strides=1, padding="same", input_shape=(32, 32, 3))
    )
    assert model.output_shape == (None, 32, 32, 32)
    model.add(Conv2D(filters=32, kernel_size=(3, 3), strides=1, padding="valid"))
    assert model.output_shape == (None, 30, 30, 32)


def test_the_shapes_of_a_chain() -> None:
    model = Sequential(
        [
            Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=(150, 150, 3)),
            MaxPooling2D(2, 2),
            Conv2D(32, (4, 4), padding="valid", activation="relu"),
            MaxPooling2D(2, 2),
        ]
    )
    assert model.output_shape == (None, 36, 36, 32)
    model.add(Flatten())
    assert model.output_shape == (None, 41472)
    model.add(Dense(256, activation="relu"))
    model.add(Dense(5, activation="softmax"))
    assert model.output_shape == (None, 5)
    assert model(np.zeros((1, 150, 150, 3))).shape == (1, 5)


def network() -> Sequential:
    """A model with every kind of layer that training treats in another way."""
    model = Sequential(
        [
            Input((9, 8, 2)),
            Conv2D(6, 3, use_bias=False),
            BatchNormalization(momentum=0.5),
            PReLU(shared_axes=[1, 2]),
            SpatialDropout2D(0.25),
            DepthwiseConv2D(3, padding="same"),
            LayerNormalization(),
            GlobalAveragePooling2D(),
            Dropout(0.4),
            Dense(3, activation="softmax"),
        ],
        seed=0,
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def examples() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 9, 8, 2)), rng.integers(0, 3, 40)


def trained(threads: int) -> list[Any]:
    model = network()
    with fastconv.threads(threads):
        model.fit(*examples(), batch_size=16, epochs=3, verbose=0)
    return model.get_weights()


def test_training_gives_the_same_bits_on_any_number_of_threads(isa: str) -> None:
    results = [trained(threads) for threads in (1, 2, 3)]
    for weights in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(results[0], weights, strict=True))


def test_fit_moves_the_statistics_and_evaluation_does_not() -> None:
    model = network()
    normalization = next(layer for layer in model.layers if isinstance(layer, BatchNormalization))
    before = normalization.moving_mean
    model.fit(*examples(), epochs=1, verbose=0)
    moved = normalization.moving_mean
    assert not np.array_equal(before, moved)
    model.evaluate(*examples(), verbose=0)
    model.predict(examples()[0], verbose=0)
    assert normalization.moving_mean is moved


def test_a_step_tells_each_layer_its_own_place() -> None:
    model = Sequential([Dropout(0.5, input_shape=(500,)), Dropout(0.5)])
    x = np.ones((1, 500))
    y, backprop = model.forward(x, training=Step(1, 0))
    # Under one mask the two would keep half of the numbers, under two a quarter.
    assert 80 < np.count_nonzero(y) < 170
    again, _ = model.forward(x, training=Step(1, 0))
    np.testing.assert_array_equal(y, again)
    later, _ = model.forward(x, training=Step(1, 1))
    assert not np.array_equal(y, later)
    np.testing.assert_array_equal(backprop(np.ones((1, 500)))[0], y)


def test_a_model_hands_on_the_updates_of_its_layers() -> None:
    model = network()
    _, backprop = model.forward(examples()[0], training=Step(0, 0))
    assert sorted(backprop.updates) == [
        "batch_normalization_1/moving_mean",
        "batch_normalization_1/moving_variance",
    ]
    model.commit(backprop.updates)
    for name, value in backprop.updates.items():
        np.testing.assert_array_equal(model.named_weights[name], value)


# ---------------------------------------------------------------------------------------- input


def test_an_input_gives_the_shape_and_is_no_layer_of_the_model() -> None:
    model = Sequential([Input((4,)), Dense(3)])
    assert model.input_shape == (None, 4)
    assert [layer.name for layer in model.layers] == ["dense_1"]
    assert Input((4, None))(np.ones((2, 4, 5), np.uint8)).dtype == np.float32


def test_an_input_in_the_wrong_place() -> None:
    with pytest.raises(ValueError, match="'input' is an Input, which can only come first"):
        Sequential([Dense(3), Input((4,))])
    with pytest.raises(ValueError, match="'input' is an Input, which can only come first"):
        Sequential([Input((4,)), Input((4,))])
    with pytest.raises(ValueError, match=r"input_shape \(5,\), where the Input .* has \(4,\)"):
        Sequential([Input((4,)), Dense(3, input_shape=(5,))])
    with pytest.raises(ValueError, match=r"'input' takes inputs of shape \(None, 4\).*\(2, 5\)"):
        Input((4,))(np.ones((2, 5)))
    with pytest.raises(TypeError, match="shape"):
        Input(4)  # type: ignore[arg-type]
