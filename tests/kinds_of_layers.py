"""Every kind of layer with one input, as a parameter of tests."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import pytest

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
    UpSampling2D,
    ZeroPadding2D,
)

Array = npt.NDArray[Any]
ACTIVATIONS = ("linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "swish")
FORMATS = ("channels_last", "channels_first")


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
