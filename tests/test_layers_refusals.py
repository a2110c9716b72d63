"""What layers refuse, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.ma
import pytest

from fastconv.layers import (
    ELU,
    Activation,
    Conv2D,
    Dense,
    Dropout,
    Layer,
    MaxPooling2D,
    Softmax,
)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Conv2D(0, 3), ValueError, "filters must be at least 1, received 0"),
        (lambda: Conv2D(2**62, 3), ValueError, "filters must be at most .* received 4611"),
        (lambda: Dropout(0.5, seed=-(10**30)), ValueError, "seed must be at least 0"),
        (lambda: Conv2D(True, 3), TypeError, "filters must be an integer .* received True"),
        (lambda: Conv2D(4, (3, 3, 3)), ValueError, r"kernel_size .* received \(3, 3, 3\)"),
        (lambda: Conv2D(4, 3, strides=0), ValueError, "strides must be at least 1, received 0"),
        (lambda: Conv2D(4, 3, strides=True), TypeError, "strides .* received True"),
        (lambda: Conv2D(4, 3, dilation_rate="2"), TypeError, "dilation_rate .* received '2'"),
        (lambda: Conv2D(5, 3, groups=2), ValueError, "filters=5, groups=2"),
        (lambda: Conv2D(4, 3, data_format="NHWC"), ValueError, "data_format .* received 'NHWC'"),
        (lambda: Conv2D(4, 3, activation="gelu"), ValueError, "activation .* received 'gelu'"),
        (lambda: Conv2D(4, 3, activation=max), TypeError, "activation must be a name"),
        (lambda: Conv2D(4, 3, use_bias=1), TypeError, "use_bias must be True or False"),
        (lambda: Conv2D(4, 3, kernel_initializer="he"), ValueError, "kernel_initializer must be"),
        (lambda: Conv2D(4, 3, bias_initializer=0), TypeError, "bias_initializer must be a name"),
        (lambda: Conv2D(4, 3, input_shape=5), TypeError, "input_shape must be a tuple"),
        (lambda: Conv2D(4, 3, input_shape=(5, -1)), ValueError, r"input_shape\[1\] .* -1"),
        (lambda: Conv2D(4, 3, dtype="float16"), ValueError, "dtype .* received float16"),
        (lambda: Conv2D(4, 3, dtype="floof"), TypeError, "dtype must be .* received 'floof'"),
        (lambda: Dropout(10**400), ValueError, "rate must be a number from 0, received 1000"),
        (lambda: ELU(-(10**400)), ValueError, "alpha must be a number from -inf, received -1000"),
        (lambda: Conv2D(4, 3, name="a/b"), ValueError, "name .* received 'a/b'"),
        (lambda: Conv2D(4, 3, kernel_regularizer=None), TypeError, "no argument 'kernel_regul"),  # type: ignore[call-arg]
        (lambda: Dense(2, trainable="no"), TypeError, "trainable must be True or False"),  # type: ignore[arg-type]
        (lambda: MaxPooling2D(0), ValueError, "pool_size must be at least 1, received 0"),
        (lambda: Softmax(axis="last"), TypeError, "axis must be an integer"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "x", "error", "words"),
    [
        (Conv2D(4, 3), np.zeros((5, 5, 1)), ValueError, r"'conv2d' takes .* rank 4.*\(5, 5, 1\)"),
        (Conv2D(4, 3), np.zeros((1, 2, 9, 1)), ValueError, r"no pixels.*\(0, 2, 9, 1\)"),
        (Conv2D(4, 3, padding="full"), np.zeros((1, 5, 5, 1)), ValueError, "padding.*full"),
        (Conv2D(4, 3, groups=2), np.zeros((1, 5, 5, 3)), ValueError, "'conv2d' has 2 groups"),
        (Dense(4), np.zeros(5), ValueError, r"'dense' takes inputs of rank 2 or more.*\(5,\)"),
        (Dense(4), np.ma.zeros((2, 2)), TypeError, "x is a masked array"),
        (Dense(4), np.zeros((2, 2), complex), TypeError, "x must hold real numbers.*complex128"),
        (Dense(4), [["a"]], TypeError, "x must hold real numbers"),
        (Softmax(axis=2), np.zeros((2, 2)), ValueError, "axis 2"),
        (Softmax(axis=0), np.zeros((2, 2)), ValueError, "axis 0"),
        (Activation("relu"), 1.0, ValueError, "rank at least 1"),
    ],
)  # fmt: skip
def test_wrong_inputs(layer: Layer, x: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        layer(x)
    assert not layer.built


def test_what_a_built_layer_refuses() -> None:
    layer = Conv2D(4, 3)
    layer(np.zeros((1, 5, 5, 3)))
    with pytest.raises(
        ValueError, match=r"built for .*\(None, 5, 5, 3\).*received.*\(1, 5, 5, 2\)"
    ):
        layer(np.zeros((1, 5, 5, 2)))
    assert layer(np.zeros((1, 9, 9, 3))).shape == (1, 7, 7, 4)  # another size is another matter
    _, backprop = layer.forward(np.zeros((1, 5, 5, 3)))
    with pytest.raises(ValueError, match=r"dy must have.*'conv2d'.*\(1, 3, 3, 4\).*\(1, 3, 3, 1\)"):
        backprop(np.zeros((1, 3, 3, 1)))
    with pytest.raises(ValueError, match=r"conv2d/kernel is float32 of shape \(3, 3, 3, 4\)"):
        layer.kernel = np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match="has no bias"):
        Conv2D(4, 3, use_bias=False).bias = np.zeros(4)


@pytest.mark.parametrize("use", ["kernel", "bias", "input_shape", "output_shape"])
def test_an_unbuilt_layer_says_so(use: str) -> None:
    with pytest.raises(ValueError, match="'conv2d' is not built yet"):
        getattr(Conv2D(4, 3), use)
    with pytest.raises(ValueError, match="'conv2d' is not built yet"):
        Conv2D(4, 3).count_params()
    with pytest.raises(ValueError, match="'conv2d' is not built yet"):
        Conv2D(4, 3).set_weights([])


def test_what_is_prepared_has_one_size() -> None:
    with pytest.raises(ValueError, match=r"'conv2d' is prepared for .*\(None, 8, None, 1\)"):
        Conv2D(4, 3).prepare((None, 8, None, 1))


def test_channels_must_be_known() -> None:
    with pytest.raises(ValueError, match=r"'conv2d' needs to know axis 3.*\(None, 8, 8, None\)"):
        Conv2D(4, 3).build((None, 8, 8, None))
