"""Pictures of a network, as matplotlib figures: its filters, its feature maps, its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastconv import _checks, _extras
from fastconv._checks import Array
from fastconv.layers import Layer
from fastconv.models import History, Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["feature_maps", "filters", "history"]

_COLUMNS = 8
_MOST_FILTERS = 64
_MOST_CHANNELS = 8
_TILE = 1.05  # inches, the width of a map


def history(record: History) -> Figure:
    """Return the curves of a training run: a panel for the loss and one for each metric.

    Parameters
    ----------
    record
        What `fit` returned.

    Raises
    ------
    ValueError
        The record is empty.
    ImportError
        matplotlib is not installed.
    """
    measured = [name for name in record.history if not name.startswith("val_")]
    if not measured:
        raise ValueError("record must have at least one epoch, received an empty history")
    figure = _figure(4.6 * len(measured), 3.6)
    epochs = [epoch + 1 for epoch in record.epoch]
    for axes, name in zip(
        figure.subplots(1, len(measured), squeeze=False)[0], measured, strict=True
    ):
        axes.plot(epochs, record.history[name], "o-", ms=3, label="training")
        if f"val_{name}" in record.history:
            axes.plot(epochs, record.history[f"val_{name}"], "s-", ms=3, label="validation")
            axes.legend(frameon=False)
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def filters(layer: Layer) -> Figure:
    """Return the kernels of a convolution layer, one tile a filter, on a scale symmetric about 0.

    Filters of one channel are shown on a colour scale and those of three as colours, where grey is
    0. With another number of channels each has a row of its own, up to eight of them, and each
    filter a column; at most 64 filters are shown, and the title says of how many.

    Parameters
    ----------
    layer
        A built layer with a kernel of shape (kh, kw, c_in, c_out).

    Raises
    ------
    ValueError
        The layer has no such kernel, or is not built.
    ImportError
        matplotlib is not installed.
    """
    kernel = getattr(layer, "kernel", getattr(layer, "depthwise_kernel", None))
    if kernel is None or kernel.ndim != 4:
        raise ValueError(
            f"layer must have a kernel of shape (kh, kw, c_in, c_out), as Conv2D has; "
            f"received {layer.name!r}, a {type(layer).__name__}"
        )
    channels, count = kernel.shape[2:]
    shown = kernel[:, :, : 3 if channels == 3 else _MOST_CHANNELS, :_MOST_FILTERS]
    limit = float(np.abs(shown).max()) or 1.0
    title = f"{layer.name}: {shown.shape[3]}" + (f" of {count}" if shown.shape[3] < count else "")
    title += f" filters of {kernel.shape[0]}x{kernel.shape[1]}x{channels}"
    if channels == 3:
        tiles = np.moveaxis(0.5 + shown / (2 * limit), 3, 0)
        columns = min(_COLUMNS, len(tiles))
    else:
        tiles = shown.transpose(2, 3, 0, 1).reshape(-1, *shown.shape[:2])
        columns = min(_COLUMNS, len(tiles)) if channels == 1 else shown.shape[3]
        if channels > shown.shape[2]:
            title += f", the first {shown.shape[2]} channels"
    picture = _mosaic(tiles, columns)
    rows = -(-len(tiles) // columns)
    figure = _figure(
        max(1.1 * min(columns, 16), 3.0) + 1.0, 1.1 * rows * min(columns, 16) / columns + 0.7
    )
    axes = figure.subplots()
    image = axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
    if channels != 3:
        _scale(axes, image)
    _titled(axes, title)
    return figure


def feature_maps(model: Model, image: npt.ArrayLike, layer: str | None = None) -> Figure:
    """Return what the layers make of one image: a tile for each channel, eight in a row.

    A layer whose output is no image, asked for by its name, is shown as bars, one a number. The
    image itself stands beside them: grey, in colours if it has three channels, or else channel by
    channel. A layer without a `data_format` has that of the one before it.

    Parameters
    ----------
    model
        A chain of layers.
    image
        One example, without the batch, of the model's input shape.
    layer
        The name of the one layer to show; without it, all whose output is an image.

    Raises
    ------
    ValueError
        No layer has that name, or none is asked for by name and none gives an image.
    ImportError
        matplotlib is not installed.
    """
    found = _checks.array("image", image)
    shown = _maps(model, found, layer)
    heights = [_inches(maps) for _, maps in shown]
    figure = _figure(11.0, max(sum(heights) + 0.2, 1.8))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[2, 9])[0]
    axes = left.subplots(subplot_kw={"anchor": "N"})
    _draw_image(axes, found, _layouts(model)[0])
    panels = right.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, maps) in zip(panels, shown, strict=True):
        if maps.ndim == 1:
            _draw_numbers(axes, name, maps)
            continue
        drawn = axes.imshow(_mosaic(np.moveaxis(maps, -1, 0), _COLUMNS), cmap="viridis")
        _scale(axes, drawn)
        _titled(axes, f"{name}: {maps.shape[-1]} maps of {maps.shape[0]}x{maps.shape[1]}")
    return figure


def _maps(model: Model, image: npt.NDArray[Any], name: str | None) -> list[tuple[str, Array]]:
    """Return (name, maps) of the layers to show, maps in the layout (h, w, c), or numbers."""
    if name is not None and name not in [layer.name for layer in model.layers]:
        raise ValueError(
            f"layer must be one of {', '.join(layer.name for layer in model.layers)}, "
            f"received {name!r}"
        )
    x: Array = image[None]
    found = []
    for layer, layout in zip(model.layers, _layouts(model), strict=True):
        x = layer(x)
        if x.ndim == 4 and name in (None, layer.name):
            found.append((layer.name, _channels_last(x[0], layout)))
        elif name == layer.name:
            found.append((layer.name, x[0].ravel()))
    if not found:
        raise ValueError(f"model {model.name!r} has no layer to show whose output is an image")
    return found


def _inches(maps: Array) -> float:
    """Return how high the panel of a layer is, with its title."""
    if maps.ndim == 1:
        return 2.0
    height, width, channels = maps.shape
    rows = -(-channels // _COLUMNS)
    return float(_TILE * rows * height / width + 0.35)


def _layouts(model: Model) -> list[str]:
    """Return the layout of each layer: its own, or that of the last one that has one."""
    known = [getattr(layer, "data_format", None) for layer in model.layers]
    layouts = [next(filter(None, known), "channels_last")]  # before the first that has one
    for layout in known:
        layouts.append(layout or layouts[-1])
    return layouts[1:]


def _channels_last(image: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    """Return an image in the layout (h, w, c)."""
    return np.moveaxis(image, 0, -1) if layout == "channels_first" else image


def _draw_image(axes: Axes, example: npt.NDArray[Any], layout: str) -> None:
    """Draw a model's input: a picture, its channels one below the other, or bars."""
    if example.ndim == 1:
        _draw_numbers(axes, "input", example)
        return
    image = _channels_last(example, layout) if example.ndim == 3 else example
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    elif image.ndim == 3 and image.shape[-1] != 3:
        image = _mosaic(np.moveaxis(image[..., :_MOST_CHANNELS], -1, 0), 1)
    axes.imshow(image, cmap="gray")
    _titled(axes, "image")


def _draw_numbers(axes: Axes, name: str, numbers: npt.NDArray[Any]) -> None:
    """Draw a bar for each number."""
    axes.bar(range(numbers.size), numbers)
    axes.set_title(f"{name}: {numbers.size} numbers", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _mosaic(tiles: npt.NDArray[Any], columns: int) -> npt.NDArray[Any]:
    """Return tiles (n, h, w) or (n, h, w, 3) side by side in one picture, with white gaps."""
    zoom = -(-28 // max(tiles.shape[1:3]))  # enlarged, so that a gap is narrower than a pixel
    tiles = tiles.repeat(zoom, 1).repeat(zoom, 2)
    height, width = tiles.shape[1:3]
    gap = max(2, width // 14)
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *tiles.shape[3:])
    picture = np.full(shape, 1.0 if tiles.ndim == 4 else np.nan)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure of its own, of which pyplot knows nothing; sizes in inches."""
    made: Figure = _extras.require("matplotlib.figure", "drawing").Figure(
        figsize=(width, height), layout="constrained", dpi=150
    )
    return made


def _scale(axes: Axes, image: AxesImage) -> None:
    """Put the colour scale beside a picture, as high as the picture."""
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.01, 0.0, 0.012, 1.0)))
    bar.ax.tick_params(labelsize=7)


def _titled(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_axis_off()
