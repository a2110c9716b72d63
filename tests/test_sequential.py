"""The Sequential: its layers, their shapes and names, and the way back through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gradients
from closeness import assert_same_bits
from fastconv import functional
from fastconv.layers import Activation, Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models import Sequential
from networks import small

Array = npt.NDArray[Any]


def test_shapes_of_a_known_network() -> None:
    model = Sequential(
        [Conv2D(filters=32, kernel_size=(3, 3), strides=1, padding="same", input_shape=(32, 32, 3))]
    )
    assert model.output_shape == (None, 32, 32, 32)
    model.add(Conv2D(filters=32, kernel_size=(3, 3), strides=1, padding="valid"))
    assert model.output_shape == (None, 30, 30, 32)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.count_params() == 3 * 9 * 32 + 32 + 32 * 9 * 32 + 32


def test_shapes_of_a_larger_network() -> None:
    model = Sequential()
    model.add(Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=(150, 150, 3)))
    model.add(MaxPooling2D((2, 2)))
    model.add(Conv2D(32, (4, 4), padding="valid"))
    model.add(MaxPooling2D((2, 2)))
    assert model.output_shape == (None, 36, 36, 32)
    model.add(Flatten())
    assert model.output_shape == (None, 41472)


def test_sizes_left_open() -> None:
    model = Sequential([Conv2D(2, 3, input_shape=(None, None, 3)), MaxPooling2D()], seed=0)
    assert model.output_shape == (None, None, None, 2)
    for size in (8, 11):
        assert model.predict(np.zeros((1, size, 9, 3))).shape == (1, (size - 2) // 2, 3, 2)


def test_layers_are_numbered_by_kind_in_each_model() -> None:
    for _ in range(2):
        model = Sequential([Conv2D(2, 1), Conv2D(2, 1), Flatten(name="flat"), Dense(2), Dense(2)])
        model.build((None, 4, 4, 1))
        names = [layer.name for layer in model.layers]
        assert names == ["conv2d_1", "conv2d_2", "flat", "dense_1", "dense_2"]
        assert list(model.named_weights)[:3] == [
            "conv2d_1/kernel",
            "conv2d_1/bias",
            "conv2d_2/kernel",
        ]


def test_a_name_given_by_hand_is_not_given_again() -> None:
    model = Sequential([Dense(2, name="dense_2"), Dense(2), Dense(2)])
    assert [layer.name for layer in model.layers] == ["dense_2", "dense_1", "dense_3"]


def test_a_layer_may_be_renamed() -> None:
    old = Sequential([Dense(3, input_shape=(3,)), Dense(2)], seed=0)
    with pytest.raises(ValueError, match="'dense_1' is taken"):
        Sequential([Dense(3, input_shape=(3,)), *old.layers])
    for layer in old.layers:
        layer.name = f"old_{layer.name}"
    fresh = Dense(2)
    fresh.name = "head"
    model = Sequential([Dense(3, input_shape=(3,)), *old.layers, fresh], seed=0)
    assert [layer.name for layer in model.layers] == [
        "dense_1",
        "old_dense_1",
        "old_dense_2",
        "head",
    ]
    assert list(model.named_weights)[2:4] == ["old_dense_1/kernel", "old_dense_1/bias"]
    for wrong in ("a/b", "", None, 3):  # no file could give them back
        with pytest.raises(ValueError, match="name must be a word without a slash, received"):
            fresh.name = wrong  # type: ignore[assignment]


def test_when_it_is_built_does_not_change_the_weights() -> None:
    at_once, later, by_hand = small(), small(input_shape=None), small(input_shape=None)
    assert at_once.built
    assert not later.built
    later(np.zeros((2, 8, 8, 1)))
    by_hand.build((None, 8, 8, 1))
    for a, b, c in zip(*(m.get_weights() for m in (at_once, later, by_hand)), strict=True):
        assert_same_bits(a, b)
        assert_same_bits(a, c)


def test_the_seed_fixes_the_weights() -> None:
    one, same, other, unseeded = small(1), small(1), small(2), small(None)
    assert_same_bits(one.get_weights()[0], same.get_weights()[0])
    for model in (other, unseeded):
        assert not np.array_equal(one.get_weights()[0], model.get_weights()[0])
    conv, dense = one.layers[0], one.layers[3]
    assert not np.array_equal(conv.get_weights()[0].ravel()[:4], dense.get_weights()[0].ravel()[:4])


def test_gradients_by_finite_differences() -> None:
    rng = np.random.default_rng(0)
    model = small(dtype="float64")
    x = rng.standard_normal((2, 8, 8, 1))
    y, backprop = model.forward(x, training=True)
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)
    assert dx is not None
    direction = rng.standard_normal(x.shape)
    slope = gradients.slope(model, x, direction, dy)
    assert np.sum(dx * direction) == pytest.approx(slope, rel=1e-6)
    weights = model.get_weights()
    assert len(grads) == len(weights) == 4
    for index, gradient in enumerate(grads):

        def output(value: Array, index: int = index) -> Array:
            model.set_weights([*weights[:index], value, *weights[index + 1 :]])
            return model(x)

        direction = rng.standard_normal(gradient.shape)
        slope = gradients.slope(output, weights[index], direction, dy)
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-6)


def test_what_nobody_needs_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    backward = functional.conv2d_backward

    def spy(*arguments: Any, needs: Any, **geometry: Any) -> Any:
        asked.append(tuple(needs))
        return backward(*arguments, needs=needs, **geometry)

    monkeypatch.setattr(functional, "conv2d_backward", spy)
    layers = [Activation("tanh"), Conv2D(2, 3), Conv2D(2, 3), Flatten(), Dense(2)]
    model = Sequential(layers, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 1))

    def asked_in_training() -> list[set[str]]:
        asked.clear()
        y, backprop = model.forward(x, training=True)
        dx, grads = backprop(np.ones_like(y), need_dx=False)
        assert dx is None
        assert [g.shape for g in grads] == [w.shape for w in model.trainable_weights]
        return [set(needs) for needs in asked]

    assert asked_in_training() == [{"x", "kernel", "bias"}, {"kernel", "bias"}]
    layers[1].trainable = False
    assert asked_in_training() == [{"kernel", "bias"}]
    layers[2].trainable = False
    assert asked_in_training() == []
    layers[1].trainable = True
    assert asked_in_training() == [{"x"}, {"kernel", "bias"}]


def test_layers_that_do_not_fit_are_named_with_their_shapes() -> None:
    model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 1)), Flatten()])
    with pytest.raises(
        ValueError,
        match=r"'conv2d_2' cannot follow layer 'flatten_1', which gives shape \(None, 144\)",
    ):
        model.add(Conv2D(4, 3))
    assert [layer.name for layer in model.layers] == ["conv2d_1", "flatten_1"]
    assert model.output_shape == (None, 144)
    late = Sequential([MaxPooling2D(4), Conv2D(4, 3)])
    with pytest.raises(
        ValueError, match=r"'conv2d_1' cannot follow layer 'max_pooling2d_1'.*\(None, 2, 2, 1\)"
    ):
        late(np.zeros((1, 8, 8, 1)))
    with pytest.raises(
        ValueError, match=r"'conv2d_1' cannot follow inputs of shape \(None, 8, 8\)"
    ):
        Sequential([Conv2D(4, 3, input_shape=(8, 8))])


def test_what_a_model_cannot_hold() -> None:
    layer = Dense(2)
    model = Sequential([layer])
    with pytest.raises(ValueError, match="name 'dense_1' is taken"):
        model.add(layer)
    with pytest.raises(TypeError, match="layer must be a Layer, received <class"):
        model.add(Dense)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no layers"):
        Sequential().build((None, 3))
    for seed, error in ((-1, ValueError), (True, TypeError), (1.5, TypeError)):
        with pytest.raises(error, match="seed must be"):
            Sequential(seed=seed)  # type: ignore[arg-type]
    for wrong, words in (
        ({"name": None}, "name must be a word, received None"),  # no file could give it back
        ({"layers": layer}, "layers must be a list of Layer objects, received <"),
        ({"layers": 3}, "layers must be a list of Layer objects, received 3"),
    ):
        with pytest.raises(TypeError, match=words):
            Sequential(**wrong)  # type: ignore[arg-type]


def test_two_layers_of_one_name_are_not_written_as_one(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = Sequential([Dense(3, input_shape=(3,)), Dense(3)])
    model.layers[1].name = "dense_1"
    for write in (model.save, model.save_weights):
        with pytest.raises(ValueError, match="names of their own, received 'dense_1' for two"):
            write(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_unbuilt_model_says_so() -> None:
    model = Sequential([Dense(2)])
    for use in (
        lambda: model.output_shape, model.summary, model.count_params, model.get_weights,
        lambda: model.set_weights([]), lambda: model.save_weights("never"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="model 'sequential' is not built yet"):
            use()
