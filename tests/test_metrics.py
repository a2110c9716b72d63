"""The metrics against what can be counted by eye."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import metrics


def test_accuracy_counts_hits() -> None:
    accuracy = metrics.get("accuracy")
    y_pred = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3]])
    assert accuracy([1, 0, 2, 0], y_pred) == 0.75
    assert accuracy([[1], [0], [2], [0]], y_pred) == 0.75
    assert accuracy.values([1, 2, 2, 0], y_pred).tolist() == [True, False, True, False]


def test_of_equal_predictions_the_first_is_the_largest() -> None:
    assert metrics.SparseCategoricalAccuracy()([0, 1], [[0.5, 0.5], [0.5, 0.5]]) == 0.5


def test_accuracy_of_every_pixel() -> None:
    y_pred = np.eye(3)[[[0, 1], [2, 0]]]
    assert metrics.SparseCategoricalAccuracy()([[0, 1], [2, 2]], y_pred) == 0.75


def test_by_name() -> None:
    for name in ("accuracy", "acc", "sparse_categorical_accuracy"):
        assert metrics.get(name).name == name
    with pytest.raises(ValueError, match="received 'auc'"):
        metrics.get("auc")
    with pytest.raises(TypeError, match="a metric must be a name or a Metric"):
        metrics.get(3)  # type: ignore[arg-type]


def test_wrong_labels() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1.*received 2"):
        metrics.get("acc")([2], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="no examples"):
        metrics.get("acc")([], np.empty((0, 2)))


def test_accuracy_takes_the_kind_that_the_shapes_ask_for() -> None:
    accuracy = metrics.get("accuracy")
    y_pred = np.array([[0.1, 0.9], [0.6, 0.4], [0.7, 0.3]])
    assert accuracy([1, 1, 0], y_pred) == pytest.approx(2 / 3)
    assert accuracy([[1], [1], [0]], y_pred) == pytest.approx(2 / 3)
    assert accuracy([[0, 1], [0, 1], [1, 0]], y_pred) == pytest.approx(2 / 3)
    assert accuracy([1, 1, 0], y_pred[:, 1:]) == pytest.approx(2 / 3)
    assert accuracy([[1], [1], [0]], y_pred[:, 1:]) == pytest.approx(2 / 3)


def test_binary_accuracy_has_a_threshold() -> None:
    y_pred = [[0.4], [0.5], [0.6]]
    assert metrics.BinaryAccuracy()([0, 0, 1], y_pred) == 1
    assert metrics.BinaryAccuracy(threshold=0.3)([0, 0, 1], y_pred) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"probabilities of 0\.\.1"):
        metrics.BinaryAccuracy()([0, 0, 2], y_pred)


def test_top_k_against_sorting() -> None:
    rng = np.random.default_rng(0)
    y_pred, y_true = rng.random((50, 8)), rng.integers(0, 8, 50)
    largest = np.argsort(-y_pred, axis=-1)
    for k in (1, 3, 5, 8, 20):
        expected = np.mean([label in row[:k] for label, row in zip(y_true, largest, strict=True)])
        assert metrics.SparseTopKCategoricalAccuracy(k)(y_true, y_pred) == expected
        assert metrics.TopKCategoricalAccuracy(k)(np.eye(8)[y_true], y_pred) == expected
    assert metrics.get("top_k_categorical_accuracy")(np.eye(8)[y_true], y_pred) == np.mean(
        [label in row[:5] for label, row in zip(y_true, largest, strict=True)]
    )
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.TopKCategoricalAccuracy(0)


def test_top_k_of_equal_and_of_broken_predictions() -> None:
    top = metrics.SparseTopKCategoricalAccuracy(2)
    assert top([0, 1, 2], np.full((3, 3), 0.5)) == 1  # none is larger: a hit, as in Keras
    assert top([0], [[np.nan, 0.1, 0.2]]) == 0


def test_errors() -> None:
    y_true, y_pred = [[0.0, 2.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]
    for name in ("mae", "mean_absolute_error"):
        assert metrics.get(name)(y_true, y_pred) == 0.75
    assert metrics.get("mse")(y_true, y_pred) == 1.25
    assert metrics.get("mae")([1, 2], [[1.5], [2.0]]) == 0.25


def test_which_way_is_better() -> None:
    for name in ("accuracy", "binary_accuracy", "top_k_categorical_accuracy"):
        assert metrics.get(name).mode == "max"
    assert metrics.get("mae").mode == "min"


def test_predictions_may_be_integers() -> None:
    y_true, y_pred = [[0.2, 0.8], [0.9, 0.1]], np.array([[0, 1], [0, 1]])
    assert metrics.CategoricalAccuracy()(y_true, y_pred) == 0.5
    assert metrics.TopKCategoricalAccuracy(1)(y_true, y_pred) == 0.5
    assert metrics.BinaryAccuracy()([0.5, 0, 1], np.array([[0], [0], [1]])) == pytest.approx(2 / 3)
