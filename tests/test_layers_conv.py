"""The convolution layers beside `Conv2D`: against Keras, and in what is theirs alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import in_keras
from fastconv.layers import Conv2D, Conv2DTranspose, DepthwiseConv2D, SeparableConv2D

FORMATS = st.sampled_from(["channels_last", "channels_first"])
DTYPES = st.sampled_from(["float32", "float64"])
PADDINGS = st.sampled_from(["valid", "same"])
SEEDS = st.integers(0, 99)
SMALL = st.integers(1, 3)
ACTIVATIONS = st.sampled_from(["linear", "relu", "sigmoid", "tanh"])


def images(rng: np.random.Generator, channels: int, data_format: str) -> Any:
    size = (2, *(int(side) for side in rng.integers(7, 12, 2)), channels)
    x = rng.standard_normal(size)
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


def one_of_strides_and_dilation(strides: int, dilation: int) -> dict[str, int]:
    """Keras takes both only where one of them is 1."""
    return {"strides": strides, "dilation_rate": dilation if strides == 1 else 1}


@given(
    st.integers(1, 4), SMALL, st.integers(1, 2), SMALL, SMALL, PADDINGS, FORMATS, ACTIVATIONS,
    st.booleans(), DTYPES, SEEDS,
)  # fmt: skip
def test_depthwise_conv2d_against_keras(
    channels: int, size: int, multiplier: int, strides: int, dilation: int, padding: str,
    data_format: str, activation: str, use_bias: bool, dtype: str, seed: int,
) -> None:  # fmt: skip
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "kernel_size": size, "padding": padding, "depth_multiplier": multiplier,
        "data_format": data_format, "activation": activation, "use_bias": use_bias, "dtype": dtype,
    }  # fmt: skip
    options |= one_of_strides_and_dilation(strides, dilation)
    x = images(rng, channels, data_format)
    layers = DepthwiseConv2D(**options), keras.layers.DepthwiseConv2D(**options)
    in_keras.assert_same_layer(*layers, x, rng)


@given(
    st.integers(1, 4), st.integers(1, 5), SMALL, st.integers(1, 2), SMALL, SMALL, PADDINGS,
    FORMATS, ACTIVATIONS, st.booleans(), DTYPES, SEEDS,
)  # fmt: skip
def test_separable_conv2d_against_keras(
    channels: int, filters: int, size: int, multiplier: int, strides: int, dilation: int,
    padding: str, data_format: str, activation: str, use_bias: bool, dtype: str, seed: int,
) -> None:  # fmt: skip
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "filters": filters, "kernel_size": size, "padding": padding, "activation": activation,
        "depth_multiplier": multiplier, "data_format": data_format, "use_bias": use_bias,
        "dtype": dtype,
    }  # fmt: skip
    options |= one_of_strides_and_dilation(strides, dilation)
    x = images(rng, channels, data_format)
    layers = SeparableConv2D(**options), keras.layers.SeparableConv2D(**options)
    in_keras.assert_same_layer(*layers, x, rng)


@given(
    st.integers(1, 4), st.integers(1, 5), st.tuples(SMALL, SMALL), SMALL, PADDINGS, FORMATS,
    ACTIVATIONS, st.booleans(), DTYPES, SEEDS,
)  # fmt: skip
def test_conv2d_transpose_against_keras(
    channels: int, filters: int, size: tuple[int, int], strides: int, padding: str,
    data_format: str, activation: str, use_bias: bool, dtype: str, seed: int,
) -> None:  # fmt: skip
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "filters": filters, "kernel_size": size, "strides": strides, "padding": padding,
        "data_format": data_format, "activation": activation, "use_bias": use_bias, "dtype": dtype,
    }  # fmt: skip
    x = images(rng, channels, data_format)
    layers = Conv2DTranspose(**options), keras.layers.Conv2DTranspose(**options)
    in_keras.assert_same_layer(*layers, x, rng)


@given(
    st.integers(1, 4), st.integers(1, 5), SMALL, st.integers(1, 2), PADDINGS, FORMATS,
    st.booleans(), DTYPES, SEEDS,
)  # fmt: skip
def test_conv2d_against_keras(
    channels: int, filters: int, size: int, groups: int, padding: str, data_format: str,
    use_bias: bool, dtype: str, seed: int,
) -> None:  # fmt: skip
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "filters": groups * filters, "kernel_size": size, "padding": padding, "groups": groups,
        "data_format": data_format, "use_bias": use_bias, "dtype": dtype,
    }  # fmt: skip
    x = images(rng, groups * channels, data_format)
    layers = Conv2D(**options), keras.layers.Conv2D(**options)
    in_keras.assert_same_layer(*layers, x, rng)


def test_output_padding_is_that_of_keras() -> None:
    keras = in_keras.keras()
    for padding in ("valid", "same"):
        options: dict[str, Any] = {"strides": 3, "padding": padding, "output_padding": 1}
        ours, theirs = (
            Conv2DTranspose(2, 3, **options),
            keras.layers.Conv2DTranspose(2, 3, **options),
        )
        in_keras.assert_same_layer(ours, theirs, np.ones((1, 4, 5, 2)), np.random.default_rng(0))


def test_a_separable_convolution_is_its_two_steps() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 8, 3))
    whole = SeparableConv2D(4, 3, 2, "same", depth_multiplier=2, activation="relu", dtype="float64")
    whole(x)
    first = DepthwiseConv2D(3, 2, "same", 2, use_bias=False, dtype="float64")
    second = Conv2D(4, 1, activation="relu", dtype="float64")
    second(first(x))
    first.depthwise_kernel = whole.depthwise_kernel
    second.set_weights([whole.pointwise_kernel, whole.bias])
    np.testing.assert_array_equal(whole(x), second(first(x)))


@pytest.mark.parametrize(
    ("layer", "shape", "shapes"),
    [
        (DepthwiseConv2D(3, depth_multiplier=2), (None, 8, 8, 5), [(3, 3, 5, 2), (10,)]),
        (SeparableConv2D(7, 3), (None, 8, 8, 5), [(3, 3, 5, 1), (1, 1, 5, 7), (7,)]),
        (Conv2DTranspose(7, 3), (None, 8, 8, 5), [(3, 3, 7, 5), (7,)]),
    ],
)
def test_weights_in_the_order_and_layout_of_keras(layer: Any, shape: Any, shapes: Any) -> None:
    layer.build(shape)
    assert [weight.shape for weight in layer.get_weights()] == shapes
    names = {DepthwiseConv2D: "depthwise_kernel", SeparableConv2D: "depthwise_kernel"}
    kernel = getattr(layer, names.get(type(layer), "kernel"))
    np.testing.assert_array_equal(kernel, layer.get_weights()[0])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Conv2DTranspose(2, 3, output_padding=-1), ValueError, "output_padding .* -1"),
        (lambda: Conv2DTranspose(2, 3, groups=2), TypeError, "no argument 'groups'"),
        (lambda: DepthwiseConv2D(3, depth_multiplier=0), ValueError, "depth_multiplier .* 0"),
        (lambda: DepthwiseConv2D(3, depthwise_initializer="x"), ValueError, "depthwise_initia"),
        (lambda: DepthwiseConv2D(3, kernel_initializer="x"), TypeError, "'kernel_initializer'"),
        (lambda: SeparableConv2D(3, 3, pointwise_initializer=1), TypeError, "pointwise_initia"),
        (lambda: SeparableConv2D(0, 3), ValueError, "filters must be at least 1, received 0"),
    ],
)
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_weights_that_do_not_fit() -> None:
    layer = SeparableConv2D(4, 3, input_shape=(8, 8, 2))
    layer.build((None, 8, 8, 2))
    with pytest.raises(ValueError, match=r"separable_conv2d/pointwise_kernel is .* \(1, 1, 2, 4\)"):
        layer.pointwise_kernel = np.zeros((1, 1, 4, 2), np.float32)
    with pytest.raises(ValueError, match="'separable_conv2d' has 3 weights, received 2"):
        layer.set_weights(layer.get_weights()[:2])
    with pytest.raises(ValueError, match=r"'separable_conv2d' was built for .* received shape"):
        layer(np.zeros((1, 8, 8, 3)))
