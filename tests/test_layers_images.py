"""The layers that give images another size, border or scale, against Keras and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import in_keras
import pytorch
from fastconv.layers import (
    AveragePooling2D,
    AvgPool2D,
    CenterCrop,
    Conv2D,
    Cropping2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
    Rescaling,
    Resizing,
    UpSampling2D,
    ZeroPadding2D,
)

FORMATS = st.sampled_from(["channels_last", "channels_first"])
DTYPES = st.sampled_from(["float32", "float64"])
SEEDS = st.integers(0, 99)
SIDES = st.integers(0, 3)
NUMBERS = st.floats(-3, 3)


def images(rng: np.random.Generator, data_format: str, least: int = 7) -> Any:
    size = (2, *(int(side) for side in rng.integers(least, least + 6, 2)), 3)
    x = rng.standard_normal(size)
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


def compare(name: str, kind: Any, seed: int, least: int = 7, **options: Any) -> None:
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    x = images(rng, options["data_format"], least)
    in_keras.assert_same_layer(kind(**options), getattr(keras.layers, name)(**options), x, rng)


@given(
    st.sampled_from([ZeroPadding2D, Cropping2D]), FORMATS, DTYPES, SEEDS,
    st.one_of(
        SIDES, st.tuples(SIDES, SIDES), st.tuples(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
    ),
)  # fmt: skip
def test_borders_against_keras(
    kind: Any, data_format: str, dtype: str, seed: int, border: Any
) -> None:
    word = "padding" if kind is ZeroPadding2D else "cropping"
    compare(kind.__name__, kind, seed, data_format=data_format, dtype=dtype, **{word: border})


@given(
    st.sampled_from([GlobalAveragePooling2D, GlobalMaxPooling2D]), FORMATS, DTYPES, SEEDS,
    st.booleans(),
)  # fmt: skip
def test_global_pooling_against_keras(
    kind: Any, data_format: str, dtype: str, seed: int, keepdims: bool
) -> None:
    if kind is GlobalAveragePooling2D:
        dtype = "float32"  # in which Keras takes the mean of float64, too
    compare(kind.__name__, kind, seed, data_format=data_format, dtype=dtype, keepdims=keepdims)


@given(
    st.sampled_from([MaxPooling2D, AveragePooling2D]), FORMATS, DTYPES, SEEDS, st.integers(1, 3),
    st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_pooling_against_keras(
    kind: Any, data_format: str, dtype: str, seed: int, size: int, strides: int | None
) -> None:
    compare(
        kind.__name__, kind, seed, pool_size=size, strides=strides, data_format=data_format,
        dtype=dtype,
    )  # fmt: skip


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.sampled_from(["nearest", "bilinear"]),
    FORMATS, DTYPES, SEEDS,
)  # fmt: skip
def test_upsampling_against_keras(
    size: tuple[int, int], interpolation: str, data_format: str, dtype: str, seed: int
) -> None:
    compare(
        "UpSampling2D", UpSampling2D, seed, size=size, interpolation=interpolation,
        data_format=data_format, dtype=dtype,
    )  # fmt: skip


@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from(["", "crop", "pad"]), st.booleans(),
    FORMATS, DTYPES, SEEDS,
)  # fmt: skip
def test_bilinear_resizing_against_keras(
    height: int, width: int, aspect: str, antialias: bool, data_format: str, dtype: str, seed: int
) -> None:
    if width == 1:
        antialias = False  # PyTorch gives every row the first one's values there
    extra = {f"{aspect}_to_aspect_ratio": True} if aspect else {}
    compare(
        "Resizing", Resizing, seed, height=height, width=width, antialias=antialias,
        data_format=data_format, dtype=dtype, fill_value=0.5, **extra,
    )  # fmt: skip


@given(st.integers(1, 20), st.integers(1, 20), FORMATS, SEEDS)
def test_nearest_resizing_against_torch(
    height: int, width: int, data_format: str, seed: int
) -> None:
    torch = pytorch.torch()
    rng = np.random.default_rng(seed)
    x = images(rng, data_format)
    layer = Resizing(height, width, "nearest", data_format=data_format, dtype="float64")
    y, backprop = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    x_t, dy_t = (
        torch.tensor(np.ascontiguousarray(
            a if data_format == "channels_first" else np.moveaxis(a, -1, 1)
        ))
        for a in (x, dy)
    )  # fmt: skip
    x_t.requires_grad_()
    y_t = torch.nn.functional.interpolate(x_t, (height, width), mode="nearest-exact")
    y_t.backward(dy_t)
    theirs = [a.numpy() for a in (y_t.detach(), x_t.grad)]
    if data_format == "channels_last":
        theirs = [np.moveaxis(a, 1, -1) for a in theirs]
    np.testing.assert_array_equal(y, theirs[0])
    np.testing.assert_allclose(backprop(dy)[0], theirs[1], atol=1e-13)


@given(st.integers(1, 15), st.integers(1, 15), FORMATS, DTYPES, SEEDS)
def test_center_crop_against_keras(
    height: int, width: int, data_format: str, dtype: str, seed: int
) -> None:
    """Where the image is smaller than the window, too: it is resized there."""
    compare(
        "CenterCrop", CenterCrop, seed, height=height, width=width, data_format=data_format,
        dtype=dtype,
    )  # fmt: skip


@given(
    NUMBERS, st.one_of(NUMBERS, st.lists(NUMBERS, min_size=3, max_size=3)), DTYPES, SEEDS,
)  # fmt: skip
def test_rescaling_against_keras(scale: float, offset: Any, dtype: str, seed: int) -> None:
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    options = {"scale": scale, "offset": offset, "dtype": dtype}
    x = rng.standard_normal((2, 4, 5, 3))
    in_keras.assert_same_layer(Rescaling(**options), keras.layers.Rescaling(**options), x, rng)


# ---------------------------------------------------------------------------------------- facts


def test_keras_has_these_names_too() -> None:
    assert MaxPool2D is MaxPooling2D
    assert AvgPool2D is AveragePooling2D


def test_two_photographs_to_feature_maps() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    photographs = datasets.load_sample_images().images
    assert [photograph.shape for photograph in photographs] == [(427, 640, 3)] * 2
    x = CenterCrop(height=70, width=120)(photographs)
    x = Rescaling(scale=1 / 255)(x)
    expected = np.stack(photographs)[:, 178:248, 260:380].astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(x, expected)
    conv = Conv2D(filters=32, kernel_size=7)
    assert conv(x).shape == (2, 64, 114, 32)
    kernels, biases = conv.get_weights()
    assert (kernels.shape, biases.shape) == ((7, 7, 3, 32), (32,))


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    x = np.random.default_rng(0).standard_normal((1, 5, 6, 2)).astype(np.float32)
    for interpolation in ("nearest", "bilinear"):
        np.testing.assert_array_equal(Resizing(5, 6, interpolation)(x), x)


def test_a_nan_stays_in_its_neighbourhood() -> None:
    x = np.zeros((1, 8, 8, 1))
    x[0, 0, 0] = np.nan
    spread = np.isnan(UpSampling2D(2, interpolation="bilinear")(x)[0, :, :, 0])
    assert spread[:3, :3].all()
    assert spread.sum() == 9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(
    ("n_in", "n_out"), [(4, 4), (4, 8), (7, 3), (5, 7), (8, 5), (9, 1), (1, 6)]
)
def test_what_is_not_finite_reaches_whom_it_would_as_a_one(
    n_in: int, n_out: int, antialias: bool, broken: float
) -> None:
    layer = Resizing(1, n_out, antialias=antialias, dtype="float64")
    for place in range(n_in):
        x = np.zeros((1, 1, n_in, 1))
        x[0, 0, place] = 1
        reached = layer(x) != 0
        x[0, 0, place] = broken
        np.testing.assert_array_equal(~np.isfinite(layer(x)), reached)
    _, backprop = layer.forward(np.zeros((1, 1, n_in, 1)))
    for place in range(n_out):
        dy = np.zeros((1, 1, n_out, 1))
        dy[0, 0, place] = 1
        reached = backprop(dy)[0] != 0
        dy[0, 0, place] = broken
        np.testing.assert_array_equal(~np.isfinite(backprop(dy)[0]), reached)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ZeroPadding2D(-1), ValueError, r"padding\[0\] must be at least 0, received -1"),
        (lambda: ZeroPadding2D((1, 2, 3)), TypeError, r"padding .* received \(1, 2, 3\)"),
        (lambda: ZeroPadding2D(((1, 2), "ab")), TypeError, "padding must be an integer, a pair"),
        (lambda: Cropping2D(((1, 2), (1, -2))), ValueError, r"cropping\[1\]\[1\] .* -2"),
        (lambda: Cropping2D(True), TypeError, r"cropping\[0\] must be an integer .* True"),
        (lambda: UpSampling2D(0), ValueError, "size must be at least 1, received 0"),
        (lambda: UpSampling2D(interpolation="bicubic"), ValueError, "interpolation .* 'bicubic'"),
        (lambda: Resizing(0, 5), ValueError, "height must be at least 1, received 0"),
        (lambda: Resizing(5, 5, "area"), ValueError, "interpolation must be 'nearest' or"),
        (lambda: Resizing(5, 5, fill_mode="edge"), ValueError, "fill_mode .* received 'edge'"),
        (lambda: Resizing(5, 5, "bilinear", True, True), ValueError, "must not both be True"),
        (lambda: Resizing(5, 5, bounding_box_format="xy"), TypeError, "'bounding_box_format'"),
        (lambda: CenterCrop(5, 2.5), TypeError, "width must be an integer .* received 2.5"),
        (lambda: Rescaling("1/255"), TypeError, "scale must be a number"),
        (lambda: Rescaling(np.array(2.0)), TypeError, r"scale must be a number.*array\(2"),
        (lambda: Rescaling(1, [1, "b"]), TypeError, r"offset\[1\] must be a number"),
        (lambda: GlobalMaxPooling2D(keepdims=1), TypeError, "keepdims must be True or False"),
        (lambda: GlobalMaxPooling2D("NHWC"), ValueError, "data_format .* received 'NHWC'"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (Cropping2D(2), (1, 4, 9, 3), r"'cropping2d' would crop .* 4, 9, 3\).* \(0, 5\)"),
        (ZeroPadding2D(), (1, 4, 9), "'zero_padding2d' takes inputs of rank 4"),
        (Resizing(2, 2), (1, 0, 4, 3), r"without pixels cannot be resized.*\(1, 0, 4, 3\)"),
        (Rescaling([1.0, 2.0]), (1, 4, 9, 3), r"'rescaling' has 2 numbers in scale.*9, 3\)"),
        (UpSampling2D(), (4, 9, 3), "'up_sampling2d' takes inputs of rank 4"),
    ],
)
def test_inputs_that_do_not_fit(layer: Any, shape: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer(np.zeros(shape))
