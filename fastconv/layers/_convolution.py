"""What the convolution layers share: a kernel's geometry, output shapes, packing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, Unpack

import numpy as np

from fastconv import _checks, functional
from fastconv._checks import Array, Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer
from fastconv.layers._base import LayerOptions
from fastconv.layers._images import channel_axis, probed_shape, spatial_axes
from fastconv.layers._kernel import BiasLayer, KernelLayer


class Window:
    """The geometry of a kernel that moves over images, each argument checked."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int],
        padding: str | int | Sequence[Any],
        data_format: str | None,
        dilation_rate: int | Sequence[int],
    ) -> None:
        self.kernel_size = _checks.pair("kernel_size", kernel_size)
        self.strides = _checks.pair("strides", strides)
        self.padding = _checks.lasting(padding)
        self.data_format = _checks.data_format(data_format)
        self.dilation_rate = _checks.pair("dilation_rate", dilation_rate)

    def words(self) -> dict[str, Any]:
        """Return them as `fastconv.functional` takes them."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "data_format": self.data_format,
        }


class ImageKernelLayer(KernelLayer):
    """A kernel that moves over images."""

    rank = 4

    def __init__(
        self,
        window: Window,
        activation: str | ActivationFunction | None,
        use_bias: bool,
        kernel_initializer: str | Initializer,
        bias_initializer: str | Initializer,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, **options)
        self.kernel_size = window.kernel_size
        self.strides = window.strides
        self.padding = window.padding
        self.data_format = window.data_format
        self.dilation_rate = window.dilation_rate
        self._window = window.words()

    @property
    def _feature_axis(self) -> int:
        return channel_axis(self.data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        kernel = np.broadcast_to(self.dtype.type(0), self._kernel_shape(shape))
        return probed_shape(lambda x: self._apply(x, kernel, None), shape, self.dtype)


class ConvolutionLayer(ImageKernelLayer):
    """A convolution by `functional.conv2d`, of which a subclass gives the groups."""

    @abstractmethod
    def _groups(self, channels: int) -> int:
        """Return how many groups the channels of x are divided into."""

    def _taps(self, kernel: Array) -> Array:
        """Return the kernel in the layout (kh, kw, c_in // groups, c_out), at no cost."""
        return kernel

    def prepare(self, input_shape: Sequence[int | None]) -> Callable[[Array], Array]:
        """Return the layer with its kernel packed for the size of `input_shape`."""
        size = image_size(self, input_shape, self.data_format)
        geometry = self._geometry(self._features(self._known_shape()))
        packed = functional.pack_kernel(self._taps(self.kernel), input_size=size, **geometry)
        words = {"activation": self.activation.fused, **geometry}
        return self._prepared(functional.conv2d, packed, words)

    def _geometry(self, channels: int) -> dict[str, Any]:
        return {**self._window, "groups": self._groups(channels)}

    def _convolve(
        self, x: Array, taps: Array | functional.PackedKernel, bias: Array | None
    ) -> Array:
        geometry = self._geometry(x.shape[self._feature_axis])
        return functional.conv2d(x, taps, bias, activation=self.activation.fused, **geometry)

    def _apply(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        return self._convolve(x, self._taps(kernel), bias)

    def _gradients(
        self, dy: Array, x: Array, kernel: Array, needs: Collection[str]
    ) -> functional.Conv2DGradients:
        geometry = self._geometry(x.shape[self._feature_axis])
        taps = self._taps(kernel)
        found = functional.conv2d_backward(dy, x, taps, needs=needs, **geometry)
        if taps is kernel or found.dkernel is None:
            return found
        return found._replace(dkernel=found.dkernel.reshape(kernel.shape))


def image_size(
    layer: BiasLayer, input_shape: Sequence[int | None], data_format: str
) -> tuple[int, int]:
    """Return the height and width to prepare a layer for, which is built if it is not yet."""
    shape = _checks.shape("input_shape", input_shape)
    layer.build(shape)
    layer.compute_output_shape(shape)
    h, w = (shape[axis] for axis in spatial_axes(data_format))
    if h is None or w is None:
        raise ValueError(
            f"layer {layer.name!r} is prepared for images of one size, received shape "
            f"{_checks.text(shape)}"
        )
    return h, w
