"""What the layers of several inputs share: x is a list, and so is dx."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, Pullback
from fastconv.layers._step import Step
from fastconv.layers._sums import sum_over

Pull = Callable[[Array], list[Array]]


class Merging(Layer):
    """A layer of a list of inputs, which share the batch; shapes are lists of shapes."""

    def _accept(self, x: Any) -> Any:
        if not isinstance(x, (list, tuple)):
            raise TypeError(
                f"layer {self.name!r} takes a list of arrays, received {type(x).__name__}"
            )
        found = [_checks.cast(f"x[{index}]", part, self.dtype) for index, part in enumerate(x)]
        self._fitting_shape([part.shape for part in found])
        if not self.built:
            shapes: Any = [(None, *part.shape[1:]) for part in found]
            self.build(shapes)
        return found

    def _fitting_shape(self, input_shape: Sequence[Any]) -> Any:
        if not input_shape or not all(isinstance(shape, (list, tuple)) for shape in input_shape):
            raise ValueError(
                f"layer {self.name!r} takes a list of inputs, at least one, received "
                f"{'none' if not input_shape else 'the shape ' + _checks.text(tuple(input_shape))}"
            )
        shapes: Any = tuple(
            _checks.shape(f"input_shape[{index}]", shape) for index, shape in enumerate(input_shape)
        )
        batches = {shape[0] for shape in shapes if shape}
        if len(batches - {None}) > 1 or not all(shapes):
            raise self.misfit(shapes)
        self._output_shape(shapes)
        return shapes

    def misfit(self, shapes: Sequence[Shape]) -> ValueError:
        return ValueError(
            f"layer {self.name!r} cannot merge inputs of shapes "
            f"{', '.join(_checks.text(shape) for shape in shapes)}"
        )

    @property
    def input_shape(self) -> Any:
        """The shapes that the layer was built for, with None for the batch."""
        return list(self._known_shape())

    @abstractmethod
    def _merge(self, parts: list[Array]) -> tuple[Array, Pull]:
        """Return y and the gradients of the parts from dy."""

    def _forward(self, x: Any, training: bool | Step) -> tuple[Array, Pullback]:
        y, pull = self._merge(x)
        return y, lambda dy, need_dx: (pull(dy) if need_dx else None, [])


class Elementwise(Merging):
    """A merge number by number.

    Axes of length 1 are stretched, and missing ones put in after the batch. The gradient of what
    was stretched adds up.
    """

    def _output_shape(self, shape: Any) -> Shape:
        rank = max(len(part) for part in shape)
        sizes: list[int | None] = []
        for lengths in zip(*(_raised(part, rank) for part in shape), strict=True):
            others = {length for length in lengths if length not in (None, 1)}
            if len(others) > 1:
                raise self.misfit(shape)
            sizes.append(next(iter(others), None if None in lengths else 1))
        return tuple(sizes)

    def _forward(self, x: Any, training: bool | Step) -> tuple[Array, Pullback]:
        rank = max(part.ndim for part in x)
        raised = [part.reshape(_raised(part.shape, rank)) for part in x]
        y, pull = self._merge(raised)

        def pullback(dy: Array, need_dx: bool) -> tuple[list[Array] | None, list[Array]]:
            if not need_dx:
                return None, []
            grads = zip(pull(dy), raised, x, strict=True)
            return [_shrunk(grad, like.shape).reshape(part.shape) for grad, like, part in grads], []

        return y, pullback


def _raised(shape: Any, rank: int) -> Any:
    """Return a shape of this rank, with axes of length 1 after the batch."""
    return (shape[0], *(1,) * (rank - len(shape)), *shape[1:])


def _shrunk(dy: Array, shape: tuple[int, ...]) -> Array:
    """Return dy added up over the axes that were stretched from length 1."""
    stretched = [axis for axis, size in enumerate(shape) if size == 1 != dy.shape[axis]]
    return sum_over(dy, stretched)
