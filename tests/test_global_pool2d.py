"""Global pooling, max and average, forward and backward, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
import strategies
from closeness import assert_close, assert_same_bits
from fastconv import functional
from guards import guarded_input
from strategies import PoolProblem

Array = npt.NDArray[Any]

planes = st.builds(
    PoolProblem,
    n=st.integers(1, 3),
    h=st.integers(1, 9),
    w=st.sampled_from((1, 2, 3, 7, 8, 9, 15, 16, 17, 35)),
    c=st.sampled_from(strategies.AROUND_VECTORS),
    data_format=st.sampled_from(strategies.FORMATS),
    dtype=st.sampled_from(strategies.DTYPES),
    seed=st.integers(0, 2**16),
)


def expected_shape(problem: PoolProblem, keepdims: bool) -> tuple[int, ...]:
    """Return the shape of a global pooling's result."""
    if not keepdims:
        return problem.n, problem.c
    return strategies.in_format((problem.n, 1, 1, problem.c), problem.data_format)


@given(problem=planes, keepdims=st.booleans())
def test_max_matches_reference(isa: str, problem: PoolProblem, keepdims: bool) -> None:
    """Values and gradients, bit for bit, on data full of ties, infinities and NaN."""
    x, _ = problem.draw_arrays(strategies.hard_to_pool)
    x = guarded_input(x)
    words: dict[str, Any] = {"keepdims": keepdims, "data_format": problem.data_format}
    y, indices = functional.global_max_pool2d(x, return_indices=True, **words)
    assert y.shape == indices.shape == expected_shape(problem, keepdims)
    assert y.dtype == problem.dtype
    expected_y, expected_indices = reference.global_max_pool2d_with_indices(x, **words)
    np.testing.assert_array_equal(y, expected_y)
    assert_same_bits(indices, expected_indices, "indices")
    assert_same_bits(functional.global_max_pool2d(x, **words), y, "y without indices")
    dy = strategies.whole_numbers(np.random.default_rng(0), y.shape, problem.dtype)
    expected = reference.global_max_pool2d_backward(dy, x, **words)
    np.testing.assert_array_equal(functional.global_max_pool2d_backward(dy, x, **words), expected)
    dx = functional.global_max_pool2d_backward(dy, x, indices=indices, **words)
    np.testing.assert_array_equal(dx, expected)


@given(problem=planes)
def test_max_is_max_pool_of_the_whole_plane(isa: str, problem: PoolProblem) -> None:
    """The same bits as a window as large as the image, zeros' signs included."""
    x, _ = problem.draw_arrays(strategies.hard_to_pool)
    fmt = problem.data_format
    words: dict[str, Any] = {"data_format": fmt, "return_indices": True}
    y, indices = functional.global_max_pool2d(x, keepdims=True, **words)
    pooled, places = functional.max_pool2d(x, (problem.h, problem.w), **words)
    assert_same_bits(y, pooled)
    assert_same_bits(indices, places, "indices")


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("shape", [(2, 5, 7, 21), (1, 2, 3, 2), (1, 200, 200, 5)])
def test_indices_may_be_any(isa: str, data_format: str, shape: tuple[int, ...]) -> None:
    """Each gradient goes where its index says, -1 is no winner, others outside are refused."""
    n, h, w, c = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal(strategies.in_format(shape, data_format)).astype(np.float32)
    dy = rng.standard_normal((n, c)).astype(np.float32)
    indices = rng.integers(-1, h * w, (n, c))
    indices[0, :2] = -1, h * w - 1
    dx = functional.global_max_pool2d_backward(dy, x, data_format=data_format, indices=indices)
    corners = np.expand_dims(indices, reference.image_axes(data_format))
    gradients = np.expand_dims(dy, reference.image_axes(data_format))
    expected = reference.scatter(gradients, corners, x.shape, data_format)
    np.testing.assert_array_equal(dx, expected)
    for stray in (-2, h * w, 2**40):
        indices[n - 1, c - 1] = stray
        with pytest.raises(ValueError, match="indices"):
            functional.global_max_pool2d_backward(dy, x, data_format=data_format, indices=indices)


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ([[0, 0, 0]], TypeError),
        (np.zeros((2, 3), np.int32), TypeError),
        (np.zeros((2, 4), np.int64), ValueError),
        (np.zeros((2, 1, 1, 3), np.int64), ValueError),
    ],
)
def test_indices_that_do_not_fit(indices: Any, error: type[Exception]) -> None:
    """The message names them."""
    x, dy = np.zeros((2, 4, 5, 3), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(error, match="indices"):
        functional.global_max_pool2d_backward(dy, x, indices=indices)


@given(problem=planes, keepdims=st.booleans())
def test_average_matches_reference(isa: str, problem: PoolProblem, keepdims: bool) -> None:
    """Values and gradients within rounding."""
    x, _ = problem.draw_arrays()
    x = guarded_input(x)
    words: dict[str, Any] = {"keepdims": keepdims, "data_format": problem.data_format}
    y = functional.global_avg_pool2d(x, **words)
    assert y.shape == expected_shape(problem, keepdims)
    assert y.dtype == problem.dtype
    terms = problem.h * problem.w
    magnitude = reference.global_avg_pool2d(abs(x), **words)
    assert_close(y, reference.global_avg_pool2d(x, **words), magnitude, terms)
    dy = strategies.unit_normals(np.random.default_rng(0), y.shape, problem.dtype)
    dx = functional.global_avg_pool2d_backward(dy, problem.x_shape, **words)
    expected = reference.global_avg_pool2d_backward(dy, problem.x_shape, **words)
    assert dx.dtype == problem.dtype
    assert_close(dx, expected, abs(expected), 1)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_large_plane_keeps_its_accuracy(isa: str, data_format: str) -> None:
    """A mean of a quarter million numbers near one: a naive float32 sum would be off by 1e-4."""
    shape = strategies.in_format((1, 512, 512, 3), data_format)
    x = np.random.default_rng(0).uniform(0.9, 1.1, shape).astype(np.float32)
    y = functional.global_avg_pool2d(x, data_format=data_format)
    expected = reference.global_avg_pool2d(x, data_format=data_format)
    np.testing.assert_allclose(y, expected, rtol=2e-6)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_stay_in_their_plane(isa: str, data_format: str, value: float) -> None:
    """A NaN or infinity reaches the mean of its own plane alone."""
    problem = PoolProblem(2, 5, 7, 21, data_format=data_format)
    x, _ = problem.draw_arrays()
    before = functional.global_avg_pool2d(x, data_format=data_format)
    x[{"channels_last": (1, 4, 6, 2), "channels_first": (1, 2, 4, 6)}[data_format]] = value
    after = functional.global_avg_pool2d(x, data_format=data_format)
    np.testing.assert_array_equal(after[1, 2], value)
    before[1, 2] = after[1, 2] = 0
    assert_same_bits(before, after)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(("n", "c"), [(0, 3), (2, 0)])
def test_nothing_to_pool(isa: str, data_format: str, n: int, c: int) -> None:
    """No images, or no channels, give results of the right shape and no values."""
    problem = PoolProblem(n, 3, 4, c, data_format=data_format)
    x, _ = problem.draw_arrays()
    for name in ("global_max_pool2d", "global_avg_pool2d"):
        assert getattr(functional, name)(x, data_format=data_format).shape == (n, c)
    dy = np.zeros((n, c), np.float32)
    dx = functional.global_max_pool2d_backward(dy, x, data_format=data_format)
    assert dx.shape == x.shape
    dx = functional.global_avg_pool2d_backward(dy, x.shape, data_format=data_format)
    assert dx.shape == x.shape
