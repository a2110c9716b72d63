"""exp, log, tanh, sigmoid and softmax: within units in the last place, and exact at the ends.

The way back through an activation is exact everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

import reference
import strategies
from closeness import assert_same_bits, assert_within_ulps
from fastconv import functional

Array = npt.NDArray[Any]

# How many units in the last place a result may be off: a function that rounds twice makes one.
ULPS = {"exp": 2.0, "log": 2.0, "tanh": 3.0, "sigmoid": 3.0}
RANGES = {"exp": (-745, 709), "log": (1e-300, 1e300), "tanh": (-25, 25), "sigmoid": (-750, 750)}
NARROW = {"exp": (-103, 88.7), "log": (1e-37, 1e38), "tanh": (-12, 12), "sigmoid": (-110, 110)}


def call(name: str) -> Callable[[Array], Array]:
    """Return one of the functions by name."""
    function: Callable[[Array], Array] = getattr(functional, name)
    return function


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", ULPS)
def test_accuracy_over_the_range(isa: str, name: str, dtype: str) -> None:
    """A dense walk over all of the range where the result is neither 0 nor infinite."""
    low, high = RANGES[name] if dtype == "float64" else NARROW[name]
    walk = np.geomspace(low, high, 100_001) if name == "log" else np.linspace(low, high, 100_001)
    small = np.geomspace(1e-30, 1, 10_001)
    around = 1 + small if name == "log" else np.concatenate([-small, small])
    x = np.concatenate([walk, around]).astype(dtype)
    assert_within_ulps(call(name)(x), getattr(reference, name)(x), ULPS[name])


@pytest.mark.parametrize("name", ULPS)
@given(
    x=np_st.arrays(
        st.sampled_from([np.float32, np.float64]),
        np_st.array_shapes(min_dims=1, max_dims=4, max_side=9),
    )
)
def test_any_float(isa: str, name: str, x: Array) -> None:
    """Any shape, any number that hypothesis thinks of."""
    y = call(name)(x)
    assert y.dtype == x.dtype
    assert_within_ulps(y, getattr(reference, name)(x), ULPS[name])


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [0.0, -0.0, inf, -inf, nan, 1e30, -1e30], [1, 1, inf, 0, nan, inf, 0]),
        ("log", [1.0, 0.0, -0.0, inf, -1.0, -inf, nan], [0, -inf, -inf, inf, nan, nan, nan]),
        ("tanh", [0.0, -0.0, inf, -inf, nan, 1e30, -1e30], [0, -0.0, 1, -1, nan, 1, -1]),
        ("sigmoid", [0.0, inf, -inf, nan, 1e30, -1e30], [0.5, 1, 0, nan, 1, 0]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_ends(isa: str, name: str, x: list[float], expected: list[float], dtype: str) -> None:
    """Exact values, zeros' signs included, and no warning; on every lane of several vectors."""
    for shift in range(9):
        row = np.array([0.5] * shift + x + [0.5] * 20, dtype)
        y = call(name)(row)[shift : shift + len(x)]
        assert_same_bits(y, np.array(expected, dtype))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("length", strategies.AROUND_VECTORS)
def test_softmax(isa: str, length: int, dtype: str) -> None:
    """Each row on its own: against the reference, adding up to one."""
    x = strategies.unit_normals(np.random.default_rng(length), (3, 2, length), dtype) * 5
    y = functional.softmax(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    # The exponent is rounded where the maximum is subtracted: an error of up to |x| ulps, here 32.
    assert_within_ulps(y, reference.softmax(x), 40)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=float(20 * np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.filterwarnings("error")
def test_softmax_of_extremes(isa: str, dtype: str) -> None:
    """Nothing overflows; -inf is a share of zero; a NaN spoils its own row alone."""
    big = np.finfo(dtype).max
    x = np.array(
        [
            [big, 0, -big, big],
            [-np.inf, 1, 1, -np.inf],
            [-big, -big, -big, -big],
            [0, np.nan, 0, 0],
            [5, 5, 5, 5],
        ],
        dtype,
    )
    expected = [
        [0.5, 0, 0, 0.5],
        [0, 0.5, 0.5, 0],
        [0.25] * 4,
        [np.nan] * 4,
        [0.25] * 4,
    ]
    np.testing.assert_array_equal(functional.softmax(x), expected)


@pytest.mark.parametrize("name", [*ULPS, "softmax"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0, 5)])
def test_no_numbers(isa: str, name: str, shape: tuple[int, ...]) -> None:
    """Nothing in, nothing out, the shape kept."""
    y = call(name)(np.zeros(shape, np.float32))
    assert y.shape == shape
    assert y.dtype == np.float32


@pytest.mark.parametrize("name", [*ULPS, "softmax"])
def test_place_does_not_matter(isa: str, name: str) -> None:
    """A number has the same result wherever it stands among how many others."""
    x = np.random.default_rng(0).uniform(0.1, 9, (1, 67)).astype(np.float32)
    rows = np.repeat(x, 3, axis=0)
    y = call(name)(x)
    for row in call(name)(rows):
        assert_same_bits(row, y[0])
    if name != "softmax":
        for length in range(1, 67):
            assert_same_bits(call(name)(np.ascontiguousarray(x[0, :length])), y[0, :length])


ACTIVATIONS = (None, "relu", "relu6")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(data=st.data())
def test_way_back_through_an_activation(isa: str, activation: Any, data: st.DataObject) -> None:
    """Any numbers of any shape, those of the activation's two ends among them."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]), "dtype")
    shape = data.draw(np_st.array_shapes(min_dims=0, max_dims=4, max_side=9), "shape")
    ends = st.sampled_from([0.0, -0.0, 6.0, np.nextafter(dtype(6), dtype(0)), 5e-324, inf, nan])
    some = ends | st.floats(-9, 9, width=16)
    y = data.draw(np_st.arrays(dtype, shape, elements=some.map(dtype)), "y")
    dy = data.draw(np_st.arrays(dtype, shape), "dy")
    dx = functional.activation_backward(dy, y, activation)
    assert_same_bits(dx, reference.activation_backward(dy, y, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_way_back_through_an_activation_of_any_length(isa: str, activation: Any) -> None:
    """Every rest that vectors leave, arrays of any strides, pieces for several threads."""
    rng = np.random.default_rng(0)
    for length in [*range(1, 67), 50_001]:
        y, dy = rng.uniform(-9, 9, (2, length)).astype(np.float32)[:, ::-1]
        dx = functional.activation_backward(dy, y, activation)
        assert_same_bits(dx, reference.activation_backward(dy, y, activation))


def test_way_back_through_an_activation_refuses() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"dy must have the shape \(2, 3\)"):
        functional.activation_backward(x.T, x, "relu")
    with pytest.raises(TypeError, match="y must have the dtype of dy, float32"):
        functional.activation_backward(x, x.astype(np.float64), "relu")
    with pytest.raises(TypeError, match=r"dy must be a numpy\.ndarray"):
        functional.activation_backward([1.0], x, "relu")  # type: ignore[type-var]
    with pytest.raises(ValueError, match=r"activation must be .*'relu', 'relu6'"):
        functional.activation_backward(x, x, "tanh")  # type: ignore[arg-type]
