"""What a run has proved, written down: ``build/trust/NAME.json``, from which docs/trust.md is made.

A driver calls ``record`` when it has passed. A test calls ``count`` for everything that it tried;
where ``FASTCONV_TRUST`` is set, conftest.py records the sums of a run in which nothing failed.
From a shell: ``python tests/trust_record.py NAME COMMAND FIGURE SECONDS``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "build" / "trust"


class Record(NamedTuple):
    """What was run, what it counted, how long it took, and what code it was about."""

    name: str
    command: str
    figure: str
    seconds: float
    code: str


def code() -> str:
    """Return a hash of what is proved to be right: csrc/ and fastconv/ as people write them."""
    found = hashlib.sha256()
    for folder, suffixes in (("csrc", (".c", ".h")), ("fastconv", (".py", ".pyx", ".pxi", ".pxd"))):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes:
                found.update(path.read_bytes())
    return found.hexdigest()[:12]


def record(name: str, command: str, figure: str, seconds: float) -> Path:
    """Write down what a run has proved, in place of what an earlier one did."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{name}.json"
    found = Record(name, command, figure, round(seconds, 1), code())
    path.write_text(json.dumps(found._asdict(), indent=1) + "\n", encoding="utf-8")
    return path


def recorded() -> dict[str, Record]:
    """Return what was written down, by name."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in RECORDS.glob("*.json"))
    return {entry["name"]: Record(**entry) for entry in found}


class Tally:
    """What the tests of one run have counted: by name, how many of each thing."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: Counter[str] = Counter()
        self.files: dict[str, set[str]] = defaultdict(set)

    def snapshot(self) -> dict[str, int]:
        """Return how much was counted below each name, to see later which have grown."""
        return {name: counts.total() for name, counts in self.counts.items()}

    def attribute(self, before: dict[str, int], file: str, seconds: float) -> None:
        """Add a test's time and file to all that has been counted since ``before``."""
        for name, total in self.snapshot().items():
            if total > before.get(name, 0):
                self.seconds[name] += seconds
                self.files[name].add(file)

    def write(self) -> list[Path]:
        """Record everything that was counted."""
        profile = os.environ.get("FASTCONV_TEST_PROFILE")
        prefix = f"FASTCONV_TEST_PROFILE={profile} " if profile else ""
        return [
            record(
                name,
                f"{prefix}pytest {' '.join(sorted(self.files[name]))}",
                ", ".join(f"{n:,} {what}" for what, n in counts.items()),
                self.seconds[name],
            )
            for name, counts in self.counts.items()
        ]


TALLY = Tally()


def count(name: str, what: str, n: int = 1) -> None:
    """Count ``n`` more things tried for the promise ``name``: ``count("files", "faults")``."""
    TALLY.counts[name][what] += n


def main(arguments: list[Any]) -> None:
    """Record what a shell script has proved."""
    name, command, figure, seconds = arguments
    print(record(name, command, figure, float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
