"""Input gradients of few channels by tiles along rows: every promise of all algorithms."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import strategies
from closeness import assert_close, assert_same_bits
from fastconv import functional
from guards import GuardedOutput, guarded_input
from strategies import Conv2DProblem, Draw
from test_winograd import ROUNDING, check_bits

Array = npt.NDArray[Any]

# n, h, w, c_in, c_out, kh, kw, strides, padding
LAYERS = {
    "resnet": Conv2DProblem(2, 64, 63, 3, 64, 7, 7, 2, 3),
    "alexnet": Conv2DProblem(1, 51, 121, 3, 33, 11, 11, 4, 2),
    "vgg": Conv2DProblem(1, 20, 112, 3, 64, 3, 3, 1, 1),
    "five channels": Conv2DProblem(2, 11, 57, 5, 40, 3, 3, 1, "same"),
    "more rows than are kept": Conv2DProblem(1, 150, 80, 3, 33, 7, 7, 2, 3),
    "no padding": Conv2DProblem(2, 30, 63, 3, 17, 7, 7, 2),
    "uneven padding": Conv2DProblem(2, 19, 62, 3, 20, 5, 8, 2, ((4, 1), (6, 0))),
    "columns that no tap reaches": Conv2DProblem(1, 40, 73, 3, 16, 7, 7, 2, ((0, 0), (1, 0))),
    "unlike strides": Conv2DProblem(1, 23, 160, 2, 40, 4, 9, (1, 3), (2, 3)),
    "one row of taps": Conv2DProblem(2, 5, 210, 5, 32, 1, 12, (1, 4), (0, 5)),
    "one output row": Conv2DProblem(3, 7, 131, 3, 35, 7, 7, 2),
    "planes whose rows are a run": Conv2DProblem(2, 18, 64, 3, 48, 3, 3, 1, 1),
    "lenet": Conv2DProblem(9, 14, 14, 6, 16, 5, 5, 1),
    "narrow": Conv2DProblem(5, 23, 27, 2, 33, 7, 7, 2, 3),
    "narrow and tall": Conv2DProblem(1, 400, 19, 3, 20, 5, 9, (1, 2), (2, 4)),
    "half of the lanes": Conv2DProblem(6, 12, 11, 5, 70, 5, 4, 1),
    "more channels than a chain": Conv2DProblem(1, 12, 50, 3, 130, 3, 3, 1, 1),
}


@st.composite
def gradients_along_rows(draw: Draw) -> Conv2DProblem:
    """Make a convolution of 3 to 5 taps a phase of its input gradient, from any rows of dy."""
    stride = draw(st.integers(1, 4))
    kw = draw(st.integers(2, 4)) * stride + draw(st.integers(1, stride))
    kh, c_in = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    down = draw(st.integers(1, min(kh, 3)))
    padding = tuple(tuple(draw(st.integers(0, size - 1)) for _ in range(2)) for size in (kh, kw))
    outputs = draw(st.integers(1, 10)), draw(st.integers(6, 70))
    sizes = [
        max((o - 1) * s + size - sum(pad) + draw(st.integers(0, s - 1)), 1)
        for o, s, size, pad in zip(outputs, (down, stride), (kh, kw), padding, strict=True)
    ]
    return Conv2DProblem(
        draw(st.integers(1, 3)),
        max(sizes[0], kh - sum(padding[0])),
        sizes[1],
        c_in,
        draw(st.sampled_from((16, 20, 32, 33, 70))),
        kh,
        kw,
        (down, stride),
        padding,
        data_format=draw(st.sampled_from(strategies.FORMATS)),
        dtype=draw(st.sampled_from(strategies.DTYPES)),
        seed=draw(st.integers(0, 2**16)),
    )


def dx_of(problem: Conv2DProblem, a: dict[str, Array], **words: Any) -> Array:
    """Return the input gradient alone."""
    words = {**problem.geometry, **words}
    dx: Array = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words, needs=("x",)).dx
    return dx


def check(problem: Conv2DProblem) -> None:
    """Compare dx with the reference, with NaN around what is read."""
    a = {name: guarded_input(array) for name, array in problem.draw_arrays().items()}
    words = problem.geometry
    expected = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **words).dx
    size = reference.conv2d_backward(abs(a["dy"]), abs(a["x"]), abs(a["kernel"]), **words).dx
    terms = problem.kh * problem.kw * problem.c_out
    assert_close(dx_of(problem, a), expected, ROUNDING[problem.dtype] * size, terms)


@settings(max_examples=settings().max_examples // 3)
@given(problem=gradients_along_rows())
def test_any_stride_and_padding_is_close(isa: str, problem: Conv2DProblem) -> None:
    """Phases with and without the last tap, rows that end within tiles, taps beyond the image."""
    check(problem)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_named_layers_are_close(isa: str, layer: str, dtype: str, data_format: str) -> None:
    """Sizes beyond each constant of the blocking."""
    check(dataclasses.replace(LAYERS[layer], dtype=dtype, data_format=data_format))


@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers_are_taken_along_rows(layer: str) -> None:
    """Direct sums are others, which can be asked for."""
    problem = LAYERS[layer]
    a = problem.draw_arrays()
    assert (dx_of(problem, a) != dx_of(problem, a, algorithm="direct")).any()


def results(problem: Conv2DProblem, a: dict[str, Array]) -> dict[str, Array]:
    """Return dx with the channels last."""
    last = (0, 1, 2, 3) if problem.data_format == "channels_last" else (0, 2, 3, 1)
    return {"dx": dx_of(problem, a).transpose(last)}


@settings(max_examples=settings().max_examples // 3)
@given(problem=gradients_along_rows())
def test_same_bits(problem: Conv2DProblem) -> None:
    """On every instruction set that fuses, any thread count, both layouts, alone or in company."""
    check_bits(problem, results)


@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers_have_the_same_bits(layer: str) -> None:
    """Blocks of rows, of several workers and of one."""
    check_bits(LAYERS[layer], results)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", ["resnet", "vgg", "lenet", "unlike strides"])
def test_values_that_are_not_finite_stay_in_their_field(
    isa: str, layer: str, value: float, data_format: str
) -> None:
    """A NaN in dy reaches the pixels that it comes from, and all other rows keep their bits."""
    problem = dataclasses.replace(LAYERS[layer], data_format=data_format)
    a, words = problem.draw_arrays(), problem.geometry
    before = dx_of(problem, a)
    axes = (0, 1, 2, 3) if data_format == "channels_last" else (0, 2, 3, 1)
    dy, ones = a["dy"].copy(), np.zeros(a["dy"].shape)
    _, rows, columns, _ = dy.transpose(axes).shape
    for row, column in ((0, 0), (rows // 2, columns - 1), (rows - 1, columns // 2)):
        dy.transpose(axes)[-1, row, column, 5] = value
        ones.transpose(axes)[-1, row, column, 5] = 1
        field = reference.conv2d_backward(ones, a["x"], np.ones(a["kernel"].shape), **words).dx > 0
        got = dx_of(problem, {**a, "dy": dy})
        np.testing.assert_array_equal(np.isfinite(got), ~field)
        other = ~field.transpose(axes).any(axis=(2, 3))
        assert_same_bits(got.transpose(axes)[other], before.transpose(axes)[other])


def test_rows_that_overflow_are_computed_again(isa: str) -> None:
    """Where a value at a point overflows and no sum does, the result is finite and right."""
    problem = LAYERS["vgg"]
    a = problem.draw_arrays()
    a["kernel"][...] = 1 / 4096
    a["dy"][0, 9] = 2e38
    a["dy"][0, 9, ::2] *= -1
    dx = dx_of(problem, a)
    assert np.isfinite(dx).all()
    assert_same_bits(dx[0, 8:11], dx_of(problem, a, algorithm="direct")[0, 8:11])


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_transposed_convolutions_have_a_bias(isa: str, dtype: str, data_format: str) -> None:
    """What upsamples to few channels is an input gradient with a bias, in guarded memory."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 9, 35, 20) if data_format == "channels_last" else (2, 20, 9, 35))
    x, words = x.astype(dtype), {"strides": 2, "padding": "same", "data_format": data_format}
    kernel, bias = (rng.standard_normal(s).astype(dtype) for s in ((7, 7, 3, 20), (3,)))
    expected = reference.conv2d_transpose(x, kernel, bias, **words)
    out = GuardedOutput(expected.shape, dtype)
    functional.conv2d_transpose(guarded_input(x), kernel, bias, **words, out=out.array)
    out.assert_intact()
    size = reference.conv2d_transpose(abs(x), abs(kernel), abs(bias), **words)
    assert_close(out.array, expected, ROUNDING[dtype] * size, 7 * 7 * 20)
