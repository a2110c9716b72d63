"""The command ``fastconv``: train LeNet-5 on real images, or tell what is installed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import _extras, plots
from fastconv import _fastconv_core as _core
from fastconv._checks import Array
from fastconv._config import show_config
from fastconv.datasets import digits, fashion_mnist
from fastconv.models import History, Sequential, lenet5


@dataclass(frozen=True)
class _Data:
    """Images (n, 28, 28, 1) of 0..1 and labels to train with and to test with."""

    title: str
    epochs: int
    x_train: Array
    y_train: npt.NDArray[np.uint8]
    x_test: Array
    y_test: npt.NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments
        The words after ``fastconv``; without them, those of the process.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return 130
    except (ImportError, OSError, ValueError) as error:
        print(f"fastconv: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastconv", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="{train,info}")

    train = commands.add_parser("train", help="train LeNet-5 and write weights and pictures")
    train.set_defaults(command=_train)
    train.add_argument(
        "--dataset",
        choices=["auto", "digits", "fashion-mnist"],
        default="auto",
        help="auto: Fashion-MNIST where it is found, otherwise the digits",
    )
    train.add_argument("--data-dir", metavar="DIR", help="folder of Fashion-MNIST's four files")
    train.add_argument(
        "--epochs", type=_positive, metavar="N", help="default: 5, for the digits 40"
    )
    train.add_argument("--batch-size", type=_positive, metavar="N", default=64, help="default: 64")
    train.add_argument("--seed", type=_natural, metavar="N", default=0, help="default: 0")
    train.add_argument(
        "--threads", type=_positive, metavar="N", help="default: as many as there are CPUs"
    )
    train.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("fastconv-train"),
        help="default: ./fastconv-train",
    )

    info = commands.add_parser("info", help="tell version, instruction sets, threads, compiler")
    info.set_defaults(command=_info)
    return parser


def _natural(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0, received {word!r}")
    return int(word)


def _positive(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, received {word!r}")
    return int(word)


def _info(_: argparse.Namespace) -> None:
    show_config()


def _train(options: argparse.Namespace) -> None:
    # What could fail is tried before the minutes of training, not after them.
    _extras.require("matplotlib.figure", "drawing the pictures")
    _extras.require("safetensors.numpy", "writing the weights")
    if options.threads is not None:
        try:
            _core.set_num_threads(options.threads)
        except ValueError as error:
            raise ValueError(f"argument --threads: {error}") from error
    data = _load(options.dataset, options.data_dir)
    options.output.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=options.output).close()

    print(f"{data.title}: {len(data.x_train)} images to train with, {len(data.x_test)} to test")
    model = lenet5(seed=options.seed)
    model.summary()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    record = model.fit(
        data.x_train,
        data.y_train,
        options.batch_size,
        options.epochs or data.epochs,
        validation_data=(data.x_test, data.y_test),
    )
    for path in _write(model, record, data.x_test[0], options.output):
        print(f"wrote {path}")
    print(f"test accuracy {record.history['val_accuracy'][-1]:.4f}")


def _write(model: Sequential, record: History, image: Array, folder: Path) -> list[Path]:
    """Write weights and pictures, and return where they are."""
    weights = folder / "weights.safetensors"
    model.save_weights(weights)
    pictures = {
        folder / "loss.png": plots.history(record),
        folder / "filters.png": plots.filters(model.layers[0]),
        folder / "feature_maps.png": plots.feature_maps(model, image),
    }
    for path, figure in pictures.items():
        figure.savefig(path)
    return [weights, *pictures]


def _load(dataset: str, data_dir: str | None) -> _Data:
    """Return the data set that the options ask for."""
    if dataset == "digits":
        if data_dir is not None:
            raise ValueError("--data-dir is the folder of Fashion-MNIST; the digits have none")
        return _digits()
    try:
        return _fashion_mnist(data_dir)
    except FileNotFoundError as error:
        if dataset == "fashion-mnist" or data_dir is not None:
            raise
        print(f"{error}. Training on the digits instead.")
        return _digits()


def _fashion_mnist(data_dir: str | None) -> _Data:
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data(data_dir)
    return _Data("Fashion-MNIST", 5, _scaled(x_train, 255), y_train, _scaled(x_test, 255), y_test)


def _digits() -> _Data:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    large, test = digits.enlarge(x_train, 28), digits.enlarge(x_test, 28)
    return _Data("digits", 40, _scaled(large, 16), y_train, _scaled(test, 16), y_test)


def _scaled(images: npt.NDArray[Any], largest: int) -> Array:
    """Return float32 images of 0..1 with an axis of one channel."""
    scaled: Array = images[..., None].astype(np.float32) / np.float32(largest)
    return scaled
