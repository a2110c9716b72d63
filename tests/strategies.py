"""Hypothesis strategies for whole problems: every parameter drawn, every problem valid.

A problem is a frozen dataclass: the sizes, the geometry under the names of the functional face
(``geometry`` is the dict to call with), the dtype, and the seed its arrays come from, so that a
failing example prints as all that is needed to run it again.

Channels are drawn around the vector widths, {1, N-1, N, N+1, 2N+3} for N of 4, 8 and 16, and around
two vectors of 16; image widths too, now and then, for the kernels that take vectors along a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

import reference

Array = npt.NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

AROUND_VECTORS = (1, 2, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 19, 31, 32, 33, 35, 67)
FEW = (1, 2, 3, 4, 5, 8)
FORMATS = ("channels_last", "channels_first")
DTYPES = ("float32", "float64")
ACTIVATIONS = (None, "relu", "relu6")


def in_format(shape: tuple[int, int, int, int], data_format: str) -> tuple[int, ...]:
    """Return a shape given as (n, h, w, c) in a data format."""
    n, h, w, c = shape
    return (n, h, w, c) if data_format == "channels_last" else (n, c, h, w)


def whole_numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Draw whole numbers in -3..3: their sums of products are exact in either float type."""
    return rng.integers(-3, 4, shape).astype(dtype)


def unit_normals(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Draw standard normal numbers."""
    return rng.standard_normal(shape).astype(dtype)


def hard_to_pool(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Draw few distinct values, so that windows tie, among them both zeros, infinities and NaN."""
    usual = [-1.0, 0.0, -0.0, 1.0, 2.0]
    rare = [np.inf, -np.inf, np.nan]
    return rng.choice(usual * 5 + rare, shape).astype(dtype)


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


@dataclass(frozen=True)
class Conv2DProblem:
    """A convolution: what ``conv2d`` and ``conv2d_backward`` are called with."""

    n: int
    h: int
    w: int
    c_in: int
    c_out: int
    kh: int
    kw: int
    strides: Any = 1
    padding: Any = "valid"
    dilation_rate: Any = 1
    groups: int = 1
    data_format: str = "channels_last"
    padding_mode: str = "constant"
    padding_value: float = 0.0
    dtype: str = "float32"
    seed: int = 0

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that forward and backward share."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "data_format": self.data_format,
            "padding_mode": self.padding_mode,
            "padding_value": self.padding_value,
        }

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of x in the problem's data format."""
        return in_format((self.n, self.h, self.w, self.c_in), self.data_format)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of y in the problem's data format."""
        rows, cols = self.axes()
        return in_format((self.n, rows.out, cols.out, self.c_out), self.data_format)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(kh, kw, c_in // groups, c_out)."""
        return self.kh, self.kw, self.c_in // self.groups, self.c_out

    @property
    def terms(self) -> int:
        """How many products one output sums."""
        return self.kh * self.kw * self.c_in // self.groups

    def axes(self) -> tuple[reference.Axis, reference.Axis]:
        """Return the reference's view of both image axes."""
        geometry = ((self.h, self.w), (self.kh, self.kw), self.strides, self.padding)
        return (
            reference.make_axis(0, *geometry, self.dilation_rate),
            reference.make_axis(1, *geometry, self.dilation_rate),
        )

    def draw_arrays(
        self, values: Callable[[np.random.Generator, tuple[int, ...], str], Array] = unit_normals
    ) -> dict[str, Array]:
        """Return x, kernel, bias, residual and dy, by name, of the kind of values asked for."""
        rng = np.random.default_rng(self.seed)
        shapes = {
            "x": self.x_shape,
            "kernel": self.kernel_shape,
            "bias": (self.c_out,),
            "residual": self.y_shape,
            "dy": self.y_shape,
        }
        return {name: values(rng, shape, self.dtype) for name, shape in shapes.items()}


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


@dataclass(frozen=True)
class TransposeProblem:
    """A transposed convolution: what ``conv2d_transpose`` and its backward are called with."""

    n: int
    h: int
    w: int
    c_in: int
    c_out: int
    kh: int
    kw: int
    strides: Any = 1
    padding: Any = "valid"
    output_padding: Any = None
    dilation_rate: Any = 1
    groups: int = 1
    data_format: str = "channels_last"
    dtype: str = "float32"
    seed: int = 0

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that forward and backward share."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "data_format": self.data_format,
        }

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of x in the problem's data format."""
        return in_format((self.n, self.h, self.w, self.c_in), self.data_format)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of y in the problem's data format."""
        rows, cols = self.axes()
        return in_format((self.n, rows.n, cols.n, self.c_out), self.data_format)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(kh, kw, c_out // groups, c_in)."""
        return self.kh, self.kw, self.c_out // self.groups, self.c_in

    @property
    def terms(self) -> int:
        """The most products that one output sums."""
        return self.kh * self.kw * self.c_in // self.groups

    def axes(self) -> tuple[reference.Axis, reference.Axis]:
        """Return the axes of the convolution that this one transposes."""
        geometry = (
            (self.h, self.w),
            (self.kh, self.kw),
            self.strides,
            self.padding,
            self.dilation_rate,
            self.output_padding,
        )
        return reference.transposed_axis(0, *geometry), reference.transposed_axis(1, *geometry)

    def draw_arrays(
        self, values: Callable[[np.random.Generator, tuple[int, ...], str], Array] = unit_normals
    ) -> dict[str, Array]:
        """Return x, kernel, bias and dy, by name, of the kind of values asked for."""
        rng = np.random.default_rng(self.seed)
        shapes = {
            "x": self.x_shape,
            "kernel": self.kernel_shape,
            "bias": (self.c_out,),
            "dy": self.y_shape,
        }
        return {name: values(rng, shape, self.dtype) for name, shape in shapes.items()}


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


@dataclass(frozen=True)
class DenseProblem:
    """A dense layer: n rows of c_in numbers to n rows of c_out."""

    n: int
    c_in: int
    c_out: int
    dtype: str = "float32"
    seed: int = 0

    def draw_arrays(
        self, values: Callable[[np.random.Generator, tuple[int, ...], str], Array] = unit_normals
    ) -> dict[str, Array]:
        """Return x, kernel, bias and dy, by name, of the kind of values asked for."""
        rng = np.random.default_rng(self.seed)
        shapes = {
            "x": (self.n, self.c_in),
            "kernel": (self.c_in, self.c_out),
            "bias": (self.c_out,),
            "dy": (self.n, self.c_out),
        }
        return {name: values(rng, shape, self.dtype) for name, shape in shapes.items()}


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


@dataclass(frozen=True)
class PoolProblem:
    """A pooling: what every function of max, min and average pooling is called with."""

    n: int
    h: int
    w: int
    c: int
    pool_size: Any = 2
    strides: Any = None
    padding: Any = "valid"
    dilation_rate: Any = 1
    ceil_mode: bool = False
    data_format: str = "channels_last"
    dtype: str = "float32"
    seed: int = 0

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that all poolings share, pool_size among them."""
        return {
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "ceil_mode": self.ceil_mode,
            "data_format": self.data_format,
        }

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of x in the problem's data format."""
        return in_format((self.n, self.h, self.w, self.c), self.data_format)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of y in the problem's data format."""
        rows, cols = self.axes()
        return in_format((self.n, rows.out, cols.out, self.c), self.data_format)

    @property
    def terms(self) -> int:
        """How many values a window holds."""
        kh, kw = reference.as_pair(self.pool_size)
        return kh * kw

    def axes(self) -> tuple[reference.Axis, reference.Axis]:
        """Return the reference's view of both image axes."""
        return reference.pool_axes(
            (self.h, self.w),
            self.pool_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.ceil_mode,
        )

    def draw_arrays(
        self, values: Callable[[np.random.Generator, tuple[int, ...], str], Array] = unit_normals
    ) -> tuple[Array, Array]:
        """Return x of the kind of values asked for, and dy of whole numbers."""
        rng = np.random.default_rng(self.seed)
        x = values(rng, self.x_shape, self.dtype)
        return x, whole_numbers(rng, self.y_shape, self.dtype)


@st.composite
def pool_problems(draw: Draw) -> PoolProblem:
    """Make a pooling of up to 2 images of about 15x15, windows to 4x4, whole windows in padding."""
    pool_size = draw(one_or_two(st.integers(1, 4)))
    dilation_rate = draw(one_or_two(st.integers(1, 3)))
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
