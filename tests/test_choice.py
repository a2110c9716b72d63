"""Which algorithm "auto" takes, for layers of well-known networks: so that a change shows."""

from __future__ import annotations

import numpy as np
import pytest

from closeness import same_bits
from fastconv import functional
from strategies import Conv2DProblem

FAST, PLAIN = "winograd", "direct"
ONE = ""  # there are no tiles: all algorithms are one

# (layer, called, packed, dx, dkernel)
TABLE = {
    "lenet conv1": (Conv2DProblem(1, 28, 28, 1, 6, 5, 5, 1, 2), PLAIN, PLAIN, PLAIN, PLAIN),
    "lenet conv2": (Conv2DProblem(1, 14, 14, 6, 16, 5, 5), *[FAST] * 4),
    "vgg conv1_1, wide": (Conv2DProblem(1, 9, 48, 3, 64, 3, 3, 1, 1), *[FAST] * 4),
    "vgg conv1_1": (Conv2DProblem(1, 32, 32, 3, 64, 3, 3, 1, 1), FAST, FAST, PLAIN, FAST),
    "resnet conv1": (Conv2DProblem(1, 56, 56, 3, 64, 7, 7, 2, 3), *[FAST] * 4),
    "alexnet conv1": (Conv2DProblem(1, 63, 63, 3, 64, 11, 11, 4, 2), FAST, FAST, ONE, FAST),
    "mobilenet conv1": (Conv2DProblem(1, 32, 32, 3, 32, 3, 3, 2, 1), *[PLAIN] * 4),
    "mnist conv1": (Conv2DProblem(1, 28, 28, 1, 32, 3, 3), *[PLAIN] * 4),
    "3 to 24": (Conv2DProblem(1, 32, 32, 3, 24, 3, 3, 1, 1), *[PLAIN] * 4),
    "9 columns": (Conv2DProblem(1, 9, 9, 3, 64, 3, 3, 1, 1), *[PLAIN] * 4),
    "vgg conv1_2": (Conv2DProblem(1, 56, 56, 64, 64, 3, 3, 1, 1), FAST, FAST, FAST, FAST),
    "vgg conv5": (Conv2DProblem(1, 14, 14, 512, 512, 3, 3, 1, 1), FAST, FAST, FAST, FAST),
    "resnet 64": (Conv2DProblem(1, 56, 56, 64, 64, 3, 3, 1, 1), FAST, FAST, FAST, FAST),
    "resnet 512": (Conv2DProblem(1, 7, 7, 512, 512, 3, 3, 1, 1), FAST, FAST, FAST, FAST),
    "cifar 4x4": (Conv2DProblem(1, 4, 4, 512, 512, 3, 3, 1, 1), *[FAST] * 4),
    "256 at 3x3": (Conv2DProblem(1, 3, 3, 256, 256, 3, 3, 1, 1), PLAIN, FAST, PLAIN, PLAIN),
    "resnet 56x56 stride 2": (Conv2DProblem(1, 56, 56, 64, 128, 3, 3, 2, 1), *[FAST] * 4),
    "resnet 28x28 stride 2": (Conv2DProblem(1, 28, 28, 256, 256, 3, 3, 2, 1), *[FAST] * 4),
    "inception stride 2": (Conv2DProblem(1, 17, 17, 192, 320, 3, 3, 2), *[FAST] * 4),
    "128 to 256 stride 2": (Conv2DProblem(1, 28, 28, 128, 256, 3, 3, 2, 1), *[FAST] * 4),
    "resnet 7x7 stride 2": (Conv2DProblem(1, 14, 14, 512, 512, 3, 3, 2, 1), *[FAST] * 3, PLAIN),
    "512 at 4x4 stride 2": (Conv2DProblem(1, 8, 8, 512, 512, 3, 3, 2, 1), *[PLAIN] * 4),
    "gan 4x4 stride 2": (Conv2DProblem(1, 32, 32, 64, 128, 4, 4, 2, 1), *[FAST] * 4),
    "gan 5x5 stride 2": (Conv2DProblem(1, 32, 32, 64, 128, 5, 5, 2, 2), *[FAST] * 4),
    "16 channels, 4x4 stride 2": (Conv2DProblem(1, 14, 14, 16, 16, 4, 4, 2, 1), *[PLAIN] * 4),
    "flownet 7x7 stride 2": (Conv2DProblem(1, 40, 40, 64, 128, 7, 7, 2, 3), *[FAST] * 4),
    "2x2": (Conv2DProblem(1, 28, 28, 64, 64, 2, 2), *[FAST] * 4),
    "patch gan 4x4": (Conv2DProblem(1, 32, 32, 256, 512, 4, 4, 1, 1), *[FAST] * 4),
    "16 channels, 4x4": (Conv2DProblem(1, 14, 14, 16, 16, 4, 4, 1, 1), *[PLAIN] * 4),
    "9x9": (Conv2DProblem(1, 28, 28, 32, 32, 9, 9, 1, 4), *[FAST] * 4),
    "11x11": (Conv2DProblem(1, 28, 28, 16, 16, 11, 11, 1, 5), *[FAST] * 4),
    "3x5": (Conv2DProblem(1, 28, 28, 64, 64, 3, 5, 1, "same"), *[FAST] * 4),
    "1x11": (Conv2DProblem(1, 28, 28, 64, 64, 1, 11, 1, "same"), *[FAST] * 4),
    "resnet 1x1": (Conv2DProblem(1, 14, 14, 64, 256, 1, 1), PLAIN, PLAIN, PLAIN, PLAIN),
    "googlenet 5x5": (Conv2DProblem(1, 28, 28, 32, 96, 5, 5, 1, 2), FAST, FAST, FAST, FAST),
    "inception 1x7": (Conv2DProblem(1, 17, 17, 128, 128, 1, 7, 1, "same"), *[FAST] * 4),
    "inception 7x1": (Conv2DProblem(1, 17, 17, 192, 192, 7, 1, 1, "same"), *[FAST] * 4),
    "openpose 7x7": (Conv2DProblem(1, 23, 23, 64, 64, 7, 7, 1, 3), FAST, FAST, FAST, FAST),
    "deeplab dilation 2": (Conv2DProblem(1, 28, 28, 128, 128, 3, 3, 1, 2, 2), *[FAST] * 4),
    "deeplab dilation 6": (Conv2DProblem(1, 14, 14, 640, 64, 3, 3, 1, 6, 6), *[PLAIN] * 4),
    "ssd dilation 6": (Conv2DProblem(1, 19, 19, 128, 256, 3, 3, 1, 6, 6), *[FAST] * 4),
    "dilation 12": (Conv2DProblem(1, 14, 14, 128, 128, 3, 3, 1, 12, 12), *[PLAIN] * 4),
    "densenet": (Conv2DProblem(1, 32, 32, 100, 12, 3, 3, 1, 1), FAST, FAST, FAST, FAST),
    "32 to 10": (Conv2DProblem(1, 32, 32, 32, 10, 3, 3, 1, 1), PLAIN, PLAIN, FAST, FAST),
    "8 to 16": (Conv2DProblem(1, 32, 32, 8, 16, 3, 3, 1, 1), *[FAST] * 4),
    "6 to 16": (Conv2DProblem(1, 32, 32, 6, 16, 3, 3, 1, 1), *[FAST] * 3, PLAIN),
    "8 to 16 small": (Conv2DProblem(1, 14, 14, 8, 16, 3, 3, 1, 1), *[FAST] * 3, PLAIN),
    "16 to 32 1x7": (Conv2DProblem(1, 28, 28, 16, 32, 1, 7, 1, "same"), *[PLAIN] * 4),
    "xception depthwise": (Conv2DProblem(1, 19, 19, 64, 64, 3, 3, 1, 1, 1, 64), *[PLAIN] * 4),
    "resnext 14x14": (Conv2DProblem(1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 4), *[FAST] * 4),
    "groups of 16 at 10x10": (Conv2DProblem(1, 10, 10, 32, 32, 3, 3, 1, 1, 1, 2), *[FAST] * 4),
    "groups of 16 at 8x8": (Conv2DProblem(1, 8, 8, 32, 32, 3, 3, 1, 1, 1, 2), *[FAST] * 4),
    "groups of 16 at 7x7": (Conv2DProblem(1, 7, 7, 32, 32, 3, 3, 1, 1, 1, 2), *[PLAIN] * 3, FAST),
    "groups of 16, 5x5": (Conv2DProblem(1, 14, 14, 32, 32, 5, 5, 1, 2, 1, 2), *[FAST] * 4),
    "groups of 16, 5x5 at 9x9": (
        Conv2DProblem(1, 9, 9, 32, 32, 5, 5, 1, 2, 1, 2),
        *[FAST] * 3,
        PLAIN,
    ),
    "groups of 8": (Conv2DProblem(1, 28, 28, 32, 32, 3, 3, 1, 1, 1, 4), *[PLAIN] * 4),
    "narrow 1x3": (Conv2DProblem(1, 28, 28, 16, 16, 1, 3, 1, "same"), *[PLAIN] * 4),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_auto_takes(name: str) -> None:
    """The bits of "auto" are those of the algorithm that stands in the table, and of no other."""
    problem, *expected = TABLE[name]
    a = problem.draw_arrays()
    results = {}
    for algorithm in ("auto", PLAIN, *([FAST] if FAST in expected else [])):
        words = {**problem.geometry, "algorithm": algorithm}
        packed = functional.pack_kernel(a["kernel"], (problem.h, problem.w), **words)
        gradients = functional.conv2d_backward(a["dy"], a["x"], a["kernel"], **words)
        results[algorithm] = (
            functional.conv2d(a["x"], a["kernel"], **words),
            functional.conv2d(a["x"], packed, **words),
            gradients.dx,
            gradients.dkernel,
        )
    for i, algorithm in enumerate(expected):
        got, right = results["auto"][i], results[algorithm or PLAIN][i]
        assert same_bits(got, right), ("forward", "packed", "dx", "dkernel")[i]
        if FAST in expected:
            other = results[PLAIN if algorithm == FAST else FAST][i]
            assert np.array_equal(got, other) == (algorithm == ONE)
