"""The protocol of a layer: building, casting, forward, and the way back.

A layer is a function with weights. It keeps nothing of one call for the next, so that one layer
serves many threads at once: what the way back needs is held by the function that `Layer.forward`
returns. Weights are read-only arrays, replaced and never written to.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._weights import Weighted, frozen


class LayerOptions(TypedDict, total=False):
    """The arguments that every layer takes beside its own."""

    name: str | None
    dtype: npt.DTypeLike
    trainable: bool
    input_shape: Sequence[int | None] | None


class Backprop(Protocol):
    """The way back through one call of a layer."""

    def __call__(
        self, dy: npt.ArrayLike, *, need_dx: bool = True
    ) -> tuple[Array | None, list[Array]]:
        """Return ``(dx, grads)`` from the gradient of y.

        `grads` stand in the order of the layer's `trainable_weights`. Without `need_dx`, dx is not
        computed, and None.
        """


Pullback: TypeAlias = Callable[[Array, bool], tuple[Array | None, list[Array]]]
"""A `Backprop` before its argument is checked: from (dy, need_dx)."""

_building = threading.Lock()  # two threads may make the first call of one layer at once


class Layer(Weighted, ABC):
    """What all layers have.

    A new kind of layer says what it computes in `_forward`, and in `_build` which weights it has;
    `rank` is that of its input, where only one will do.

    Parameters
    ----------
    name
        Given by a model (``conv2d_1``), unless given here.
    dtype
        float32 or float64: what inputs and gradients are cast to, and what the weights are.
    trainable
        Whether training changes the weights.
    input_shape
        Of one example, without the batch, as in ``(28, 28, 1)``. None in it leaves a size open. The
        first layer of a model that has it is built at once, otherwise at the first call.
    """

    rank: int | None = None

    def __init__(self, **options: Unpack[LayerOptions]) -> None:
        unknown = set(options) - set(LayerOptions.__annotations__)
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no argument {min(unknown)!r}; beside its own it takes "
                f"{', '.join(LayerOptions.__annotations__)}"
            )
        name = options.get("name")
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name must be a word without a slash or None, received {name!r}")
        self.name = name or _snake_case(type(self).__name__)
        self.is_named = name is not None
        self.dtype = _checks.float_dtype(options.get("dtype"))
        self.trainable = _checks.flag("trainable", options.get("trainable", True))
        given = options.get("input_shape")
        self.given_shape: Shape | None = (
            None if given is None else (None, *_checks.shape("input_shape", given))
        )
        self._built_shape = None
        self._weights = {}

    # -- calling

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return y for an array-like x, cast to the layer's dtype."""
        return self._forward(self._accept(x), False)[0]

    def forward(self, x: npt.ArrayLike, *, training: bool = False) -> tuple[Array, Backprop]:
        """Return ``(y, backprop)``, where ``backprop(dy)`` is ``(dx, grads)``.

        Parameters
        ----------
        x
            Array-like of real numbers, the batch first; cast to the layer's dtype.
        training
            Whether the call is part of training, in which some layers act differently.
        """
        y, pullback = self._forward(self._accept(x), training)
        shape, dtype, name = y.shape, self.dtype, self.name

        def backprop(
            dy: npt.ArrayLike, *, need_dx: bool = True
        ) -> tuple[Array | None, list[Array]]:
            gradient = _checks.cast("dy", dy, dtype)
            if gradient.shape != shape:
                raise ValueError(
                    f"dy must have the shape of layer {name!r}'s output, {shape}, "
                    f"received {gradient.shape}"
                )
            return pullback(gradient, need_dx)

        return y, backprop

    def prepare(self, input_shape: Sequence[int | None]) -> Callable[[npt.ArrayLike], Array]:
        """Return the layer as it now is, as a function for many calls on inputs of this shape.

        Work that depends only on the weights and the size is done here, once.
        """
        return self

    @abstractmethod
    def _forward(self, x: Array, training: bool) -> tuple[Array, Pullback]:
        """Return y and the way back, for an x of the right dtype and rank."""

    def _accept(self, x: npt.ArrayLike) -> Array:
        """Return x as an array of the layer's dtype; build the layer if this is its first."""
        found = _checks.cast("x", x, self.dtype)
        self._check(found.shape)
        if self._built_shape is None:
            self.build((None, *found.shape[1:]))
        return found

    # -- shapes and building

    @property
    def built(self) -> bool:
        """Whether the layer has its weights."""
        return self._built_shape is not None

    @property
    def input_shape(self) -> Shape:
        """The shape that the layer was built for, with None for the batch."""
        return self._known_shape()

    @property
    def output_shape(self) -> Shape:
        """The shape of y where x has `input_shape`."""
        return self.compute_output_shape(self._known_shape())

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Return the shape of y for an x of this shape, with None where a size is open."""
        shape = _checks.shape("input_shape", input_shape)
        self._check(shape)
        return self._output_shape(shape)

    def build(
        self, input_shape: Sequence[int | None], rng: np.random.Generator | None = None
    ) -> None:
        """Make the weights for inputs of this shape, batch included; a built layer stays as it is.

        Parameters
        ----------
        input_shape
            Such as ``(None, 28, 28, 1)``.
        rng
            What the initializers draw from; without it the weights differ from run to run.
        """
        shape = _checks.shape("input_shape", input_shape)
        self._check(shape)
        with _building:
            if self._built_shape is None:
                self._output_shape(shape)  # raises where the shape does not fit, before any weight
                weights = self._build(shape, rng or np.random.default_rng())
                self._weights = {name: frozen(value) for name, value in weights.items()}
                self._built_shape = shape

    def _build(self, shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
        """Return the first weights by name, in their order."""
        return {}

    def _output_shape(self, shape: Shape) -> Shape:
        """Return the shape of y; that of x unless a layer says otherwise."""
        return shape

    @property
    def _feature_axis(self) -> int | None:
        """The axis of x whose size the weights fix."""
        return None

    def _check(self, shape: Shape) -> None:
        """Raise ValueError where an input of this shape does not fit the layer."""
        if not shape or (self.rank is not None and len(shape) != self.rank):
            raise ValueError(
                f"layer {self.name!r} takes inputs of rank {self.rank or 'at least 1'}, batch "
                f"included, received shape {_checks.text(shape)}"
            )
        axis = self._feature_axis
        if axis is not None and self._built_shape is not None:
            wanted = self._built_shape[axis]
            if shape[axis] != wanted:
                raise ValueError(
                    f"layer {self.name!r} was built for inputs of shape "
                    f"{_checks.text(self._built_shape)}, with {wanted} in axis {axis}, "
                    f"received shape {_checks.text(shape)}"
                )


def _snake_case(name: str) -> str:
    """Return MaxPooling2D as max_pooling2d."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()
