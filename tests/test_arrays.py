"""The array contract: inputs of any strides and alignment, ``out=``, memory that is not ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import operations
import strategies
from closeness import assert_same_bits
from fastconv import functional
from guards import GuardedOutput, guarded_input
from operations import Operation

Array = npt.NDArray[Any]


def make(name: str, dtype: str = "float32") -> Operation:
    """Return the small call of a function."""
    return operations.make_operations(dtype)[name]


# --------------------------------------------------------------------------------------- inputs


def every_second(a: Array) -> Array:
    """Return a copy that lies in every second element along each axis, NaN between."""
    memory = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = memory[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def backwards(a: Array) -> Array:
    """Return a copy whose strides are all negative."""
    turned = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[turned])[turned]


def read_only(a: Array) -> Array:
    """Return a copy that may not be written."""
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def inner_window(a: Array) -> Array:
    """Return a copy that is a window of a larger array of NaN."""
    memory = np.full([n + 3 for n in a.shape], np.nan, a.dtype)
    view = memory[tuple(slice(1, 1 + n) for n in a.shape)]
    view[...] = a
    return view


DISGUISES: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "every second element": every_second,
    "backwards": backwards,
    "window of a larger array": inner_window,
    "one byte off": lambda a: guarded_input(a, offset=1),
    "read-only": read_only,
    "read-only and one byte off": lambda a: read_only(guarded_input(a, offset=1)),
    "axes exchanged": lambda a: np.ascontiguousarray(a.T).T,
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", operations.NAMES)
def test_any_strides_and_alignment(isa: str, name: str, disguise: str) -> None:
    """Each array argument in turn, then all together: the bits of contiguous ones."""
    for dtype in strategies.DTYPES:
        operation = make(name, dtype)
        plain = operation.results()
        disguised = {key: DISGUISES[disguise](a) for key, a in operation.arrays.items()}
        for changed in [{key: a} for key, a in disguised.items()] + [disguised]:
            for key, value in operation.results(**changed).items():
                assert_same_bits(value, plain[key], f"{key} with {list(changed)} changed")


@pytest.mark.parametrize("name", operations.NAMES)
def test_broadcast_inputs(isa: str, name: str) -> None:
    """Strides of zero: one number seen as a whole array."""
    operation = make(name)
    for key, a in operation.arrays.items():
        seen = np.broadcast_to(np.float32(0.75), a.shape)
        whole = operation.results(**{key: np.full(a.shape, 0.75, np.float32)})
        for result, value in operation.results(**{key: seen}).items():
            assert_same_bits(value, whole[result], f"{result} with {key} broadcast")


@pytest.mark.parametrize("name", operations.NAMES)
def test_inputs_are_only_read(isa: str, name: str) -> None:
    """No input is written, and no result is a view of one."""
    operation = make(name)
    before = {key: a.copy() for key, a in operation.arrays.items()}
    results = operation.results()
    for key, a in operation.arrays.items():
        assert_same_bits(a, before[key], key)
        for result, value in results.items():
            assert not np.may_share_memory(a, value), f"{result} is a view of {key}"


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", operations.NAMES)
def test_results_are_plain_arrays(name: str, dtype: str) -> None:
    """Contiguous, writeable, aligned ndarrays of the dtype of the inputs."""
    for key, value in make(name, dtype).results().items():
        assert type(value) is np.ndarray, key
        assert value.dtype == ("int64" if key == "indices" else dtype), key
        assert value.flags.c_contiguous, key
        assert value.flags.writeable, key
        assert value.flags.aligned, key


def test_weights_of_pytorch_and_onnx() -> None:
    """(c_out, c_in, kh, kw) and, transposed, (c_in, c_out, kh, kw) go in as transposed views."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 5, 8, 8)).astype(np.float32)
    theirs = rng.standard_normal((7, 5, 3, 3)).astype(np.float32)
    view = theirs.transpose(2, 3, 1, 0)
    y = functional.conv2d(x, view, data_format="channels_first")
    copied = functional.conv2d(x, np.ascontiguousarray(view), data_format="channels_first")
    assert_same_bits(y, copied)
    assert y.shape == (1, 7, 6, 6)
    up = theirs.transpose(1, 0, 2, 3).transpose(2, 3, 1, 0)  # (5, 7, 3, 3) seen as kh, kw, out, in
    y = functional.conv2d_transpose(x, up, data_format="channels_first")
    assert y.shape == (1, 7, 10, 10)
    copied = functional.conv2d_transpose(x, np.ascontiguousarray(up), data_format="channels_first")
    assert_same_bits(y, copied)


def test_memory_mapped_input(tmp_path: Path) -> None:
    """An array that is a file is an array."""
    operation = make("conv2d")
    path = tmp_path / "x"
    operation.arrays["x"].tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=operation.arrays["x"].shape)
    assert_same_bits(operation.call(x=mapped), operation.call())


def test_python_numbers_of_numpy() -> None:
    """Integers of NumPy are integers, wherever a parameter is one."""
    operation = make("max_pool2d")
    words = {"pool_size": np.int32(3), "strides": (np.int64(2), np.uint8(2)), "padding": np.int8(1)}
    for key, value in operation.results(**words).items():
        assert_same_bits(value, operation.results()[key], key)


# --------------------------------------------------------------------------------------- outputs


@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", operations.TAKE_OUT)
def test_out(isa: str, name: str, dtype: str, offset: int) -> None:
    """All of ``out``, at any alignment, is written, nothing beside it, and it is returned."""
    operation = make(name, dtype)
    expected = operation.results()
    out = GuardedOutput(expected["y"].shape, dtype, offset)
    results = operation.results(out=out.array)
    assert results["y"] is out.array
    for key, value in results.items():
        assert_same_bits(value, expected[key], key)
    out.assert_intact()


@pytest.mark.parametrize("name", operations.TAKE_OUT)
def test_out_of_any_strides(isa: str, name: str) -> None:
    """Strides of ``out`` may be anything; what lies between its elements is not written."""
    operation = make(name)
    expected = operation.results()["y"]
    spread = every_second(np.zeros_like(expected))
    memory = spread.base
    assert isinstance(memory, np.ndarray)
    operation.call(out=spread)
    assert_same_bits(np.ascontiguousarray(spread), expected)
    assert np.isnan(memory).sum() == memory.size - expected.size
    for turn in (np.asfortranarray, backwards):
        out = turn(np.full_like(expected, np.nan))
        operation.call(out=out)
        assert_same_bits(np.ascontiguousarray(out), expected)


def overlapping(a: Array, shape: tuple[int, ...], shared: int) -> tuple[Array, Array]:
    """Return a copy of ``a`` and an array of ``shape`` behind it that share some elements."""
    size = int(np.prod(shape))
    memory = np.full(a.size + size - shared, 7, a.dtype)
    copy = memory[: a.size].reshape(a.shape)
    out = memory[a.size - shared :].reshape(shape)
    copy[...] = a
    return copy, out


@pytest.mark.parametrize("name", operations.TAKE_OUT)
def test_out_that_overlaps_an_input(name: str) -> None:
    """One shared element is an overlap, which is refused before anything is written."""
    operation = make(name)
    shape = operation.results()["y"].shape
    for key, a in operation.arrays.items():
        for shared in (1, min(a.size, int(np.prod(shape)))):
            given, out = overlapping(a, shape, shared)
            before_given, before_out = given.copy(), out.copy()
            with pytest.raises(ValueError, match=rf"out\b.*\b{key}\b|\b{key}\b.*\bout\b"):
                operation.call(**{key: given}, out=out)
            assert_same_bits(given, before_given)
            assert_same_bits(out, before_out)


@pytest.mark.parametrize("name", operations.TAKE_OUT)
def test_out_that_overlaps_an_unaligned_input(name: str) -> None:
    """That such an input is copied first makes no difference."""
    operation = make(name)
    expected = operation.results()["y"]
    for key, a in operation.arrays.items():
        memory = np.zeros(max(a.nbytes, expected.nbytes) + 1, np.uint8)
        given = memory[1 : a.nbytes + 1].view(a.dtype).reshape(a.shape)
        given[...] = a
        out = memory[: expected.nbytes].view(expected.dtype).reshape(expected.shape)
        with pytest.raises(ValueError, match=rf"out\b.*\b{key}\b"):
            operation.call(**{key: given}, out=out)
        assert_same_bits(given.copy(), a)


@pytest.mark.parametrize("name", operations.TAKE_OUT)
def test_out_beside_an_input(name: str) -> None:
    """Arrays that touch in memory do not overlap."""
    operation = make(name)
    expected = operation.results()["y"]
    for key, a in operation.arrays.items():
        given, out = overlapping(a, expected.shape, 0)
        operation.call(**{key: given}, out=out)
        assert_same_bits(out, expected, key)
        assert_same_bits(given, a, key)


def test_residual_is_an_input() -> None:
    """Adding in place is an overlap like others."""
    operation = make("conv2d")
    residual = operation.arrays["residual"].copy()
    with pytest.raises(ValueError, match="out"):
        operation.call(residual=residual, out=residual)
    assert_same_bits(residual, operation.arrays["residual"])


def test_out_that_overlaps_itself() -> None:
    """An array several of whose elements are one place in memory cannot hold a result."""
    operation = make("conv2d")
    shape = operation.results()["y"].shape
    one = np.zeros(1, np.float32)
    out = np.lib.stride_tricks.as_strided(one, shape, (0, 0, 0, 0))
    with pytest.raises(ValueError, match="out"):
        operation.call(out=out)
    assert one[0] == 0
