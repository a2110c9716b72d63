"""Two filters made by hand, for vertical and horizontal lines, over two photographs.

    python docs/line_filters.py [--output FILE]

A convolution layer is given its kernel instead of learning it: each filter is a line of positive
weights on a negative ground, and their sum is 0, so that an even surface gives 0 and a line as thin
as the filter's gives much. Needs scikit-learn, whose two photographs these are, and matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_sample_images

from fastconv.layers import CenterCrop, Conv2D, Rescaling
from fastconv.models import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 7  # the side of a filter, in pixels
TITLES = ("photograph", "vertical lines", "horizontal lines")


def kernel() -> npt.NDArray[np.float32]:
    """Return the two filters, (7, 7, 3, 2): the same for red, green and blue."""
    vertical = np.full((SIZE, SIZE), -1 / (SIZE * (SIZE - 1)))
    vertical[:, SIZE // 2] = 1 / SIZE
    filters = np.stack([vertical, vertical.T], axis=-1)
    return np.repeat(filters[:, :, None], 3, axis=2).astype(np.float32) / 3


def network() -> Sequential:
    """Return the layers that crop and scale an image of 0..255 and filter it."""
    lines = Conv2D(2, SIZE, activation="relu", use_bias=False, name="lines")
    model = Sequential(
        [CenterCrop(height=320, width=480, input_shape=(None, None, 3)), Rescaling(1 / 255), lines]
    )
    lines.kernel = kernel()
    return model


def picture(images: npt.NDArray[np.uint8], maps: npt.NDArray[np.floating]) -> Figure:
    """Return the figure: a row for each photograph, and beside it its map of each filter."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.4), layout="constrained", dpi=120)
    panels = figure.subplots(len(images), 3, squeeze=False)
    for row, image, lines in zip(panels, images, maps, strict=True):
        row[0].imshow(image)
        for index in range(2):
            axes, found = row[index + 1], lines[:, :, index]
            # The brightest hundredth is cut, or a few sharp edges would leave the rest in the dark.
            axes.imshow(found, cmap="gray", vmin=0, vmax=np.quantile(found, 0.99))
            small = axes.inset_axes((0.015, 0.02, 0.16, 0.24))
            small.imshow(kernel()[:, :, 0, index], cmap="gray")
            small.set(xticks=[], yticks=[])
            small.spines[:].set_color("tab:orange")
    for axes in panels.ravel():
        axes.set_axis_off()
    for axes, title in zip(panels[0], TITLES, strict=True):
        axes.set_title(title, fontsize=11)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Filter the photographs and write the picture."""
    parser = argparse.ArgumentParser(description="Show line filters over two photographs.")
    parser.add_argument("--output", type=Path, metavar="FILE", default=Path("line_filters.png"))
    output = parser.parse_args(arguments).output

    photographs = load_sample_images().images
    model = network()
    maps = model.predict(photographs)
    images = CenterCrop(height=320, width=480)(photographs).astype(np.uint8)
    picture(images, maps).savefig(output)
    print(f"wrote {output}: maps {maps.shape} of {len(photographs)} photographs")


if __name__ == "__main__":
    main()
