"""The weights of a layer: named, read-only, replaced together and never written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape


class Weighted:
    """A layer as its weights, which it has once it is built."""

    name: str
    dtype: np.dtype[np.floating[Any]]
    trainable: bool
    _built_shape: Shape | None
    _weights: dict[str, Array]
    _untrained: ClassVar[tuple[str, ...]] = ()
    """The weights that no gradient changes, the last ones of the layer."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Make a copy's weights read-only again, which those of a pickle or a deep copy are not."""
        vars(self).update(state)
        for weight in self._weights.values():
            weight.setflags(write=False)

    def _known_shape(self) -> Shape:
        """Return the shape that the layer was built for."""
        if self._built_shape is None:
            raise ValueError(f"layer {self.name!r} is not built yet: call it once, or call build")
        return self._built_shape

    @property
    def weights(self) -> list[Array]:
        """All weights, read-only, in their order."""
        return list(self._weights.values())

    @property
    def trainable_weights(self) -> list[Array]:
        """The weights that training changes, read-only, in the order of `Backprop`'s grads."""
        if not self.trainable:
            return []
        return [value for name, value in self._weights.items() if name not in self._untrained]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The other weights, read-only: those that training updates in another way, or not."""
        return self.weights[len(self.trainable_weights) :]

    @property
    def named_weights(self) -> dict[str, Array]:
        """All weights by their name in files, such as ``conv2d_1/kernel``."""
        return {f"{self.name}/{name}": value for name, value in self._weights.items()}

    def get_weights(self) -> list[Array]:
        """Return copies of all weights."""
        return [weight.copy() for weight in self._weights.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights, given in the order of `get_weights`; all of them or none.

        Raises
        ------
        ValueError
            Their number, a shape or a dtype is wrong.
        """
        self.replace_weights(self.checked_weights(weights))

    def checked_weights(self, weights: Sequence[npt.ArrayLike]) -> list[Array]:
        """Return new weights as read-only copies, if they fit in number, shape and dtype."""
        self._known_shape()
        if len(weights) != len(self._weights):
            raise ValueError(
                f"layer {self.name!r} has {len(self._weights)} weights, received {len(weights)}"
            )
        return [
            self._fitting(name, value) for name, value in zip(self._weights, weights, strict=True)
        ]

    def replace_weights(self, weights: Sequence[Array]) -> None:
        """Take arrays that `checked_weights` returned."""
        self._weights = dict(zip(self._weights, weights, strict=True))

    def replace_trainable(self, weights: Sequence[Array]) -> None:
        """Take the next values of `trainable_weights`, new arrays that nobody else writes to."""
        for value in weights:
            value.setflags(write=False)
        # The untrained ones are the last, and stay.
        self._weights = {**self._weights, **dict(zip(self._weights, weights, strict=False))}

    def commit(self, updates: Mapping[str, Array]) -> None:
        """Take those values of ``backprop.updates`` that are this layer's."""
        prefix = f"{self.name}/"
        own = {
            name.removeprefix(prefix): frozen(value)
            for name, value in updates.items()
            if name.startswith(prefix)
        }
        self._weights = {**self._weights, **own}

    def count_params(self) -> int:
        """Return the number of elements of all weights."""
        self._known_shape()
        return sum(weight.size for weight in self._weights.values())

    def _weight(self, name: str) -> Array:
        """Return a weight of a built layer."""
        self._known_shape()
        return self._weights[name]

    def _set_weight(self, name: str, value: npt.ArrayLike) -> None:
        """Replace one weight of a built layer."""
        self._known_shape()
        if name not in self._weights:
            raise ValueError(f"layer {self.name!r} is made without {name}")
        self._weights = {**self._weights, name: self._fitting(name, value)}

    def _fitting(self, name: str, value: npt.ArrayLike) -> Array:
        """Return a read-only copy of a new value for a weight, if it fits.

        A value without a dtype of its own, such as a list, is cast.
        """
        old = self._weights[name]
        dtype = getattr(value, "dtype", old.dtype)
        found = _checks.cast(name, value, old.dtype)
        if found.shape != old.shape or dtype != old.dtype:
            raise ValueError(
                f"weight {self.name}/{name} is {old.dtype} of shape {old.shape}, "
                f"received {dtype} of shape {found.shape}"
            )
        return frozen(found)


class Weight:
    """A weight as an attribute of its layer: read-only; an array assigned to it replaces it.

    The attribute is called as the weight is.
    """

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type[Weighted], name: str) -> None:
        self._name = name

    def __get__(self, layer: Weighted, owner: type[Weighted]) -> Array:
        return layer._weight(self._name)

    def __set__(self, layer: Weighted, value: npt.ArrayLike) -> None:
        layer._set_weight(self._name, value)


class OptionalWeight(Weight):
    """A weight that some layers of the kind have not: None there."""

    def __get__(  # type: ignore[override]
        self, layer: Weighted, owner: type[Weighted]
    ) -> Array | None:
        layer._known_shape()
        return layer._weights.get(self._name)


def frozen(value: Array) -> Array:
    """Return a read-only copy."""
    copy = np.array(value)
    copy.setflags(write=False)
    return copy
