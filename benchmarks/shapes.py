"""The layers that are measured: real ones, named after the network that they come from.

Sizes are those of the published networks at their usual image size, with a batch of 8 (64 or 128
for the nets of small images), so that work done once a call weighs as it does in practice.
A dense layer is written as a 1x1 convolution of 1x1 images and a global pooling as one window as
large as the image: one set of formulas then serves all of them.  What a user does with several
layers, or with the smallest of them, stands at the end of the table as a program: its size is
that of its input and the numbers it makes of each image, and no formula applies to it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CATEGORIES = {
    "3x3": "3x3 stride 1, 64 channels and more",
    "5x5": "5x5 to 9x9 stride 1",
    "3x3s2": "3x3 and 5x5 stride 2",
    "1x1": "1x1",
    "1x1s2": "1x1 stride 2",
    "1x7": "1x7 and 7x1",
    "dilated": "dilated 3x3",
    "stem": "stems and few input channels",
    "small": "small images, odd channel counts",
    "depthwise": "depthwise 3x3 to 7x7",
    "grouped": "grouped",
    "max": "max pooling",
    "avg": "average pooling",
    "global": "global pooling",
    "dense": "dense",
    "program": "training steps and small calls",
}

PASSES = ("forward", "packed", "dx", "dx_indices", "dkernel", "whole")

_POOLS = ("max_pool2d", "avg_pool2d", "global_max_pool2d", "global_avg_pool2d")

Pair = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """One layer at one size; `kernel` is the window of a pooling layer."""

    name: str
    net: str
    category: str
    op: str
    n: int
    h: int
    w: int
    c_in: int
    c_out: int
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def is_pool(self) -> bool:
        return self.op in _POOLS

    @property
    def is_max(self) -> bool:
        return self.op in ("max_pool2d", "global_max_pool2d")

    @property
    def is_global(self) -> bool:
        return self.op.startswith("global_")

    @property
    def output_size(self) -> Pair:
        """`floor((n + 2 * padding - k_eff) / stride) + 1` on both axes."""
        sizes = [
            (n + 2 * p - ((k - 1) * d + 1)) // s + 1
            for n, k, s, p, d in zip(
                (self.h, self.w),
                self.kernel,
                self.strides,
                self.padding,
                self.dilation,
                strict=True,
            )
        ]
        return sizes[0], sizes[1]

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.h, self.w, self.c_in

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.n, *self.output_size, self.c_out

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        return *self.kernel, self.c_in // self.groups, self.c_out

    @property
    def passes(self) -> tuple[str, ...]:
        """The passes that this layer has; see `compare.py` for what each one measures."""
        if self.op == "conv2d":
            return "forward", "packed", "dx", "dkernel"
        if self.op == "dense":
            return "forward", "dx", "dkernel"
        if self.op == "program":
            return ("whole",)
        return ("forward", "dx", "dx_indices") if self.is_max else ("forward", "dx")

    @property
    def flops(self) -> int:
        """Multiplications and additions of the direct sum, taps over padding counted.

        The same number for every pass of a convolution; one per tap for pooling.
        """
        outputs = self.n * self.output_size[0] * self.output_size[1] * self.c_out
        taps = self.kernel[0] * self.kernel[1]
        return outputs * taps if self.is_pool else 2 * outputs * taps * (self.c_in // self.groups)

    def bytes_moved(self, pass_name: str, itemsize: int) -> int:
        """Bytes that a pass must read or write at least: each array of it once."""
        x = self.n * self.h * self.w * self.c_in
        y = self.n * self.output_size[0] * self.output_size[1] * self.c_out
        if not self.is_pool:
            kh, kw, depth, c_out = self.kernel_shape
            return (x + y + kh * kw * depth * c_out) * itemsize
        if pass_name == "dx" and self.is_max:
            return (2 * x + y) * itemsize
        return (x + y) * itemsize + (8 * y if pass_name == "dx_indices" else 0)

    @property
    def shape(self) -> str:
        """The geometry in one table cell."""
        if self.op == "dense":
            return f"{self.n}x{self.c_in} → {self.c_out}"
        if self.op == "program":
            return f"{self.n}x{self.h}x{self.w}x{self.c_in} → {self.c_out}"
        text = f"{self.n}x{self.h}x{self.w}x{self.c_in}"
        if not self.is_pool:
            text += f" → {self.c_out}"
        if not self.is_global:
            text += f", {self.kernel[0]}x{self.kernel[1]}"
        if self.strides != (1, 1) and not self.is_global:
            text += f" s{self.strides[0]}"
        if self.dilation != (1, 1):
            text += f" d{self.dilation[0]}"
        return text + (f" g{self.groups}" if self.groups > 1 else "")

    def with_batch(self, n: int) -> Layer:
        return dataclasses.replace(self, n=n)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Layer:
        """The inverse of `to_json`; JSON has lists where the layer has tuples."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**values)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def conv(
    category: str,
    net: str,
    name: str,
    size: int,
    c_in: int,
    c_out: int,
    kernel: int | Pair,
    *,
    s: int = 1,
    p: int | Pair | None = None,
    d: int = 1,
    g: int = 1,
    n: int = 8,
) -> Layer:
    """A convolution of a square image; `p=None` pads by half of the window."""
    kh, kw = _pair(kernel)
    padding = ((kh - 1) * d // 2, (kw - 1) * d // 2) if p is None else _pair(p)
    return Layer(
        name, net, category, "conv2d", n, size, size, c_in, c_out,
        (kh, kw), (s, s), padding, (d, d), g,
    )  # fmt: skip


def pool(
    op: str, net: str, name: str, size: int, c: int, kernel: int, s: int, p: int = 0, n: int = 8
) -> Layer:
    return Layer(
        name, net, op[:3], op, n, size, size, c, c, (kernel, kernel), (s, s), (p, p)
    )  # fmt: skip


def global_pool(op: str, net: str, name: str, size: int, c: int) -> Layer:
    return Layer(
        name, net, "global", f"global_{op}_pool2d", 8, size, size, c, c, (size, size), (size, size)
    )


def dense(net: str, name: str, n: int, c_in: int, c_out: int) -> Layer:
    return Layer(name, net, "dense", "dense", n, 1, 1, c_in, c_out)


def program(net: str, name: str, n: int, size: int, c_in: int, c_out: int) -> Layer:
    return Layer(name, net, "program", "program", n, size, size, c_in, c_out)


MAX, AVG = "max_pool2d", "avg_pool2d"

# fmt: off
LAYERS: tuple[Layer, ...] = (
    conv("3x3", "VGG-16", "vgg16_conv1_2", 224, 64, 64, 3),
    conv("3x3", "VGG-16", "vgg16_conv2_2", 112, 128, 128, 3),
    conv("3x3", "VGG-16", "vgg16_conv3_2", 56, 256, 256, 3),
    conv("3x3", "VGG-16", "vgg16_conv4_2", 28, 512, 512, 3),
    conv("3x3", "VGG-16", "vgg16_conv5_2", 14, 512, 512, 3),
    conv("3x3", "ResNet-50", "resnet50_conv2_3x3", 56, 64, 64, 3),
    conv("3x3", "ResNet-50", "resnet50_conv3_3x3", 28, 128, 128, 3),
    conv("3x3", "ResNet-50", "resnet50_conv4_3x3", 14, 256, 256, 3),
    conv("3x3", "ResNet-50", "resnet50_conv5_3x3", 7, 512, 512, 3),
    conv("3x3", "CIFAR ResNet-18", "cifar18_stage4", 4, 512, 512, 3, n=64),
    conv("3x3", "GoogLeNet", "googlenet_3b_3x3", 28, 128, 192, 3),
    conv("3x3", "GoogLeNet", "googlenet_4e_3x3", 14, 160, 320, 3),

    conv("5x5", "GoogLeNet", "googlenet_3b_5x5", 28, 32, 96, 5),
    conv("5x5", "GoogLeNet", "googlenet_4e_5x5", 14, 32, 128, 5),
    conv("5x5", "GoogLeNet", "googlenet_5b_5x5", 7, 48, 128, 5),
    conv("5x5", "Inception-v3", "inception3_5b_5x5", 35, 48, 64, 5),
    conv("5x5", "AlexNet", "alexnet_conv2", 27, 64, 192, 5),
    conv("5x5", "OpenPose", "openpose_stage2_7x7", 46, 128, 128, 7),
    conv("5x5", "Large kernels", "large_9x9", 28, 32, 32, 9),

    conv("3x3s2", "ResNet-50", "resnet50_conv3_3x3s2", 56, 128, 128, 3, s=2),
    conv("3x3s2", "ResNet-50", "resnet50_conv4_3x3s2", 28, 256, 256, 3, s=2),
    conv("3x3s2", "ResNet-50", "resnet50_conv5_3x3s2", 14, 512, 512, 3, s=2),
    conv("3x3s2", "Inception-v3", "inception3_6a_3x3s2", 35, 288, 384, 3, s=2, p=0),
    conv("3x3s2", "FlowNetS", "flownet_conv2", 48, 64, 128, 5, s=2),

    conv("1x1", "ResNet-50", "resnet50_conv2_expand", 56, 64, 256, 1),
    conv("1x1", "ResNet-50", "resnet50_conv2_reduce", 56, 256, 64, 1),
    conv("1x1", "ResNet-50", "resnet50_conv4_reduce", 14, 1024, 256, 1),
    conv("1x1", "ResNet-50", "resnet50_conv5_expand", 7, 512, 2048, 1),
    conv("1x1", "GoogLeNet", "googlenet_3a_1x1", 28, 192, 64, 1),
    conv("1x1", "Xception", "xception_middle_1x1", 19, 728, 728, 1),
    conv("1x1", "MobileNet", "mobilenet_pw1", 112, 32, 64, 1),
    conv("1x1", "MobileNet", "mobilenet_pw7", 14, 512, 512, 1),
    conv("1x1", "U-Net", "unet_last", 128, 64, 2, 1),

    conv("1x1s2", "ResNet-50", "resnet50_conv3_shortcut", 56, 256, 512, 1, s=2),
    conv("1x1s2", "ResNet-50", "resnet50_conv4_shortcut", 28, 512, 1024, 1, s=2),
    conv("1x1s2", "ResNet-50", "resnet50_conv5_shortcut", 14, 1024, 2048, 1, s=2),
    conv("1x1s2", "Xception", "xception_entry_shortcut", 74, 128, 256, 1, s=2),

    conv("1x7", "Inception-v3", "inception3_6b_1x7", 17, 128, 128, (1, 7)),
    conv("1x7", "Inception-v3", "inception3_6b_7x1", 17, 128, 192, (7, 1)),
    conv("1x7", "Inception-v3", "inception3_6e_1x7", 17, 192, 192, (1, 7)),
    conv("1x7", "Inception-v3", "inception3_6e_7x1", 17, 192, 192, (7, 1)),

    conv("dilated", "DRN", "drn_conv4_d2", 28, 256, 256, 3, d=2),
    conv("dilated", "DeepLab-v3", "deeplab3_conv5_d2", 14, 512, 512, 3, d=2),
    conv("dilated", "DeepLab-v3", "deeplab3_aspp_d6", 14, 2048, 256, 3, d=6),
    conv("dilated", "SSD", "ssd300_conv6_d6", 19, 512, 1024, 3, d=6),

    conv("stem", "ResNet-50", "resnet50_conv1", 224, 3, 64, 7, s=2),
    conv("stem", "ZFNet", "zfnet_conv1", 224, 3, 96, 7, s=2, p=1),
    conv("stem", "AlexNet", "alexnet_conv1", 224, 3, 64, 11, s=4, p=2),
    conv("stem", "CaffeNet", "caffenet_conv1", 227, 3, 96, 11, s=4, p=0),
    conv("stem", "VGG-16", "vgg16_conv1_1", 224, 3, 64, 3),
    conv("stem", "MobileNet", "mobilenet_conv1", 224, 3, 32, 3, s=2),
    conv("stem", "Xception", "xception_conv1", 299, 3, 32, 3, s=2, p=0),
    conv("stem", "CIFAR ResNet-20", "resnet20_conv1", 32, 3, 16, 3, n=64),
    conv("stem", "MNIST CNN", "mnist_cnn_conv1", 28, 1, 32, 3, p=0, n=128),
    conv("stem", "Siamese", "siamese_conv1", 100, 1, 8, 3),
    conv("stem", "BraTS U-Net", "brats_unet_conv1", 240, 4, 32, 3),

    conv("small", "LeNet-5", "lenet5_conv1", 28, 1, 6, 5, n=128),
    conv("small", "LeNet-5", "lenet5_conv2", 14, 6, 16, 5, p=0, n=128),
    conv("small", "MNIST CNN", "mnist_cnn_conv2", 13, 32, 64, 3, p=0, n=128),
    conv("small", "CIFAR ResNet-20", "resnet20_stage1", 32, 16, 16, 3, n=64),
    conv("small", "CIFAR ResNet-20", "resnet20_stage2", 16, 32, 32, 3, n=64),
    conv("small", "DenseNet-40-12", "densenet40_block1", 32, 100, 12, 3, n=64),
    conv("small", "SSD", "ssd300_conv8_head", 10, 512, 126, 3),

    conv("depthwise", "Xception", "xception_middle_dw", 19, 728, 728, 3, g=728),
    conv("depthwise", "MobileNet", "mobilenet_dw1", 112, 32, 32, 3, g=32),
    conv("depthwise", "MobileNet", "mobilenet_dw2_s2", 112, 64, 64, 3, s=2, g=64),
    conv("depthwise", "MobileNet", "mobilenet_dw7", 14, 512, 512, 3, g=512),
    conv("depthwise", "EfficientNet-B0", "efficientnet_3b_dw5x5", 28, 240, 240, 5, g=240),
    conv("depthwise", "EfficientNet-B0", "efficientnet_5b_dw5x5", 14, 672, 672, 5, g=672),
    conv("depthwise", "EfficientNet-B0", "efficientnet_6b_dw5x5", 7, 1152, 1152, 5, g=1152),
    conv("depthwise", "ConvNeXt-T", "convnext_stage2_dw7x7", 28, 192, 192, 7, g=192),
    conv("depthwise", "ConvNeXt-T", "convnext_stage4_dw7x7", 7, 768, 768, 7, g=768),

    conv("grouped", "ResNeXt-50", "resnext50_conv2_g32", 56, 128, 128, 3, g=32),
    conv("grouped", "ResNeXt-50", "resnext50_conv3_s2", 56, 256, 256, 3, s=2, g=32),
    conv("grouped", "ResNeXt-50", "resnext50_conv3_g32", 28, 256, 256, 3, g=32),
    conv("grouped", "ResNeXt-50", "resnext50_conv4_g32", 14, 512, 512, 3, g=32),
    conv("grouped", "AlexNet", "alexnet_conv2_g2", 27, 96, 256, 5, g=2),

    pool(MAX, "VGG-16", "vgg16_pool1", 224, 64, 2, 2),
    pool(MAX, "VGG-16", "vgg16_pool4", 28, 512, 2, 2),
    pool(MAX, "LeNet-5", "lenet5_pool1", 28, 6, 2, 2, n=128),
    pool(MAX, "ResNet-50", "resnet50_pool1", 112, 64, 3, 2, 1),
    pool(MAX, "Inception-v3", "inception3_pool1", 147, 64, 3, 2),
    pool(MAX, "GoogLeNet", "googlenet_4a_pool", 14, 480, 3, 1, 1),
    pool(MAX, "AlexNet", "alexnet_pool2", 27, 192, 3, 2),
    pool(MAX, "YOLOv4", "yolov4_spp5", 13, 512, 5, 1, 2),
    pool(MAX, "YOLOv4", "yolov4_spp13", 13, 512, 13, 1, 6),

    pool(AVG, "Inception-v3", "inception3_5b_avg", 35, 192, 3, 1, 1),
    pool(AVG, "Inception-v3", "inception3_6b_avg", 17, 768, 3, 1, 1),
    pool(AVG, "DenseNet-121", "densenet121_transition1", 56, 128, 2, 2),
    pool(AVG, "LeNet-5", "lenet5_avg1", 28, 6, 2, 2, n=128),
    pool(AVG, "ShuffleNet", "shufflenet3_avg", 28, 240, 3, 2, 1),
    pool(AVG, "PSPNet", "pspnet_pool6", 60, 512, 10, 10, n=1),

    global_pool("avg", "ResNet-50", "resnet50_global_avg", 7, 2048),
    global_pool("avg", "MobileNet", "mobilenet_global_avg", 7, 1024),
    global_pool("max", "Xception", "xception_global_max", 10, 2048),

    dense("LeNet-5", "lenet5_dense1", 128, 400, 120),
    dense("LeNet-5", "lenet5_dense3", 128, 84, 10),
    dense("ResNet-50", "resnet50_fc", 8, 2048, 1000),
    dense("VGG-16", "vgg16_fc7", 8, 4096, 4096),
    dense("ResNet-50", "resnet50_fc_64", 64, 2048, 1000),

    program("LeNet-5", "train_lenet5", 128, 28, 1, 10),
    program("MNIST CNN", "train_small_cnn", 128, 28, 1, 10),
    program("LeNet-5", "predict_lenet5", 1, 28, 1, 10),
    program("tiny", "tiny_conv_1_4", 1, 8, 1, 4),
    program("tiny", "tiny_conv_16_16", 1, 8, 16, 16),
    program("tiny", "tiny_max_pool", 1, 8, 1, 1),
)
# fmt: on

# One small layer for most categories: what `--quick` measures.
QUICK = (
    "resnet50_conv2_3x3", "resnet50_conv4_3x3", "googlenet_3b_5x5", "resnet50_conv4_3x3s2",
    "mobilenet_pw7", "resnet50_conv4_shortcut", "inception3_6b_1x7", "deeplab3_conv5_d2",
    "mobilenet_conv1", "lenet5_conv1", "xception_middle_dw", "resnext50_conv4_g32",
    "lenet5_pool1", "resnet50_pool1", "inception3_6b_avg", "resnet50_global_avg", "lenet5_dense1",
    "train_lenet5", "predict_lenet5", "tiny_conv_16_16",
)  # fmt: skip

BY_NAME = {layer.name: layer for layer in LAYERS}


def slug(text: str) -> str:
    """A net's name as the command line takes it: `ResNet-50` is `resnet50`."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def select(
    names: list[str] | None = None,
    nets: list[str] | None = None,
    categories: list[str] | None = None,
    layers: Sequence[Layer] = LAYERS,
) -> list[Layer]:
    """Those of the layers that match every list given, in their order.

    Raises
    ------
    ValueError
        If a word matches no layer; the message lists what does.
    """
    for words, known, what in (
        (names, {layer.name for layer in layers}, "layer"),
        ([slug(net) for net in nets or []], {slug(layer.net) for layer in layers}, "net"),
        (categories, set(CATEGORIES), "class"),
    ):
        unknown = sorted(set(words or []) - known)
        if unknown:
            raise ValueError(f"no {what} is named {unknown}; there are {sorted(known)}")
    wanted_nets = {slug(net) for net in nets or []}
    return [
        layer
        for layer in layers
        if (not names or layer.name in names)
        and (not wanted_nets or slug(layer.net) in wanted_nets)
        and (not categories or layer.category in categories)
    ]
