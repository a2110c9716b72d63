"""The model that is a chain of layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers import Backprop, Layer
from fastconv.models import _random, _summary
from fastconv.models.model import Model, Predictor

__all__ = ["Sequential"]


class Sequential(Model):
    """A chain of layers, each of which takes what the one before it gives.

    A layer without a name of its own gets one that is numbered by kind, ``conv2d_1``,
    ``conv2d_2``. The weights are made as soon as the input's shape is known: at once where the
    first layer has `input_shape`, otherwise by the first data or by `build`.

    Parameters
    ----------
    layers
        Added in this order; see `add`.
    name
        What `summary` calls the model.
    seed
        Fixes the first weights and the order of training, bit for bit, on any number of threads.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, Dense, Flatten
    >>> from fastconv.models import Sequential
    >>> model = Sequential([Conv2D(2, 3, input_shape=(8, 8, 1)), Flatten(), Dense(3)], seed=0)
    >>> model.output_shape, model.count_params()
    ((None, 3), 239)
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        *,
        name: str = "sequential",
        seed: int | None = None,
    ) -> None:
        self.name = name
        self._seed = _random.seed_or_fresh("seed", seed)
        self._layers: list[Layer] = []
        for layer in layers or ():
            self.add(layer)

    # -- building

    @property
    def layers(self) -> list[Layer]:
        """The layers, in their order."""
        return list(self._layers)

    def add(self, layer: Layer) -> None:
        """Add a layer at the end.

        Raises
        ------
        TypeError
            `layer` is not a `Layer`.
        ValueError
            Its name is taken, or it does not fit the output of the layer before it.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"layer must be a Layer, received {layer!r}")
        before = layer.name, layer.is_named
        self._give_name(layer)
        shape = self._input_shape if self._layers else layer.given_shape
        if shape is not None:
            try:
                self._build_layer(len(self._layers), layer, self._reached(shape))
            except ValueError:
                layer.name, layer.is_named = before
                raise
        self._layers.append(layer)
        self._input_shape = shape

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights for inputs of this shape, such as ``(None, 28, 28, 1)``.

        Raises
        ------
        ValueError
            The model has no layers, is built for another shape, or a layer does not fit.
        """
        shape = _checks.shape("input_shape", input_shape)
        if not self._layers:
            raise ValueError(f"model {self.name!r} has no layers")
        if self._input_shape is not None:
            self._check(shape)
            return
        reached: Shape = (None, *shape[1:])
        for index, layer in enumerate(self._layers):
            self._build_layer(index, layer, reached)
            reached = layer.compute_output_shape(reached)
        self._input_shape = (None, *shape[1:])

    def _build_layer(self, index: int, layer: Layer, shape: Shape) -> None:
        """Build a layer for the output of the one before it, from its own stream of the seed."""
        try:
            layer.build(shape, _random.stream(self._seed, _random.WEIGHTS, index))
            layer.compute_output_shape(shape)
        except ValueError as error:
            source = (
                f"layer {self._layers[index - 1].name!r}, which gives" if index else "inputs of"
            )
            raise ValueError(
                f"layer {layer.name!r} cannot follow {source} shape {_checks.text(shape)}: {error}"
            ) from error

    def _reached(self, shape: Shape) -> Shape:
        """Return the shape of the last layer's output."""
        for layer in self._layers:
            shape = layer.compute_output_shape(shape)
        return shape

    def _give_name(self, layer: Layer) -> None:
        """Give a number to a layer that has no name of its own."""
        taken = {other.name for other in self._layers}
        if not layer.is_named:
            numbered = (f"{layer.name}_{number}" for number in itertools.count(1))
            layer.name = next(name for name in numbered if name not in taken)
            layer.is_named = True
        elif layer.name in taken:
            raise ValueError(f"layer's name {layer.name!r} is taken by another layer of the model")

    # -- shapes

    @property
    def input_shape(self) -> Shape:
        """The shape of the input, with None for the batch."""
        return self._known_shape()

    @property
    def output_shape(self) -> Shape:
        """The shape of the output, with None for the batch."""
        return self._reached(self._known_shape())

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print each layer's name, type, output shape and number of parameters."""
        self._known_shape()
        print_fn(_summary.table(self.name, self._layers))

    def _check(self, shape: Shape) -> None:
        """Raise ValueError where inputs of this shape are not what the model is built for."""
        wanted = self._known_shape()
        if len(shape) != len(wanted) or any(
            size is not None and size != given
            for size, given in zip(wanted[1:], shape[1:], strict=True)
        ):
            raise ValueError(
                f"model {self.name!r} is built for inputs of shape {_checks.text(wanted)}, "
                f"received shape {_checks.text(shape)}"
            )

    def _accept(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return x as an array of a shape that fits; build the model if it is its first."""
        found = _checks.array("x", x)
        self.build((None, *found.shape[1:]))
        return found

    # -- computing

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the output for x, with nothing packed and nothing kept."""
        y: npt.NDArray[Any] = self._accept(x)
        for layer in self._layers:
            y = layer(y)
        return y

    def forward(self, x: npt.ArrayLike, *, training: bool = False) -> tuple[Array, Backprop]:
        """Return ``(y, backprop)``, in the protocol of `Layer.forward`.

        The grads are in the order of `trainable_weights`. Without `need_dx`, nothing is computed
        that only the layers before the first trainable weight would need.
        """
        y: npt.NDArray[Any] = self._accept(x)
        steps: list[tuple[Backprop, bool]] = []
        for layer in self._layers:
            y, step = layer.forward(y, training=training)
            steps.append((step, bool(layer.trainable_weights)))

        def backprop(
            dy: npt.ArrayLike, *, need_dx: bool = True
        ) -> tuple[Array | None, list[Array]]:
            first = next((i for i, (_, trainable) in enumerate(steps) if trainable), len(steps))
            gradient: Array | None = _checks.floats("dy", dy)
            grads: list[Array] = []
            for index in range(len(steps) - 1, -1 if need_dx else first - 1, -1):
                assert gradient is not None
                gradient, own = steps[index][0](gradient, need_dx=need_dx or index > first)
                grads = own + grads
            return gradient if need_dx else None, grads

        return y, backprop

    def _prepare(self, size: tuple[int, ...]) -> Predictor:
        functions: list[Predictor] = []
        shape: Shape = (None, *size)
        for layer in self._layers:
            functions.append(layer.prepare(shape))
            shape = layer.compute_output_shape(shape)

        def predictor(x: npt.ArrayLike) -> Array:
            y: npt.NDArray[Any] = _checks.array("x", x)
            for function in functions:
                y = function(y)
            return y

        return predictor
