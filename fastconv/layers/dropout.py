"""The layers that drop numbers at random in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.activations import kept
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._images import resized
from fastconv.layers._step import Step

__all__ = ["Dropout", "SpatialDropout2D"]


class _Dropping(Layer):
    """y = x / (1 - rate) where a mask keeps it and 0 elsewhere, in training; x otherwise."""

    def __init__(self, rate: float, seed: int | None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.rate = _checks.real("rate", rate)
        if self.rate > 1:
            raise ValueError(f"rate must be a number from 0 to 1, received {rate}")
        self.seed = None if seed is None else _checks.seed("seed", seed)

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the mask, with 1 where one decision holds for a whole axis."""
        return shape

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        if not training or self.rate == 0:
            return x, lambda dy, need_dx: (dy if need_dx else None, [])
        rng = (
            training.rng(self.seed)
            if isinstance(training, Step)
            else np.random.Generator(np.random.PCG64(self.seed))
        )
        drawn = rng.random(self._mask_shape(x.shape), np.float32)
        mask = np.broadcast_to(drawn >= self.rate, x.shape)
        scale = 1.0 if self.rate == 1 else 1.0 / (1.0 - self.rate)  # at 1 the mask keeps nothing

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            return (kept(dy * scale, mask) if need_dx else None), []

        return kept(x * scale, mask), pullback


class Dropout(_Dropping):
    """Each number 0 with probability `rate`, otherwise divided by 1 - rate (Srivastava, 2014).

    In training only; otherwise y is x. dx is dy under the same mask. In `fit` the mask depends on
    the seed, the layer's place, the step and the part of the batch alone, so that neither threads
    nor the order of calls count; ``forward(x, training=True)`` draws a new one, unless the layer
    has a seed.

    Parameters
    ----------
    rate
        From 0 to 1.
    noise_shape
        The mask's shape, batch included: 1 where one decision holds for a whole axis, None where
        an axis has x's size. None is x's shape.
    seed
        In place of the training run's.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Dropout
    >>> layer = Dropout(0.5, seed=1)
    >>> y, _ = layer.forward(np.ones((1, 1000)), training=True)
    >>> np.unique(y), bool(450 < (y > 0).sum() < 550)
    (array([0., 2.], dtype=float32), True)
    >>> layer([[3.0]])
    array([[3.]], dtype=float32)
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(rate, seed, **options)
        self.noise_shape = (
            None if noise_shape is None else _checks.shape("noise_shape", noise_shape)
        )

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        noise = self.noise_shape
        if noise is None:
            return
        # What is 1 in the mask fits any size: it is left open for the comparison.
        wanted = tuple(None if size == 1 else size for size in noise)
        if not _checks.agree(wanted, shape):
            raise ValueError(
                f"layer {self.name!r} has noise_shape {_checks.text(noise)}, which does not fit "
                f"an input of shape {_checks.text(shape)}"
            )

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        noise = self.noise_shape or (None,) * len(shape)
        return tuple(s if n is None else n for n, s in zip(noise, shape, strict=True))


class SpatialDropout2D(_Dropping):
    """Whole channels of an image dropped: a `Dropout` with one decision a channel (Tompson, 2015).

    Parameters
    ----------
    rate
        From 0 to 1.
    data_format
        "channels_last", the default, or "channels_first".
    seed
        In place of the training run's.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import SpatialDropout2D
    >>> y, _ = SpatialDropout2D(0.5).forward(np.ones((1, 4, 4, 8)), training=True)
    >>> set(y.sum(axis=(0, 1, 2)).tolist()) <= {0.0, 32.0}
    True
    """

    rank = 4

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(rate, seed, **options)
        self.data_format = _checks.data_format(data_format)

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(size or 0 for size in resized(shape, self.data_format, (1, 1)))
