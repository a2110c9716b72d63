"""The learning-rate schedules against their formulas, and Keras's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import in_keras
from closeness import assert_same_bits
from fastconv.optimizers import SGD, Adam, AdamW, RMSprop
from fastconv.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    _cos_pi,
)

STEPS = (0, 1, 7, 49, 50, 51, 99, 100, 101, 250, 1000)


def test_exponential() -> None:
    for step in STEPS:
        expected = 0.3 * 0.7 ** (step / 50)
        assert ExponentialDecay(0.3, 50, 0.7)(step) == pytest.approx(expected, rel=1e-14)
        expected = 0.3 * 0.7 ** (step // 50)
        assert ExponentialDecay(0.3, 50, 0.7, True)(step) == pytest.approx(expected, rel=1e-14)


def test_cosine() -> None:
    for x in np.linspace(0, 1, 1001):
        assert _cos_pi(float(x)) == pytest.approx(math.cos(math.pi * x), abs=6e-16)
    assert [_cos_pi(x) for x in (0.0, 1.0)] == [1.0, -1.0]
    for step in STEPS:
        share = 0.5 * (1 + math.cos(math.pi * min(step, 100) / 100))
        expected = 0.2 * (0.9 * share + 0.1)
        assert CosineDecay(0.2, 100, 0.1)(step) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ExponentialDecay, {"initial_learning_rate": 0.3, "decay_steps": 50, "decay_rate": 0.7}),
        (CosineDecay, {"initial_learning_rate": 0.3, "decay_steps": 100, "alpha": 0.2}),
        (
            CosineDecay,
            {"initial_learning_rate": 0.1, "decay_steps": 90, "warmup_target": 0.5,
             "warmup_steps": 10},
        ),
        (PiecewiseConstantDecay, {"boundaries": [50, 100], "values": [0.3, 0.2, 0.1]}),
    ],
)  # fmt: skip
def test_against_keras(kind: Any, arguments: dict[str, Any]) -> None:
    theirs = getattr(in_keras.keras().optimizers.schedules, kind.__name__)(**arguments)
    ours = kind(**arguments)
    for step in STEPS:
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-7)


def test_the_first_step_has_the_first_rate() -> None:
    sgd = SGD(PiecewiseConstantDecay([0, 1], [1.0, 0.5, 0.25]))
    (w,) = [np.zeros(1)]
    moves = []
    for _ in range(4):
        moves.append(sgd.learning_rate)
        (after,) = sgd.update([w], [np.ones(1)])
        assert w - after == moves[-1]
        w = after
    assert moves == [1.0, 0.5, 0.25, 0.25]
    with pytest.raises(TypeError, match="takes it from a schedule, PiecewiseConstantDecay"):
        sgd.learning_rate = 0.1


class Own(LearningRateSchedule):
    """A schedule of one's own, which gives what it was told."""

    def __init__(self, rate: Any) -> None:
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop])
def test_a_rate_of_float64_leaves_weights_float32(kind: Any) -> None:
    w = np.ones(3, np.float32)
    (expected,) = kind(0.125, weight_decay=0.5).update([w], [w])
    (found,) = kind(Own(np.float64(0.125)), weight_decay=0.5).update([w], [w])
    assert_same_bits(found, expected)


def test_what_is_no_rate() -> None:
    for rate, error in ((-0.1, ValueError), (math.nan, ValueError), (None, TypeError)):
        with pytest.raises(error, match="learning_rate must be a number from 0"):
            SGD(Own(rate)).update([np.ones(3)], [np.ones(3)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ExponentialDecay(0.1, 0, 0.5), "decay_steps must be at least 1"),
        (lambda: ExponentialDecay(0.1, 10, 0.0), "decay_rate must be a positive number"),
        (lambda: CosineDecay(-0.1, 10), "initial_learning_rate"),
        (lambda: CosineDecay(0.1, 10, warmup_steps=5), "warmup_steps needs warmup_target"),
        (lambda: PiecewiseConstantDecay([5, 5], [1, 2, 3]), "boundaries must be increasing"),
        (lambda: PiecewiseConstantDecay([5], [1.0]), "one more than boundaries, received 1 values"),
    ],
)
def test_wrong_arguments(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_boundaries_and_values_are_lists() -> None:
    with pytest.raises(TypeError, match="boundaries must be a list of numbers, received 5"):
        PiecewiseConstantDecay(5, [1.0, 0.1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="boundaries must be a list of numbers, received array"):
        PiecewiseConstantDecay(np.array(5), [1.0, 0.1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="values must be a list of numbers, received 0"):
        PiecewiseConstantDecay([5], 0.1)  # type: ignore[arg-type]
