"""Textbook facts: numbers that anyone can check by hand, and laws that convolutions obey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from fastconv import functional

Array = npt.NDArray[Any]


def image(rows: Sequence[Sequence[float]], dtype: str = "float32") -> Array:
    """Return a single image of one channel, (1, h, w, 1)."""
    return np.array(rows, dtype)[None, :, :, None]


def plane(y: Array) -> list[list[float]]:
    """Return the one plane of a result as lists."""
    assert y.shape[0] == y.shape[3] == 1
    rows: list[list[float]] = y[0, :, :, 0].tolist()
    return rows


FIVE = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
CROSS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
FOUR = [[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]]


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_five_by_five(isa: str, dtype: str) -> None:
    """The first convolution of many a course."""
    kernel = np.array(CROSS, dtype)[:, :, None, None]
    y = functional.conv2d(image(FIVE, dtype), kernel)
    assert plane(y) == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_four_by_four(isa: str, dtype: str) -> None:
    """Its first poolings."""
    x = image(FOUR, dtype)
    assert plane(functional.max_pool2d(x, 2)) == [[20, 30], [111, 33]]
    assert plane(functional.min_pool2d(x, 2)) == [[8, 0], [34, 5]]
    assert plane(functional.avg_pool2d(x, 2)) == [[13.25, 8.25], [73.75, 17.75]]


def test_number_of_parameters() -> None:
    """Six 5x5 filters on 32x32x3 learn 456 numbers, a dense layer to as many outputs 14,455,392."""
    x = np.ones((1, 32, 32, 3), np.float32)
    kernel = np.zeros((5, 5, 3, 6), np.float32)
    y = functional.conv2d(x, kernel)
    assert y.shape == (1, 28, 28, 6)
    grads = functional.conv2d_backward(y, x, kernel)
    assert grads.dkernel.size + grads.dbias.size == 456
    rows, dy = x.reshape(1, -1), y.reshape(1, -1)
    weights = np.zeros((rows.size, dy.size), np.float32)
    grads = functional.dense_backward(dy, rows, weights, needs=("kernel", "bias"))
    assert grads.dkernel.size + grads.dbias.size == 14_455_392


def test_is_correlation(isa: str) -> None:
    """The kernel is not flipped: a kernel of 1..4 on a single one gives them backwards."""
    dot = image([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    kernel = np.array([[1, 2], [3, 4]], np.float32)[:, :, None, None]
    assert plane(functional.conv2d(dot, kernel)) == [[4, 3], [2, 1]]
    assert plane(functional.conv2d_transpose(image([[1]]), kernel)) == [[1, 2], [3, 4]]


def test_sobel_finds_the_edge(isa: str) -> None:
    """The gradient of a step is nowhere but at the step."""
    step = image([[0, 0, 0, 9, 9, 9]] * 4)
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)[:, :, None, None]
    assert plane(functional.conv2d(step, sobel)) == [[0, 36, 36, 0]] * 2


def test_two_3x3_see_what_one_5x5_sees(isa: str) -> None:
    """Convolutions in a row are one convolution by the kernels' full convolution."""
    rng = np.random.default_rng(0)
    x = strategies.whole_numbers(rng, (1, 12, 13, 1), "float64")
    first = strategies.whole_numbers(rng, (3, 3, 1, 1), "float64")
    second = strategies.whole_numbers(rng, (3, 3, 1, 1), "float64")
    both = functional.conv2d_transpose(first.reshape(1, 3, 3, 1), second).reshape(5, 5, 1, 1)
    words: dict[str, Any] = {"algorithm": "direct"}
    twice = functional.conv2d(functional.conv2d(x, first, **words), second, **words)
    np.testing.assert_array_equal(twice, functional.conv2d(x, both, **words))


# ----------------------------------------------------------------------- translation equivariance


@given(
    problem=strategies.conv2d_problems(),
    down=st.integers(-4, 4),
    right=st.integers(-4, 4),
)
def test_convolution_commutes_with_translation(
    isa: str, problem: strategies.Conv2DProblem, down: int, right: int
) -> None:
    """On a torus, shifting by a stride's multiple and convolving come to the same in any order."""
    sh, sw = problem.axes()[0].stride, problem.axes()[1].stride
    reach = problem.axes()[0].k_eff, problem.axes()[1].k_eff
    h = sh * -(-max(problem.h, reach[0]) // sh)
    w = sw * -(-max(problem.w, reach[1]) // sw)
    padding = ((0, reach[0] - 1), (0, reach[1] - 1))
    fields = {**problem.__dict__, "h": h, "w": w, "padding": padding, "padding_mode": "wrap"}
    torus = strategies.Conv2DProblem(**{**fields, "padding_value": 0.0})
    a = torus.draw_arrays(strategies.whole_numbers)
    axes = (1, 2) if torus.data_format == "channels_last" else (2, 3)
    words = {**torus.geometry, "algorithm": "direct"}
    moved = np.roll(a["x"], (down * sh, right * sw), axes)
    y = functional.conv2d(a["x"], a["kernel"], **words)
    np.testing.assert_array_equal(
        functional.conv2d(moved, a["kernel"], **words), np.roll(y, (down, right), axes)
    )


@pytest.mark.parametrize("name", ["max_pool2d", "min_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_pooling_commutes_with_translation(isa: str, name: str, data_format: str) -> None:
    """A picture moved by strides moves its pooled picture by pixels, wherever no border is near."""
    pool, fmt = getattr(functional, name), data_format
    picture = strategies.unit_normals(np.random.default_rng(0), (6, 8, 19), "float32")
    results = []
    for down, right in ((0, 0), (2, 4), (6, 8), (10, 6)):
        x = np.zeros((1, 18, 18, 19), np.float32)
        x[0, down : down + 6, right : right + 8] = picture
        y = pool(x if fmt == "channels_last" else np.moveaxis(x, -1, 1), data_format=fmt)
        y = y if fmt == "channels_last" else np.moveaxis(y, 1, -1)
        results.append(y[0, down // 2 : down // 2 + 3, right // 2 : right // 2 + 4])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@given(problem=strategies.conv2d_problems(), factor=st.sampled_from((-2.0, 0.5, 4.0)))
def test_convolution_is_linear(isa: str, problem: strategies.Conv2DProblem, factor: float) -> None:
    """conv2d(x + factor * z) = conv2d(x) + factor * conv2d(z), exactly on whole numbers."""
    problem = strategies.Conv2DProblem(**{**problem.__dict__, "padding_value": 0.0})
    a = problem.draw_arrays(strategies.whole_numbers)
    rng = np.random.default_rng(problem.seed + 1)
    z = strategies.whole_numbers(rng, problem.x_shape, problem.dtype)
    words = {**problem.geometry, "algorithm": "direct"}
    whole = functional.conv2d(a["x"] + factor * z, a["kernel"], **words)
    parts = functional.conv2d(a["x"], a["kernel"], **words)
    parts = parts + factor * functional.conv2d(z, a["kernel"], **words)
    np.testing.assert_array_equal(whole, parts)
