"""conv2d_backward against the reference, against differences of conv2d, and as its adjoint."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

import reference
import strategies
from closeness import assert_close, assert_same_bits
from conv2d_layers import LAYERS
from fastconv import functional
from guards import guarded_input
from strategies import Conv2DProblem

Array = npt.NDArray[Any]

ALL = ("x", "kernel", "bias")


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers_are_exact(isa: str, layer: str, data_format: str, dtype: str) -> None:
    """Whole numbers leave nothing to round: direct convolution gives them exactly."""
    fields = {**LAYERS[layer].__dict__, "data_format": data_format, "dtype": dtype}
    check_whole_numbers(Conv2DProblem(**fields))


@given(problem=strategies.conv2d_problems())
def test_whole_numbers_are_exact(isa: str, problem: Conv2DProblem) -> None:
    """Every geometry, padding modes and the padding value's share of dkernel included."""
    check_whole_numbers(problem)


def check_whole_numbers(problem: Conv2DProblem) -> None:
    """Compare all three gradients, of inputs with NaN beside them, with the reference."""
    a = problem.draw_arrays(strategies.whole_numbers)
    dy, x, kernel = (guarded_input(a[name]) for name in ("dy", "x", "kernel"))
    grads = functional.conv2d_backward(dy, x, kernel, algorithm="direct", **problem.geometry)
    expected = reference.conv2d_backward(dy, x, kernel, **problem.geometry)
    assert grads._fields == ("dx", "dkernel", "dbias")
    for name, grad, right in zip(grads._fields, grads, expected, strict=True):
        assert grad.dtype == problem.dtype, name
        np.testing.assert_array_equal(grad, right, err_msg=name)


@given(problem=strategies.conv2d_problems())
def test_normal_numbers_are_close(isa: str, problem: Conv2DProblem) -> None:
    """Whatever algorithm "auto" takes stays within rounding of the reference."""
    a = problem.draw_arrays()
    words = problem.geometry
    grads = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    expected = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    words["padding_value"] = abs(problem.padding_value)
    sizes = reference.conv2d_backward(abs(a["dy"]), abs(a["x"]), abs(a["kernel"]), **words)
    pixels = a["dy"].size // problem.c_out
    assert_close(grads.dx, expected.dx, sizes.dx, problem.kh * problem.kw * problem.c_out)
    assert_close(grads.dkernel, expected.dkernel, sizes.dkernel, pixels)
    assert_close(grads.dbias, expected.dbias, sizes.dbias, pixels)


@given(problem=strategies.conv2d_problems())
def test_adjoint_identity(isa: str, problem: Conv2DProblem) -> None:
    """<conv2d(x, kernel), dy> = <x, dx> = <kernel, dkernel>: exact sums, so equality."""
    fields = {**problem.__dict__, "padding_value": 0.0, "dtype": "float64"}
    problem = Conv2DProblem(**fields)
    a = problem.draw_arrays(strategies.whole_numbers)
    words = {**problem.geometry, "algorithm": "direct"}
    y = functional.conv2d(a["x"], a["kernel"], **words)
    grads = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    product = np.vdot(y, a["dy"])
    assert product == np.vdot(a["x"], grads.dx)
    assert product == np.vdot(a["kernel"], grads.dkernel)


@pytest.mark.parametrize(
    "problem",
    [
        Conv2DProblem(2, 5, 6, 3, 4, 3, 2, (2, 1), "same", dtype="float64"),
        Conv2DProblem(
            *(1, 6, 5, 4, 6, 2, 3, 1, 2, (2, 1), 2),
            data_format="channels_first",
            padding_mode="reflect",
            dtype="float64",
        ),
        Conv2DProblem(1, 4, 4, 5, 5, 3, 3, 1, 1, 1, 5, padding_mode="wrap", dtype="float64"),
        Conv2DProblem(1, 3, 4, 2, 3, 3, 3, 1, 1, padding_value=0.5, dtype="float64"),
    ],
    ids=["strided", "grouped reflect", "depthwise wrap", "padding value"],
)
def test_differences(isa: str, problem: Conv2DProblem) -> None:
    """Loss <conv2d(x, kernel, bias), dy> is linear in each: differences are exact to rounding."""
    a = problem.draw_arrays()
    grads = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)

    def loss(name: str, value: Array) -> float:
        given = {key: a[key] for key in ALL} | {name: value}
        return float(np.vdot(functional.conv2d(**given, **problem.geometry), a["dy"]))

    for name, grad in zip(ALL, grads, strict=True):
        expected = differences(lambda v, name=name: loss(name, v), a[name])  # type: ignore[misc]
        np.testing.assert_allclose(grad, expected, atol=1e-10, err_msg=name)


def differences(loss: Callable[[Array], float], at: Array) -> Array:
    """Return the central differences, by steps of one, of a linear function."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += 1
        down[place] -= 1
        gradient[place] = (loss(up) - loss(down)) / 2
    return gradient


@pytest.mark.parametrize("needs", [c for r in range(4) for c in itertools.combinations(ALL, r)])
def test_needs(isa: str, needs: tuple[str, ...]) -> None:
    """What is asked for has the bits of a call that asks for all; the rest is None."""
    a = Conv2DProblem(2, 7, 6, 5, 19, 3, 3, 2, 1).draw_arrays()
    words: dict[str, Any] = {"strides": 2, "padding": 1}
    every = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    some = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], needs=needs, **words)
    for name, one, other in zip(ALL, some, every, strict=True):
        if name in needs:
            assert_same_bits(one, other, name)
        else:
            assert one is None


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_empty_batch(isa: str, data_format: str) -> None:
    """No images give an empty dx, and gradients of zero for what they share."""
    problem = Conv2DProblem(0, 7, 6, 3, 4, 3, 3, data_format=data_format)
    a = problem.draw_arrays()
    grads = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    assert grads.dx.shape == problem.x_shape
    np.testing.assert_array_equal(grads.dkernel, np.zeros(problem.kernel_shape))
    np.testing.assert_array_equal(grads.dbias, np.zeros(4))


def test_many_rows_without_columns() -> None:
    """An empty image takes no time, however many rows it has."""
    x, kernel, dy = np.ones((1, 2**40, 0, 2)), np.ones((1, 1, 2, 1)), np.ones((1, 1, 2, 1))
    words = {"strides": (2**40, 1), "padding": ((0, 0), (1, 1))}
    grads = functional.conv2d_backward(dy, x, kernel, **words)
    assert grads.dx.shape == x.shape
    np.testing.assert_array_equal(grads.dkernel, np.zeros(kernel.shape))


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_no_input_channels(isa: str, data_format: str) -> None:
    """The bias still has a gradient; the others are empty."""
    problem = Conv2DProblem(2, 5, 6, 0, 4, 3, 3, data_format=data_format)
    a = problem.draw_arrays(strategies.whole_numbers)
    grads = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    assert grads.dx.shape == problem.x_shape
    assert grads.dkernel.shape == problem.kernel_shape
    axes = (0, 1, 2) if data_format == "channels_last" else (0, 2, 3)
    np.testing.assert_array_equal(grads.dbias, a["dy"].sum(axis=axes))


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_rows_of_padding_that_scratch_holds_in_parts(mode: str, data_format: str) -> None:
    """Rows of padding of 1.2 times what is computed at once: a strip and a part of one."""
    words = {"padding_mode": mode, "data_format": data_format}
    problem = Conv2DProblem(2, 4, 1201, 260, 2, 3, 4, (1, 2), ((2, 1), (1, 2)), **words)
    a = problem.draw_arrays(strategies.whole_numbers)
    geometry = {**problem.geometry, "algorithm": "direct"}
    dx = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], needs=("x",), **geometry).dx
    expected = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry).dx
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("axis", [0, 1])
def test_outputs_that_lie_far_apart_in_padding(axis: int, data_format: str) -> None:
    """Padding that no output reads takes no time, were it 2^27 pixels."""

    def gradient(step: int) -> tuple[Array, Conv2DProblem, dict[str, Array]]:
        strides, padding = [2, 2], [(1, 2), (1, 2)]
        strides[axis], padding[axis] = step, (step, step)
        problem = Conv2DProblem(
            *(2, 4, 5, 3, 2, 3, 2, tuple(strides), tuple(padding)),
            data_format=data_format,
            padding_mode="edge",
        )
        a = problem.draw_arrays(strategies.whole_numbers)
        dx = functional.conv2d_backward(
            a["dy"], a["x"], a["kernel"], needs=("x",), **problem.geometry
        ).dx
        return dx, problem, a

    dx, problem, a = gradient(1100)
    expected = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry).dx
    np.testing.assert_array_equal(dx, expected)
    np.testing.assert_array_equal(gradient(2**26)[0], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_values_stay_in_their_field(isa: str, value: float) -> None:
    """A NaN in dy changes the dx and dkernel that it takes part in, and no bit of others.

    Unless they are computed again without a fast algorithm: then theirs are the bits of "direct".
    """
    problem = Conv2DProblem(2, 12, 13, 20, 18, 3, 3, 1, 1)
    a = problem.draw_arrays()
    before = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    a["dy"][1, 5, 6, 2] = value
    after = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    direct = functional.conv2d_backward(
        a["dy"], a["x"], a["kernel"], **problem.geometry, algorithm="direct"
    )
    dx, dkernel = (
        np.where(new == old, old, again)
        for new, old, again in zip(after[:2], before[:2], direct[:2], strict=True)
    )
    assert_same_bits(after.dx[0], before.dx[0], "another image of the batch")
    reached = np.zeros(problem.x_shape, bool)
    reached[1, 4:7, 5:8] = True
    assert not np.isfinite(after.dx[reached]).any()
    assert_same_bits(dx[~reached], after.dx[~reached], "dx")
    assert not np.isfinite(after.dkernel[..., 2]).any()
    others = np.arange(18) != 2
    assert_same_bits(dkernel[..., others], after.dkernel[..., others], "dkernel")
    assert not np.isfinite(after.dbias[2])
    assert_same_bits(before.dbias[others], after.dbias[others], "dbias")
