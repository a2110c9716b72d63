"""The tools in benchmarks/: shapes, float64 checks and workers. No timings."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: hides no installed fastconv

from benchmarks import measure, peers, problems, shapes, shapes_beyond
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.shapes import BY_NAME, Layer
from benchmarks.worker import best_time
from timed import a_case

FIELDS = {"net": "Tiny", "category": "3x3", "n": 2, "h": 7, "w": 6}
CONV = Layer("conv", op="conv2d", c_in=4, c_out=6, kernel=(3, 2), padding=(1, 1), **FIELDS)
TINY = {
    "conv": CONV,
    "strided": dataclasses.replace(CONV, strides=(2, 2)),
    "dilated": dataclasses.replace(CONV, dilation=(2, 2), padding=(2, 1)),
    "grouped": dataclasses.replace(CONV, groups=2),
    "depthwise": dataclasses.replace(CONV, groups=4, c_out=4),
    "dense": Layer("dense", "Tiny", "dense", "dense", 3, 1, 1, 5, 7),
    "max": Layer(
        "max", op="max_pool2d", c_in=3, c_out=3, kernel=(3, 3), strides=(2, 2), padding=(1, 1),
        **FIELDS,
    ),
    "avg": Layer(
        "avg", op="avg_pool2d", c_in=3, c_out=3, kernel=(3, 2), strides=(2, 1), padding=(1, 0),
        **FIELDS,
    ),
    "global_max": Layer(
        "gmax", op="global_max_pool2d", c_in=3, c_out=3, kernel=(7, 6), strides=(7, 6), **FIELDS
    ),
    "global_avg": Layer(
        "gavg", op="global_avg_pool2d", c_in=3, c_out=3, kernel=(7, 6), strides=(7, 6), **FIELDS
    ),
}  # fmt: skip


# ---------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("name", "y_shape"),
    [
        ("resnet50_conv1", (8, 112, 112, 64)),
        ("alexnet_conv1", (8, 55, 55, 64)),
        ("xception_conv1", (8, 149, 149, 32)),
        ("inception3_6a_3x3s2", (8, 17, 17, 384)),
        ("inception3_6b_7x1", (8, 17, 17, 192)),
        ("ssd300_conv6_d6", (8, 19, 19, 1024)),
        ("xception_entry_shortcut", (8, 37, 37, 256)),
        ("lenet5_conv2", (128, 10, 10, 16)),
        ("inception3_pool1", (8, 73, 73, 64)),
        ("resnet50_pool1", (8, 56, 56, 64)),
        ("resnet50_global_avg", (8, 1, 1, 2048)),
        ("lenet5_dense1", (128, 1, 1, 120)),
    ],
)
def test_output_shapes_are_those_of_the_published_nets(name: str, y_shape: tuple[int, ...]) -> None:
    assert BY_NAME[name].y_shape == y_shape


def test_every_class_has_at_least_three_layers_with_names_of_their_own() -> None:
    counts = Counter(layer.category for layer in shapes.LAYERS)
    assert set(counts) == set(shapes.CATEGORIES)
    assert min(counts.values()) >= 3
    assert len(BY_NAME) == len(shapes.LAYERS)


def test_quick_layers_exist() -> None:
    assert set(shapes.QUICK) <= set(BY_NAME)


def test_layers_beyond_the_table_are_others() -> None:
    names = [layer.name for layer in shapes_beyond.LAYERS]
    assert len({*names, *BY_NAME}) == len(names) + len(BY_NAME)
    known = [dataclasses.replace(layer, name="", net="") for layer in shapes.LAYERS]
    for layer in shapes_beyond.LAYERS:
        assert layer.category in shapes.CATEGORIES
        assert min(layer.output_size) > 0
        assert dataclasses.replace(layer, name="", net="") not in known


def test_flops_and_bytes() -> None:
    layer = BY_NAME["lenet5_conv1"].with_batch(1)
    assert layer.flops == 2 * 28 * 28 * 6 * 25
    assert layer.bytes_moved("dx", 4) == 4 * (28 * 28 * (1 + 6) + 25 * 6)
    assert BY_NAME["xception_middle_dw"].flops == 2 * 9 * 8 * 19 * 19 * 728
    pool = BY_NAME["vgg16_pool4"]
    x, y = 8 * 28 * 28 * 512, 8 * 14 * 14 * 512
    assert pool.flops == 4 * y
    assert pool.bytes_moved("forward", 4) == 4 * (x + y)
    assert pool.bytes_moved("dx", 4) == 4 * (2 * x + y)
    assert pool.bytes_moved("dx_indices", 4) == 4 * (x + y) + 8 * y


@pytest.mark.parametrize("layer", TINY.values(), ids=TINY)
def test_a_layer_survives_json(layer: Layer) -> None:
    assert Layer.from_json(json.loads(json.dumps(layer.to_json()))) == layer


def test_select() -> None:
    assert [layer.name for layer in shapes.select(["vgg16_pool1"])] == ["vgg16_pool1"]
    chosen = shapes.select(nets=["ResNet-50"], categories=["1x1s2"])
    assert [layer.name for layer in chosen] == [
        f"resnet50_conv{i}_shortcut" for i in (3, 4, 5)
    ]  # fmt: skip
    for words in ({"names": ["vgg"]}, {"nets": ["vgg"]}, {"categories": ["vgg"]}):
        with pytest.raises(ValueError, match="named \\['vgg'\\]; there are"):
            shapes.select(**words)


# ---------------------------------------------------------------------------------------- checks


def answers(problem: problems.Problem) -> dict[str, problems.Array]:
    """Every array that a layer's passes give, by the tests' reference."""
    layer, x, kernel, bias, dy = problem
    geometry: dict[str, Any] = {"strides": layer.strides, "padding": layer.padding}
    if layer.is_pool:
        kind = "max" if layer.is_max else "avg"
        y = getattr(reference, f"{kind}_pool2d")(x, layer.kernel, **geometry)
        backward = getattr(reference, f"{kind}_pool2d_backward")
        source = x if layer.is_max else x.shape
        return {"y": y, "dx": backward(dy, source, layer.kernel, **geometry)}
    geometry |= {"dilation_rate": layer.dilation, "groups": layer.groups}
    dx, dkernel, dbias = reference.conv2d_backward(dy, x, kernel, **geometry)
    y = reference.conv2d(x, kernel, bias, **geometry)
    return {"y": y, "dx": dx, "dkernel": dkernel, "dbias": dbias}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", TINY.values(), ids=TINY)
def test_check_accepts_the_reference_and_nothing_else(layer: Layer, dtype: str) -> None:
    problem = problems.make_problem(layer, dtype)
    for name, exact in answers(problem).items():
        good = exact.astype(dtype)
        problems.check(problem, dtype, {name: good})
        for bad in (good + 0.01, np.full_like(good, np.nan), good[1:], good.astype(np.float16)):
            with pytest.raises(problems.WrongAnswer, match=name):
                problems.check(problem, dtype, {name: bad})


def test_check_refuses_bfloat16_arithmetic() -> None:
    problem = problems.make_problem(BY_NAME["lenet5_conv2"].with_batch(2), "float32")
    layer = problem.layer
    rounded = (problem.x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    y = reference.conv2d(rounded, problem.kernel, problem.bias, padding=layer.padding)
    with pytest.raises(problems.WrongAnswer):
        problems.check(problem, "float32", {"y": y.astype(np.float32)})


def test_arrays_are_aligned_and_the_same_in_every_process() -> None:
    one, two = (problems.make_problem(CONV, "float32") for _ in range(2))
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a.ctypes.data % 64 == 0
        assert np.array_equal(a, b)


# --------------------------------------------------------------------------------------- engines


def test_best_time_counts_calls() -> None:
    calls = []
    seconds, count = best_time(lambda: calls.append(None), 0.001)
    assert count == len(calls) > 1
    assert 0 < seconds < 0.001


PASSES = [(name, step) for name, layer in TINY.items() for step in layer.passes]


@pytest.mark.parametrize("engine", peers.PEERS)
def test_every_engine_answers_right_or_says_what_it_lacks(engine: str) -> None:
    if importlib.util.find_spec(peers.PEERS[engine].module) is None:
        pytest.skip(f"{engine} is not installed")
    worker = measure.WorkerProcess(engine)
    measured = 0
    try:
        for name, step in PASSES:
            for data_format in peers.PEERS[engine].formats:
                task = peers.Task(TINY[name], step, "float32", data_format, 1)
                answer = worker.ask("prepare", task=dataclasses.asdict(task))
                if "unsupported" in answer:
                    assert engine != "fastconv"
                    continue
                assert "key" in answer, (name, step, data_format, answer)
                assert worker.ask("run", key=answer["key"], seconds=0.0)["seconds"] > 0
                measured += 1
    finally:
        worker.close()
    assert measured > 2


PROGRAMS = [layer for layer in shapes.LAYERS if layer.op == "program"]


@pytest.mark.parametrize("engine", [name for name, peer in peers.PEERS.items() if peer.programs])
def test_every_program_works_before_it_is_timed(engine: str) -> None:
    if importlib.util.find_spec(peers.PEERS[engine].module) is None:
        pytest.skip(f"{engine} is not installed")
    worker = measure.WorkerProcess(engine)
    try:
        for layer in PROGRAMS:
            small = layer.with_batch(min(layer.n, 8))
            task = peers.Task(small, "whole", "float32", CHANNELS_LAST, 1)
            answer = worker.ask("prepare", task=dataclasses.asdict(task))
            assert "key" in answer, (layer.name, answer)
            assert worker.ask("run", key=answer["key"], seconds=0.0)["seconds"] > 0
    finally:
        worker.close()


def test_a_peer_behind_the_best_gets_fewer_turns() -> None:
    case = a_case(
        fastconv_channels_last=9.0, torch_channels_last=1.0, torch_channels_first=2.0,
        ncnn_channels_first=1.3, openvino_channels_first=math.nan,
    )  # fmt: skip
    both = [CHANNELS_LAST, CHANNELS_FIRST]

    def who(formats: list[str], turn: int = 2) -> list[int]:
        return [i for i, t in enumerate(case.timings) if measure.matters(case, t, formats, turn)]

    assert who([CHANNELS_LAST]) == [0, 1, 3]
    case.timings[3].seconds = 1.5
    assert who([CHANNELS_LAST]) == [0, 1]
    assert who(both) == [0, 1, 2, 3]
    assert who([CHANNELS_LAST], turn=3) == [0, 1, 2, 3]
    case.timings[3].seconds = 4.1
    assert who([CHANNELS_LAST], turn=3) == [0, 1, 2]
    assert who([CHANNELS_LAST], turn=0) == [0, 1, 2, 3, 4]


def test_a_lost_worker_is_said_and_replaced() -> None:
    effort = measure.Effort(rounds=1, least=1, turn=0.0)
    with measure.Bench(["numpy"], effort) as bench:
        os.kill(bench.workers["numpy"].pid, signal.SIGKILL)
        task = (TINY["dense"], "forward", "float32", 1, [CHANNELS_LAST])
        lost = bench.measure(*task).timings[0]
        assert lost.failed
        assert lost.note.startswith("numpy ended")
        assert math.isnan(lost.seconds)
        assert bench.measure(*task).timings[0].seconds > 0


def test_a_wrong_answer_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import worker

    class Liar:
        version = "0"

        def prepare(self, task: peers.Task, problem: problems.Problem) -> peers.Call:
            return peers.Call(lambda: np.zeros(task.layer.y_shape, task.dtype), lambda y: {"y": y})

    monkeypatch.setattr(peers, "load", lambda name: Liar())
    task = peers.Task(CONV, "forward", "float32", CHANNELS_LAST, 1)
    answer = worker.Worker("liar").answer({"do": "prepare", "task": dataclasses.asdict(task)})
    assert answer["error"].startswith("wrong answer: y")
