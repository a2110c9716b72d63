"""What a chain of layers reads of its images.

Windows without padding leave out the last rows and columns, which fill none, and with them all that
only such windows would read: two convolutions of 3x3, each pooled by 2x2, reach 26x26 of 28x28
pixels. To compute no more than that, forward and back, takes a sixth less of each convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv import activations
from fastconv._checks import Array
from fastconv.layers import (
    ELU,
    Activation,
    AveragePooling2D,
    Conv2D,
    DepthwiseConv2D,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    MinPooling2D,
    ReLU,
    Rescaling,
    SeparableConv2D,
)
from fastconv.layers._images import spatial_axes
from fastconv.models._receptive import window_of

# Of exactly these kinds: one that is derived from them could look at all that it is given.
_CONVOLUTIONS = (Conv2D, DepthwiseConv2D, SeparableConv2D)
_POOLINGS = (AveragePooling2D, MaxPooling2D, MinPooling2D)
_KINDS = _CONVOLUTIONS + _POOLINGS
_RECTIFIERS = (ELU, LeakyReLU, ReLU)

_OF_EACH_NUMBER = (
    activations.linear,
    activations.relu,
    activations.relu6,
    activations.sigmoid,
    activations.swish,
    activations.tanh,
)


@dataclass(frozen=True)
class _Window:
    """A layer's unpadded window: how many pixels it spans and moves by, in both directions."""

    convolves: bool
    spans: tuple[int, int]
    strides: tuple[int, int]
    data_format: str


def reached(chain: Sequence[Layer], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of a batch of images of this shape that y depends on; () is all of it.

    It is all, too, where a part would spare no convolution anything.
    """
    windows = list(_leading_windows(chain))
    if len(shape) != 4 or not any(window.convolves for window in windows[:-1]):
        return ()
    part = [slice(None)] * 4
    spares = False
    for direction, axis in enumerate(spatial_axes(windows[0].data_format)):
        read, fewer = _read(windows, direction, shape[axis])
        part[axis] = slice(read)
        spares |= fewer
    return tuple(part) if spares else ()


def embedded(dx: Array, part: tuple[slice, ...], shape: tuple[int, ...]) -> Array:
    """Return the gradient of whole images from that of the part that y depends on."""
    whole = np.zeros(shape, dx.dtype)
    whole[part] = dx
    return whole


def _read(windows: Sequence[_Window], direction: int, size: int) -> tuple[int, bool]:
    """Return how many pixels are read in one direction, and whether that spares a convolution."""
    made = [size]
    for window in windows:
        made.append((made[-1] - window.spans[direction]) // window.strides[direction] + 1)
    read, spares = made[-1], False
    if read < 1:
        return size, False  # which the layers refuse
    for window, most in zip(reversed(windows), reversed(made), strict=False):
        spares |= window.convolves and read < most
        read = (read - 1) * window.strides[direction] + window.spans[direction]
    return read, spares


def _leading_windows(chain: Sequence[Layer]) -> Iterator[_Window]:
    """Yield the windows of the layers up to the first that does not move an unpadded one."""
    data_format = None
    for layer in chain:
        if _is_of_each_number(layer):
            continue
        window = _window_of(layer)
        if window is None or window.data_format != (data_format or window.data_format):
            return
        data_format = window.data_format
        yield window


def _is_of_each_number(layer: Layer) -> bool:
    """Return whether each number of y comes from the one in its place."""
    if isinstance(layer, Activation) and type(layer) is Activation:
        return layer.activation in _OF_EACH_NUMBER
    if isinstance(layer, Rescaling) and type(layer) is Rescaling:
        return not isinstance(layer.scale, tuple) and not isinstance(layer.offset, tuple)
    return type(layer) in _RECTIFIERS


def _window_of(layer: Layer) -> _Window | None:
    """Return a layer's window, unless it is padded or y could depend on other pixels as well."""
    if not isinstance(layer, _KINDS) or type(layer) not in _KINDS or layer.padding != "valid":
        return None
    if getattr(layer, "activation", activations.linear) not in _OF_EACH_NUMBER:
        return None
    window = window_of(layer)
    assert window is not None
    return _Window(isinstance(layer, _CONVOLUTIONS), *window, layer.data_format)
