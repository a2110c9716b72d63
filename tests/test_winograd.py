"""algorithm="winograd": every form against the reference, with the promises of all algorithms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import strategies
from closeness import assert_close, assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional, threads
from guards import GuardedOutput, guarded_input
from strategies import Conv2DProblem, Draw

Array = npt.NDArray[Any]

# Of a problem and its arrays, by name: images with the channels last.
Results = Callable[[Conv2DProblem, dict[str, Array]], dict[str, Array]]

FMA_ISAS = tuple(isa for isa in _core.available_isas() if isa != "generic")

# One piece; of pieces of 2, 3 and 4 taps, whole or not; lines; those in between.
KERNELS = (
    *((2, 2), (3, 3), (5, 5)),
    *((4, 4), (6, 6), (7, 7), (9, 9), (11, 11)),
    *((1, 3), (3, 1), (1, 4), (1, 5), (5, 1), (1, 7), (7, 1), (1, 9), (11, 1), (1, 15)),
    *((2, 3), (3, 5), (6, 5), (4, 9), (8, 2)),
)
STRIDED_KERNELS = ((3, 3), (4, 4), (3, 4), (5, 5), (6, 6), (7, 7), (8, 7))
WINOGRAD = {"algorithm": "winograd"}

# Rounding errors beside those of a direct sum: on average at most 3 times in float32 and, with
# tiles of 6x6, 16 times in float64, of which the common tolerance has room for a good half.
ROUNDING = {"float32": 2.0, "float64": 8.0}


def with_fields(problem: Conv2DProblem, **fields: Any) -> Conv2DProblem:
    """Return the problem with some fields changed."""
    return dataclasses.replace(problem, **fields)


@st.composite
def winograd_problems(draw: Draw) -> Conv2DProblem:
    """Make a convolution that tiles can compute: a few tiles each way, ragged at the edges."""
    stride = draw(st.sampled_from((1, 1, 2)))
    kh, kw = draw(st.sampled_from(KERNELS if stride == 1 else STRIDED_KERNELS))
    padding = draw(strategies.spelled_paddings((4, 4)))
    groups = draw(st.sampled_from((1, 1, 1, 2)))
    dilations = ((1, 1), (1, 1), (2, 2), (1, 3), (6, 5))
    dilation = draw(st.sampled_from(dilations)) if stride == 1 else (1, 1)
    lengths = st.sampled_from((16, 24, 33) if groups > 1 else (1, 3, 16, 17, 33, 64))
    problem = Conv2DProblem(
        n=draw(st.integers(1, 3)),
        h=(kh - 1) * dilation[0] + 1 + draw(st.integers(0, 15 * stride)),
        w=(kw - 1) * dilation[1] + 1 + draw(st.integers(0, 15 * stride)),
        c_in=groups * draw(lengths),
        c_out=groups * draw(lengths),
        kh=kh,
        kw=kw,
        strides=stride,
        padding=padding,
        dilation_rate=dilation,
        groups=groups,
        data_format=draw(st.sampled_from(strategies.FORMATS)),
        dtype=draw(st.sampled_from(strategies.DTYPES)),
        seed=draw(st.integers(0, 2**16)),
    )
    modes = strategies.fitting_padding_modes(*problem.axes())
    one_phase = stride == 1 and dilation == (1, 1)
    mode = draw(st.sampled_from(modes if one_phase else ["constant"]))
    value = draw(st.sampled_from((0.0, -2.5))) if mode == "constant" else 0.0
    return with_fields(problem, padding_mode=mode, padding_value=value)


LAYERS = {
    "vgg": Conv2DProblem(1, 56, 57, 64, 64, 3, 3, 1, 1),
    "more channels than a chain": Conv2DProblem(2, 14, 14, 260, 48, 3, 3, 1, 1),
    "more outputs than a part": Conv2DProblem(1, 9, 9, 130, 200, 3, 3, 1, "same"),
    "more tiles than a block": Conv2DProblem(3, 40, 500, 16, 16, 3, 3, 1, 1),
    "inception 1x7": Conv2DProblem(2, 17, 17, 96, 128, 1, 7, 1, "same"),
    "dilation 2": Conv2DProblem(2, 28, 27, 32, 64, 3, 3, 1, 2, 2),
    "chunks of channels, passes": Conv2DProblem(1, 26, 26, 900, 110, 3, 3, 1, 1),
    "chunks of channels, shares": Conv2DProblem(1, 22, 22, 1216, 264, 3, 3, 1, 1),
    "chunks of channels, dilation 6": Conv2DProblem(3, 19, 14, 416, 40, 3, 3, 1, 6, 6),
    "phases of two sizes": Conv2DProblem(2, 14, 19, 48, 33, 3, 3, 1, 6, 6),
    "phases of two numbers of tiles": Conv2DProblem(1, 33, 35, 16, 48, 3, 3, 1, 7, 8),
    "more phases than outputs": Conv2DProblem(1, 4, 5, 16, 16, 3, 3, 1, 6, 6),
    "5x5": Conv2DProblem(2, 28, 28, 48, 64, 5, 5, 1, 2),
    "7x7, all pieces at once": Conv2DProblem(2, 15, 35, 40, 33, 7, 7, 1, 3),
    "7x7, piece by piece": Conv2DProblem(1, 23, 22, 128, 64, 7, 7, 1, 3),
    "7x7, chunks of channels": Conv2DProblem(1, 19, 20, 140, 16, 7, 7, 1, 3),
    "7x7, dilation 2": Conv2DProblem(2, 23, 20, 16, 48, 7, 7, 1, 6, 2),
    "stride 2, all phases at once": Conv2DProblem(3, 28, 27, 48, 80, 3, 3, 2, 1),
    "stride 2, phase by phase": Conv2DProblem(2, 29, 40, 150, 33, 3, 3, 2, 0),
    "stride 2, more outputs than are kept": Conv2DProblem(1, 14, 11, 112, 300, 3, 3, 2, 1),
    "4x4, stride 2": Conv2DProblem(2, 30, 18, 64, 40, 4, 4, 2, 1),
    "5x5, stride 2": Conv2DProblem(2, 29, 22, 40, 64, 5, 5, 2, 2),
    "6x6, stride 2, chunks of channels": Conv2DProblem(1, 26, 17, 260, 48, 6, 6, 2, 2),
    "7x7, stride 2": Conv2DProblem(3, 31, 32, 24, 33, 7, 7, 2, 3),
    "2x2": Conv2DProblem(2, 19, 30, 33, 48, 2, 2, 1, "same"),
    "4x4": Conv2DProblem(2, 31, 18, 64, 40, 4, 4, 1, 1),
    "4x4, chunks of channels": Conv2DProblem(1, 15, 16, 300, 17, 4, 4, 1, 1),
    "9x9, all pieces at once": Conv2DProblem(2, 21, 19, 32, 33, 9, 9, 1, 4),
    "9x9, piece by piece": Conv2DProblem(1, 24, 30, 48, 96, 9, 9, 1, 4),
    "11x11": Conv2DProblem(2, 18, 23, 16, 48, 11, 11, 1, 5),
    "12x12, dilation 2": Conv2DProblem(1, 33, 30, 16, 16, 12, 12, 1, 11, 2),
    "3x5": Conv2DProblem(2, 16, 27, 40, 48, 3, 5, 1, "same"),
    "12x2, pieces that lack taps": Conv2DProblem(2, 25, 9, 32, 20, 12, 2, 1, "same"),
    "1x11": Conv2DProblem(2, 9, 40, 48, 64, 1, 11, 1, "same"),
    "36x1": Conv2DProblem(1, 50, 6, 32, 24, 36, 1, 1, "same"),
    "gradient that ends with one pixel": Conv2DProblem(5, 13, 17, 40, 48, 3, 3),
    "gradient whose columns do": Conv2DProblem(2, 12, 21, 16, 33, 3, 3),
    "outputs that end with one pixel": Conv2DProblem(3, 11, 7, 33, 40, 3, 3, 1, 2),
    "5x5 that ends with one pixel": Conv2DProblem(2, 15, 5, 32, 24, 5, 5, 1, 4),
}


def check(problem: Conv2DProblem, activation: str | None = None) -> None:
    """Compare forward, packed and all gradients with the reference."""
    a = {name: guarded_input(array) for name, array in problem.draw_arrays().items()}
    words = problem.geometry
    sizes = {**words, "padding_value": abs(problem.padding_value)}
    epilogue = {"activation": activation, "residual": a["residual"]}
    size = ROUNDING[problem.dtype]
    magnitude = size * reference.conv2d(abs(a["x"]), abs(a["kernel"]), abs(a["bias"]), **sizes)
    expected = reference.conv2d(a["x"], a["kernel"], a["bias"], **epilogue, **words)
    out = GuardedOutput(problem.y_shape, problem.dtype)
    functional.conv2d(
        a["x"], a["kernel"], a["bias"], **epilogue, **words, **WINOGRAD, out=out.array
    )
    out.assert_intact()
    assert_close(out.array, expected, magnitude + abs(a["residual"]), problem.terms)
    packed = functional.pack_kernel(a["kernel"], (problem.h, problem.w), **words, **WINOGRAD)
    y = functional.conv2d(a["x"], packed, a["bias"], **epilogue, **words, **WINOGRAD)
    assert_close(y, expected, magnitude + abs(a["residual"]), problem.terms)

    gradients = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words, **WINOGRAD)
    right = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    sizes_of = reference.conv2d_backward(abs(a["dy"]), abs(a["x"]), abs(a["kernel"]), **sizes)
    pixels = a["dy"].size // problem.c_out
    terms = problem.kh * problem.kw * problem.c_out
    assert_close(gradients.dx, right.dx, size * sizes_of.dx, terms)
    assert_close(gradients.dkernel, right.dkernel, size * sizes_of.dkernel, pixels)


@settings(max_examples=settings().max_examples // 3)
@given(problem=winograd_problems(), activation=st.sampled_from((None, "relu", "relu6")))
def test_every_form_is_close(isa: str, problem: Conv2DProblem, activation: str | None) -> None:
    """Every form, padding mode, layout and epilogue, with NaN around the inputs."""
    check(problem, activation)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_named_layers_are_close(isa: str, layer: str, dtype: str) -> None:
    """Sizes beyond each constant of the blocking."""
    check(with_fields(LAYERS[layer], dtype=dtype))


def all_results(problem: Conv2DProblem, a: dict[str, Array]) -> dict[str, Array]:
    """Return y and the gradients, in channels_last."""
    words = {**problem.geometry, **WINOGRAD}
    y = functional.conv2d(a["x"], a["kernel"], a["bias"], **words)
    dx, dkernel, _ = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    last = (0, 2, 3, 1) if problem.data_format == "channels_first" else (0, 1, 2, 3)
    return {"y": y.transpose(last), "dx": dx.transpose(last), "dkernel": dkernel}


def check_bits(problem: Conv2DProblem, results: Results = all_results) -> None:
    """Compare every instruction set that fuses, threads, both layouts, an image alone."""
    last = with_fields(problem, data_format="channels_last")
    a = last.draw_arrays()
    planes = {k: np.ascontiguousarray(a[k].transpose(0, 3, 1, 2)) for k in ("x", "dy")}
    expected = None
    for name in FMA_ISAS:
        n = 1 if expected is None else 3
        with _core.forced_isa(name), threads(n), _core.forced_worker_share(1):
            found = results(last, a)
            expected = expected or found
            other = results(with_fields(last, data_format="channels_first"), {**a, **planes})
            one = {**a, "x": a["x"][-1:], "dy": a["dy"][-1:]}
            alone = results(with_fields(last, n=1), one)
        for what, right in expected.items():
            assert_same_bits(found[what], right, f"{what} on {name}")
            assert_same_bits(other[what], right, f"{what} in channels_first")
            if what in ("y", "dx"):
                assert_same_bits(alone[what], right[-1:], f"{what} alone")


@settings(max_examples=settings().max_examples // 3)
@given(problem=winograd_problems())
def test_same_bits(problem: Conv2DProblem) -> None:
    """On every instruction set that fuses, any thread count, both layouts, alone or in company."""
    check_bits(problem)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("strides", [1, 2])
def test_gradients_keep_non_finite_values_in_their_field(
    isa: str, value: float, data_format: str, strides: int
) -> None:
    """A NaN at a corner of x reaches the taps that read it; one in dy the pixels it comes from."""
    problem = Conv2DProblem(2, 9, 9, 16, 17, 3, 3, strides, 1, data_format=data_format)
    a = problem.draw_arrays()
    corner = {"channels_last": (1, 0, 0, 3), "channels_first": (1, 3, 0, 0)}[data_format]
    for name in ("x", "dy"):
        marked = {**a, name: a[name].copy()}
        marked[name][corner] = value
        ones = {k: np.ones(v.shape) for k, v in a.items()}
        ones[name] = np.zeros(a[name].shape)
        ones[name][corner] = 1
        words = problem.geometry
        reached = reference.conv2d_backward(ones["dy"], ones["x"], ones["kernel"], **words)
        got = functional.conv2d_backward(
            marked["dy"], marked["x"], marked["kernel"], **words, **WINOGRAD
        )
        finite = {"x": got.dkernel, "dy": got.dx}[name]
        field = {"x": reached.dkernel, "dy": reached.dx}[name] > 0
        np.testing.assert_array_equal(np.isfinite(finite), ~field)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(
    ("kernel_size", "strides"),
    [*((size, 2) for size in STRIDED_KERNELS), ((4, 4), 1), ((3, 5), 1), ((9, 9), 1), ((1, 9), 1)],
)
def test_pieces_keep_non_finite_values_in_their_field(
    isa: str, value: float, data_format: str, kernel_size: tuple[int, int], strides: int
) -> None:
    """A NaN in x, of any piece, reaches the outputs that read it and no others."""
    problem = Conv2DProblem(
        2, 15, 14, 16, 17, *kernel_size, strides, "same", data_format=data_format
    )
    words, a = problem.geometry, problem.draw_arrays()
    for h, w in ((0, 0), (7, 8), (8, 7), (14, 13), (5, 11)):
        x, ones = a["x"].copy(), np.zeros(a["x"].shape)
        at = {"channels_last": (1, h, w, 3), "channels_first": (1, 3, h, w)}[data_format]
        x[at], ones[at] = value, 1
        reached = reference.conv2d(ones, np.ones(a["kernel"].shape), **words) > 0
        y = functional.conv2d(x, a["kernel"], **words, **WINOGRAD)
        np.testing.assert_array_equal(np.isfinite(y), ~reached)


def test_a_tile_that_overflows_is_computed_again(isa: str) -> None:
    """Where sums of tiles overflow and those of outputs do not, the result is finite and right."""
    x = np.full((1, 8, 8, 16), 1e38, np.float32)
    x[:, ::2] *= -1
    kernel = np.full((3, 3, 16, 16), 1 / 64, np.float32)
    words: dict[str, Any] = {"padding": 1}
    y = functional.conv2d(x, kernel, **words, **WINOGRAD)
    assert_same_bits(y, functional.conv2d(x, kernel, **words, algorithm="direct"))
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 3, 16, 16), {"strides": 3}),
        ((3, 3, 16, 16), {"strides": (2, 1)}),
        ((3, 3, 16, 16), {"strides": 2, "dilation_rate": 3}),
        ((3, 3, 16, 16), {"strides": 2, "padding": 1, "padding_mode": "reflect"}),
        ((4, 5, 16, 16), {"strides": 2}),
        ((9, 9, 16, 16), {"strides": 2}),
        ((2, 2, 16, 16), {"strides": 2}),
        ((1, 3, 16, 16), {"strides": 2}),
        ((3, 3, 16, 16), {"dilation_rate": 2, "padding": 2, "padding_mode": "edge"}),
        ((13, 3, 16, 16), {"padding": 6}),
        ((1, 37, 16, 16), {"padding": (0, 18)}),
        ((1, 2, 16, 16), {}),
        ((1, 1, 16, 16), {}),
        ((3, 3, 1, 16), {"groups": 16}),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], words: dict[str, Any]) -> None:
    """A sentence that says what Winograd takes; nothing is written, in any pass."""
    x = np.zeros((1, 12, 12, 16), np.float32)
    kernel = np.zeros(shape, np.float32)
    y_shape = functional.conv2d(x, kernel, **words).shape
    out = GuardedOutput(y_shape, "float32")
    with pytest.raises(ValueError, match="algorithm='winograd' takes kernels of"):
        functional.conv2d(x, kernel, **words, **WINOGRAD, out=out.array)
    assert np.isnan(out.array).all()
    with pytest.raises(ValueError, match="strides"):
        functional.conv2d_backward(np.zeros(y_shape, np.float32), x, kernel, **words, **WINOGRAD)
    with pytest.raises(ValueError, match="received algorithm='winograd'"):
        functional.pack_kernel(kernel, (12, 12), **words, **WINOGRAD)


def test_transposed_convolution(isa: str) -> None:
    """Stride 1 is a convolution by another name, and its gradients too."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 10, 20)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 18, 20)).astype(np.float32)
    y = functional.conv2d_transpose(x, kernel, padding="same", **WINOGRAD)
    assert_close(
        y,
        reference.conv2d_transpose(x, kernel, padding="same"),
        ROUNDING["float32"] * reference.conv2d_transpose(abs(x), abs(kernel), padding="same"),
        9 * 20,
    )


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (3, 70), (37, 5)])
def test_groups_side_by_side_have_the_bits_of_each_alone(
    isa: str, size: tuple[int, int], data_format: str
) -> None:
    """x is packed for some groups of 16 channels at once: 11 are cut in a set of 6 and one of 5."""
    groups, outputs = 11, 24
    rng = np.random.default_rng(16)
    x = rng.standard_normal((5, *size, groups * 16)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 16, groups * outputs)).astype(np.float32)
    bias = rng.standard_normal(groups * outputs).astype(np.float32)
    residual = rng.standard_normal((5, *size, groups * outputs)).astype(np.float32)
    words: dict[str, Any] = {"padding": "same", "activation": "relu", **WINOGRAD}
    last = data_format == "channels_last"
    order = (0, 1, 2, 3) if last else (0, 3, 1, 2)
    with threads(2):
        y = functional.conv2d(
            np.ascontiguousarray(x.transpose(order)),
            kernel,
            bias,
            groups=groups,
            data_format=data_format,
            residual=np.ascontiguousarray(residual.transpose(order)),
            **words,
        )
    y = y if last else y.transpose(0, 2, 3, 1)
    for g in range(groups):
        ins, outs = slice(16 * g, 16 * g + 16), slice(outputs * g, outputs * (g + 1))
        alone = functional.conv2d(
            np.ascontiguousarray(x[..., ins]),
            kernel[..., outs],
            bias[outs],
            residual=np.ascontiguousarray(residual[..., outs]),
            **words,
        )
        assert_same_bits(np.ascontiguousarray(y[..., outs]), alone)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("strides", [1, 2])
def test_large_results_have_the_bits_of_unaligned_ones(isa: str, groups: int, strides: int) -> None:
    """Stores past the caches, where lines are whole, and beside them where they are not."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 180 * strides, 180 * strides, 32)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 32 // groups, 80)).astype(np.float32)
    words: dict[str, Any] = {"padding": 1, "groups": groups, "strides": strides, **WINOGRAD}
    large = functional.conv2d(x, kernel, **words)
    room = np.empty(large.size + 1, np.float32)
    beside = functional.conv2d(x, kernel, **words, out=room[1:].reshape(large.shape))
    assert_same_bits(large, beside)
    few = functional.conv2d(x[:, : 24 * strides], kernel, **words)
    assert_same_bits(large[:, :20], few[:, :20])
