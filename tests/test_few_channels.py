"""Pixels or taps in the lanes, for the sake of few channels or of planes: where blocks end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import reference
import strategies
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from guards import GuardedOutput, guarded_input
from strategies import Conv2DProblem

Array = npt.NDArray[Any]

FMA_ISAS = tuple(isa for isa in _core.available_isas() if isa != "generic")

# n, h, w, c_in, c_out, kh, kw, strides, padding
LAYERS = {
    "lenet first": Conv2DProblem(2, 28, 28, 1, 6, 5, 5, 1, "same"),
    "lenet second": Conv2DProblem(2, 14, 14, 6, 16, 5, 5),
    "one output": Conv2DProblem(2, 9, 17, 8, 1, 3, 3, 1, 1),
    "two outputs": Conv2DProblem(1, 11, 16, 3, 2, 3, 3, 1, 1),
    "four outputs": Conv2DProblem(2, 8, 8, 1, 4, 3, 3),
    "half a unit from few": Conv2DProblem(2, 11, 30, 3, 8, 3, 3, 1, 1),
    "half a unit from five": Conv2DProblem(2, 11, 30, 5, 8, 3, 3, 1, 1),
    "half a float64 unit from few": Conv2DProblem(2, 9, 21, 1, 4, 5, 4, 1, 2),
    "seven outputs, many channels": Conv2DProblem(1, 9, 33, 61, 7, 3, 4, 1, 2),
    "more terms than a chain": Conv2DProblem(1, 6, 10, 128, 5, 5, 5, 1, 2),
    "wider than a block": Conv2DProblem(1, 4, 301, 40, 5, 3, 3, 1, 1),
    "taller than a block": Conv2DProblem(1, 301, 4, 3, 6, 3, 3, 1, 1),
    "padding beyond the image": Conv2DProblem(1, 3, 4, 16, 6, 5, 5, 1, 7),
    "uneven padding": Conv2DProblem(2, 7, 9, 2, 5, 4, 3, 1, ((0, 3), (2, 0))),
    "rows skipped": Conv2DProblem(2, 13, 15, 1, 6, 3, 5, (2, 1), 1),
    "rows dilated": Conv2DProblem(1, 15, 16, 4, 3, 3, 3, 1, 2, (2, 1)),
    "rgb in, many out": Conv2DProblem(2, 10, 35, 3, 40, 3, 3, 1, 1),
    "from four": Conv2DProblem(1, 9, 19, 4, 64, 3, 3, 1, 1),
    "short rows to pixels": Conv2DProblem(2, 9, 13, 1, 3, 3, 4, 1, (1, 0)),
    "short rows to pixels, in blocks": Conv2DProblem(1, 700, 20, 1, 8, 3, 3, 1, 1),
    "short rows to planes": Conv2DProblem(2, 14, 26, 3, 40, 5, 3, 1, (2, 1)),
    "one channel to planes": Conv2DProblem(3, 28, 28, 1, 32, 3, 3),
    "rows of a unit that share": Conv2DProblem(3, 9, 31, 16, 16, 3, 3, 1, 1),
    "rows of a few that share": Conv2DProblem(2, 12, 15, 5, 11, 4, 3, 1, (2, 1)),
    "many columns that lack taps": Conv2DProblem(2, 14, 15, 6, 16, 7, 7, 1, 3),
    "rows in one set of the cache": Conv2DProblem(1, 12, 64, 16, 20, 5, 3, 1, 1),
    "rows of 3 taps": Conv2DProblem(3, 11, 21, 1, 33, 3, 3, 1, 1),
    "rows of 3 taps, strided": Conv2DProblem(2, 15, 21, 1, 20, 3, 3, 2, ((2, 0), (0, 1))),
    "rows of 6 taps to a unit": Conv2DProblem(2, 8, 13, 2, 16, 3, 3, 1, 1, (2, 1)),
    "rows of 9 taps to a unit": Conv2DProblem(2, 8, 33, 3, 16, 3, 3, 1, 1),
    "repeated edges": Conv2DProblem(1, 8, 18, 2, 5, 3, 3, 1, 1, padding_mode="edge"),
    "rgb at stride 2": Conv2DProblem(2, 21, 24, 3, 17, 7, 7, 2, 3),
    "rgb at stride 2, long rows": Conv2DProblem(2, 9, 112, 3, 16, 3, 3, 2, 1),
    "one channel at stride 2, long odd rows": Conv2DProblem(2, 11, 131, 1, 9, 7, 5, 2, (3, 0)),
    "long rows at a stride in blocks": Conv2DProblem(1, 11, 700, 3, 8, 7, 7, 2, 3),
    "long rows at uneven strides": Conv2DProblem(1, 13, 163, 2, 10, 5, 5, (2, 3), (2, 1)),
    "long rows, stride beyond the kernel": Conv2DProblem(1, 14, 260, 3, 8, 2, 3, (3, 5)),
    "long rows of more than a chain": Conv2DProblem(1, 7, 100, 1, 130, 3, 3, 2, 1),
    "long rows that end with one unit": Conv2DProblem(1, 7, 160, 3, 8, 3, 3, 2, 1),
    "long rows in one set of the cache": Conv2DProblem(1, 33, 128, 3, 20, 3, 3, 2, 1),
    "long rows, padding beyond the image": Conv2DProblem(1, 3, 100, 2, 8, 3, 3, 2, (4, 9)),
    "rgb at stride 4": Conv2DProblem(1, 37, 33, 3, 24, 11, 11, 4, 2),
    "strides of its own": Conv2DProblem(2, 13, 17, 2, 16, 3, 5, (3, 2), (2, 0)),
    "stride beyond the kernel": Conv2DProblem(1, 14, 17, 3, 19, 2, 2, (3, 5)),
    "cropped": Conv2DProblem(1, 16, 19, 3, 16, 3, 3, 2, ((0, 1), (0, 0))),
    "wider than a block at stride 2": Conv2DProblem(1, 9, 601, 3, 8, 3, 3, 2, 1),
    "more taps than lanes": Conv2DProblem(1, 20, 40, 9, 33, 3, 3, 2, 1),
    "chains of a prime number": Conv2DProblem(1, 7, 15, 137, 11, 3, 3, 1, 1),
    "twelve outputs": Conv2DProblem(2, 8, 16, 100, 12, 3, 3, 1, 1),
    "two chains of five outputs": Conv2DProblem(2, 7, 15, 137, 5, 3, 3, 1, ((0, 2), (1, 0))),
    "padding beyond the kernel": Conv2DProblem(1, 5, 9, 8, 3, 2, 3, 1, 5),
    "rows of taps": Conv2DProblem(2, 28, 28, 6, 1, 5, 5, 1, "same"),
    "rows of taps, some rows at a time": Conv2DProblem(1, 150, 90, 9, 2, 3, 3, 1, 1),
    "rows of taps, four chains": Conv2DProblem(2, 7, 15, 137, 3, 3, 3, 1, ((0, 2), (1, 0))),
    "rows of taps, padding beyond the kernel": Conv2DProblem(1, 9, 13, 8, 3, 2, 3, 1, 5),
    "rows of taps, back": Conv2DProblem(2, 61, 90, 2, 19, 3, 3, 1, "same"),
    "rows of taps, too wide": Conv2DProblem(1, 3, 2100, 8, 1, 3, 3, 1, 1),
    "groups of four": Conv2DProblem(2, 9, 31, 48, 48, 3, 3, 1, 1, groups=12),
    "groups of four, 5 taps": Conv2DProblem(1, 9, 8, 16, 16, 5, 5, (1, 2), 2, groups=4),
    "groups of four, dilated": Conv2DProblem(1, 9, 20, 32, 32, 3, 3, 1, 2, (2, 3), groups=8),
    "groups of eight": Conv2DProblem(2, 8, 15, 80, 80, 3, 3, 1, 1, groups=10),
    "groups of eight, strided": Conv2DProblem(2, 9, 17, 160, 160, 3, 3, 2, 1, groups=20),
    "groups of eight, strides of its own": Conv2DProblem(
        3, 13, 20, 32, 32, 7, 5, (2, 3), (3, 1), groups=4
    ),
    "groups of four, phases of three taps": Conv2DProblem(2, 17, 9, 48, 48, 5, 6, 2, 2, groups=12),
    "groups of four, phases without rows": Conv2DProblem(2, 1, 3, 16, 16, 3, 3, 2, 1, groups=4),
    "groups of sixteen, strided": Conv2DProblem(
        2, 14, 15, 160, 160, 3, 3, 2, ((0, 1), (1, 0)), groups=10
    ),
    "groups of four, rows that miss taps": Conv2DProblem(1, 12, 9, 32, 32, 3, 3, 4, 1, groups=8),
    "groups of four, wider than a block": Conv2DProblem(1, 3, 241, 16, 16, 3, 3, 2, 1, groups=4),
    "groups of eight, edges": Conv2DProblem(
        1, 7, 120, 16, 16, 2, 3, 1, ((0, 1), (1, 1)), groups=2, padding_mode="edge"
    ),
    "one tap": Conv2DProblem(2, 7, 9, 61, 33, 1, 1),
    "one tap, chains of many channels": Conv2DProblem(2, 4, 8, 264, 20, 1, 1),
    "one tap, blocks of many pixels": Conv2DProblem(1, 17, 33, 130, 9, 1, 1),
    "one tap, strides": Conv2DProblem(2, 41, 42, 40, 48, 1, 1, 2),
    "one tap, strides of its own": Conv2DProblem(3, 15, 33, 20, 130, 1, 1, (3, 2)),
    "one tap, blocks of parts of rows": Conv2DProblem(1, 99, 60, 17, 24, 1, 1, 2),
    "one tap, one output": Conv2DProblem(3, 17, 40, 64, 1, 1, 1),
    "one tap, two outputs": Conv2DProblem(2, 24, 32, 48, 2, 1, 1),
    "one tap, three outputs, ragged": Conv2DProblem(2, 13, 17, 35, 3, 1, 1),
    "one tap, five outputs, two chains": Conv2DProblem(2, 9, 70, 144, 5, 1, 1),
    "one tap, seven outputs, strides": Conv2DProblem(2, 21, 23, 32, 7, 1, 1, 2),
    "one tap, few outputs, few pixels": Conv2DProblem(1, 3, 5, 35, 3, 1, 1),
    "one tap, few outputs, few images": Conv2DProblem(3, 2, 2, 16, 2, 1, 1),
    "one tap, six outputs, three chains": Conv2DProblem(1, 13, 20, 290, 6, 1, 1),
    "one tap, four outputs from two": Conv2DProblem(2, 7, 19, 2, 4, 1, 1, (1, 3)),
    "one tap, few outputs, more pixels than an item": Conv2DProblem(2, 19, 29, 96, 2, 1, 1),
    "one tap, few outputs, padded": Conv2DProblem(2, 9, 21, 16, 3, 1, 1, 1, 2),
    "padded with ones": Conv2DProblem(1, 8, 18, 3, 6, 3, 3, 1, 1, padding_value=1.0),
}


def problem_of(layer: str, data_format: str, dtype: str) -> Conv2DProblem:
    """Return a layer in a data format and a dtype."""
    fields = {**LAYERS[layer].__dict__, "data_format": data_format, "dtype": dtype}
    return Conv2DProblem(**fields)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_whole_numbers_are_exact(isa: str, layer: str, data_format: str, dtype: str) -> None:
    """Nothing is rounded, no value beside an input is used, no byte beside y is written."""
    problem = problem_of(layer, data_format, dtype)
    a = problem.draw_arrays(strategies.whole_numbers)
    x, dy = guarded_input(a["x"]), guarded_input(a["dy"])
    words = problem.geometry
    y = GuardedOutput(problem.y_shape, dtype)
    functional.conv2d(
        x, a["kernel"], a["bias"], activation="relu", algorithm="direct", out=y.array, **words
    )
    y.assert_intact()
    expected = np.maximum(reference.conv2d(a["x"], a["kernel"], a["bias"], **words), 0)
    np.testing.assert_array_equal(y.array, expected)
    packed = functional.pack_kernel(
        a["kernel"], input_size=(problem.h, problem.w), algorithm="direct", **words
    )
    for residual, term in ((None, 0), (dy, a["dy"])):
        y = GuardedOutput(problem.y_shape, dtype)
        ending = {"activation": "relu", "residual": residual, "out": y.array}
        functional.conv2d(x, packed, a["bias"], algorithm="direct", **ending, **words)
        y.assert_intact()
        expected = reference.conv2d(a["x"], a["kernel"], a["bias"], **words) + term
        np.testing.assert_array_equal(y.array, np.maximum(expected, 0))

    got = functional.conv2d_backward(dy, x, a["kernel"], algorithm="direct", **words)
    wanted = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    for name, gradient, exact in zip(("dx", "dkernel", "dbias"), got, wanted, strict=True):
        np.testing.assert_array_equal(gradient, exact, err_msg=name)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_bits(layer: str, dtype: str) -> None:
    """y and dx have the same bits in both formats, and they and dkernel on every FMA ISA."""
    problem = problem_of(layer, "channels_last", dtype)
    planes = problem_of(layer, "channels_first", dtype)
    a = problem.draw_arrays()
    results: list[tuple[Array, Array, Array]] = []
    for isa in FMA_ISAS:
        with _core.forced_isa(isa):
            y = functional.conv2d(a["x"], a["kernel"], a["bias"], **problem.geometry)
            g = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
            x, dy = (np.ascontiguousarray(a[name].transpose(0, 3, 1, 2)) for name in ("x", "dy"))
            y_planes = functional.conv2d(x, a["kernel"], a["bias"], **planes.geometry)
            dx = functional.conv2d_backward(dy, x, a["kernel"], needs=("x",), **planes.geometry).dx
        assert_same_bits(y_planes.transpose(0, 2, 3, 1), y)
        assert dx is not None
        assert g.dx is not None
        assert_same_bits(dx.transpose(0, 2, 3, 1), g.dx)
        assert g.dkernel is not None
        results.append((y, g.dx, g.dkernel))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert_same_bits(one, two)


def test_an_infinity_stays_where_it_belongs(isa: str) -> None:
    """A pixel of x at the right edge is seen by the taps that reach it, and by no other."""
    problem = Conv2DProblem(1, 6, 20, 1, 4, 3, 3)
    a = problem.draw_arrays()
    a["x"][0, 0, 19, 0] = np.inf
    gradients = functional.conv2d_backward(
        a["dy"], a["x"], a["kernel"], needs=("kernel",), **problem.geometry
    )
    assert gradients.dkernel is not None
    seen = np.zeros((3, 3), bool)
    seen[0, 2] = True
    np.testing.assert_array_equal(~np.isfinite(gradients.dkernel).all(axis=(2, 3)), seen)


def test_an_infinite_gradient_stays_where_it_belongs(isa: str) -> None:
    """It reaches the pixels below its own taps, at strides that do not divide the kernel too."""
    for stride, size in ((1, 3), (2, 3), (4, 11), (5, 2)):
        problem = Conv2DProblem(1, 40, 41, 3, 16, size, size, stride)
        a = problem.draw_arrays()
        a["dy"][0, 2, 3, 5] = np.inf
        dx = functional.conv2d_backward(
            a["dy"], a["x"], a["kernel"], needs=("x",), **problem.geometry
        ).dx
        assert dx is not None
        reached = np.zeros((40, 41, 3), bool)
        rows, columns = 2 * stride, 3 * stride
        reached[rows : rows + size, columns : columns + size] = True
        np.testing.assert_array_equal(~np.isfinite(dx[0]), reached)


def test_a_tile_of_one_unit_reads_no_further(isa: str) -> None:
    """Of 8 pixels of 64 channels, which end at a page that faults, none beyond the last is read."""
    script = """
        import ctypes, mmap, sys
        import numpy as np
        from fastconv import functional
        from fastconv import _fastconv_core as core
        memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        fault = ctypes.c_void_p(start + mmap.PAGESIZE)
        assert ctypes.CDLL(None).mprotect(fault, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
        x = np.frombuffer(memory, np.float64, 512, mmap.PAGESIZE - 4096).reshape(1, 64, 1, 8)
        with core.forced_isa(sys.argv[1]):
            functional.conv2d(x, np.ones((1, 1, 64, 1)), data_format="channels_first")
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script), isa]
    subprocess.run(command, check=True, timeout=60)


@pytest.mark.parametrize("width", [9, 10, 18])
@pytest.mark.parametrize("outputs", [17, 33])
def test_a_last_channel_by_itself(isa: str, outputs: int, width: int) -> None:
    """Blocks of channels whose last has one: lanes of zeros, at row ends, lie amid those of x."""
    rng = np.random.default_rng(outputs)
    x = rng.standard_normal((1, 22, width + 2, 3)).astype(np.float32)
    kernel = rng.standard_normal((7, 3, 3, outputs)).astype(np.float32)
    dy = rng.standard_normal((1, 16, width, outputs)).astype(np.float32)
    dx = functional.conv2d_backward(dy, x, kernel, needs=("x",)).dx
    expected = reference.conv2d_backward(dy, x, kernel).dx
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-3)
