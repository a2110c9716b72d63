"""The rectifier that learns its slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from fastconv import _checks, initializers
from fastconv._checks import Array, Shape
from fastconv.activations import kept
from fastconv.initializers import Initializer
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._step import Step
from fastconv.layers._sums import sum_over
from fastconv.layers._weights import Weight

__all__ = ["PReLU"]


class PReLU(Layer):
    """``y = x`` where x > 0, and ``alpha * x`` elsewhere, with alpha learned (He et al., 2015).

    dx is dy, and alpha * dy elsewhere; dalpha adds up dy * x over the x <= 0 that share an alpha.

    Parameters
    ----------
    alpha_initializer
        A name or an `Initializer`.
    shared_axes
        The axes along which one alpha serves all, as in ``[1, 2]`` for one a channel of images;
        None is an alpha for each number of an example.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import PReLU
    >>> layer = PReLU(shared_axes=[1, 2])
    >>> layer(-np.ones((1, 4, 4, 3))).shape, layer.alpha.shape
    ((1, 4, 4, 3), (1, 1, 3))
    """

    alpha = Weight("The slopes, read-only; assign an array to replace them.")

    def __init__(
        self,
        alpha_initializer: str | Initializer = "zeros",
        shared_axes: Sequence[int] | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.alpha_initializer = initializers.get("alpha_initializer", alpha_initializer)
        self.shared_axes = (
            None if shared_axes is None else _checks.integers("shared_axes", shared_axes)
        )

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        wrong = [axis for axis in self.shared_axes or () if axis >= len(shape)]
        if wrong:
            raise ValueError(
                f"layer {self.name!r} has {wrong[0]} among its shared_axes, which is not an axis "
                f"of an input of shape {_checks.text(shape)}"
            )
        if self._built_shape is not None:
            wanted = tuple(self._without_shared(self._built_shape))
            if not _checks.agree(wanted, self._without_shared(shape)):
                raise ValueError(
                    f"layer {self.name!r} was built for inputs of shape "
                    f"{_checks.text(self._built_shape)}, received shape {_checks.text(shape)}"
                )

    def _without_shared(self, shape: Shape) -> Shape:
        """Return the shape of alpha with the batch before it."""
        shared = self.shared_axes or ()
        return (None, *(1 if i in shared else size for i, size in enumerate(shape) if i))

    def _build(self, shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
        sizes = self._without_shared(shape)[1:]
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            raise ValueError(
                f"layer {self.name!r} needs to know the axes of its input that are not shared, of "
                f"which one is open in shape {_checks.text(shape)}"
            )
        return {"alpha": self.alpha_initializer(known, self.dtype, rng)}

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        alpha, trainable, shared = self.alpha, self.trainable, (0, *(self.shared_axes or ()))
        below = x <= 0

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            dx = np.where(below, alpha * dy, dy) if need_dx else None
            if not trainable:
                return dx, []
            return dx, [sum_over(kept(dy * x, below), shared)[0]]

        return np.where(below, alpha * x, x), pullback
