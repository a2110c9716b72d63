"""The layers that give images another size."""

from __future__ import annotations

from typing import Literal, Unpack

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._images import Sides, resized, spatial_axes
from fastconv.layers._resample import interpolation_word, resize
from fastconv.layers._step import Step
from fastconv.layers.borders import cropped, padded

__all__ = ["CenterCrop", "Resizing"]

_NO_BORDER: Sides = ((0, 0), (0, 0))


class Resizing(Layer):
    """Each image brought to one size: (n, h, w, c) to (n, height, width, c).

    Pixel centres lie at (i + 0.5) / size of the image's side, in x and in y. "bilinear" takes the
    neighbours in each direction by their distance; with `antialias`, where the image shrinks, all
    pixels under a triangle as wide as two steps of y. "nearest" takes the pixel in which a centre
    lies, as TensorFlow, JAX and PyTorch's "nearest-exact" do. dx is the adjoint.

    Parameters
    ----------
    height, width
        The size of y.
    interpolation
        "bilinear" or "nearest".
    crop_to_aspect_ratio
        Whether the largest window in the middle that has y's proportions is taken first.
    pad_to_aspect_ratio
        Whether a border of `fill_value` first gives the image y's proportions.
    fill_mode
        "constant".
    fill_value
        The value of that border.
    antialias
        Whether "bilinear" averages where the image shrinks; "nearest" never does.
    data_format
        "channels_last", the default, or "channels_first".
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import Resizing
    >>> Resizing(1, 4, data_format="channels_first")([[[[0, 8]]]])[0, 0]
    array([[0., 2., 6., 8.]], dtype=float32)
    """

    rank = 4

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: Literal["constant"] = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height = _checks.integer("height", height)
        self.width = _checks.integer("width", width)
        self.interpolation = interpolation_word(interpolation)
        self.crop_to_aspect_ratio = _checks.flag("crop_to_aspect_ratio", crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = _checks.flag("pad_to_aspect_ratio", pad_to_aspect_ratio)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError(
                "crop_to_aspect_ratio and pad_to_aspect_ratio must not both be True, received True "
                "for both"
            )
        if fill_mode != "constant":
            raise ValueError(f"fill_mode must be 'constant', received {fill_mode!r}")
        self.fill_mode = fill_mode
        self.fill_value = _checks.real("fill_value", fill_value, least=-float("inf"))
        self.antialias = _checks.flag("antialias", antialias)
        self.data_format = _checks.data_format(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        return resized(shape, self.data_format, (self.height, self.width))

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        layout, size = self.data_format, (self.height, self.width)
        h, w = (x.shape[axis] for axis in spatial_axes(layout))
        crop = crop_box(h, w, size) if self.crop_to_aspect_ratio else _NO_BORDER
        border = _border(h, w, size) if self.pad_to_aspect_ratio else _NO_BORDER
        window = padded(cropped(x, crop, layout), border, layout, self.fill_value)
        y, pull = resize(window, size, layout, self.interpolation, self.antialias)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return padded(cropped(pull(dy), border, layout), crop, layout), []

        return y, pullback


class CenterCrop(Layer):
    """The middle of each image: (n, h, w, c) to (n, height, width, c).

    The window begins at ((h - height) // 2, (w - width) // 2), and dx is dy with zeros around it.
    An image smaller than it is resized, as by `Resizing` with `crop_to_aspect_ratio`.

    Parameters
    ----------
    height, width
        The size of y.
    data_format
        "channels_last", the default, or "channels_first".
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import CenterCrop
    >>> CenterCrop(height=70, width=120)(np.zeros((2, 427, 640, 3), np.uint8)).shape
    (2, 70, 120, 3)
    """

    rank = 4

    def __init__(
        self,
        height: int,
        width: int,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height = _checks.integer("height", height)
        self.width = _checks.integer("width", width)
        self.data_format = _checks.data_format(data_format)
        self._smaller = Resizing(
            height, width, crop_to_aspect_ratio=True, data_format=data_format, dtype=self.dtype
        )

    def _output_shape(self, shape: Shape) -> Shape:
        return resized(shape, self.data_format, (self.height, self.width))

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        layout = self.data_format
        h, w = (x.shape[axis] for axis in spatial_axes(layout))
        if h < self.height or w < self.width:
            return self._smaller._forward(x, training)
        box = _middle(h, self.height), _middle(w, self.width)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            return (padded(dy, box, layout) if need_dx else None), []

        return cropped(x, box, layout), pullback


def crop_box(h: int, w: int, size: tuple[int, int]) -> Sides:
    """Return what to crop for the largest window in the middle with the proportions of `size`."""
    height, width = size
    return (
        _middle(h, max(1, min(h, w * height // width))),
        _middle(w, max(1, min(w, h * width // height))),
    )


def _border(h: int, w: int, size: tuple[int, int]) -> Sides:
    """Return the border that gives an image the proportions of `size`."""
    height, width = size
    rows = (max(h, w * height // width) - h) // 2
    columns = (max(w, h * width // height) - w) // 2
    return (rows, rows), (columns, columns)


def _middle(side: int, kept: int) -> tuple[int, int]:
    """Return what to crop on both sides; what is odd, after."""
    return (side - kept) // 2, side - kept - (side - kept) // 2
