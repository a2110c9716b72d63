"""What one call makes and another takes, with anything in its place: packed kernels and indices.

As in test_fuzz_calls.py, but for what must fit another call: the geometry that a kernel was packed
for, and the winners of a pooling, which point into an image that may be another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastconv.functional as F
import reference
from closeness import same_bits
from test_fuzz_calls import (
    ALLOWED,
    ANYTHING,
    ARRAYS,
    GEOMETRY,
    OPERATIONS,
    TAKES,
    Array,
    kept,
    likely,
    little_memory,
    plain,
    show,
)
from trust_record import count

DTYPES = st.sampled_from(["float32", "float64"])
WORDS = ("input_size", *GEOMETRY, "groups", "padding_mode", "padding_value", "algorithm")


def answered(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or None where it is refused as it may be."""
    count("fuzz of calls", "calls")
    try:
        with little_memory():
            return call()
    except ALLOWED as error:
        message = str(error) if not isinstance(error, MemoryError) else "no memory for it"
    count("fuzz of calls", "of them refused")
    assert len(message) > 10
    return None


@st.composite
def changes(draw: Callable[[st.SearchStrategy[Any]], Any], names: tuple[str, ...]) -> Any:
    """Make other values for up to two words."""
    some = draw(st.lists(st.sampled_from(names), max_size=2))
    return {name: draw(likely(name) if draw(st.booleans()) else ANYTHING) for name in some}


@given(
    dtype=DTYPES,
    kernel=st.sampled_from(["as it is", *sorted(ARRAYS)]),
    packing=changes(WORDS),
    using=changes(TAKES["conv2d"]),
    x=st.sampled_from(["as it is", "as it is", *sorted(ARRAYS)]),
)
@settings(max_examples=2 * settings().max_examples)
@example("float32", "as it is", {}, {}, "as it is")
@example("float32", "as it is", {"input_size": (2**62, 2**62)}, {}, "as it is")
def test_packed_kernels(
    dtype: str, kernel: str, packing: dict[str, Any], using: dict[str, Any], x: str
) -> None:
    """Packed for anything and used with anything: refused, or what the bare kernel gives."""
    operation = OPERATIONS[dtype]["conv2d"]
    arrays, words = dict(operation.arrays), {"padding": 1}
    given_ = ARRAYS.get(kernel, lambda a: a)(arrays["kernel"])
    image = ARRAYS.get(x, lambda a: a)(arrays["x"])
    packed = answered(lambda: F.pack_kernel(given_, **{"input_size": (6, 7), **words, **packing}))
    if packed is None:
        return
    assert plain(packed.shape) == given_.shape
    call = {**words, **{k: v for k, v in packing.items() if k != "input_size"}, **using}
    y = answered(lambda: F.conv2d(image, packed, arrays["bias"], **call))
    if y is not None:
        bare = F.conv2d(image, given_, arrays["bias"], **{**call, "algorithm": "direct"})
        largest = float(np.max(np.abs(bare), initial=1.0))
        tolerance = 300 * np.finfo(dtype).eps * largest
        np.testing.assert_allclose(y, bare, rtol=0, atol=tolerance, err_msg=show(image))


def winners(draw: Callable[[st.SearchStrategy[Any]], Any], right: Array) -> Any:
    """Make indices: the right ones, some of them replaced by any number, or something else."""
    kind = draw(st.sampled_from(["right", "replaced", "replaced", *sorted(ARRAYS)]))
    indices = right.copy()
    if kind == "replaced":
        numbers = st.one_of(st.integers(-3, 60), st.integers(-(2**63), 2**63 - 1))
        for _ in range(draw(st.integers(1, 4))):
            place = draw(st.integers(0, right.size - 1))
            indices.flat[place] = draw(numbers)
    return ARRAYS.get(kind, lambda a: a)(indices)


@given(data=st.data(), dtype=DTYPES, name=st.sampled_from(["max", "min", "global_max"]))
@settings(max_examples=2 * settings().max_examples)
def test_indices(data: st.DataObject, dtype: str, name: str) -> None:
    """A gradient goes to each pixel that is named, or the call is refused and nobody written to."""
    operation = OPERATIONS[dtype][f"{name}_pool2d_backward"]
    x, dy = operation.arrays["x"], operation.arrays["dy"]
    pool, back = getattr(F, f"{name}_pool2d"), getattr(F, f"{name}_pool2d_backward")
    _, right = pool(x, return_indices=True, **operation.words)
    before = back(dy, x, indices=right, **operation.words)
    indices = winners(data.draw, right)
    held = kept(indices)
    dx = answered(lambda: back(dy, x, indices=indices, **operation.words))
    assert kept(indices) == held, "the indices were written to"
    pixels = x.shape[1] * x.shape[2]
    if dx is not None and indices is None:
        assert same_bits(dx, before)
    elif dx is not None:
        named = np.asarray(indices)
        assert named.dtype == np.int64
        assert np.all((named >= -1) & (named < pixels)), "an index outside its plane was taken"
        expected = np.zeros((x.shape[0], pixels, x.shape[3]))
        places = np.indices(named.shape)  # of windows too, unless they are whole planes
        taken = named >= 0
        n, c = places[0][taken], places[-1][taken]
        np.add.at(expected, (n, named[taken], c), dy[taken].astype(float))
        np.testing.assert_allclose(dx.reshape(expected.shape), expected, atol=1e-5)
    assert same_bits(back(dy, x, indices=right, **operation.words), before), "a later call is wrong"


def test_the_references_indices_are_ours() -> None:
    """What the tests above call right."""
    for operation in (OPERATIONS["float64"][f"{name}_pool2d"] for name in ("max", "min")):
        _, indices = operation.call()
        words = {k: v for k, v in operation.words.items() if k != "return_indices"}
        named = getattr(reference, f"{operation.name}_with_indices")
        np.testing.assert_array_equal(indices, named(operation.arrays["x"], **words)[1])
