"""What the normalisation layers share: a scale gamma, an offset beta, a small epsilon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import numpy as np

from fastconv import _checks, initializers
from fastconv._checks import Array
from fastconv.initializers import Initializer
from fastconv.layers._base import Layer, LayerOptions
from fastconv.layers._weights import OptionalWeight


class NormalizingLayer(Layer):
    """``y = gamma * normalised x + beta``, where a layer may lack one or both."""

    gamma = OptionalWeight("The scale, read-only, or None; assign an array to replace it.")
    beta = OptionalWeight("The offset, read-only, or None; assign an array to replace it.")

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: str | Initializer,
        gamma_initializer: str | Initializer,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.epsilon = _checks.real("epsilon", epsilon)
        self.center = _checks.flag("center", center)
        self.scale = _checks.flag("scale", scale)
        self.beta_initializer = initializers.get("beta_initializer", beta_initializer)
        self.gamma_initializer = initializers.get("gamma_initializer", gamma_initializer)

    def _first_affine(self, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Array]:
        """Return gamma and beta, where there are to be."""
        weights: dict[str, Array] = {}
        if self.scale:
            weights["gamma"] = self.gamma_initializer(shape, self.dtype, rng)
        if self.center:
            weights["beta"] = self.beta_initializer(shape, self.dtype, rng)
        return weights

    def _affine(self, shape: tuple[int, ...]) -> tuple[Array | None, Array | None]:
        """Return gamma and beta in a shape that aligns with x's axes."""
        gamma, beta = self.gamma, self.beta
        return (
            None if gamma is None else gamma.reshape(shape),
            None if beta is None else beta.reshape(shape),
        )


def reciprocal_deviation(variance: Array, epsilon: float) -> Array:
    """Return 1 / sqrt(variance + epsilon): by operations that IEEE 754 rounds correctly."""
    deviation: Array = np.sqrt(variance + variance.dtype.type(epsilon))
    return 1 / deviation


def transformed(normal: Array, gamma: Array | None, beta: Array | None) -> Array:
    """Return gamma * normal + beta."""
    if gamma is None:
        return normal if beta is None else normal + beta
    y: Array = normal * gamma
    if beta is not None:
        y += beta
    return y


def in_rows(x: Array, axis: int) -> tuple[Array, Callable[[Array], Array]]:
    """Return x in a shape whose last axis is long, and what aligns the numbers of channels with it.

    NumPy's loops are as long as the last axis: over 16 channels, pixel by pixel, they take twice as
    long as over a row of 32 pixels.
    """
    if axis % x.ndim == x.ndim - 1 and x.ndim > 2 and x.flags.c_contiguous and x.size:
        width = x.shape[-2]
        return x.reshape(-1, width * x.shape[-1]), lambda values: np.tile(values, width)
    aligned = [1] * x.ndim
    aligned[axis] = x.shape[axis]
    return x, lambda values: values.reshape(aligned)
