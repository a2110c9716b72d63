"""The layers against finite differences and known facts, and by their protocol."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.ma
import numpy.typing as npt
import pytest

import gradients
from closeness import assert_same_bits
from fastconv import activations
from fastconv.activations import ActivationFunction
from fastconv.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPooling2D,
    MinPooling2D,
    Step,
)
from kinds_of_layers import every_layer

Array = npt.NDArray[Any]


# ------------------------------------------------------------------------------------ gradients


@every_layer
def test_gradients_by_finite_differences(layer: Layer, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x = 3 * rng.standard_normal(shape)
    layer.build(shape, rng)
    step = Step(seed=5, number=0)

    def function(x: Array) -> Array:
        return layer.forward(x, training=step)[0]

    y, backprop = layer.forward(x, training=step)
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)

    assert dx is not None
    direction = rng.standard_normal(shape)
    expected = gradients.slope(function, x, direction, dy)
    assert np.sum(dx * direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)

    weights = layer.get_weights()
    assert [g.shape for g in grads] == [w.shape for w in layer.trainable_weights]
    for index, gradient in enumerate(grads):

        def output(value: Array, index: int = index) -> Array:
            layer.set_weights([*weights[:index], value, *weights[index + 1 :]])
            return function(x)

        direction = rng.standard_normal(gradient.shape)
        expected = gradients.slope(output, weights[index], direction, dy)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)


# ---------------------------------------------------------------------------------------- facts


def test_parameters_of_a_convolution_and_of_the_dense_layer_in_its_place() -> None:
    conv, dense = Conv2D(6, 5), Dense(28 * 28 * 6)
    conv.build((None, 32, 32, 3))
    dense.build((None, 32 * 32 * 3))
    assert conv.count_params() == 456
    assert dense.count_params() == 14_455_392
    assert conv.output_shape == (None, 28, 28, 6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (MaxPooling2D, [[20, 30], [111, 33]]),
        (MinPooling2D, [[8, 0], [34, 5]]),
        (AveragePooling2D, [[13.25, 8.25], [73.75, 17.75]]),
    ],
)
def test_pooling_of_a_known_image(kind: Any, expected: list[list[float]]) -> None:
    x = [[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]]
    assert kind()(np.array(x)[None, :, :, None])[0, :, :, 0].tolist() == expected


def test_a_kernel_set_by_hand() -> None:
    x = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    layer = Conv2D(1, 3, use_bias=False, input_shape=(5, 5, 1))
    layer.build((None, 5, 5, 1))
    layer.kernel = np.float32([[1, 0, 1], [0, 1, 0], [1, 0, 1]])[:, :, None, None]
    y = layer(np.array(x)[None, :, :, None])
    assert y[0, :, :, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


@pytest.mark.parametrize(
    ("layer", "given_shape", "expected"),
    [
        (Conv2D(8, 3, 2, "same"), (None, 15, None, 3), (None, 8, None, 8)),
        (Conv2D(8, 3, data_format="channels_first"), (4, 3, 9, 9), (4, 8, 7, 7)),
        (MaxPooling2D(3, 2), (None, 15, 15, None), (None, 7, 7, None)),
        (AveragePooling2D(2, padding="same"), (None, None, 5, 3), (None, None, 3, 3)),
        (Flatten(), (None, 3, 4, 5), (None, 60)),
        (Flatten(), (None, None, 4, 5), (None, None)),
        (Flatten(), (None,), (None, 1)),
        (Dense(7), (None, 3, 4), (None, 3, 7)),
        (Activation("relu"), (None, 3), (None, 3)),
    ],
)
def test_output_shapes(layer: Layer, given_shape: Any, expected: Any) -> None:
    assert layer.compute_output_shape(given_shape) == expected
    assert not layer.built


@every_layer
def test_output_shape_is_that_of_the_output(layer: Layer, shape: tuple[int, ...]) -> None:
    assert layer.compute_output_shape(shape) == layer(np.zeros(shape)).shape
    assert layer(np.zeros((0, *shape[1:]))).shape == (0, *layer.compute_output_shape(shape)[1:])


def test_flatten_gives_the_same_rows_in_both_data_formats() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    first = np.moveaxis(x, -1, 1)
    np.testing.assert_array_equal(Flatten()(x), Flatten("channels_first")(first))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_and_its_gradient_select_and_never_multiply(dtype: str) -> None:
    x = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, 7.0, np.inf], dtype)
    dy = np.array([np.inf, np.nan, -1.0, -2.0, -3.0, -np.inf, np.nan], dtype)
    for name, y, dx in (
        ("relu", [0, 0, 0, 0, 1, 7, np.inf], [0, 0, 0, 0, -3, -np.inf, np.nan]),
        ("relu6", [0, 0, 0, 0, 1, 6, 6], [0, 0, 0, 0, -3, 0, 0]),
    ):
        found, pull = activations.get(name).forward(x)
        assert_same_bits(found, np.array(y, dtype))
        assert_same_bits(pull(dy), np.array(dx, dtype))


def test_activation_keeps_nan() -> None:
    for name in ("relu", "relu6"):
        assert np.isnan(Activation(name)([[np.nan]])).all()
        assert np.isnan(Dense(1, name, kernel_initializer="ones")([[np.nan]])).all()


def test_an_activation_of_ones_own() -> None:
    square = ActivationFunction(
        "square", lambda x: x * x, lambda dy, y, x: 2 * dy * x, needs_input=True
    )
    layer = Dense(1, square, kernel_initializer="ones")
    y, backprop = layer.forward([[1.0, 2.0]])
    assert y.tolist() == [[9.0]]
    dx, _ = backprop([[1.0]])
    assert dx is not None
    assert dx.tolist() == [[6.0, 6.0]]
    assert activations.get(square) is square


# ------------------------------------------------------------------------------------- protocol


@every_layer
def test_without_need_dx_it_is_not_computed(layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    y, backprop = layer.forward(x, training=True)
    dx, grads = backprop(np.ones_like(y))
    nothing, same = backprop(np.ones_like(y), need_dx=False)
    assert dx is not None
    assert nothing is None
    assert len(same) == len(grads)
    for ours, theirs in zip(same, grads, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_layer
def test_a_frozen_layer_gives_dx_and_no_grads(layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    y, backprop = layer.forward(x)
    layer.trainable = False
    try:
        assert layer.trainable_weights == []
        _, frozen = layer.forward(x)
    finally:
        layer.trainable = True
    dx, grads = frozen(np.ones_like(y))
    assert grads == []
    np.testing.assert_array_equal(dx, backprop(np.ones_like(y))[0])
    assert frozen(np.ones_like(y), need_dx=False) == (None, [])


@every_layer
def test_prepared_it_computes_the_same(layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(layer.prepare(x.shape)(x), layer(x), rtol=0, atol=1e-13)


def test_two_calls_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(0)
    layer = Conv2D(4, 3, activation="relu")
    first, second = rng.standard_normal((2, 1, 6, 6, 3))
    y, backprop = layer.forward(first)
    expected = backprop(np.ones_like(y))
    y, backprop = layer.forward(first)
    layer.forward(second)[1](np.ones_like(y))
    layer.kernel = np.zeros_like(layer.kernel)
    found = backprop(np.ones_like(y))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1][0], expected[1][0])


def test_many_threads_build_a_layer_once() -> None:
    layer = Conv2D(8, 3, activation="tanh")
    x = np.random.default_rng(0).standard_normal((2, 12, 12, 3))

    def use(_: int) -> tuple[Array, Array]:
        y, backprop = layer.forward(x)
        return y, backprop(np.ones_like(y))[1][0]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(use, range(32)))
    for y, dkernel in results:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dkernel, results[0][1])


class Twice(Layer):
    """A layer of ones own that is made of another, which it builds with itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = Dense(3)

    def _build(self, shape: Any, rng: np.random.Generator) -> dict[str, Array]:
        self.inner.build(shape, rng)
        return {}

    def _forward(self, x: Array, training: Any) -> Any:
        y, backprop = self.inner.forward(x, training=training)
        return 2 * y, lambda dy, need_dx: (backprop(2 * dy)[0], [])


def test_a_layer_may_build_another() -> None:
    layer, y = Twice(), []
    caller = threading.Thread(target=lambda: y.append(layer([[1.0, 2.0]])), daemon=True)
    caller.start()
    caller.join(30)
    assert y, "the build waits for itself"
    np.testing.assert_array_equal(y[0], 2 * layer.inner([[1.0, 2.0]]))


def test_a_child_forked_while_a_layer_is_built_builds_its_own() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Dense):
        def _build(self, shape: Any, rng: np.random.Generator) -> dict[str, Array]:
            begun.set()
            go_on.wait(60)
            return super()._build(shape, rng)

    builder = threading.Thread(target=Slow(2), args=([[1.0, 2.0]],))
    builder.start()
    assert begun.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)  # waiting for ever ends with a status
        try:
            Dense(2)([[1.0, 2.0]])
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    go_on.set()
    builder.join()
    assert status == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_and_gradients_are_cast(dtype: str) -> None:
    layer = Dense(2, kernel_initializer="ones", dtype=dtype)
    for x in ([[1, 2]], np.array([[1, 2]], np.uint8), np.array([[1, 2]], ">f8"), [[True, 2]]):
        y, backprop = layer.forward(x)
        dx, grads = backprop([[1, 1]])
        assert dx is not None
        assert {a.dtype for a in (y, dx, *grads)} == {np.dtype(dtype)}


def test_defaults_are_those_of_keras() -> None:
    conv, pool = Conv2D(4, 3), MaxPooling2D()
    assert (conv.strides, conv.padding, conv.dilation_rate, conv.groups) == (
        (1, 1),
        "valid",
        (1, 1),
        1,
    )
    assert (conv.data_format, conv.use_bias, conv.dtype) == ("channels_last", True, np.float32)
    assert conv.activation is activations.linear
    assert type(conv.kernel_initializer).__name__ == "GlorotUniform"
    assert type(conv.bias_initializer).__name__ == "Zeros"
    assert (pool.pool_size, pool.strides, pool.padding) == ((2, 2), (2, 2), "valid")


# -------------------------------------------------------------------------------------- weights


def test_weights_are_read_only_and_replaced() -> None:
    layer = Dense(2)
    layer([[1.0, 2.0]])
    with pytest.raises(ValueError, match="read-only"):
        layer.kernel[0, 0] = 1.0
    given = np.ones((2, 2), np.float32)
    layer.kernel = given
    given[0, 0] = 5.0
    assert layer.kernel.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    copies = layer.get_weights()
    copies[0][0, 0] = 5.0
    assert layer.kernel[0, 0] == 1.0
    assert list(layer.named_weights) == ["dense/kernel", "dense/bias"]


def test_set_weights_takes_all_or_none() -> None:
    layer = Dense(2)
    layer([[1.0, 2.0, 3.0]])
    before = layer.get_weights()
    kernel, bias = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    for wrong in ([kernel], [kernel, bias, bias], [kernel, bias[:1]], [kernel, bias.astype("f8")]):
        with pytest.raises(ValueError, match="dense"):
            layer.set_weights(wrong)
        for old, now in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, now)
    layer.set_weights([kernel, [1, 2]])
    assert layer.get_weights()[1].tolist() == [1.0, 2.0]


def test_a_list_of_padding_may_be_changed_afterwards() -> None:
    padding = [[1, 1], [1, 1]]
    layers: list[Any] = [Conv2D(1, 3, padding=padding), AveragePooling2D(3, 1, padding)]
    padding[0][0] = 0
    for layer in layers:
        assert layer.padding == ((1, 1), (1, 1))
        assert layer(np.zeros((1, 5, 5, 1))).shape == (1, 5, 5, 1)
