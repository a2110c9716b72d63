"""Convolutions that are computed whole by the tests of conv2d and of its gradients.

Layers that nets are made of and shapes that blocking makes hard, at sizes that a test can afford:
n, h, w, c_in, c_out, kh, kw, strides, padding, dilation_rate, groups.
"""

from __future__ import annotations

from problems import Conv2DProblem

LAYERS = {
    "lenet first 5x5": Conv2DProblem(5, 28, 28, 1, 6, 5, 5, 1, "same"),
    "lenet second 5x5": Conv2DProblem(3, 14, 14, 6, 16, 5, 5),
    "vgg first 3x3": Conv2DProblem(1, 32, 48, 3, 64, 3, 3, 1, 1),
    "vgg 3x3": Conv2DProblem(2, 14, 14, 64, 64, 3, 3, 1, 1),
    "vgg 512 channels": Conv2DProblem(1, 7, 7, 512, 33, 3, 3, 1, 1),
    "more channels than a block": Conv2DProblem(1, 3, 4, 1100, 17, 1, 2),
    "resnet stem 7x7": Conv2DProblem(1, 45, 46, 3, 64, 7, 7, 2, 3),
    "alexnet stem 11x11": Conv2DProblem(1, 51, 35, 3, 24, 11, 11, 4, 2),
    "resnet 3x3 stride 2": Conv2DProblem(1, 28, 28, 32, 48, 3, 3, 2, 1),
    "resnet 7-wide": Conv2DProblem(2, 7, 7, 64, 96, 3, 3, 1, 1),
    "pointwise": Conv2DProblem(2, 14, 14, 128, 80, 1, 1),
    "pointwise stride 2": Conv2DProblem(2, 14, 14, 64, 128, 1, 1, 2),
    "pointwise stride 2, 96 outputs": Conv2DProblem(2, 14, 14, 64, 96, 1, 1, 2),
    "pointwise, many channels": Conv2DProblem(2, 14, 14, 259, 270, 1, 1),
    "pointwise stride 2, more than a block": Conv2DProblem(5, 14, 13, 1400, 70, 1, 1, 2),
    "inception 1x7": Conv2DProblem(1, 17, 17, 48, 64, 1, 7, 1, "same"),
    "inception 7x1": Conv2DProblem(1, 17, 17, 48, 64, 7, 1, 1, "same"),
    "dilation 6": Conv2DProblem(1, 19, 19, 32, 32, 3, 3, 1, 6, 6),
    "dilation 6, many channels": Conv2DProblem(5, 14, 14, 200, 40, 3, 3, 1, 6, 6),
    "dilation 12, more than a block": Conv2DProblem(2, 33, 30, 20, 24, 3, 3, 1, "same", 12),
    "dilation 4, stride 2": Conv2DProblem(3, 15, 17, 20, 35, 3, 5, (2, 1), "same", 4, 5),
    "dilation 9 in rows of 4": Conv2DProblem(2, 4, 30, 16, 17, 2, 3, 1, ((0, 1), (20, 9)), (1, 9)),
    "depthwise 3x3": Conv2DProblem(2, 19, 19, 91, 91, 3, 3, 1, 1, 1, 91),
    "depthwise 5x5 stride 2": Conv2DProblem(1, 28, 28, 40, 40, 5, 5, 2, "same", 1, 40),
    "depthwise 3x3 stride 2": Conv2DProblem(3, 17, 20, 64, 64, 3, 3, 2, 1, 1, 64),
    "depthwise 5x5": Conv2DProblem(2, 14, 15, 130, 130, 5, 5, 1, 2, 1, 130),
    "depthwise dilated": Conv2DProblem(1, 19, 19, 20, 20, 3, 3, 1, 2, 2, 20),
    "depthwise 7x7": Conv2DProblem(2, 14, 15, 70, 70, 7, 7, 1, 3, 1, 70),
    "depthwise 7x7, most of it padding": Conv2DProblem(2, 7, 7, 40, 40, 7, 7, 1, 3, 1, 40),
    "depthwise 7x7 stride 2": Conv2DProblem(1, 28, 29, 37, 37, 7, 7, 2, 3, 1, 37),
    "depthwise 2x9 stride 3": Conv2DProblem(1, 10, 30, 33, 33, 2, 9, (3, 1), "same", 1, 33),
    "depthwise 13x13": Conv2DProblem(1, 12, 20, 18, 18, 13, 13, 1, 6, 1, 18),
    "depthwise 56x56": Conv2DProblem(1, 56, 57, 40, 40, 3, 3, 1, 1, 1, 40),
    "depthwise 56x56 stride 2": Conv2DProblem(1, 57, 56, 72, 72, 5, 5, 2, 2, 1, 72),
    "depthwise in bands": Conv2DProblem(1, 101, 110, 35, 35, 3, 3, 1, 1, 1, 35),
    "depthwise in bands, images": Conv2DProblem(2, 120, 91, 34, 34, 3, 3, 1, 1, 1, 34),
    "depthwise stride 2, in bands": Conv2DProblem(1, 130, 111, 18, 18, 5, 3, 2, "same", 1, 18),
    "depthwise dilated, in bands": Conv2DProblem(1, 97, 120, 17, 17, 3, 3, 1, 2, 2, 17),
    "depthwise dilated, stride 2": Conv2DProblem(2, 19, 18, 40, 40, 3, 5, 2, "same", (2, 3), 40),
    "depthwise dilated beyond": Conv2DProblem(1, 3, 4, 20, 20, 3, 3, 1, "same", 5, 20),
    "depthwise stride 3": Conv2DProblem(2, 13, 14, 33, 33, 4, 5, 3, 2, 1, 33),
    "depthwise few channels": Conv2DProblem(2, 9, 37, 3, 3, 3, 3, 1, 1, 1, 3),
    "depthwise wide": Conv2DProblem(1, 3, 2501, 8, 8, 3, 3, 1, 1, 1, 8),
    "depthwise reflected": Conv2DProblem(
        2, 9, 8, 24, 24, 5, 3, (1, 2), 2, 1, 24, padding_mode="reflect"
    ),
    "depthwise padding value": Conv2DProblem(2, 9, 8, 24, 24, 3, 3, 1, 2, 1, 24, padding_value=3.0),
    "depthwise stride 2, large planes": Conv2DProblem(2, 260, 261, 11, 22, 3, 3, 2, 1, 1, 11),
    "depthwise multiplier 2": Conv2DProblem(1, 9, 9, 20, 40, 3, 3, 1, 1, 1, 20),
    "resnext 4 channels a group": Conv2DProblem(2, 13, 14, 44, 44, 3, 3, 1, 1, 1, 11),
    "groups of 3 to 5 channels": Conv2DProblem(2, 9, 10, 21, 35, 3, 3, 1, 1, 1, 7),
    "resnext groups": Conv2DProblem(1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 8),
    "groups of 8, strides of 2": Conv2DProblem(2, 15, 30, 64, 64, 3, 3, 2, 1, 1, 8),
    "groups of 4, strides of 2": Conv2DProblem(3, 9, 17, 32, 32, 3, 3, 2, 1, 1, 8),
    "groups of 8, 5x5": Conv2DProblem(2, 13, 9, 32, 32, 5, 5, 1, 2, 1, 4),
    "groups of 4, 7x7 reflected": Conv2DProblem(
        1, 9, 31, 16, 16, 7, 7, (1, 2), 3, 1, 4, padding_mode="reflect"
    ),
    "very wide": Conv2DProblem(1, 3, 3001, 5, 7, 3, 3, 1, 1),
    "very tall": Conv2DProblem(1, 3001, 3, 5, 7, 3, 3, 1, 1),
    "taps far apart": Conv2DProblem(2, 3, 2300, 5, 7, 2, 3, 1, "same", (1, 1100)),
    "taps far apart in groups": Conv2DProblem(1, 2, 2400, 12, 8, 1, 3, 2, 0, (1, 1100), 4),
    "depthwise taps far apart": Conv2DProblem(1, 2, 2300, 20, 20, 1, 3, 1, "same", (1, 1100), 20),
    "taps far apart at the edge": Conv2DProblem(
        1, 2, 1200, 17, 33, 1, 3, 1, (0, 900), (1, 1100), padding_mode="edge"
    ),
    "a row of more than a thousand taps": Conv2DProblem(1, 15, 13, 1, 1, 3, 1026, 1, "same"),
    "such rows of many channels": Conv2DProblem(1, 4, 13, 17, 18, 3, 1026, 1, "same"),
    "kernel beyond the image": Conv2DProblem(1, 2, 3, 8, 8, 7, 9, 1, 4),
    "padding beyond the kernel": Conv2DProblem(1, 3, 3, 4, 4, 2, 2, 1, ((7, 0), (5, 9))),
    "many outputs": Conv2DProblem(1, 5, 6, 33, 530, 3, 3, 1, 1),
    "stride beyond the kernel": Conv2DProblem(2, 17, 18, 9, 10, 2, 2, 5),
    "stride and dilation": Conv2DProblem(2, 17, 18, 9, 10, 3, 3, (2, 3), (2, 5), (3, 2)),
    "taps far apart, reflected rows": Conv2DProblem(
        2, 1200, 2, 3, 4, 3, 2, 1, (900, 1), (1100, 1), padding_mode="reflect"
    ),
    "taps far apart at the edge, few channels": Conv2DProblem(
        1, 2, 1200, 5, 7, 1, 3, 1, (0, 900), (1, 1100), padding_mode="edge"
    ),
}
