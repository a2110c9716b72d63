"""Hypothesis strategies for whole problems of ``problems.py``: every parameter drawn, all valid.

Channels are drawn around the vector widths, {1, N-1, N, N+1, 2N+3} for N of 4, 8 and 16, and around
two vectors of 16; image widths too, now and then, for the kernels that take vectors along a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import reference
from problems import (
    Conv2DProblem,
    DenseProblem,
    PoolProblem,
    TransposeProblem,
    hard_to_pool,
    in_format,
    unit_normals,
    whole_numbers,
)

__all__ = [  # of problems.py too: who draws problems computes with them
    "Conv2DProblem", "DenseProblem", "Draw", "PoolProblem", "TransposeProblem", "conv2d_problems",
    "dense_problems", "hard_to_pool", "in_format", "pool_problems", "transpose_problems",
    "unit_normals", "whole_numbers",
]  # fmt: skip

Draw = Callable[[st.SearchStrategy[Any]], Any]

AROUND_VECTORS = (1, 2, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 19, 31, 32, 33, 35, 67)
FEW = (1, 2, 3, 4, 5, 8)
FORMATS = ("channels_last", "channels_first")
DTYPES = ("float32", "float64")
ACTIVATIONS = (None, "relu", "relu6")


# ------------------------------------------------------------------------------- one parameter


def one_or_two(values: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    """Make an int, or a pair of ints, as strides and the like may be spelled."""
    return st.one_of(values, st.tuples(values, values))


def spelled_paddings(largest: tuple[int, int]) -> st.SearchStrategy[Any]:
    """Make a padding in any of its spellings, no side larger than ``largest`` of its dimension."""
    heights, widths = (st.integers(0, limit) for limit in largest)
    return st.one_of(
        st.sampled_from(("valid", "same", "same_lower")),
        st.integers(0, min(largest)),
        st.tuples(heights, widths),
        st.tuples(st.tuples(heights, heights), st.tuples(widths, widths)),
    )


def image_sizes(draw: Draw, least: tuple[int, int]) -> tuple[int, int]:
    """Draw (h, w), each at least ``least``; one in four images is as wide as a vector or two."""
    h = least[0] + draw(st.integers(0, 9))
    w = least[1] + draw(st.one_of(*[st.integers(0, 9)] * 3, st.sampled_from((15, 16, 17, 35))))
    return h, w


def kernel_sizes() -> st.SearchStrategy[tuple[int, int]]:
    """Make (kh, kw) up to 5x5, half of them the two sizes that have algorithms of their own."""
    any_size = st.tuples(st.integers(1, 5), st.integers(1, 5))
    return st.one_of(any_size, any_size, st.just((1, 1)), st.just((3, 3)))


def channels_and_groups() -> st.SearchStrategy[tuple[int, int, int]]:
    """Make (c_in, c_out, groups) of full, grouped and depthwise convolutions."""
    lengths, few = st.sampled_from(AROUND_VECTORS), st.sampled_from(FEW)
    full = st.tuples(lengths, lengths, st.just(1))
    grouped = st.tuples(few, few, st.integers(2, 4)).map(
        lambda t: (t[0] * t[2], t[1] * t[2], t[2]),
    )
    depthwise = st.tuples(lengths, st.integers(1, 3)).map(lambda t: (t[0], t[0] * t[1], t[0]))
    return st.one_of(full, full, grouped, depthwise)


def fitting_padding_modes(rows: reference.Axis, cols: reference.Axis) -> list[str]:
    """List the padding modes that the amount of padding allows on an image of this size."""
    modes = ["constant", "edge"]
    if all(max(a.before, a.after) <= a.n - 1 for a in (rows, cols)):
        modes.append("reflect")
    if all(max(a.before, a.after) <= a.n for a in (rows, cols)):
        modes.append("wrap")
    return modes


# --------------------------------------------------------------------------------- convolution


@st.composite
def conv2d_problems(draw: Draw) -> Conv2DProblem:
    """Make a convolution of up to 3 images of about 15x15, now and then wider, kernels to 5x5."""
    kh, kw = draw(kernel_sizes())
    dilation_rate = draw(one_or_two(st.integers(1, 3)))
    padding = draw(spelled_paddings((4, 4)))
    least = []
    for dimension, k in enumerate((kh, kw)):
        k_eff = (k - 1) * reference.as_pair(dilation_rate)[dimension] + 1
        same = padding in ("same", "same_lower")
        given = (0, 0) if same else reference.sides(padding, dimension, 1, k_eff, 1)
        least.append(1 if same else max(1, k_eff - sum(given)))
    h, w = image_sizes(draw, (least[0], least[1]))
    c_in, c_out, groups = draw(channels_and_groups())
    problem = Conv2DProblem(
        n=draw(st.integers(1, 3)),
        h=h,
        w=w,
        c_in=c_in,
        c_out=c_out,
        kh=kh,
        kw=kw,
        strides=draw(one_or_two(st.integers(1, 3))),
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
        data_format=draw(st.sampled_from(FORMATS)),
        dtype=draw(st.sampled_from(DTYPES)),
        seed=draw(st.integers(0, 2**16)),
    )
    mode = draw(st.sampled_from(fitting_padding_modes(*problem.axes())))
    value = draw(st.sampled_from((0.0, 1.0, -2.5))) if mode == "constant" else 0.0
    fields = {**problem.__dict__, "padding_mode": mode, "padding_value": value}
    return Conv2DProblem(**fields)


# ------------------------------------------------------------------------ transposed convolution


@st.composite
def transpose_problems(draw: Draw) -> TransposeProblem:
    """Make a transposed convolution of up to 3 images of about 8x8, kernels to 5x5, y not empty."""
    c_in, c_out, groups = draw(channels_and_groups())
    strides = draw(one_or_two(st.integers(1, 3)))
    dilation_rate = draw(one_or_two(st.integers(1, 3)))
    steps = zip(reference.as_pair(strides), reference.as_pair(dilation_rate), strict=True)
    limits = [st.integers(0, max(pair) - 1) for pair in steps]
    problems = st.builds(
        TransposeProblem,
        n=st.integers(1, 3),
        h=st.integers(1, 8),
        w=st.integers(1, 8),
        c_in=st.just(c_out),
        c_out=st.just(c_in),
        kh=st.integers(1, 5),
        kw=st.integers(1, 5),
        strides=st.just(strides),
        padding=spelled_paddings((3, 3)),
        output_padding=st.one_of(st.none(), st.tuples(*limits)),
        dilation_rate=st.just(dilation_rate),
        groups=st.just(groups),
        data_format=st.sampled_from(FORMATS),
        dtype=st.sampled_from(DTYPES),
        seed=st.integers(0, 2**16),
    )
    return draw(problems.filter(lambda p: min(axis.n for axis in p.axes()) >= 1))  # type: ignore[no-any-return]


# --------------------------------------------------------------------------------------- dense


def dense_problems() -> st.SearchStrategy[DenseProblem]:
    """Make up to 70 rows, of up to 300 numbers, to up to 67 outputs."""
    return st.builds(
        DenseProblem,
        n=st.sampled_from((1, 2, 3, 13, 14, 15, 29, 70)),
        c_in=st.sampled_from((*AROUND_VECTORS, 120, 257, 300)),
        c_out=st.sampled_from(AROUND_VECTORS),
        dtype=st.sampled_from(DTYPES),
        seed=st.integers(0, 2**16),
    )


# ------------------------------------------------------------------------------------- pooling


@st.composite
def pool_problems(draw: Draw, largest: int = 4, farthest: int = 3) -> PoolProblem:
    """Make a pooling of up to 2 images of about 15x15, whole windows in padding."""
    pool_size = draw(one_or_two(st.integers(1, largest)))
    dilation_rate = draw(one_or_two(st.integers(1, farthest)))
    sizes = zip(reference.as_pair(pool_size), reference.as_pair(dilation_rate), strict=True)
    k_effs = [(k - 1) * d + 1 for k, d in sizes]
    padding = draw(spelled_paddings((k_effs[0] - 1, k_effs[1] - 1)))
    least = []
    for dimension, k_eff in enumerate(k_effs):
        same = padding in ("same", "same_lower")
        given = (0, 0) if same else reference.sides(padding, dimension, 1, k_eff, 1)
        least.append(1 if same else max(1, k_eff - sum(given)))
    h, w = image_sizes(draw, (least[0], least[1]))
    return PoolProblem(
        n=draw(st.integers(1, 2)),
        h=h,
        w=w,
        c=draw(st.sampled_from(AROUND_VECTORS)),
        pool_size=pool_size,
        strides=draw(st.one_of(st.none(), one_or_two(st.integers(1, 3)))),
        padding=padding,
        dilation_rate=dilation_rate,
        ceil_mode=draw(st.booleans()),
        data_format=draw(st.sampled_from(FORMATS)),
        dtype=draw(st.sampled_from(DTYPES)),
        seed=draw(st.integers(0, 2**16)),
    )
