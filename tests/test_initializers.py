"""The initializers: their distributions, their limits, and the same values on every machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastconv import initializers
from fastconv.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    Ones,
    VarianceScaling,
    Zeros,
)

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 360, 540


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        (GlorotUniform, 2 / (FAN_IN + FAN_OUT)),
        (GlorotNormal, 2 / (FAN_IN + FAN_OUT)),
        (HeUniform, 2 / FAN_IN),
        (HeNormal, 2 / FAN_IN),
        (lambda seed: VarianceScaling(3.0, "fan_out", "uniform", seed), 3 / FAN_OUT),
    ],
)
def test_mean_variance_and_limits(rule: Any, variance: float) -> None:
    made: Initializer = rule(seed=5)
    values = made(SHAPE, "float64")
    # 21,600 values: the standard error of their variance is about 1 %, less than a fifth of 5 %.
    assert values.var() == pytest.approx(variance, rel=0.05)
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    normal = getattr(made, "distribution", "") == "truncated_normal"
    limit = 2 / 0.8796256610342398 if normal else math.sqrt(3)
    assert 0.95 * limit < np.abs(values).max() / math.sqrt(variance) <= limit


def test_the_truncated_normal_is_one() -> None:
    values = HeNormal(seed=1)((200, 400), "float64") / math.sqrt(2 / 200) * 0.8796256610342398
    inside = math.erf(2 / math.sqrt(2))
    for bound in (0.25, 0.5, 1.0, 1.5):
        expected = math.erf(bound / math.sqrt(2)) / inside
        assert np.mean(np.abs(values) < bound) == pytest.approx(expected, abs=0.01)
    assert np.mean(values > 0) == pytest.approx(0.5, abs=0.01)


def test_constants() -> None:
    assert Zeros()((2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert Ones()((2,), "float64").dtype == np.float64
    assert Constant(-2.5)((3,)).tolist() == [-2.5] * 3


def test_draws_from_the_generator_it_is_given() -> None:
    one, other = (HeUniform()((4, 5), rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    rng = np.random.default_rng(7)
    first, second = HeUniform()((4, 5), rng=rng), HeUniform()((4, 5), rng=rng)
    assert not np.array_equal(first, second)
    assert not np.array_equal(HeNormal()((4, 5)), HeNormal()((4, 5)))


def test_a_seed_of_its_own_gives_the_same_values_at_every_call() -> None:
    rule = GlorotNormal(seed=3)
    np.testing.assert_array_equal(rule((4, 5)), rule((4, 5), rng=np.random.default_rng(9)))


# What PCG64 with seed 0 gives as uniform numbers of [0, 1), on every machine.
UNIFORM = (0.6369616873214543, 0.2697867137638703, 0.04097352393619469, 0.016527635528529094)


def test_uniform_values_are_the_same_everywhere() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    expected = [math.sqrt(1.5) * (2 * u - 1) for u in UNIFORM]
    found = GlorotUniform()((2, 2), "float64", rng)
    assert found.ravel().tolist() == expected


def test_normal_values_are_the_same_everywhere() -> None:
    # The polar method by hand: of the pairs (u0, u2) and (u1, u3) the first lies in the circle.
    rng = np.random.Generator(np.random.PCG64(0))
    u, v = 2 * UNIFORM[0] - 1, 2 * UNIFORM[2] - 1
    s = u * u + v * v
    expected = u * math.sqrt(-2 * math.log(s) / s) / 0.8796256610342398
    found = VarianceScaling()((1, 2), "float64", rng)
    assert (2 * UNIFORM[1] - 1) ** 2 + (2 * UNIFORM[3] - 1) ** 2 > 1
    assert found[0, 0] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("shape", [(), (0, 4), (7,), (0,)])
def test_odd_shapes(shape: tuple[int, ...]) -> None:
    for rule in (HeUniform(), HeNormal()):
        assert rule(shape).shape == shape


def test_by_name() -> None:
    for name, kind in (
        ("glorot_uniform", GlorotUniform), ("glorot_normal", GlorotNormal), ("he_normal", HeNormal),
        ("he_uniform", HeUniform), ("zeros", Zeros), ("ones", Ones), ("constant", Constant),
    ):  # fmt: skip
        assert type(initializers.get("kernel_initializer", name)) is kind
    with pytest.raises(ValueError, match=r"bias_initializer must be one of .* received 'nil'"):
        initializers.get("bias_initializer", "nil")
    with pytest.raises(TypeError, match="bias_initializer must be a name or an Initializer"):
        initializers.get("bias_initializer", Zeros)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: VarianceScaling(0.0), ValueError, "scale must be positive, received 0.0"),
        (lambda: VarianceScaling(mode="fan"), ValueError, "mode must be .* received 'fan'"),
        (lambda: VarianceScaling(distribution="normal"), ValueError, "distribution .* 'normal'"),
        (lambda: HeNormal(seed=-1), ValueError, "seed must be at least 0, received -1"),
        (lambda: HeNormal(seed=True), TypeError, "seed must be an integer .* received True"),
        (lambda: Constant("one"), TypeError, "value must be a number"),
        (lambda: HeNormal()((2, 2), "int32"), ValueError, "dtype .* received int32"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
