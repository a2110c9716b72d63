"""What a model has through its layers: their weights, in one list, under names, and in files."""

from __future__ import annotations

import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from fastconv._checks import Array, Shape
from fastconv.layers import Layer
from fastconv.models import _files


class Layered(ABC):
    """Something made of layers, built once the shape of its input is known."""

    name: str
    _input_shape: Shape | None = None

    @property
    @abstractmethod
    def layers(self) -> list[Layer]:
        """The layers, in their order."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the architecture, as numbers, words, lists, dicts and None."""

    @property
    def built(self) -> bool:
        """Whether the model has its weights."""
        return self._input_shape is not None

    def _known_shape(self) -> Shape:
        """Return the shape that the model was built for."""
        if self._input_shape is None:
            raise ValueError(
                f"model {self.name!r} is not built yet: give its first layer input_shape, "
                "or call build or fit"
            )
        return self._input_shape

    def count_params(self) -> int:
        """Return the number of elements of all weights."""
        self._known_shape()
        return sum(layer.count_params() for layer in self.layers)

    @property
    def named_weights(self) -> dict[str, Array]:
        """All weights, read-only, by their name in files, such as ``conv2d_1/kernel``.

        Raises
        ------
        ValueError
            A layer was given the name of another one.
        """
        found: dict[str, Array] = {}
        for layer in self.layers:
            own = layer.named_weights
            if found.keys() & own.keys():
                raise ValueError(
                    f"layers must have names of their own, received {layer.name!r} for two of "
                    f"model {self.name!r}"
                )
            found |= own
        return found

    @property
    def trainable_weights(self) -> list[Array]:
        """The weights that training changes, read-only, layer by layer."""
        return [weight for layer in self.layers for weight in layer.trainable_weights]

    def get_weights(self) -> list[Array]:
        """Return copies of all weights, layer by layer."""
        self._known_shape()
        return [weight for layer in self.layers for weight in layer.get_weights()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights, given in the order of `get_weights`; all of them or none.

        Raises
        ------
        ValueError
            Their number, a shape or a dtype is wrong, or the model is not built.
        """
        self._known_shape()
        counts = [len(layer.weights) for layer in self.layers]
        if len(weights) != sum(counts):
            raise ValueError(
                f"model {self.name!r} has {sum(counts)} weights, received {len(weights)}"
            )
        rest = iter(weights)
        checked = [
            layer.checked_weights(list(itertools.islice(rest, count)))
            for layer, count in zip(self.layers, counts, strict=True)
        ]
        for layer, new in zip(self.layers, checked, strict=True):
            layer.replace_weights(new)

    def replace_trainable(self, weights: Sequence[Array]) -> None:
        """Take the next values of `trainable_weights`, new arrays that nobody else writes to."""
        rest = iter(weights)
        for layer in self.layers:
            count = len(layer.trainable_weights)
            if count:
                layer.replace_trainable(list(itertools.islice(rest, count)))

    def commit(self, updates: Mapping[str, Array]) -> None:
        """Take ``backprop.updates``: what a training call changes beside `trainable_weights`."""
        if updates:
            for layer in self.layers:
                layer.commit(updates)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write all weights into a safetensors file, which appears only when it is complete.

        Raises
        ------
        ValueError
            The name is that of something else than a file, such as a folder.
        ImportError
            safetensors is not installed.
        """
        self._known_shape()
        _files.write(path, self.named_weights)

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the architecture and all weights into one safetensors file, for `load_model`.

        The file is also one of weights, for `load_weights`; how the model was compiled, and what
        its optimizer remembers, is not in it. It appears only when it is complete.

        Raises
        ------
        TypeError
            An argument of a layer is nothing that can be written.
        ValueError
            The name is that of something else than a file, such as a folder.
        ImportError
            safetensors is not installed.
        """
        self._known_shape()
        architecture = {"class_name": type(self).__name__, "config": self.get_config()}
        words = {_files.ARCHITECTURE: json.dumps(architecture)}
        _files.write(filepath, self.named_weights, words)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Replace all weights by those of a file that `save_weights` wrote; all of them or none.

        Raises
        ------
        ValueError
            The file is no safetensors file, or its names, shapes or dtypes are not the model's.
        FileNotFoundError
            There is no such file.
        """
        self._known_shape()
        self.set_weights(list(_files.read(path, self.named_weights).values()))
