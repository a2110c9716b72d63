"""The choice of algorithm against its alternatives, and two revisions side by side."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: hides no installed fastconv

import fastconv
from benchmarks import (
    choice,
    choice_fit,
    denormals,
    figures,
    measure,
    peers,
    problems,
    shapes,
    track,
)
from benchmarks.peers import CHANNELS_LAST
from benchmarks.shapes import BY_NAME, CATEGORIES, Layer

CONV = Layer("conv", "Tiny", "3x3", "conv2d", 2, 7, 6, 4, 6, kernel=(3, 2), padding=(1, 1))


def test_a_choice_is_off_where_another_algorithm_is_a_tenth_faster() -> None:
    one = choice.Choice(CONV, "dx", {"auto": 1.10, "direct": 1.0}, [], 1e9)
    two = choice.Choice(CONV, "dx", {"auto": 1.11, "direct": 1.2, "winograd": 1.0}, [], 1e9)
    assert (one.is_off, two.is_off) == (False, True)
    same = choice.Choice(CONV, "dx", {"auto": 1.3, "direct": 1.0}, ["direct"], 1e9)
    assert not same.is_off
    text = "\n".join(choice.lines("dx", [one, two]))
    assert "| ? | 1100.0 | **1000.0** | - | 0 | 1.10 |" in text
    assert "| ? | 1110.0 | 1200.0 | **1000.0** | 0 | 1.11 ✗ |" in text
    assert "1 of 2 rows are more than 10 % off" in text


def test_choices_are_measured_and_an_algorithm_that_does_not_fit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_TURN", 0.0)
    output = tmp_path / "choices.md"
    words = ["--layers", "lenet5_conv1", "lenet5_conv2", "--batch", "1", "--passes", "forward"]
    assert choice.main([*words, "--output", str(output)]) in (0, 1)
    text = output.read_text(encoding="utf-8")
    assert "| lenet5_conv1 | 1x28x28x1 → 6, 5x5 | small | direct |" in text
    monkeypatch.setattr(choice, "ALGORITHMS", ("direct", "no such algorithm"))
    task = peers.Task(CONV, "forward", "float32", CHANNELS_LAST, 1)
    calls, takes = choice.prepare(task, problems.make_problem(CONV, "float32"))
    assert (list(calls), takes) == (["auto", "direct"], ["direct"])


def test_a_revision_must_name_a_commit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        track.main(["no such revision"])
    assert exit_.value.code == 2
    assert "'no such revision' names no commit" in capsys.readouterr().err


def test_constants_are_found_again() -> None:
    """Times that follow the model give its constants back."""
    right = (1.3, 5.0, 11.0, 9.0)
    times = []
    for layer in shapes.select(None, None, ["3x3", "5x5"]):
        for pass_name in ("forward", "packed", "dx", "dkernel"):
            cost = min(np.dot(terms, right) for terms in choice_fit._forms(layer, pass_name))
            direct = choice_fit._direct(layer, pass_name)
            times.append((layer, pass_name, {"direct": direct, "winograd": cost}))
    found = choice_fit.fit(times, right)
    assert list(found.values()) == pytest.approx(right)


def test_a_revision_is_worse_by_its_instructions_or_by_its_time() -> None:
    task = peers.Task(CONV, "dx", "float32", CHANNELS_LAST, 1)
    same = track.Row(task, (1000, 1010), (1.0, 1.1))
    longer = track.Row(task, (1000, 1011), (1.0, 0.5))
    slower = track.Row(task, (1000, 900), (1.0, 1.2))
    assert [row.is_worse for row in (same, longer, slower)] == [False, True, True]
    text = track.page([same, longer, slower], ["old", "new"])
    assert "| conv | dx | 1,000 | 1,010 | 1000.0 | 1100.0 | 1.010 | 1.10 |" in text
    assert "| 1.011 ✗ | 0.50 |" in text
    assert "| 0.900 | 1.20 ✗ |" in text


def test_two_builds_race_in_processes_of_their_own() -> None:
    workers = [measure.WorkerProcess("fastconv") for _ in range(2)]
    try:
        task = peers.Task(CONV, "forward", "float32", CHANNELS_LAST, 1)
        assert all(0 < seconds < 1 for seconds in track.race(workers, task))
    finally:
        for worker in workers:
            worker.close()


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions_are_those_of_the_call() -> None:
    small, large = (BY_NAME["lenet5_conv1"].with_batch(n) for n in (1, 4))
    words = ("forward", "float32", CHANNELS_LAST, 1)
    tasks = [peers.Task(layer, *words) for layer in (small, large, small)]
    site = Path(fastconv.__file__).resolve().parents[1]
    one, four, again = track.count(site, tasks)
    assert one == pytest.approx(again, abs=1000)
    assert 2 < four / one < 4.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_denormal_problems_have_no_normal_number(dtype: str) -> None:
    problem = problems.made_denormal(problems.make_problem(CONV, dtype))
    for array in (problem.x, problem.dy):
        assert np.count_nonzero(array) > 0.9 * array.size
        assert np.abs(array).max() < np.finfo(dtype).smallest_normal


def test_denormal_numbers_are_timed_against_ordinary_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denormals, "_ENGINES", ("fastconv",))
    assert denormals.main(["--layers", "lenet5_dense3"]) in (0, 1)
    text = capsys.readouterr().out
    assert "- Command: `python -m benchmarks.denormals --layers lenet5_dense3`" in text
    assert "| lenet5_dense3 | dkernel | " in text


RESULTS = """# fastconv against its peers

- Machine: a machine
- Command: `a command`

## Geometric mean (and least) ratio: float32, 1 thread, channels_last

| class | forward | dx |
|---|---:|---:|
| max pooling | 2.10 (1.90) 5/6 ✓ | - |
| **all** | 2.10 (1.90) 5/6 ✓ | - |

## What a call with one image pays for its kernel: float32, 1 thread, channels_last

| layer | called ms |
|---|---:|
| vgg16_conv1_2 | 1.000 |

## Forward
"""


def test_figures_are_filled_in_between_their_marks_alone() -> None:
    page = "before <!-- figures: max -->\nold\n<!-- /figures --> after"
    text = figures.filled(page, RESULTS)
    assert text.startswith("before <!-- figures: max -->\n\nMeasured on vgg16_pool1, vgg16_pool4")
    assert "| ratio | float32, 1 thread, channels_last | 2.10 (1.90) 5/6 ✓ | - | - |" in text
    assert text.endswith("<!-- /figures --> after")
    assert "old" not in text
    assert figures.filled(text, RESULTS) == text
    facts = figures.filled("<!-- figures: facts -->\n<!-- /figures -->", RESULTS)
    assert "\n- Machine: a machine\n- Command: `a command`\n" in facts
    single = figures.filled("<!-- figures: single -->\n<!-- /figures -->", RESULTS)
    assert "float32, 1 thread, channels_last:\n\n| layer | called ms |" in single
    assert single.endswith("| vgg16_conv1_2 | 1.000 |\n\n<!-- /figures -->")


def test_figures_of_what_was_not_measured_are_said_to_be_missing() -> None:
    assert "Not measured yet." in figures.filled(
        "<!-- figures: avg -->\n<!-- /figures -->", RESULTS
    )
    with pytest.raises(ValueError, match="no class is named 'average'"):
        figures.filled("<!-- figures: average -->\n<!-- /figures -->", RESULTS)


def test_the_page_of_performance_shows_every_class() -> None:
    page = figures.PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"<!-- figures: (\S+) -->", page)
    assert sorted(shown) == sorted({"facts", "single", *CATEGORIES} - {"program"})
