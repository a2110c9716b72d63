"""Kernel gradients of few channels by tiles along rows: every promise of all algorithms."""

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
from guards import guarded_input
from strategies import Conv2DProblem, Draw
from test_winograd import ROUNDING, check_bits

Array = npt.NDArray[Any]

# n, h, w, c_in, c_out, kh, kw, strides, padding
LAYERS = {
    "lenet": Conv2DProblem(50, 14, 14, 6, 16, 5, 5, 1),
    "resnet": Conv2DProblem(2, 64, 64, 3, 64, 7, 7, 2, 3),
    "alexnet": Conv2DProblem(1, 63, 63, 3, 64, 11, 11, 4, 2),
    "vgg": Conv2DProblem(3, 40, 40, 3, 64, 3, 3, 1, 1),
    "more columns than a block": Conv2DProblem(1, 7, 1200, 4, 32, 3, 3, 1, 1),
    "lanes for nothing": Conv2DProblem(2, 13, 20, 5, 61, 3, 4, 1, 1),
    "uneven padding": Conv2DProblem(2, 19, 40, 3, 32, 5, 8, 2, ((4, 1), (6, 0))),
    "columns that no tap reads": Conv2DProblem(2, 28, 35, 3, 48, 5, 9, (3, 2)),
    "unlike strides": Conv2DProblem(1, 23, 130, 2, 80, 4, 9, (1, 3), (2, 3)),
    "taller than wide": Conv2DProblem(1, 90, 8, 8, 16, 3, 5, 1, "same"),
}


@st.composite
def gradients_along_rows(draw: Draw) -> Conv2DProblem:
    """Make a convolution of few channels with 3 to 5 taps a phase."""
    stride = draw(st.integers(1, 4))
    kw = draw(st.integers(2, 4)) * stride + draw(st.integers(1, stride))
    kh, c_in = draw(st.integers(1, 7)), draw(st.integers(1, min(8, 16 // stride)))
    down = draw(st.integers(1, 3))
    padding = tuple(tuple(draw(st.integers(0, size)) for _ in range(2)) for size in (kh, kw))
    outputs = draw(st.integers(1, 12)), draw(st.integers(7, 40))
    sizes = [
        max((o - 1) * s + size - sum(pad) + draw(st.integers(0, s - 1)), size - sum(pad), 1)
        for o, s, size, pad in zip(outputs, (down, stride), (kh, kw), padding, strict=True)
    ]
    return Conv2DProblem(
        draw(st.integers(1, 40)) if outputs[0] < 4 else draw(st.integers(1, 3)),
        sizes[0],
        sizes[1],
        c_in,
        draw(st.sampled_from((16, 24, 30, 32, 64))),
        kh,
        kw,
        (down, stride),
        padding,
        data_format=draw(st.sampled_from(strategies.FORMATS)),
        dtype=draw(st.sampled_from(strategies.DTYPES)),
        seed=draw(st.integers(0, 2**16)),
    )


def gradients(problem: Conv2DProblem, a: dict[str, Array], **words: Any) -> tuple[Array, Array]:
    """Return the gradients of the kernel and of the bias."""
    words = {**problem.geometry, **words, "needs": ("kernel", "bias")}
    got = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    assert got.dx is None
    return got.dkernel, got.dbias


def check(problem: Conv2DProblem) -> None:
    """Compare dkernel and dbias with the reference, with NaN around what is read."""
    a = {name: guarded_input(array) for name, array in problem.draw_arrays().items()}
    words = problem.geometry
    expected = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    size = reference.conv2d_backward(abs(a["dy"]), abs(a["x"]), abs(a["kernel"]), **words)
    dkernel, dbias = gradients(problem, a)
    terms = a["dy"].size // problem.c_out
    assert_close(dkernel, expected.dkernel, ROUNDING[problem.dtype] * size.dkernel, terms)
    assert_close(dbias, expected.dbias, size.dbias, terms)


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
    assert (gradients(problem, a)[0] != gradients(problem, a, algorithm="direct")[0]).any()


def results(problem: Conv2DProblem, a: dict[str, Array]) -> dict[str, Array]:
    """Return both by name."""
    return dict(zip(("dkernel", "dbias"), gradients(problem, a), strict=True))


@settings(max_examples=settings().max_examples // 3)
@given(problem=gradients_along_rows())
def test_same_bits(problem: Conv2DProblem) -> None:
    """On every instruction set that fuses, any thread count, both layouts."""
    check_bits(problem, results)


@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers_have_the_same_bits(layer: str) -> None:
    """Blocks of images, of rows, and of columns."""
    check_bits(LAYERS[layer], results)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["x", "dy"])
@pytest.mark.parametrize("layer", ["lenet", "resnet", "columns that no tap reads"])
def test_values_that_are_not_finite_reach_the_taps_that_read_them(
    isa: str, layer: str, name: str, value: float
) -> None:
    """And no others: amid the image, and in the corners of x (padding beside dy is unspecified)."""
    problem = LAYERS[layer]
    a, words = problem.draw_arrays(), problem.geometry
    for at in ((0, 0, 0, 1), (-1, -1, -1, 1)) * (name == "x") + ((-1, 2, 6, 1),):
        some = {**a, name: a[name].copy()}
        some[name][at] = value
        with np.errstate(invalid="ignore"):
            right = reference.conv2d_backward(some["dy"], some["x"], some["kernel"], **words)
        got = gradients(problem, some)[0]
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(right.dkernel))


def test_sums_that_overflow_are_made_again(isa: str) -> None:
    """Where a value at a point overflows and no sum does, the result is finite and right."""
    problem = LAYERS["vgg"]
    a = problem.draw_arrays()
    a["x"][...] = 1 / 4096
    a["dy"][0, 9] = 2e38
    a["dy"][0, 9, ::2] *= -1
    dkernel = gradients(problem, a)[0]
    assert np.isfinite(dkernel).all()
    assert_same_bits(dkernel, gradients(problem, a, algorithm="direct")[0])
