"""The numbers of a layer, and a few values of its result in float64 to check an engine against.

Every array is channels_last and 4-D here; an engine converts to the layout that it is fed, before
the clock starts.  Only some values are worked out, each straight from its sum, since a float64
result of a whole layer would take longer than the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.shapes import Layer

Array = NDArray[Any]

# Allowed error in units of the root of the sum of the squared terms.  Winograd F(6x6) of unit
# data stays below 1e-5; bfloat16 arithmetic, which some engines choose on their own, gives 2e-3.
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}

_SAMPLES = 16


class WrongAnswer(Exception):
    """A result that differs from the float64 reference by more than rounding."""


class Problem(NamedTuple):
    """The arrays of one layer; pooling layers have no kernel and no bias (empty arrays)."""

    layer: Layer
    x: Array
    kernel: Array
    bias: Array
    dy: Array


class Term(NamedTuple):
    """A value of the result and the scale of its rounding errors."""

    value: float
    scale: float


def aligned(array: Array) -> Array:
    """A C-ordered copy that begins on a cache line, so that no engine gains by luck."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


# Drawing 26 million numbers takes longer than measuring what they go through, so long arrays
# repeat: after a prime, lest a period of rows or channels make two of them alike.
_PERIOD = 1_048_583


_transposed: dict[int, tuple[Array, Array]] = {}


def channels_first(array: Array) -> Array:
    """A contiguous NCHW copy of an array of the last problem made, the same one every time."""
    # the array is kept with its copy, so that no other can come to have its id
    found = _transposed.get(id(array))
    if found is None:
        found = _transposed[id(array)] = array, aligned(array.transpose(0, 3, 1, 2))
    return found[1]


def make_problem(layer: Layer, dtype: str, seed: int = 0) -> Problem:
    """Unit-normal data, the same in every process; the kernel is scaled to unit outputs."""
    rng, single = np.random.default_rng(seed), dtype == "float32"
    _transposed.clear()

    def normal(*shape: int, scale: float = 1.0) -> Array:
        drawn = min(math.prod(shape), _PERIOD)
        values: Array = rng.standard_normal(drawn, np.float32 if single else np.float64)
        values *= scale
        return aligned(np.resize(values, shape))

    x, dy = normal(*layer.x_shape), normal(*layer.y_shape)
    if layer.is_pool:
        return Problem(layer, x, normal(0), normal(0), dy)
    kh, kw, depth, c_out = layer.kernel_shape
    kernel = normal(kh, kw, depth, c_out, scale=(kh * kw * depth) ** -0.5)
    return Problem(layer, x, kernel, normal(c_out), dy)


def made_denormal(problem: Problem) -> Problem:
    """The problem with numbers of x and dy so small that a CPU has to take special care of them."""
    tiny = np.finfo(problem.x.dtype).smallest_normal / 16  # of numbers that hardly exceed 4
    return problem._replace(x=aligned(problem.x * tiny), dy=aligned(problem.dy * tiny))


def learnable(x: Array) -> Array:
    """Ten classes that can be learnt: which two of an image's first twenty rows are brightest."""
    brightness = x[:, :20, :, 0].reshape(len(x), 10, -1).mean(axis=2)
    classes: Array = brightness.argmax(axis=1)
    return classes


def _pixels(layer: Layer, i: int, j: int) -> Iterator[tuple[int, int, int, int]]:
    """`(tap row, tap column, row, column)` of the input pixels that output `(i, j)` reads."""
    for u in range(layer.kernel[0]):
        row = i * layer.strides[0] + u * layer.dilation[0] - layer.padding[0]
        if 0 <= row < layer.h:
            for v in range(layer.kernel[1]):
                column = j * layer.strides[1] + v * layer.dilation[1] - layer.padding[1]
                if 0 <= column < layer.w:
                    yield u, v, row, column


def _readers(layer: Layer, row: int, column: int) -> Iterator[tuple[int, int, int, int]]:
    """`(tap row, tap column, i, j)` of the outputs that read input pixel `(row, column)`."""
    height, width = layer.output_size
    for u in range(layer.kernel[0]):
        i, odd = divmod(row + layer.padding[0] - u * layer.dilation[0], layer.strides[0])
        if odd == 0 and 0 <= i < height:
            for v in range(layer.kernel[1]):
                j, odd = divmod(column + layer.padding[1] - v * layer.dilation[1], layer.strides[1])
                if odd == 0 and 0 <= j < width:
                    yield u, v, i, j


def _sum(terms: list[Array]) -> Term:
    flat = np.concatenate([np.ravel(t).astype(np.float64) for t in terms] or [np.zeros(1)])
    return Term(float(flat.sum()), float(np.sqrt(np.square(flat).sum())))


def _conv_y(p: Problem, at: tuple[int, ...]) -> Term:
    n, i, j, o = at
    depth = p.kernel.shape[2]
    first = o // (p.layer.c_out // p.layer.groups) * depth
    kernel = p.kernel[..., o].astype(np.float64)
    terms = [
        p.x[n, r, c, first : first + depth] * kernel[u, v] for u, v, r, c in _pixels(p.layer, i, j)
    ]
    return _sum([*terms, p.bias[o : o + 1]])


def _conv_dx(p: Problem, at: tuple[int, ...]) -> Term:
    n, row, column, c = at
    depth, width = p.kernel.shape[2], p.layer.c_out // p.layer.groups
    outputs = slice(c // depth * width, (c // depth + 1) * width)
    kernel = p.kernel[:, :, c % depth, outputs].astype(np.float64)
    readers = _readers(p.layer, row, column)
    return _sum([p.dy[n, i, j, outputs] * kernel[u, v] for u, v, i, j in readers])


def _conv_dkernel(p: Problem, at: tuple[int, ...]) -> Term:
    u, v, a, o = at
    layer = p.layer
    channel = o // (layer.c_out // layer.groups) * p.kernel.shape[2] + a
    axes = []
    for tap, axis in ((u, 0), (v, 1)):
        outputs = np.arange(layer.output_size[axis])
        inputs = outputs * layer.strides[axis] + tap * layer.dilation[axis] - layer.padding[axis]
        inside = (inputs >= 0) & (inputs < (layer.h, layer.w)[axis])
        axes.append((outputs[inside], inputs[inside]))
    (i, rows), (j, columns) = axes
    x = p.x[:, rows[:, None], columns, channel].astype(np.float64)
    return _sum([x * p.dy[:, i[:, None], j, o]])


def _conv_dbias(p: Problem, at: tuple[int, ...]) -> Term:
    return _sum([p.dy[..., at[0]]])


def _pool_y(p: Problem, at: tuple[int, ...]) -> Term:
    n, i, j, c = at
    window = np.array([p.x[n, row, col, c] for _, _, row, col in _pixels(p.layer, i, j)])
    if p.layer.is_max:
        return Term(float(window.max()), 1.0)
    return Term(float(window.mean(dtype=np.float64)), 1.0)


def _pool_dx(p: Problem, at: tuple[int, ...]) -> Term:
    n, row, column, c = at
    terms = []
    for _, _, i, j in _readers(p.layer, row, column):
        pixels = [(r, q) for _, _, r, q in _pixels(p.layer, i, j)]
        share = 1.0 / len(pixels)
        if p.layer.is_max:
            share = float(max(pixels, key=lambda rq: p.x[n, rq[0], rq[1], c]) == (row, column))
        terms.append(p.dy[n, i, j, c] * share)
    return Term(_sum(terms).value, 1.0)


_VALUES = {"y": _conv_y, "dx": _conv_dx, "dkernel": _conv_dkernel, "dbias": _conv_dbias}
_POOL_VALUES = {"y": _pool_y, "dx": _pool_dx}


def check(problem: Problem, dtype: str, result: dict[str, Array]) -> None:
    """Compare a few values of each array of `result` with float64 sums.

    `result` holds "y", "dx", or "dkernel" and "dbias", channels_last.

    Raises
    ------
    WrongAnswer
        If a shape, a dtype or a value differs; the message names the array and the place.
    """
    layer = problem.layer
    shapes = {
        "y": layer.y_shape, "dx": layer.x_shape,
        "dkernel": layer.kernel_shape, "dbias": (layer.c_out,),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    for name, got in result.items():
        shape = shapes[name]
        if got.shape != shape or got.dtype != dtype:
            raise WrongAnswer(f"{name} is {got.dtype}{got.shape}, not {dtype}{shape}")
        places = [tuple(0 for _ in shape), tuple(n - 1 for n in shape)]
        places += [tuple(int(rng.integers(n)) for n in shape) for _ in range(_SAMPLES)]
        value_at = (_POOL_VALUES if layer.is_pool else _VALUES)[name]
        for at in places:
            value, scale = value_at(problem, at)
            # written so that a NaN fails
            if not abs(float(got[at]) - value) <= TOLERANCE[dtype] * scale:
                raise WrongAnswer(f"{name}{list(at)} is {got[at]!r}, not {value!r}")
