"""Convolution, dense and pooling layers against PyTorch and the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.ma
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

import pytorch
import reference
from fastconv.layers import (
    AveragePooling2D,
    Conv2D,
    Dense,
    MaxPooling2D,
    MinPooling2D,
)

Array = npt.NDArray[Any]
ACTIVATIONS = ("linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "swish")
FORMATS = ("channels_last", "channels_first")
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}


def image(rng: np.random.Generator, channels: int, data_format: str, size: int = 9) -> Array:
    shape = (2, size, size + 2, channels)
    x = rng.standard_normal(shape)
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


@given(st.data())
def test_conv2d_against_torch(data: st.DataObject) -> None:
    torch = pytorch.torch()
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]), "groups")
    channels, filters = (groups * draw(st.integers(1, 5)) for _ in range(2))
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "kernel_size")
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "strides")
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), "dilation_rate")
    padding = draw(st.sampled_from(["valid", "same"]), "padding")
    data_format = draw(st.sampled_from(FORMATS), "data_format")
    name = draw(st.sampled_from([name for name in ACTIVATIONS if name != "softmax"]), "activation")
    dtype = draw(st.sampled_from(["float32", "float64"]), "dtype")
    rng = np.random.default_rng(draw(st.integers(0, 99), "seed"))
    layer = Conv2D(
        filters, size, strides, padding, data_format, dilation, groups, name, dtype=dtype,
        bias_initializer="glorot_uniform",
    )  # fmt: skip
    x = image(rng, channels, data_format).astype(dtype)
    layer.build(x.shape, rng)
    y, backprop = layer.forward(x, training=True)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx, (dkernel, dbias) = backprop(dy)

    image_size = _first(x, data_format).shape[2:]
    axes = [
        reference.make_axis(dimension, image_size, size, strides, padding, dilation)
        for dimension in (0, 1)
    ]
    x_t, kernel_t, bias_t = (
        torch.tensor(np.ascontiguousarray(a), requires_grad=True)
        for a in (_first(x, data_format), layer.kernel.transpose(3, 2, 0, 1), layer.bias)
    )
    (top, bottom), (left, right) = ((axis.before, axis.after) for axis in axes)
    padded = torch.nn.functional.pad(x_t, (left, right, top, bottom))
    y_t = torch.nn.functional.conv2d(
        padded, kernel_t, bias_t, strides, dilation=dilation, groups=groups
    )
    y_t = in_torch(torch, name)(y_t)
    y_t.backward(torch.tensor(np.ascontiguousarray(_first(dy, data_format))))

    assert dx is not None
    tolerance = TOLERANCES[dtype]
    for ours, theirs in (
        (_first(y, data_format), y_t.detach()),
        (_first(dx, data_format), x_t.grad),
        (dkernel.transpose(3, 2, 0, 1), kernel_t.grad),
        (dbias, bias_t.grad),
    ):
        assert ours.dtype == dtype
        scale = max(1.0, float(np.abs(ours).max()))
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=tolerance * scale)


@given(
    st.integers(0, 4), st.integers(1, 20), st.integers(1, 20), st.sampled_from(ACTIVATIONS),
    st.booleans(), st.sampled_from(["float32", "float64"]), st.integers(0, 99),
)  # fmt: skip
def test_dense_against_torch(
    n: int, c_in: int, units: int, name: str, use_bias: bool, dtype: str, seed: int
) -> None:
    torch = pytorch.torch()
    rng = np.random.default_rng(seed)
    layer = Dense(units, name, use_bias, bias_initializer="glorot_uniform", dtype=dtype)
    x = rng.standard_normal((n, c_in)).astype(dtype)
    layer.build(x.shape, rng)
    y, backprop = layer.forward(x, training=True)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx, grads = backprop(dy)

    given_t = [torch.tensor(np.array(a), requires_grad=True) for a in (x, *layer.get_weights())]
    y_t = in_torch(torch, name)(sum(given_t[2:], given_t[0] @ given_t[1]))
    y_t.backward(torch.tensor(dy))
    theirs = [y_t.detach(), *(tensor.grad for tensor in given_t)]
    for our, their in zip([y, dx, *grads], theirs, strict=True):
        np.testing.assert_allclose(our, their.numpy(), rtol=0, atol=20 * TOLERANCES[dtype])


@given(
    st.sampled_from([MaxPooling2D, MinPooling2D, AveragePooling2D]), st.integers(1, 3),
    st.sampled_from([None, 1, 2]), st.sampled_from(["valid", "same"]), st.sampled_from(FORMATS),
    st.integers(0, 99),
)  # fmt: skip
def test_pooling_against_reference(
    kind: Any, size: int, strides: int | None, padding: str, data_format: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    word = {MaxPooling2D: "max", MinPooling2D: "min", AveragePooling2D: "avg"}[kind]
    geometry = {"strides": strides, "padding": padding, "data_format": data_format}
    x = image(rng, 3, data_format)
    layer = kind(size, dtype="float64", **geometry)
    y, backprop = layer.forward(x, training=True)
    np.testing.assert_allclose(y, getattr(reference, f"{word}_pool2d")(x, size, **geometry))
    dy = rng.standard_normal(y.shape)
    about = x.shape if word == "avg" else x
    expected = getattr(reference, f"{word}_pool2d_backward")(dy, about, size, **geometry)
    np.testing.assert_allclose(backprop(dy)[0], expected, atol=1e-14)


def in_torch(torch: Any, name: str) -> Any:
    functions = {
        "linear": lambda x: x,
        "swish": torch.nn.functional.silu,
        "softmax": lambda x: torch.softmax(x, -1),
        "relu6": torch.nn.functional.relu6,
    }
    return functions.get(name) or getattr(torch, name)


def _first(x: Array, data_format: str) -> Array:
    return x if data_format == "channels_first" else np.moveaxis(x, -1, 1)
