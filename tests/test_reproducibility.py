"""The same bits: what a result may depend on, and everything that it may not.

y, dx and pooling depend on the problem of one sample. dkernel, dbias and global averages depend on
the ordered batch and the data format too. Nothing depends on threads, on alignment and strides, on
the output array, on what else is asked for, or on which instruction set with fused multiply-add ran
it. Every comparison here is of bits (NaN exempt), on data that rounds at every step.

A problem is computed once, by one thread, from arrays on cache lines, and everything else is held
to that: all instruction sets with fused multiply-add to the same; the generic one to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bits
import digests
import fastconv
import strategies
from bits import Problem, Results
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from strategies import Conv2DProblem, DenseProblem
from trust_record import count

FMA_ISAS = tuple(isa for isa in _core.available_isas() if isa != "generic")

# Instruction sets that must agree.
FAMILIES = {"fma": FMA_ISAS, "generic": ("generic",)} if FMA_ISAS else {"generic": ("generic",)}

PROBLEMS = (
    {f"large {name}": problem for name, problem in bits.LARGE.items()}
    | {f"tiny {name}": problem for name, problem in bits.TINY.items()}
    | bits.TABLE
)

CASES = {
    f"{name} {algorithm} {family}": (problem, algorithm, family)
    for name, problem in PROBLEMS.items()
    for algorithm in bits.algorithms_of(problem)
    for family in FAMILIES
    # Of the tables, what "auto" takes, with vectors: the other problems stand for the rest.
    if bits.WHOLE or name not in bits.TABLE or (algorithm, family) == ("auto", "fma")
    if bits.offers(problem, algorithm)
}


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    """Leave each test with the number of threads the process had."""
    before = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(before)


class Held:
    """A problem with the results that everything else is held to."""

    def __init__(self, problem: Problem, algorithm: str, isas: tuple[str, ...]) -> None:
        self.problem, self.algorithm, self.isas = problem, algorithm, isas
        self.arrays = {name: bits.shifted(a, 0) for name, a in bits.draw(problem).items()}
        fastconv.set_num_threads(1)
        with _core.forced_isa(isas[0]):
            self.plain = bits.compute(problem, self.arrays, algorithm)
        count("reproducibility", "problems")

    def agrees(
        self,
        isa: str,
        what: str,
        problem: Problem,
        arrays: Results,
        *,
        images: list[int] | slice = slice(None),
        names: Iterable[str] | None = None,
    ) -> Results:
        """Compute a variant; what is named of it must have the bits of the images it is made of."""
        # However small, so that no problem is too small to be divided.
        with _core.forced_isa(isa), _core.forced_worker_share(1):
            results = bits.compute(problem, arrays, self.algorithm)
        assert results.keys() == self.plain.keys()
        for name in results.keys() if names is None else names:
            expected = self.plain[name][images] if images != slice(None) else self.plain[name]
            found = results[name]
            if problem is not self.problem and found.ndim == 4 and images == slice(None):
                found = np.moveaxis(found, 1, -1)
            assert_same_bits(found, expected, f"{name}, {isa}, {what}")
        count("reproducibility", "variants")
        return results

    def threads(self, isa: str) -> None:
        """Share the work among two, three and seven threads."""
        for n in (1, 2, 3, 7):
            fastconv.set_num_threads(n)
            self.agrees(isa, f"{n} threads", self.problem, self.arrays)

    def placements(self, isa: str, which: Iterable[str] = bits.PLACEMENTS) -> None:
        """Lay every array elsewhere, and differently, in memory."""
        for what in which:
            arrays = {name: bits.PLACEMENTS[what](value) for name, value in self.arrays.items()}
            self.agrees(isa, what, self.problem, arrays)

    def batches(self, isa: str) -> None:
        """Compute each image alone, at every place among others, and beside itself."""
        names = self.plain.keys() & bits.OF_A_SAMPLE
        for order in bits.orders(self.problem.n):
            problem, arrays = bits.of_images(self.problem, self.arrays, order)
            self.agrees(isa, f"images {order}", problem, arrays, images=order, names=names)

    def data_formats(self, isa: str) -> None:
        """Compute a channels_last problem in channels_first, and compare pixel by pixel."""
        if isinstance(self.problem, DenseProblem) or self.problem.data_format != "channels_last":
            return
        names = self.plain.keys() & bits.OF_A_SAMPLE
        problem, arrays = bits.in_channels_first(self.problem, self.arrays)
        self.agrees(isa, "channels_first", problem, arrays, names=names)


@pytest.mark.parametrize("case", CASES)
def test_everything(case: str) -> None:
    """Threads, places in memory, the batch and the data format are not seen, nor the vectors."""
    problem, algorithm, family = CASES[case]
    cut = case.partition(" ")[0] in bits.TABLE and not bits.WHOLE
    held = Held(problem, algorithm, FAMILIES[family])
    for isa in held.isas:
        held.threads(isa)
        held.data_formats(isa)
        held.batches(isa)
        held.placements(isa, ("shuffled", "one byte off") if cut else bits.PLACEMENTS)


@pytest.mark.parametrize("family", FAMILIES)
@given(problem=bits.any_problem(), algorithm=st.sampled_from(bits.ALGORITHMS))
@settings(max_examples=2 * settings().max_examples)
def test_everything_of_any_problem(problem: Problem, algorithm: str, family: str) -> None:
    """The same for problems of every kind, one instruction set at a time."""
    assume(algorithm in bits.algorithms_of(problem) and bits.offers(problem, algorithm))
    held = Held(problem, algorithm, FAMILIES[family])
    for isa in held.isas:
        held.threads(isa)
    held.placements(held.isas[-1])
    held.batches(held.isas[-1])
    held.data_formats(held.isas[-1])


# ----------------------------------------------------------------------------------- what is left


def test_global_average_of_an_image_alone(isa: str) -> None:
    """A plane's mean is summed within the plane: the batch around it is not seen either."""
    x = np.random.default_rng(0).standard_normal((5, 31, 33, 21)).astype(np.float32)
    together = functional.global_avg_pool2d(x)
    for i in range(5):
        assert_same_bits(functional.global_avg_pool2d(x[i : i + 1])[0], together[i])


@pytest.mark.parametrize("place", bits.PLACEMENTS)
@pytest.mark.parametrize("name", ["3x3 ragged", "1x1", "7x7 stem", "depthwise"])
def test_output_array(isa: str, name: str, place: str) -> None:
    """Where the result is written is not seen in it."""
    problem = bits.LARGE[name]
    assert isinstance(problem, Conv2DProblem)
    a = bits.draw(problem)
    fresh = functional.conv2d(a["x"], a["kernel"], **problem.geometry)
    out = bits.PLACEMENTS[place](np.full_like(fresh, np.nan))
    functional.conv2d(a["x"], a["kernel"], out=out, **problem.geometry)
    assert_same_bits(np.ascontiguousarray(out), fresh)


@pytest.mark.parametrize("needs", [("x",), ("kernel",), ("bias",), ("x", "bias")])
@pytest.mark.parametrize("name", ["3x3", "1x1", "depthwise", "grouped"])
def test_what_else_is_asked_for(isa: str, name: str, needs: tuple[str, ...]) -> None:
    """A gradient alone has the bits it has beside the others."""
    problem = bits.LARGE[name]
    assert isinstance(problem, Conv2DProblem)
    a = bits.draw(problem)
    call = (a["dy"], a["x"], a["kernel"])
    whole = functional.conv2d_backward(*call, **problem.geometry)._asdict()
    some = functional.conv2d_backward(*call, needs=needs, **problem.geometry)._asdict()
    for word in needs:
        assert_same_bits(some[f"d{word}"], whole[f"d{word}"], word)


@pytest.mark.skipif(len(FMA_ISAS) < 2, reason="this CPU has fewer than two to compare")
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


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "softmax"])
def test_threads_elementwise(isa: str, name: str, dtype: str) -> None:
    """Rows enough to be divided, of a length that no vector divides, and put anywhere in memory."""
    numbers = np.random.default_rng(0).uniform(0.01, 9, (4001, 67)).astype(dtype)
    function, x = getattr(functional, name), bits.shifted(numbers, 0)
    fastconv.set_num_threads(1)
    plain = function(x)
    for n in (2, 3, 7):
        fastconv.set_num_threads(n)
        assert_same_bits(function(x), plain, f"{n} threads")
    for place, put in bits.PLACEMENTS.items():
        assert_same_bits(np.ascontiguousarray(function(put(x))), plain, place)
    count("reproducibility", "variants", 3 + len(bits.PLACEMENTS))


def test_again(isa: str) -> None:
    """A second call, in memory that others have used since, gives the bits of the first."""
    arrays = {name: bits.draw(problem) for name, problem in PROBLEMS.items()}
    if isa == "generic":
        arrays = {name: a for name, a in arrays.items() if name.startswith("tiny")}
    first = {name: bits.compute(PROBLEMS[name], a) for name, a in arrays.items()}
    for name in reversed(list(arrays)):
        for key, found in bits.compute(PROBLEMS[name], arrays[name]).items():
            assert_same_bits(found, first[name][key], f"{name}, {key}, a second time")


# ---------------------------------------------------------------------------------------- digests


@pytest.mark.skipif(not FMA_ISAS, reason="digests hold for CPUs with fused multiply-add")
def test_digests_are_complete() -> None:
    """The file holds the list, in its order: no line too many and none too few."""
    assert list(digests.stored()) == list(digests.CASES)


@pytest.mark.parametrize("fma", FMA_ISAS)
@pytest.mark.parametrize("name", digests.CASES)
def test_digest(name: str, fma: str) -> None:
    """This machine, compiler and commit give the bits that are on record."""
    with _core.forced_isa(fma):
        found = digests.digest(name)
    stored = digests.stored().get(name, {})
    changed = sorted(
        key for key in found.keys() | stored.keys() if found.get(key) != stored.get(key)
    )
    assert not changed, f"{name}: other bits of {changed}; on purpose? then run: {digests.COMMAND}"
    count("stored results", "hashes compared", len(found))
