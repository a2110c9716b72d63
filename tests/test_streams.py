"""Results of 32 MB and more are stored past the caches: the same numbers all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import reference
import strategies
from fastconv import functional

Array = npt.NDArray[Any]

LINE = 64
LARGE = 32 << 20


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Return small whole numbers: sums of them are exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


class Output:
    """An array of NaN amid other NaN, ``offset`` bytes after the begin of a line."""

    def __init__(self, shape: tuple[int, ...], dtype: str, offset: int) -> None:
        elements = int(np.prod(shape))
        self._memory = np.full(elements + 4 * LINE, np.nan, dtype)
        element = self._memory.itemsize
        self._first = LINE + (offset - self._memory.ctypes.data) % LINE // element
        self.array = self._memory[self._first : self._first + elements].reshape(shape)
        assert self.array.ctypes.data % LINE == offset
        assert self.array.nbytes > LARGE

    def assert_intact(self) -> None:
        """Assert that nothing beside the array was written."""
        assert np.isnan(self._memory[: self._first]).all()
        assert np.isnan(self._memory[self._first + self.array.size :]).all()


# Whole lines of channels, or of pixels, and not.
@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(("kernel", "more"), [(1, 0), (3, 0), (3, 1)])
def test_results_past_the_caches(
    isa: str, kernel: int, more: int, data_format: str, dtype: str
) -> None:
    """Wherever they lie they are exact, and nothing beside them is written."""
    itemsize = np.dtype(dtype).itemsize
    last = data_format == "channels_last"
    sizes, c_in = (515, 512 if last else 512 + more), 20 if kernel == 1 else 4
    c_out = 2 * LINE // itemsize + (more if last else 0)
    x = numbers((1, *sizes, c_in) if last else (1, c_in, *sizes), dtype, 0)
    weights, bias = numbers((kernel, kernel, c_in, c_out), dtype, 1), numbers((c_out,), dtype, 2)
    words: dict[str, Any] = {"padding": "same", "activation": "relu", "data_format": data_format}
    expected = reference.conv2d(x, weights, bias, **words)
    for offset in (0, itemsize):
        out = Output(expected.shape, dtype, offset)
        functional.conv2d(x, weights, bias, algorithm="direct", out=out.array, **words)
        np.testing.assert_array_equal(out.array, expected)
        out.assert_intact()


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("pool_size", [2, 3])
def test_gradients_of_pooling_past_the_caches(
    isa: str, pool_size: int, data_format: str, dtype: str
) -> None:
    """dy is where the window's first maximum is, found again or told."""
    lanes = 128 // np.dtype(dtype).itemsize
    shape = (1, 514, 512, lanes) if data_format == "channels_last" else (1, lanes, 514, 512)
    words: dict[str, Any] = {"pool_size": pool_size, "strides": 2, "data_format": data_format}
    x = numbers(shape, dtype, 0)
    y = functional.max_pool2d(x, **words)
    dy = numbers(y.shape, dtype, 1)
    _, index = functional.max_pool2d(x, return_indices=True, **words)
    plane = (1, 2) if data_format == "channels_last" else (2, 3)
    expected = np.zeros(shape, dtype)
    flat = np.moveaxis(expected, plane, (2, 3))
    batch, channel = np.ogrid[:1, :lanes]
    at = np.moveaxis(index, plane, (2, 3)).reshape(1, lanes, -1)
    gradients = np.moveaxis(dy, plane, (2, 3)).reshape(1, lanes, -1)
    np.add.at(flat, (batch[..., None], channel[..., None], at // 512, at % 512), gradients)
    for dx in (
        functional.max_pool2d_backward(dy, x, **words),
        functional.max_pool2d_backward(dy, x, indices=index, **words),
    ):
        np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_maxima_past_the_caches(isa: str, data_format: str) -> None:
    """They are those of the four pixels."""
    shape = (1, 1028, 1024, 32) if data_format == "channels_last" else (1, 32, 1028, 1024)
    x = numbers(shape, "float32", 0)
    y = functional.max_pool2d(x, data_format=data_format)
    assert y.nbytes > LARGE
    if data_format == "channels_last":
        expected = x.reshape(1, 514, 2, 512, 2, 32).max((2, 4))
    else:
        expected = x.reshape(1, 32, 514, 2, 512, 2).max((3, 5))
    np.testing.assert_array_equal(y, expected)


# (height, width, c_in), (kernel, c_out a group), strides, groups, transposed: rows of planes that
# begin within lines, and short ones; depthwise and narrow groups, forward and, as transposed
# convolutions, back through a stride.
SAMPLES: dict[str, tuple[tuple[int, int, int], tuple[int, int], int, int, bool]] = {
    "stem": ((75, 171, 3), (3, 32), 2, 1, False),
    "rows": ((90, 101, 3), (3, 16), 1, 1, False),
    "short rows": ((41, 43, 1), (3, 16), 1, 1, False),
    "depthwise": ((61, 64, 64), (3, 1), 1, 64, False),
    "depthwise back": ((28, 24, 64), (3, 1), 2, 64, True),
    "groups": ((40, 28, 64), (3, 8), 1, 8, False),
    "groups back": ((28, 28, 64), (3, 8), 2, 8, True),
}


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("name", SAMPLES)
def test_batches_past_the_caches(isa: str, name: str, data_format: str, dtype: str) -> None:
    """Each image of a large result is that of a small one, and nothing beside them is written."""
    (h, w, c_in), (taps, c_out), strides, groups, transposed = SAMPLES[name]
    sizes = (c_in, h, w) if data_format == "channels_first" else (h, w, c_in)
    one = numbers((1, *sizes), dtype, 0)
    channels = (c_out, c_in) if transposed else (c_in // groups, c_out * groups)
    kernel = numbers((taps, taps, *channels), dtype, 1)
    words: dict[str, Any] = {"strides": strides, "padding": "same", "groups": groups}
    words |= {"data_format": data_format}
    convolve = functional.conv2d_transpose if transposed else functional.conv2d
    expected = convolve(one, kernel, **words)
    n = LARGE // expected.nbytes + 2
    x = np.repeat(one, n, axis=0)
    for offset in (0, np.dtype(dtype).itemsize):
        out = Output((n, *expected.shape[1:]), dtype, offset)
        convolve(x, kernel, out=out.array, **words)
        assert (out.array == expected).all()
        out.assert_intact()
