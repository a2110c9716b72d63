"""The losses against arrays of labels, by PyTorch, Keras's rules and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradients
import pytorch
from fastconv import losses
from fastconv.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

Array = npt.NDArray[Any]
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
DTYPES = st.sampled_from(["float32", "float64"])


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def rows_of(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def assert_as_torch(
    loss: Loss, theirs: Any, y_true: Array, y_pred: Array, seed: int, ulps: float = 40
) -> None:
    """Compare values and gradients; `theirs` takes tensors and gives one value for each number."""
    torch = pytorch.torch()
    weights = np.random.default_rng(seed).standard_normal(y_pred.shape[:-1]).astype(y_pred.dtype)
    found, backprop = loss.forward(y_true, y_pred)
    inputs = torch.tensor(y_pred, requires_grad=True)
    each = theirs(torch, inputs, torch.tensor(y_true.astype(y_pred.dtype)))
    expected = each.sum(-1) if isinstance(loss, CategoricalCrossentropy) else each.mean(-1)
    (expected * torch.tensor(weights)).sum().backward()
    eps = ulps * float(np.finfo(y_pred.dtype).eps)
    assert found.dtype == y_pred.dtype
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=eps, atol=eps)
    np.testing.assert_allclose(backprop(weights), inputs.grad.numpy(), rtol=eps, atol=eps)


@given(SHAPES, DTYPES, st.integers(0, 99))
def test_errors_against_torch(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_pred, y_true = rng.standard_normal((2, *shape)).astype(dtype) * 2
    y_true.flat[0] = y_pred.flat[0]  # an error of 0
    f = pytorch.torch().nn.functional
    for loss, theirs in (
        (MeanSquaredError(), lambda t, p, y: f.mse_loss(p, y, reduction="none")),
        (MeanAbsoluteError(), lambda t, p, y: f.l1_loss(p, y, reduction="none")),
        (Huber(), lambda t, p, y: f.huber_loss(p, y, reduction="none")),
        (Huber(0.3), lambda t, p, y: f.huber_loss(p, y, reduction="none", delta=0.3)),
    ):
        assert_as_torch(loss, theirs, y_true, y_pred, seed)


@given(SHAPES, DTYPES, st.sampled_from([0.0, 0.2]), st.integers(0, 99))
def test_binary_against_torch(
    shape: tuple[int, ...], dtype: str, smoothing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = (4 * rng.standard_normal(shape)).astype(dtype)
    y_true = rng.integers(0, 2, shape)
    f = pytorch.torch().nn.functional

    def smooth(y: Any) -> Any:
        return y * (1 - smoothing) + smoothing / 2

    assert_as_torch(
        BinaryCrossentropy(True, smoothing),
        lambda t, p, y: f.binary_cross_entropy_with_logits(p, smooth(y), reduction="none"),
        y_true, logits, seed,
    )  # fmt: skip
    probabilities = np.clip(sigmoid(logits), 0.01, 0.99).astype(dtype)
    assert_as_torch(
        BinaryCrossentropy(False, smoothing),
        lambda t, p, y: f.binary_cross_entropy(p, smooth(y), reduction="none"),
        y_true, probabilities, seed, 1000,
    )  # fmt: skip


@given(SHAPES, DTYPES, st.sampled_from([0.0, 0.2]), st.integers(0, 99))
def test_categorical_against_torch(
    shape: tuple[int, ...], dtype: str, smoothing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal(shape)).astype(dtype)
    y_true = rng.random(shape)
    y_true /= y_true.sum(-1, keepdims=True)

    def smooth(y: Any) -> Any:
        return y * (1 - smoothing) + smoothing / y.shape[-1]

    assert_as_torch(
        CategoricalCrossentropy(True, smoothing),
        lambda t, p, y: -smooth(y) * p.log_softmax(-1), y_true, logits, seed, 100,
    )  # fmt: skip
    assert_as_torch(
        CategoricalCrossentropy(False, smoothing),
        lambda t, p, y: -smooth(y) * p.log(), y_true, rows_of(logits).astype(dtype), seed, 100,
    )  # fmt: skip


@pytest.mark.parametrize("from_logits", [False, True])
def test_one_hot_labels_are_class_numbers(from_logits: bool) -> None:
    rng = np.random.default_rng(0)
    y_pred = 30 * rng.standard_normal((9, 5))
    y_pred = y_pred if from_logits else rows_of(y_pred)
    y_true = rng.integers(0, 5, 9)
    one, pull = SparseCategoricalCrossentropy(from_logits).forward(y_true, y_pred)
    other, push = CategoricalCrossentropy(from_logits).forward(np.eye(5)[y_true], y_pred)
    np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(push(0.5), pull(0.5), rtol=1e-13, atol=1e-15)


def test_gradients_by_finite_differences() -> None:
    rng = np.random.default_rng(1)
    for loss in (
        CategoricalCrossentropy(), CategoricalCrossentropy(True), BinaryCrossentropy(),
        BinaryCrossentropy(True), MeanSquaredError(), MeanAbsoluteError(), Huber(0.4),
    ):  # fmt: skip
        y_true, y_pred = rng.random((5, 4)), rng.uniform(0.1, 0.9, (5, 4))
        weights, direction = rng.standard_normal(5), rng.standard_normal((5, 4))

        def values(p: Array, loss: Loss = loss, y_true: Array = y_true) -> Array:
            return loss.forward(y_true, p)[0]

        _, backprop = loss.forward(y_true, y_pred)
        expected = gradients.slope(values, y_pred, direction, weights)
        assert np.sum(backprop(weights) * direction) == pytest.approx(expected, rel=1e-6), loss.name


def test_certain_and_wrong_costs_much_but_not_infinity() -> None:
    for loss, y_true, y_pred in (
        (CategoricalCrossentropy(), [[0.0, 1.0]], [[1.0, 0.0]]),
        (BinaryCrossentropy(), [[1.0]], [[0.0]]),
        (BinaryCrossentropy(), [[0.0]], [[1.0]]),
    ):
        assert loss(y_true, np.array(y_pred, np.float32)) == pytest.approx(87.336, abs=0.01)
    assert BinaryCrossentropy(True)([[0.0, 1.0]], [[1e30, 1e30]]) == pytest.approx(5e29)
    assert CategoricalCrossentropy(True)([[0.0, 1.0]], [[1e30, 0.0]]) == pytest.approx(1e30)
    tiny = BinaryCrossentropy(True)([[1.0]], np.array([[20.0]]))
    assert tiny == pytest.approx(np.log1p(np.exp(-20.0)), rel=1e-14)


def test_nan_stays() -> None:
    y_pred = np.array([[0.5, np.nan], [0.5, 0.5]])
    for loss in (CategoricalCrossentropy(), BinaryCrossentropy(), MeanAbsoluteError(), Huber()):
        found, backprop = loss.forward([[0.0, 1.0], [0.0, 1.0]], y_pred)
        assert np.isnan(found).tolist() == [True, False], loss.name
        assert np.isnan(backprop(1.0)[0, 1])
    with np.errstate(all="ignore"):
        assert np.isnan(MeanSquaredError()([[1.0], [0.0]], [[np.nan], [np.inf]]))


def test_the_last_axis_of_labels_may_be_missing_where_it_is_one() -> None:
    for loss in (BinaryCrossentropy(), MeanSquaredError(), MeanAbsoluteError(), Huber()):
        y_pred = np.array([[0.25], [0.75]])
        assert loss([0, 1], y_pred) == loss([[0], [1]], y_pred)


@pytest.mark.parametrize(
    ("loss", "y_true", "words"),
    [
        (CategoricalCrossentropy(), [[0, 1, 0]], r"shape of y_pred, \(2, 3\).*received \(1, 3\)"),
        (CategoricalCrossentropy(), [0, 1], r"received \(2,\)"),
        (CategoricalCrossentropy(), [[0, 2, 0], [0, 0, 1]], "of 0..1, as one-hot.*received 2"),
        (CategoricalCrossentropy(), [[0, np.nan, 0], [0, 0, 1]], "received nan"),
        (BinaryCrossentropy(), [[0, -1, 0], [0, 0, 1]], "received -1"),
        (MeanSquaredError(), [0, 1, 2], r"received \(3,\)"),
    ],
)
def test_wrong_labels(loss: Loss, y_true: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loss(y_true, np.full((2, 3), 1 / 3))


def test_sample_weights_by_keras_rule() -> None:
    loss = MeanSquaredError()
    y_true, y_pred = np.zeros((3, 2)), np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    assert loss(y_true, y_pred, [1, 0, 2]) == pytest.approx((1 + 2 * 9) / 3)
    images = np.ones((2, 4, 4, 3))
    assert loss(np.zeros_like(images), images, [1, 3]) == 2
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(3,\)"):
        loss(y_true, y_pred, [1, 2])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("binary_crossentropy", BinaryCrossentropy),
        ("mse", MeanSquaredError), ("mean_squared_error", MeanSquaredError),
        ("mae", MeanAbsoluteError), ("mean_absolute_error", MeanAbsoluteError),
        ("huber", Huber),
    ],
)  # fmt: skip
def test_by_name(name: str, kind: type[Loss]) -> None:
    assert type(losses.get(name)) is kind


def test_wrong_arguments() -> None:
    for make, words in (
        (lambda: Huber(-1), "delta"),
        (lambda: CategoricalCrossentropy(label_smoothing=1.0), "label_smoothing.*below 1"),
        (lambda: BinaryCrossentropy(label_smoothing=-0.1), "label_smoothing"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
