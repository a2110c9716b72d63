"""Interpolation of images: a few weighted neighbours for each output, and the adjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastconv._checks import Array
from fastconv.layers._images import spatial_axes

Interpolation = Literal["nearest", "bilinear"]
_WORDS: dict[str, Interpolation] = {"nearest": "nearest", "bilinear": "bilinear"}


def interpolation_word(value: object) -> Interpolation:
    """Return the argument `interpolation`, checked."""
    if not isinstance(value, str) or value not in _WORDS:
        raise ValueError(f"interpolation must be 'nearest' or 'bilinear', received {value!r}")
    return _WORDS[value]


def resize(
    x: Array,
    size: tuple[int, int],
    data_format: str,
    interpolation: Interpolation,
    antialias: bool = False,
) -> tuple[Array, Callable[[Array], Array]]:
    """Return images brought to a size, one direction after the other, and the way back."""
    axes = spatial_axes(data_format)
    if min(x.shape[axis] for axis in axes) < 1:
        raise ValueError(f"an image without pixels cannot be resized, received shape {x.shape}")
    maps = [
        (axis, *resampling(interpolation, x.shape[axis], side, antialias))
        for axis, side in zip(axes, size, strict=True)
    ]
    y = x
    for axis, there, _ in maps:
        y = there.apply(y, axis)

    def pull(dy: Array) -> Array:
        for axis, _, back in reversed(maps):
            dy = back.apply(dy, axis)
        return dy

    return y, pull


@dataclass(frozen=True)
class Resampling:
    """``y[i] = sum_k weights[i, k] x[taps[i, k]]``, added in the order of k.

    Products and sums are NumPy's, one rounding each, so that the bits are the same on every CPU.
    A row that needs fewer neighbours than the others has weights of 0, for which 0 is added: what
    stands there is no neighbour, and may be infinite.
    """

    taps: npt.NDArray[np.intp]
    weights: npt.NDArray[np.float64]

    def apply(self, x: Array, axis: int) -> Array:
        """Return y, of which `axis` has ``len(taps)`` elements."""
        aligned = [1] * x.ndim
        aligned[axis] = len(self.taps)
        total: Array | None = None
        for taps, weights in zip(self.taps.T, self.weights.T, strict=True):
            term: Array = x.take(taps, axis=axis)
            absent = weights == 0.0
            if absent.any():
                term[(slice(None),) * axis + (absent,)] = 0.0
            if (weights != 1.0).any():
                term *= weights.astype(x.dtype).reshape(aligned)
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None
        return total

    def adjoint(self, n_in: int) -> Resampling:
        """Return the map of gradients: dx from dy, where x has `n_in` elements."""
        outputs, columns = np.nonzero(self.weights)
        sources = self.taps[outputs, columns]
        order = np.argsort(sources, kind="stable")  # so each sum runs in the order of outputs
        outputs, columns, sources = outputs[order], columns[order], sources[order]
        counts = np.bincount(sources, minlength=n_in)
        places = np.arange(len(sources)) - (np.cumsum(counts) - counts)[sources]
        taps = np.zeros((n_in, max(1, int(counts.max()))), np.intp)
        weights = np.zeros(taps.shape)
        taps[sources, places] = outputs
        weights[sources, places] = self.weights[outputs, columns]
        return Resampling(taps, weights)


@lru_cache(maxsize=64)
def resampling(
    interpolation: Interpolation, n_in: int, n_out: int, antialias: bool = False
) -> tuple[Resampling, Resampling]:
    """Return the map from `n_in` to `n_out` elements, and its adjoint.

    Output i lies at ``(i + 0.5) * n_in / n_out - 0.5``, so that the ends of both rows coincide.
    """
    if interpolation == "nearest":
        found = _nearest(n_in, n_out)
    elif antialias and n_in > n_out:
        found = _triangle(n_in, n_out)
    else:
        found = _linear(n_in, n_out)
    return found, found.adjoint(n_in)


def _nearest(n_in: int, n_out: int) -> Resampling:
    """Return the map to the element that holds the output's place; in integers, thus exact."""
    taps = (2 * np.arange(n_out) + 1) * n_in // (2 * n_out)
    return Resampling(taps[:, None], np.ones((n_out, 1)))


def _linear(n_in: int, n_out: int) -> Resampling:
    """Return the map to the two neighbours, by distance; beyond the ends to the last one."""
    places = np.clip(_places(n_in, n_out), 0.0, n_in - 1.0)
    before = np.floor(places).astype(np.intp)
    share = places - before
    after = np.minimum(before + 1, n_in - 1)
    return Resampling(np.stack([before, after], 1), np.stack([1.0 - share, share], 1))


def _triangle(n_in: int, n_out: int) -> Resampling:
    """Return the map to all elements under a triangle as wide as two steps, normalised."""
    width = n_in / n_out
    places = _places(n_in, n_out)[:, None]
    taps = np.ceil(places - width).astype(np.intp) + np.arange(int(2 * width) + 2)
    weights = np.maximum(0.0, 1.0 - np.abs(taps - places) / width)
    weights[(taps < 0) | (taps >= n_in)] = 0.0
    totals = np.cumsum(weights, axis=1)[:, -1:]  # in order, where np.sum's is the CPU's
    return Resampling(np.clip(taps, 0, n_in - 1), weights / totals)


def _places(n_in: int, n_out: int) -> npt.NDArray[np.floating[Any]]:
    return (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
