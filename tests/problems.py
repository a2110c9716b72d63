"""Problems that tests compute: frozen dataclasses, and the kinds of values to draw for them.

A problem holds the sizes, the geometry under the names of the functional face (``geometry`` is the
dict to call with), the dtype, and the seed its arrays come from, so that a failing example prints
as all that is needed to run it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import reference

Array = npt.NDArray[Any]
Values = Callable[[np.random.Generator, tuple[int, ...], str], Array]


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


# -------------------------------------------------------------------------- sums of products


class Summed:
    """What sums products of x and a kernel: it draws its arrays in the order of its shapes."""

    dtype: str
    seed: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that is given, by name."""
        raise NotImplementedError

    def draw_arrays(self, values: Values = unit_normals) -> dict[str, Array]:
        """Return what is given, by name, of the kind of values asked for."""
        rng = np.random.default_rng(self.seed)
        return {name: values(rng, shape, self.dtype) for name, shape in self.shapes().items()}


@dataclass(frozen=True)
class Convolution(Summed):
    """What plain and transposed convolutions have in common: all but which side slides."""

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
    _: KW_ONLY
    data_format: str = "channels_last"
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
        }

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of x in the problem's data format."""
        return in_format((self.n, self.h, self.w, self.c_in), self.data_format)

    @property
    def terms(self) -> int:
        """The most products that one output sums."""
        return self.kh * self.kw * self.c_in // self.groups


@dataclass(frozen=True)
class Conv2DProblem(Convolution):
    """A convolution: what ``conv2d`` and ``conv2d_backward`` are called with."""

    _: KW_ONLY
    padding_mode: str = "constant"
    padding_value: float = 0.0

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that forward and backward share."""
        modes = {"padding_mode": self.padding_mode, "padding_value": self.padding_value}
        return {**super().geometry, **modes}

    @property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of y in the problem's data format."""
        rows, cols = self.axes()
        return in_format((self.n, rows.out, cols.out, self.c_out), self.data_format)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(kh, kw, c_in // groups, c_out)."""
        return self.kh, self.kw, self.c_in // self.groups, self.c_out

    def axes(self) -> tuple[reference.Axis, reference.Axis]:
        """Return the reference's view of both image axes."""
        geometry = ((self.h, self.w), (self.kh, self.kw), self.strides, self.padding)
        return (
            reference.make_axis(0, *geometry, self.dilation_rate),
            reference.make_axis(1, *geometry, self.dilation_rate),
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that is given, by name."""
        return {
            "x": self.x_shape,
            "kernel": self.kernel_shape,
            "bias": (self.c_out,),
            "residual": self.y_shape,
            "dy": self.y_shape,
        }


@dataclass(frozen=True)
class TransposeProblem(Convolution):
    """A transposed convolution: what ``conv2d_transpose`` and its backward are called with."""

    _: KW_ONLY
    output_padding: Any = None

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that forward and backward share."""
        return {**super().geometry, "output_padding": self.output_padding}

    @property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of y in the problem's data format."""
        rows, cols = self.axes()
        return in_format((self.n, rows.n, cols.n, self.c_out), self.data_format)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(kh, kw, c_out // groups, c_in)."""
        return self.kh, self.kw, self.c_out // self.groups, self.c_in

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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that is given, by name."""
        return {
            "x": self.x_shape,
            "kernel": self.kernel_shape,
            "bias": (self.c_out,),
            "dy": self.y_shape,
        }


@dataclass(frozen=True)
class DenseProblem(Summed):
    """A dense layer: n rows of c_in numbers to n rows of c_out."""

    n: int
    c_in: int
    c_out: int
    dtype: str = "float32"
    seed: int = 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array that is given, by name."""
        return {
            "x": (self.n, self.c_in),
            "kernel": (self.c_in, self.c_out),
            "bias": (self.c_out,),
            "dy": (self.n, self.c_out),
        }


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

    def draw_arrays(self, values: Values = unit_normals) -> tuple[Array, Array]:
        """Return x of the kind of values asked for, and dy of whole numbers."""
        rng = np.random.default_rng(self.seed)
        x = values(rng, self.x_shape, self.dtype)
        return x, whole_numbers(rng, self.y_shape, self.dtype)
