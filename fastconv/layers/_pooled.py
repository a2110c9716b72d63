"""A convolution with the max pooling after it, in training: what lies between is never whole.

Of a first layer that is the largest array of a step, as is its gradient: of 32 images of 28x28 with
32 outputs 2.8 MB, which the pooling reads back from beyond the second-level cache.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy.typing as npt

from fastconv import activations, functional
from fastconv._checks import Array
from fastconv._fastconv_core import (
    marked_max_pool2d_backward,
    pooled_conv2d,
    pooled_conv2d_backward,
)
from fastconv.layers._base import Backprop, Layer
from fastconv.layers.conv import Conv2D
from fastconv.layers.pooling import MaxPooling2D

_GATES = (activations.linear, activations.relu, activations.relu6)


def forward(layers: list[Layer], x: npt.ArrayLike) -> tuple[Array, Backprop, Backprop] | None:
    """Return y of both layers and their ways back, or None where they are better called in turn.

    The way back through the pooling passes its gradient on to that of the convolution.
    """
    if len(layers) < 2:
        return None
    conv, pool = layers
    if (
        type(conv) is not Conv2D
        or type(pool) is not MaxPooling2D
        or conv.activation not in _GATES
        or (pool.pool_size, pool.strides, pool.padding) != ((2, 2), (2, 2), "valid")
        or conv.data_format != pool.data_format
        or conv.dtype != pool.dtype
    ):
        return None
    x = conv._accept(x)
    kernel, bias, word = conv.kernel, conv.bias, conv.activation.fused
    words, pool_words = conv._geometry(x.shape[conv._feature_axis]), pool._geometry
    found = pooled_conv2d(x, kernel, bias, word, words, pool_words)
    if found is None:
        return None
    y, marks, shape = found

    def gradients(dy: Array, needs: Collection[str]) -> functional.Conv2DGradients:
        found = None
        if "x" not in needs:
            found = pooled_conv2d_backward(dy, marks, x, kernel, word, needs, words)
        if found is None:
            dy = marked_max_pool2d_backward(dy, marks, shape, word, **pool_words)
            found = functional.conv2d_backward(dy, x, kernel, needs=needs, **words)
        return found

    return (
        y,
        Backprop(conv.name, y.shape, conv.dtype, conv._linear(gradients)),
        Backprop(pool.name, y.shape, pool.dtype, lambda dy, need_dx: (dy, [])),
    )
