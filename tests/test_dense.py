"""dense and dense_backward against the reference and against the 1x1 convolution that they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
import strategies
from bits import shifted
from closeness import assert_close
from fastconv import functional
from guards import GuardedOutput, guarded_input
from strategies import DenseProblem

Array = npt.NDArray[Any]

LARGE_BYTES = 36 << 20  # more than is taken for any machine's last cache

PROBLEMS = {
    "lenet first": DenseProblem(3, 400, 120),
    "lenet last": DenseProblem(64, 84, 10),
    "one row": DenseProblem(1, 1030, 35),
    "one output": DenseProblem(30, 257, 1),
    "one number": DenseProblem(1, 1, 1),
    "vgg in small": DenseProblem(2, 3000, 65, "float64"),
    "rows of several pages": DenseProblem(3, 150, 2090),
    "rows whose gradient is written": DenseProblem(100, 75, 41),
    "some rows, a kernel beyond the caches": DenseProblem(19, 345, 1030),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_named_problems_are_exact(isa: str, name: str) -> None:
    """Whole numbers leave nothing to round."""
    check_whole_numbers(PROBLEMS[name], "relu", use_bias=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("c_in", "c_out"),
    [(5, 3), (120, 84), (400, 120), (700, 300), (530, 523), (1030, 35), (35, 1030), (16, 2049)],
)
def test_few_rows_have_the_bits_of_many(isa: str, c_in: int, c_out: int, dtype: str) -> None:
    """Up to 128 rows read a kernel where it lies, more pack it: the chains are the same."""
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(s).astype(dtype) for s in ((136, c_in), (c_in, c_out)))
    bias = rng.standard_normal(c_out).astype(dtype)
    residual = rng.standard_normal((136, 1, 1, c_out)).astype(dtype)
    many = functional.dense(x, kernel, bias, activation="relu")
    dx = functional.dense_backward(many, x, kernel, needs=("x",)).dx
    assert dx is not None
    pixels, taps = x[:, None, None], kernel[None, None]
    more = functional.conv2d(pixels, taps, bias, residual=residual)
    for n in (1, 2, 5, 7, 16, 40):
        np.testing.assert_array_equal(
            functional.dense(x[:n], kernel, bias, activation="relu"), many[:n]
        )
        few = functional.conv2d(pixels[:n], taps, bias, residual=residual[:n])
        np.testing.assert_array_equal(few, more[:n])
        np.testing.assert_array_equal(
            functional.dense_backward(many[:n], x[:n], kernel, needs=("x",)).dx, dx[:n]
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("c_out", [16, 1024, 1040, 2064, 4096])
def test_kernels_that_begin_amid_a_line(isa: str, c_out: int, dtype: str) -> None:
    """As NumPy's large arrays do, by 16 bytes; whole numbers leave nothing to round."""
    rng = np.random.default_rng(0)
    x, kernel = (rng.integers(-8, 9, shape) for shape in ((9, 70), (70, c_out)))
    bias = rng.integers(-8, 9, c_out)
    expected = x @ kernel + bias
    for amid in range(0, 64, np.dtype(dtype).itemsize):
        moved = shifted(kernel.astype(dtype), amid)
        for n in (1, 5, 9):
            y = functional.dense(x[:n].astype(dtype), moved, bias.astype(dtype))
            np.testing.assert_array_equal(y, expected[:n])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("c_out", [700, 2050, 5000])
def test_few_rows_of_kernels_that_no_cache_keeps(isa: str, c_out: int, dtype: str) -> None:
    """Their rows are read some at a time and asked for in turn: the bits are those of more rows."""
    rng = np.random.default_rng(0)
    c_in = LARGE_BYTES // np.dtype(dtype).itemsize // c_out
    x = rng.standard_normal((17, c_in)).astype(dtype)
    kernel = rng.random((c_in, c_out), dtype)
    many = functional.dense(x, kernel)
    for n in (1, 2, 4, 5, 8):
        np.testing.assert_array_equal(functional.dense(x[:n], kernel), many[:n])


@given(
    problem=strategies.dense_problems(),
    activation=st.sampled_from(strategies.ACTIVATIONS),
    use_bias=st.booleans(),
)
def test_whole_numbers_are_exact(
    isa: str, problem: DenseProblem, activation: str | None, use_bias: bool
) -> None:
    """Every size, forward and backward, between NaNs and guard bytes."""
    check_whole_numbers(problem, activation, use_bias)


def check_whole_numbers(problem: DenseProblem, activation: str | None, use_bias: bool) -> None:
    """Compare forward and all gradients with the reference."""
    a = {k: guarded_input(v) for k, v in problem.draw_arrays(strategies.whole_numbers).items()}
    bias = a["bias"] if use_bias else None
    out = GuardedOutput((problem.n, problem.c_out), problem.dtype)
    y = functional.dense(a["x"], a["kernel"], bias, activation=activation, out=out.array)
    assert y is out.array
    expected = reference.dense(a["x"], a["kernel"], bias, activation=activation)
    np.testing.assert_array_equal(y, expected)
    out.assert_intact()
    grads = functional.dense_backward(a["dy"], a["x"], a["kernel"])
    right = reference.dense_backward(a["dy"], a["x"], a["kernel"])
    for name, grad, value in zip(grads._fields, grads, right, strict=True):
        assert grad.dtype == problem.dtype, name
        np.testing.assert_array_equal(grad, value, err_msg=name)


@given(problem=strategies.dense_problems())
def test_normal_numbers_are_close(isa: str, problem: DenseProblem) -> None:
    """Forward and backward within rounding of the reference."""
    a = problem.draw_arrays()
    sizes = {name: abs(values) for name, values in a.items()}
    y = functional.dense(a["x"], a["kernel"], a["bias"])
    expected = reference.dense(a["x"], a["kernel"], a["bias"])
    magnitude = reference.dense(sizes["x"], sizes["kernel"], sizes["bias"])
    assert_close(y, expected, magnitude, problem.c_in)
    grads = functional.dense_backward(a["dy"], a["x"], a["kernel"])
    right = reference.dense_backward(a["dy"], a["x"], a["kernel"])
    large = reference.dense_backward(sizes["dy"], sizes["x"], sizes["kernel"])
    terms = (problem.c_out, problem.n, problem.n)
    for grad, value, size, count in zip(grads, right, large, terms, strict=True):
        assert_close(grad, value, size, count)


def test_is_a_pointwise_convolution(isa: str) -> None:
    """Each row is a pixel: dense equals conv2d with a 1x1 kernel."""
    a = DenseProblem(6, 35, 17).draw_arrays(strategies.whole_numbers)
    image, kernel = a["x"].reshape(1, 2, 3, 35), a["kernel"].reshape(1, 1, 35, 17)
    y = functional.conv2d(image, kernel, algorithm="direct")
    np.testing.assert_array_equal(functional.dense(a["x"], a["kernel"]), y.reshape(6, 17))


def test_needs() -> None:
    """What is not asked for is None."""
    a = DenseProblem(3, 4, 5).draw_arrays()
    grads = functional.dense_backward(a["dy"], a["x"], a["kernel"], needs=("x",))
    assert grads.dx.shape == (3, 4)
    assert grads.dkernel is None
    assert grads.dbias is None


def test_nothing_in_or_out(isa: str) -> None:
    """No rows give no rows and zero gradients; no inputs give the bias."""
    empty = DenseProblem(0, 4, 5).draw_arrays()
    assert functional.dense(empty["x"], empty["kernel"], empty["bias"]).shape == (0, 5)
    grads = functional.dense_backward(empty["dy"], empty["x"], empty["kernel"])
    assert grads.dx.shape == (0, 4)
    np.testing.assert_array_equal(grads.dkernel, np.zeros((4, 5)))
    np.testing.assert_array_equal(grads.dbias, np.zeros(5))
    a = DenseProblem(3, 0, 5).draw_arrays()
    y = functional.dense(a["x"], a["kernel"], a["bias"])
    np.testing.assert_array_equal(y, np.broadcast_to(a["bias"], (3, 5)))


def test_nan_stays_in_its_row(isa: str) -> None:
    """A NaN in x reaches the outputs of its row alone, and relu keeps it."""
    a = DenseProblem(15, 33, 19).draw_arrays()
    before = functional.dense(a["x"], a["kernel"], activation="relu")
    a["x"][7, 3] = np.nan
    after = functional.dense(a["x"], a["kernel"], activation="relu")
    assert np.isnan(after[7]).all()
    others = np.arange(15) != 7
    np.testing.assert_array_equal(before[others], after[others])
