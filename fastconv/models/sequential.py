"""The model that is a chain of layers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers import Backprop, Input, Layer, Step, _pooled
from fastconv.layers._gates import swapped
from fastconv.models import _architecture, _random, _reach, _summary
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
        if not isinstance(name, str):
            raise TypeError(f"name must be a word, received {name!r}")
        if layers is not None and not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of Layer objects, received {layers!r}")
        self.name = name
        self._seed = _random.seed_or_fresh("seed", seed)
        self._layers: list[Layer] = []
        self._given_shape: Shape | None = None
        for layer in layers or ():
            self.add(layer)

    # -- building

    @property
    def layers(self) -> list[Layer]:
        """The layers, in their order."""
        return list(self._layers)

    def add(self, layer: Layer) -> None:
        """Add a layer at the end; an `Input` gives the model's shape and is not kept.

        Raises
        ------
        TypeError
            `layer` is not a `Layer`.
        ValueError
            Its name is taken, or it does not fit the output of the layer before it.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"layer must be a Layer, received {layer!r}")
        if isinstance(layer, Input):
            self._begin(layer)
            return
        before = layer.name, layer.is_named
        self._give_name(layer)
        shape = self._input_shape if self._layers else self._first_shape(layer)
        if shape is not None:
            try:
                reached = self._reached(shape)
                self._following(len(self._layers), layer, reached)
                self._build_layer(len(self._layers), layer, reached)
            except ValueError:
                layer.name, layer.is_named = before
                raise
        self._layers.append(layer)
        self._input_shape = shape

    def _begin(self, layer: Input) -> None:
        """Take the shape of the input that the first layer will have."""
        if self._layers or self._given_shape is not None:
            raise ValueError(f"layer {layer.name!r} is an Input, which can only come first")
        self._given_shape = layer.given_shape

    def _first_shape(self, layer: Layer) -> Shape | None:
        """Return the shape of the input, if the first layer or an `Input` before it tells."""
        own, told = layer.given_shape, self._given_shape
        if own is not None and told is not None and own != told:
            raise ValueError(
                f"layer {layer.name!r} has input_shape {_checks.text(own[1:])}, where the Input "
                f"before it has {_checks.text(told[1:])}"
            )
        return own if told is None else told

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
        reached: list[Shape] = [(None, *shape[1:])]
        for index, layer in enumerate(self._layers):
            reached.append(self._following(index, layer, reached[-1]))
        for index, layer in enumerate(self._layers):  # all of them fit: all are built, or none
            self._build_layer(index, layer, reached[index])
        self._input_shape = reached[0]

    def _build_layer(self, index: int, layer: Layer, shape: Shape) -> None:
        """Build a layer for the output of the one before it, from its own stream of the seed."""
        layer.build(shape, _random.stream(self._seed, _random.WEIGHTS, index))

    def _following(self, index: int, layer: Layer, shape: Shape) -> Shape:
        """Return the shape of a layer's output, if the layer can follow the one before it."""
        try:
            return layer.compute_output_shape(shape)
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

    # -- as a description

    def get_config(self) -> dict[str, Any]:
        """Return the name, the seed, the input's shape and the layers, as JSON can hold them.

        Raises
        ------
        TypeError
            An argument of a layer is nothing that can be written.
        """
        return {
            "name": self.name,
            "seed": self._seed,
            "input_shape": list(self._known_shape()),
            "layers": [_architecture.described(layer) for layer in self._layers],
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        custom_objects: _architecture.CustomObjects | None = None,
    ) -> Self:
        """Return a new model, built, with first weights, from what `get_config` gave.

        Raises
        ------
        ValueError
            It is no such description, a class is neither a layer of fastconv nor one of
            `custom_objects`, or the layers do not fit.
        """
        match config:
            case {
                "name": str(name),
                "seed": int(seed),
                "input_shape": list(shape),
                "layers": list(found),
            }:
                pass
            case _:
                raise ValueError(
                    "a Sequential must have name, seed, input_shape and layers, received "
                    f"{sorted(config)}"
                )
        model = cls(
            [_architecture.made(layer, custom_objects) for layer in found], name=name, seed=seed
        )
        model.build(shape)
        return model

    # -- shapes

    @property
    def input_shape(self) -> Shape:
        """The shape of the input, with None for the batch."""
        return self._known_shape()

    @property
    def output_shape(self) -> Shape:
        """The shape of the output, with None for the batch."""
        return self._reached(self._known_shape())

    def summary(self, print_fn: Callable[[str], object] = print, *, batch_size: int = 32) -> None:
        """Print a table of the layers.

        For each, its name and type, its output's shape, its parameters, its receptive field (how
        much of the input one number of its output sees) and the memory that its activations take
        for a batch: the output in inference, and what is kept for the way back in training. A layer
        that gives back its input's memory takes none.

        Parameters
        ----------
        print_fn
            What is called with the table, one string of several lines.
        batch_size
            How many examples the memory is given for.

        Examples
        --------
        >>> from fastconv.models import lenet5
        >>> lenet5().summary(batch_size=64)
        Model 'lenet5', inputs (None, 28, 28, 1)
        ...
        conv2d_2 (Conv2D)                (None, 10, 10, 16)       2,416            14x14  ...
        ...
        """
        shape = self._known_shape()
        size = _checks.integer("batch_size", batch_size)
        print_fn(_summary.table(self.name, self._layers, shape, size))

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
        if self._input_shape is None:
            self.build((None, *found.shape[1:]))
        else:
            self._check(found.shape)
        return found

    # -- computing

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the output for x, with nothing packed and nothing kept."""
        y: npt.NDArray[Any] = self._accept(x)
        y = y[_reach.reached(self._layers, y.shape)]
        for layer in self._layers:
            y = layer(y)
        return y

    def forward(self, x: npt.ArrayLike, *, training: bool | Step = False) -> tuple[Array, Backprop]:
        """Return ``(y, backprop)``, in the protocol of `Layer.forward`.

        The grads are in the order of `trainable_weights`. Without `need_dx`, nothing is computed
        that only the layers before the first trainable weight would need; and nothing at all of
        pixels that y does not depend on. A `Step` is told to each layer as its own: the layers are
        numbered from 0.
        """
        whole: npt.NDArray[Any] = self._accept(x)
        part = _reach.reached(self._layers, whole.shape)
        y, shape = whole[part], whole.shape
        steps: list[Backprop] = []
        trainable = (index for index, layer in enumerate(self._layers) if layer.trainable_weights)
        first = next(trainable, len(self._layers))
        for index, layer in enumerate(self._layers):
            if index < len(steps):
                continue  # it was called with the layer before it
            if training and (pair := _pooled.forward(self._layers[index : index + 2], y)):
                y, *ways = pair
                steps += ways
                continue
            own = training.of_layer(index) if isinstance(training, Step) else training
            y, step = layer.forward(y, training=own)
            if index:
                steps[-1], step = swapped(steps[-1], step)
            steps.append(step)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | list[Array] | None, list[Array]]:
            gradient: Array | list[Array] | None = dy
            grads: list[Array] = []
            for index in range(len(steps) - 1, -1 if need_dx else first - 1, -1):
                assert isinstance(gradient, np.ndarray)
                gradient, own = steps[index](gradient, need_dx=need_dx or index > first)
                grads = own + grads
            if need_dx and part:
                assert isinstance(gradient, np.ndarray)
                gradient = _reach.embedded(gradient, part, shape)
            return gradient if need_dx else None, grads

        updates = {name: value for step in steps for name, value in step.updates.items()}
        return y, Backprop(self.name, y.shape, y.dtype, pullback, updates)

    def _prepare(self, size: tuple[int, ...]) -> Predictor:
        functions: list[Callable[[Array], Array]] = []
        part = _reach.reached(self._layers, (1, *size))
        shape: Shape = (None, *np.broadcast_to(0, (1, *size))[part].shape[1:])
        dtype: np.dtype[Any] | None = None
        for layer in self._layers:
            if layer.dtype != dtype:
                functions.append(functools.partial(np.asarray, dtype=layer.dtype))
            functions.append(layer.prepare(shape))
            shape, dtype = layer.compute_output_shape(shape), layer.dtype

        def predictor(x: npt.NDArray[Any]) -> Array:
            x = x[part]
            for function in functions:
                x = function(x)
            return x

        return predictor
