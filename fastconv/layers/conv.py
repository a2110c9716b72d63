"""The convolution layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from fastconv import _checks, functional
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions
from fastconv.layers._images import probed_shape
from fastconv.layers._kernel import KernelLayer

__all__ = ["Conv2D"]


class Conv2D(KernelLayer):
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

    rank = 4

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
        self.filters = _checks.integer("filters", filters)
        super().__init__(
            self.filters, activation, use_bias, kernel_initializer, bias_initializer, **options
        )
        self.kernel_size = _checks.pair("kernel_size", kernel_size)
        self.strides = _checks.pair("strides", strides)
        self.padding = padding
        self.data_format = _checks.data_format(data_format)
        self.dilation_rate = _checks.pair("dilation_rate", dilation_rate)
        self.groups = _checks.integer("groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"filters must be a multiple of groups, received filters={filters}, groups={groups}"
            )
        self._geometry: dict[str, Any] = {
            "strides": self.strides,
            "padding": padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "data_format": self.data_format,
        }

    def prepare(self, input_shape: Sequence[int | None]) -> Callable[[npt.ArrayLike], Array]:
        """Return the layer with its kernel packed for the size of `input_shape`."""
        shape = _checks.shape("input_shape", input_shape)
        if not self.built:
            self.build(shape)
        self._check(shape)
        image = shape[1:3] if self.data_format == "channels_last" else shape[2:]
        size = [side for side in image if side is not None]
        if len(size) < 2:
            raise ValueError(
                f"layer {self.name!r} is prepared for images of one size, received shape "
                f"{_checks.text(shape)}"
            )
        packed = functional.pack_kernel(self.kernel, input_size=tuple(size), **self._geometry)
        bias = self.bias
        return lambda x: self._activate(self._apply(self._accept(x), packed, bias))[0]

    @property
    def _feature_axis(self) -> int:
        return 3 if self.data_format == "channels_last" else 1

    def _kernel_shape(self, shape: Shape) -> tuple[int, ...]:
        channels = self._features(shape)
        if channels % self.groups:
            raise ValueError(
                f"layer {self.name!r} has {self.groups} groups, of which the {channels} channels "
                f"of an input of shape {_checks.text(shape)} are no multiple"
            )
        return (*self.kernel_size, channels // self.groups, self.filters)

    def _output_shape(self, shape: Shape) -> Shape:
        kernel = np.broadcast_to(self.dtype.type(0), self._kernel_shape(shape))
        return probed_shape(lambda x: self._apply(x, kernel, None), shape, self.dtype)

    def _apply(
        self, x: Array, kernel: Array | functional.PackedKernel, bias: Array | None
    ) -> Array:
        return functional.conv2d(
            x, kernel, bias, activation=self.activation.fused, **self._geometry
        )

    def _gradients(
        self, dy: Array, x: Array, kernel: Array, needs: Collection[str]
    ) -> functional.Conv2DGradients:
        return functional.conv2d_backward(dy, x, kernel, needs=needs, **self._geometry)
