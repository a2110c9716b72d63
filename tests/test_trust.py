"""The table of promises: made whole from records, and the page in docs/ is of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import trust_record
import trust_table
from trust_record import Record, Tally

HERE = Path(__file__).parent


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep records in a folder of the test's own."""
    monkeypatch.setattr(trust_record, "RECORDS", tmp_path / "trust")
    return tmp_path / "trust"


def test_what_is_recorded_is_found_again(records: Path) -> None:
    trust_record.record("fuzz", "spin fuzz", "7 inputs", 1.26)
    trust_record.record("fuzz", "spin fuzz", "9 inputs", 2.0)
    assert trust_record.recorded() == {"fuzz": Record("fuzz", "spin fuzz", "9 inputs", 2.0)}


def test_a_tally_is_written_by_promise(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_TEST_PROFILE", "long")
    tally = Tally()
    for file, name, n in (("a.py", "files", 3), ("b.py", "files", 4000), ("b.py", "memory", 1)):
        before = tally.snapshot()
        tally.counts[name]["kills"] += n
        tally.attribute(before, file, 1.5)
    tally.write()
    command = "FASTCONV_TEST_PROFILE=long pytest a.py b.py"
    found = trust_record.recorded()
    assert found["files"] == Record("files", command, "4,003 kills", 3.0)
    assert found["memory"].command == "FASTCONV_TEST_PROFILE=long pytest b.py"


def test_every_promise_is_in_the_page(records: Path) -> None:
    fuzz = Record("fuzz", "spin fuzz", "9 inputs", 60.0)
    page = trust_table.page({"fuzz": fuzz})
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(trust_table.ROWS)
    for cells, row in zip(rows, trust_table.ROWS, strict=True):
        figure = "`spin fuzz` | 9 inputs |" if row.name == "fuzz" else " | not run |"
        assert cells[:2] == [f"| {row.promise}", row.how]
        assert " | ".join(cells[2:]) == figure
    assert "C calls: 9 inputs" in trust_table.fuzzed({"fuzz": fuzz})


def test_the_page_is_of_this_table() -> None:
    """Figures are those of the last run; promises and ways to test them are those that stand."""
    lines = trust_table.PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    found = [tuple(line.removeprefix("| ").split(" | ")[:2]) for line in rows]
    assert found == [(row.promise, row.how) for row in trust_table.ROWS]


def test_nothing_is_recorded_of_a_run_that_fails(tmp_path: Path) -> None:
    """Only FASTCONV_TRUST asks for it, and one failure forbids it."""
    for name in ("conftest.py", "trust_record.py"):
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "tests" / name).write_bytes((HERE / name).read_bytes())
    test = tmp_path / "tests" / "test_it.py"
    test.write_text(
        "from trust_record import count\n"
        "def test_it():\n    count('files', 'kills', 2)\n"
        "def test_other():\n    import os; assert not os.environ.get('FAIL')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    record = tmp_path / "build" / "trust" / "files.json"
    for environment in ({}, {"FASTCONV_TRUST": "1", "FAIL": "1"}, {"FASTCONV_TRUST": "1"}):
        subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(test.parent), **environment},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        assert record.exists() == (environment == {"FASTCONV_TRUST": "1"})
