"""The layer that normalises each channel by its mean and variance over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import numpy as np

from fastconv import _checks, initializers
from fastconv._checks import Array, Shape
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions, Pullback
from fastconv.layers._normalizing import (
    NormalizingLayer,
    in_rows,
    reciprocal_deviation,
    transformed,
)
from fastconv.layers._step import Step
from fastconv.layers._sums import channel_sums
from fastconv.layers._weights import Weight

__all__ = ["BatchNormalization"]


class BatchNormalization(NormalizingLayer):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`` (Ioffe and Szegedy, 2015).

    In training, mean and variance are the channel's over the whole batch (the variance over m
    numbers divides by m), and the moving ones become ``momentum * moving + (1 - momentum) * new``.
    Otherwise, and where `trainable` is False, they are the moving ones. With z = (x - mean) / d,
    d = sqrt(variance + epsilon), sums over the channel and m its numbers: dbeta = sum(dy),
    dgamma = sum(dy * z), and in training dx = gamma / d * (dy - dbeta / m - z * dgamma / m),
    otherwise gamma / d * dy. The sums are taken in a fixed order.

    The weights are gamma, beta, moving_mean, moving_variance, each of shape (c,).

    Parameters
    ----------
    axis
        That of the channels: -1, or 1 for images in "channels_first".
    momentum
        The share of the old moving statistics.
    epsilon
        Added to the variance.
    center, scale
        Whether there is beta, and gamma.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer
        A name or an `Initializer`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import BatchNormalization
    >>> layer = BatchNormalization(momentum=0.5)
    >>> y, backprop = layer.forward([[1.0], [3.0]], training=True)
    >>> np.round(y.ravel(), 2), backprop.updates["batch_normalization/moving_mean"]
    (array([-1.,  1.], dtype=float32), array([1.], dtype=float32))
    """

    moving_mean = Weight("The mean outside training, read-only; assign an array to replace it.")
    moving_variance = Weight("The variance outside training, read-only; assign to replace it.")
    _untrained = ("moving_mean", "moving_variance")

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | Initializer = "zeros",
        gamma_initializer: str | Initializer = "ones",
        moving_mean_initializer: str | Initializer = "zeros",
        moving_variance_initializer: str | Initializer = "ones",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, **options)
        self.axis = _checks.integer("axis", axis, least=-32)
        self.momentum = _checks.real("momentum", momentum)
        self.moving_mean_initializer = initializers.get(
            "moving_mean_initializer", moving_mean_initializer
        )
        self.moving_variance_initializer = initializers.get(
            "moving_variance_initializer", moving_variance_initializer
        )

    @property
    def _feature_axis(self) -> int:
        return self.axis

    def _check(self, shape: Shape) -> None:
        _checks.axes_of(self.name, (self.axis,), shape)
        super()._check(shape)

    def _build(self, shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
        channels = shape[self.axis]
        if channels is None:
            raise ValueError(
                f"layer {self.name!r} needs to know axis {self.axis} of its input, "
                f"which is open in shape {_checks.text(shape)}"
            )
        return {
            **self._first_affine((channels,), rng),
            "moving_mean": self.moving_mean_initializer((channels,), self.dtype, rng),
            "moving_variance": self.moving_variance_initializer((channels,), self.dtype, rng),
        }

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        y, pullback, _ = self._forward_with_updates(x, training)
        return y, pullback

    def _forward_with_updates(
        self, x: Array, training: bool | Step
    ) -> tuple[Array, Pullback, dict[str, Array]]:
        rows, along = in_rows(x, self.axis)
        of_batch = bool(training) and self.trainable and x.size > 0
        updates: dict[str, Array] = {}
        if of_batch:
            count = x.size // x.shape[self.axis]
            mean = channel_sums(x, self.axis) / count
            normal = rows - along(mean)
            squares = (normal * normal).reshape(x.shape)
            variance = channel_sums(squares, self.axis) / count
            updates = self._moved(mean, variance)
        else:
            normal, variance = rows - along(self.moving_mean), self.moving_variance
        rate = reciprocal_deviation(variance, self.epsilon)
        normal *= along(rate)
        gamma, beta = (None if w is None else along(w) for w in (self.gamma, self.beta))
        y = transformed(normal, gamma, beta).reshape(x.shape)
        slope = along(rate if self.gamma is None else rate * self.gamma)
        return y, self._way_back(normal, slope, along, x.shape, of_batch), updates

    def _moved(self, mean: Array, variance: Array) -> dict[str, Array]:
        """Return the next moving statistics."""
        old, new = self.momentum, 1.0 - self.momentum
        return {
            "moving_mean": self.moving_mean * old + mean * new,
            "moving_variance": self.moving_variance * old + variance * new,
        }

    def _way_back(
        self,
        normal: Array,
        slope: Array,
        along: Callable[[Array], Array],
        shape: tuple[int, ...],
        of_batch: bool,
    ) -> Pullback:
        """Return the way back, where y's slope in normal x is gamma and in x is `slope`."""
        trainable, scale, center, axis = self.trainable, self.scale, self.center, self.axis
        count = normal.size // max(1, shape[axis])

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            of_means = of_batch and need_dx
            wanted = scale and trainable, center and trainable
            rows = dy.reshape(normal.shape)
            dgamma = dbeta = dx = None
            if wanted[0] or of_means:
                dgamma = channel_sums((rows * normal).reshape(shape), axis)
            if wanted[1] or of_means:
                dbeta = channel_sums(dy, axis)
            if of_means:
                assert dgamma is not None
                assert dbeta is not None
                dx = rows - along(dbeta / count)
                dx -= normal * along(dgamma / count)
                dx *= slope
            elif need_dx:
                dx = rows * slope
            both = zip((dgamma, dbeta), wanted, strict=True)
            grads = [gradient for gradient, want in both if want and gradient is not None]
            return None if dx is None else dx.reshape(shape), grads

        return pullback
