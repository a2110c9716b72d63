"""The protocol of a layer: building, casting, forward, and the way back.

A layer is a function with weights. It keeps nothing of one call for the next, so that one layer
serves many threads at once: what the way back needs is held by the function that `Layer.forward`
returns. Weights are read-only arrays, replaced and never written to. Those that a training call
would change, such as the moving statistics of a BatchNormalization, it does not touch either: their
next values come with the way back, as ``backprop.updates``, and the training loop hands them to
`commit`.
"""

from __future__ import annotations

import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._config import Configured
from fastconv.layers._step import Step
from fastconv.layers._weights import Weighted, frozen


class LayerOptions(TypedDict, total=False):
    """The arguments that every layer takes beside its own."""

    name: str | None
    dtype: npt.DTypeLike
    trainable: bool
    input_shape: Sequence[int | None] | None


Pullback: TypeAlias = Callable[[Array, bool], tuple[Array | list[Array] | None, list[Array]]]
"""The way back from (dy, need_dx), of which dy has the shape and dtype of y."""


_NO_UPDATES: Mapping[str, Array] = MappingProxyType({})


class Backprop(NamedTuple):
    """The way back through one call of a layer or a model, which made `y` of this shape and dtype.

    Attributes
    ----------
    updates
        The next values of weights that change by training, but not by its gradients: by name, as
        in `Layer.named_weights`. They are the weights' as soon as `Layer.commit` is given them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.floating[Any]]
    pullback: Pullback
    updates: Mapping[str, Array] = _NO_UPDATES

    def __call__(
        self, dy: npt.ArrayLike, *, need_dx: bool = True
    ) -> tuple[Array | list[Array] | None, list[Array]]:
        """Return ``(dx, grads)`` from the gradient of y.

        dx is an array, or a list of arrays where x was a list; without `need_dx` it is not
        computed, and None. `grads` stand in the order of `trainable_weights`.
        """
        gradient = _checks.cast("dy", dy, self.dtype)
        if gradient.shape != self.shape:
            raise ValueError(
                f"dy must have the shape of {self.name!r}'s output, {self.shape}, "
                f"received {gradient.shape}"
            )
        return self.pullback(gradient, need_dx)

    def by(self, pullback: Pullback) -> Backprop:
        """Return this with another way back; `_replace` takes three times as long."""
        return Backprop(self.name, self.shape, self.dtype, pullback, self.updates)


# Two threads may make the first call of one layer at once; a layer may build others in `_build`.
_building = threading.RLock()


def _renew_lock() -> None:
    """Give a forked child, in which the thread that holds the lock is not, one of its own."""
    global _building
    _building = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


class Layer(Weighted, Configured, ABC):
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
        self.name = _snake_case(type(self).__name__) if name is None else name
        self.is_named = name is not None
        self.dtype = _checks.float_dtype(options.get("dtype"))
        self.trainable = _checks.flag("trainable", options.get("trainable", True))
        given = options.get("input_shape")
        self.given_shape: Shape | None = (
            None if given is None else (None, *_checks.shape("input_shape", given))
        )
        self._built_shape = None
        self._weights = {}

    @property
    def name(self) -> str:
        """What messages and files call the layer; another may be assigned to it."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str) or not value or "/" in value:
            raise ValueError(f"name must be a word without a slash, received {value!r}")
        self._name = value
        self.is_named = True

    # -- calling

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return y for an array-like x, cast to the layer's dtype."""
        return self._forward(self._accept(x), False)[0]

    def forward(self, x: npt.ArrayLike, *, training: bool | Step = False) -> tuple[Array, Backprop]:
        """Return ``(y, backprop)``, where ``backprop(dy)`` is ``(dx, grads)``.

        Parameters
        ----------
        x
            Array-like of real numbers, the batch first; cast to the layer's dtype.
        training
            Whether the call is part of training, in which some layers act differently. A `Step`
            says which part, and makes what is random in it repeatable.
        """
        y, pullback, updates = self._forward_with_updates(self._accept(x), training)
        if not updates:
            return y, Backprop(self.name, y.shape, self.dtype, pullback)
        named = {f"{self.name}/{name}": value for name, value in updates.items()}
        return y, Backprop(self.name, y.shape, self.dtype, pullback, named)

    def prepare(self, input_shape: Sequence[int | None]) -> Callable[[Array], Array]:
        """Return the layer as it now is, as a function for many calls on inputs of this shape.

        Work that depends only on the weights and the size is done here, once. The function takes
        arrays of the layer's dtype, which it does not look at again.
        """
        self.build(input_shape)
        return lambda x: self._forward(x, False)[0]

    @abstractmethod
    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        """Return y and the way back, for an x of the right dtype and rank."""

    def _forward_with_updates(
        self, x: Array, training: bool | Step
    ) -> tuple[Array, Pullback, dict[str, Array]]:
        """Return what `_forward` does, and the next values of weights that the call changes."""
        return (*self._forward(x, training), {})

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
        return self._output_shape(self._fitting_shape(input_shape))

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
        shape = self._fitting_shape(input_shape)
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

    def _fitting_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Return an input's shape as a tuple, if it fits the layer."""
        shape = _checks.shape("input_shape", input_shape)
        self._check(shape)
        return shape

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
