"""Cross-entropy against class numbers: its definition, PyTorch and finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradients
import pytorch
from fastconv import losses
from fastconv.layers import Dense
from fastconv.losses import SparseCategoricalCrossentropy
from fastconv.models import Sequential

Array = npt.NDArray[Any]


def predictions(rng: np.random.Generator, shape: tuple[int, ...], from_logits: bool) -> Array:
    """Draw logits, or probabilities."""
    logits = 3 * rng.standard_normal(shape)
    if from_logits:
        return logits
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@given(
    st.booleans(), st.lists(st.integers(0, 4), min_size=1, max_size=2), st.integers(1, 7),
    st.sampled_from(["float32", "float64"]), st.integers(0, 99),
)  # fmt: skip
def test_against_torch(
    from_logits: bool, shape: list[int], classes: int, dtype: str, seed: int
) -> None:
    torch = pytorch.torch()
    rng = np.random.default_rng(seed)
    y_pred = predictions(rng, (*shape, classes), from_logits).astype(dtype)
    y_true = rng.integers(0, classes, shape)
    weights = rng.standard_normal(shape).astype(dtype)
    found, backprop = SparseCategoricalCrossentropy(from_logits).forward(y_true, y_pred)

    rows = torch.tensor(y_pred.reshape(-1, classes), requires_grad=True)
    each = torch.nn.functional.cross_entropy if from_logits else _negative_log
    expected = each(rows, torch.tensor(y_true.ravel()), reduction="none")
    expected.backward(torch.tensor(weights.ravel()))
    limits = {"rtol": 20 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected.detach().numpy().reshape(shape), **limits)
    np.testing.assert_allclose(backprop(weights), rows.grad.numpy().reshape(y_pred.shape), **limits)


def _negative_log(rows: Any, labels: Any, reduction: str) -> Any:
    return -rows[range(len(rows)), labels].log()


@pytest.mark.parametrize("from_logits", [False, True])
def test_gradient_by_finite_differences(from_logits: bool) -> None:
    rng = np.random.default_rng(1)
    loss = SparseCategoricalCrossentropy(from_logits)
    y_pred, y_true = predictions(rng, (5, 4), from_logits), rng.integers(0, 4, 5)
    weights, direction = rng.standard_normal(5), rng.standard_normal((5, 4))
    _, backprop = loss.forward(y_true, y_pred)
    expected = gradients.slope(lambda p: loss.forward(y_true, p)[0], y_pred, direction, weights)
    assert np.sum(backprop(weights) * direction) == pytest.approx(expected, rel=1e-6)


def test_both_forms_agree_through_softmax() -> None:
    logits = np.random.default_rng(0).standard_normal((6, 5))
    probabilities = predictions(np.random.default_rng(0), (6, 5), False)
    y_true = [0, 1, 2, 3, 4, 0]
    from_logits = SparseCategoricalCrossentropy(from_logits=True)(y_true, 3 * logits)
    assert SparseCategoricalCrossentropy()(y_true, probabilities) == pytest.approx(from_logits)


def test_known_values() -> None:
    loss = SparseCategoricalCrossentropy()
    assert loss([0], [[0.5, 0.5]]) == pytest.approx(math.log(2))
    assert loss([1, 1], [[0.0, 1.0], [0.75, 0.25]]) == pytest.approx(math.log(4) / 2)
    assert loss([[0]], np.array([[1.0, 0.0]])) == 0.0
    logits = SparseCategoricalCrossentropy(from_logits=True)
    assert logits([0, 1], [[7.0, 7.0], [-3.0, -3.0]]) == pytest.approx(math.log(2))


def test_extremes_stay_finite() -> None:
    impossible = np.array([[0.0, 1.0]], np.float32)
    found, backprop = SparseCategoricalCrossentropy().forward([0], impossible)
    assert found[0] == pytest.approx(126 * math.log(2))
    assert np.isfinite(backprop(1.0)).all()
    far = np.array([[1e30, -1e30, 0.0]], np.float32)
    found, backprop = SparseCategoricalCrossentropy(from_logits=True).forward([0], far)
    assert found[0] == 0.0
    found, backprop = SparseCategoricalCrossentropy(from_logits=True).forward([1], far)
    assert found[0] == pytest.approx(2e30)
    assert backprop(1.0).tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("activation", "loss", "y_true"),
    [
        ("softmax", "sparse_categorical_crossentropy", [0]),
        ("softmax", "categorical_crossentropy", [[1, 0, 0]]),
        ("sigmoid", "binary_crossentropy", [[1, 0, 0]]),
    ],
)
def test_a_heavy_weight_on_a_probability_of_zero(activation: str, loss: str, y_true: Any) -> None:
    model = Sequential([Dense(3, activation, input_shape=(1,))])
    model.compile("sgd", loss)
    model.set_weights([np.array([[-200, 200, 0]], np.float32), np.zeros(3, np.float32)])
    model.train_on_batch([[1]], y_true, sample_weight=[1e30])
    kernel, bias = model.get_weights()
    np.testing.assert_array_equal(kernel[0, :2], [-200, 200])
    assert np.isfinite([kernel[0], bias]).all()


@pytest.mark.filterwarnings("error")
def test_classes_ruled_out_by_logits_of_minus_infinity() -> None:
    y_pred = np.array([[1.0, -np.inf, 2.0]])
    expected, _ = SparseCategoricalCrossentropy(from_logits=True).forward([2], y_pred)
    found, backprop = losses.CategoricalCrossentropy(from_logits=True).forward([[0, 0, 1]], y_pred)
    np.testing.assert_array_equal(found, expected)
    p = 1 / (1 + math.e)
    np.testing.assert_allclose(backprop(1.0), [[p, 0, -p]], rtol=1e-14)


def test_nan_is_not_hidden() -> None:
    for from_logits in (False, True):
        assert math.isnan(SparseCategoricalCrossentropy(from_logits)([0], [[math.nan, 1.0]]))


@pytest.mark.parametrize(
    ("y_true", "error", "words"),
    [
        ([0, 3], ValueError, r"0\.\.2, since y_pred has 3 classes, received 3"),
        ([-1, 0], ValueError, r"0\.\.2.*received -1"),
        ([0], ValueError, r"y_true has shape \(1,\).*\(2, 3\) asks for \(2,\)"),
        ([[0, 1]], ValueError, r"y_true has shape \(1, 2\)"),
        ([0.0, 1.0], TypeError, "y_true must hold integers.*float64"),
        ([True, False], TypeError, "y_true must hold integers.*bool"),
        (["a", "b"], TypeError, "y_true must hold real numbers"),
    ],
)
def test_wrong_labels(y_true: Any, error: type[Exception], words: str) -> None:
    for from_logits in (False, True):
        with pytest.raises(error, match=words):
            SparseCategoricalCrossentropy(from_logits)(y_true, np.full((2, 3), 1 / 3))


def test_no_examples_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no examples"):
        SparseCategoricalCrossentropy()([], np.empty((0, 3)))


def test_by_name() -> None:
    found = losses.get("sparse_categorical_crossentropy")
    assert isinstance(found, SparseCategoricalCrossentropy)
    assert not found.from_logits
    assert losses.get(found) is found
    with pytest.raises(ValueError, match=r"loss must be one of .* received 'hinge'"):
        losses.get("hinge")
    with pytest.raises(TypeError, match="loss must be a name or a Loss"):
        losses.get(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="from_logits must be True or False, received 1"):
        SparseCategoricalCrossentropy(1)  # type: ignore[arg-type]
