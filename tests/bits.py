"""What the contract of the same bits is about: problems, what is computed of them, and variants.

``compute`` gives every result of a problem by name. A variant is the same problem put differently
(in company, in the other data format, elsewhere in memory), whose results, or some of them, must
have the same bits.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

import strategies
from fastconv import functional
from strategies import Conv2DProblem, DenseProblem, PoolProblem, TransposeProblem

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: hides no installed fastconv

from benchmarks.shapes import LAYERS, Layer

Array = npt.NDArray[Any]
Results = dict[str, Array]
Problem = Conv2DProblem | TransposeProblem | DenseProblem | PoolProblem

# Every algorithm that convolutions can be asked for; dense layers and pooling have no choice.
ALGORITHMS = ("auto", "direct", "winograd")

# What belongs to one sample, so that neither the batch nor the data format may change its bits.
OF_A_SAMPLE = {"y", "packed", "dx", "max", "indices", "min", "dx max", "dx min", "dx indices"}
OF_A_SAMPLE |= {"avg", "avg padded", "dx avg", "global max", "dx global max", "dx global avg"}
OF_A_SAMPLE |= {"global indices", "dx global indices"}

# Large enough to be divided among threads, and each with something ragged about it.
LARGE: dict[str, Problem] = {
    "3x3": Conv2DProblem(4, 28, 28, 64, 64, 3, 3, 1, 1),
    "3x3 ragged": Conv2DProblem(3, 29, 31, 67, 65, 3, 3, 1, 1),
    "3x3 float64": Conv2DProblem(2, 28, 28, 48, 40, 3, 3, 1, 1, dtype="float64"),
    "3x3 small maps": Conv2DProblem(4, 7, 7, 256, 128, 3, 3, 1, 1),
    "3x3 one image": Conv2DProblem(1, 56, 56, 32, 64, 3, 3, 1, 1),
    "3x3 stride 2": Conv2DProblem(2, 56, 56, 33, 64, 3, 3, 2, 1),
    "4x4 float64": Conv2DProblem(2, 21, 30, 40, 33, 4, 4, 1, 1, dtype="float64"),
    "9x9": Conv2DProblem(2, 28, 31, 40, 48, 9, 9, 1, 4),
    "5x5 stride 2": Conv2DProblem(2, 28, 31, 48, 65, 5, 5, 2, 2),
    "1x1": Conv2DProblem(4, 28, 28, 128, 96, 1, 1),
    "1x1 long sums": Conv2DProblem(2, 14, 14, 1024, 64, 1, 1),
    "1x1 stride 2": Conv2DProblem(2, 28, 28, 130, 160, 1, 1, 2),
    "5x5 lenet": Conv2DProblem(32, 28, 28, 1, 6, 5, 5),
    "5x5 lenet second": Conv2DProblem(32, 14, 14, 6, 16, 5, 5),
    "7x7 stem": Conv2DProblem(2, 112, 112, 3, 64, 7, 7, 2, 3),
    "3x3 stem": Conv2DProblem(2, 57, 66, 3, 40, 3, 3, 1, 1),
    "depthwise": Conv2DProblem(3, 56, 56, 67, 67, 3, 3, 1, 1, 1, 67),
    "grouped": Conv2DProblem(2, 28, 28, 64, 64, 3, 3, 1, 1, 1, 4),
    "dilated": Conv2DProblem(2, 38, 38, 32, 32, 3, 3, 1, 6, 6),
    "wide": Conv2DProblem(1, 8, 2500, 9, 17, 3, 3, 1, 1),
    "transposed": TransposeProblem(3, 16, 16, 64, 48, 4, 4, 2, "same"),
    "dense": DenseProblem(128, 400, 120),
    "pool 2x2": PoolProblem(4, 56, 56, 64),
    "pool 3x3": PoolProblem(3, 57, 57, 67, 3, 2, 1),
    "pool few channels": PoolProblem(16, 112, 112, 3, 3, 2, 1),
}

TINY: dict[str, Problem] = {
    "one number": Conv2DProblem(2, 1, 1, 1, 1, 1, 1),
    "one pixel": Conv2DProblem(3, 1, 1, 9, 5, 1, 1),
    "taps far apart": Conv2DProblem(3, 2, 1200, 5, 3, 1, 3, 1, "same", (1, 1100)),
    "pointwise": Conv2DProblem(4, 6, 7, 16, 9, 1, 1),
    "8x8": Conv2DProblem(3, 8, 8, 1, 4, 3, 3),
    "tails": Conv2DProblem(3, 5, 7, 5, 19, 3, 2, 1, "same"),
    "depthwise": Conv2DProblem(3, 5, 7, 11, 11, 3, 3, 1, 1, 1, 11),
    "float64": Conv2DProblem(3, 6, 6, 7, 9, 3, 3, dtype="float64"),
    "transposed": TransposeProblem(3, 3, 4, 5, 7, 3, 3, 2, "same"),
    "dense": DenseProblem(5, 7, 3),
    "dense few outputs": DenseProblem(40, 31, 3),
    "dense few inputs": DenseProblem(19, 2, 67),
    "pool": PoolProblem(3, 5, 6, 5, 3, 2, 1),
}


def of_table(layer: Layer, *, whole: bool) -> Problem:
    """Return a layer of the benchmark tables as a problem: one whole image, or two cut small.

    Cutting leaves about eight outputs each way, and channels enough to split sums and panels.
    """
    if layer.op == "dense":
        most = 10**6 if whole else 1030
        return DenseProblem(8, min(layer.c_in, most), min(layer.c_out, most // 3))
    size, c_in, c_out = [layer.h, layer.w], layer.c_in, layer.c_out
    if layer.groups == 1 and not (whole or layer.is_pool):
        c_in, c_out = min(c_in, 288), min(c_out, 112)
    if not (whole or layer.is_global):
        for axis, k in enumerate(layer.kernel):
            reach = (k - 1) * layer.dilation[axis] + 1 - 2 * layer.padding[axis]
            size[axis] = min(size[axis], max(1, reach + 7 * layer.strides[axis] + axis))
    n, (h, w) = 1 if whole else 2, size
    if layer.is_pool:
        return PoolProblem(n, h, w, layer.c_in, layer.kernel, layer.strides, layer.padding)
    return Conv2DProblem(
        *(n, h, w, c_in, c_out, *layer.kernel),
        *(layer.strides, layer.padding, layer.dilation, layer.groups),
    )


WHOLE = os.environ.get("FASTCONV_TEST_PROFILE") == "long"
TABLE = {layer.name: of_table(layer, whole=WHOLE) for layer in LAYERS}


def any_problem() -> st.SearchStrategy[Problem]:
    """Make a problem of any kind."""
    return st.one_of(
        strategies.conv2d_problems(),
        strategies.conv2d_problems(),
        strategies.transpose_problems(),
        strategies.dense_problems(),
        strategies.pool_problems(),
    )


def algorithms_of(problem: Problem) -> tuple[str, ...]:
    """List the algorithms that a problem can be asked to be computed by."""
    if isinstance(problem, TransposeProblem):
        return ("auto", "direct")
    return ALGORITHMS if isinstance(problem, Conv2DProblem) else ("auto",)


def offers(problem: Problem, algorithm: str) -> bool:
    """Whether an algorithm fits a problem; "auto" and "direct" fit all."""
    if algorithm in ("auto", "direct"):
        return True
    assert isinstance(problem, Conv2DProblem)
    words = {**problem.geometry, "algorithm": algorithm, "input_size": (problem.h, problem.w)}
    try:
        functional.pack_kernel(np.zeros(problem.kernel_shape, problem.dtype), **words)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------------- what is computed


def draw(
    problem: Problem,
    values: Callable[[np.random.Generator, tuple[int, ...], str], Array] = strategies.unit_normals,
) -> Results:
    """Return the arrays that a problem is computed from, by name; their sums round everywhere."""
    if isinstance(problem, PoolProblem):
        x, dy = problem.draw_arrays(values)
        return {"x": x, "dy": dy * np.asarray(0.3, dy.dtype)}
    return problem.draw_arrays(values)


def compute(problem: Problem, a: Results, algorithm: str = "auto") -> Results:
    """Return everything that the functional face computes of a problem, by name."""
    if isinstance(problem, Conv2DProblem):
        return convolve(problem, a, algorithm)
    if isinstance(problem, TransposeProblem):
        words = {**problem.geometry, "algorithm": algorithm}
        grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **words)
        y = functional.conv2d_transpose(a["x"], a["kernel"], a["bias"], **words)
        return {"y": y, **grads._asdict()}
    if isinstance(problem, DenseProblem):
        grads = functional.dense_backward(a["dy"], a["x"], a["kernel"])
        y = functional.dense(a["x"], a["kernel"], a["bias"], activation="relu")
        return {"y": y, **grads._asdict()}
    return pool(problem, a)


def convolve(problem: Conv2DProblem, a: Results, algorithm: str) -> Results:
    """Return a convolution by a bare and by a packed kernel, and its gradients."""
    words = {**problem.geometry, "algorithm": algorithm}
    fused = {**words, "residual": a["residual"], "activation": "relu6"}
    size = (problem.h, problem.w)
    packed = functional.pack_kernel(a["kernel"], input_size=size, **words)
    grads = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
    return {
        "y": functional.conv2d(a["x"], a["kernel"], a["bias"], **fused),
        "packed": functional.conv2d(a["x"], packed, a["bias"], **fused),
        **grads._asdict(),
    }


def pool(problem: PoolProblem, a: Results) -> Results:
    """Return every pooling of x, and all of their gradients."""
    x, dy, words, fmt = a["x"], a["dy"], problem.geometry, {"data_format": problem.data_format}
    largest, indices = functional.max_pool2d(x, return_indices=True, **words)
    _, of_planes = functional.global_max_pool2d(x, return_indices=True, **fmt)
    plane = dy[:, 0, 0] if problem.data_format == "channels_last" else dy[:, :, 0, 0]
    return {
        "max": largest,
        "indices": indices,
        "min": functional.min_pool2d(x, **words),
        "avg": functional.avg_pool2d(x, **words),
        "avg padded": functional.avg_pool2d(x, count_include_pad=True, **words),
        "dx max": functional.max_pool2d_backward(dy, x, **words),
        "dx min": functional.min_pool2d_backward(dy, x, **words),
        "dx indices": functional.max_pool2d_backward(dy, x, indices=indices, **words),
        "dx avg": functional.avg_pool2d_backward(dy, x.shape, **words),
        "global max": functional.global_max_pool2d(x, **fmt),
        "global indices": of_planes,
        "global avg": functional.global_avg_pool2d(x, **fmt),
        "dx global max": functional.global_max_pool2d_backward(plane, x, **fmt),
        "dx global indices": functional.global_max_pool2d_backward(
            plane, x, indices=of_planes, **fmt
        ),
        "dx global avg": functional.global_avg_pool2d_backward(plane, x.shape, **fmt),
    }


# --------------------------------------------------------------------------------------- variants


def of_images(problem: Problem, a: Results, images: list[int]) -> tuple[Problem, Results]:
    """Return a problem, and its arrays, made of some images of the batch in the order given."""
    weights = ("kernel", "bias")
    picked = {k: v if k in weights else np.ascontiguousarray(v[images]) for k, v in a.items()}
    return replace(problem, n=len(images)), picked


def orders(n: int) -> list[list[int]]:
    """List batches in which each image meets each place, alone, in company and twice."""
    if n > 4:  # the batches of small images: some places, and some images alone
        return [[0], [n - 1], [n // 2], [*reversed(range(n)), 0], [*range(n // 3, n), 1]]
    turned = [[*range(i, n), *range(i)] for i in range(1, n)]
    return [*([i] for i in range(n)), *turned, [*reversed(range(n)), 0]]


def in_channels_first(problem: Problem, a: Results) -> tuple[Problem, Results]:
    """Return a channels_last problem, and its arrays, in channels_first."""
    moved = {k: np.ascontiguousarray(np.moveaxis(v, -1, 1)) for k, v in a.items() if v.ndim == 4}
    if "kernel" in a:
        moved["kernel"] = a["kernel"]
    return replace(problem, data_format="channels_first"), {**a, **moved}  # type: ignore[call-arg]


def shifted(a: Array, offset: int) -> Array:
    """Return a copy that begins ``offset`` bytes after a cache line."""
    memory = np.empty(a.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def spread(a: Array) -> Array:
    """Return a copy whose elements lie two apart along the last axis, every axis backwards."""
    memory = np.empty((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    view = memory[..., ::2][(slice(None, None, -1),) * a.ndim]
    view[...] = a
    return view


def cut_out(a: Array) -> Array:
    """Return a copy that is a window of a larger array, so that no two axes lie together."""
    memory = np.empty([n + 1 for n in a.shape], a.dtype)
    view = memory[tuple(slice(n) for n in a.shape)]
    view[...] = a
    return view


def shuffled(a: Array) -> Array:
    """Return a copy with its axes in any order in memory, apart and backwards by chance."""
    rng = np.random.default_rng(zlib.crc32(repr((a.shape, a.dtype)).encode()))
    order, steps = rng.permutation(a.ndim), rng.integers(1, 3, a.ndim)
    sizes = [a.shape[axis] * steps[axis] + rng.integers(0, 3) for axis in order]
    offset = int(rng.integers(0, 64))
    memory = np.empty(int(np.prod(sizes)) * a.itemsize + offset, np.uint8)[offset:]
    lying = memory.view(a.dtype).reshape(sizes).transpose(np.argsort(order))
    view = lying[tuple(slice(0, n * s, s) for n, s in zip(a.shape, steps, strict=True))]
    view = view[tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in a.shape)]
    view[...] = a
    return view


PLACEMENTS: dict[str, Callable[[Array], Array]] = {
    "one element off a cache line": lambda a: shifted(a, a.itemsize),
    "one vector off a cache line": lambda a: shifted(a, 32),
    "one byte off": lambda a: shifted(a, 1),
    "spread and backwards": spread,
    "cut out of a larger array": cut_out,
    "transposed": np.asfortranarray,  # as the weights of another library would be
    "shuffled": shuffled,
}
