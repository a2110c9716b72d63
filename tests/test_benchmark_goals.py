"""The goals of the benchmark: one for every layer and pass, and when it is reached."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: hides no installed fastconv

from benchmarks import goals, shapes
from benchmarks.cases import Case
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.shapes import BY_NAME
from timed import a_case


@pytest.mark.parametrize(
    ("name", "pass_name", "dtype", "threads", "ratio"),
    [
        ("vgg16_conv4_2", "packed", "float32", 1, 2.0),
        ("vgg16_conv4_2", "packed", "float32", 2, 1.0),
        ("vgg16_conv4_2", "dx", "float64", 1, 4.0),
        ("resnet50_conv1", "forward", "float32", 1, 1.1),
        ("vgg16_conv1_1", "forward", "float32", 1, 2.0),
        ("vgg16_pool4", "dx_indices", "float32", 1, 2.0),
        ("lenet5_dense1", "dx", "float32", 1, 1.0),
        ("train_lenet5", "whole", "float32", 1, 3.0),
        ("train_lenet5", "whole", "float32", 2, 1.0),
    ],
)
def test_goals(name: str, pass_name: str, dtype: str, threads: int, ratio: float) -> None:
    assert goals.goal(Case(BY_NAME[name], pass_name, dtype, threads, [])) == ratio


def test_every_layer_has_a_goal_in_every_pass() -> None:
    for layer in shapes.LAYERS:
        for pass_name in layer.passes:
            for dtype in ("float32", "float64"):
                assert goals.goal(Case(layer, pass_name, dtype, 1, [])) >= 1.0


def test_a_goal_is_reached_by_the_ratio_or_at_the_limit() -> None:
    case = a_case(fastconv_channels_last=1.0, torch_channels_last=1.04)
    case.layer = BY_NAME["mobilenet_pw7"]
    case.fma_peak, case.copy_bandwidth = case.layer.flops / 0.89, 1e12
    assert goals.reached(case, CHANNELS_LAST) == ""
    case.fma_peak = case.layer.flops / 0.91
    assert goals.reached(case, CHANNELS_LAST) == "limit"
    case.timings[1].seconds = 1.06
    assert goals.reached(case, CHANNELS_LAST) == "ratio"
    assert goals.reached(case, CHANNELS_FIRST) == "-"


def test_the_fma_peak_is_no_limit_where_winograd_fits() -> None:
    case = a_case(fastconv_channels_last=1.0, torch_channels_last=1.0)
    case.fma_peak, case.copy_bandwidth = case.layer.flops / 0.99, 1e12
    assert goals.reached(case, CHANNELS_LAST) == ""
    case.layer = dataclasses.replace(case.layer, strides=(3, 3))
    case.fma_peak = case.layer.flops / 0.99
    assert goals.reached(case, CHANNELS_LAST) == "limit"


@pytest.mark.parametrize(
    ("layer", "pass_name", "less"),
    [
        ("resnet50_conv2_3x3", "dkernel", True),
        ("deeplab3_aspp_d6", "forward", True),
        ("resnet50_conv4_3x3s2", "dx", True),
        ("resnet50_conv4_3x3s2", "dkernel", False),
        ("resnet50_conv1", "dx", True),
        ("alexnet_conv1", "forward", True),
        ("mobilenet_conv1", "forward", False),
        ("mobilenet_pw7", "forward", False),
        ("resnext50_conv2_g32", "forward", False),
        ("vgg16_pool4", "forward", False),
    ],
)
def test_what_multiplies_less_than_direct_sums(layer: str, pass_name: str, less: bool) -> None:
    assert goals.multiplies_less(Case(BY_NAME[layer], pass_name, "float32", 1, [])) == less


def test_nchw_pooling_is_held_to_pytorch_besides() -> None:
    case = a_case(
        fastconv_channels_first=1.0, torch_channels_first=7.0, openvino_channels_first=3.0
    )
    case.layer = BY_NAME["vgg16_pool4"]
    case.fma_peak, case.copy_bandwidth = 1e12, 1e15
    assert goals.reached(case, CHANNELS_FIRST) == ""
    case.timings[1].seconds = 8.0
    assert goals.reached(case, CHANNELS_FIRST) == "ratio"
