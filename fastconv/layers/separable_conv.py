"""The convolution layer in two steps: within each channel, then across the channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np

from fastconv import _checks, functional, initializers
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions, Pullback
from fastconv.layers._convolution import Window, image_size
from fastconv.layers._images import channel_axis, probed_shape, spatial_axes
from fastconv.layers._kernel import BiasLayer
from fastconv.layers._step import Step
from fastconv.layers._weights import Weight
from fastconv.layers.depthwise_conv import depthwise_taps

__all__ = ["SeparableConv2D"]

Taps = Array | functional.PackedKernel


class SeparableConv2D(BiasLayer):
    """A depthwise convolution, then a 1x1 convolution, bias and activation (Chollet, 2017).

    ``y = activation(conv2d(depthwise(x, depthwise_kernel), pointwise_kernel) + bias)``. The
    depthwise kernel is (kh, kw, c_in, depth_multiplier), the pointwise kernel
    (1, 1, c_in * depth_multiplier, filters); x and y are those of `Conv2D`.

    Parameters
    ----------
    filters
        Channels of y.
    kernel_size
        (kh, kw) of the depthwise kernel, or one int for both.
    strides, padding, dilation_rate
        Of the depthwise convolution, as in `fastconv.functional.conv2d`.
    data_format
        "channels_last", the default, or "channels_first".
    depth_multiplier
        How many channels between the steps each channel of x gives.
    activation
        A name or an `ActivationFunction`; None is linear. relu and relu6 cost no pass of their own.
    use_bias
        Whether a bias of shape (filters,) is added.
    depthwise_initializer, pointwise_initializer, bias_initializer
        A name or an `Initializer`.
    **options
        name, dtype, trainable, input_shape: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.layers import SeparableConv2D
    >>> layer = SeparableConv2D(16, 3)
    >>> layer(np.zeros((1, 8, 8, 5))).shape, layer.count_params()
    ((1, 6, 6, 16), 141)
    """

    rank = 4
    depthwise_kernel = Weight("The kernel of the first step; assign an array to replace it.")
    pointwise_kernel = Weight("The kernel of the second step; assign an array to replace it.")

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str | int | Sequence[Any] = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        depth_multiplier: int = 1,
        activation: str | ActivationFunction | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | Initializer = "glorot_uniform",
        pointwise_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(activation, use_bias, bias_initializer, **options)
        window = Window(kernel_size, strides, padding, data_format, dilation_rate)
        self.filters = _checks.integer("filters", filters)
        self.kernel_size = window.kernel_size
        self.strides = window.strides
        self.padding = window.padding
        self.data_format = window.data_format
        self.dilation_rate = window.dilation_rate
        self.depth_multiplier = _checks.integer("depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(
            "depthwise_initializer", depthwise_initializer
        )
        self.pointwise_initializer = initializers.get(
            "pointwise_initializer", pointwise_initializer
        )
        self._window = window.words()

    @property
    def _feature_axis(self) -> int:
        return channel_axis(self.data_format)

    def _kernel_shapes(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        channels = self._features(shape)
        return (
            (*self.kernel_size, channels, self.depth_multiplier),
            (1, 1, channels * self.depth_multiplier, self.filters),
        )

    def _build(self, shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
        depthwise, pointwise = self._kernel_shapes(shape)
        return {
            "depthwise_kernel": self.depthwise_initializer(depthwise, self.dtype, rng),
            "pointwise_kernel": self.pointwise_initializer(pointwise, self.dtype, rng),
            **self._first_bias(self.filters, rng),
        }

    # -- computing

    def _geometry(self, channels: int) -> dict[str, Any]:
        """Return the words of the first step."""
        return {**self._window, "groups": channels}

    def _depthwise(self, x: Array, taps: Taps) -> Array:
        return functional.conv2d(x, taps, **self._geometry(x.shape[self._feature_axis]))

    def _pointwise(self, middle: Array, kernel: Taps, bias: Array | None) -> Array:
        return functional.conv2d(
            middle, kernel, bias, activation=self.activation.fused, data_format=self.data_format
        )

    def _output_shape(self, shape: Shape) -> Shape:
        zero = self.dtype.type(0)
        depthwise, pointwise = (np.broadcast_to(zero, s) for s in self._kernel_shapes(shape))
        taps = depthwise_taps(depthwise)
        return probed_shape(
            lambda x: self._pointwise(self._depthwise(x, taps), pointwise, None), shape, self.dtype
        )

    def prepare(self, input_shape: Sequence[int | None]) -> Callable[[Array], Array]:
        """Return the layer with its kernels packed for the size of `input_shape`."""
        size = image_size(self, input_shape, self.data_format)
        depthwise = functional.pack_kernel(
            depthwise_taps(self.depthwise_kernel),
            input_size=size,
            **self._geometry(self._features(self._known_shape())),
        )
        reached = self.compute_output_shape(input_shape)  # the second step keeps the size
        h, w = (reached[axis] for axis in spatial_axes(self.data_format))
        assert h is not None
        assert w is not None
        pointwise = functional.pack_kernel(
            self.pointwise_kernel, input_size=(h, w), data_format=self.data_format
        )
        bias = self.bias

        def prepared(x: Array) -> Array:
            middle = self._depthwise(x, depthwise)
            return self._activate(self._pointwise(middle, pointwise, bias))[0]

        return prepared

    def _forward(self, x: Array, training: bool | Step) -> tuple[Array, Pullback]:
        taps, pointwise, bias = (
            depthwise_taps(self.depthwise_kernel),
            self.pointwise_kernel,
            self.bias,
        )
        shape, trainable = self.depthwise_kernel.shape, self.trainable
        middle = self._depthwise(x, taps)
        y, pull = self._activate(self._pointwise(middle, pointwise, bias))
        needs = ("kernel", "bias")[: 1 + self.use_bias] if trainable else ()

        def pullback(dy: Array, need_dx: bool) -> tuple[Array | None, list[Array]]:
            if not (need_dx or trainable):
                return None, []
            dmiddle, dpointwise, dbias = functional.conv2d_backward(
                pull(dy), middle, pointwise, needs=("x", *needs), data_format=self.data_format
            )
            assert dmiddle is not None
            geometry = self._geometry(x.shape[self._feature_axis])
            first = ("x",) * need_dx + ("kernel",) * trainable
            dx, dtaps, _ = functional.conv2d_backward(dmiddle, x, taps, needs=first, **geometry)
            ddepthwise = None if dtaps is None else dtaps.reshape(shape)
            return dx, [g for g in (ddepthwise, dpointwise, dbias) if g is not None]

        return y, pullback
