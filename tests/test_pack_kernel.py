"""A packed kernel in place of a kernel: right results, any instruction set, one geometry only."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
import strategies
from closeness import assert_close, assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from strategies import Conv2DProblem

Array = npt.NDArray[Any]


def pack(problem: Conv2DProblem, kernel: Array, **words: Any) -> Any:
    """Pack a kernel for its problem."""
    size = (problem.h, problem.w)
    return functional.pack_kernel(kernel, input_size=size, **problem.geometry, **words)


@given(problem=strategies.conv2d_problems(), activation=st.sampled_from(strategies.ACTIVATIONS))
def test_whole_numbers_are_exact(isa: str, problem: Conv2DProblem, activation: str | None) -> None:
    """Packed for direct convolution, whole numbers leave nothing to round."""
    a = problem.draw_arrays(strategies.whole_numbers)
    packed = pack(problem, a["kernel"], algorithm="direct")
    words = {**problem.geometry, "activation": activation, "residual": a["residual"]}
    y = functional.conv2d(a["x"], packed, a["bias"], algorithm="direct", **words)
    np.testing.assert_array_equal(y, reference.conv2d(a["x"], a["kernel"], a["bias"], **words))


@given(problem=strategies.conv2d_problems())
def test_normal_numbers_are_close(isa: str, problem: Conv2DProblem) -> None:
    """Whatever algorithm a packed kernel is made for stays within rounding."""
    a = problem.draw_arrays()
    words = problem.geometry
    y = functional.conv2d(a["x"], pack(problem, a["kernel"]), a["bias"], **words)
    expected = reference.conv2d(a["x"], a["kernel"], a["bias"], **words)
    sizes = {**words, "padding_value": abs(problem.padding_value)}
    magnitude = reference.conv2d(abs(a["x"]), abs(a["kernel"]), abs(a["bias"]), **sizes)
    assert_close(y, expected, magnitude, problem.terms)


@given(problem=strategies.conv2d_problems())
def test_any_instruction_set_reads_any_packing(problem: Conv2DProblem) -> None:
    """Packed under one instruction set, used under another: the bits of the one that uses it."""
    a = problem.draw_arrays()
    packings, results = {}, {}
    for isa in _core.available_isas():
        with _core.forced_isa(isa):
            packings[isa] = pack(problem, a["kernel"])
            results[isa] = functional.conv2d(a["x"], packings[isa], **problem.geometry)
    for user, result in results.items():
        with _core.forced_isa(user):
            for maker, packed in packings.items():
                y = functional.conv2d(a["x"], packed, **problem.geometry)
                assert_same_bits(y, result, f"packed under {maker}, used under {user}")


def test_any_batch_and_any_number_of_uses() -> None:
    """One packing serves any number of images, any number of times."""
    problem = Conv2DProblem(5, 9, 10, 17, 35, 3, 3, 1, "same")
    a = problem.draw_arrays()
    packed = pack(problem, a["kernel"])
    whole = functional.conv2d(a["x"], packed, padding="same")
    for n in (1, 3, 5):
        part = functional.conv2d(a["x"][:n], packed, padding="same")
        assert_same_bits(part, whole[:n])
    assert functional.conv2d(a["x"][:0], packed, padding="same").shape == (0, 9, 10, 35)


def test_is_a_copy() -> None:
    """What becomes of the kernel after packing does not matter."""
    problem = Conv2DProblem(1, 6, 6, 8, 8, 3, 3)
    a = problem.draw_arrays()
    packed = pack(problem, a["kernel"])
    before = functional.conv2d(a["x"], packed)
    a["kernel"].fill(np.nan)
    assert_same_bits(functional.conv2d(a["x"], packed), before)


def test_is_immutable() -> None:
    """No attribute of a packed kernel can be set."""
    problem = Conv2DProblem(1, 6, 6, 8, 8, 3, 3)
    packed = pack(problem, problem.draw_arrays()["kernel"])
    with pytest.raises((AttributeError, TypeError)):
        packed.anything = 1
    public = [name for name in dir(packed) if not name.startswith("_")]
    for name in public:
        with pytest.raises((AttributeError, TypeError)):
            setattr(packed, name, None)


def test_many_threads_share_one() -> None:
    """Python threads use one packed kernel at the same time, each with images of its own."""
    problem = Conv2DProblem(4, 20, 20, 32, 32, 3, 3, 1, 1)
    a = problem.draw_arrays()
    packed = pack(problem, a["kernel"])
    alone = functional.conv2d(a["x"], packed, padding=1)
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            y = functional.conv2d(a["x"][i : i + 1], packed, padding=1)
            if not np.array_equal(y, alone[i : i + 1]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"strides": 2}, "strides"),
        ({"padding": 1}, "padding"),
        ({"padding": "same"}, "padding"),
        ({"dilation_rate": 2}, "dilation_rate"),
        ({"groups": 2}, "groups"),
    ],
)
def test_another_geometry_is_refused(changed: dict[str, Any], named: str) -> None:
    """A packed kernel is bound to the geometry that it was made for."""
    problem = Conv2DProblem(1, 8, 8, 8, 8, 3, 3)
    a = problem.draw_arrays()
    packed = functional.pack_kernel(a["kernel"], input_size=(8, 8))
    with pytest.raises(ValueError, match=rf"kernel|{named}"):
        functional.conv2d(a["x"], packed, **changed)


def test_another_input_size_is_refused() -> None:
    """The message has both sizes."""
    problem = Conv2DProblem(1, 8, 9, 8, 8, 3, 3)
    a = problem.draw_arrays()
    packed = functional.pack_kernel(a["kernel"], input_size=(8, 10))
    with pytest.raises(ValueError, match=r"(?s)8.*10") as caught:
        functional.conv2d(a["x"], packed)
    assert "9" in str(caught.value)


def test_another_dtype_is_refused() -> None:
    """The message has both dtypes."""
    problem = Conv2DProblem(1, 8, 8, 8, 8, 3, 3)
    a = problem.draw_arrays()
    packed = functional.pack_kernel(a["kernel"], input_size=(8, 8))
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        functional.conv2d(a["x"].astype(np.float64), packed)


def test_another_channel_count_is_refused() -> None:
    """A packed kernel has channels of its own."""
    problem = Conv2DProblem(1, 8, 8, 8, 8, 3, 3)
    a = problem.draw_arrays()
    packed = functional.pack_kernel(a["kernel"], input_size=(8, 8))
    with pytest.raises(ValueError, match=r"\b7\b"):
        functional.conv2d(np.ascontiguousarray(a["x"][..., :7]), packed)


def test_images_that_no_memory_holds_are_refused() -> None:
    """Sizes whose products of tiles and points are 2**57 of 64 bits, and the tiles below zero."""
    kernel = np.ones((3, 3, 400, 16), np.float32)
    with pytest.raises(ValueError, match="too large"):
        functional.pack_kernel(kernel, input_size=(4 * 257 * 2**20, 2**37), padding="same")
    packed = functional.pack_kernel(kernel[:, :, :1], input_size=(2**20, 2**20), padding="same")
    assert packed.input_size == (2**20, 2**20)


def test_padding_with_nan() -> None:
    """One NaN is another here."""
    a = Conv2DProblem(1, 5, 5, 3, 4, 3, 3).draw_arrays()
    words = {"padding": 1, "padding_value": float("nan")}
    y = functional.conv2d(a["x"], functional.pack_kernel(a["kernel"], (5, 5), **words), **words)
    assert np.isfinite(y[:, 1:-1, 1:-1]).all()
    assert np.isnan(y).sum() == y.size - y[:, 1:-1, 1:-1].size
