"""The layer that normalises each example by its own mean and variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions, Pullback
from fastconv.layers._normalizing import NormalizingLayer, reciprocal_deviation, transformed
from fastconv.layers._step import Step
from fastconv.layers._sums import sum_over

__all__ = ["LayerNormalization"]


class LayerNormalization(NormalizingLayer):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, example by example (Ba, 2016).

    Mean and variance are taken over `axis`, and gamma and beta span it. With z = (x - mean) / d,
    d = sqrt(variance + epsilon), and g = gamma * dy: dx = (g - mean(g) - z * mean(g * z)) / d,
    while dgamma and dbeta add up dy * z and dy over all other axes. All sums have a fixed order.

    Parameters
    ----------
    axis
        One or several axes after the batch.
    epsilon
        Added to the variance.
    center, scale
        Whether there is beta, and gamma.
    beta_initializer, gamma_initializer
        A name or an `Initializer`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import LayerNormalization
    >>> np.round(LayerNormalization()([[1.0, 3.0], [10.0, 30.0]]), 2)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | Initializer = "zeros",
        gamma_initializer: str | Initializer = "ones",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, **options)
        self.axis = _checks.axis_or_axes("axis", axis)

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        """Return the axes, counted from 0 and in order."""
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        return _checks.axes_of(self.name, axes, shape)

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        axes = self._axes(shape)
        built = self._built_shape
        if built is not None and [shape[a] for a in axes] != [built[a] for a in self._axes(built)]:
            raise ValueError(
                f"layer {self.name!r} was built for inputs of shape {_checks.text(built)}, "
                f"received shape {_checks.text(shape)}"
            )

    def _build(self, shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
        axes = self._axes(shape)
        sizes = tuple(size for axis in axes if (size := shape[axis]) is not None)
        if len(sizes) < len(axes):
            raise ValueError(
                f"layer {self.name!r} needs to know axes {axes} of its input, of which one is open "
                f"in shape {_checks.text(shape)}"
            )
        return self._first_affine(sizes, rng)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        axes = self._axes(x.shape)
        others = tuple(axis for axis in range(x.ndim) if axis not in axes)
        shape = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
        count = math.prod(shape)

        def means(values: Array) -> Array:
            return sum_over(values, axes) / count

        centred = x - means(x)
        rate = reciprocal_deviation(means(centred * centred), self.epsilon)
        normal = centred * rate
        gamma, beta = self._affine(shape)
        needs = (self.scale and self.trainable, self.center and self.trainable)

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            sizes = [size for axis, size in enumerate(shape) if axis in axes]
            grads = [sum_over(dy * normal, others).reshape(sizes)] if needs[0] else []
            grads += [sum_over(dy, others).reshape(sizes)] if needs[1] else []
            if not need_dx:
                return None, grads
            slope = dy if gamma is None else dy * gamma
            return (slope - means(slope) - normal * means(slope * normal)) * rate, grads

        return transformed(normal, gamma, beta), pullback
