"""The layer that brings pixels to another scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from fastconv import _checks
from fastconv._checks import Array, Shape
from fastconv.layers._base import Layer, LayerOptions, Pullback
from fastconv.layers._step import Step

__all__ = ["Rescaling"]


class Rescaling(Layer):
    """``y = scale * x + offset``, of x's shape; dx = scale * dy.

    Parameters
    ----------
    scale, offset
        Numbers, or lists of one number for each element of x's last axis.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Rescaling
    >>> Rescaling(1 / 127.5, offset=-1)(np.array([[0, 255]], np.uint8))
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        scale: float | Sequence[float],
        offset: float | Sequence[float] = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.scale = _numbers("scale", scale)
        self.offset = _numbers("offset", offset)

    def _check(self, shape: Shape) -> None:
        super()._check(shape)
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(value, tuple) and shape[-1] not in (None, len(value)):
                raise ValueError(
                    f"layer {self.name!r} has {len(value)} numbers in {name}, which does not fit "
                    f"the last axis of an input of shape {_checks.text(shape)}"
                )

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        scale, offset = np.asarray(self.scale, x.dtype), np.asarray(self.offset, x.dtype)
        return x * scale + offset, lambda dy, need_dx: (dy * scale if need_dx else None, [])


def _numbers(name: str, value: object) -> float | tuple[float, ...]:
    """Return a number, or several."""
    if (
        isinstance(value, (Sequence, np.ndarray))
        and not isinstance(value, str)
        and getattr(value, "ndim", True)
    ):
        return tuple(
            _checks.real(f"{name}[{index}]", number, least=-math.inf)
            for index, number in enumerate(value)
        )
    return _checks.real(name, value, least=-math.inf)
