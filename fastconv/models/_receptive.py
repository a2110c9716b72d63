"""The receptive field: how much of the model's input one number of a layer's output can see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from fastconv import layers
from fastconv._checks import Shape
from fastconv.layers import Layer

_POINTWISE = (
    layers.Activation,
    layers.BatchNormalization,
    layers.CenterCrop,
    layers.Cropping2D,
    layers.Dense,
    layers.Dropout,
    layers.ELU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.ReLU,
    layers.Rescaling,
    layers.SpatialDropout2D,
    layers.ZeroPadding2D,
)
"""The layers in which a pixel of y comes from one pixel of x."""

_WHOLE = (
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.Reshape,
)
"""The layers after which there are no pixels any more that see a part of the input."""


@dataclass(frozen=True)
class _Side:
    """One direction: a window's length, and how far apart two windows begin, in pixels of input."""

    length: Fraction = Fraction(1)
    jump: Fraction = Fraction(1)

    def then(self, taps: int, stride: Fraction) -> _Side:
        """Return the side after a layer that joins `taps` neighbours and moves by `stride`."""
        return _Side(self.length + (taps - 1) * self.jump, self.jump * stride)


def fields(chain: Sequence[Layer], shape: Shape) -> list[str]:
    """Return for each layer its window, such as "5x5", "all" or, where nobody knows, "?".

    The window is that of the layers' geometry, be the image larger or smaller.
    """
    sides: tuple[_Side, _Side] | str = (_Side(), _Side()) if len(shape) == 4 else "all"
    found = []
    for layer in chain:
        if not isinstance(sides, str):
            sides = _after(layer, shape, sides)
        shape = layer.compute_output_shape(shape)
        if isinstance(sides, str):
            found.append(sides)
        else:
            found.append("x".join(str(math.ceil(side.length)) for side in sides))
    return found


def _after(layer: Layer, shape: Shape, sides: tuple[_Side, _Side]) -> tuple[_Side, _Side] | str:
    """Return both sides after a layer, or "all" or "?"."""
    if isinstance(layer, _WHOLE) or (isinstance(layer, layers.Dense) and len(shape) < 4):
        return "all"
    steps = _steps(layer, shape)
    if steps is None:
        return "?"
    return sides[0].then(*steps[0]), sides[1].then(*steps[1])


def _steps(layer: Layer, shape: Shape) -> list[tuple[int, Fraction]] | None:
    """Return (taps, stride) for both directions, or None where the layer is not known."""
    if isinstance(layer, _POINTWISE) or _along_channels(layer, shape):
        return [(1, Fraction(1))] * 2
    if isinstance(layer, layers.UpSampling2D):
        taps = 1 if layer.interpolation == "nearest" else 2
        return [(taps, Fraction(1, factor)) for factor in layer.size]
    window = window_of(layer)
    if window is None:
        return None
    spans, strides = window
    if isinstance(layer, layers.Conv2DTranspose):
        # Every stride-th tap, at most, meets a pixel of x.
        return [(-(-k // s), Fraction(1, s)) for k, s in zip(spans, strides, strict=True)]
    return [(k, Fraction(s)) for k, s in zip(spans, strides, strict=True)]


def window_of(layer: Layer) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the pixels that a layer's window spans and moves by, or None where it has none."""
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is None or not type(layer).__module__.startswith("fastconv.layers."):
        return None
    strides: tuple[int, int] = getattr(layer, "strides")  # noqa: B009 - no class has it by name
    (h, w), (down, across) = window, getattr(layer, "dilation_rate", (1, 1))
    return ((h - 1) * down + 1, (w - 1) * across + 1), strides


def _along_channels(layer: Layer, shape: Shape) -> bool:
    """Return whether a layer works along the channels of each pixel alone."""
    if not isinstance(layer, (layers.Softmax, layers.LayerNormalization)):
        return False
    axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    return all(axis % len(shape) == len(shape) - 1 for axis in axes)
