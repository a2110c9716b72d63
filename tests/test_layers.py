"""The layers against PyTorch, against finite differences, and by their protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.ma
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradients
import pytorch
import reference
from closeness import assert_same_bits
from fastconv import activations
from fastconv.activations import ActivationFunction
from fastconv.layers import (
    ELU,
    Activation,
    AveragePooling2D,
    BatchNormalization,
    CenterCrop,
    Conv2D,
    Conv2DTranspose,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    Layer,
    LayerNormalization,
    LeakyReLU,
    MaxPooling2D,
    MinPooling2D,
    PReLU,
    ReLU,
    Rescaling,
    Reshape,
    Resizing,
    SeparableConv2D,
    Softmax,
    SpatialDropout2D,
    Step,
    UpSampling2D,
    ZeroPadding2D,
)

Array = npt.NDArray[Any]
ACTIVATIONS = ("linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "swish")
FORMATS = ("channels_last", "channels_first")
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}


def image(rng: np.random.Generator, channels: int, data_format: str, size: int = 9) -> Array:
    shape = (2, size, size + 2, channels)
    x = rng.standard_normal(shape)
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


def some_layers() -> list[tuple[Layer, tuple[int, ...]]]:
    """Every kind of layer with one input, in float64, with an input shape."""
    made: list[tuple[Layer, tuple[int, ...]]] = []
    for data_format in FORMATS:
        shape = (2, 7, 8, 4) if data_format == "channels_last" else (2, 4, 7, 8)
        axis = 3 if data_format == "channels_last" else 1
        options: dict[str, Any] = {"data_format": data_format, "dtype": "float64"}
        made += [
            (layer, shape)
            for layer in (
                Conv2D(6, (3, 2), 2, "same", groups=2, activation="swish", **options),
                Conv2D(3, 2, dilation_rate=2, use_bias=False, activation="relu", **options),
                Conv2D(3, 1, activation="softmax", **options),
                DepthwiseConv2D((3, 2), 2, "same", 2, activation="tanh", **options),
                SeparableConv2D(5, 3, depth_multiplier=2, activation="relu", **options),
                Conv2DTranspose(3, 3, 2, "same", activation="relu", **options),
                Conv2DTranspose(2, (2, 3), use_bias=False, **options),
                MaxPooling2D(2, **options),
                MinPooling2D((3, 2), 1, "same", **options),
                AveragePooling2D(3, 2, "same", **options),
                GlobalAveragePooling2D(**options),
                GlobalMaxPooling2D(keepdims=True, **options),
                ZeroPadding2D(((1, 0), (2, 3)), **options),
                Cropping2D(((1, 0), (2, 3)), **options),
                CenterCrop(4, 5, **options),
                CenterCrop(9, 5, **options),
                UpSampling2D((2, 3), **options),
                UpSampling2D((2, 3), interpolation="bilinear", **options),
                Resizing(5, 11, **options),
                Resizing(3, 3, antialias=True, crop_to_aspect_ratio=True, **options),
                Resizing(9, 4, "nearest", pad_to_aspect_ratio=True, **options),
                BatchNormalization(axis, dtype="float64"),
                BatchNormalization(axis, scale=False, trainable=False, dtype="float64"),
                LayerNormalization([1, 2], dtype="float64"),
                PReLU("he_normal", shared_axes=[2, 3], dtype="float64"),
                SpatialDropout2D(0.5, seed=1, **options),
                Flatten(**options),
            )
        ]
    flat: list[Layer] = [
        LayerNormalization(dtype="float64"),
        LayerNormalization(center=False, dtype="float64"),
        BatchNormalization(center=False, dtype="float64"),
        ReLU(2.0, 0.25, 0.5, dtype="float64"),
        LeakyReLU(dtype="float64"),
        PReLU("glorot_uniform", dtype="float64"),
        ELU(0.7, dtype="float64"),
        Dropout(0.5, seed=1, dtype="float64"),
        Rescaling([1.0, 2.0, 3.0, 4.0], 0.5, dtype="float64"),
        Reshape((2, -1), dtype="float64"),
        Softmax(axis=1, dtype="float64"),
        Softmax(axis=[1, 2], dtype="float64"),
        Input((3, 4), dtype="float64"),
        Dense(5, use_bias=False, activation="relu6", dtype="float64"),
    ]
    made += [(layer, (2, 3, 4)) for layer in flat]
    made += [(Dense(5, activation="tanh", dtype="float64"), (3, 4))]
    made += [(Activation(name, dtype="float64"), (3, 5)) for name in ACTIVATIONS]
    return made


def layer_ids(case: object) -> str | None:
    return type(case).__name__ if isinstance(case, Layer) else None


every_layer = pytest.mark.parametrize(("layer", "shape"), some_layers(), ids=layer_ids)


# ------------------------------------------------------------------------------------ gradients


@every_layer
def test_gradients_by_finite_differences(layer: Layer, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x = 3 * rng.standard_normal(shape)
    layer.build(shape, rng)
    step = Step(seed=5, number=0)

    def function(x: Array) -> Array:
        return layer.forward(x, training=step)[0]

    y, backprop = layer.forward(x, training=step)
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)

    assert dx is not None
    direction = rng.standard_normal(shape)
    expected = gradients.slope(function, x, direction, dy)
    assert np.sum(dx * direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)

    weights = layer.get_weights()
    assert [g.shape for g in grads] == [w.shape for w in layer.trainable_weights]
    for index, gradient in enumerate(grads):

        def output(value: Array, index: int = index) -> Array:
            layer.set_weights([*weights[:index], value, *weights[index + 1 :]])
            return function(x)

        direction = rng.standard_normal(gradient.shape)
        expected = gradients.slope(output, weights[index], direction, dy)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)


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


# ---------------------------------------------------------------------------------------- facts


def test_parameters_of_a_convolution_and_of_the_dense_layer_in_its_place() -> None:
    conv, dense = Conv2D(6, 5), Dense(28 * 28 * 6)
    conv.build((None, 32, 32, 3))
    dense.build((None, 32 * 32 * 3))
    assert conv.count_params() == 456
    assert dense.count_params() == 14_455_392
    assert conv.output_shape == (None, 28, 28, 6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (MaxPooling2D, [[20, 30], [111, 33]]),
        (MinPooling2D, [[8, 0], [34, 5]]),
        (AveragePooling2D, [[13.25, 8.25], [73.75, 17.75]]),
    ],
)
def test_pooling_of_a_known_image(kind: Any, expected: list[list[float]]) -> None:
    x = [[13, 20, 30, 0], [8, 12, 3, 0], [34, 70, 33, 5], [111, 80, 10, 23]]
    assert kind()(np.array(x)[None, :, :, None])[0, :, :, 0].tolist() == expected


def test_a_kernel_set_by_hand() -> None:
    x = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    layer = Conv2D(1, 3, use_bias=False, input_shape=(5, 5, 1))
    layer.build((None, 5, 5, 1))
    layer.kernel = np.float32([[1, 0, 1], [0, 1, 0], [1, 0, 1]])[:, :, None, None]
    y = layer(np.array(x)[None, :, :, None])
    assert y[0, :, :, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


@pytest.mark.parametrize(
    ("layer", "given_shape", "expected"),
    [
        (Conv2D(8, 3, 2, "same"), (None, 15, None, 3), (None, 8, None, 8)),
        (Conv2D(8, 3, data_format="channels_first"), (4, 3, 9, 9), (4, 8, 7, 7)),
        (MaxPooling2D(3, 2), (None, 15, 15, None), (None, 7, 7, None)),
        (AveragePooling2D(2, padding="same"), (None, None, 5, 3), (None, None, 3, 3)),
        (Flatten(), (None, 3, 4, 5), (None, 60)),
        (Flatten(), (None, None, 4, 5), (None, None)),
        (Flatten(), (None,), (None, 1)),
        (Dense(7), (None, 3, 4), (None, 3, 7)),
        (Activation("relu"), (None, 3), (None, 3)),
    ],
)
def test_output_shapes(layer: Layer, given_shape: Any, expected: Any) -> None:
    assert layer.compute_output_shape(given_shape) == expected
    assert not layer.built


@every_layer
def test_output_shape_is_that_of_the_output(layer: Layer, shape: tuple[int, ...]) -> None:
    assert layer.compute_output_shape(shape) == layer(np.zeros(shape)).shape
    assert layer(np.zeros((0, *shape[1:]))).shape == (0, *layer.compute_output_shape(shape)[1:])


def test_flatten_gives_the_same_rows_in_both_data_formats() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    first = np.moveaxis(x, -1, 1)
    np.testing.assert_array_equal(Flatten()(x), Flatten("channels_first")(first))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_and_its_gradient_select_and_never_multiply(dtype: str) -> None:
    x = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, 7.0, np.inf], dtype)
    dy = np.array([np.inf, np.nan, -1.0, -2.0, -3.0, -np.inf, np.nan], dtype)
    for name, y, dx in (
        ("relu", [0, 0, 0, 0, 1, 7, np.inf], [0, 0, 0, 0, -3, -np.inf, np.nan]),
        ("relu6", [0, 0, 0, 0, 1, 6, 6], [0, 0, 0, 0, -3, 0, 0]),
    ):
        found, pull = activations.get(name).forward(x)
        assert_same_bits(found, np.array(y, dtype))
        assert_same_bits(pull(dy), np.array(dx, dtype))


def test_activation_keeps_nan() -> None:
    for name in ("relu", "relu6"):
        assert np.isnan(Activation(name)([[np.nan]])).all()
        assert np.isnan(Dense(1, name, kernel_initializer="ones")([[np.nan]])).all()


def test_an_activation_of_ones_own() -> None:
    square = ActivationFunction(
        "square", lambda x: x * x, lambda dy, y, x: 2 * dy * x, needs_input=True
    )
    layer = Dense(1, square, kernel_initializer="ones")
    y, backprop = layer.forward([[1.0, 2.0]])
    assert y.tolist() == [[9.0]]
    dx, _ = backprop([[1.0]])
    assert dx is not None
    assert dx.tolist() == [[6.0, 6.0]]
    assert activations.get(square) is square


# ------------------------------------------------------------------------------------- protocol


@every_layer
def test_without_need_dx_it_is_not_computed(layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    y, backprop = layer.forward(x, training=True)
    dx, grads = backprop(np.ones_like(y))
    nothing, same = backprop(np.ones_like(y), need_dx=False)
    assert dx is not None
    assert nothing is None
    assert len(same) == len(grads)
    for ours, theirs in zip(same, grads, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_layer
def test_a_frozen_layer_gives_dx_and_no_grads(layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    y, backprop = layer.forward(x)
    layer.trainable = False
    try:
        assert layer.trainable_weights == []
        _, frozen = layer.forward(x)
    finally:
        layer.trainable = True
    dx, grads = frozen(np.ones_like(y))
    assert grads == []
    np.testing.assert_array_equal(dx, backprop(np.ones_like(y))[0])
    assert frozen(np.ones_like(y), need_dx=False) == (None, [])


@every_layer
def test_prepared_it_computes_the_same(layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(layer.prepare(x.shape)(x), layer(x), rtol=0, atol=1e-13)


def test_two_calls_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(0)
    layer = Conv2D(4, 3, activation="relu")
    first, second = rng.standard_normal((2, 1, 6, 6, 3))
    y, backprop = layer.forward(first)
    expected = backprop(np.ones_like(y))
    y, backprop = layer.forward(first)
    layer.forward(second)[1](np.ones_like(y))
    layer.kernel = np.zeros_like(layer.kernel)
    found = backprop(np.ones_like(y))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1][0], expected[1][0])


def test_many_threads_build_a_layer_once() -> None:
    layer = Conv2D(8, 3, activation="tanh")
    x = np.random.default_rng(0).standard_normal((2, 12, 12, 3))

    def use(_: int) -> tuple[Array, Array]:
        y, backprop = layer.forward(x)
        return y, backprop(np.ones_like(y))[1][0]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(use, range(32)))
    for y, dkernel in results:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dkernel, results[0][1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_and_gradients_are_cast(dtype: str) -> None:
    layer = Dense(2, kernel_initializer="ones", dtype=dtype)
    for x in ([[1, 2]], np.array([[1, 2]], np.uint8), np.array([[1, 2]], ">f8"), [[True, 2]]):
        y, backprop = layer.forward(x)
        dx, grads = backprop([[1, 1]])
        assert dx is not None
        assert {a.dtype for a in (y, dx, *grads)} == {np.dtype(dtype)}


def test_defaults_are_those_of_keras() -> None:
    conv, pool = Conv2D(4, 3), MaxPooling2D()
    assert (conv.strides, conv.padding, conv.dilation_rate, conv.groups) == (
        (1, 1),
        "valid",
        (1, 1),
        1,
    )
    assert (conv.data_format, conv.use_bias, conv.dtype) == ("channels_last", True, np.float32)
    assert conv.activation is activations.linear
    assert type(conv.kernel_initializer).__name__ == "GlorotUniform"
    assert type(conv.bias_initializer).__name__ == "Zeros"
    assert (pool.pool_size, pool.strides, pool.padding) == ((2, 2), (2, 2), "valid")


# -------------------------------------------------------------------------------------- weights


def test_weights_are_read_only_and_replaced() -> None:
    layer = Dense(2)
    layer([[1.0, 2.0]])
    with pytest.raises(ValueError, match="read-only"):
        layer.kernel[0, 0] = 1.0
    given = np.ones((2, 2), np.float32)
    layer.kernel = given
    given[0, 0] = 5.0
    assert layer.kernel.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    copies = layer.get_weights()
    copies[0][0, 0] = 5.0
    assert layer.kernel[0, 0] == 1.0
    assert list(layer.named_weights) == ["dense/kernel", "dense/bias"]


def test_set_weights_takes_all_or_none() -> None:
    layer = Dense(2)
    layer([[1.0, 2.0, 3.0]])
    before = layer.get_weights()
    kernel, bias = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    for wrong in ([kernel], [kernel, bias, bias], [kernel, bias[:1]], [kernel, bias.astype("f8")]):
        with pytest.raises(ValueError, match="dense"):
            layer.set_weights(wrong)
        for old, now in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, now)
    layer.set_weights([kernel, [1, 2]])
    assert layer.get_weights()[1].tolist() == [1.0, 2.0]


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Conv2D(0, 3), ValueError, "filters must be at least 1, received 0"),
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
