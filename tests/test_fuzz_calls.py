"""Calls with anything in the place of anything: a documented exception, or a right answer.

Hypothesis takes a small valid call of each function and puts other values in the place of one to
three arguments: arrays of every dtype, rank, stride and subclass, numbers from NaN to 2^70, words,
None. Where the call answers, the reference must give the same; where it raises, the exception is
one of those that are documented, and nothing given was written to. The valid call must then still
have its bits.
"""

from __future__ import annotations

import operator
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
import operations
import reference
from closeness import same_bits
from operations import Operation
from trust_record import count

Array = npt.NDArray[Any]

ALLOWED = (TypeError, ValueError, MemoryError)
PAGE_BYTES = resource.getpagesize()
ROOM = 256 << 20  # bytes that calls may take: what asks for more shall see a MemoryError


def virtual_bytes() -> int:
    """Return the address space that this process has taken."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * PAGE_BYTES


# A sanitizer's shadow memory leaves no address space to limit; it limits requests by itself.
LIMITED = "max_allocation_size_mb" in os.environ.get("ASAN_OPTIONS", "")
if virtual_bytes() > 1 << 40 and not LIMITED:
    pytest.skip("a sanitizer that sets no limit to memory", allow_module_level=True)


@contextmanager
def little_memory() -> Iterator[None]:
    """Leave little memory to take, so that a huge but valid problem ends quickly."""
    if LIMITED:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (virtual_bytes() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Named(np.ndarray):
    """A subclass of ndarray."""


class Index:
    """An int of another type."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Index({self.value})"


# ------------------------------------------------------------------------------- values to put in


def unaligned(a: Array) -> Array:
    """Return a copy one byte off."""
    memory = np.empty(a.nbytes + 1, np.uint8)
    copy = memory[1:].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def read_only(a: Array) -> Array:
    """Return a copy that cannot be written."""
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def spread(a: Array) -> Array:
    """Return a copy that lies apart and backwards."""
    view = np.empty([2 * n for n in a.shape], a.dtype)[(slice(None, None, -2),) * a.ndim]
    view[...] = a
    return view


def resized(axis: int, size: int) -> Callable[[Array], Array]:
    """Return what makes one axis longer, shorter or empty."""

    def change(a: Array) -> Array:
        shape = list(a.shape)
        if shape:
            shape[axis % len(shape)] = size
        return np.resize(a, shape)

    return change


def of_dtype(name: str) -> Callable[[Array], Array]:
    """Return what casts to another dtype."""
    return lambda a: np.zeros(a.shape, name) if name.startswith(("M8", "m8")) else a.astype(name)


LYING = {  # the same values otherwise: no reason to refuse
    "Fortran": np.asfortranarray,
    "unaligned": unaligned,
    "read-only": read_only,
    "spread": spread,
    "subclass": lambda a: a.view(Named),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
}
DTYPES = ["float16", "float32", "float64", "longdouble", "complex64", "int8", "int64", "uint32"]
DTYPES += ["bool", "object", "M8[s]", "m8[us]", "S3", "U2", ">f4", ">f8"]
OTHER = {
    **{f"as {name}": of_dtype(name) for name in DTYPES},
    "structured": lambda a: np.zeros(a.shape, [("re", "f4"), ("im", "f4")]),
    "masked": lambda a: np.ma.masked_array(a),
    "first": lambda a: a[0],
    "longer rank": lambda a: a[None],
    "0-d": lambda a: a.reshape(-1)[0].reshape(()),
    "number": lambda a: float(a.reshape(-1)[0]),
    "scalar": lambda a: a.reshape(-1)[0],
    "list": lambda a: a.tolist(),
    "turned": lambda a: a.T,
    "None": lambda a: None,
    "word": lambda a: "x",
    "bytes": lambda a: a.tobytes(),
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "type": lambda a: np.ndarray,
}
ARRAYS = {**LYING, **OTHER}

INTEGERS = st.one_of(
    st.integers(-2, 9),
    st.integers(0, 4),
    st.sampled_from([2**22, 2**31 - 1, 2**31, 2**32, 2**61, 2**62, 2**63, 2**70, -(2**63)]),
)
NUMBERS = st.one_of(
    INTEGERS,
    INTEGERS.filter(lambda n: -(2**63) <= n < 2**63).map(np.int64),
    st.integers(0, 200).map(np.uint8),
    st.integers(0, 9).map(Index),
    st.sampled_from([True, False, np.True_, 1.0, 2.5, float("nan"), float("inf"), -0.0, 1j]),
    st.sampled_from([np.float64(1), np.float32("nan"), Fraction(1, 2), Fraction(2), None]),
)
NAMES = (
    "valid same same_lower full SAME channels_last channels_first NHWC constant reflect edge wrap"
)
NAMES += " relu relu6 auto direct winograd x kernel bias"
WORDS = st.sampled_from([*NAMES.split(), "", b"same", "sam\ud800e"])
ONE = st.one_of(NUMBERS, NUMBERS, WORDS)
ANYTHING = st.recursive(
    st.one_of(ONE, st.sampled_from([np.array(2), np.array([1, 2]), {}, object, {"x"}])),
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.lists(inner, max_size=3), st.lists(inner, max_size=5).map(tuple)
    ),
    max_leaves=5,
)

GEOMETRY = ("strides", "padding", "dilation_rate", "data_format")
TAKES = {
    "conv2d": (*GEOMETRY, "groups", "padding_mode", "padding_value", "activation", "algorithm"),
    "conv2d_backward": (*GEOMETRY, "groups", "padding_mode", "padding_value", "algorithm", "needs"),
    "conv2d_transpose": (*GEOMETRY, "groups", "output_padding", "algorithm"),
    "conv2d_transpose_backward": (*GEOMETRY, "groups", "output_padding", "algorithm", "needs"),
    "dense": ("activation",),
    "dense_backward": ("needs",),
    "max_pool2d": (*GEOMETRY, "pool_size", "ceil_mode", "return_indices"),
    "min_pool2d": (*GEOMETRY, "pool_size", "ceil_mode", "return_indices"),
    "avg_pool2d": (*GEOMETRY, "pool_size", "ceil_mode", "count_include_pad"),
    "max_pool2d_backward": (*GEOMETRY, "pool_size", "ceil_mode"),
    "min_pool2d_backward": (*GEOMETRY, "pool_size", "ceil_mode"),
    "avg_pool2d_backward": (*GEOMETRY, "pool_size", "ceil_mode", "input_shape"),
    "global_max_pool2d": ("data_format", "keepdims", "return_indices"),
    "global_avg_pool2d": ("data_format", "keepdims"),
    "global_max_pool2d_backward": ("data_format",),
    "global_avg_pool2d_backward": ("data_format", "input_shape"),
    "activation_backward": ("activation",),
    **dict.fromkeys(("exp", "log", "tanh", "sigmoid", "softmax"), ()),
}
OPERATIONS = {dtype: operations.make_operations(dtype, seed=3) for dtype in ("float32", "float64")}


class Call:
    """A call, and what is changed of it."""

    def __init__(self, operation: Operation, changed: dict[str, Any]) -> None:
        self.operation, self.changed = operation, changed

    def __repr__(self) -> str:
        """Return the function and what is changed, in short."""
        return (
            f"{self.operation.name}({', '.join(f'{k}={show(v)}' for k, v in self.changed.items())})"
        )


def show(value: Any) -> str:
    """Return a value in few characters."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"{type(value).__name__} {value.dtype}{list(value.shape)} strides {value.strides}"
    return repr(value)[:60]


@st.composite
def calls(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Call:
    """Make a call and what is changed of it."""
    operation = OPERATIONS[draw(st.sampled_from(["float32", "float64"]))][
        draw(st.sampled_from(sorted(TAKES)))
    ]
    lying, other = st.sampled_from(sorted(LYING)), st.sampled_from(sorted(ARRAYS))
    sizes = st.builds(resized, st.integers(0, 3), st.integers(0, 8))
    changed: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*operation.arrays, *TAKES[operation.name], "out"]))
        if name in operation.arrays:
            change = draw(st.one_of(lying.map(ARRAYS.get), other.map(ARRAYS.get), sizes))
            changed[name] = change(operation.arrays[name])
        elif name == "out":
            changed["out"] = draw(outs(operation))
        elif draw(st.booleans()):
            changed[name] = draw(likely(name))
        else:
            changed[name] = draw(ANYTHING)
    return Call(operation, changed)


def likely(name: str) -> st.SearchStrategy[Any]:
    """Make a value that an argument may well have."""
    small = st.integers(0, 4)
    match name:
        case "padding":
            pair = st.tuples(small, small)
            return st.one_of(small, pair, st.tuples(pair, pair), st.sampled_from(["same", "valid"]))
        case "data_format":
            return st.sampled_from(["channels_last", "channels_first"])
        case "ceil_mode" | "return_indices" | "count_include_pad" | "keepdims":
            return st.booleans()
        case "needs":
            return st.lists(st.sampled_from(["x", "kernel", "bias"]), max_size=4).map(tuple)
        case "padding_mode":
            return st.sampled_from(["constant", "reflect", "edge", "wrap"])
        case "activation":
            return st.sampled_from([None, "relu", "relu6"])
        case "algorithm":
            return st.sampled_from(["auto", "direct"])
        case "padding_value":
            return st.sampled_from([0, 1, -2.5, np.float32(0.5), Fraction(1, 2)])
        case "input_shape":
            return st.tuples(*[st.integers(0, 9)] * 4)
    return st.one_of(small, st.tuples(small, small), st.tuples(small, small).map(list))


@st.composite
def outs(draw: Callable[[st.SearchStrategy[Any]], Any], operation: Operation) -> Any:
    """Make an array to write into: a right one, one that lies or is otherwise, or an input."""
    try:
        y = next(iter(operation.results().values()))
    except ALLOWED:
        y = np.zeros(3)
    kind = draw(st.sampled_from(["right", "input", *LYING, *OTHER]))
    if kind == "right":
        return np.full_like(y, 7)
    if kind == "input":
        a = draw(st.sampled_from(sorted(operation.arrays)))
        return (
            np.resize(operation.arrays[a], y.shape) if draw(st.booleans()) else operation.arrays[a]
        )
    return ARRAYS[kind](np.full_like(y, 7))


# --------------------------------------------------------------------------------- what is right


ARGUMENTS = ("x", "kernel", "bias", "residual", "dy")


def plain(value: Any) -> Any:
    """Return an argument as the reference takes it: ints of every type as ints."""
    if isinstance(value, (tuple, list)):
        return tuple(plain(item) for item in value)
    try:
        return operator.index(value)
    except TypeError:
        return value


def expected(name: str, given_: dict[str, Any]) -> dict[str, Array]:
    """Return the reference's results of a call that was answered, by name."""
    arrays = {k: v for k, v in given_.items() if k in ARGUMENTS and v is not None}
    unknown = (*ARGUMENTS, "algorithm", "out")
    words = {k: plain(v) for k, v in given_.items() if k not in unknown}
    needs = words.pop("needs", ("x", "kernel", "bias"))
    if "padding_value" in words:
        words["padding_value"] = float(words["padding_value"])
    wanted = words.pop("return_indices", False)
    if name.endswith("_backward") and ("conv" in name or "dense" in name):
        gradients = getattr(reference, name)(**arrays, **words)._asdict()
        return {k: v for k, v in gradients.items() if k[1:] in needs}
    if wanted:
        y, indices = getattr(reference, f"{name}_with_indices")(**arrays, **words)
        return {"y": y, "indices": indices}
    result = getattr(reference, name)(**arrays, **words)
    return {"dx" if "backward" in name else "y": np.asarray(result)}


def check_right(name: str, results: dict[str, Array], given_: dict[str, Any]) -> None:
    """Compare what a call answers with the reference, where this has the room for a canvas."""
    try:
        with little_memory():
            right = expected(name, given_)
    except (MemoryError, ValueError) as error:
        assert "too big" in str(error) or isinstance(error, MemoryError)  # noqa: PT017
        count("fuzz of calls", "too sparse for the reference")
        return
    results = {key: value for key, value in results.items() if value is not None}
    assert results.keys() == right.keys()
    for key, found in results.items():
        assert found.shape == right[key].shape
        if found.dtype.kind == "i":
            np.testing.assert_array_equal(found, right[key])
            continue
        largest = float(np.max(np.abs(right[key]), initial=1.0, where=np.isfinite(right[key])))
        tolerance = 300 * np.finfo(found.dtype).eps * largest
        np.testing.assert_allclose(found, right[key].astype(np.float64), rtol=0, atol=tolerance)


def kept(value: Any) -> bytes | None:
    """Return the bytes of an array, to see whether they have changed."""
    return value.tobytes() if isinstance(value, np.ndarray) else None


BEFORE = {
    dtype: {name: operation.results() for name, operation in every.items()}
    for dtype, every in OPERATIONS.items()
}


@contextmanager
def restored(operation: Operation) -> Iterator[None]:
    """Put back the arrays of an operation: one may be `out` where a copy of it is the argument."""
    own = {name: array.copy() for name, array in operation.arrays.items()}
    try:
        yield
    finally:
        for name, array in operation.arrays.items():
            array[...] = own[name]


def check_call(operation: Operation, changed: dict[str, Any]) -> None:
    """A documented exception with a sentence, and nothing written, or what the reference says."""
    given_ = {**operation.arrays, **operation.words, **changed}
    before = {name: kept(value) for name, value in given_.items()}
    try:
        with little_memory():
            results = operation.results(**changed)
    except ALLOWED as error:
        outcome = error
        results = None
    assert {k: kept(v) for k, v in given_.items() if k != "out" or results is None} == {
        k: v for k, v in before.items() if k != "out" or results is None
    }, "an argument was written to"
    count("fuzz of calls", "calls")
    if results is None:
        count("fuzz of calls", "of them refused")
        assert isinstance(outcome, MemoryError) or len(str(outcome)) > 10
    else:
        if "out" in changed and changed["out"] is not None:
            assert next(iter(results.values())) is changed["out"]
        check_right(operation.name, results, given_)


@given(call=calls())
@settings(max_examples=20 * settings().max_examples)
def test_anything(call: Call) -> None:
    """Whatever a call is given, it answers as it should, and later calls as before."""
    with restored(call.operation):
        check_call(call.operation, call.changed)
    dtype = str(next(iter(call.operation.arrays.values())).dtype)
    for name, again in call.operation.results().items():
        if again is not None:
            right = BEFORE[dtype][call.operation.name][name]
            assert same_bits(again, right), "a later call is wrong"


def test_out_may_be_an_array_of_the_operation() -> None:
    """Written rightly where a copy of it is x, it is put back: what comes after is not blamed."""
    operation = OPERATIONS["float32"]["avg_pool2d"]
    own = operation.arrays["x"]
    before = own.copy()
    with restored(operation):
        check_call(operation, {"x": before.copy(), "strides": 1, "out": own})
        assert not same_bits(own, before)
    assert same_bits(own, before)


@given(value=ANYTHING)
def test_settings(value: Any) -> None:
    """The switches of the process take what they should, refuse the rest, and stay as they were."""
    before = fastconv.get_num_threads(), fastconv.get_flush_denormals()
    for switch in (fastconv.set_num_threads, fastconv.set_flush_denormals):
        wrong = not isinstance(value, bool) if "flush" in switch.__name__ else plain(value) is value
        if wrong and not isinstance(value, int):
            with pytest.raises((TypeError, ValueError)):
                switch(value)
            assert before == (fastconv.get_num_threads(), fastconv.get_flush_denormals())
    count("fuzz of calls", "settings")
