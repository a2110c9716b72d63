"""What rectifiers, softmax, dropout and normalisation refuse, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv.layers import (
    BatchNormalization,
    Dropout,
    LayerNormalization,
    LeakyReLU,
    PReLU,
    ReLU,
)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ReLU(-1), ValueError, "max_value must be a number from 0, received -1"),
        (lambda: ReLU(threshold="1"), TypeError, "threshold must be a number"),
        (lambda: LeakyReLU(-0.1), ValueError, "negative_slope must be .* received -0.1"),
        (lambda: LeakyReLU(alpha=0.1), TypeError, "LeakyReLU has no argument 'alpha'"),
        (lambda: PReLU(shared_axes=[0]), ValueError, r"shared_axes\[0\] must be at least 1"),
        (lambda: PReLU(shared_axes=1), TypeError, "shared_axes must be a list of integers"),
        (lambda: PReLU("zero"), ValueError, "alpha_initializer must be one of"),
        (lambda: Dropout(1.5), ValueError, "rate must be a number from 0 to 1, received 1.5"),
        (lambda: Dropout(-0.5), ValueError, "rate must be"),
        (lambda: Dropout(0.5, seed=-1), ValueError, "seed must be at least 0"),
        (lambda: Dropout(0.5, noise_shape=3), TypeError, "noise_shape must be a tuple"),
        (lambda: BatchNormalization(axis=[1]), TypeError, "axis must be an integer"),
        (lambda: BatchNormalization(renorm=True), TypeError, "no argument 'renorm'"),
        (lambda: BatchNormalization(epsilon=-1), ValueError, "epsilon must be"),
        (lambda: LayerNormalization(axis="-1"), TypeError, "axis must be an integer"),
        (lambda: LayerNormalization(center=0), TypeError, "center must be True or False"),
    ],
)
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (Dropout(0.5, (None, 3)), (2, 4), r"noise_shape \(None, 3\).* \(2, 4\)"),
        (BatchNormalization(3), (2, 4), r"'batch_normalization' has axis 3, .* \(2, 4\)"),
        (BatchNormalization(0), (2, 4), "axis 0, which is not an axis after the batch"),
        (LayerNormalization([0, 1]), (2, 4), r"has axis \(0, 1\), which is not an axis after"),
        (LayerNormalization([1, -1]), (2, 4), r"has axis \(1, -1\), which is not"),
        (PReLU(shared_axes=[1, 2]), (2, 4), "'prelu' has 2 among its shared_axes"),
    ],
)
def test_inputs_that_do_not_fit(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer(np.zeros(shape))


@pytest.mark.parametrize(
    ("layer", "shape", "other"),
    [
        (BatchNormalization(1), (2, 3, 4), (2, 4, 4)),
        (LayerNormalization([1, 2]), (2, 3, 4), (2, 3, 5)),
        (PReLU(shared_axes=[1]), (2, 3, 4), (2, 3, 5)),
    ],
)
def test_sizes_other_than_the_weights(layer: Any, shape: Any, other: Any) -> None:
    layer(np.zeros(shape))
    with pytest.raises(ValueError, match="was built for inputs of shape"):
        layer(np.zeros(other))


def test_sizes_that_must_be_known() -> None:
    for layer, words in (
        (BatchNormalization(), "needs to know axis -1"),
        (LayerNormalization(), r"needs to know axes \(2,\)"),
        (PReLU(), "needs to know the axes"),
    ):
        with pytest.raises(ValueError, match=words):
            layer.build((None, 3, None))


def test_a_weight_that_is_not_there() -> None:
    layer = BatchNormalization(scale=False)
    with pytest.raises(ValueError, match="is not built yet"):
        _ = layer.beta
    layer.build((None, 3))
    with pytest.raises(ValueError, match="'batch_normalization' is made without gamma"):
        layer.gamma = np.ones(3)
