"""conv2d_transpose and its backward: sizes, the reference, the convolution it transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
import strategies
from closeness import assert_close
from fastconv import functional
from guards import GuardedOutput, guarded_input
from strategies import TransposeProblem

Array = npt.NDArray[Any]

LAYERS = {
    "dcgan 4x4 stride 2": TransposeProblem(2, 8, 8, 64, 32, 4, 4, 2, "same"),
    "dcgan last": TransposeProblem(1, 16, 16, 24, 3, 5, 5, 2, "same"),
    "unet 2x2 stride 2": TransposeProblem(1, 14, 14, 64, 32, 2, 2, 2),
    "pytorch doubling": TransposeProblem(1, 9, 9, 20, 12, 3, 3, 2, 1, output_padding=1),
    "stride 3": TransposeProblem(1, 7, 8, 17, 9, 5, 4, 3, 2),
    "depthwise": TransposeProblem(1, 7, 8, 33, 33, 3, 3, 2, "same", 1, 33),
    "depthwise, large planes": TransposeProblem(1, 130, 131, 11, 11, 3, 3, 2, "same", 1, 11),
    "groups": TransposeProblem(2, 5, 5, 32, 16, 3, 3, 1, "same", 1, 4),
    "dilated": TransposeProblem(1, 6, 5, 16, 16, 3, 3, 2, 1, 3, output_padding=(1, 2)),
    "one pixel": TransposeProblem(3, 1, 1, 100, 64, 4, 4),
    "crop beyond the kernel": TransposeProblem(1, 9, 9, 4, 5, 2, 2, 1, (3, 2)),
}


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers_are_exact(isa: str, layer: str, data_format: str, dtype: str) -> None:
    """Whole numbers leave nothing to round: direct convolution gives them exactly."""
    fields = {**LAYERS[layer].__dict__, "data_format": data_format, "dtype": dtype}
    check_whole_numbers(TransposeProblem(**fields), use_bias=True)


@given(problem=strategies.transpose_problems(), use_bias=st.booleans())
def test_whole_numbers_are_exact(isa: str, problem: TransposeProblem, use_bias: bool) -> None:
    """Every geometry, forward and backward, between NaNs and guard bytes."""
    check_whole_numbers(problem, use_bias)


def check_whole_numbers(problem: TransposeProblem, use_bias: bool) -> None:
    """Compare forward and all gradients with the reference."""
    a = {k: guarded_input(v) for k, v in problem.draw_arrays(strategies.whole_numbers).items()}
    bias = a["bias"] if use_bias else None
    words = {**problem.geometry, "algorithm": "direct"}
    out = GuardedOutput(problem.y_shape, problem.dtype)
    y = functional.conv2d_transpose(a["x"], a["kernel"], bias, out=out.array, **words)
    assert y is out.array
    expected = reference.conv2d_transpose(a["x"], a["kernel"], bias, **problem.geometry)
    np.testing.assert_array_equal(y, expected)
    out.assert_intact()
    grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **words)
    right = reference.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    for name, grad, value in zip(grads._fields, grads, right, strict=True):
        assert grad.dtype == problem.dtype, name
        np.testing.assert_array_equal(grad, value, err_msg=name)


@given(problem=strategies.transpose_problems())
def test_normal_numbers_are_close(isa: str, problem: TransposeProblem) -> None:
    """Whatever algorithm "auto" takes stays within rounding, forward and backward."""
    a = problem.draw_arrays()
    sizes = {name: abs(values) for name, values in a.items()}
    words = problem.geometry
    y = functional.conv2d_transpose(a["x"], a["kernel"], a["bias"], **words)
    expected = reference.conv2d_transpose(a["x"], a["kernel"], a["bias"], **words)
    magnitude = reference.conv2d_transpose(sizes["x"], sizes["kernel"], sizes["bias"], **words)
    assert_close(y, expected, magnitude, problem.terms)
    grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **words)
    right = reference.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **words)
    large = reference.conv2d_transpose_backward(sizes["dy"], sizes["x"], sizes["kernel"], **words)
    terms = (
        problem.kh * problem.kw * problem.c_out,
        a["x"].size // problem.c_in,
        a["dy"].size // problem.c_out,
    )
    for grad, value, size, count in zip(grads, right, large, terms, strict=True):
        assert_close(grad, value, size, count)


# Keras's sizes for "valid" and "same", PyTorch's and ONNX's for numbers: h, k, s, d, padding,
# output_padding, and the size of the result.
SIZES = [
    (5, 3, 1, 1, "valid", None, 7),
    (5, 3, 2, 1, "valid", None, 11),
    (5, 2, 3, 1, "valid", None, 15),
    (5, 3, 2, 2, "valid", None, 13),
    (5, 3, 1, 1, "same", None, 5),
    (5, 3, 2, 1, "same", None, 10),
    (5, 2, 3, 1, "same_lower", None, 15),
    (5, 3, 2, 1, "same", 0, 9),
    (5, 3, 2, 1, "same", 1, 10),
    (5, 4, 2, 1, "same", 1, 9),
    (5, 3, 2, 1, "valid", 0, 11),
    (5, 3, 2, 1, "valid", 1, 12),
    (5, 3, 2, 1, 1, None, 9),
    (5, 3, 2, 1, 1, 1, 10),
    (5, 3, 2, 3, 2, 2, 13),
    (5, 4, 2, 1, 1, None, 10),
    (1, 4, 1, 1, 0, None, 4),
]


@pytest.mark.parametrize(("h", "k", "s", "d", "padding", "output_padding", "expected"), SIZES)
def test_output_size(
    h: int, k: int, s: int, d: int, padding: Any, output_padding: int | None, expected: int
) -> None:
    """The size of the result, in numbers worked out by hand from the published formulas."""
    x, kernel = np.ones((1, h, h, 2), np.float32), np.ones((k, k, 3, 2), np.float32)
    y = functional.conv2d_transpose(
        x, kernel, strides=s, dilation_rate=d, padding=padding, output_padding=output_padding
    )
    assert y.shape == (1, expected, expected, 3)


@pytest.mark.parametrize("padding", ["valid", "same", "same_lower", 1, ((0, 1), (2, 0))])
@pytest.mark.parametrize("strides", [1, 2, (1, 3)])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_is_the_input_gradient_of_conv2d(
    isa: str, padding: Any, strides: Any, data_format: str
) -> None:
    """At its own output size, conv2d_transpose(x) is conv2d_backward's dx of dy = x, exactly."""
    problem = TransposeProblem(
        2, 5, 6, 8, 12, 3, 4, strides, padding, 1, 2, data_format=data_format, dtype="float64"
    )
    a = problem.draw_arrays(strategies.whole_numbers)
    words = problem.geometry
    y = functional.conv2d_transpose(a["x"], a["kernel"], algorithm="direct", **words)
    del words["output_padding"]
    grads = functional.conv2d_backward(
        a["x"], np.zeros_like(y), a["kernel"], algorithm="direct", needs=("x",), **words
    )
    np.testing.assert_array_equal(y, grads.dx)


@given(problem=strategies.transpose_problems())
def test_adjoint_identity(isa: str, problem: TransposeProblem) -> None:
    """<conv2d_transpose(x, kernel), dy> = <x, dx> = <kernel, dkernel>: exact sums, so equality."""
    problem = TransposeProblem(**{**problem.__dict__, "dtype": "float64"})
    a = problem.draw_arrays(strategies.whole_numbers)
    words = {**problem.geometry, "algorithm": "direct"}
    y = functional.conv2d_transpose(a["x"], a["kernel"], **words)
    grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **words)
    product = np.vdot(y, a["dy"])
    assert product == np.vdot(a["x"], grads.dx)
    assert product == np.vdot(a["kernel"], grads.dkernel)


def test_needs() -> None:
    """What is not asked for is None."""
    a = TransposeProblem(1, 4, 4, 3, 5, 3, 3).draw_arrays()
    grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], needs=("kernel",))
    assert grads.dx is None
    assert grads.dkernel.shape == (3, 3, 5, 3)
    assert grads.dbias is None


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_empty_batch(isa: str, data_format: str) -> None:
    """No images give no images, and gradients of zero."""
    problem = TransposeProblem(0, 4, 5, 3, 6, 3, 3, 2, "same", data_format=data_format)
    a = problem.draw_arrays()
    y = functional.conv2d_transpose(a["x"], a["kernel"], a["bias"], **problem.geometry)
    assert y.shape == problem.y_shape
    grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    assert grads.dx.shape == problem.x_shape
    np.testing.assert_array_equal(grads.dkernel, np.zeros(problem.kernel_shape))
    np.testing.assert_array_equal(grads.dbias, np.zeros(6))


def test_no_input_channels(isa: str) -> None:
    """An empty sum is zero: the bias alone."""
    a = TransposeProblem(1, 4, 5, 0, 6, 3, 3).draw_arrays()
    y = functional.conv2d_transpose(a["x"], a["kernel"], a["bias"])
    np.testing.assert_array_equal(y, np.broadcast_to(a["bias"], (1, 6, 7, 6)))


def test_products_of_large_strides_and_dilations() -> None:
    """No size is computed from stride times dilation, here 2**64 and less than a stride more."""
    stride, dilation = 76828693, 240102276291
    x, kernel, bias = np.ones((1, 1, 2, 3)), np.ones((1, 2, 4, 3)), np.arange(4.0)
    words = {"strides": (stride, 1), "dilation_rate": (dilation, 1)}
    padding, output_padding = ((stride - 1, 0), (0, 0)), (stride + 2, 0)
    y = functional.conv2d_transpose(
        x, kernel, bias, padding=padding, output_padding=output_padding, **words
    )
    assert y.shape == (1, 4, 3, 4)  # rows stride - 1 to stride + 2, which no tap reaches
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))
