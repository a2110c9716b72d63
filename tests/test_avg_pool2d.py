"""Average pooling against the reference: what counts in the divisor, values and gradients."""

from __future__ import annotations

import functools
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
from guards import GuardedOutput, guarded_input
from strategies import PoolProblem

Array = npt.NDArray[Any]

LAYERS = {
    "lenet 2x2": PoolProblem(3, 28, 28, 6),
    "densenet 2x2": PoolProblem(1, 14, 14, 130),
    "inception 3x3 stride 1": PoolProblem(1, 17, 18, 33, 3, 1, 1),
    "3x3 stride 1 in strips": PoolProblem(1, 5, 40, 290, 3, 1, 1),
    "3x3 stride 2 ceil": PoolProblem(1, 28, 28, 35, 3, 2, "valid", 1, True),
    "7x7": PoolProblem(2, 7, 7, 100, 7),
    "6x6, pixels far apart": PoolProblem(1, 13, 14, 520, 6),
    "whole maps": PoolProblem(3, 8, 8, 64, 8),
    "4x4 of few channels": PoolProblem(5, 32, 32, 8, 4),
    "5x5 stride 3": PoolProblem(1, 19, 17, 40, 5, 3),
    "7x7 stride 2": PoolProblem(2, 30, 27, 24, 7, 2, 3),
    "9x9 stride 2, few channels": PoolProblem(2, 30, 27, 3, 9, 2, 4, 1, True),
    "few planes, 6x6 stride 3": PoolProblem(1, 30, 30, 7, 6, 3),
    "one plane, 3x3 stride 2": PoolProblem(1, 30, 15, 1, 3, 2, 1),
    "gaps between": PoolProblem(3, 23, 31, 5, (2, 3), (5, 4), (0, 1)),
    "channels in blocks": PoolProblem(1, 3, 150, 700, (2, 3), (1, 2), 1),
    "bands of rows": PoolProblem(1, 200, 9, 2, (5, 3), (2, 3), (2, 1)),
    "many taps": PoolProblem(1, 14, 27, 5, (17, 31), 1, (3, 4)),
    "dilated": PoolProblem(1, 15, 14, 20, 3, 1, 2, 2),
    "very wide": PoolProblem(1, 2, 2001, 3, 2, 1),
    "very tall": PoolProblem(1, 2001, 2, 3, (3, 1), (2, 1), (1, 0)),
    "one pixel": PoolProblem(2, 1, 1, 9, 1),
    "no pixels": PoolProblem(2, 0, 0, 17, 3, 1, 2),
    "no rows": PoolProblem(2, 0, 5, 3, 3, 1, 2),
    "no columns": PoolProblem(2, 5, 0, 3, 3, 1, 2),
}


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers(
    isa: str, layer: str, data_format: str, dtype: str, count_include_pad: bool
) -> None:
    """Pooling layers of nets, and shapes that blocking makes hard."""
    fields = {**LAYERS[layer].__dict__, "data_format": data_format, "dtype": dtype}
    check(PoolProblem(**fields), count_include_pad)


@given(problem=strategies.pool_problems(), count_include_pad=st.booleans())
def test_matches_reference(isa: str, problem: PoolProblem, count_include_pad: bool) -> None:
    """Every geometry, windows wholly in the padding included."""
    check(problem, count_include_pad)


@functools.lru_cache(maxsize=256)
def expect(problem: PoolProblem, count_include_pad: bool) -> list[Array]:
    """Return the reference's y and dx, and theirs of absolute values, which take long."""
    x, dy = problem.draw_arrays()
    words = {**problem.geometry, "count_include_pad": count_include_pad}
    forward = [reference.avg_pool2d(a, **words) for a in (x, abs(x))]
    return forward + [reference.avg_pool2d_backward(a, x.shape, **words) for a in (dy, abs(dy))]


def check(problem: PoolProblem, count_include_pad: bool) -> None:
    """Compare values and gradients with the reference, between NaNs and guard bytes."""
    x, dy = problem.draw_arrays()
    x, dy = guarded_input(x), guarded_input(dy)
    words = {**problem.geometry, "count_include_pad": count_include_pad}
    out = GuardedOutput(problem.y_shape, problem.dtype)
    y = functional.avg_pool2d(x, out=out.array, **words)
    assert y is out.array
    right_y, magnitude_y, right_dx, magnitude_dx = expect(problem, count_include_pad)
    assert_close(y, right_y, magnitude_y, problem.terms)
    out.assert_intact()
    dx = functional.avg_pool2d_backward(dy, problem.x_shape, **words)
    assert dx.dtype == problem.dtype
    assert_close(dx, right_dx, magnitude_dx, problem.terms)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_every_channel_count_and_width(isa: str, dtype: str) -> None:
    """Channels and row lengths around the vector widths, in both layouts."""
    for length in strategies.AROUND_VECTORS:
        for data_format in strategies.FORMATS:
            words: dict[str, Any] = {"strides": 1, "padding": 1, "data_format": data_format}
            check(PoolProblem(1, 4, 5, length, 3, dtype=dtype, **words), False)
            check(PoolProblem(1, 4, length, 2, 3, dtype=dtype, **words), True)
            alone: dict[str, Any] = {"data_format": data_format, "dtype": dtype}
            check(PoolProblem(2, 5, 6, length, 2, 2, **alone), False)
            check(PoolProblem(2, 4, 2 * length + 1, 2, 2, 2, **alone), True)


def test_powers_of_two_are_exact(isa: str) -> None:
    """Whole numbers over a divisor of 4 leave nothing to round."""
    problem = PoolProblem(2, 8, 10, 37)
    x, dy = problem.draw_arrays(strategies.whole_numbers)
    np.testing.assert_array_equal(functional.avg_pool2d(x), reference.avg_pool2d(x))
    dx = functional.avg_pool2d_backward(dy, x.shape)
    np.testing.assert_array_equal(dx, reference.avg_pool2d_backward(dy, x.shape))


@pytest.mark.parametrize(
    ("count_include_pad", "expected"),
    [(False, [6.0, 6.0, 6.0, 6.0]), (True, [4.0, 6.0, 6.0, 3.0])],
)
def test_divisors(isa: str, count_include_pad: bool, expected: list[float]) -> None:
    """Six sixes, windows of 3 two apart, padded by one: the overhang of ceil mode never counts."""
    x = np.full((1, 1, 6, 18), 6, np.float32)
    y = functional.avg_pool2d(
        x,
        (1, 3),
        strides=(1, 2),
        padding=((0, 0), (1, 1)),
        ceil_mode=True,
        count_include_pad=count_include_pad,
    )
    np.testing.assert_allclose(y[0, 0], np.outer(expected, np.ones(18)), rtol=1e-6)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_window_of_padding_alone(isa: str, data_format: str, count_include_pad: bool) -> None:
    """A dilated window with no tap on the image averages to 0 and passes no gradient."""
    x = np.full(strategies.in_format((1, 1, 2, 19), data_format), 4, np.float32)
    words: dict[str, Any] = {
        "pool_size": (1, 2),
        "strides": 1,
        "padding": ((0, 0), (2, 2)),
        "dilation_rate": (1, 3),
        "count_include_pad": count_include_pad,
        "data_format": data_format,
    }
    y = functional.avg_pool2d(x, **words)
    columns = y if data_format == "channels_first" else np.moveaxis(y, -1, 1)
    seen = 2 if count_include_pad else 4
    np.testing.assert_array_equal(columns, np.broadcast_to([seen, 0, seen], (1, 19, 1, 3)))
    dx = functional.avg_pool2d_backward(np.ones_like(y), x.shape, **words)
    np.testing.assert_array_equal(dx, np.full(x.shape, seen / 4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_non_finite_values_stay_in_their_windows(isa: str, value: float, data_format: str) -> None:
    """A NaN or infinity reaches the windows that hold it, and no bit of others."""
    problem = PoolProblem(2, 9, 11, 21, 3, 2, data_format=data_format)
    x, _ = problem.draw_arrays()
    before = functional.avg_pool2d(x, **problem.geometry)
    at = {"channels_last": (1, 4, 6, 2), "channels_first": (1, 2, 4, 6)}[data_format]
    mark = np.zeros(problem.x_shape)
    mark[at] = 1
    reached = reference.avg_pool2d(mark, **problem.geometry) > 0
    x[at] = value
    after = functional.avg_pool2d(x, **problem.geometry)
    assert reached.sum() == 4
    np.testing.assert_array_equal(after[reached], np.full(4, value))
    assert_same_bits(before[~reached], after[~reached])


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(("n", "c"), [(0, 3), (2, 0)])
def test_nothing_to_pool(isa: str, data_format: str, n: int, c: int) -> None:
    """No images, or no channels, give results of the right shape and no values."""
    problem = PoolProblem(n, 6, 5, c, data_format=data_format)
    x, dy = problem.draw_arrays()
    assert functional.avg_pool2d(x, **problem.geometry).shape == problem.y_shape
    dx = functional.avg_pool2d_backward(dy, problem.x_shape, **problem.geometry)
    assert dx.shape == problem.x_shape


def test_adjoint_identity(isa: str) -> None:
    """<avg_pool2d(x), dy> = <x, dx> for divisors that are powers of two."""
    problem = PoolProblem(2, 9, 8, 33, (2, 4), (1, 3), dtype="float64")
    x, dy = problem.draw_arrays(strategies.whole_numbers)
    y = functional.avg_pool2d(x, **problem.geometry)
    dx = functional.avg_pool2d_backward(dy, x.shape, **problem.geometry)
    assert np.vdot(y, dy) == np.vdot(x, dx)


def test_pooling_never_flushes_denormals(isa: str) -> None:
    """The average of denormals is a denormal."""
    x = np.full((1, 2, 2, 16), 1e-40, np.float32)
    np.testing.assert_array_equal(functional.avg_pool2d(x), x[:, :1, :1])
