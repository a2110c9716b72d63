"""Every layer can be described, and made again from its description."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest

from fastconv import layers
from fastconv.layers import Layer
from fastconv.models import _architecture

NEEDED: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "tanh"},
    "CenterCrop": {"height": 3, "width": 4},
    "Conv2D": {"filters": 4, "kernel_size": 3, "padding": ((1, 0), (0, 2))},
    "Conv2DTranspose": {"filters": 4, "kernel_size": (3, 2)},
    "Dense": {"units": 3, "activation": "softmax", "kernel_initializer": "he_uniform"},
    "DepthwiseConv2D": {"kernel_size": 3, "depthwise_initializer": "he_normal"},
    "Dropout": {"rate": 0.25, "seed": 3},
    "Input": {"shape": (4, None, 3)},
    "Rescaling": {"scale": [1.0, 2.0, 3.0], "offset": 0.5},
    "Reshape": {"target_shape": (-1, 3)},
    "Resizing": {"height": 3, "width": 4},
    "SeparableConv2D": {"filters": 4, "kernel_size": 3},
    "SpatialDropout2D": {"rate": 0.5},
}
KINDS = sorted(
    {kind for name in layers.__all__ if inspect.isclass(kind := getattr(layers, name))
     and issubclass(kind, Layer) and kind is not Layer},
    key=lambda kind: kind.__name__,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_comes_back_from_its_description(kind: type[Layer]) -> None:
    options: dict[str, Any] = {"dtype": "float64", "name": "one"}
    layer: Any = kind(**NEEDED.get(kind.__name__, {}), **options)
    description = _architecture.described(layer)
    text = json.dumps(description)
    again = _architecture.made(json.loads(text))
    assert type(again) is kind
    assert again.name == "one"
    assert again.dtype == np.float64
    assert _architecture.described(again) == description
    for argument in inspect.signature(kind).parameters:
        assert argument in description["config"] or argument == "options"


def test_what_a_description_says_of_the_options() -> None:
    layer = layers.Dense(2, trainable=False, input_shape=(None, 3))
    config = layer.get_config()
    assert config["trainable"] is False
    assert config["input_shape"] == [None, 3]
    assert layers.Dense.from_config(config).given_shape == (None, None, 3)
    with pytest.raises(TypeError, match="Dense has no argument 'unit'; it takes units, activation"):
        layers.Dense.from_config({"unit": 3})
