"""The layer that stands for a model's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, Pullback
from fastconv.layers._step import Step

__all__ = ["Input"]


class Input(Layer):
    """The shape of one example, as the beginning of a model: ``y = x``, cast to `dtype`.

    A `Sequential` takes the shape from it and, as in Keras, does not count it among its layers.

    Parameters
    ----------
    shape
        Without the batch, as in ``(28, 28, 1)``; None in it leaves a size open.
    dtype
        float32 or float64.
    name
        What messages call it.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, Input
    >>> from fastconv.models import Sequential
    >>> model = Sequential([Input((32, 32, 3)), Conv2D(6, 5)])
    >>> model.output_shape, len(model.layers)
    ((None, 28, 28, 6), 1)
    """

    def __init__(
        self, shape: Sequence[int | None], dtype: npt.DTypeLike = "float32", name: str | None = None
    ) -> None:
        super().__init__(name=name, dtype=dtype, input_shape=shape)
        self.shape = _checks.shape("shape", shape)
        self.build((None, *self.shape))

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        if not _checks.agree((None, *self.shape), shape):
            raise ValueError(
                f"layer {self.name!r} takes inputs of shape {_checks.text((None, *self.shape))}, "
                f"received shape {_checks.text(shape)}"
            )

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        return x, lambda dy, need_dx: (dy if need_dx else None, [])
