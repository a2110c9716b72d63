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
    code = trust_record.code()
    assert trust_record.recorded() == {"fuzz": Record("fuzz", "spin fuzz", "9 inputs", 2.0, code)}


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
    assert found["files"][:-1] == ("files", command, "4,003 kills", 3.0)
    assert found["memory"].command == "FASTCONV_TEST_PROFILE=long pytest b.py"


def test_every_promise_is_in_the_page(records: Path) -> None:
    fuzz = Record("fuzz", "spin fuzz", "9 inputs", 60.0, trust_record.code())
    page = trust_table.page({"fuzz": fuzz})
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(trust_table.ROWS)
    for cells, row in zip(rows, trust_table.ROWS, strict=True):
        figure = "`spin fuzz` | 9 inputs |" if row.name == "fuzz" else " | not run |"
        assert cells[:2] == [f"| {row.promise}", row.how]
        assert " | ".join(cells[2:]) == figure
    assert "C calls: 9 inputs" in trust_table.fuzzed({"fuzz": fuzz})


def on_the_page() -> dict[str, Record]:
    """Return the records that docs/trust.md was made of, as far as it shows them."""
    lines = trust_table.PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ")][1:]
    found = {}
    for row, cells in zip(trust_table.ROWS, rows, strict=True):
        _, _, command, figure = (cell.strip() for cell in cells)
        if command:
            found[row.name] = Record(row.name, command.strip("`"), figure, 0.0, "")
    return found


def test_the_page_was_written_by_the_command() -> None:
    """Its rows are those of the table, to the letter, and its seal tells of a figure typed."""
    page = trust_table.PAGE.read_text(encoding="utf-8")
    rows = trust_table.table(on_the_page())
    assert rows in page, "promises have changed: spin trust --page"
    assert page.endswith(f" Seal of the table: {trust_table.seal(rows)}.\n"), "spin trust --page"


def test_the_readme_has_the_figures_of_the_page() -> None:
    _, _, rest = trust_table.README.read_text(encoding="utf-8").partition(trust_table.BEGIN)
    assert rest.partition(trust_table.END)[0] == trust_table.fuzzed(on_the_page())


def test_page_and_readme_are_written_from_records_alone(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, readme = tmp_path / "trust.md", tmp_path / "README.md"
    monkeypatch.setattr(trust_table, "PAGE", page)
    monkeypatch.setattr(trust_table, "README", readme)
    page.write_text("| typed |")
    readme.write_text(f"before\n{trust_table.BEGIN}typed\n{trust_table.END}\nafter\n")
    for row in trust_table.ROWS:
        trust_record.record(row.name, f"run {row.name}", f"7 of {row.name}", 6.0)
    trust_table.write()
    text = page.read_text()
    assert "typed" not in text + readme.read_text()
    assert all(f" `run {row.name}` | 7 of {row.name} |" in text for row in trust_table.ROWS)
    assert "All of it was tried on the same code" in text
    assert readme.read_text().startswith(f"before\n{trust_table.BEGIN}Fuzzed in the last run: ")
    assert "files: 7 of fuzz of files; C calls: 7 of fuzz." in readme.read_text()
    assert readme.read_text().endswith("\nafter\n")

    monkeypatch.setattr(trust_record, "code", lambda: "of now")
    trust_record.record("fuzz", "spin fuzz", "9 inputs", 60.0)
    trust_table.write()
    old = page.read_text().partition("Tried on earlier code: ")[2]
    promises = {row.name: row.promise for row in trust_table.ROWS}
    assert promises["digests"] in old
    assert promises["fuzz"] not in old

    trust_record.record("a promise that no row makes", "spin it", "1", 1.0)
    with pytest.raises(SystemExit, match="no row for"):
        trust_table.write()


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
