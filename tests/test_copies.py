"""Layers and models that are copied or pickled: the same bits, and nothing shared."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from closeness import assert_same_bits
from fastconv import activations
from fastconv.activations import ActivationFunction
from fastconv.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from fastconv.models import Sequential

Array = npt.NDArray[Any]
NAMES = ("linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "swish")


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


both_ways = pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
X = np.random.default_rng(0).random((40, 8, 8, 1)).astype(np.float32)
Y = np.arange(40) % 3


def trained() -> Sequential:
    """A model with weights, moving statistics, an optimizer that remembers, and packed kernels."""
    layers = [
        Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
        MaxPooling2D(),
        BatchNormalization(),
        Flatten(),
        Dropout(0.5),
        Dense(5),
        Dense(3, "softmax"),
    ]
    model = Sequential(layers, seed=3)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, 16, verbose=0)
    model.predict(X)
    return model


@both_ways
@pytest.mark.parametrize("name", NAMES)
def test_a_copied_activation_is_the_same_one(name: str, copied: Callable[[Any], Any]) -> None:
    found = copied(Dense(2, name))
    assert found.activation is activations.get(name)
    assert found.get_config()["activation"] == name


def test_an_activation_of_ones_own_is_copied() -> None:
    own = ActivationFunction("relu", lambda x: 2 * x, lambda dy, y, x: 2 * dy)
    found = copy.deepcopy(own)
    assert found.function is own.function
    assert found([3.0]).tolist() == [6.0]


@both_ways
def test_a_copied_model_goes_on_alike_and_by_itself(copied: Callable[[Any], Any]) -> None:
    model = trained()
    before = model.get_weights()
    found = copied(model)
    assert_same_bits(found.predict(X), model.predict(X))
    assert found.get_config() == model.get_config()
    found.fit(X, Y, 16, epochs=2, verbose=0)
    for weight, old in zip(model.get_weights(), before, strict=True):
        assert_same_bits(weight, old)
    model.fit(X, Y, 16, epochs=2, verbose=0)
    assert found.history.history == model.history.history
    for weight, other in zip(found.get_weights(), model.get_weights(), strict=True):
        assert_same_bits(weight, other)


@both_ways
def test_weights_of_a_copy_are_read_only(copied: Callable[[Any], Any]) -> None:
    found = copied(trained())
    for layer in found.layers:
        for weight in layer.weights:
            assert not weight.flags.writeable
