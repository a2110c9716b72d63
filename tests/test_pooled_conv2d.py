"""A convolution and its max pooling as one, in training: the bits of both in turn."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from closeness import assert_same_bits
from fastconv import functional
from fastconv._fastconv_core import pooled_conv2d, pooled_conv2d_backward
from fastconv.layers import Conv2D, Dense, Flatten, Layer, MaxPooling2D
from fastconv.models import Sequential

Array = npt.NDArray[Any]
_Format = Literal["channels_last", "channels_first"]
POOL: dict[str, Any] = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}


def words(data_format: str = "channels_last", **others: Any) -> dict[str, Any]:
    given = {"strides": 1, "padding": "valid", "dilation_rate": 1, "groups": 1}
    return {**given, "data_format": data_format, **others}


def problem(
    shape: tuple[int, ...], taps: int, c_out: int, dtype: str, data_format: str = "channels_last"
) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(sum(shape))
    x = rng.standard_normal(shape).astype(dtype)
    x = x if data_format == "channels_last" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    kernel = rng.standard_normal((taps, taps, shape[3], c_out)).astype(dtype)
    return x, kernel, rng.standard_normal(c_out).astype(dtype)


def in_turn(
    x: Array, kernel: Array, bias: Array | None, activation: Any, of: dict[str, Any]
) -> tuple[Array, Array]:
    made = functional.conv2d(x, kernel, bias, activation=activation, **of)
    return made, functional.max_pool2d(made, data_format=of["data_format"])


def gradients_in_turn(
    dy: Array, made: Array, y: Array, x: Array, kernel: Array, activation: Any, of: dict[str, Any]
) -> functional.Conv2DGradients:
    gated = functional.activation_backward(dy, y, activation) if activation else dy
    back = functional.max_pool2d_backward(gated, made, data_format=of["data_format"])
    return functional.conv2d_backward(back, x, kernel, needs=("kernel", "bias"), **of)


def same_gradients(one: functional.Conv2DGradients, other: functional.Conv2DGradients) -> None:
    assert one.dx is None
    assert one.dkernel is not None
    assert one.dbias is not None
    assert other.dkernel is not None
    assert other.dbias is not None
    assert_same_bits(one.dkernel, other.dkernel)
    assert_same_bits(one.dbias, other.dbias)


# A first layer whose outputs fill lanes, odd sizes of its result, few outputs (5x5, padded), two
# channels of x, strides, and batches whose last group of images is smaller.
SHAPES: list[tuple[tuple[int, ...], int, int, dict[str, Any]]] = [
    ((32, 28, 28, 1), 3, 32, {}),
    ((32, 29, 31, 1), 3, 32, {}),
    ((21, 29, 30, 1), 3, 32, {}),
    ((64, 28, 28, 1), 5, 6, {"padding": "same"}),
    ((64, 27, 33, 1), 5, 6, {}),
    ((40, 31, 31, 2), 3, 20, {"padding": "same"}),
    ((34, 57, 57, 3), 3, 32, {"strides": 2}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize(("shape", "taps", "c_out", "others"), SHAPES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_bits_of_both_in_turn(
    isa: str,
    data_format: _Format,
    shape: tuple[int, ...],
    taps: int,
    c_out: int,
    others: dict[str, Any],
    activation: Any,
    dtype: str,
) -> None:
    x, kernel, bias = problem(shape, taps, c_out, dtype, data_format)
    of = words(data_format, **others)
    made, y = in_turn(x, kernel, bias, activation, of)
    found = pooled_conv2d(x, kernel, bias, activation, of, POOL)
    if found is None:
        pytest.skip("left to both in turn")
    pooled, marks, between = found
    assert between == made.shape
    assert_same_bits(pooled, y)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    gradients = pooled_conv2d_backward(dy, marks, x, kernel, activation, ("kernel", "bias"), of)
    if gradients is not None:
        same_gradients(gradients, gradients_in_turn(dy, made, y, x, kernel, activation, of))


@pytest.mark.parametrize("case", [0, 1, 3])
def test_first_layers_take_this_way(isa: str, case: int) -> None:
    """The networks for 28x28 images, whose first layers it is for."""
    shape, taps, c_out, others = SHAPES[case]
    x, kernel, bias = problem(shape, taps, c_out, "float32")
    of = words(**others)
    found = pooled_conv2d(x, kernel, bias, "relu", of, POOL)
    assert found is not None
    y, marks, _ = found
    assert pooled_conv2d_backward(y, marks, x, kernel, "relu", ("kernel", "bias"), of) is not None


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", [0, 1, 3])
def test_threads_do_not_show(case: int, threads: int) -> None:
    shape, taps, c_out, others = SHAPES[case]
    x, kernel, bias = problem((2 * shape[0], *shape[1:]), taps, c_out, "float32")
    of = words(**others)
    made, y = in_turn(x, kernel, bias, "relu", of)
    before = fastconv.get_num_threads()
    try:
        fastconv.set_num_threads(threads)
        found = pooled_conv2d(x, kernel, bias, "relu", of, POOL)
        assert found is not None
        assert_same_bits(found[0], y)
        back = pooled_conv2d_backward(y, found[1], x, kernel, "relu", ("kernel", "bias"), of)
    finally:
        fastconv.set_num_threads(before)
    assert back is not None
    same_gradients(back, gradients_in_turn(y, made, y, x, kernel, "relu", of))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0, 1e-41])
@pytest.mark.parametrize("case", [0, 1, 3])
def test_special_values(isa: str, case: int, value: float) -> None:
    """What is not finite is left to both in turn, where it may not reach what does not read it."""
    shape, taps, c_out, others = SHAPES[case]
    x, kernel, bias = problem(shape, taps, c_out, "float32")
    x[::3, ::5, ::7] = value
    of = words(**others)
    made, y = in_turn(x, kernel, bias, "relu", of)
    found = pooled_conv2d(x, kernel, bias, "relu", of, POOL)
    assert found is not None
    np.testing.assert_array_equal(found[0], y)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    dy[::2, ::3] = value if np.isfinite(value) else 0
    back = pooled_conv2d_backward(dy, found[1], x, kernel, "relu", ("kernel", "bias"), of)
    if not np.isfinite(value):
        return
    assert back is not None
    same_gradients(back, gradients_in_turn(dy, made, y, x, kernel, "relu", of))


@pytest.mark.parametrize(
    ("shape", "taps", "c_out", "pool"),
    [
        ((2, 28, 28, 1), 3, 32, {}),
        ((64, 28, 28, 32), 3, 32, {}),
        ((64, 28, 28, 1), 3, 32, {"strides": (1, 1)}),
        ((64, 28, 28, 1), 3, 32, {"pool_size": (3, 3)}),
        ((64, 28, 28, 1), 31, 32, {}),
    ],
    ids=["small", "transformed", "overlapping", "3x3", "no result"],
)
def test_what_is_left_to_both_in_turn(
    shape: tuple[int, ...], taps: int, c_out: int, pool: dict[str, Any]
) -> None:
    x, kernel, bias = problem(shape, taps, c_out, "float32")
    assert pooled_conv2d(x, kernel, bias, "relu", words(), {**POOL, **pool}) is None


def gradients_of(layers: list[Layer], x: Array) -> tuple[Array, Any, list[Array]]:
    """Return y, dx and the gradients of layers called in turn."""
    steps = []
    for layer in layers:
        x, way = layer.forward(x)
        steps.append(way)
    expected: Any = np.random.default_rng(1).standard_normal(x.shape).astype(x.dtype)
    grads: list[Array] = []
    for way in reversed(steps):
        expected, found = way(expected)
        grads = found + grads
    return x, expected, grads


@pytest.mark.parametrize("need_dx", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "tanh"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_model_gives_the_bits_of_its_layers(
    data_format: str, use_bias: bool, activation: str | None, need_dx: bool
) -> None:
    conv = Conv2D(32, 3, activation=activation, use_bias=use_bias, data_format=data_format)
    model = Sequential([conv, MaxPooling2D(data_format=data_format), Flatten(), Dense(3)], seed=0)
    x = problem((32, 28, 28, 1), 3, 32, "float32", data_format)[0]
    y, back = model.forward(x, training=True)
    expected_y, expected_dx, expected = gradients_of(model.layers, x)
    assert_same_bits(y, expected_y)
    dx: Any
    dx, grads = back(np.random.default_rng(1).standard_normal(y.shape), need_dx=need_dx)
    if need_dx:
        assert_same_bits(dx, expected_dx)
    for a, b in zip(grads, expected, strict=True):
        assert_same_bits(a, b)
    conv.trainable = False
    _, back = model.forward(x, training=True)
    assert len(back(y, need_dx=need_dx)[1]) == 2
