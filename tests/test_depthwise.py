"""Depthwise convolution against the reference: how it ends, and planes beside pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reference
import strategies
from closeness import assert_same_bits
from fastconv import functional
from strategies import Conv2DProblem


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("activation", strategies.ACTIVATIONS)
@pytest.mark.parametrize(
    ("taps", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2), (4, 3)]
)
def test_depthwise_ends(
    isa: str, taps: int, stride: int, activation: str | None, data_format: str
) -> None:
    """Each depthwise kernel with and without a bias and a residual, before every activation."""
    problem = Conv2DProblem(
        2, 12, 19, 21, 21, taps, taps, stride, "same", 1, 21, data_format=data_format
    )
    a = problem.draw_arrays(strategies.whole_numbers)
    for bias in (None, a["bias"]):
        for residual in (None, a["residual"]):
            words = {**problem.geometry, "activation": activation, "residual": residual}
            y = functional.conv2d(a["x"], a["kernel"], bias, **words)
            expected = reference.conv2d(a["x"], a["kernel"], bias, **words)
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_depthwise_kernel_gradient(isa: str, stride: int, dtype: str, data_format: str) -> None:
    """Blocks of one row, of some and of several, channels around a line, and the borders' taps."""
    for h, w in ((1, 1), (2, 3), (3, 2), (15, 17), (40, 9), (9, 150)):
        for channels in (4, 8, 16, 19, 40):
            problem = Conv2DProblem(
                2, h, w, channels, channels, 3, 3, stride, "same", 1, channels,
                dtype=dtype, data_format=data_format,
            )  # fmt: skip
            a = problem.draw_arrays(strategies.whole_numbers)
            gradients = functional.conv2d_backward(
                a["dy"], a["x"], a["kernel"], needs=("kernel", "bias"), **problem.geometry
            )
            expected = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
            np.testing.assert_array_equal(gradients.dkernel, expected.dkernel)
            np.testing.assert_array_equal(gradients.dbias, expected.dbias)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("taps", [3, 5])
def test_depthwise_planes_are_as_pixels(isa: str, taps: int, dtype: str) -> None:
    """Widths around a vector and half of one, amid zeros that make NaN and signs as well."""
    tiny = np.finfo(dtype).tiny
    rng = np.random.default_rng(taps)
    for w in (1, 2, 4, 5, 7, 8, 9, 14, 16, 17, 19, 24, 37):
        for before, after in ((taps // 2, taps // 2), (0, taps - 1), (taps - 1, 1)):
            x = rng.standard_normal((3, 6, w, 19)).astype(dtype)
            kernel = rng.standard_normal((taps, taps, 1, 19)).astype(dtype)
            kernel[rng.integers(taps), rng.integers(taps), 0, 3] = np.inf
            x[..., 5:8] *= -tiny
            kernel[..., 5:8] = -tiny * np.abs(kernel[..., 5:8])
            padding = ((before, after), (before, after))
            if w + before + after < taps:
                continue
            words: dict[str, Any] = {"padding": padding, "groups": 19, "activation": None}
            pixels = functional.conv2d(x, kernel, **words)
            planes = functional.conv2d(
                np.ascontiguousarray(x.transpose(0, 3, 1, 2)),
                kernel,
                data_format="channels_first",
                **words,
            ).transpose(0, 2, 3, 1)
            nan = np.isnan(pixels)
            np.testing.assert_array_equal(np.isnan(planes), nan)
            assert_same_bits(np.where(nan, 0, planes), np.where(nan, 0, pixels))
            np.testing.assert_allclose(
                np.delete(planes, 3, -1),
                reference.conv2d(
                    np.delete(x, 3, -1), np.delete(kernel, 3, -1), padding=padding, groups=18
                ),
                rtol=1e-4,
                atol=1e-5,
            )
