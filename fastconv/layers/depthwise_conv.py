"""The convolution layer of each channel by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy.typing as npt

from fastconv import _checks, initializers
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions
from fastconv.layers._convolution import ConvolutionLayer, Window

__all__ = ["DepthwiseConv2D"]


class DepthwiseConv2D(ConvolutionLayer):
    """Convolution of each channel with kernels of its own: a `Conv2D` with c_in groups.

    ``y[..., c * depth_multiplier + m] = activation(conv2d(x[..., c], kernel[..., c, m]) + bias)``.
    x is (n, h, w, c_in) and y (n, h_out, w_out, c_in * depth_multiplier), or with the channels
    after the batch in "channels_first"; the kernel is (kh, kw, c_in, depth_multiplier) in both.

    Parameters
    ----------
    kernel_size
        (kh, kw), or one int for both.
    strides, padding, dilation_rate
        As in `fastconv.functional.conv2d`; strides and dilation combine freely.
    depth_multiplier
        How many channels of y each channel of x gives.
    data_format
        "channels_last", the default, or "channels_first".
    activation
        A name or an `ActivationFunction`; None is linear. relu and relu6 cost no pass of their own.
    use_bias
        Whether a bias of shape (c_in * depth_multiplier,) is added.
    depthwise_initializer, bias_initializer
        A name or an `Initializer`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import DepthwiseConv2D
    >>> layer = DepthwiseConv2D(3, padding="same", depth_multiplier=2)
    >>> layer(np.zeros((1, 8, 8, 5))).shape, layer.depthwise_kernel.shape
    ((1, 8, 8, 10), (3, 3, 5, 2))
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str | int | Sequence[Any] = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        activation: str | ActivationFunction | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        **options: Unpack[LayerOptions],
    ) -> None:
        window = Window(kernel_size, strides, padding, data_format, dilation_rate)
        initializer = initializers.get("depthwise_initializer", depthwise_initializer)
        super().__init__(window, activation, use_bias, initializer, bias_initializer, **options)
        self.depthwise_initializer = initializer
        self.depth_multiplier = _checks.integer("depth_multiplier", depth_multiplier)

    @property
    def depthwise_kernel(self) -> Array:
        """The kernel, under the name that it has in a `SeparableConv2D`."""
        return self.kernel

    @depthwise_kernel.setter
    def depthwise_kernel(self, value: npt.ArrayLike) -> None:
        self._set_weight("kernel", value)

    def _units(self, shape: Shape) -> int:
        return self._features(shape) * self.depth_multiplier

    def _groups(self, channels: int) -> int:
        return channels

    def _kernel_shape(self, shape: Shape) -> tuple[int, ...]:
        return (*self.kernel_size, self._features(shape), self.depth_multiplier)

    def _taps(self, kernel: Array) -> Array:
        return depthwise_taps(kernel)


def depthwise_taps(kernel: Array) -> Array:
    """Return (kh, kw, c_in, m) as the (kh, kw, 1, c_in * m) of c_in groups."""
    kh, kw, channels, multiplier = kernel.shape
    return kernel.reshape(kh, kw, 1, channels * multiplier)
