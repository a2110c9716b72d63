"""algorithm="winograd" along rows, for few input channels: near the reference, the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import strategies
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional, threads
from strategies import Conv2DProblem, Draw
from test_winograd import WINOGRAD, check, check_bits, with_fields

# Columns of taps, strides, and the most channels of each.
KERNELS = (
    (3, 1, 8),
    (4, 1, 8),
    (5, 1, 8),
    (5, 2, 8),
    (6, 2, 8),
    (7, 2, 8),
    (8, 2, 8),
    (9, 3, 5),
    (11, 4, 4),
)


@st.composite
def few_channel_problems(draw: Draw) -> Conv2DProblem:
    """Make a convolution that tiles along rows can compute, rows of 15 outputs and more."""
    kw, stride, most = draw(st.sampled_from(KERNELS))
    c_in = draw(st.integers(1, most))
    least = -(-8 // (stride * c_in))
    kh = draw(st.integers(least, max(least, 7)))
    stride_h = draw(st.integers(1, 3))
    problem = Conv2DProblem(
        n=draw(st.integers(1, 3)),
        h=kh + draw(st.integers(0, 9 * stride_h)),
        w=kw + stride * 15 + draw(st.integers(0, 25 * stride)),
        c_in=c_in,
        c_out=draw(st.sampled_from((14, 16, 28, 32, 48))),
        kh=kh,
        kw=kw,
        strides=(stride_h, stride),
        padding=draw(strategies.spelled_paddings((4, 4))),
        data_format=draw(st.sampled_from(strategies.FORMATS)),
        dtype=draw(st.sampled_from(strategies.DTYPES)),
        seed=draw(st.integers(0, 2**16)),
    )
    mode = draw(st.sampled_from(strategies.fitting_padding_modes(*problem.axes())))
    value = draw(st.sampled_from((0.0, -2.5))) if mode == "constant" else 0.0
    return with_fields(problem, padding_mode=mode, padding_value=value)


LAYERS = {
    "vgg": Conv2DProblem(2, 40, 57, 3, 64, 3, 3, 1, 1),
    "resnet": Conv2DProblem(2, 57, 64, 3, 64, 7, 7, 2, 3),
    "alexnet": Conv2DProblem(1, 63, 63, 3, 96, 11, 11, 4, 2),
    "lenet's second": Conv2DProblem(9, 14, 14, 6, 16, 5, 5),
    "more columns than a block": Conv2DProblem(2, 5, 1030, 4, 16, 3, 3, 1, 1),
    "a block that ends with one column": Conv2DProblem(1, 4, 513, 3, 16, 3, 3, 1, 1),
    "more rows than a block": Conv2DProblem(1, 300, 40, 8, 16, 3, 3, 1, 1),
    "one tile a row": Conv2DProblem(3, 9, 6, 4, 16, 3, 3),
    "a row of taps": Conv2DProblem(2, 9, 31, 8, 32, 1, 5, 1, "same"),
    "rows apart": Conv2DProblem(2, 23, 40, 2, 28, 4, 7, (3, 2), 2),
    "taps in padding alone": Conv2DProblem(1, 3, 20, 4, 16, 5, 5, 1, 9),
}


@settings(max_examples=settings().max_examples // 3)
@given(problem=few_channel_problems(), activation=st.sampled_from((None, "relu", "relu6")))
def test_every_form_is_close(isa: str, problem: Conv2DProblem, activation: str | None) -> None:
    """Every form, stride, padding mode, layout and epilogue, with NaN around the inputs."""
    check(problem, activation)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_named_layers_are_close(isa: str, layer: str, data_format: str, dtype: str) -> None:
    """Sizes beyond each constant of the blocking."""
    check(with_fields(LAYERS[layer], data_format=data_format, dtype=dtype))


@settings(max_examples=settings().max_examples // 3)
@given(problem=few_channel_problems())
def test_same_bits(problem: Conv2DProblem) -> None:
    """On every instruction set that fuses, any thread count, both layouts, alone or in company."""
    check_bits(problem)


@pytest.mark.parametrize("columns", [510, 513, 514, 515, 516, 1025])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_blocks_of_a_row_do_not_race(columns: int, data_format: str) -> None:
    """Outputs that two tiles make have the bits of the later one, whichever thread is first."""
    problem = Conv2DProblem(2, 12, columns + 2, 3, 16, 3, 3, data_format=data_format)
    words, a = {**problem.geometry, **WINOGRAD}, problem.draw_arrays()
    with threads(1):
        expected = functional.conv2d(a["x"], a["kernel"], **words)
    for n in (2, 3, 4) * 5:
        with threads(n), _core.forced_worker_share(1):
            assert_same_bits(functional.conv2d(a["x"], a["kernel"], **words), expected, f"{n}")


@pytest.mark.parametrize("layer", LAYERS)
def test_it_is_what_auto_takes(layer: str) -> None:
    """Called and packed; direct sums have other bits."""
    problem = LAYERS[layer]
    words, a = problem.geometry, problem.draw_arrays()
    y = functional.conv2d(a["x"], a["kernel"], **words)
    packed = functional.pack_kernel(a["kernel"], (problem.h, problem.w), **words)
    assert_same_bits(functional.conv2d(a["x"], packed, **words), y)
    assert_same_bits(functional.conv2d(a["x"], a["kernel"], **words, **WINOGRAD), y)
    assert not np.array_equal(
        y, functional.conv2d(a["x"], a["kernel"], **words, algorithm="direct")
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(("size", "strides"), [(3, 1), (7, 2), (5, 1)])
def test_non_finite_values_stay_in_their_field(
    isa: str, value: float, data_format: str, size: int, strides: int
) -> None:
    """They reach the outputs that read them; rows that do not read them keep their bits."""
    problem = Conv2DProblem(2, 40, 41, 3, 16, size, size, strides, 1, data_format=data_format)
    words, a = problem.geometry, problem.draw_arrays()
    for h, w in ((0, 0), (7, 8), (39, 40), (20, 1)):
        x, ones = a["x"].copy(), np.zeros(a["x"].shape)
        at = {"channels_last": (1, h, w, 2), "channels_first": (1, 2, h, w)}[data_format]
        before = functional.conv2d(x, a["kernel"], **words)
        x[at], ones[at] = value, 1
        reached = reference.conv2d(ones, np.ones(a["kernel"].shape), **words) > 0
        y = functional.conv2d(x, a["kernel"], **words)
        np.testing.assert_array_equal(np.isfinite(y), ~reached)
        columns = {"channels_last": (2, 3), "channels_first": (1, 3)}[data_format]
        apart = ~np.broadcast_to(reached.any(axis=columns, keepdims=True), y.shape)
        assert_same_bits(y[apart], before[apart])


def test_a_tile_that_overflows_is_computed_again(isa: str) -> None:
    """Where sums of tiles overflow and those of outputs do not, the result is finite and right."""
    x = np.full((1, 8, 16, 3), 2e38, np.float32)
    x[:, :, ::2] *= -1
    kernel = np.full((3, 3, 3, 16), 1 / 64, np.float32)
    words: dict[str, Any] = {"padding": 1}
    y = functional.conv2d(x, kernel, **words, **WINOGRAD)
    assert_same_bits(y, functional.conv2d(x, kernel, **words, algorithm="direct"))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_large_results_have_the_bits_of_unaligned_ones(isa: str, data_format: str) -> None:
    """Stores past the caches, where lines are whole, and beside them where they are not."""
    rng = np.random.default_rng(0)
    order = {"channels_last": (0, 1, 2, 3), "channels_first": (0, 3, 1, 2)}[data_format]
    x = rng.standard_normal((1, 176, 192, 3)).astype(np.float32).transpose(order)
    kernel = rng.standard_normal((3, 3, 3, 80)).astype(np.float32)
    words: dict[str, Any] = {"padding": 1, "data_format": data_format}
    large = functional.conv2d(x, kernel, **words)
    room = np.empty(large.size + 1, np.float32)
    beside = functional.conv2d(x, kernel, **words, out=room[1:].reshape(large.shape))
    assert_same_bits(large, beside)
