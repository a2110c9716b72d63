"""Arrays of more than 2^31 elements: every pass reads, and writes, at both of their ends.

Inputs are pages of zeros that nobody has written to, which take no memory, with a few numbers at
their ends; or one number that is seen everywhere, by strides of 0. Results as large as that take
all of their memory: they are tried with ``FASTCONV_TEST_PROFILE=long`` where 12 GB are free.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import reference
from fastconv import functional
from trust_record import count

Array = npt.NDArray[Any]

LONG = os.environ.get("FASTCONV_TEST_PROFILE") == "long"
FORMATS = ("channels_last", "channels_first")
TALL, WIDE = 3 + 64 * 512, 3 + 64 * 1024  # 2^31 and some, where a 3x3 window at 64 meets the end
PLACES = (1, 513, 1025)  # of such windows
MOST_RESIDENT = 700 << 20

each_format = pytest.mark.parametrize("data_format", FORMATS)


def resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def zeros(*shape: int) -> Array:
    """Return zeros that take no memory until they are written to."""
    if "LD_PRELOAD" in os.environ:
        pytest.skip("a sanitizer would note something of every byte")
    assert np.prod(shape, dtype=object) > 2**31
    try:
        return np.zeros(shape, np.float32)
    except MemoryError:
        pytest.skip("this system grants no memory beyond what it has")


def picture() -> Array:
    """Return an image of one channel with more than 2^31 pixels: zeros but for its corners."""
    x = zeros(1, TALL, WIDE, 1)
    x[0, :3, :3, 0] = np.arange(9).reshape(3, 3) + 1
    x[0, -3:, -3:, 0] = np.arange(9).reshape(3, 3) + 21
    return x


def corners(x: Array) -> Array:
    """Return what a window of 3x3 sees in the first and in the last place."""
    return np.stack([x[0, :3, :3, 0], x[0, -3:, -3:, 0]])


def in_format(x: Array, data_format: str) -> Array:
    """Return an image of one channel in a data format."""
    return x if data_format == "channels_last" else x.reshape(1, 1, *x.shape[1:3])


@pytest.fixture
def small_resident() -> Iterator[None]:
    """Fail a test that leaves the process with much more memory than before."""
    before = resident()
    yield
    assert resident() - before < MOST_RESIDENT
    count("large arrays", "problems with small results")


@pytest.mark.usefixtures("small_resident")
@each_format
def test_convolution_of_a_large_image(data_format: str) -> None:
    """The last window of an image is summed, and its gradient comes back to the kernel."""
    x, kernel = picture(), np.random.default_rng(0).standard_normal((3, 3, 1, 2)).astype("f4")
    first, last = corners(x)
    given = in_format(x, data_format)
    words = {"strides": 64, "data_format": data_format}
    packed = functional.pack_kernel(kernel, (TALL, WIDE), **words)
    for weights in (kernel, packed):
        y = functional.conv2d(given, weights, **words)
        y = np.moveaxis(y, 1, -1) if data_format == "channels_first" else y
        assert y.shape == (*PLACES, 2)
        for window, found in ((first, y[0, 0, 0]), (last, y[0, -1, -1])):
            np.testing.assert_allclose(
                found, np.einsum("hw,hwo->o", window, kernel[:, :, 0]), rtol=1e-5
            )
        assert np.count_nonzero(y) == 4
    dy = np.zeros_like(y)
    dy[0, -1, -1] = 1, 2
    dy = np.moveaxis(dy, -1, 1) if data_format == "channels_first" else dy
    _, dkernel, dbias = functional.conv2d_backward(
        dy, given, kernel, needs=("kernel", "bias"), **words
    )
    np.testing.assert_allclose(dkernel[:, :, 0], last[..., None] * [1, 2], rtol=1e-6)
    assert dbias.tolist() == [1, 2]


@pytest.mark.usefixtures("small_resident")
@each_format
def test_convolution_of_a_large_batch(data_format: str) -> None:
    """The last channel of the last image is more than 2^31 elements from the first."""
    last = data_format == "channels_last"
    x = zeros(*((513, 64, 256, 257) if last else (513, 257, 64, 256)))
    x.flat[0], x[(-1, 0, 0, -1) if last else (-1, -1, 0, 0)] = 5, 7
    kernel = np.ones((1, 1, 257, 1), np.float32)
    words = {"strides": 64, "data_format": data_format}
    y = functional.conv2d(x, kernel, **words)
    assert (y.size, y[0].flat[0], y[-1].flat[0], np.count_nonzero(y)) == (513 * 4, 5, 7, 2)
    grads = functional.conv2d_backward(
        np.full_like(y, 2), x, kernel, needs=("kernel", "bias"), **words
    )
    assert grads.dkernel is not None
    assert (grads.dkernel.flat[0], grads.dkernel.flat[-1]) == (10, 14)
    assert (np.count_nonzero(grads.dkernel), grads.dbias) == (2, [2 * 513 * 4])


@pytest.mark.usefixtures("small_resident")
@each_format
def test_one_number_seen_everywhere(data_format: str) -> None:
    """Strides of 0 make an image of any size of one number; no copy is taken."""
    x = np.broadcast_to(np.float32(2), in_format(zeros(1, TALL, WIDE, 1), data_format).shape)
    kernel, words = np.ones((3, 3, 1, 2), np.float32), {"strides": 64, "data_format": data_format}
    y = functional.conv2d(x, kernel, **words)
    assert y.size == 2 * 513 * 1025
    assert np.all(y == 18)
    largest, indices = functional.max_pool2d(x, 3, return_indices=True, **words)
    assert np.all(largest == 2)
    places = [np.arange(n)[:, None] * 64 * step for n, step in ((513, WIDE), (1025, 1))]
    assert np.array_equal(indices.reshape(513, 1025), places[0] + places[1].T)
    assert np.all(functional.avg_pool2d(x, 3, **words) == 2)


@pytest.mark.usefixtures("small_resident")
def test_gradient_of_a_large_output() -> None:
    """dy of more than 2^31 elements: many channels become one."""
    dy, kernel = zeros(1, 2048, 8193, 128), np.ones((1, 1, 1, 128), np.float32)
    dy[0, 0, 0, 3], dy[0, -1, -1, -1] = 5, 7
    x = np.zeros((1, 2048, 8193, 1), np.float32)
    dx = functional.conv2d_backward(dy, x, kernel, needs=("x",)).dx
    assert dx is not None
    assert (dx[0, 0, 0, 0], dx[0, -1, -1, 0], np.count_nonzero(dx)) == (5, 7, 2)


@pytest.mark.usefixtures("small_resident")
def test_dense_of_many_rows() -> None:
    """A matrix of more than 2^31 elements times a column."""
    x, kernel = zeros(2**23 + 1, 257), np.arange(257, dtype=np.float32)[:, None]
    x[0, 1], x[-1, -1] = 5, 7
    y = functional.dense(x, kernel)
    assert (y[0, 0], y[-1, 0], np.count_nonzero(y)) == (5, 7 * 256, 2)


@pytest.mark.usefixtures("small_resident")
@each_format
def test_pooling_of_a_large_image(data_format: str) -> None:
    """Indices beyond 2^31 are given, and averages taken, to the last window."""
    x = picture()
    first, last = corners(x)
    given = in_format(x, data_format)
    words = {"pool_size": 3, "strides": 64, "data_format": data_format}
    y, indices = functional.max_pool2d(given, return_indices=True, **words)
    assert (y.flat[0], y.flat[-1], np.count_nonzero(y)) == (first.max(), last.max(), 2)
    assert indices.flat[0] == 2 * WIDE + 2
    assert indices.flat[-1] == TALL * WIDE - 1 > 2**31
    y, indices = functional.min_pool2d(given, return_indices=True, **words)
    assert (y.flat[0], y.flat[-1], np.count_nonzero(y)) == (first.min(), last.min(), 2)
    assert indices.flat[-1] == (TALL - 3) * WIDE + WIDE - 3 > 2**31
    mean = functional.avg_pool2d(given, **words)
    np.testing.assert_allclose(
        [mean.flat[0], mean.flat[-1]], [first.mean(), last.mean()], rtol=1e-6
    )


# ------------------------------------------------------------------------------ large results too


def free_gigabytes() -> float:
    """Return how much memory can be had."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    found = dict(line.split(":") for line in lines)
    return int(found["MemAvailable"].split()[0]) / 2**20


@pytest.fixture
def large_result() -> Iterator[None]:
    """Skip a test whose result of 9 GB is not to be had."""
    if not LONG or free_gigabytes() < 12:
        pytest.skip("takes 9 GB: FASTCONV_TEST_PROFILE=long and 12 free")
    yield
    count("large arrays", "with large ones")


@pytest.mark.usefixtures("large_result")
def test_large_result_of_a_transposed_convolution() -> None:
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(2, 2, 1, 1)
    x = np.zeros((1, TALL // 2, WIDE, 1), np.float32)
    x[0, -1, -1] = 5
    y = functional.conv2d_transpose(x, kernel, strides=(2, 1))
    assert y.size > 2**31
    assert y[0, -2:, -2:, 0].tolist() == [[5, 10], [15, 20]]
    assert not y[0, :64].any()


@pytest.mark.usefixtures("large_result")
def test_large_gradient_of_a_convolution() -> None:
    dy, kernel = np.ones((*PLACES, 1), np.float32), np.ones((3, 3, 1, 1), np.float32)
    dx = functional.conv2d_backward(dy, picture(), kernel, strides=64, needs=("x",)).dx
    assert dx is not None
    cut = np.zeros((1, 67, 67, 1))
    right = reference.conv2d_backward(dy[:, :2, :2], cut, kernel, strides=64).dx
    np.testing.assert_array_equal(dx[0, -67:, -67:], right[0])
    np.testing.assert_array_equal(dx[0, :67, :67], right[0])


@pytest.mark.usefixtures("large_result")
def test_large_gradient_of_a_kernel() -> None:
    """Two rows of a dense layer make a matrix of more than 2^31 elements."""
    x, dy = np.zeros((2, 65537), np.float32), np.zeros((2, 32769), np.float32)
    x[0, -1], x[1, -1], dy[0, -1], dy[1, -2] = 2, 3, 5, 7
    kernel = np.broadcast_to(np.float32(0), (65537, 32769))
    dkernel = functional.dense_backward(dy, x, kernel, needs=("kernel",)).dkernel
    assert dkernel is not None
    assert dkernel.size > 2**31
    assert dkernel[-1, -3:].tolist() == [0, 21, 10]
    assert not dkernel[:9].any()


@pytest.mark.usefixtures("large_result")
@pytest.mark.parametrize("given", ["x", "indices"])
def test_large_gradient_of_a_maximum(given: str) -> None:
    """Found again, or told by indices beyond 2^31."""
    x, dy = picture(), np.ones((*PLACES, 1), np.float32)
    words: dict[str, Any] = {"pool_size": 3, "strides": 64}
    if given == "indices":
        words["indices"] = functional.max_pool2d(x, return_indices=True, **words)[1]
    dx = functional.max_pool2d_backward(dy, x, **words)
    assert (dx[0, 2, 2, 0], dx[0, -1, -1, 0], dx[0, -3, -3, 0]) == (1, 1, 0)
    assert np.count_nonzero(dx[0, -64:]) == 1025


@pytest.mark.usefixtures("large_result")
def test_large_gradient_of_an_average() -> None:
    dy, shape = np.ones((*PLACES, 1), np.float32), (1, TALL, WIDE, 1)
    dx = functional.avg_pool2d_backward(dy, shape, 3, strides=64)
    assert np.all(dx[0, -3:, -3:] == np.float32(1 / 9))
    assert np.count_nonzero(dx[0, -64:]) == 3 * 3 * 1025


@pytest.mark.usefixtures("large_result")
def test_large_elementwise() -> None:
    x = picture()
    y = functional.exp(x)
    for ours, theirs in zip(corners(y), corners(x), strict=True):
        np.testing.assert_allclose(ours, np.exp(theirs), rtol=1e-6)
    assert np.all(y[0, -64:, :-3] == 1)


@pytest.mark.skipif(not LONG, reason="takes 10 s: FASTCONV_TEST_PROFILE=long")
@pytest.mark.usefixtures("small_resident")
@each_format
def test_global_pooling_of_a_large_image(data_format: str) -> None:
    """More than 2^31 numbers become one."""
    x = picture()
    first, last = corners(x)
    given = in_format(x, data_format)
    largest = functional.global_max_pool2d(given, data_format=data_format)
    assert largest.tolist() == [[last.max()]]
    mean = functional.global_avg_pool2d(given, data_format=data_format)
    np.testing.assert_allclose(mean, [[(first.sum() + last.sum()) / x.size]], rtol=1e-5)
