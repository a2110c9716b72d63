"""Measured cases on disk: a JSON line each, so that a run can be cut, continued and merged.

    {"run": {...}}      what the cases after it were measured with
    {"case": {...}}     a layer, a pass, a dtype, threads, and its times

A case that was measured again stands twice; the later line counts.  A line that a cut left
unfinished is skipped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import Case


@dataclass
class Run:
    """What a page says of a run besides its cases; `limits` by dtype and threads."""

    machine: str
    command: str
    date: str
    load: float  # of the machine before the run, in processes
    versions: dict[str, str]
    missing: dict[str, str]  # engines that take no part, and why
    formats: Sequence[str]
    isa: str = ""
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def limits_key(dtype: str, threads: int) -> str:
    """Where the limits of a dtype and a number of threads stand in `Run.limits`."""
    return f"{dtype} {threads}"


class Store:
    """The file of a run, written to as each case is done."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, run: Run, *, keep: bool) -> None:
        """Open the file, keeping what it holds or not, and say what follows."""
        if not keep:
            self._path.unlink(missing_ok=True)
        self._write({"run": run.to_json()})

    def add(self, case: Case) -> None:
        self._write({"case": case.to_json()})

    def _write(self, line: dict[str, Any]) -> None:
        # Begins with the end of a line: the line before may have been cut.
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))


def read(paths: Iterable[Path]) -> tuple[list[Run], list[Case]]:
    """The runs that the files hold, and the last measurement of every case, in the table's order.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    """
    runs: list[Run] = []
    cases: dict[tuple[Any, ...], Case] = {}
    for path in paths:
        for kind, value in _lines(path):
            if kind == "run":
                runs.append(Run(**value))
            else:
                case = Case.from_json(value)
                cases[case.key] = case
    return runs, sorted(cases.values(), key=lambda case: case.rank)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found = json.loads(line)
        except json.JSONDecodeError:  # empty, or cut
            continue
        yield from found.items()
