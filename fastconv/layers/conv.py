"""The convolution layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from fastconv import _checks
from fastconv._checks import Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions
from fastconv.layers._convolution import ConvolutionLayer, Window

__all__ = ["Conv2D"]


class Conv2D(ConvolutionLayer):
    r"""Two-dimensional convolution (cross-correlation), bias and activation.

    ``y = activation(conv2d(x, kernel) + bias)``; sizes and padding are those of
    `fastconv.functional.conv2d`. x is (n, h, w, c_in) and y (n, h_out, w_out, filters), or with the
    channels after the batch in "channels_first"; the kernel is (kh, kw, c_in // groups, filters) in
    both. The gradients are those of `fastconv.functional.conv2d_backward`.

    Parameters
    ----------
    filters
        Channels of y, a multiple of `groups`.
    kernel_size
        (kh, kw), or one int for both.
    strides, padding, dilation_rate, groups
        As in `fastconv.functional.conv2d`; strides and dilation combine freely.
    data_format
        "channels_last", the default, or "channels_first".
    activation
        A name or an `ActivationFunction`; None is linear. relu and relu6 cost no pass of their own.
    use_bias
        Whether a bias of shape (filters,) is added.
    kernel_initializer, bias_initializer
        A name or an `Initializer`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Conv2D
    >>> layer = Conv2D(6, 5, activation="relu")
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 28, 28, 6)
    >>> layer.count_params()
    456
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str | int | Sequence[Any] = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        activation: str | ActivationFunction | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        **options: Unpack[LayerOptions],
    ) -> None:
        window = Window(kernel_size, strides, padding, data_format, dilation_rate)
        super().__init__(
            window, activation, use_bias, kernel_initializer, bias_initializer, **options
        )
        self.filters = _checks.integer("filters", filters)
        self.groups = _checks.integer("groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"filters must be a multiple of groups, received filters={filters}, groups={groups}"
            )

    def _units(self, shape: Shape) -> int:
        return self.filters

    def _groups(self, channels: int) -> int:
        return self.groups

    def _kernel_shape(self, shape: Shape) -> tuple[int, ...]:
        channels = self._features(shape)
        if channels % self.groups:
            raise ValueError(
                f"layer {self.name!r} has {self.groups} groups, of which the {channels} channels "
                f"of an input of shape {_checks.text(shape)} are no multiple"
            )
        return (*self.kernel_size, channels // self.groups, self.filters)
