"""The tools in benchmarks/: shapes, float64 checks, workers, ratios and the page.  No timings."""

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

from benchmarks import compare, goals, measure, peers, problems, shapes, store
from benchmarks.cases import Case, Timing, best_peer, geometric_mean, limit, ratio
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.report import page
from benchmarks.shapes import BY_NAME, Layer
from benchmarks.store import Run
from benchmarks.worker import best_time

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


# ---------------------------------------------------------------------------------------- report


def a_case(**times: float) -> Case:
    """A case with times such as `fastconv_channels_last=1.0`; NaN is what an engine lacks."""
    timings = []
    for key, value in times.items():
        engine, data_format = key.split("_", 1)
        note = "no such thing" if math.isnan(value) else ""
        timings.append(Timing(engine, data_format, False, value, note))
    return Case(BY_NAME["vgg16_conv4_2"], "forward", "float32", 1, timings)


def test_ratio_takes_the_better_layout_for_channels_last_alone() -> None:
    case = a_case(
        fastconv_channels_last=1.0, fastconv_channels_first=2.0,
        torch_channels_last=3.0, torch_channels_first=5.0, ncnn_channels_first=math.nan,
    )  # fmt: skip
    assert ratio(case, CHANNELS_LAST) == 3.0
    assert ratio(case, CHANNELS_FIRST) == 2.5
    assert best_peer(case, CHANNELS_FIRST) is case.timings[3]


def test_ratio_without_a_peer_or_without_fastconv_is_nan() -> None:
    assert math.isnan(ratio(a_case(fastconv_channels_last=1.0), CHANNELS_LAST))
    assert math.isnan(ratio(a_case(torch_channels_last=1.0), CHANNELS_LAST))


def test_limit_is_the_slower_of_computing_and_copying() -> None:
    case = a_case()
    case.fma_peak, case.copy_bandwidth = 1e11, 1e10
    assert limit(case) == ("FMA", case.layer.flops / 1e11)
    case.copy_bandwidth = 1e6
    assert limit(case) == ("copy", case.bytes_moved / 1e6)


def test_geometric_mean_skips_what_is_missing() -> None:
    assert geometric_mean([2.0, math.nan, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([math.nan]))


def a_run(command: str = "a command", **words: Any) -> Run:
    versions, missing = {"torch": "1.0"}, {"openvino": "gone"}
    limits = {"float32 1": [math.inf, 1e10]}
    run = Run("a machine", command, "a day", 0.5, versions, missing, [CHANNELS_LAST], limits=limits)
    return dataclasses.replace(run, **words)


def test_page_with_missing_figures() -> None:
    cases = [
        a_case(fastconv_channels_last=2.0, torch_channels_last=1.0, ncnn_channels_first=math.nan),
        a_case(torch_channels_last=1.0, fastconv_channels_last=math.nan, ncnn_channels_first=4.0),
    ]
    cases[1].layer = BY_NAME["vgg16_conv5_2"]
    text = page([a_run(limits={"float32 1": (math.nan, 1e10)})], cases)
    assert "nan" not in text
    assert "| **all** | 0.50 (0.50) 0/1 ✓ |" in text
    assert "1 of 1 rows are below 1, the least: vgg16_conv4_2 forward 0.50." in text
    assert "ncnn: no such thing" in text
    assert "fastconv: no such thing" in text
    assert "Without: OpenVINO (gone)" in text
    assert "FMA peak - GFLOP/s, copy through memory 10.0 GB/s" in text


def test_page_of_several_runs_says_all_commands_and_keeps_what_was_limited_apart() -> None:
    one = a_case(fastconv_channels_last=1.0, torch_channels_last=3.0)
    other = dataclasses.replace(one, isa="avx2")
    text = page([a_run(), a_run("another", isa="avx2")], [one, other])
    assert "- Command: `a command`\n- Command: `another`" in text
    assert "## Geometric mean (and least) ratio: float32, 1 thread, channels_last" in text
    assert "ratio: float32, held to AVX2, 1 thread, channels_last" in text


def test_programs_have_a_table_of_their_own() -> None:
    case = a_case(fastconv_channels_last=50e-6, torch_channels_first=100e-6)
    case.layer, case.pass_name = BY_NAME["predict_lenet5"], "whole"
    row = "| predict_lenet5 | 1x28x28x1 → 10 | 60 us | 0.0500 | 20000 | **2.00** "
    assert f"{row}✓ | - | **0.100** |" in page([a_run()], [case])
    for timing in case.timings:
        timing.seconds *= 1.3
    assert "| 0.0650 | 15385 | **2.00** ✗ |" in page([a_run()], [case])
    assert "Geometric mean" not in page([a_run()], [case])


# ----------------------------------------------------------------------------------------- goals


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
    case.layer = dataclasses.replace(case.layer, strides=(2, 2))
    case.fma_peak = case.layer.flops / 0.99
    assert goals.reached(case, CHANNELS_LAST) == "limit"


def test_nchw_pooling_is_held_to_pytorch_besides() -> None:
    case = a_case(
        fastconv_channels_first=1.0, torch_channels_first=7.0, openvino_channels_first=3.0
    )
    case.layer = BY_NAME["vgg16_pool4"]
    case.fma_peak, case.copy_bandwidth = 1e12, 1e15
    assert goals.reached(case, CHANNELS_FIRST) == ""
    case.timings[1].seconds = 8.0
    assert goals.reached(case, CHANNELS_FIRST) == "ratio"


# ----------------------------------------------------------------------------------------- store


def test_what_is_stored_is_read_back_in_the_tables_order(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    late, early = a_case(torch_channels_last=1.0), a_case(torch_channels_last=2.0)
    early.layer = BY_NAME["vgg16_conv1_2"]
    for case in (early, late):
        case.fma_peak, case.copy_bandwidth = 1e11, 1e10
    kept = store.Store(path)
    kept.begin(a_run(), keep=False)
    kept.add(late)
    kept.add(early)
    assert store.read([path]) == ([a_run()], [early, late])


def test_a_case_measured_again_counts_once_and_a_cut_line_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    for seconds in (1.0, 2.0):
        store.Store(path).begin(a_run(), keep=seconds > 1.0)
        store.Store(path).add(a_case(torch_channels_last=seconds))
        path.write_text(path.read_text() + '\n{"case": {"lay')
    runs, (case,) = store.read([path])
    assert len(runs) == 2
    assert case.timings[0].seconds == 2.0
    store.Store(path).begin(a_run(), keep=False)
    assert store.read([path]) == ([a_run()], [])


# --------------------------------------------------------------------------------------- command


def tiny_run(tmp_path: Path, *words: str) -> int:
    """Compare two small layers on two numbers of threads; returns the exit status."""
    return compare.main([
        "--layers", "lenet5_dense3", "lenet5_avg1", "--batch", "2", "--threads", "1", "2",
        "--engines", "fastconv", "numpy", "--rounds", "1", "--turn", "0.5",
        "--output", str(tmp_path / "results.md"), "--lock", str(tmp_path / "lock"), *words,
    ])  # fmt: skip


def test_compare_writes_a_page_a_picture_and_the_raw_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    output, raw = tmp_path / "results.md", tmp_path / "results.jsonl"
    assert tiny_run(tmp_path) == 0
    text = output.read_text(encoding="utf-8")
    assert "| lenet5_dense3 | 2x84 → 10 | dense | 1.00 |" in text
    assert "| lenet5_avg1 | 2x28x28x6, 2x2 s2 | avg | 1.10 |" in text
    assert "fastconv NHWC" not in text
    assert "![Roofline](results.png)" in text
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    (run,), cases = store.read([raw])
    assert set(run.limits) == {"float32 1", "float32 2"}
    assert len(cases) == 2 * (3 + 2)
    assert all(case.fma_peak > 0 and case.copy_bandwidth > 0 for case in cases)


def test_a_run_that_was_cut_goes_on_and_pages_are_made_of_what_there_is(tmp_path: Path) -> None:
    raw = tmp_path / "results.jsonl"
    assert tiny_run(tmp_path, "--no-picture", "--seconds", "0") == 3
    assert store.read([raw])[1] == []
    assert tiny_run(tmp_path, "--no-picture", "--passes", "forward") == 0
    before = store.read([raw])[1]
    assert len(before) == 2 * 2
    assert tiny_run(tmp_path, "--no-picture", "--resume", "--passes", "forward", "dx") == 0
    after = store.read([raw])[1]
    assert len(after) == 2 * 4
    assert [case for case in after if case.pass_name == "forward"] == before
    page_of_all = (tmp_path / "results.md").read_text(encoding="utf-8")
    words = ["--pages", str(raw), "--no-picture", "--output", str(tmp_path / "again.md")]
    assert compare.main(words) == 0
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == page_of_all


def test_compare_says_when_fastconv_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = a_case(fastconv_channels_last=math.nan)
    case.timings[0].failed = True
    monkeypatch.setattr(compare.Bench, "measure", lambda *_: case)
    words = ["--engines", "numpy", "--no-picture", "--output", str(tmp_path / "results.md")]
    words += ["--quick", "--threads", "1"]
    assert compare.main(words) == 1
    assert "fastconv failed: vgg16_conv4_2 forward float32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layers", "nothing"], "no layer is named"),
        (["--threads", "0"], "0 is not at least 1"),
        (["--nets", "vgg16", "--classes", "depthwise"], "no layer matches"),
    ],
)
def test_compare_refuses(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.main(words)
    assert message in capsys.readouterr().err
