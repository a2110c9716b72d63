"""The layers that bend what is negative: ReLU and its kin."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from fastconv import _checks, functional
from fastconv._checks import Array
from fastconv.activations import kept, relu, relu6
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._step import Step

__all__ = ["ELU", "LeakyReLU", "ReLU"]


class ReLU(Layer):
    """``y = x`` above the threshold, at most `max_value`, and a slope below it.

    y is max_value where x >= max_value, otherwise x where x > threshold, otherwise
    negative_slope * (x - threshold). dx is dy times 0, 1 or negative_slope there, and 0 * dy is 0
    whatever dy. A NaN stays one.

    Parameters
    ----------
    max_value
        At least 0; None is no limit.
    negative_slope, threshold
        At least 0.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import ReLU
    >>> ReLU(max_value=10, negative_slope=0.5)([-10.0, -5.0, 0.0, 5.0, 20.0])
    array([-5. , -2.5,  0. ,  5. , 10. ], dtype=float32)
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else _checks.real("max_value", max_value)
        self.negative_slope = _checks.real("negative_slope", negative_slope)
        self.threshold = _checks.real("threshold", threshold)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        top, slope, threshold = self.max_value, self.negative_slope, self.threshold
        if slope == threshold == 0 and top in (None, 6.0):  # the plain ones, in fewer passes
            y, pull = (relu if top is None else relu6).forward(x)
            return y, lambda dy, need_dx: (pull(dy) if need_dx else None, [])
        below = x <= threshold
        above = np.zeros_like(below) if top is None else x >= top
        y = np.where(below, slope * (x - threshold), x) if slope else kept(x, ~below)
        if top is not None:
            y[above] = top

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            dx = np.where(below, slope * dy, dy) if slope else kept(dy, ~below)
            return kept(dx, ~above), []

        return y, pullback


class LeakyReLU(Layer):
    """``y = x`` where x > 0, and ``negative_slope * x`` elsewhere (Maas et al., 2013).

    dx is dy, and negative_slope * dy elsewhere.

    Parameters
    ----------
    negative_slope
        At least 0.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import LeakyReLU
    >>> LeakyReLU(0.5)([-10.0, 5.0])
    array([-5.,  5.], dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.3, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.negative_slope = _checks.real("negative_slope", negative_slope)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        slope, below = self.negative_slope, x <= 0

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            return (np.where(below, slope * dy, dy) if need_dx else None), []

        return np.where(below, slope * x, x), pullback


class ELU(Layer):
    """``y = x`` where x > 0, and ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2016).

    dx is dy, and alpha * exp(x) * dy elsewhere.

    Parameters
    ----------
    alpha
        -alpha is what y tends to.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> from fastconv.layers import ELU
    >>> ELU()([-100.0, 0.0, 5.0])
    array([-1.,  0.,  5.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.alpha = _checks.real("alpha", alpha, least=-math.inf)

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        alpha, above = self.alpha, x > 0
        negative = kept(x, ~above)
        # exp(x) - 1 = 2 t / (1 - t) with t = tanh(x / 2), which keeps its digits where x is small.
        t = functional.tanh(negative * 0.5)
        y = np.where(above, x, alpha * (2.0 * t / (1.0 - t)))

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not need_dx:
                return None, []
            return np.where(above, dy, alpha * functional.exp(negative) * dy), []

        return y, pullback
