"""The reference, tested by finite differences and hand-made numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import reference
import strategies
from strategies import Conv2DProblem, PoolProblem, TransposeProblem

Array = npt.NDArray[Any]


def finite_difference(loss: Callable[[Array], float], at: Array, step: float) -> Array:
    """Return the central differences of a scalar function in every coordinate."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (loss(up) - loss(down)) / (2 * step)
    return gradient


# ------------------------------------------------------------------------------ hand-made numbers


@pytest.mark.parametrize(
    ("n", "k", "stride", "expected"),
    [
        (5, 3, 1, (1, 1)),
        (5, 4, 1, (1, 2)),
        (5, 3, 2, (1, 1)),
        (6, 3, 2, (0, 1)),
        (6, 2, 2, (0, 0)),
        (7, 2, 2, (0, 1)),
        (28, 5, 1, (2, 2)),
        (224, 7, 2, (2, 3)),
        (10, 1, 3, (0, 0)),
    ],
)
def test_same_padding(n: int, k: int, stride: int, expected: tuple[int, int]) -> None:
    """TensorFlow's published examples of "same", and the mirror image for "same_lower"."""
    assert reference.sides("same", 0, n, k, stride) == expected
    assert reference.sides("same_lower", 0, n, k, stride) == expected[::-1]
    for padding in ("same", "same_lower"):
        axis = reference.make_axis(0, (n, n), (k, k), stride, padding, 1)
        assert axis.out == math.ceil(n / stride)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [9, 9, 1, 2, 3, 9, 9]),
        ("reflect", [3, 2, 1, 2, 3, 2, 1]),
        ("edge", [1, 1, 1, 2, 3, 3, 3]),
        ("wrap", [2, 3, 1, 2, 3, 1, 2]),
    ],
)
def test_padding_modes(mode: str, expected: list[int]) -> None:
    """A kernel of one tap shows the padded image itself."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    y = reference.conv2d(
        x,
        np.ones((1, 1, 1, 1)),
        padding=((0, 0), (2, 2)),
        padding_mode=mode,
        padding_value=9.0,
    )
    np.testing.assert_array_equal(y.ravel(), expected)


@pytest.mark.parametrize(
    ("padding", "output_padding", "k", "stride", "expected"),
    [
        ("same", None, 3, 2, [1, 1, 3, 2, 5, 3]),  # h * s: one is cut off, after
        ("same_lower", None, 3, 2, [1, 3, 2, 5, 3, 3]),  # the same, before
        ("valid", None, 3, 2, [1, 1, 3, 2, 5, 3, 3]),  # h * s + k - s
        ("valid", None, 2, 3, [1, 1, 0, 2, 2, 0, 3, 3, 0]),  # the stride reaches past the kernel
        ("valid", 1, 3, 2, [1, 1, 3, 2, 5, 3, 3, 0]),  # (h - 1) * s + k + 1
        ("same", 0, 3, 2, [1, 3, 2, 5, 3]),  # (h - 1) * s + 1
        ("same", 1, 3, 2, [1, 1, 3, 2, 5, 3]),  # (h - 1) * s + 2
        (((0, 0), (1, 1)), 1, 3, 2, [1, 3, 2, 5, 3, 3]),  # PyTorch's way to double the size
        (((0, 0), (0, 1)), None, 3, 2, [1, 1, 3, 2, 5, 3]),
    ],
)
def test_transposed_placement(
    padding: Any, output_padding: int | None, k: int, stride: int, expected: list[int]
) -> None:
    """[1, 2, 3] stamped with a kernel of ones: sizes and offsets of every kind of padding."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    extra = None if output_padding is None else (0, output_padding)
    y = reference.conv2d_transpose(
        x, np.ones((1, k, 1, 1)), strides=(1, stride), padding=padding, output_padding=extra
    )
    np.testing.assert_array_equal(y.ravel(), expected)


def test_max_pool_prefers_the_first_and_the_nan() -> None:
    """Ties go to the first place, the first NaN beats all, padding alone gives -inf and -1."""
    x = np.array([5.0, 5.0, 7.0, np.nan, np.nan, 9.0, 0.0, -0.0]).reshape(1, 1, 8, 1)
    y, indices = reference.max_pool2d_with_indices(x, (1, 2))
    np.testing.assert_array_equal(y.ravel(), [5, np.nan, np.nan, 0])
    np.testing.assert_array_equal(indices.ravel(), [0, 3, 4, 6])
    two = np.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    alone, nowhere = reference.max_pool2d_with_indices(
        two, (1, 2), strides=1, padding=((0, 0), (2, 2)), dilation_rate=(1, 3)
    )
    np.testing.assert_array_equal(alone.ravel(), [2, -np.inf, 1])
    np.testing.assert_array_equal(nowhere.ravel(), [1, -1, 0])


def test_average_divisors() -> None:
    """Six ones in windows of three, two apart, padded by one: who counts in which mode."""
    x = np.ones((1, 1, 6, 1))
    common: dict[str, Any] = {"strides": (1, 2), "padding": ((0, 0), (1, 1)), "ceil_mode": True}
    excluding = reference.avg_pool2d(x, (1, 3), **common)
    including = reference.avg_pool2d(x, (1, 3), count_include_pad=True, **common)
    np.testing.assert_allclose(excluding.ravel(), [1, 1, 1, 1])
    np.testing.assert_allclose(including.ravel(), [2 / 3, 1, 1, 1 / 2])


def test_average_of_padding_alone() -> None:
    """A dilated window that straddles the image averages to 0 and passes no gradient."""
    x = np.full((1, 1, 1, 1), 4.0)
    geometry: dict[str, Any] = {
        "strides": 1,
        "padding": ((0, 0), (1, 1)),
        "dilation_rate": (1, 2),
    }
    np.testing.assert_array_equal(reference.avg_pool2d(x, (1, 2), **geometry).ravel(), [0])
    dx = reference.avg_pool2d_backward(np.ones((1, 1, 1, 1)), x.shape, (1, 2), **geometry)
    np.testing.assert_array_equal(dx.ravel(), [0])


def test_activations() -> None:
    """Relu keeps NaN, relu6 ends at 6, the residual comes first."""
    x = np.array([-1.0, 2.0, 9.0, np.nan]).reshape(1, 1, 4, 1)
    one = np.ones((1, 1, 1, 1))
    relu = reference.conv2d(x, one, activation="relu")
    relu6 = reference.conv2d(x, one, residual=x, activation="relu6")
    np.testing.assert_array_equal(relu.ravel(), [0, 2, 9, np.nan])
    np.testing.assert_array_equal(relu6.ravel(), [0, 4, 6, np.nan])


@pytest.mark.parametrize("values", [(-30.0, -1.0, 0.0, 0.5, 20.0)])
def test_elementwise(values: tuple[float, ...]) -> None:
    """The elementwise functions against Python's math, number by number."""
    x = np.array(values)
    np.testing.assert_allclose(reference.exp(x), [math.exp(v) for v in values], rtol=1e-15)
    np.testing.assert_allclose(reference.tanh(x), [math.tanh(v) for v in values], rtol=1e-15)
    sigmoids = [1 / (1 + math.exp(-v)) for v in values]
    np.testing.assert_allclose(reference.sigmoid(x), sigmoids, rtol=1e-15)
    positive = [abs(v) + 0.25 for v in values]
    logs = [math.log(v) for v in positive]
    np.testing.assert_allclose(reference.log(np.array(positive)), logs, rtol=1e-15)
    total = math.fsum(math.exp(v) for v in values)
    shares = [math.exp(v) / total for v in values]
    np.testing.assert_allclose(reference.softmax(x), shares, rtol=1e-14)


# ---------------------------------------------------------------------------- finite differences


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_conv2d_backward_by_differences(mode: str) -> None:
    """Loss <conv2d(x, kernel, bias), dy> is linear in each: differences are exact to rounding."""
    problem = Conv2DProblem(2, 4, 5, 4, 6, 3, 2, 2, ((2, 1), (3, 0)), (1, 2), 2, padding_mode=mode)
    geometry = {**problem.geometry, "padding_value": 0.75}
    arrays = {name: a.astype(float) for name, a in problem.draw_arrays().items()}
    x, kernel, bias, dy = (arrays[name] for name in ("x", "kernel", "bias", "dy"))
    grads = reference.conv2d_backward(dy, x, kernel, **geometry)

    def loss(x: Array, kernel: Array, bias: Array) -> float:
        return float((reference.conv2d(x, kernel, bias, **geometry) * dy).sum())

    dx = finite_difference(lambda v: loss(v, kernel, bias), x, 0.5)
    dkernel = finite_difference(lambda v: loss(x, v, bias), kernel, 0.5)
    dbias = finite_difference(lambda v: loss(x, kernel, v), bias, 0.5)
    np.testing.assert_allclose(grads.dx, dx, atol=1e-11)
    np.testing.assert_allclose(grads.dkernel, dkernel, atol=1e-11)
    np.testing.assert_allclose(grads.dbias, dbias, atol=1e-11)


@pytest.mark.parametrize("padding", ["valid", "same", "same_lower", 1, ((2, 0), (1, 3))])
@pytest.mark.parametrize("output_padding", [None, (0, 1)])
def test_transpose_backward_by_differences(padding: Any, output_padding: Any) -> None:
    """Loss <conv2d_transpose(x, kernel, bias), dy> is linear in each."""
    problem = TransposeProblem(
        *(2, 3, 3, 4, 6, 3, 2, (1, 2), padding, (2, 1), 2),
        output_padding=output_padding,
        data_format="channels_first",
    )
    arrays = {name: a.astype(float) for name, a in problem.draw_arrays().items()}
    x, kernel, bias, dy = (arrays[name] for name in ("x", "kernel", "bias", "dy"))
    grads = reference.conv2d_transpose_backward(dy, x, kernel, **problem.geometry)

    def loss(x: Array, kernel: Array, bias: Array) -> float:
        return float((reference.conv2d_transpose(x, kernel, bias, **problem.geometry) * dy).sum())

    dx = finite_difference(lambda v: loss(v, kernel, bias), x, 0.5)
    dkernel = finite_difference(lambda v: loss(x, v, bias), kernel, 0.5)
    dbias = finite_difference(lambda v: loss(x, kernel, v), bias, 0.5)
    np.testing.assert_allclose(grads.dx, dx, atol=1e-11)
    np.testing.assert_allclose(grads.dkernel, dkernel, atol=1e-11)
    np.testing.assert_allclose(grads.dbias, dbias, atol=1e-11)


POOL = PoolProblem(2, 6, 7, 3, (3, 2), (2, 1), ((1, 2), (1, 0)), (1, 2), True, "channels_first")


@pytest.mark.parametrize("name", ["max_pool2d", "min_pool2d"])
def test_max_min_pool_backward_by_differences(name: str) -> None:
    """Away from ties a small step moves no maximum, so differences are exact to rounding."""
    x, dy = POOL.draw_arrays()
    x = x.astype(float)
    pool, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    expected = finite_difference(lambda v: float((pool(v, **POOL.geometry) * dy).sum()), x, 1e-6)
    np.testing.assert_allclose(backward(dy, x, **POOL.geometry), expected, atol=1e-8)


@pytest.mark.parametrize("count_include_pad", [False, True])
def test_avg_pool_backward_by_differences(count_include_pad: bool) -> None:
    """The average is linear in x."""
    x, dy = POOL.draw_arrays()
    geometry = {**POOL.geometry, "count_include_pad": count_include_pad}
    expected = finite_difference(
        lambda v: float((reference.avg_pool2d(v, **geometry) * dy).sum()), x.astype(float), 0.5
    )
    dx = reference.avg_pool2d_backward(dy, x.shape, **geometry)
    np.testing.assert_allclose(dx, expected, atol=1e-12)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pools_by_differences(data_format: str, keepdims: bool) -> None:
    """Both global poolings' gradients, with and without kept dimensions."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    words: dict[str, Any] = {"keepdims": keepdims, "data_format": data_format}
    dy = np.random.default_rng(1).standard_normal(reference.global_avg_pool2d(x, **words).shape)

    def loss(pool: Callable[..., Array], v: Array) -> float:
        return float((pool(v, **words) * dy).sum())

    of_max = finite_difference(lambda v: loss(reference.global_max_pool2d, v), x, 1e-6)
    of_mean = finite_difference(lambda v: loss(reference.global_avg_pool2d, v), x, 0.5)
    dx_max = reference.global_max_pool2d_backward(dy, x, **words)
    dx_mean = reference.global_avg_pool2d_backward(dy, x.shape, **words)
    np.testing.assert_allclose(dx_max, of_max, atol=1e-8)
    np.testing.assert_allclose(dx_mean, of_mean, atol=1e-12)


def test_dense_backward_by_differences() -> None:
    """Loss <dense(x, kernel, bias), dy> is linear in each."""
    arrays = strategies.DenseProblem(3, 4, 5, "float64").draw_arrays()
    x, kernel, bias, dy = (arrays[name] for name in ("x", "kernel", "bias", "dy"))
    grads = reference.dense_backward(dy, x, kernel)

    def loss(x: Array, kernel: Array, bias: Array) -> float:
        return float((reference.dense(x, kernel, bias) * dy).sum())

    dx = finite_difference(lambda v: loss(v, kernel, bias), x, 0.5)
    dkernel = finite_difference(lambda v: loss(x, v, bias), kernel, 0.5)
    dbias = finite_difference(lambda v: loss(x, kernel, v), bias, 0.5)
    np.testing.assert_allclose(grads.dx, dx, atol=1e-12)
    np.testing.assert_allclose(grads.dkernel, dkernel, atol=1e-12)
    np.testing.assert_allclose(grads.dbias, dbias, atol=1e-12)
