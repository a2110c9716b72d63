"""The layers of several inputs: against Keras, by finite differences, and by their rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradients
import in_keras
from fastconv.layers import Add, Average, Concatenate, Dense, Maximum, Multiply
from fastconv.models import Sequential

ELEMENTWISE = st.sampled_from([Add, Average, Maximum, Multiply])
DTYPES = st.sampled_from(["float32", "float64"])
SEEDS = st.integers(0, 99)
SHAPES = st.sampled_from(
    [
        [(2, 3)], [(2, 3)] * 2, [(2, 3, 4)] * 3, [(2, 5, 4, 3), (2, 1, 1, 3)],
        [(2, 5, 4, 3), (2, 3), (2, 5, 4, 3)], [(2, 5, 1, 3), (2, 1, 4, 3)], [(0, 3)] * 2,
    ]
)  # fmt: skip


@given(ELEMENTWISE, SHAPES, DTYPES, SEEDS)
def test_elementwise_against_keras(kind: Any, shapes: Any, dtype: str, seed: int) -> None:
    keras = in_keras.keras()
    if kind is Maximum:
        dtype = "float32"  # to which Keras rounds float64 here
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal(shape) for shape in shapes]
    layers = kind(dtype=dtype), getattr(keras.layers, kind.__name__)(dtype=dtype)
    in_keras.assert_same_layer(*layers, x, rng)


@given(st.sampled_from([1, 2, 3, -1, -3]), st.integers(1, 4), DTYPES, SEEDS)
def test_concatenate_against_keras(axis: int, count: int, dtype: str, seed: int) -> None:
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    shapes = [[2, 5, 4, 3] for _ in range(count)]
    for shape in shapes:
        shape[axis] = int(rng.integers(0, 4))
    x = [rng.standard_normal(shape) for shape in shapes]
    layers = Concatenate(axis, dtype=dtype), keras.layers.Concatenate(axis, dtype=dtype)
    in_keras.assert_same_layer(*layers, x, rng)


@pytest.mark.parametrize("kind", [Add, Average, Maximum, Multiply, Concatenate])
def test_gradients_by_finite_differences(kind: Any) -> None:
    rng = np.random.default_rng(0)
    layer = kind(dtype="float64")
    x = [rng.standard_normal((2, 4, 3)) for _ in range(3)]
    y, backprop = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)
    assert isinstance(dx, list)
    assert grads == []
    assert backprop(dy, need_dx=False) == (None, [])
    for index, gradient in enumerate(dx):

        def output(part: Any, index: int = index) -> Any:
            return layer([*x[:index], part, *x[index + 1 :]])

        direction = rng.standard_normal(gradient.shape)
        expected = gradients.slope(output, x[index], direction, dy)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_maximum_gives_ties_to_the_first_and_keeps_nan() -> None:
    layer = Maximum(dtype="float64")
    x = [np.array([v]) for v in ([1.0, 0.0, np.nan, 1.0], [1.0, -0.0, 2.0, np.nan])]
    y, backprop = layer.forward(x)
    np.testing.assert_array_equal(y, [[1.0, 0.0, np.nan, np.nan]])
    dx, _ = backprop([[1.0, 2.0, 3.0, 4.0]])
    assert dx is not None
    np.testing.assert_array_equal(dx[0], [[1.0, 2.0, 3.0, 0.0]])
    np.testing.assert_array_equal(dx[1], [[0.0, 0.0, 0.0, 4.0]])


def test_multiply_by_zero_has_a_gradient() -> None:
    _, backprop = Multiply().forward([[[0.0]], [[0.0]], [[3.0]]])
    dx, _ = backprop([[1.0]])
    assert dx is not None
    assert [part.item() for part in dx] == [0.0, 0.0, 0.0]
    _, backprop = Multiply().forward([[[0.0]], [[2.0]], [[3.0]]])
    dx, _ = backprop([[1.0]])
    assert dx is not None
    assert [part.item() for part in dx] == [6.0, 0.0, 0.0]


def test_shapes() -> None:
    add, concatenate = Add(), Concatenate()
    assert add.compute_output_shape([(None, 4, 3), (None, 1, 3)]) == (None, 4, 3)
    assert add.compute_output_shape([(None, None, 3), (None, 4, None)]) == (None, 4, 3)
    assert concatenate.compute_output_shape([(None, 4, 3), (None, 4, 5)]) == (None, 4, 8)
    assert concatenate.compute_output_shape([(None, 4, 3), (None, None, None)]) == (None, 4, None)
    assert not add.built
    add([np.zeros((5, 3)), np.zeros((5, 3))])
    assert add.built
    assert add.input_shape == [(None, 3), (None, 3)]
    assert add.output_shape == (None, 3)
    assert add.count_params() == 0


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (Add(), [(2, 3), (2, 4)], r"'add' cannot merge inputs of shapes \(2, 3\), \(2, 4\)"),
        (Multiply(), [(2, 3), (1, 3)], r"'multiply' cannot merge"),
        (Maximum(), [(2, 3), ()], r"'maximum' cannot merge"),
        (Concatenate(), [(2, 3, 4), (2, 5, 4)], r"'concatenate' cannot merge"),
        (Concatenate(), [(2, 3, 4), (2, 4)], r"'concatenate' cannot merge"),
        (Concatenate(0), [(2, 3), (2, 3)], "axis 0, which is not an axis after the batch"),
        (Average(), [], "'average' takes a list of inputs, at least one, received none"),
    ],
)
def test_inputs_that_do_not_fit(layer: Any, shapes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer([np.zeros(shape) for shape in shapes])


def test_inputs_that_are_no_list() -> None:
    with pytest.raises(TypeError, match="'add' takes a list of arrays, received ndarray"):
        Add()(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"'add_1' takes a list of inputs.*\(None, 4\)"):
        Sequential([Dense(4, input_shape=(3,)), Add()])
    with pytest.raises(TypeError, match="Concatenate has no argument 'axes'"):
        Concatenate(axes=1)  # type: ignore[call-arg]
