"""conv2d against the reference: geometry, padding, fusing, special values, accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
import reference
import strategies
from closeness import assert_close, assert_same_bits
from conv2d_layers import LAYERS
from fastconv import functional
from guards import GuardedOutput, guarded_input
from strategies import Conv2DProblem

Array = npt.NDArray[Any]


def with_fields(problem: Conv2DProblem, **fields: Any) -> Conv2DProblem:
    """Return the problem with some of its fields changed."""
    return Conv2DProblem(**{**problem.__dict__, **fields})


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_named_layers_are_exact(isa: str, layer: str, data_format: str, dtype: str) -> None:
    """Whole numbers leave nothing to round: direct convolution gives them exactly."""
    problem = with_fields(LAYERS[layer], data_format=data_format, dtype=dtype)
    a = problem.draw_arrays(strategies.whole_numbers)
    words = problem.geometry
    y = functional.conv2d(a["x"], a["kernel"], a["bias"], algorithm="direct", **words)
    expected = reference.conv2d(a["x"], a["kernel"], a["bias"], **words)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


@given(
    problem=strategies.conv2d_problems(),
    activation=st.sampled_from(strategies.ACTIVATIONS),
    use_bias=st.booleans(),
    use_residual=st.booleans(),
)
def test_whole_numbers_are_exact(
    isa: str, problem: Conv2DProblem, activation: str | None, use_bias: bool, use_residual: bool
) -> None:
    """Direct convolution of whole numbers, into a NaN-filled output between guard bytes."""
    a = problem.draw_arrays(strategies.whole_numbers)
    words = {
        **problem.geometry,
        "activation": activation,
        "residual": guarded_input(a["residual"]) if use_residual else None,
    }
    bias = guarded_input(a["bias"]) if use_bias else None
    x, kernel = guarded_input(a["x"]), guarded_input(a["kernel"])
    out = GuardedOutput(problem.y_shape, problem.dtype)
    y = functional.conv2d(x, kernel, bias, algorithm="direct", out=out.array, **words)
    assert y is out.array
    np.testing.assert_array_equal(y, reference.conv2d(x, kernel, bias, **words))
    out.assert_intact()


@given(problem=strategies.conv2d_problems(), use_bias=st.booleans())
def test_normal_numbers_are_close(isa: str, problem: Conv2DProblem, use_bias: bool) -> None:
    """Whatever algorithm "auto" takes stays within rounding of the reference."""
    a = problem.draw_arrays()
    bias = a["bias"] if use_bias else None
    words = problem.geometry
    y = functional.conv2d(a["x"], a["kernel"], bias, **words)
    expected = reference.conv2d(a["x"], a["kernel"], bias, **words)
    sizes = {**words, "padding_value": abs(problem.padding_value)}
    magnitude = reference.conv2d(abs(a["x"]), abs(a["kernel"]), abs(a["bias"]), **sizes)
    assert y.shape == problem.y_shape
    assert y.dtype == problem.dtype
    assert_close(y, expected, magnitude, problem.terms)


@pytest.mark.parametrize("c_in", strategies.AROUND_VECTORS)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_every_channel_count(isa: str, c_in: int, dtype: str) -> None:
    """Each number of input channels against each of output channels, in both layouts."""
    for c_out in strategies.AROUND_VECTORS:
        for data_format in strategies.FORMATS:
            problem = Conv2DProblem(1, 4, 5, c_in, c_out, 2, 3, dtype=dtype)
            problem = with_fields(problem, data_format=data_format)
            a = problem.draw_arrays(strategies.whole_numbers)
            y = functional.conv2d(a["x"], a["kernel"], algorithm="direct", **problem.geometry)
            expected = reference.conv2d(a["x"], a["kernel"], **problem.geometry)
            np.testing.assert_array_equal(y, expected, err_msg=f"c_out={c_out} {data_format}")


@pytest.mark.parametrize("c_in", [5, 300])
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_outputs_that_leave_half_of_a_vector_empty(isa: str, c_in: int, dtype: str) -> None:
    """Around half of each vector, by whole tiles and shorter ones, of one chain and of three."""
    for c_out in (1, 2, 4, 5, 8, 9, 12, 13, 17, 20, 21, 24, 25, 40, 41):
        for activation in (None, "relu", "relu6"):
            problem = Conv2DProblem(1, 3, 11, c_in, c_out, 1, 1, dtype=dtype)
            a = problem.draw_arrays(strategies.whole_numbers)
            y = functional.conv2d(
                a["x"], a["kernel"], a["bias"], activation=activation, **problem.geometry
            )
            expected = reference.conv2d(
                a["x"], a["kernel"], a["bias"], activation=activation, **problem.geometry
            )
            np.testing.assert_array_equal(y, expected, err_msg=f"c_out={c_out} {activation}")


@pytest.mark.parametrize("w", range(1, 68))
def test_every_width(isa: str, w: int) -> None:
    """Each row length around one to four vectors, where kernels may take vectors along the row."""
    for c_in, c_out, groups in ((1, 6, 1), (3, 4, 1), (5, 5, 5)):
        for data_format in strategies.FORMATS:
            problem = Conv2DProblem(1, 3, w, c_in, c_out, 3, 3, 1, "same", 1, groups)
            problem = with_fields(problem, data_format=data_format)
            a = problem.draw_arrays(strategies.whole_numbers)
            y = functional.conv2d(a["x"], a["kernel"], algorithm="direct", **problem.geometry)
            expected = reference.conv2d(a["x"], a["kernel"], **problem.geometry)
            np.testing.assert_array_equal(y, expected, err_msg=f"c_in={c_in} {data_format}")


# ------------------------------------------------------------------------------------- spelling


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"strides": 2}, {"strides": (2, 2)}),
        ({"dilation_rate": 2}, {"dilation_rate": (2, 2)}),
        ({"padding": 1}, {"padding": (1, 1)}),
        ({"padding": (1, 2)}, {"padding": ((1, 1), (2, 2))}),
        ({"padding": "valid"}, {"padding": 0}),
        ({"padding": "same"}, {"padding": ((1, 1), (0, 1))}),
        ({"padding": "same_lower"}, {"padding": ((1, 1), (1, 0))}),
        ({"padding": "same", "strides": 2}, {"padding": ((1, 1), (0, 0)), "strides": 2}),
        ({"strides": np.int64(2)}, {"strides": 2}),
        ({}, {"activation": None, "residual": None, "algorithm": "auto", "out": None}),
        ({}, {"padding_mode": "constant", "padding_value": 0.0, "groups": 1}),
    ],
)
def test_ways_to_spell_the_same(short: dict[str, Any], long: dict[str, Any]) -> None:
    """A 3x2 kernel on a 7x6 image, each argument in two spellings."""
    a = Conv2DProblem(1, 7, 6, 3, 4, 3, 2).draw_arrays()
    one = functional.conv2d(a["x"], a["kernel"], a["bias"], **short)
    other = functional.conv2d(a["x"], a["kernel"], a["bias"], **long)
    assert_same_bits(one, other)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_padding_is_numpys(isa: str, mode: str) -> None:
    """A padding mode gives what the unpadded convolution of np.pad's array gives."""
    x = strategies.whole_numbers(np.random.default_rng(0), (2, 6, 7, 5), "float32")
    kernel = strategies.whole_numbers(np.random.default_rng(1), (4, 3, 5, 9), "float32")
    amounts = ((3, 2), (1, 4))
    constant = {"constant_values": -2.0} if mode == "constant" else {}
    padded = np.pad(x, ((0, 0), *amounts, (0, 0)), mode=mode, **constant)  # type: ignore[call-overload]
    words: dict[str, Any] = {"strides": 2, "algorithm": "direct"}
    expected = functional.conv2d(padded, kernel, **words)
    words |= {"padding": amounts, "padding_mode": mode}
    words |= {"padding_value": -2.0} if mode == "constant" else {}
    np.testing.assert_array_equal(functional.conv2d(x, kernel, **words), expected)


@pytest.mark.parametrize("mode", ["edge", "constant"])
def test_padding_without_limit(isa: str, mode: str) -> None:
    """Constant and edge padding may be many times the image."""
    problem = Conv2DProblem(1, 2, 1, 3, 5, 3, 3, 2, ((40, 3), (0, 60)), padding_mode=mode)
    a = problem.draw_arrays(strategies.whole_numbers)
    y = functional.conv2d(a["x"], a["kernel"], algorithm="direct", **problem.geometry)
    expected = reference.conv2d(a["x"], a["kernel"], **problem.geometry)
    np.testing.assert_array_equal(y, expected)


def test_enormous_strides() -> None:
    """A stride that leaves one output pixel is a stride like others, whatever its size."""
    a = Conv2DProblem(1, 5, 5, 2, 3, 3, 3).draw_arrays()
    y = functional.conv2d(a["x"], a["kernel"], strides=2**40)
    assert_same_bits(y, functional.conv2d(a["x"], a["kernel"], strides=3))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_enormous_strides_and_padding(isa: str, dtype: str) -> None:
    """The rectangle under two outputs each way would have 2**61 or 2**62 pixels, 2**64 bytes."""
    strides = (2**30 - 1 if dtype == "float64" else 2**31 - 1, 2**31 - 1)
    x, kernel = np.full((1, 1, 1, 2), 3, dtype), np.full((1, 1, 2, 20), 2, dtype)
    y = functional.conv2d(x, kernel, strides=strides, padding=((strides[0], 0), (strides[1], 0)))
    expected = np.zeros((1, 2, 2, 20), dtype)
    expected[0, 1, 1] = 12
    np.testing.assert_array_equal(y, expected)


def test_padding_value_beyond_any_float() -> None:
    """An int may be larger than what a float holds."""
    a = Conv2DProblem(1, 5, 5, 2, 3, 3, 3).draw_arrays()
    with pytest.raises(ValueError, match="padding_value"):
        functional.conv2d(a["x"], a["kernel"], padding=1, padding_value=10**400)


# -------------------------------------------------------------------------------- empty and none


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_empty_batch(isa: str, data_format: str) -> None:
    """No images give no images, of the right size."""
    problem = Conv2DProblem(0, 7, 6, 3, 4, 3, 3, data_format=data_format)
    a = problem.draw_arrays()
    y = functional.conv2d(a["x"], a["kernel"], a["bias"], **problem.geometry)
    assert y.shape == problem.y_shape
    assert y.dtype == np.float32


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_no_input_channels(isa: str, data_format: str) -> None:
    """An empty sum is zero, so that the bias alone remains, through residual and activation."""
    problem = Conv2DProblem(2, 5, 6, 0, 4, 3, 3, data_format=data_format)
    a = problem.draw_arrays()
    y = functional.conv2d(a["x"], a["kernel"], **problem.geometry)
    np.testing.assert_array_equal(y, np.zeros(problem.y_shape))
    words = {**problem.geometry, "residual": a["residual"], "activation": "relu"}
    y = functional.conv2d(a["x"], a["kernel"], a["bias"], **words)
    bias = a["bias"] if data_format == "channels_last" else a["bias"].reshape(4, 1, 1)
    np.testing.assert_array_equal(y, np.maximum(bias + a["residual"], 0))


# -------------------------------------------------------------------------------- special values


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_activation_keeps_nan(isa: str, activation: str) -> None:
    """An activation clips numbers, infinities included; NaN is no number and stays."""
    x = np.array([-np.inf, -1, 2, 9, np.inf, np.nan], np.float32).reshape(1, 1, 6, 1)
    one = np.ones((1, 1, 1, 17), np.float32)
    y = functional.conv2d(x, one, activation=activation)
    top = {"relu": np.inf, "relu6": 6}[activation]
    expected = [0, 0, 2, min(9, top), top, np.nan]
    for channel in range(17):
        np.testing.assert_array_equal(y[0, 0, :, channel], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize(
    "problem",
    [
        Conv2DProblem(2, 12, 13, 20, 18, 3, 3, 1, 1),
        Conv2DProblem(2, 12, 13, 64, 64, 3, 3, 1, 1),
        Conv2DProblem(2, 12, 13, 3, 6, 5, 5, 2, "same", data_format="channels_first"),
        Conv2DProblem(2, 12, 13, 20, 20, 3, 3, 1, 1, 1, 20),
        Conv2DProblem(2, 12, 13, 32, 48, 1, 1),
        Conv2DProblem(2, 12, 13, 8, 8, 3, 3, 1, 2, 2, 2, data_format="channels_first"),
    ],
    ids=["3x3", "64 channels", "5x5 stride 2", "depthwise", "pointwise", "dilated groups"],
)
def test_non_finite_values_stay_in_their_field(
    isa: str, problem: Conv2DProblem, algorithm: str, value: float
) -> None:
    """A NaN or infinity changes the outputs whose receptive field holds it, no bit of others.

    Where "auto" took a fast algorithm, neighbours may be computed again without it: theirs are the
    bits of "direct" then.
    """
    a = problem.draw_arrays()
    words = {**problem.geometry, "algorithm": algorithm}
    before = functional.conv2d(a["x"], a["kernel"], **words)
    at = {"channels_last": (1, 5, 6, 2), "channels_first": (1, 2, 5, 6)}[problem.data_format]
    mark = np.zeros(problem.x_shape)
    mark[at] = 1
    reached = reference.conv2d(mark, np.ones(problem.kernel_shape), **problem.geometry) > 0
    a["x"][at] = value
    after = functional.conv2d(a["x"], a["kernel"], **words)
    assert reached.any()
    assert not reached.all()
    assert not np.isfinite(after[reached]).any()
    direct = functional.conv2d(a["x"], a["kernel"], **problem.geometry, algorithm="direct")
    again = ~reached & (after != before)
    assert_same_bits(np.where(again, direct, before)[~reached], after[~reached])
    assert algorithm == "auto" or not again.any()
    assert not again[0].any(), "another image of the batch"


def test_denormals_are_flushed_inside_the_call(isa: str) -> None:
    """By default a denormal counts as zero in a convolution, and the caller's state comes back."""
    tiny = np.float32(1e-40)
    x = np.full((1, 4, 4, 16), tiny)
    kernel = np.ones((1, 1, 16, 16), np.float32)
    assert fastconv.get_flush_denormals() is True
    assert not functional.conv2d(x, kernel, algorithm="direct").any()
    assert tiny * np.float32(1.0) == tiny
    fastconv.set_flush_denormals(False)
    try:
        kept = functional.conv2d(x, kernel, algorithm="direct")
        assert fastconv.get_flush_denormals() is False
    finally:
        fastconv.set_flush_denormals(True)
    np.testing.assert_allclose(kept, np.full(kept.shape, 16 * tiny), rtol=1e-4)


# ------------------------------------------------------------------------------------- accuracy


def long_double_conv2d(problem: Conv2DProblem, x: Array, kernel: Array) -> Array:
    """Convolve with zero padding in extended precision, where float64 is what is being judged."""
    rows, cols = problem.axes()
    x = np.pad(x, ((0, 0), (rows.before, rows.after), (cols.before, cols.after), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (problem.kh, problem.kw), axis=(1, 2))
    windows = windows[:, :: rows.stride, :: cols.stride].astype(np.longdouble)
    if problem.groups == problem.c_in > 1:
        return np.asarray(np.einsum("nhwcab,abc->nhwc", windows, kernel[:, :, 0]))
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, problem.terms)
    return (columns @ kernel.reshape(problem.terms, -1)).reshape(problem.y_shape)


def torch_conv2d(problem: Conv2DProblem, x: Array, kernel: Array) -> Array:
    """Return PyTorch's result of a convolution with explicit padding."""
    torch = pytest.importorskip("torch")
    y = torch.nn.functional.conv2d(
        torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1))),
        torch.tensor(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))),
        None,
        problem.strides,
        problem.padding,
        problem.dilation_rate,
        problem.groups,
    )
    return np.moveaxis(y.numpy(), 1, -1)


def rms(a: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(a, dtype=np.longdouble))))


@pytest.mark.parametrize(
    ("dtype", "algorithm", "limit"),
    [("float32", "direct", 1.5), ("float32", "auto", 3.0), ("float64", "auto", 16.0)],
)
@pytest.mark.parametrize(
    "problem",
    [
        Conv2DProblem(1, 28, 28, 64, 64, 3, 3, 1, 1),
        Conv2DProblem(1, 14, 14, 256, 64, 3, 3, 1, 1),
        Conv2DProblem(1, 7, 7, 512, 64, 3, 3, 1, 1),
        Conv2DProblem(1, 14, 14, 1024, 64, 1, 1, 1, 0),
        Conv2DProblem(1, 14, 14, 64, 64, 5, 5, 1, 2),
        Conv2DProblem(1, 56, 56, 3, 64, 7, 7, 2, 3),
        Conv2DProblem(4, 28, 28, 1, 6, 5, 5, 1, 2),
        Conv2DProblem(2, 19, 19, 96, 96, 3, 3, 1, 1, 1, 96),
    ],
    ids=["vgg", "256 channels", "512 channels", "1x1", "5x5", "7x7", "lenet", "depthwise"],
)
def test_accuracy_beside_torch(
    problem: Conv2DProblem, dtype: str, algorithm: str, limit: float
) -> None:
    """The rms error on unit-normal data, as a multiple of PyTorch's on the same data."""
    a = with_fields(problem, dtype=dtype).draw_arrays()
    exact = long_double_conv2d(problem, a["x"], a["kernel"])
    y = functional.conv2d(a["x"], a["kernel"], algorithm=algorithm, **problem.geometry)
    error = rms(y - exact)
    assert error <= limit * rms(torch_conv2d(problem, a["x"], a["kernel"]) - exact)
    if dtype == "float64":
        assert error <= 1e-13 * rms(exact)
