"""The same bits: what a result may depend on, and everything that it may not.

y, dx and pooling depend on the problem of one sample. dkernel, dbias and global averages depend on
the ordered batch and the data format too. Nothing depends on threads, on alignment and strides, on
the output array, on what else is asked for, or on which instruction set with fused multiply-add ran
it. Every comparison here is of bits (NaN exempt), on data that rounds at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
import strategies
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from strategies import Conv2DProblem, DenseProblem, PoolProblem, TransposeProblem

Array = npt.NDArray[Any]
Results = dict[str, Array]
Problem = Conv2DProblem | TransposeProblem | DenseProblem | PoolProblem

FMA_ISAS = tuple(isa for isa in _core.available_isas() if isa != "generic")

# What belongs to one sample, so that neither the batch nor the data format may change its bits.
CONVOLVED = ("y", "packed", "dx")
POOLED = ("max", "indices", "min", "avg", "dx max", "dx avg", "global max")
OF_A_SAMPLE = {*CONVOLVED, *POOLED}

# Large enough to be divided among threads, and each with something ragged about it.
LARGE: dict[str, Problem] = {
    "3x3": Conv2DProblem(4, 28, 28, 64, 64, 3, 3, 1, 1),
    "3x3 ragged": Conv2DProblem(3, 29, 31, 67, 65, 3, 3, 1, 1),
    "3x3 float64": Conv2DProblem(2, 28, 28, 48, 40, 3, 3, 1, 1, dtype="float64"),
    "3x3 small maps": Conv2DProblem(4, 7, 7, 256, 128, 3, 3, 1, 1),
    "3x3 one image": Conv2DProblem(1, 56, 56, 32, 64, 3, 3, 1, 1),
    "3x3 stride 2": Conv2DProblem(2, 56, 56, 33, 64, 3, 3, 2, 1),
    "1x1": Conv2DProblem(4, 28, 28, 128, 96, 1, 1),
    "1x1 long sums": Conv2DProblem(2, 14, 14, 1024, 64, 1, 1),
    "1x1 stride 2": Conv2DProblem(2, 28, 28, 130, 160, 1, 1, 2),
    "5x5 lenet": Conv2DProblem(32, 28, 28, 1, 6, 5, 5),
    "5x5 lenet second": Conv2DProblem(32, 14, 14, 6, 16, 5, 5),
    "7x7 stem": Conv2DProblem(2, 112, 112, 3, 64, 7, 7, 2, 3),
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
    "pointwise": Conv2DProblem(4, 6, 7, 16, 9, 1, 1),
    "8x8": Conv2DProblem(3, 8, 8, 1, 4, 3, 3),
    "tails": Conv2DProblem(3, 5, 7, 5, 19, 3, 2, 1, "same"),
    "depthwise": Conv2DProblem(3, 5, 7, 11, 11, 3, 3, 1, 1, 1, 11),
    "float64": Conv2DProblem(3, 6, 6, 7, 9, 3, 3, dtype="float64"),
    "transposed": TransposeProblem(3, 3, 4, 5, 7, 3, 3, 2, "same"),
    "dense": DenseProblem(5, 7, 3),
    "pool": PoolProblem(3, 5, 6, 5, 3, 2, 1),
}

PROBLEMS = {f"large {k}": v for k, v in LARGE.items()} | {f"tiny {k}": v for k, v in TINY.items()}


# ------------------------------------------------------------------------------- what is computed


def draw(problem: Problem) -> Results:
    """Return the arrays that a problem is computed from, by name."""
    if isinstance(problem, PoolProblem):
        x, dy = problem.draw_arrays()
        return {"x": x, "dy": dy * np.asarray(0.3, dy.dtype)}
    return problem.draw_arrays()


def compute(problem: Problem, a: Results) -> Results:
    """Return everything that the functional face computes of a problem, by name."""
    if isinstance(problem, Conv2DProblem):
        return convolve(problem, a)
    if isinstance(problem, TransposeProblem):
        words = problem.geometry
        grads = functional.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **words)
        y = functional.conv2d_transpose(a["x"], a["kernel"], a["bias"], **words)
        return {"y": y, **grads._asdict()}
    if isinstance(problem, DenseProblem):
        grads = functional.dense_backward(a["dy"], a["x"], a["kernel"])
        y = functional.dense(a["x"], a["kernel"], a["bias"], activation="relu")
        return {"y": y, **grads._asdict()}
    return pool(problem, a)


def convolve(problem: Conv2DProblem, a: Results) -> Results:
    """Return a convolution by a bare and by a packed kernel, and its gradients."""
    words = problem.geometry
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
    """Return every pooling of x, and its gradients."""
    x, dy, words, fmt = a["x"], a["dy"], problem.geometry, problem.data_format
    largest, indices = functional.max_pool2d(x, return_indices=True, **words)
    return {
        "max": largest,
        "indices": indices,
        "min": functional.min_pool2d(x, **words),
        "avg": functional.avg_pool2d(x, **words),
        "dx max": functional.max_pool2d_backward(dy, x, **words),
        "dx avg": functional.avg_pool2d_backward(dy, x.shape, **words),
        "global max": functional.global_max_pool2d(x, data_format=fmt),
        "global avg": functional.global_avg_pool2d(x, data_format=fmt),
    }


def assert_all_same(results: Results, expected: Results, what: str) -> None:
    """Assert that every result has the bits expected."""
    assert results.keys() == expected.keys()
    for name, value in results.items():
        assert_same_bits(value, expected[name], f"{name}, {what}")


def any_problem() -> st.SearchStrategy[Problem]:
    """Make a problem of any kind."""
    return st.one_of(
        strategies.conv2d_problems(),
        strategies.conv2d_problems(),
        strategies.transpose_problems(),
        strategies.dense_problems(),
        strategies.pool_problems(),
    )


every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    """Leave each test with the number of threads the process had."""
    before = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(before)


# ------------------------------------------------------------------------------------- threads


def check_threads(problem: Problem) -> None:
    """Compute with one, two, three and seven threads."""
    a = draw(problem)
    fastconv.set_num_threads(1)
    alone = compute(problem, a)
    for n in (2, 3, 7):
        fastconv.set_num_threads(n)
        assert_all_same(compute(problem, a), alone, f"{n} threads")


@every_problem
def test_threads(isa: str, problem: Problem) -> None:
    """How many threads share the work is not seen in any result, gradients of weights included."""
    check_threads(problem)


@given(problem=any_problem())
def test_threads_any_problem(isa: str, problem: Problem) -> None:
    """The same for problems of every kind."""
    check_threads(problem)


# --------------------------------------------------------------------------------------- batches


def of_images(problem: Problem, a: Results, images: slice | list[int]) -> tuple[Problem, Results]:
    """Return a problem, and its arrays, made of some images of the batch in the order given."""
    weights = ("kernel", "bias")
    picked = {k: v if k in weights else np.ascontiguousarray(v[images]) for k, v in a.items()}
    n = len(picked["x"])
    return type(problem)(**{**problem.__dict__, "n": n}), picked


def check_batch(problem: Problem) -> None:
    """Compute each image alone, then all in reverse order with a stranger among them."""
    a = draw(problem)
    together = compute(problem, a)
    order = [*reversed(range(problem.n)), 0]
    backwards = compute(*of_images(problem, a, order))
    for name in together.keys() & OF_A_SAMPLE:
        assert_same_bits(backwards[name], together[name][order], f"{name}, in another order")
    for i in range(min(problem.n, 4)):
        alone = compute(*of_images(problem, a, [i]))
        for name in together.keys() & OF_A_SAMPLE:
            assert_same_bits(alone[name][0], together[name][i], f"{name}, image {i} alone")


@every_problem
def test_image_alone_or_in_a_batch(isa: str, problem: Problem) -> None:
    """An image's results are the same alone and at every place of a batch."""
    check_batch(problem)


@given(problem=any_problem())
def test_image_alone_or_in_a_batch_any_problem(isa: str, problem: Problem) -> None:
    """The same for problems of every kind."""
    check_batch(problem)


def test_global_average_of_an_image_alone(isa: str) -> None:
    """A plane's mean is summed within the plane: the batch around it is not seen either."""
    x = np.random.default_rng(0).standard_normal((5, 31, 33, 21)).astype(np.float32)
    together = functional.global_avg_pool2d(x)
    for i in range(5):
        assert_same_bits(functional.global_avg_pool2d(x[i : i + 1])[0], together[i])


# ---------------------------------------------------------------------------------- data formats


def in_channels_first(problem: Problem, a: Results) -> tuple[Problem, Results]:
    """Return a channels_last problem, and its arrays, in channels_first."""
    moved = {k: np.ascontiguousarray(np.moveaxis(v, -1, 1)) for k, v in a.items() if v.ndim == 4}
    if "kernel" in a:
        moved["kernel"] = a["kernel"]
    return type(problem)(**{**problem.__dict__, "data_format": "channels_first"}), {**a, **moved}


def check_formats(problem: Problem) -> None:
    """Compute in channels_last and in channels_first, and compare pixel by pixel."""
    if isinstance(problem, DenseProblem):
        return
    problem = type(problem)(**{**problem.__dict__, "data_format": "channels_last"})
    a = draw(problem)
    last = compute(problem, a)
    first = compute(*in_channels_first(problem, a))
    for name in last.keys() & OF_A_SAMPLE:
        moved = first[name] if first[name].ndim == 2 else np.moveaxis(first[name], 1, -1)
        assert_same_bits(moved, last[name], f"{name}, channels_first")


@every_problem
def test_data_format(isa: str, problem: Problem) -> None:
    """Where the channels lie in memory is not seen in y, dx and pooling."""
    check_formats(problem)


@given(problem=any_problem())
def test_data_format_any_problem(isa: str, problem: Problem) -> None:
    """The same for problems of every kind."""
    check_formats(problem)


# ------------------------------------------------------------------------- alignment and strides


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


def transposed(a: Array) -> Array:
    """Return a copy in the opposite memory order, as the weights of another library would be."""
    return np.asfortranarray(a)


PLACEMENTS: dict[str, Callable[[Array], Array]] = {
    "one element off a cache line": lambda a: shifted(a, a.itemsize),
    "one vector off a cache line": lambda a: shifted(a, 32),
    "one byte off": lambda a: shifted(a, 1),
    "spread and backwards": spread,
    "cut out of a larger array": cut_out,
    "transposed": transposed,
}


def check_placement(problem: Problem) -> None:
    """Compute from copies that lie differently in memory."""
    a = draw(problem)
    plain = compute(problem, {name: shifted(value, 0) for name, value in a.items()})
    for what, place in PLACEMENTS.items():
        placed = {name: place(value) for name, value in a.items()}
        assert_all_same(compute(problem, placed), plain, what)


@every_problem
def test_placement(isa: str, problem: Problem) -> None:
    """Alignment and strides are not seen in any result, gradients of weights included."""
    check_placement(problem)


@given(problem=any_problem())
@settings(max_examples=max(1, settings().max_examples // 2))
def test_placement_any_problem(isa: str, problem: Problem) -> None:
    """The same for problems of every kind."""
    check_placement(problem)


@pytest.mark.parametrize("place", PLACEMENTS)
@pytest.mark.parametrize("name", ["3x3 ragged", "1x1", "7x7 stem", "depthwise"])
def test_output_array(isa: str, name: str, place: str) -> None:
    """Where the result is written is not seen in it."""
    problem = LARGE[name]
    assert isinstance(problem, Conv2DProblem)
    a = draw(problem)
    fresh = functional.conv2d(a["x"], a["kernel"], **problem.geometry)
    out = PLACEMENTS[place](np.full_like(fresh, np.nan))
    functional.conv2d(a["x"], a["kernel"], out=out, **problem.geometry)
    assert_same_bits(np.ascontiguousarray(out), fresh)


# ---------------------------------------------------------------------------- instruction sets


def check_isas(problem: Problem) -> None:
    """Compute under every instruction set with fused multiply-add."""
    a = draw(problem)
    results: dict[str, Results] = {}
    for isa in FMA_ISAS:
        with _core.forced_isa(isa):
            results[isa] = compute(problem, a)
    first, *others = FMA_ISAS
    for isa in others:
        assert_all_same(results[isa], results[first], f"{isa} beside {first}")


needs_two_isas = pytest.mark.skipif(
    len(FMA_ISAS) < 2, reason="this CPU has fewer than two instruction sets to compare"
)


@needs_two_isas
@every_problem
def test_instruction_sets(problem: Problem) -> None:
    """The width of a vector is not seen in any result, gradients of weights included."""
    check_isas(problem)


@needs_two_isas
@given(problem=any_problem())
@settings(max_examples=3 * settings().max_examples)
def test_instruction_sets_any_problem(problem: Problem) -> None:
    """The same for problems of every kind."""
    check_isas(problem)


@needs_two_isas
@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "softmax"])
def test_instruction_sets_elementwise(name: str, dtype: str) -> None:
    """Over a wide range of numbers, special ones among them, in rows of every length to 67."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(67 * 300) * np.exp(rng.uniform(-20, 6, 67 * 300))
    numbers[::501] = np.nan
    numbers[1::501] = np.inf
    x = numbers.reshape(-1, 67).astype(dtype)
    for length in (67, 32, 15, 1):
        rows = np.ascontiguousarray(x[:, :length])
        results = []
        for isa in FMA_ISAS:
            with _core.forced_isa(isa):
                results.append(getattr(functional, name)(rows))
        for result in results[1:]:
            assert_same_bits(result, results[0], name)


# --------------------------------------------------------------------------------- one more time


@every_problem
def test_again(isa: str, problem: Problem) -> None:
    """A second call, in memory that the first has used, gives the bits of the first."""
    a = draw(problem)
    first = compute(problem, a)
    compute(TINY["tails"], draw(TINY["tails"]))
    assert_all_same(compute(problem, a), first, "a second time")
