"""The transposed convolution layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Unpack

from fastconv import _checks, functional
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions
from fastconv.layers._convolution import ImageKernelLayer, Window

__all__ = ["Conv2DTranspose"]


class Conv2DTranspose(ImageKernelLayer):
    """Transposed convolution, the way back through a `Conv2D`, as a layer that enlarges images.

    ``y = activation(conv2d_transpose(x, kernel) + bias)``; sizes and padding are those of
    `fastconv.functional.conv2d_transpose`: "same" gives h * strides, "valid" h * strides +
    max(kh_eff - strides, 0). x is (n, h, w, c_in) and y (n, h_out, w_out, filters), or with the
    channels after the batch in "channels_first"; the kernel is (kh, kw, filters, c_in) in both. The
    gradients are those of `fastconv.functional.conv2d_transpose_backward`.

    Parameters
    ----------
    filters
        Channels of y.
    kernel_size
        (kh, kw), or one int for both.
    strides, padding, output_padding, dilation_rate
        As in `fastconv.functional.conv2d_transpose`.
    data_format
        "channels_last", the default, or "channels_first".
    activation
        A name or an `ActivationFunction`; None is linear.
    use_bias
        Whether a bias of shape (filters,) is added.
    kernel_initializer, bias_initializer
        A name or an `Initializer`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import Conv2DTranspose
    >>> layer = Conv2DTranspose(6, 3, strides=2, padding="same")
    >>> layer(np.zeros((1, 8, 8, 4))).shape, layer.kernel.shape
    ((1, 16, 16, 6), (3, 3, 6, 4))
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str | int | Sequence[Any] = "valid",
        output_padding: int | Sequence[int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
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
        self.output_padding = (
            None
            if output_padding is None
            else _checks.pair("output_padding", output_padding, least=0)
        )
        self._geometry = {**self._window, "output_padding": self.output_padding}

    def _units(self, shape: Shape) -> int:
        return self.filters

    def _kernel_shape(self, shape: Shape) -> tuple[int, ...]:
        return (*self.kernel_size, self.filters, self._features(shape))

    def _apply(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        return functional.conv2d_transpose(x, kernel, bias, **self._geometry)

    def _activate(self, y: Array) -> tuple[Array, Any]:
        return self.activation.forward(y)  # this operation fuses none

    def _gradients(
        self, dy: Array, x: Array, kernel: Array, needs: Collection[str]
    ) -> functional.Conv2DGradients:
        return functional.conv2d_transpose_backward(dy, x, kernel, needs=needs, **self._geometry)
