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
