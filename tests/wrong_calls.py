"""Wrong calls of every function: each with the exception it meets, and what its message must say.

A case is one call of ``operations.py`` with something wrong in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import operations

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One wrong call."""

    name: str
    changed: dict[str, Any]
    error: type[Exception] | tuple[type[Exception], ...]
    mentions: tuple[Any, ...]

    def __str__(self) -> str:
        """Return the call in short, as the test's id."""
        return f"{self.name} {', '.join(f'{k}={show(v)}' for k, v in self.changed.items())}"


def show(value: Any) -> str:
    """Return a value in few characters."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return repr(value)[:40]


def unmentioned(message: str, mentions: Iterable[Any]) -> list[Any]:
    """List the words and numbers that a message should hold as whole words, and does not."""
    missing = []
    for mention in mentions:
        if isinstance(mention, tuple):
            missing += unmentioned(message, mention)
        elif not re.search(rf"(?<![\w.-]){re.escape(str(mention))}(?!\w)", message):
            missing.append(mention)
    return missing


def zeros(*shape: int) -> Array:
    """Return float32 zeros."""
    return np.zeros(shape, np.float32)


# --------------------------------------------------------------------- shapes, one case at a time


def shape_cases() -> list[Case]:
    """Return arrays of a wrong rank or shape: the argument and its shape, and what was expected."""
    wrong = [
        # x (2, 6, 7, 5), kernel (3, 3, 5, 19), bias (19,), residual and dy (2, 6, 7, 19)
        ("conv2d", "x", (6, 7, 5), ()),
        ("conv2d", "x", (), ()),
        ("conv2d", "x", (1, 2, 6, 7, 5), ()),
        ("conv2d", "x", (2, 6, 7, 4), (5,)),
        ("conv2d", "kernel", (3, 5, 19), ()),
        ("conv2d", "kernel", (3, 3, 4, 19), (5,)),
        ("conv2d", "kernel", (0, 3, 5, 19), ()),
        ("conv2d", "bias", (1, 19), ()),
        ("conv2d", "bias", (18,), (19,)),
        ("conv2d", "residual", (2, 6, 7, 18), (2, 6, 7, 19)),
        ("conv2d", "residual", (2, 6, 7), ()),
        ("conv2d_backward", "dy", (2, 6, 7, 18), (19,)),
        ("conv2d_backward", "dy", (2, 5, 7, 19), (2, 6, 7, 19)),
        ("conv2d_backward", "dy", (3, 6, 7, 19), (2, 6, 7, 19)),
        ("conv2d_backward", "dy", (6, 7, 19), ()),
        ("conv2d_backward", "x", (6, 7, 5), ()),
        ("conv2d_backward", "kernel", (3, 3, 4, 19), (5,)),
        # x (2, 3, 4, 19), kernel (3, 3, 5, 19), bias (5,), dy (2, 6, 8, 5)
        ("conv2d_transpose", "x", (3, 4, 19), ()),
        ("conv2d_transpose", "kernel", (3, 3, 5, 18), (19,)),
        ("conv2d_transpose", "bias", (19,), (5,)),
        ("conv2d_transpose_backward", "dy", (2, 6, 7, 5), (2, 6, 8, 5)),
        ("conv2d_transpose_backward", "x", (2, 3, 4), ()),
        # x (6, 35), kernel (35, 17), bias (17,), dy (6, 17)
        ("dense", "x", (6, 35, 1), ()),
        ("dense", "x", (35,), ()),
        ("dense", "kernel", (34, 17), (35,)),
        ("dense", "kernel", (35,), ()),
        ("dense", "bias", (16,), (17,)),
        ("dense_backward", "dy", (6, 16), (17,)),
        ("dense_backward", "dy", (5, 17), (6,)),
        # x (2, 6, 7, 19), dy (2, 3, 4, 19); windows of 3, 2 apart, padded by 1
        ("max_pool2d", "x", (6, 7, 19), ()),
        ("min_pool2d", "x", (6,), ()),
        ("avg_pool2d", "x", (2, 6, 7, 19, 1), ()),
        ("max_pool2d_backward", "dy", (2, 3, 3, 19), (2, 3, 4, 19)),
        ("min_pool2d_backward", "dy", (3, 3, 4, 19), (2, 3, 4, 19)),
        ("min_pool2d_backward", "x", (2, 6, 7), ()),
        ("avg_pool2d_backward", "dy", (2, 3, 4, 18), (2, 3, 4, 19)),
        ("global_max_pool2d", "x", (6, 7, 19), ()),
        ("global_avg_pool2d", "x", (2, 19), ()),
        ("global_max_pool2d", "x", (2, 0, 7, 19), ()),
        ("global_avg_pool2d", "x", (2, 6, 0, 19), ()),
        ("global_max_pool2d_backward", "dy", (2, 18), (2, 19)),
        ("global_avg_pool2d_backward", "dy", (2, 1, 1, 19), (2, 19)),
    ]
    return [
        Case(name, {argument: zeros(*shape)}, ValueError, (argument, shape, expected))
        for name, argument, shape, expected in wrong
    ]


# ------------------------------------------------------------------------------ numbers and words


def integer_cases() -> list[Case]:
    """Return what is no positive integer, for every parameter that must be one or two."""
    parameters = {
        "conv2d": ("strides", "dilation_rate"),
        "conv2d_backward": ("strides", "dilation_rate"),
        "conv2d_transpose": ("strides", "dilation_rate"),
        "conv2d_transpose_backward": ("strides", "dilation_rate"),
        "max_pool2d": ("pool_size", "strides", "dilation_rate"),
        "min_pool2d": ("pool_size", "strides"),
        "avg_pool2d": ("pool_size", "dilation_rate"),
        "max_pool2d_backward": ("pool_size", "strides"),
        "min_pool2d_backward": ("pool_size", "dilation_rate"),
        "avg_pool2d_backward": ("pool_size", "strides"),
    }
    values = (0, -1, (1, 0), (-2, 1), (1, 2, 3), (), (2,), -(2**63), 2**63, 2**100)
    types = (True, (1, True), 1.0, np.float32(2), "2", (1, "2"), object, {1, 2}, np.bool_(True))
    cases = []
    for name, arguments in parameters.items():
        for argument in arguments:
            cases += [Case(name, {argument: v}, ValueError, (argument, v)) for v in values]
            cases += [Case(name, {argument: v}, TypeError, (argument,)) for v in types]
    for name in ("conv2d", "conv2d_backward", "conv2d_transpose", "conv2d_transpose_backward"):
        cases += [Case(name, {"groups": v}, ValueError, ("groups", v)) for v in (0, -1, 2**63)]
        cases += [Case(name, {"groups": v}, TypeError, ("groups",)) for v in (True, 1.0, "1", None)]
        cases.append(Case(name, {"strides": None}, TypeError, ("strides", None)))
    return cases


def group_cases() -> list[Case]:
    """Return groups that do not divide the channels."""
    one = zeros(3, 3, 1, 19)
    return [
        Case("conv2d", {"groups": 2}, ValueError, ("groups", 2, 5)),
        Case("conv2d", {"groups": 5, "kernel": one}, ValueError, ("groups", 5, 19)),
        Case("conv2d_backward", {"groups": 5, "kernel": one}, ValueError, ("groups", 5, 19)),
        Case("conv2d_transpose", {"groups": 2}, ValueError, ("groups", 2, 19)),
    ]


def padding_cases() -> list[Case]:
    """Return what is no padding at all, or none for the operation."""
    convolutions = [n for n in operations.NAMES if n.startswith("conv2d")]
    poolings = [n for n in operations.NAMES if "pool2d" in n and "global" not in n]
    words = ("valid", "same", "same_lower")
    cases = []
    for name in convolutions + poolings:
        values = (-1, (0, -1), ((0, 0), (0, -1)), (1, 2, 3), ((1, 2, 3), (1, 1)), ())
        types = (True, 1.0, None, (0, True), ((0, 0), (0, 1.5)), b"same")
        cases += [Case(name, {"padding": v}, ValueError, ("padding", v)) for v in values]
        cases += [Case(name, {"padding": v}, TypeError, ("padding",)) for v in types]
        cases.append(Case(name, {"padding": "full"}, ValueError, ("padding", "full", words)))
    for name in poolings:  # windows of 3
        wide = (3, (0, 3), ((0, 0), (3, 0)), ((0, 4), (0, 0)), 2**40)
        cases += [Case(name, {"padding": v}, ValueError, ("padding", v, 3)) for v in wide]
        dilated = {"padding": 5, "dilation_rate": 2}  # windows of 5
        cases.append(Case(name, dilated, ValueError, ("padding", 5)))
    for name in ("conv2d", "conv2d_backward"):  # 6 x 7 pixels
        too_far = {"padding": ((6, 0), (0, 0)), "padding_mode": "reflect"}
        cases.append(Case(name, too_far, ValueError, ("padding", "reflect", 6, 5)))
        too_far = {"padding": ((0, 0), (0, 8)), "padding_mode": "wrap"}
        cases.append(Case(name, too_far, ValueError, ("padding", "wrap", 8, 7)))
    return cases


def word_cases() -> list[Case]:
    """Return unknown words: the message has the word and those that are allowed."""
    formats = ("channels_last", "channels_first")
    modes = ("constant", "reflect", "edge", "wrap")
    with_format = [n for n in operations.NAMES if "2d" in n]
    cases = [
        Case(n, {"data_format": "nhwc"}, ValueError, ("data_format", "nhwc", formats))
        for n in with_format
    ]
    for name in ("conv2d", "conv2d_backward"):
        mode = {"padding_mode": "symmetric"}
        cases.append(Case(name, mode, ValueError, ("padding_mode", "symmetric", modes)))
        values = ("1", None, [1.0])
        cases += [Case(name, {"padding_value": v}, TypeError, ("padding_value",)) for v in values]
    for name in (n for n in with_format if n.startswith("conv2d")):
        names = ("auto", "direct")
        cases.append(Case(name, {"algorithm": "fft"}, ValueError, ("algorithm", "fft", names)))
        winograd = {"algorithm": "fft", "strides": 3, "dilation_rate": 2, "padding": 9}
        if "backward" not in name:
            cases.append(Case(name, winograd, ValueError, ("algorithm", "fft")))
    for name in ("conv2d", "dense", "activation_backward"):
        names = ("relu", "relu6")
        cases.append(Case(name, {"activation": "gelu"}, ValueError, ("activation", "gelu", names)))
        cases.append(Case(name, {"activation": 1}, (TypeError, ValueError), ("activation", 1)))
    for name in ("conv2d_backward", "conv2d_transpose_backward", "dense_backward"):
        needs = ("x", "kernel", "bias")
        cases.append(Case(name, {"needs": ("dx",)}, ValueError, ("needs", "dx", needs)))
        cases.append(Case(name, {"needs": 1}, TypeError, ("needs",)))
        cases.append(Case(name, {"needs": (1,)}, (TypeError, ValueError), ("needs", 1)))
    return cases


def size_cases() -> list[Case]:
    """Return outputs without a pixel, and sizes that no integer or no memory holds."""
    large = zeros(9, 8, 5, 19)
    cases = [
        Case("conv2d", {"kernel": large, "padding": 0}, ValueError, ("kernel", 6, 7, 9, 8)),
        Case("conv2d", {"dilation_rate": 9}, ValueError, ("dilation_rate", 6, 7, 3, 9)),
        Case("conv2d", {"x": zeros(2, 0, 7, 5), "padding": 0}, ValueError, (0, 7, 3)),
        Case("conv2d_backward", {"dilation_rate": 9}, ValueError, ("dilation_rate", 6, 7, 3, 9)),
        Case("conv2d_transpose", {"padding": 9}, ValueError, ("padding", 9, 3, 4)),
        Case("conv2d_transpose", {"output_padding": -1}, ValueError, ("output_padding", -1)),
        Case("conv2d_transpose", {"output_padding": 2}, ValueError, ("output_padding", 2)),
        Case("conv2d_transpose", {"output_padding": (0, 3)}, ValueError, ("output_padding", 3)),
        Case("conv2d_transpose", {"output_padding": True}, TypeError, ("output_padding",)),
        Case("conv2d_transpose", {"output_padding": 0.0}, TypeError, ("output_padding",)),
        Case("conv2d_transpose", {"output_padding": "1"}, TypeError, ("output_padding",)),
        Case("max_pool2d", {"pool_size": 9}, ValueError, ("pool_size", 9, 6, 7)),
        Case("avg_pool2d", {"pool_size": (2, 12)}, ValueError, ("pool_size", 2, 12, 6, 7)),
        Case("min_pool2d", {"dilation_rate": 5}, ValueError, ("dilation_rate", 5, 3, 6, 7)),
        Case("conv2d", {"padding": 2**62}, ValueError, ("padding", 2**62)),
        Case("conv2d", {"padding": 2**31}, ValueError, ("padding", 2**31)),
        Case("conv2d", {"dilation_rate": 2**62}, ValueError, ("dilation_rate", 2**62)),
        Case("conv2d_transpose", {"strides": 2**62}, ValueError, ("strides", 2**62)),
        Case("conv2d_transpose", {"dilation_rate": 2**62}, ValueError, ("dilation_rate", 2**62)),
        Case("max_pool2d", {"pool_size": 2**62}, ValueError, ("pool_size", 2**62)),
        Case("avg_pool2d", {"dilation_rate": 2**62}, ValueError, ("dilation_rate", 2**62)),
        Case("conv2d", {"padding": 2**22}, MemoryError, ()),
    ]
    without_residual = [{**case.changed, "residual": None} for case in cases]
    return [
        Case(c.name, changed if c.name == "conv2d" else c.changed, c.error, c.mentions)
        for c, changed in zip(cases, without_residual, strict=True)
    ]


def pooling_cases() -> list[Case]:
    """Return bad indices and input shapes of the pooling gradients."""
    shape = (2, 3, 4, 19)
    inside = np.zeros(shape, np.int64)
    cases = []
    for name in ("max_pool2d_backward", "min_pool2d_backward"):
        for index in (42, -2, 2**40):  # planes of 6 x 7
            bad = inside.copy()
            bad[1, 2, 3, 18] = index
            cases.append(Case(name, {"indices": bad}, ValueError, ("indices",)))
        few = np.zeros((2, 3, 3, 19), np.int64)
        cases.append(Case(name, {"indices": few}, ValueError, ("indices", (2, 3, 3, 19), shape)))
        kinds = [inside.astype(kind) for kind in ("int32", "uint64", "float64", ">i8")]
        cases += [Case(name, {"indices": kind}, TypeError, ("indices",)) for kind in kinds]
        cases.append(Case(name, {"indices": inside.tolist()}, TypeError, ("indices", "list")))
    for name in ("avg_pool2d_backward", "global_avg_pool2d_backward"):
        large = {"input_shape": (2, 6, 7, 2**63)}
        other = {"input_shape": (2, 6, 7, 18)}
        lengths = ((2, 6, 7), (), (2, 6, 7, 19, 1))
        either = (TypeError, ValueError)
        types = (None, 5, "2677", (2, 6, 7.0, 19), (True, 6, 7, 19))
        cases.append(Case(name, {"input_shape": (2, -6, 7, 19)}, ValueError, ("input_shape", -6)))
        cases.append(Case(name, large, ValueError, ("input_shape", 2**63)))
        cases.append(Case(name, other, ValueError, ("dy", 18, 19)))
        cases += [Case(name, {"input_shape": v}, either, ("input_shape", v)) for v in lengths]
        cases += [Case(name, {"input_shape": v}, TypeError, ("input_shape",)) for v in types]
    return cases


# --------------------------------------------------------------------------- arrays of a wrong kind


def dtype_cases() -> list[Case]:
    """Return, for every array argument of every function, what is refused for its kind."""
    kinds = ("float16", "int64", "bool", "complex64", "object", "M8[s]", "S4", "longdouble")
    cases = []
    for name, operation in operations.make_operations().items():
        for key, a in operation.arrays.items():
            for kind in kinds:
                dtype = np.dtype(kind)
                words = (key, str(dtype), "float32", "float64")
                cases.append(Case(name, {key: np.zeros(a.shape, dtype)}, TypeError, words))
            structured = np.zeros(a.shape, [("re", "f4")])
            swapped = a.astype(a.dtype.newbyteorder())
            cases.append(Case(name, {key: structured}, TypeError, (key,)))
            cases.append(Case(name, {key: swapped}, TypeError, (key, "byte")))
            cases.append(Case(name, {key: np.ma.masked_array(a)}, TypeError, (key, "masked")))
            cases.append(Case(name, {key: a.tolist()}, TypeError, (key, "list")))
            cases.append(Case(name, {key: "x"}, TypeError, (key, "str")))
            cases.append(Case(name, {key: 1.0}, TypeError, (key, "float")))
            if key not in ("bias", "residual"):
                cases.append(Case(name, {key: None}, TypeError, (key,)))
            if len(operation.arrays) > 1:
                both = ("float32", "float64")
                cases.append(Case(name, {key: a.astype(np.float64)}, TypeError, both))
    return cases


def out_cases() -> list[Case]:
    """Return, for every function with ``out``, arrays that it cannot write its result into."""
    cases = []
    for name in operations.TAKE_OUT:
        y = operations.make_operations()[name].results()["y"]
        frozen = np.zeros_like(y)
        frozen.flags.writeable = False
        swapped = y.astype(y.dtype.newbyteorder())
        shapes = [y.shape[1:], (*y.shape, 1), (y.shape[0] + 1, *y.shape[1:]), (y.size,), ()]
        cases += [Case(name, {"out": zeros(*s)}, ValueError, ("out", s, y.shape)) for s in shapes]
        wide = np.zeros(y.shape, np.float64)
        cases.append(Case(name, {"out": wide}, ValueError, ("out", "float64", "float32")))
        whole = np.zeros(y.shape, np.int32)
        cases.append(Case(name, {"out": whole}, ValueError, ("out", "int32", "float32")))
        cases.append(Case(name, {"out": frozen}, ValueError, ("out",)))
        cases.append(Case(name, {"out": swapped}, (TypeError, ValueError), ("out",)))
        masked = np.ma.masked_array(np.zeros_like(y))
        cases.append(Case(name, {"out": masked}, (TypeError, ValueError), ("out",)))
        types = (y.tolist(), 1, "out", True)
        cases += [Case(name, {"out": v}, (TypeError, ValueError), ("out",)) for v in types]
    return cases


def call_cases() -> list[Case]:
    """Return keywords that no function has: Keras's and PyTorch's other names."""
    return [Case(name, {"stride": 1}, TypeError, ("stride",)) for name in operations.NAMES]


CASES = (
    shape_cases()
    + integer_cases()
    + group_cases()
    + padding_cases()
    + word_cases()
    + size_cases()
    + pooling_cases()
    + dtype_cases()
    + out_cases()
    + call_cases()
)
