"""The pages of the benchmark: ratios, tables, what is stored, and the command."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: hides no installed fastconv

from benchmarks import compare, shapes_beyond, store
from benchmarks.cases import best_peer, geometric_mean, limit, ratio
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.report import page
from benchmarks.shapes import BY_NAME
from benchmarks.store import Run
from timed import a_case

# ---------------------------------------------------------------------------------------- report


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


def test_the_better_of_two_measurements_is_each_engines_own() -> None:
    first = a_case(fastconv_channels_last=1.0, torch_channels_last=3.0, ncnn_channels_first=5.0)
    again = a_case(fastconv_channels_last=2.0, torch_channels_last=2.5, numpy_channels_last=1.0)
    first.fma_peak, first.copy_bandwidth = 1e11, 1e10
    again.fma_peak, again.copy_bandwidth = 2e11, 5e9
    better = again.or_better(first)
    assert [timing.seconds for timing in better.timings] == [1.0, 2.5, 1.0]
    assert (better.fma_peak, better.copy_bandwidth) == (2e11, 1e10)
    again.timings[0].failed = True  # of which no earlier success may make a figure
    assert again.or_better(first).timings[0] is again.timings[0]


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


def test_single_images_stand_apart_where_there_are_larger_batches() -> None:
    many = a_case(fastconv_channels_last=1.0, torch_channels_last=3.0)
    called = a_case(fastconv_channels_last=0.3, torch_channels_last=0.6)
    packed = a_case(fastconv_channels_last=0.2, torch_channels_last=0.5)
    packed.pass_name = "packed"
    for case in (called, packed):
        case.layer = many.layer.with_batch(1)
    text = page([a_run()], [many, called, packed])
    assert "| **all** | 3.00 (3.00) 1/1 ✓ |" in text
    assert "## What a call with one image pays for its kernel: float32, 1 thread, channels" in text
    assert "| 300.0 | 200.0 | **1.50** | 2.00 | 2.50 |" in text
    assert "**2.00**" in page([a_run()], [called])
    assert "one image" not in page([a_run()], [called, packed])


# ----------------------------------------------------------------------------------------- goals


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


def test_pages_are_not_made_of_files_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        compare.main(["--pages", str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "a.md")])
    assert exit_.value.code == 2
    assert "--pages: there is no file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_repeated_keeps_the_better_times(tmp_path: Path) -> None:
    raw = tmp_path / "results.jsonl"
    assert tiny_run(tmp_path, "--no-picture", "--passes", "forward") == 0
    before = store.read([raw])[1]
    assert tiny_run(tmp_path, "--no-picture", "--repeat", "--passes", "forward") == 0
    for first, again in zip(before, store.read([raw])[1], strict=True):
        for one, other in zip(first.timings, again.timings, strict=True):
            assert not other.seconds > one.seconds  # both are NaN where an engine has nothing


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


def test_compare_chooses_layers_beyond_the_table() -> None:
    options = compare.arguments(["--beyond", "--nets", "ConvNeXt"])
    assert {layer.net for layer in options.chosen} == {"ConvNeXt"}
    assert options.chosen[0] in shapes_beyond.LAYERS
    assert options.output.name == "BEYOND.md"
