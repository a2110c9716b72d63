"""What a chain of layers reads of its images: all that its output depends on, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradients
from closeness import assert_same_bits
from fastconv.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    MinPooling2D,
    ReLU,
    Rescaling,
    SeparableConv2D,
)
from fastconv.models import Sequential, _reach

Array = npt.NDArray[Any]


class Own(Conv2D):
    """A convolution of somebody's own, which may look at whatever it is given."""


def of_size(chain: list[Layer], height: int, width: int) -> tuple[int, int] | None:
    """Return the rows and columns that a chain reads of images in channels_last; None is all."""
    part = _reach.reached(chain, (1, height, width, 3))
    return (part[1].stop, part[2].stop) if part else None


def test_pixels_that_fill_no_window_are_not_read() -> None:
    textbook = [Conv2D(8, 3), MaxPooling2D(), Conv2D(8, 3), MaxPooling2D(), Flatten(), Dense(9)]
    assert of_size(textbook, 28, 28) == (26, 26)
    between = [Rescaling(2.0), Conv2D(8, 3), Activation("tanh"), ReLU(), MaxPooling2D()]
    assert of_size(between, 29, 28) == (28, 28)
    assert of_size(textbook, 30, 29) == (30, 26)
    assert of_size(textbook, 30, 30) is None
    assert of_size([Conv2D(8, (5, 3), (2, 1), dilation_rate=(1, 3)), MaxPooling2D(3)], 30, 30) == (
        27,
        30,
    )


@pytest.mark.parametrize(
    "chain",
    [
        [MaxPooling2D(), Flatten()],  # reads no more than it must, by itself
        [Conv2D(8, 3, 2)],
        [Conv2D(8, 3, padding="same"), MaxPooling2D()],
        [Conv2D(8, 3), MaxPooling2D(padding="same")],
        [Conv2D(8, 3), BatchNormalization(), MaxPooling2D()],  # whose means are of all pixels
        [Conv2D(8, 3), Dropout(0.5), MaxPooling2D()],  # whose draws are numbered
        [Conv2D(8, 3), Activation("softmax"), MaxPooling2D()],
        [Rescaling([1, 2, 3]), Conv2D(8, 3), MaxPooling2D()],
        [Conv2D(8, 3, activation="softmax"), MaxPooling2D()],
        [Conv2D(8, 3), MaxPooling2D(data_format="channels_first")],
        [Own(8, 3), MaxPooling2D()],
    ],
)
def test_others_get_whole_images(chain: list[Layer]) -> None:
    assert of_size(chain, 29, 29) is None
    assert _reach.reached(chain, (5, 30)) == ()


def test_images_too_small_are_refused_by_their_layer() -> None:
    model = Sequential([Conv2D(2, 3, input_shape=(None, None, 1)), MaxPooling2D(4)])
    with pytest.raises(ValueError, match="pool_size"):
        model(np.zeros((1, 5, 5, 1)))


_SIZES = st.integers(1, 3)
_STRIDES = st.integers(1, 2)


@st.composite
def chains(draw: st.DrawFn) -> list[Layer]:
    """Draw what moves unpadded windows, in float64, and what may stand between them."""
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    options: dict[str, Any] = {"data_format": data_format, "dtype": "float64"}
    chain: list[Layer] = []
    for _ in range(draw(st.integers(2, 4))):
        kind = draw(st.sampled_from(["conv", "depthwise", "separable", "max", "min", "avg"]))
        size = draw(_SIZES), draw(_SIZES)
        strides = draw(_STRIDES), draw(_STRIDES)
        word = draw(st.sampled_from(["linear", "tanh", "swish"]))
        if kind == "conv":
            chain.append(Conv2D(3, size, strides, activation=word, **options))
        elif kind == "depthwise":
            chain.append(DepthwiseConv2D(size, strides[:1] * 2, activation=word, **options))
        elif kind == "separable":
            rate = draw(_STRIDES)
            chain.append(SeparableConv2D(2, size, dilation_rate=rate, activation=word, **options))
        else:
            pooling = {"max": MaxPooling2D, "min": MinPooling2D, "avg": AveragePooling2D}[kind]
            chain.append(pooling(size, strides, **options))
        if draw(st.booleans()):
            chain.append(LeakyReLU(0.25, dtype="float64"))
    return chain


@given(chains(), st.integers(40, 60), st.integers(40, 60), st.integers(0, 9))
def test_results_are_those_of_the_layers_in_turn(
    chain: list[Layer], height: int, width: int, seed: int
) -> None:
    first = chain[0]
    last = getattr(first, "data_format", None) == "channels_last"
    shape = (2, height, width, 2) if last else (2, 2, height, width)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    model = Sequential(chain, seed=seed)
    expected: Array = x
    ways = []
    for layer in chain:
        expected, way = layer.forward(expected)
        ways.append(way)
    y, backprop = model.forward(x, training=True)
    for made in (y, model(x), model.predict(x)):
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)
    gradient: Any = dy
    others: list[Array] = []
    for way in reversed(ways):
        gradient, own = way(gradient)
        others = own + others
    for one, other in zip([dx, *grads], [gradient, *others], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * (1 + np.abs(other).max()))


def test_what_is_not_read_has_no_say_and_no_gradient() -> None:
    model = Sequential(
        [Conv2D(4, 3, activation="relu"), MaxPooling2D(), Conv2D(4, 3), MaxPooling2D()], seed=0
    )
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 28, 28, 1)).astype(np.float32)
    spoilt = x.copy()
    spoilt[:, 26:] = spoilt[:, :, 26:] = np.nan
    assert_same_bits(model(spoilt), model(x))
    assert_same_bits(model.predict(spoilt), model.predict(x))
    y, backprop = model.forward(spoilt, training=True)
    dx, grads = backprop(np.ones_like(y))
    assert isinstance(dx, np.ndarray)
    assert dx.shape == x.shape
    assert np.isfinite(dx).all()
    assert not dx[:, 26:].any()
    assert not dx[:, :, 26:].any()
    assert dx[:, 25].any()
    assert all(np.isfinite(gradient).all() for gradient in grads)


def test_gradients_by_finite_differences() -> None:
    options: dict[str, Any] = {"dtype": "float64", "data_format": "channels_first"}
    model = Sequential(
        [Conv2D(3, 3, activation="tanh", **options), AveragePooling2D(2, **options),
         Conv2D(2, 2, **options), AveragePooling2D(3, **options)],
        seed=0,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    x, direction = rng.standard_normal((2, 2, 2, 17, 18))
    y, backprop = model.forward(x, training=True)
    assert [part.stop for part in _reach.reached(model.layers, x.shape)] == [None, None, 16, 16]
    dy = rng.standard_normal(y.shape)
    dx, _ = backprop(dy)
    assert isinstance(dx, np.ndarray)
    expected = gradients.slope(model, x, direction, dy)
    assert float(np.sum(dx * direction)) == pytest.approx(expected, rel=1e-6, abs=1e-7)
