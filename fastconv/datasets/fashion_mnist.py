"""Fashion-MNIST: 70,000 images of clothes, 28x28, ten classes (Xiao et al., 2017)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.datasets import _idx

__all__ = ["CLASSES", "load_data"]

Split: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""What the labels 0..9 mean."""

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_data(data_dir: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Return ``(x_train, y_train), (x_test, y_test)`` from the four IDX files of a folder.

    Images are uint8, shape (n, 28, 28), labels uint8 of 0..9, shape (n,); in the whole set n is
    60,000 and 10,000. Each file may be as it is or compressed (.gz).

    Parameters
    ----------
    data_dir
        The folder. Without it, the folder in the environment variable FASTCONV_DATA, if that is
        set; otherwise the first that holds the files of ``~/.keras/datasets/fashion-mnist`` and
        ``/usr/share/datasets/fashion-mnist``, where Debian's package dataset-fashion-mnist puts
        them.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message says how to get them.
    ValueError
        A file is truncated, corrupt or not one of Fashion-MNIST's; the message names it.
    """
    train_images, train_labels, test_images, test_labels = _paths(data_dir)
    return _split(train_images, train_labels), _split(test_images, test_labels)


def _paths(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return the four files."""
    folders = _folders(data_dir)
    for folder in folders:
        found = [_with_or_without_gz(folder / name) for name in _FILES]
        if any(path is not None for path in found) or folder == folders[-1]:
            break
    missing = [name for name, path in zip(_FILES, found, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {' or '.join(map(str, folders))}: {folder} has no "
            f"{', '.join(missing)} (or .gz). Install Debian's package dataset-fashion-mnist, or "
            "get the four files from https://github.com/zalandoresearch/fashion-mnist and name "
            "their folder in FASTCONV_DATA"
        )
    return [path for path in found if path is not None]


def _folders(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return where to look: in one folder if it is named, otherwise in the usual ones."""
    named = data_dir if data_dir is not None else os.environ.get("FASTCONV_DATA")
    if named:
        return [Path(named).expanduser()]
    return [
        Path("~/.keras/datasets/fashion-mnist").expanduser(),
        Path("/usr/share/datasets/fashion-mnist"),
    ]


def _with_or_without_gz(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def _split(images: Path, labels: Path) -> Split:
    """Return the images and labels of two files, which must belong together."""
    x = _idx.read(images, (None, 28, 28))
    y = _idx.read(labels, (None,))
    if len(x) != len(y):
        raise ValueError(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels")
    if y.max() > 9:
        raise ValueError(f"{labels} must hold labels of 0..9, found {y.max()}")
    return x, y
