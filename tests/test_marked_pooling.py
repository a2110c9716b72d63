"""Max pooling in training, whose way back needs marks instead of x: the bits of the public way."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from closeness import assert_same_bits
from fastconv import functional
from fastconv._fastconv_core import (
    marked_max_pool2d,
    marked_max_pool2d_backward,
    output_pool_held,
)
from fastconv.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models import Sequential

Array = npt.NDArray[Any]
_Format = Literal["channels_last", "channels_first"]
FORMATS: tuple[_Format, ...] = ("channels_last", "channels_first")
WORDS: dict[str, Any] = {"strides": (2, 2), "padding": "valid"}


def images(shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers of few values, so that windows have ties, with NaN and zeros of both signs."""
    rng = np.random.default_rng(sum(shape))
    x = np.asarray(rng.integers(-4, 9, shape), dtype)
    x.flat[rng.integers(0, x.size, 1 + x.size // 20)] = np.nan
    x.flat[rng.integers(0, x.size, 1 + x.size // 9)] = -0.0
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_marks_tell_what_the_way_back_needs(isa: str, data_format: _Format, dtype: str) -> None:
    """With few channels and many, lines that vectors fill and do not, one thread and several."""
    last = data_format == "channels_last"
    met = 0
    for n, h, w, c in itertools.product((1, 3), (2, 5), (2, 7, 8, 26, 35), (1, 2, 3, 6, 8, 17, 32)):
        x = images((n, h, w, c) if last else (n, c, h, w), dtype)
        found = marked_max_pool2d(x, 2, data_format=data_format, **WORDS)
        if found is None:
            continue
        met += 1
        y, marks = found
        assert_same_bits(y, functional.max_pool2d(x, data_format=data_format))
        assert marks.dtype.itemsize == x.itemsize
        dy = np.random.default_rng(0).standard_normal(y.shape).astype(dtype)
        for activation in (None, "relu", "relu6"):
            gated = functional.activation_backward(dy, y, activation) if activation else dy
            dx = marked_max_pool2d_backward(
                dy, marks, x.shape, activation, 2, data_format=data_format, **WORDS
            )
            expected = functional.max_pool2d_backward(gated, x, data_format=data_format)
            assert_same_bits(dx, expected)
    assert met > 70, "most of these shapes have marks"


def test_a_gradient_of_any_layout_is_taken(isa: str) -> None:
    x = images((2, 8, 10, 5), "float32")
    found = marked_max_pool2d(x, 2, data_format="channels_last", **WORDS)
    assert found is not None
    y, marks = found
    dy = np.random.default_rng(0).standard_normal(y.shape[::-1]).astype("float32").transpose()
    dx = marked_max_pool2d_backward(
        dy, marks, x.shape, None, 2, data_format="channels_last", **WORDS
    )
    assert_same_bits(dx, functional.max_pool2d_backward(dy, x))


@pytest.mark.parametrize(
    ("x", "pool_size", "words"),
    [
        (np.ones((1, 6, 6, 2)), 3, WORDS),
        (np.ones((1, 6, 6, 2)), 2, {**WORDS, "strides": (1, 1)}),
        (np.ones((1, 5, 5, 2)), 2, {**WORDS, "padding": "same"}),
        (np.ones((1, 1, 5, 2)), 2, WORDS),
        (np.ones((1, 6, 12, 2))[:, :, ::2], 2, WORDS),
    ],
    ids=["3x3", "overlapping", "padded", "no window", "not contiguous"],
)
def test_what_has_no_marks_is_left_to_others(
    x: Array, pool_size: int, words: dict[str, Any]
) -> None:
    assert marked_max_pool2d(x, pool_size, data_format="channels_last", **words) is None


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "tanh"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_a_layer_gives_the_bits_it_gave(data_format: str, activation: str | None) -> None:
    """The gradients of a chain, against those of its layers called one by one."""
    words: dict[str, Any] = {"data_format": data_format}
    conv, pool = Conv2D(6, 3, activation=activation, **words), MaxPooling2D(**words)
    model = Sequential([conv, pool, Flatten(), Dense(3)], seed=0)
    x = np.random.default_rng(0).standard_normal((4, 12, 12, 2)).astype("float32") * 4
    x = x if data_format == "channels_last" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    y, back = model.forward(x, training=True)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    dx, grads = back(dy)
    steps = []
    for layer in model.layers:
        x, way = layer.forward(x)
        steps.append(way)
    expected: Any = dy
    own: list[Array] = []
    for way in reversed(steps):
        expected, found = way(expected)
        own = found + own
    assert_same_bits(dx, expected)
    for a, b in zip(grads, own, strict=True):
        assert_same_bits(a, b)
    again, _ = back(dy)
    assert_same_bits(again, dx)


@pytest.mark.usefixtures("empty_pool")
def test_what_was_pooled_is_given_back_before_the_way_back() -> None:
    """Of a training step, the output of a layer is gone once it is pooled."""
    model = Sequential(
        [Conv2D(32, 3, activation="relu", input_shape=(66, 66, 16)), MaxPooling2D()], seed=0
    )
    x = np.zeros((32, 66, 66, 16), np.float32)
    _, back = model.forward(x, training=True)
    assert output_pool_held() >= 32 * 64 * 64 * 32 * x.itemsize
    del back
