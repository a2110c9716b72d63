"""Sums over many numbers, in an order that neither threads nor the CPU choose.

``np.sum`` adds in NumPy's order, which differs from CPU to CPU; these are sums that convolution
takes, as the gradient of a bias, or dense, as a product with ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from fastconv import functional
from fastconv._checks import Array
from fastconv.activations import row_sums


def channel_sums(x: Array, axis: int = -1) -> Array:
    """Return the sums over all axes of x but one, of shape (c,).

    As the gradient of the bias of a convolution that has no other input: its x has no channels.
    """
    axis %= x.ndim
    before, channels = math.prod(x.shape[:axis]), x.shape[axis]
    if x.size == 0:  # no image, to the functional face
        return np.zeros(channels, x.dtype)
    after = math.prod(x.shape[axis + 1 :])
    last = after == 1
    dy = x.reshape((1, before, 1, channels) if last else (before, channels, after, 1))
    nothing = np.empty((1, before, 1, 0) if last else (before, 0, after, 1), x.dtype)
    dbias = functional.conv2d_backward(
        dy,
        nothing,
        np.empty((1, 1, 0, channels), x.dtype),
        needs=("bias",),
        data_format="channels_last" if last else "channels_first",
    ).dbias
    assert dbias is not None
    return dbias


def sum_over(x: Array, axes: Collection[int]) -> Array:
    """Return the sums over some axes, counted from 0, each kept with length 1."""
    if not axes:
        return x
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    sums = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if max(axes) < len(axes):  # the first ones: x is rows already
        width = math.prod(x.shape[len(axes) :])
        return channel_sums(x.reshape(math.prod(x.shape[: len(axes)]), width)).reshape(sums)
    rows = x.transpose(*kept, *sorted(axes))
    size = math.prod(x.shape[axis] for axis in axes)
    return row_sums(rows.reshape(math.prod(rows.shape[: len(kept)]), size)).reshape(sums)
