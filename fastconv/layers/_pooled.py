"""A convolution with the max pooling after it, in training: what lies between is never whole.

Of a first layer that is the largest array of a step, as is its gradient: of 32 images of 28x28 with
32 outputs 2.8 MB, which the pooling reads back from beyond the second-level cache.
"""

from __future__ import annotations

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
    if type(layers[0]) is not Conv2D or len(layers) < 2:
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
    of_weights = ("kernel", "bias")[: 1 + conv.use_bias] if conv.trainable else ()

    def both(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
        needs = (*of_weights, "x") if need_dx else of_weights
        if not needs:
            return None, []
        gradients = None
        if not need_dx:
            gradients = pooled_conv2d_backward(dy, marks, x, kernel, word, needs, words)
        if gradients is None:
            dy = marked_max_pool2d_backward(dy, marks, shape, word, **pool_words)
            gradients = functional.conv2d_backward(dy, x, kernel, needs=needs, **words)
        dx, *grads = gradients
        return dx, [gradient for gradient in grads if gradient is not None]

    return (
        y,
        Backprop(conv.name, y.shape, conv.dtype, both),
        Backprop(pool.name, y.shape, pool.dtype, lambda dy, need_dx: (dy, [])),
    )
