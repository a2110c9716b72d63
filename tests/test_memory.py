"""Memory: nothing grows with the number of calls, and arrays may have more than 2^31 elements.

The large arrays are pages of zeros that nobody has written to, which take no memory, with a few
numbers at their ends. Results as large as that take all of it: they are tried with
``FASTCONV_TEST_PROFILE=long`` where 12 GB are free.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
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


def resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


# -------------------------------------------------------------------------------------- many calls

# Right and wrong calls of every function in both dtypes, packed kernels, all numbers of threads,
# short-lived Python threads, models and files; then the growth over so many calls is printed.
MANY = """
    import gc, resource, sys, tempfile, threading
    import numpy as np
    import fastconv, operations
    from fastconv import functional
    from networks import blobs, compiled, small

    every = [op for t in ("float32", "float64") for op in operations.make_operations(t).values()]
    kernel = np.ones((3, 3, 5, 19), np.float32)
    large = np.ones((4, 40, 40, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)
    path = tempfile.mkdtemp() + "/model.safetensors"

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def mixed():
        for operation in every:
            operation.call()
            for wrong in ({{"strides": -1}}, {{"x": None}}, {{"out": large[0]}}):
                try:
                    operation.call(**wrong)
                except (TypeError, ValueError):
                    pass
        packed = functional.pack_kernel(kernel, input_size=(6, 7), padding=1)
        functional.conv2d(every[0].arrays["x"], packed, padding=1)
        return 4 * len(every) + 2

    def seldom(i):
        fastconv.set_num_threads(1 + i % 5)
        functional.conv2d(*large)
        thread = threading.Thread(target=mixed)
        thread.start()
        thread.join()
        model = compiled(small())
        model.fit(*blobs(32), verbose=0)
        model.save(path)
        fastconv.models.load_model(path).predict(blobs(4)[0], verbose=0)
        return mixed()

    kept = []
    for i in range(20):
        seldom(i)
    gc.collect()
    before, calls, i = resident(), 0, 0
    while calls < {calls}:
        calls += mixed() + (seldom(i) if i % 20 == 0 else 0)
        i += 1
    gc.collect()
    print(calls, resident() - before)
"""


def searched(folder: str) -> str:
    """Return PYTHONPATH with a folder before it; an empty entry would mean the current folder."""
    return os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))


@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer keeps what is freed")
def test_many_calls() -> None:
    """100,000 calls later (long: 3 million), the process is larger by less than 1 MB."""
    wanted = 3_000_000 if LONG else 100_000
    here = str(Path(__file__).parent)
    process = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(MANY.format(calls=wanted))],
        env={**os.environ, "PYTHONPATH": searched(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    calls, growth = map(int, process.stdout.split())
    assert calls >= wanted
    assert growth < 1 << 20, f"{growth:,} bytes more after {calls:,} calls"
    count("memory", "calls", calls)


# Gradients of kernels whose taps lie 2^25 columns or rows apart, plain, grouped and depthwise: the
# answers, then the growth of the process at its largest.
FAR = """
    import resource
    import numpy as np
    from fastconv import functional

    def largest():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    x, dy = np.ones((2, 8, 8, 16), np.float32), np.ones((2, 8, 8, 32), np.float32)
    before = largest()
    for groups in (1, 4, 16):
        for dilation in ((1, 2**25), (2**25, 1), (3, 2**20)):
            kernel = np.ones((3, 3, 16 // groups, 32), np.float32)
            words = dict(padding="same", dilation_rate=dilation, groups=groups, needs=("kernel",))
            dkernel = functional.conv2d_backward(dy, x, kernel, **words).dkernel
            assert (dkernel[1, 1] == 2 * 8 * 8).all()
            assert not dkernel[0, 0].any() and not dkernel[2, 2].any()
    print((largest() - before) * 1024)
"""


def test_taps_far_apart() -> None:
    """What lies between the taps of a dilated kernel is not packed for its gradient."""
    process = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(FAR)],
        env={**os.environ, "PYTHONPATH": searched(str(Path(__file__).parent))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 16 << 20


# ----------------------------------------------------------------------------------- large arrays

TALL, WIDE = 3 + 64 * 512, 3 + 64 * 1024  # 2^31 and some, where a 3x3 window at 64 meets the end
MOST_RESIDENT = 700 << 20


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


@pytest.fixture
def small_resident() -> Any:
    """Fail a test that leaves the process with much more memory than before."""
    before = resident()
    yield
    assert resident() - before < MOST_RESIDENT
    count("memory", "problems beyond 2^31 elements")


@pytest.mark.usefixtures("small_resident")
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_convolution_of_a_large_image(data_format: str) -> None:
    """The last window of an image is summed, and its gradient comes back to the kernel."""
    x, kernel = picture(), np.random.default_rng(0).standard_normal((3, 3, 1, 2)).astype("f4")
    first, last = corners(x)
    given = x.reshape(1, 1, TALL, WIDE) if data_format == "channels_first" else x
    words = {"strides": 64, "data_format": data_format}
    y = functional.conv2d(given, kernel, **words)
    y = np.moveaxis(y, 1, -1) if data_format == "channels_first" else y
    assert y.shape == (1, 513, 1025, 2)
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
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_pooling_of_a_large_image(data_format: str) -> None:
    """Indices beyond 2^31 are given, and averages taken, to the last window."""
    x = picture()
    first, last = corners(x)
    given = x.reshape(1, 1, TALL, WIDE) if data_format == "channels_first" else x
    words = {"pool_size": 3, "strides": 64, "data_format": data_format}
    y, indices = functional.max_pool2d(given, return_indices=True, **words)
    assert (y.flat[0], y.flat[-1], np.count_nonzero(y)) == (first.max(), last.max(), 2)
    assert indices.flat[0] == 2 * WIDE + 2
    assert indices.flat[-1] == TALL * WIDE - 1 > 2**31
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


large_results = pytest.mark.skipif(
    not LONG or free_gigabytes() < 12, reason="takes 9 GB: FASTCONV_TEST_PROFILE=long and 12 free"
)


@large_results
def test_large_results() -> None:
    """y, dx of a convolution and dx of poolings with more than 2^31 elements, at both ends."""
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(2, 2, 1, 1)
    small = np.zeros((1, TALL // 2, WIDE, 1), np.float32)
    small[0, -1, -1] = 5
    y = functional.conv2d_transpose(small, kernel, strides=(2, 1))
    assert y.size > 2**31
    assert y[0, -2:, -2:, 0].tolist() == [[5, 10], [15, 20]]
    del y, small
    dy = np.ones((1, 513, 1025, 1), np.float32)
    shape = (1, TALL, WIDE, 1)
    dx = functional.avg_pool2d_backward(dy, shape, 3, strides=64)
    assert np.all(dx[0, -3:, -3:] == np.float32(1 / 9))
    assert np.count_nonzero(dx[0, -64:]) == 3 * 3 * 1025
    del dx
    x = picture()
    dx = functional.max_pool2d_backward(dy, x, 3, strides=64)
    assert (dx[0, 2, 2, 0], dx[0, -1, -1, 0], dx[0, -3, -3, 0]) == (1, 1, 0)
    del dx
    kernel = np.ones((3, 3, 1, 1), np.float32)
    dx = functional.conv2d_backward(dy, x, kernel, strides=64, needs=("x",)).dx
    assert dx is not None
    cut = np.zeros((1, 67, 67, 1))
    right = reference.conv2d_backward(dy[:, :2, :2], cut, kernel, strides=64).dx
    np.testing.assert_array_equal(dx[0, -67:, -67:], right[0])
    count("memory", "problems beyond 2^31 elements", 4)


@pytest.mark.skipif(not LONG, reason="takes 10 s: FASTCONV_TEST_PROFILE=long")
@pytest.mark.usefixtures("small_resident")
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_global_pooling_of_a_large_image(data_format: str) -> None:
    """More than 2^31 numbers become one."""
    x = picture()
    first, last = corners(x)
    given = x.reshape(1, 1, TALL, WIDE) if data_format == "channels_first" else x
    largest = functional.global_max_pool2d(given, data_format=data_format)
    assert largest.tolist() == [[last.max()]]
    mean = functional.global_avg_pool2d(given, data_format=data_format)
    np.testing.assert_allclose(mean, [[(first.sum() + last.sum()) / x.size]], rtol=1e-5)
