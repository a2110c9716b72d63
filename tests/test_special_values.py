"""No cliffs in the data: where NaN, infinities and denormals reach, by every algorithm.

A NaN or infinity changes the results that it takes part in and no bit of another. Convolutions and
dense layers take a denormal as zero, on whatever thread, and leave the caller's floating-point
state as it was; poolings keep denormals. How long such calls take: ``python tests/slowdown.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bits
import fastconv
import operations
import pytorch
import reference
import strategies
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from strategies import Conv2DProblem, DenseProblem, TransposeProblem
from trust_record import count

Array = npt.NDArray[Any]
Summed = Conv2DProblem | TransposeProblem | DenseProblem


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave each test with the settings the process had."""
    threads, flush = fastconv.get_num_threads(), fastconv.get_flush_denormals()
    yield
    fastconv.set_num_threads(threads)
    fastconv.set_flush_denormals(flush)


# ----------------------------------------------------------------------------- what it is made of


def kind_of(problem: Summed) -> str:
    """Return the name of the function that computes a problem."""
    kinds = {Conv2DProblem: "conv2d", TransposeProblem: "conv2d_transpose", DenseProblem: "dense"}
    return kinds[type(problem)]


def words_of(problem: Summed) -> dict[str, Any]:
    """Return the geometry to call with; a dense layer has none."""
    return {} if isinstance(problem, DenseProblem) else problem.geometry


def results(problem: Summed, a: dict[str, Array], algorithm: str) -> dict[str, Array]:
    """Return y, by a bare and by a packed kernel, and the gradients; nothing hides a value."""
    name, words = kind_of(problem), words_of(problem)
    chosen = words if isinstance(problem, DenseProblem) else {**words, "algorithm": algorithm}
    y = getattr(functional, name)(a["x"], a["kernel"], a["bias"], **chosen)
    grads = getattr(functional, f"{name}_backward")(a["dy"], a["x"], a["kernel"], **chosen)
    found = {"y": y, **grads._asdict()}
    if isinstance(problem, Conv2DProblem):
        size = (problem.h, problem.w)
        packed = functional.pack_kernel(a["kernel"], input_size=size, **chosen)
        found["packed"] = functional.conv2d(a["x"], packed, a["bias"], **chosen)
    return found


def reached(problem: Summed, into: str, at: tuple[Any, ...]) -> dict[str, Array]:
    """Say which results one element of an input takes part in."""
    name, words = kind_of(problem), words_of(problem)
    if "padding_value" in words:
        # What pads x is a term of a tap's gradient; of what comes out of a pixel of x it is not.
        words = {**words, "padding_value": float(into == "dy" and words["padding_value"] != 0)}
    a = {key: np.ones(value.shape) for key, value in problem.draw_arrays().items()}
    a[into] = np.zeros(a[into].shape)
    a[into][at] = 1
    y = getattr(reference, name)(a["x"], a["kernel"], **words)
    grads = getattr(reference, f"{name}_backward")(a["dy"], a["x"], a["kernel"], **words)
    found = {"y": y, "packed": y, "dx": grads.dx, "dkernel": grads.dkernel, "dbias": grads.dbias}
    return {key: value > 0 for key, value in found.items()}


def summed_problems() -> st.SearchStrategy[Summed]:
    """Make a convolution, plain or transposed, or a dense layer."""
    convolutions = strategies.conv2d_problems()
    return st.one_of(
        convolutions, convolutions, strategies.transpose_problems(), strategies.dense_problems()
    )


# ------------------------------------------------------------------------------------ NaN and inf

# What each input takes part in.
INTO = {
    "x": ("y", "packed", "dkernel"),
    "dy": ("dx", "dkernel", "dbias"),
    "kernel": ("y", "packed", "dx"),
}


def may_be_tiles(problem: Summed) -> bool:
    """Whether "auto" may take Winograd's tiles."""
    if isinstance(problem, Conv2DProblem):
        return bits.offers(problem, "winograd")
    return isinstance(problem, TransposeProblem)


def may_change(problem: Summed, algorithm: str, into: str, name: str, field: Array) -> Array:
    """Widen a field by what may be computed another way: other taps of the same gradient.

    Where Winograd's tiles may be, so may other pixels of an image that holds one of the field: a
    line of tiles is computed again directly.  And by what is not specified: a product of a weight
    that is not finite and padding.
    """
    if name == "dkernel" and into != "kernel":
        return np.broadcast_to(field.any(axis=tuple(range(field.ndim - 2))), field.shape)
    if into == "kernel":
        last = isinstance(problem, DenseProblem) or problem.data_format == "channels_last"
        channels = field.ndim - 1 if last else 1
        others = tuple(axis for axis in range(field.ndim) if axis != channels)
        return np.broadcast_to(field.any(axis=others, keepdims=True), field.shape)
    if algorithm != "direct" and name in ("y", "packed", "dx") and may_be_tiles(problem):
        return np.broadcast_to(field.any(axis=(1, 2, 3), keepdims=True), field.shape)
    return field


@given(
    problem=summed_problems(),
    algorithm=st.sampled_from(bits.ALGORITHMS),
    into=st.sampled_from(sorted(INTO)),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    place=st.integers(0, 2**32),
)
@settings(max_examples=settings().max_examples // 2)
def test_non_finite_values_stay_in_their_field(
    isa: str, problem: Summed, algorithm: str, into: str, value: float, place: int
) -> None:
    """One of x reaches the outputs that see it, one of dy the pixels it came from, and so on."""
    assume(algorithm in ("auto", *bits.algorithms_of(problem)))
    assume(isinstance(problem, DenseProblem) or bits.offers(problem, algorithm))
    a = problem.draw_arrays()
    at = tuple(map(int, np.unravel_index(place % a[into].size, a[into].shape)))
    fields = reached(problem, into, at)
    before = results(problem, a, algorithm)
    a[into][at] = value
    after = results(problem, a, algorithm)
    for name, found in after.items():
        field = fields[name] if name in INTO[into] else np.zeros(found.shape, bool)
        assert not np.isfinite(found[field]).any(), f"{name} within the field"
        changed = may_change(problem, algorithm, into, name, field)
        outside = ~changed
        if into != "kernel":
            near, far = found[changed & ~field], before[name][changed & ~field]
            large = float(np.abs(before[name]).max(initial=0))
            np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-4 * large, err_msg=name)
        if field.any() or name not in INTO[into]:
            assert_same_bits(found[outside], before[name][outside], f"{name} outside the field")
    count("special values", "NaN and infinities")


# --------------------------------------------------------------------------------------- denormals


def tiny_of(dtype: npt.DTypeLike) -> float:
    """Return a denormal well below the smallest normal number."""
    return float(np.finfo(dtype).smallest_normal) / 64


def with_denormals(problem: Summed, names: tuple[str, ...], share: float) -> list[dict[str, Array]]:
    """Return the arrays of a problem with a share of the elements denormal, and with these zero.

    Without a bias, beside which a denormal would not be seen.
    """
    rng = np.random.default_rng(problem.seed)
    tiny, zero = problem.draw_arrays(), problem.draw_arrays()
    tiny["bias"][:] = zero["bias"][:] = 0
    for name in names:
        where = rng.random(tiny[name].shape) < share
        tiny[name][where] = tiny_of(tiny[name].dtype) * rng.choice((-1, 1), int(where.sum()))
        zero[name][where] = 0
    return [tiny, zero]


def assert_equal_results(found: dict[str, Array], expected: dict[str, Array]) -> None:
    """Assert that results are equal, +0 and -0 alike."""
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], name)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("names", [("x",), ("kernel",), ("dy",), ("x", "kernel", "dy")])
@given(
    problem=summed_problems(),
    algorithm=st.sampled_from(bits.ALGORITHMS),
    share=st.sampled_from([0.5, 1]),
)
@settings(max_examples=max(1, settings().max_examples // 5))
def test_denormals_count_as_zero(
    isa: str, problem: Summed, algorithm: str, share: float, names: tuple[str, ...], threads: int
) -> None:
    """Denormal pixels, weights and gradients give what zeros give."""
    assume(algorithm in ("auto", *bits.algorithms_of(problem)))
    assume(isinstance(problem, DenseProblem) or bits.offers(problem, algorithm))
    fastconv.set_num_threads(threads)
    tiny, zero = with_denormals(problem, names, share)
    with _core.forced_worker_share(1):  # small as it is, it is divided
        assert_equal_results(results(problem, tiny, algorithm), results(problem, zero, algorithm))
    count("special values", "problems with denormals")


LARGE = ("3x3", "3x3 float64", "1x1", "depthwise", "7x7 stem", "transposed", "dense")


@pytest.mark.parametrize("name", LARGE)
def test_denormals_count_as_zero_on_every_thread(isa: str, name: str) -> None:
    """Problems large enough to be shared: the state of the workers is that of the caller."""
    problem = bits.LARGE[name]
    assert not isinstance(problem, strategies.PoolProblem)
    fastconv.set_num_threads(3)
    for names in (("x",), ("kernel",), ("dy",)):
        tiny, zero = with_denormals(problem, names, 1)
        assert_equal_results(results(problem, tiny, "auto"), results(problem, zero, "auto"))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_denormals_are_kept_where_that_is_asked_for(isa: str, algorithm: str, dtype: str) -> None:
    """With the switch off, denormal sums come out exactly: whole numbers of the smallest."""
    fastconv.set_flush_denormals(False)
    fastconv.set_num_threads(3)
    least = np.finfo(dtype).smallest_subnormal
    problem = Conv2DProblem(4, 28, 28, 16, 24, 1, 1, dtype=dtype)
    a = problem.draw_arrays(strategies.whole_numbers)
    y = functional.conv2d(a["x"] * least, a["kernel"], algorithm=algorithm)
    np.testing.assert_array_equal(y / least, reference.conv2d(a["x"], a["kernel"]))
    dx = functional.conv2d_backward(a["dy"] * least, a["x"], a["kernel"], algorithm=algorithm).dx
    right = reference.conv2d_backward(a["dy"], a["x"], a["kernel"]).dx
    assert dx is not None
    np.testing.assert_array_equal(dx / least, right)
    assert y.any()


def keeps_denormals() -> bool:
    """Whether this thread's arithmetic, NumPy's and Python's, knows denormals."""
    tiny, smallest = (
        np.full(67, 3 * np.finfo(np.float32).smallest_subnormal),
        float.fromhex("0x1p-1074"),
    )
    return bool((tiny + tiny > tiny).all()) and smallest + smallest > smallest


def test_the_state_of_the_caller_comes_back(isa: str) -> None:
    """After every function, and after its errors, NumPy's and Python's denormals are there."""
    assert keeps_denormals()
    for name, operation in operations.make_operations().items():
        operation.call()
        assert keeps_denormals(), name
        with pytest.raises((TypeError, ValueError)):
            operation.call(nonsense=1)
        with pytest.raises(TypeError):
            operation.call(**{next(iter(operation.arrays)): None})
        assert keeps_denormals(), name


def test_the_state_of_python_threads_comes_back(isa: str) -> None:
    """The same on threads that share the pool, while others are inside a kernel."""
    fastconv.set_num_threads(3)
    x, kernel = np.ones((2, 28, 28, 32), np.float32), np.ones((3, 3, 32, 32), np.float32)
    kept: list[bool] = []

    def work() -> None:
        for _ in range(10):
            functional.conv2d(x, kernel)
            kept.append(keeps_denormals())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [True] * 40


def test_a_caller_who_flushes_goes_on_flushing(isa: str) -> None:
    """A floating-point state of the caller's own making is there afterwards."""
    torch = pytorch.torch()
    if not torch.set_flush_denormal(True):
        pytest.skip("PyTorch cannot flush denormals on this CPU")
    try:
        assert not keeps_denormals()
        functional.conv2d(np.ones((1, 9, 9, 3), np.float32), np.ones((3, 3, 3, 8), np.float32))
        assert not keeps_denormals()
    finally:
        torch.set_flush_denormal(False)
    assert keeps_denormals()


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_pooling_keeps_denormals_on_every_thread(isa: str, dtype: str) -> None:
    """Also on workers that have just flushed them in a convolution."""
    fastconv.set_num_threads(3)
    least = np.finfo(dtype).smallest_subnormal
    rng = np.random.default_rng(0)
    whole = 4 * rng.integers(-9, 10, (8, 57, 58, 67)).astype(dtype)
    image, kernel = np.ones((4, 28, 28, 32), dtype), np.ones((3, 3, 32, 32), dtype)
    for name in ("max_pool2d", "min_pool2d", "avg_pool2d"):
        functional.conv2d(image, kernel)
        y = getattr(functional, name)(whole * least, 2)
        np.testing.assert_array_equal(y / least, getattr(reference, name)(whole, 2), name)
        functional.conv2d(image, kernel)
        given_ = (whole.shape,) if name == "avg_pool2d" else (whole * least,)
        plain = (whole.shape,) if name == "avg_pool2d" else (whole,)
        dx = getattr(functional, f"{name}_backward")(4 * y, *given_, 2)
        right = getattr(reference, f"{name}_backward")(4 * y / least, *plain, 2)
        np.testing.assert_array_equal(dx / least, right, name)
    highest = functional.global_max_pool2d(whole * least)
    np.testing.assert_array_equal(highest / least, whole.max(axis=(1, 2)))
